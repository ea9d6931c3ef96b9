#!/usr/bin/env bash
# text.sh - the plain rules of layout: tabs in C, lines of 120 columns (refused above 128), no blanks at line ends, a
# newline at the end, a head comment in every source file, shell scripts that parse.
status=0
complain() { echo "$1"; status=1; }

while read -r file; do
    awk -v file="$file" '
        { line = $0; gsub(/\t/, "    ", line) }
        length(line) > 128 { print file ":" FNR ": longer than 128 columns"; bad = 1 }
        /[ \t]$/ { print file ":" FNR ": blank at the end of the line"; bad = 1 }
        /^    / && file ~ /\.[ch]$/ { print file ":" FNR ": indented with blanks"; bad = 1 }
        /\r/ { print file ":" FNR ": carriage return"; bad = 1 }
        END { exit bad }' "$file" || status=1
    [ -z "$(tail -c 1 "$file")" ] || complain "$file: no newline at the end"
    case $file in
        *.[ch]) head -n 1 "$file" | grep -q '^/\*' || complain "$file: does not begin with a comment" ;;
        *.sh) bash -n "$file" || complain "$file: does not parse" ;;
    esac
done < <(find src test bench docs -name '*.[ch]' -o -name '*.sh' | sort)
exit $status

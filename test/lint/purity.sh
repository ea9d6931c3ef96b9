#!/usr/bin/env bash
# purity.sh - the core keeps its promise: no hidden allocation, output, exit, jump, clock or randomness, no process-wide
# state. Judged by what the compiled objects refer to, not by their text.
build=${BUILD:-build}/plain
status=0
count=0

# What no object may call, and the object that may all the same.
forbidden='malloc calloc realloc free posix_memalign aligned_alloc strdup printf puts putchar fprintf vfprintf perror
exit _exit abort setjmp _setjmp longjmp siglongjmp signal sigaction rand srand random srandom drand48 time
gettimeofday getenv setenv system popen fork'
exempt() {
    case $1:$2 in
        base/mem:realloc | base/mem:free) ;; # the C library's allocator, offered to programs
        *) return 1 ;;
    esac
}

for object in $("$MAKE" --no-print-directory -s print-CORE_SOURCES); do
    name=${object#src/core/}
    name=${name%.c}
    object=$build/core/$name.o
    count=$((count + 1))
    for symbol in $(nm -u "$object" | awk '{ print $2 }' | sed 's/@.*//'); do
        for word in $forbidden; do
            [ "$symbol" = "$word" ] && ! exempt "$name" "$symbol" && { echo "$name: calls $symbol"; status=1; }
        done
    done
    # writable variables: anything in .data or .bss (not .data.rel.ro, which holds constants with addresses)
    variables=$(objdump -t "$object" |
        awk '$3 == "O" && $4 ~ /^\.(data|bss|tdata|tbss)(\.[^r]|$)/ || $4 == "*COM*" { print $NF }')
    [ -z "$variables" ] || { echo "$name: has writable static state:" $variables; status=1; }
done
[ $count -gt 0 ] || { echo "no object was found"; status=1; }
exit $status

#!/usr/bin/env bash
# wiring.sh - nothing that looks like a test is left out: each test file is of a kind that some suite runs, each SQL test
# is listed and has its expected output, each fuzz target its corpus, each lint is executable and described.
status=0
complain() { echo "$1"; status=1; }

# Kinds of files per folder under test/; anything else is a file that nothing runs.
while read -r file; do
    case $file in
        test/run.sh | test/README.md | test/lib/* | test/demo/* | test/fixtures/* | test/harness/*.[ch]) ;;
        test/harness/README.md) ;;
        test/unit/test_*.c | test/fault/test_*.c | test/crash/test_*.c | test/steps/test_*.c) ;;
        test/unit/*.h | test/fault/*.h | test/crash/*.h) ;;
        docs/examples/*.c) [ -e "${file%.c}.out" ] || complain "$file: has no expected output ${file%.c}.out" ;;
        docs/examples/*.out) [ -e "${file%.out}.c" ] || complain "$file: belongs to no program" ;;
        test/library/*.sh) [ -x "$file" ] || complain "$file: is not executable" ;;
        test/fuzz/replay.c | test/fuzz/README.md | test/fuzz/*.dict | test/fuzz/*.h) ;;
        test/fuzz/fuzz_*.c)
            corpus=$(basename "$file" .c)
            compgen -G "test/fuzz/corpus/${corpus#fuzz_}/*" >/dev/null || complain "$file: has no corpus"
            ;;
        test/fuzz/corpus/*/*)
            target=${file#test/fuzz/corpus/}
            [ -e "test/fuzz/fuzz_${target%%/*}.c" ] || complain "$file: belongs to no fuzz target"
            ;;
        test/isolation/specs/*.spec)
            name=$(basename "$file" .spec)
            [ -e "test/isolation/expected/$name.out" ] || complain "$file: has no expected output"
            ;;
        test/isolation/expected/*.out)
            name=$(basename "$file" .out)
            [ -e "test/isolation/specs/${name%_[0-9]}.spec" ] || complain "$file: belongs to no spec"
            ;;
        test/server/run.sh | test/aarch64/run.sh) ;;
        test/judge/README.md | test/judge/*.pl | test/judge/run.sh | test/judge/differences) ;;
        test/stand_in/vector.control | test/stand_in/vector--*.sql | test/stand_in/README.md) ;;
        test/torture/*.[ch] | test/torture/README.md) ;;
        test/mutation/*.mutation | test/mutation/run.sh | test/mutation/README.md) ;;
        test/t/[0-9][0-9][0-9]_*.pl | test/t/*.pm) ;;
        test/lint/README.md) ;;
        test/lint/*.sh)
            [ -x "$file" ] || complain "$file: is not executable"
            grep -q "^- \`$(basename "$file")\`" test/lint/README.md || complain "$file: has no line in test/lint/README.md"
            ;;
        *) complain "$file: no suite runs this, or its name is not what the suite looks for" ;;
    esac
done < <(find test docs/examples -type f ! -name '*~' ! -name '.gitkeep' | sort)

for name in $(sed -n 's/^- `\([a-z_]*\.sh\)`.*/\1/p' test/lint/README.md); do
    [ -e "test/lint/$name" ] || complain "test/lint/README.md describes $name, which does not exist"
done

# Programs that the guides name, in a path or as the word of TESTS, are there.
for name in $(grep -ohE '\btest_[a-z0-9_]+' CONTRIBUTING.md test/README.md | sort -u); do
    compgen -G "test/*/$name.c" >/dev/null || complain "CONTRIBUTING.md or test/README.md names $name, which does not exist"
done
for word in $(grep -ohE 'TESTS="?[a-z_]+' CONTRIBUTING.md test/README.md Makefile | sed 's/TESTS="\{0,1\}//' | sort -u); do
    compgen -G "test/*/*$word*" >/dev/null || complain "TESTS=$word stands in a guide, but no test has this in its name"
done

# Findings are run by hand: each must be able to, say its versions, be in the table, and the table name no other.
for file in findings/*.sh; do
    [ -x "$file" ] || complain "$file: is not executable"
    sed -n 2p "$file" | grep -q "^# $(basename "$file") - " || complain "$file: its second line does not say what it shows"
    grep -qE '^# Versions?: ' "$file" || complain "$file: does not say of which versions"
    grep -q "^| \`$(basename "$file")\` |" findings/README.md || complain "$file: has no line in findings/README.md"
done
for name in $(sed -n 's/^| `\([a-z_]*\.sh\)` .*/\1/p' findings/README.md); do
    [ -e "findings/$name" ] || complain "findings/README.md describes $name, which does not exist"
done

listed=" $("$MAKE" --no-print-directory -s print-REGRESS) "
for file in sql/*.sql; do
    [ -e "$file" ] || continue
    name=$(basename "$file" .sql)
    case $name in iqdb--*) continue ;; esac
    [[ $listed == *" $name "* ]] || complain "$file: is not in REGRESS in the Makefile"
    [ -e "expected/$name.out" ] || complain "$file: has no expected/$name.out"
done
for name in $listed; do
    [ -e "sql/$name.sql" ] || complain "REGRESS names $name, but there is no sql/$name.sql"
done
for file in expected/*.out; do
    [ -e "$file" ] || continue
    name=$(basename "$file" .out)
    [ -e "sql/${name%_[0-9]}.sql" ] || complain "$file: belongs to no test"
done

# Each folder of the core is compiled.
folders=" $("$MAKE" --no-print-directory -s print-FOLDERS) "
for folder in src/core/*/; do
    [[ $folders == *" $(basename "$folder") "* ]] || complain "$folder is not in CORE_FOLDERS in the Makefile"
done
[ -z "$(find src -name '*.c' -mindepth 1 ! -path 'src/core/*/*.c' ! -path 'src/pg/*.c')" ] ||
    complain "a C file under src lies outside src/core/*/ and src/pg/"
exit $status

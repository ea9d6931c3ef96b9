# count_tap.awk - counts test lines in TAP: prints "passed failed skipped". Give -v rc=<exit code of the program>.
# A program that died, or ran fewer tests than it announced, has failed at least once more.
/^1\.\.[0-9]+/ { plan += substr($1, 4); planned = 1 }
/^ok( |$)/ { if ($0 ~ /# *SKIP/) skipped++; else passed++; next }
/^not ok/ { if ($0 ~ /# *SKIP/) skipped++; else failed++ }
END {
    passed += 0; failed += 0; skipped += 0
    seen = passed + failed + skipped
    if (planned && seen < plan)
        failed += plan - seen
    if (rc != 0 && failed == 0)
        failed = 1
    if (rc == 0 && !planned && seen == 0)
        failed = 1
    print passed, failed, skipped
}

#!/usr/bin/env bash
# compat.sh - the server's version is asked for in src/pg/pg_compat.h alone, and what only a newer server needs, without
# any compiler missing it, is done everywhere.
status=0
complain() { echo "$1"; status=1; }

while read -r line; do
    complain "$line: the version is asked for outside of src/pg/pg_compat.h"
done < <(grep -nE 'PG_VERSION_NUM|PG_MAJORVERSION' -r src sql | grep -v '^src/pg/pg_compat\.h:')

# Without it 19 ends with the first tuple that is made by the descriptor.
for file in src/pg/*.c; do
    made=$(grep -c 'CreateTemplateTupleDesc(' "$file")
    finished=$(grep -c 'iqdb_pg_finish_tupdesc(' "$file")
    [ "$made" -eq "$finished" ] ||
        complain "$file: $made times CreateTemplateTupleDesc(), but $finished times iqdb_pg_finish_tupdesc()"
done
exit $status

#!/usr/bin/env bash
# pgvector_old_snapshot.sh - an hnsw index that was built in parallel is used by snapshots that it is not right for.
#
# Versions: PostgreSQL 17.12, pgvector 0.8.0 (Debian 13). Seen on 2026-11-30.
#
# A row that was updated before the index existed may keep its place in the table (HOT): the new index holds the new value
# only, for both versions. The server therefore keeps the index from snapshots that still see the old version, by setting
# pg_index.indcheckxmin, if the build tells it that it met such a row. A parallel build of pgvector scans the table with an
# IndexInfo of each process' own and does not carry that mark back. A transaction that began before the updates then finds
# its rows by values that they did not have for it: here 100, 99 and 98, where 1, 2 and 3 are the nearest.
. "$(dirname "$0")/lib/setup.sh"
packages postgresql-17=17.12-0+deb13u1 postgresql-17-pgvector=0.8.0-1
on_server <<'END' | expect 'serial: indcheckxmin t, the older transaction reads 1 [1,0] 2 [2,0] 3 [3,0]
parallel: indcheckxmin f, the older transaction reads 100 [100,0] 99 [99,0] 98 [98,0]'
psql -XqAtc 'CREATE EXTENSION vector'
try() {
    local t=$1 workers=$2
    psql -Xqc "CREATE TABLE $t (id int, v vector(2)) WITH (fillfactor = 40, parallel_workers = 2)" \
        -c "INSERT INTO $t SELECT i, ARRAY[i, 0]::vector FROM generate_series(1, 100) i"
    coproc OLD { psql -XqAt -F ' '; }
    echo "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM $t;" >&"${OLD[1]}"
    read -r _ <&"${OLD[0]}"
    psql -Xqc "UPDATE $t SET v = ARRAY[1000 - id, 0]::vector" -c "SET max_parallel_maintenance_workers = $workers" \
        -c "CREATE INDEX ${t}_v ON $t USING hnsw (v vector_l2_ops)"
    echo "SET enable_seqscan = off; SELECT id, v FROM $t ORDER BY v <-> '[0,0]' LIMIT 3; COMMIT; \\q" >&"${OLD[1]}"
    echo "$t: indcheckxmin $(psql -XqAtc "SELECT indcheckxmin FROM pg_index WHERE indexrelid = '${t}_v'::regclass")," \
        "the older transaction reads $(paste -s -d ' ' <&"${OLD[0]}")"
    wait
}
try serial 0
try parallel 2
END

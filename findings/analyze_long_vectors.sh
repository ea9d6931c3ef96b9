#!/usr/bin/env bash
# analyze_long_vectors.sh - ANALYZE counts each vector of 255 or more components as a distinct value, be they all equal.
#
# Versions: PostgreSQL 17.12, pgvector 0.8.0 (Debian 13). Seen on 2026-11-30.
#
# ANALYZE leaves values of more than 1024 bytes, uncompressed, out of its sample of distinct values, and takes all of them
# for distinct. A vector of 254 components has 1024 bytes with its header; so between 254 and 255 the estimate for a column
# of equal vectors jumps from one distinct value to as many as there are rows, and with it those of DISTINCT, GROUP BY and
# joins on the column. Most models make longer ones. ALTER TABLE ... ALTER COLUMN ... SET (n_distinct = ...) tells it.
. "$(dirname "$0")/lib/setup.sh"
packages postgresql-17=17.12-0+deb13u1 postgresql-17-pgvector=0.8.0-1
on_server <<'END' | expect '254 components: n_distinct 1, DISTINCT is thought to return 1 rows
255 components: n_distinct -1, DISTINCT is thought to return 1000 rows
255 components, n_distinct set: n_distinct 1, DISTINCT is thought to return 1 rows'
show() {
    echo "$2: n_distinct $(psql -XqAtc "SELECT n_distinct FROM pg_stats WHERE tablename = 't' AND attname = '$1'")," \
        "DISTINCT is thought to return $(psql -XqAtc "EXPLAIN SELECT DISTINCT $1 FROM t" |
        sed -n '1s/.*rows=\([0-9]*\).*/\1/p') rows"
}
psql -XqAt <<'SQL'
CREATE EXTENSION vector;
CREATE TABLE t AS SELECT array_fill(1::real, ARRAY[254])::vector AS v254, array_fill(1::real, ARRAY[255])::vector AS v255
FROM generate_series(1, 1000);
ANALYZE t;
SQL
show v254 '254 components'
show v255 '255 components'
psql -XqAtc 'ALTER TABLE t ALTER COLUMN v255 SET (n_distinct = 1)' -c 'ANALYZE t'
show v255 '255 components, n_distinct set'
END

#!/usr/bin/env bash
# pgvector_sum_halfvec.sh - the sum of halfvec values stands still at 2048, while their average goes on.
#
# Version: pgvector 0.8.0 with PostgreSQL 17.12 (Debian 13). Seen on 2026-11-30.
#
# sum() keeps its running total in the type that it returns. A half-precision number has 11 bits of mantissa, so from 2048
# on adding 1 changes nothing; nothing warns. The same of vector, in single precision, is what PostgreSQL's own sum(real)
# does, too: off by one part in a hundred after a million times 0.1. avg() of both types keeps double precision: to get a
# sum that is right, multiply the average by the count.
. "$(dirname "$0")/lib/setup.sh"
packages postgresql-17=17.12-0+deb13u1 postgresql-17-pgvector=0.8.0-1
on_server <<'END' | expect 'halfvec, 3000 rows of 1 and 3: sum [2048,8192], avg [1,3]
vector, 1000000 rows of 0.1: sum [100958.34], avg [0.1]
real, 1000000 rows of 0.1: sum 100958.34'
psql -XqAt <<'SQL'
CREATE EXTENSION vector;
SET max_parallel_workers_per_gather = 0;
SELECT 'halfvec, 3000 rows of 1 and 3: sum ' || sum('[1,3]'::halfvec)::text || ', avg ' || avg('[1,3]'::halfvec)::text
FROM generate_series(1, 3000);
SELECT 'vector, 1000000 rows of 0.1: sum ' || sum('[0.1]'::vector)::text || ', avg ' || avg('[0.1]'::vector)::text
FROM generate_series(1, 1000000);
SELECT 'real, 1000000 rows of 0.1: sum ' || sum(0.1::real) FROM generate_series(1, 1000000);
SQL
END

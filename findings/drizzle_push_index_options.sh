#!/usr/bin/env bash
# drizzle_push_index_options.sh - each "drizzle-kit push" drops an hnsw index that has options and builds it anew.
#
# Versions: drizzle-kit 0.31.11, drizzle-orm 0.45.4, PostgreSQL 17.12, pgvector 0.8.0 (Debian 13). Seen on 2026-12-01.
#
# A schema says .with({ m: 24 }), a number, as the examples and the types have it. drizzle-kit reads what the index has from
# pg_class.reloptions, where all values are text, and compares the two as they are: 24 is not '24'. So it finds a change whenever it
# looks, even if nothing was changed, and a vector index takes minutes or hours to build, in which queries go without it. An
# index without options, or with its numbers written as strings, is left alone.
. "$(dirname "$0")/lib/setup.sh"
packages postgresql-17=17.12-0+deb13u1 postgresql-17-pgvector=0.8.0-1 nodejs=20.19.2+dfsg-1+deb13u3
npm_packages drizzle-kit@0.31.11 drizzle-orm@0.45.4 pg@8.23.1
on_server <<'END' | expect 'a number: first push CREATE INDEX, second push DROP INDEX CREATE INDEX
a string: first push CREATE INDEX, second push nothing
no option: first push CREATE INDEX, second push nothing'
psql -XqAtc 'CREATE EXTENSION vector'
ln -s "$NODE_FOLDER/node_modules" node_modules
pushed() {
    node_modules/.bin/drizzle-kit push --force --verbose --config=config.mjs 2>&1 |
        grep -aoE '^(CREATE|DROP) INDEX|No changes detected' | sed 's/No changes detected/nothing/' | paste -s -d ' '
}
cat >config.mjs <<CONFIG
export default { dialect: 'postgresql', schema: './schema.mjs',
    dbCredentials: { url: 'postgres://postgres@localhost/postgres?host=$PGHOST' } };
CONFIG
try() {
    cat >schema.mjs <<SCHEMA
import { pgTable, integer, vector, index } from 'drizzle-orm/pg-core';
export const t = pgTable('t', { id: integer().primaryKey(), v: vector({ dimensions: 3 }) },
    (t) => [index('t_v').using('hnsw', t.v.op('vector_l2_ops'))$2]);
SCHEMA
    psql -XqAtc 'DROP TABLE IF EXISTS t'
    echo "$1: first push $(pushed), second push $(pushed)"
}
export PGOPTIONS='-c client_min_messages=warning'
try 'a number' '.with({ m: 24 })'
try 'a string' ".with({ m: '24' })"
try 'no option' ''
END

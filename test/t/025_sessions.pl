# 025_sessions.pl - what sessions and the keeper do to each other, and leave behind: waiting, giving up, failing.
use strict;
use warnings;

use lib '.';
use IqdbTest;
use FailTest;
use Time::HiRes qw(usleep);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', conf => "deadlock_timeout = 100ms\niqdb.fsync_interval = 50\nmax_worker_processes = 8\n");
$node->start;
install($node);

my $rows = 20000;
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE t (id bigserial, v iqvector(8));
INSERT INTO t (v) SELECT array_agg(random())::real[]::iqvector FROM generate_series(1, $rows) i, generate_series(1, 8) GROUP BY i;
CREATE INDEX t_v ON t USING iqdb_flat (v);
CREATE TABLE big AS SELECT generate_series(1, 50000) AS id;
ANALYZE;
SQL

my $nearest = "SELECT id FROM t ORDER BY v <-> '[1,2,3,4,5,6,7,8]' LIMIT 5";

# ---- the keeper passes by an index that somebody is held up at ---------------------------------------------------------

{
	my $offset = log_size($node);
	$node->safe_psql('postgres', "CREATE TABLE other (v iqvector(2)); CREATE INDEX other_v ON other USING iqdb_flat (v)");
	my $generation = one($node, "SELECT generation FROM iqdb_index_stats('other_v')");
	my $bytes = sub { my $sum = 0; $sum += -s $node->data_dir . "/$_" for grep { /\Q$generation\E/ } own_files($node, 'log'); $sum };
	my $session = background($node, 'log-switch:sleep', "SELECT iqdb_flush('t_v') > 0");
	wait_for_point($node, 'log-switch');
	$node->safe_psql('postgres', "INSERT INTO t (v) VALUES ('[1,2,3,4,5,6,7,8]')");
	usleep(500_000);
	my $before = $bytes->();
	$node->safe_psql('postgres', "INSERT INTO other VALUES ('[1,2]')");
	wait_until('the log of another index', sub { $bytes->() > $before });
	is(one($node, "SELECT count(*) FROM pg_locks WHERE locktype = 'userlock' AND NOT granted"), 0, 'nobody waits');
	let_go($node, 'log-switch');
	is(finish($session), "t\n", 'the flush ends');
	unlike(log_since($node, $offset), qr/terminated by signal/, 'and the keeper lives');
	$node->safe_psql('postgres', 'DROP TABLE other');
}

# ---- a parallel query finds the index behind ------------------------------------------------------------------------

{
	my ($code, $out, $err) = $node->psql('postgres',
		"LOAD 'iqdb'; SET iqdb.fail_point = 'journal-appended:error'; INSERT INTO t (v) VALUES ('[1,2,3,4,5,6,7,8]')");
	like($err, qr/fail point/, 'an entry is journaled and not applied');
	is($node->safe_psql('postgres', <<"SQL"), 5, 'a parallel query catches up');
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2; SET enable_sort = off;
WITH s AS MATERIALIZED ($nearest) SELECT count(*) FROM s LEFT JOIN big USING (id);
SQL
}

# ---- rows behind one that was not applied ---------------------------------------------------------------------------

{
	$node->psql('postgres',
		"LOAD 'iqdb'; SET iqdb.fail_point = 'journal-appended:error'; INSERT INTO t (v) VALUES ('[1,2,3,4,5,6,7,8]')");
	isnt(one($node, "SELECT journal_lag FROM iqdb_index_stats('t_v')"), 0, 'the index is behind');
	$node->safe_psql('postgres', "INSERT INTO t (v) VALUES ('[1,2,3,4,5,6,7,8]')");
	is(one($node, "SELECT journal_lag FROM iqdb_index_stats('t_v')"), 0, 'the next row brings it up');
}

# ---- a recovery that is cancelled -----------------------------------------------------------------------------------

{
	$node->stop('fast');
	forget_files($node);
	$node->start;
	my ($code, $out, $err) = $node->psql('postgres', <<'SQL', on_error_stop => 0);
LOAD 'iqdb';
SET iqdb.fail_point = 'rebuild-row:error:1000';
SELECT iqdb_prewarm('t_v');
SET iqdb.fail_point = 'rebuild-row:error:1000';
SELECT iqdb_prewarm('t_v');
SELECT pg_read_file('/proc/' || pg_backend_pid() || '/maps') ~ 'iqdb[.][0-9a-f]{16}';
SQL
	like($err, qr/fail point.*fail point/s, 'recoveries fail');
	is($out, 'f', 'nothing of them is mapped');
	is(join(' ', arena_files($node)), '', 'nor on disk');
}

# ---- who opens an index ---------------------------------------------------------------------------------------------

{
	my $offset = log_size($node);
	$node->safe_psql('postgres', 'SELECT id FROM t ORDER BY id LIMIT 1; SELECT id, v FROM t ORDER BY v::text LIMIT 1');
	unlike(log_since($node, $offset), qr/opened in/, 'queries for another order leave the index closed');
	$node->safe_psql('postgres', $nearest);
	wait_until('one for its order has it opened', sub { log_since($node, $offset) =~ /opened in/ });
}

# ---- temporary indexes that were dropped ----------------------------------------------------------------------------

is($node->safe_psql('postgres', <<'SQL'), 't', 'dropped temporary indexes leave no memory behind');
CREATE FUNCTION address_space() RETURNS bigint LANGUAGE sql VOLATILE AS
	$$SELECT substring(pg_read_file('/proc/' || pg_backend_pid() || '/status') FROM 'VmSize:\s+(\d+)')::bigint$$;
DO $$ BEGIN FOR i IN 1 .. 12 LOOP
	IF i = 3 THEN PERFORM set_config('test.before', address_space()::text, false); END IF;
	EXECUTE 'CREATE TEMP TABLE tt (v iqvector(2))';
	EXECUTE 'CREATE INDEX ON tt USING iqdb_flat (v)';
	EXECUTE 'DROP TABLE tt';
	COMMIT;
END LOOP; END $$;
SELECT address_space() < current_setting('test.before')::bigint * 2;
SQL

# ---- VACUUM beside DDL on another table -----------------------------------------------------------------------------

{
	$node->safe_psql('postgres', "CREATE TABLE o (v iqvector(2)); INSERT INTO o VALUES ('[1,2]'); CREATE INDEX ON o USING iqdb_flat (v);"
		. "SELECT iqdb_flush('t_v')");
	grow_old($node);
	my $session = background($node, '', "BEGIN; REINDEX INDEX t_v; SELECT pg_sleep(30); COMMIT");
	wait_until('REINDEX', sub { one($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") > 0 });
	my ($code, $out, $err) = $node->psql('postgres', "SET lock_timeout = '5s'; VACUUM o");
	is($err, '', 'VACUUM does not wait for it');
	$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
	finish($session);
}

# ---- an owner's code under the caller's search_path -----------------------------------------------------------------

{
	$node->safe_psql('postgres', <<'SQL');
CREATE ROLE owner; CREATE ROLE reader;
CREATE SCHEMA app AUTHORIZATION owner; CREATE SCHEMA evil AUTHORIZATION reader;
GRANT USAGE ON SCHEMA app TO reader;
SET ROLE owner; SET search_path = app, public;
CREATE FUNCTION inner_part(v iqvector) RETURNS iqvector LANGUAGE sql IMMUTABLE AS 'SELECT v';
CREATE FUNCTION outer_part(v iqvector) RETURNS iqvector LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN inner_part(v); END';
CREATE TABLE p (v iqvector(2));
-- from 17 on CREATE INDEX itself would find no unqualified function for a row
CREATE INDEX p_v ON p USING iqdb_flat ((outer_part(v)::iqvector(2)));
INSERT INTO p VALUES ('[1,2]');
GRANT SELECT ON p TO reader;
RESET ROLE; SET ROLE reader;
CREATE FUNCTION evil.inner_part(v iqvector) RETURNS iqvector LANGUAGE plpgsql AS
	'BEGIN RAISE EXCEPTION ''run as %'', current_user; END';
SQL
	$node->stop('fast');
	forget_files($node);
	$node->start;
	my ($code, $out, $err) = $node->psql('postgres',
		"SET ROLE reader; SET search_path = evil, app, public; SELECT iqdb_prewarm('app.p_v')");
	is("$out$err", '1', "the caller's functions are not found");
}

# ---- a folder that cannot be used -----------------------------------------------------------------------------------

{
	setting($node, 'iqdb.arena_directory', '/nonexistent/folder');
	$node->restart;
	my $offset = log_size($node);
	my ($code, $out, $err) = $node->psql('postgres', "INSERT INTO t (v) VALUES ('[1,2,3,4,5,6,7,9]')");
	is($code, 0, 'rows go in without memory for the index');
	is($err, '', 'at once');
	wait_until('the log', sub { log_since($node, $offset) =~ /index "t_v" cannot be used: .*nonexistent/ });
	(undef, undef, $err) = $node->psql('postgres', "INSERT INTO t (v) VALUES ('[1,2,3,4,5,6,7,9]');\n" x 3);
	is(() = $err =~ /WARNING:  index "t_v" has fallen behind its table: it could not be opened/g, 1, 'whoever comes later is warned once');
	is(scalar(split(/\n/, one($node, $nearest))), 5, 'queries answer');
	setting($node, 'iqdb.arena_directory', undef);
	$node->restart;
	sound($node, 't_v');
	agree($node, 'the index agrees with the table', table => 't', all => 0);
}

# ---- a cluster that its group may read ------------------------------------------------------------------------------

{
	my $open = new_node('open', init => [ allows_streaming => 0, extra => ['--allow-group-access'] ]);
	$open->start;
	install($open);
	$open->safe_psql('postgres', "CREATE TABLE t (v iqvector(2)); INSERT INTO t VALUES ('[1,2]'); "
		. "CREATE INDEX t_v ON t USING iqdb_flat (v); SELECT iqdb_flush('t_v')");
	ok(check_mode_recursive($open->data_dir . '/iqdb', 0750, 0640), 'its group may read own files too');
	ok(check_mode_recursive($node->data_dir . '/iqdb', 0700, 0600), 'that of another may not');
	$open->stop;
}

$node->stop;
done_testing();

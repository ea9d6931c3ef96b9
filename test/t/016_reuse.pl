# 016_reuse.pl - places in the table change hands: vacuum in all its forms, updates in place, partitions, dump and restore.
#
# An index names rows by their place. Each case here frees places, or fills them anew with a row of another kind, in
# another way; an entry that outlives its row would be a wrong answer.
use strict;
use warnings;
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('reuse', conf => "max_parallel_maintenance_workers = 2\nmin_parallel_index_scan_size = 0\n");
$node->start;
install($node);
my $method;
my $t;
my $add = "INSERT INTO %s (kind, v) SELECT i %% 4, iqdb_random(5) FROM generate_series(1, %d) i";

sub both
{
	my ($what, %args) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($code, $out, $err) = $node->psql('postgres',
		agree_sql(table => $t, method => $method, queries => 4, %args) . " SELECT iqdb_check('${t}_v')");
	is("$code|$out|$err", '0||', "$method: $what: as a sequential scan, and iqdb_check finds nothing");
}

sub run { $node->safe_psql('postgres', join(";\n", @_)) }

sub table_of
{
	my ($name, $options) = @_;
	$t = "${name}_$method";
	run("CREATE TABLE $t (id serial, kind int, v iqvector(5)) " . ($options // ''), sprintf($add, $t, 600),
		"CREATE INDEX ${t}_v ON $t USING $method (v) " . place_of_vectors($method));
}

for (methods($node))
{
	$method = $_;

	# ---- who takes a free place ----
	table_of('places');
	run("CREATE INDEX ${t}_part ON $t USING $method (v iqvector_l1_ops) WHERE kind = 1");
	for my $new ("iqdb_random(5), 1", "NULL, 1", "iqdb_random(5), 2", "NULL, 2")
	{
		run("DELETE FROM $t WHERE id % 3 = 0", "VACUUM $t", "INSERT INTO $t (v, kind) SELECT $new FROM generate_series(1, 250)");
		both("places taken by ($new)");
		is(one($node, "SET enable_seqscan = off; SELECT count(*), sum(id) FROM (SELECT id FROM $t WHERE kind = 1 AND v IS NOT NULL "
				. "ORDER BY v <+> '[1,1,1,1,1]') s"),
			one($node, "SET enable_indexscan = off; SELECT count(*), sum(id) FROM $t WHERE kind = 1 AND v IS NOT NULL"),
			"$method: places taken by ($new): the partial index");
		sound($node, "${t}_part", "$method: places taken by ($new): iqdb_check of the partial index");
	}

	# a partial index never answers for rows that its predicate leaves out: nobody checks them again
	is(one($node, "SET enable_seqscan = off; SELECT count(*) FROM (SELECT kind FROM $t WHERE kind = 1 ORDER BY v <+> '[1,1,1,1,1]') s "
			. 'WHERE kind <> 1'), 0, "$method: no row outside of a partial index");

	# ---- vacuum in all its forms ----
	table_of('vacuum', 'WITH (autovacuum_enabled = off)');
	for my $options ('INDEX_CLEANUP OFF', 'INDEX_CLEANUP ON', 'INDEX_CLEANUP AUTO', 'TRUNCATE OFF', 'PARALLEL 2', 'PARALLEL 0',
		'DISABLE_PAGE_SKIPPING', 'FREEZE', 'ANALYZE', 'FULL', 'PROCESS_TOAST OFF')
	{
		# the rest is the same code for every method
		next unless is_exact($method) || $options =~ /INDEX_CLEANUP O/;
		run("DELETE FROM $t WHERE id % 4 = 1", "VACUUM ($options) $t", "INSERT INTO $t (kind) SELECT 1 FROM generate_series(1, 60)",
			sprintf($add, $t, 120));
		both("VACUUM ($options)");
		run("DELETE FROM $t WHERE v IS NULL");
	}
	# few dead rows on few pages: VACUUM leaves their places for the next time
	run("VACUUM FREEZE $t", "DELETE FROM $t WHERE id IN (SELECT id FROM $t LIMIT 2)", "VACUUM $t", sprintf($add, $t, 20));
	both('VACUUM that passes over indexes');
	run("DELETE FROM $t WHERE id % 2 = 0", 'SET vacuum_failsafe_age = 0', 'SET vacuum_multixact_failsafe_age = 0', "VACUUM $t",
		'RESET ALL', sprintf($add, $t, 100), "VACUUM $t");
	both('VACUUM in a hurry');
	# the end of the table is cut off, and grows again
	run("DELETE FROM $t WHERE id > (SELECT id FROM $t ORDER BY id LIMIT 1 OFFSET 20)", "VACUUM $t", "VACUUM $t");
	cmp_ok(one($node, "SELECT pg_relation_size('$t')"), '<', 100_000, "$method: VACUUM has cut the table");
	both('a table that was cut');
	run(sprintf($add, $t, 400), "INSERT INTO $t (kind) SELECT 1 FROM generate_series(1, 200)");
	both('and has grown again');
	run("DELETE FROM $t", "VACUUM $t");
	both('an empty table');
	$node->restart;
	run(sprintf($add, $t, 300));
	both('filled again after a restart');

	# ---- updates in place: an entry stands for a chain of versions ----
	table_of('hot', 'WITH (fillfactor = 40)');
	for my $turn (1 .. 3)
	{
		run("UPDATE $t SET kind = kind + 1", "UPDATE $t SET kind = kind + 1 WHERE id % 2 = 0");
		both("updates in place, $turn");
		run("VACUUM $t") if $turn == 2;
	}
	cmp_ok(one($node, "SELECT pg_stat_force_next_flush(); SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = '$t'") =~ s/^\n//r,
		'>', 500, "$method: they were in place");
	# the vector changes too: a chain that another index may not follow
	my $old = $node->background_psql('postgres');
	$old->query_safe("SET enable_seqscan = off; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM $t");
	my $seen = $old->query_safe("SELECT sum(id), count(*), round(sum(v <-> '[0,0,0,0,0]')::numeric, 6) FROM $t");
	run("UPDATE $t SET v = iqdb_random(5) WHERE id % 3 = 0", "UPDATE $t SET kind = 9 WHERE id % 3 = 0",
		"CREATE INDEX ${t}_w ON $t USING $method (v iqvector_cosine_ops)", "UPDATE $t SET v = iqdb_random(5) WHERE id % 6 = 0");
	both('chains older than an index', op => '<=>');
	is($old->query_safe("SELECT sum(id), count(*), round(sum(d)::numeric, 6) FROM "
			. "(SELECT id, v <-> '[0,0,0,0,0]' AS d FROM $t ORDER BY v <-> '[0,0,0,0,0]') s"), $seen,
		"$method: an old snapshot still finds all its rows");
	$old->query_safe('COMMIT');
	$old->quit;
	run("VACUUM $t");
	both('and vacuumed');
	kill_server($node);
	$node->start;
	both('after a crash', op => '<=>');
	both('after a crash');

	# ---- two sessions insert the same key ----
	table_of('conflict');
	run("CREATE UNIQUE INDEX ON $t (id)");
	my $load = start_load($node, 1, 4, { "\\set i random(1000, 1400)\nINSERT INTO $t (id, v) SELECT i, iqdb_random(5) "
		  . "FROM generate_series(:i, :i + 3) i ON CONFLICT (id) DO UPDATE SET v = excluded.v;\n" => 3,
		"\\set i random(1000, 1400)\nINSERT INTO $t (id, v) VALUES (:i, iqdb_random(5)) ON CONFLICT DO NOTHING;\n" => 3,
		"\\set i random(1000, 1400)\nDELETE FROM $t WHERE id = :i;\n" => 2, "VACUUM $t;\n" => 1 });
	finish_load($load);
	both('ON CONFLICT');
	is(one($node, "SET enable_seqscan = off; SELECT count(*) - count(DISTINCT id) FROM (SELECT id FROM $t ORDER BY v <-> '[1,1,1,1,1]') s"),
		0, "$method: ON CONFLICT: no row twice");

	# ---- a cursor that goes backwards, and an order by more than the distance ----
	is($node->safe_psql('postgres', "SET enable_seqscan = off; BEGIN; DECLARE c SCROLL CURSOR FOR SELECT id FROM $t "
			  . "ORDER BY v <-> '[1,1,1,1,1]'; MOVE 5 FROM c; FETCH BACKWARD 4 FROM c; FETCH ABSOLUTE 4 FROM c; ROLLBACK"),
		join("\n", map { one($node, "SET enable_seqscan = off; SELECT id FROM $t ORDER BY v <-> '[1,1,1,1,1]' LIMIT 1 OFFSET $_") }
			  3, 2, 1, 0, 3), "$method: a cursor that goes backwards");
	my $two_keys = "SELECT string_agg(id::text, ' ') FROM (SELECT id FROM $t WHERE v IS NOT NULL ORDER BY v <-> '[1,1,1,1,1]', id) s";
	is(one($node, "SET enable_seqscan = off; $two_keys"), one($node, "SET enable_indexscan = off; $two_keys"),
		"$method: an order by distance and key");

	# ---- serializable transactions ----
	my ($one, $two) = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 2;
	$_->query_safe("SET enable_seqscan = off; BEGIN ISOLATION LEVEL SERIALIZABLE") for $one, $two;
	$_->query_safe("SELECT id FROM $t ORDER BY v <-> '[1,1,1,1,1]' LIMIT 3") for $one, $two;
	$_->query_safe("INSERT INTO $t (id, v) VALUES (@{[$_ == $one ? 90001 : 90002]}, '[1,1,1,1,1]')") for $one, $two;
	$one->query_safe('COMMIT');
	$two->query('COMMIT');
	like($two->{stderr}, qr/could not serialize access/, "$method: serializable transactions conflict over what they have read");
	$two->{stderr} = '';
	$_->quit for $one, $two;
	both('after a serialization failure');

	# ---- a table that changes under the index ----
	table_of('alter');
	sql_fails($node, "ALTER TABLE $t ALTER v TYPE iqvector(4);", '22000', 'expected 4 dimensions, not 5',
		"$method: dimensions that rows do not have");
	both('a failed ALTER TYPE');
	run("ALTER TABLE $t ALTER v TYPE iqvector(3) USING subvector(v, 1, 3)", sprintf($add =~ s/iqdb_random\(5\)/iqdb_random(3)/r, $t, 30));
	both('other dimensions');
	run("ALTER TABLE $t RENAME v TO w", "ALTER TABLE $t RENAME w TO v", "ALTER TABLE $t ADD x int DEFAULT 3", "ALTER TABLE $t DROP kind");
	both('renamed and other columns');

	# ---- partitions ----
	run("CREATE TABLE parted_$method (id int, v iqvector(5)) PARTITION BY RANGE (id)",
		"CREATE TABLE low_$method PARTITION OF parted_$method FOR VALUES FROM (0) TO (1000)",
		"CREATE INDEX parted_${method}_v ON parted_$method USING $method (v)",
		"CREATE TABLE high_$method (id int, v iqvector(5))",
		"INSERT INTO high_$method SELECT i, iqdb_random(5) FROM generate_series(1000, 1300) i",
		"INSERT INTO parted_$method SELECT i, iqdb_random(5) FROM generate_series(1, 300) i",
		"ALTER TABLE parted_$method ATTACH PARTITION high_$method FOR VALUES FROM (1000) TO (2000)");
	agree($node, "$method: an attached partition", table => "parted_$method", method => $method);
	run("UPDATE parted_$method SET id = id + 1500 WHERE id < 100", "ALTER TABLE parted_$method DETACH PARTITION low_$method");
	agree($node, "$method: rows that moved to another partition", table => "parted_$method", method => $method);
	agree($node, "$method: a detached partition", table => "low_$method", method => $method);

	# ---- a journal that is much too short ----
	run("DROP TABLE parted_$method, low_$method");
	setting($node, 'iqdb.journal_keep', 2);
	setting($node, 'iqdb.journal_limit', 4);
	table_of('lapped');
	my $idle = $node->background_psql('postgres');
	$idle->query_safe("SET enable_seqscan = off; SELECT id FROM $t ORDER BY v <-> '[1,1,1,1,1]' LIMIT 3");
	run(sprintf($add, $t, 3000), "UPDATE $t SET v = iqdb_random(5)", "VACUUM $t", "UPDATE $t SET v = iqdb_random(5)");
	is($idle->query_safe("SELECT count(*) FROM (SELECT id FROM $t ORDER BY v <-> '[1,1,1,1,1]') s"), 3600,
		"$method: a short journal: a session that slept");
	$idle->quit;
	both('a short journal');
	cmp_ok(one($node, "SELECT pg_relation_size('${t}_v') / 8192"), '<=', 8, "$method: a short journal stays short");
	kill_server($node);
	$node->start;
	both('a short journal, after a crash');
	setting($node, 'iqdb.journal_keep', undef);
	setting($node, 'iqdb.journal_limit', undef);

	# ---- places that others took since the snapshot: their rows must not be loaded in the place of those that it means ----
	table_of('since', 'WITH (autovacuum_enabled = off)');
	run("SELECT iqdb_flush('${t}_v')", "DELETE FROM $t WHERE id % 3 = 0", "VACUUM $t", sprintf($add, $t, 200));
	my $offset = log_size($node);
	kill_server($node);
	$node->start;
	both('places taken since the snapshot');
	like(log_since($node, $offset), qr/index "${t}_v" opened in \S+ ms: 400 rows loaded from snapshot/, "$method: the rows it means are loaded");

	# ---- dump and restore ----
	run("CREATE DATABASE restored_$method");
	my $dump = $node->data_dir . "/../dump_$method";
	$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-t', $t, $node->connstr('postgres') ], "$method: pg_dump");
	install($node, "restored_$method");
	$node->command_ok([ 'pg_restore', '-j', 2, '-d', $node->connstr("restored_$method"), $dump ], "$method: pg_restore");
	is($node->safe_psql("restored_$method", "SELECT count(*), sum(id) FROM $t"), one($node, "SELECT count(*), sum(id) FROM $t"),
		"$method: all rows are there");
	agree($node, "$method: a restored table", table => $t, method => $method, database => "restored_$method");
	run("DROP DATABASE restored_$method");
}

# ---- all files of the cluster, own ones included, stand the server's own checks ----
my $with_checksums = one($node, 'SHOW data_checksums') eq 'on';
$node->stop;
# from 18 on a cluster has them unless it was made without
system_or_bail('pg_checksums', '--disable', '-D', $node->data_dir) if $with_checksums;
$node->command_ok([ 'pg_checksums', '--enable', '-D', $node->data_dir ], 'pg_checksums enables');
$node->command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ], 'pg_checksums checks');
$node->start;
for (methods($node))
{
	$method = $_;
	$t = "places_$method";
	run(sprintf($add, $t, 300), "VACUUM $t");
	both('with checksums');
}
unlike(log_since($node, 0), qr/PANIC|TRAP|terminated by signal|page verification failed/, 'nothing strange in the log');
$node->stop;
is_deeply([ arena_files($node) ], [], 'nothing is left in shared memory');
done_testing();

# IqdbTest.pm - what the TAP tests share: servers with the extension, methods to test, comparisons with a sequential scan.
#
# Tests are written for "an access method" and run for each one that this build has. An exact method (flat) must answer
# as a sequential scan does, to the last bit of every distance; the others must reach a recall, and must still return
# every row, once, when nobody stops the scan.
package IqdbTest;

use strict;
use warnings;

use Cwd ();
use Exporter 'import';
use File::Basename qw(basename);
use IPC::Run ();
use Time::HiRes qw(time usleep);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_node install methods is_exact place_of_vectors arena_files own_files arena_folder_of agree agree_sql sound
  log_since log_size kill_server wait_gone wait_answer wait_replay start_load finish_load seed_from_env one sql_fails setting grow_old);

# Folders for arenas made by this test; removed at its end.
my @arena_folders;

# A folder for the arenas of one server alone, so that a test can say "nothing is left".
sub arena_folder_of
{
	my ($node) = @_;
	return $node->{iqdb_arena};
}

sub make_arena_folder
{
	my ($name) = @_;
	my $parent = '/dev/shm';

	if (defined $ENV{TEMP_CONFIG} && slurp_file($ENV{TEMP_CONFIG}) =~ /iqdb\.arena_directory *= *'([^']+)'/)
	{
		$parent = $1;
	}
	my $folder = "$parent/" . basename($0, '.pl') . ".$name.$$";
	mkdir $folder or die "$folder: $!";
	push @arena_folders, $folder;
	return $folder;
}

END
{
	my $status = $?;
	for my $folder (@arena_folders)
	{
		unlink glob("$folder/*");
		rmdir $folder;
	}
	$? = $status;
}

# new_node(name, init => [...], conf => "...", like => node): a server that is not started yet. With from_backup =>
# [root node, backup name, options...] it is made of a base backup instead.
sub new_node
{
	my ($name, %args) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	if ($args{from_backup})
	{
		$node->init_from_backup(@{ $args{from_backup} });
	}
	else
	{
		$node->init(extra => [ '--encoding=UTF8', '--no-locale' ], @{ $args{init} || [] });
	}
	$node->{iqdb_arena} = make_arena_folder($name);
	$node->append_conf('postgresql.conf', <<"CONF");
log_statement = none
autovacuum = off
shared_buffers = 32MB
max_connections = 50
max_worker_processes = 8
max_prepared_transactions = 10
max_parallel_workers_per_gather = 0
log_min_messages = log
log_error_verbosity = terse
iqdb.arena_directory = '$node->{iqdb_arena}'
CONF
	$node->append_conf('postgresql.conf', $args{conf}) if $args{conf};
	return $node;
}

# The extension, and functions that compare (at the end of this file). One call of them is one connection, however many
# queries it compares.
my $functions;

sub install
{
	my ($node, $database) = @_;
	$functions //= do { local $/; <DATA> };
	$node->safe_psql($database // 'postgres', $functions);
}

# The access methods of the extension whose engine this build has.
sub methods
{
	my ($node) = @_;
	my @found;

	for my $method (split /\n/, $node->safe_psql('postgres', q(SELECT amname FROM pg_am WHERE amname LIKE 'iqdb\_%' ORDER BY 1)))
	{
		my ($code) = $node->psql('postgres', "BEGIN; CREATE TABLE iqdb_trial (v iqvector(2)); "
			  . "INSERT INTO iqdb_trial VALUES ('[1,2]'); CREATE INDEX ON iqdb_trial USING $method (v); ROLLBACK",
			on_error_stop => 1);
		if ($code == 0)
		{
			push @found, $method;
		}
		else
		{
			note "$method is not built in";
		}
	}
	die "no access method works" unless @found;
	return @found;
}

sub is_exact
{
	my ($method) = @_;
	return $method eq 'iqdb_flat';
}

# Options of an index for tests about files: on disk for some methods, so that both places are met.
sub place_of_vectors
{
	my ($method) = @_;
	return $method eq 'iqdb_hnsw' ? '' : 'WITH (vectors = disk)';
}

# Changes a setting of the running server; undef takes the value of postgresql.conf again.
sub setting
{
	my ($node, $name, $value) = @_;
	my $change = defined $value ? "SET $name = '$value'" : "RESET $name";
	$node->safe_psql('postgres', "LOAD 'iqdb'; ALTER SYSTEM $change;\nSELECT pg_reload_conf()");
}

# One value.
sub one
{
	my ($node, $sql) = @_;
	return scalar $node->safe_psql('postgres', $sql);
}

# Arena files of a server, those of vectors on disk included, without their folder.
sub arena_files
{
	my ($node) = @_;
	my $fallback = $node->data_dir . '/base/pgsql_tmp';
	my @files = sort map { basename($_) } glob("$node->{iqdb_arena}/*"), glob("$fallback/pgsql_tmp.iqdb.*");
	return @files;
}

# Snapshots and logs of a server, as paths below its data directory.
sub own_files
{
	my ($node, $suffix) = @_;
	my $top = $node->data_dir;
	$suffix //= '*';
	my @files = sort map { s{^\Q$top\E/}{}r } glob("$top/iqdb/*/*.$suffix");
	return @files;
}

# Lets own files and arenas look as if nobody had touched them for hours.
sub grow_old
{
	my ($node) = @_;
	my $then = time - 7200;
	utime $then, $then, glob($node->data_dir . '/iqdb/*/*'), glob("$node->{iqdb_arena}/*");
}

# agree(node, what, table => , op => , dims =>, ...): one test: does the index answer as a sequential scan does?
# Options: column (v), id (id), queries (10), limit (10), filter (''), method (exact unless it says otherwise),
# recall (0.9; few queries say no more than that: the unit tests have the gates on quality), database (postgres), all (1: compares the whole table too), values (of the query vectors).
sub agree
{
	my ($node, $what, %args) = @_;
	my ($code, $out, $err) = $node->psql($args{database} // 'postgres', agree_sql(%args));

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is("$code|$out|$err", '0||', $what);
}

# The statement for that; it returns no row if all is well.
sub agree_sql
{
	my (%args) = @_;
	my $exact = is_exact($args{method} // 'iqdb_flat') ? 'true' : 'false';
	return sprintf(
		'SELECT iqdb_compare(%s, %s, %s, %s, %d, %d, %s, %s, %s, %s);',
		map({ "'$_'" } $args{table}, $args{id} // 'id', $args{column} // 'v', $args{op} // '<->'),
		$args{queries} // 10, $args{limit} // 10,
		"'" . (($args{filter} // '') =~ s/'/''/gr) . "'",
		$exact, $args{recall} // 0.9, ($args{all} // 1) ? 'true' : 'false');
}

# sound(node, index, what): iqdb_check finds nothing.
sub sound
{
	my ($node, $index, $what, $database) = @_;
	my ($code, $out, $err) = $node->psql($database // 'postgres', "SELECT iqdb_check('$index')");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is("$code|$out|$err", '0||', $what // "iqdb_check finds nothing in $index");
}

# sql_fails(node, sql, sqlstate, pattern, what): the statement must fail with this SQLSTATE and message.
sub sql_fails
{
	my ($node, $sql, $sqlstate, $pattern, $what) = @_;
	my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", on_error_stop => 1);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like(($code == 0 ? 'did not fail ' : '') . $err, qr/(ERROR|FATAL): +\Q$sqlstate\E: .*$pattern/s, $what);
}

# ---- log ----

sub log_size
{
	my ($node) = @_;
	return -s $node->logfile || 0;
}

sub log_since
{
	my ($node, $offset) = @_;
	return slurp_file($node->logfile, $offset);
}

# ---- crashes ----

# The living processes of a server, found by their working directory.
sub processes
{
	my ($node) = @_;
	my $data = Cwd::realpath($node->data_dir);
	my @found;

	for my $link (glob '/proc/[0-9]*/cwd')
	{
		my $cwd = readlink $link;
		push @found, $1 if defined $cwd && $cwd eq $data && $link =~ m{/(\d+)/};
	}
	return @found;
}

# Until these processes have ended; it does not matter whether somebody has waited for them.
sub wait_gone
{
	for my $pid (@_)
	{
		my $end = time + 20;
		while (time < $end && kill(0, $pid))
		{
			open my $file, '<', "/proc/$pid/stat" or last;
			my $state = <$file>;
			close $file;
			last if !defined $state || $state =~ /^\d+ \(.*\) Z/s;
			usleep(2000);
		}
	}
}

# Until the server takes connections and answers this with true; false after three minutes. poll_query_until() hands psql the
# query by a pipe, and ends the test where psql has ended before it has read it, as it does while the server takes nobody.
sub wait_answer
{
	my ($node, $sql) = @_;
	my $end = time + 180;
	while (time < $end)
	{
		my ($out, $err);
		IPC::Run::run([ 'psql', '-XAt', '-d', $node->connstr('postgres'), '-c', $sql ], '<', '/dev/null', '>', \$out, '2>', \$err);
		return 1 if $out eq "t\n";
		usleep(50_000);
	}
	return 0;
}

# kill -9 for every process of the server; its data directory is ready to be started again.
sub kill_server
{
	my ($node) = @_;

	# The postmaster is held still, so that nobody sees it go, or another one go, and cleans up.
	my $postmaster = $node->{_pid};
	kill 'STOP', $postmaster if $postmaster;
	my @pids = grep { $_ != ($postmaster // 0) } processes($node);
	kill 'KILL', @pids;
	kill 'KILL', $postmaster if $postmaster;
	while (@pids = processes($node))
	{
		kill 'KILL', @pids;
		wait_gone(@pids);
	}
	# The next start would take a process that is dead, and that nobody has waited for yet, for a living one.
	unlink $node->data_dir . '/postmaster.pid', $node->host . '/.s.PGSQL.' . $node->port . '.lock';
	$node->{_pid} = undef;
}

# ---- load ----

# start_load(node, seconds, clients, { script text => weight, ... }, options...): pgbench in the background; -tN in place of
# seconds runs N transactions for each client.
my $loads = 0;

# These nodes have applied all that the first one has written, committed or not.
sub wait_replay
{
	my ($from, @nodes) = @_;
	# a commit that waits for its WAL takes all WAL before it along
	my $lsn = one($from, 'SET synchronous_commit = on; SELECT txid_current(); SELECT pg_switch_wal()') =~ s/.*\n//sr;
	for my $node (@nodes)
	{
		$node->poll_query_until('postgres', "SELECT pg_last_wal_replay_lsn() >= '$lsn'")
		  or die $node->name . ' has not applied everything';
	}
}

sub start_load
{
	my ($node, $seconds, $clients, $scripts, @variables) = @_;
	my $number = $loads++;
	my $folder = PostgreSQL::Test::Utils::tempdir();
	my @files;
	my $i = 0;

	for my $text (sort keys %$scripts)
	{
		my $path = "$folder/load$number." . $i++ . '.sql';
		append_to_file($path, $text);
		push @files, '-f', "$path\@$scripts->{$text}";
	}
	my $load = { out => '', number => $number };
	$load->{run} = IPC::Run::start(
		[ 'pgbench', '-n', '-M', 'simple', '-c', $clients, '-j', 1, $seconds =~ /^-/ ? $seconds : "-T$seconds", '--max-tries=1000',
		  '--random-seed=' . ($number * 7919 + 1), @variables, @files, '-h', $node->host, '-p', $node->port, 'postgres' ],
		'<', \undef, '>&', \$load->{out});
	return $load;
}

# Waits for the end of a load; returns whether it went well, and what it said.
sub finish_load
{
	my ($load) = @_;
	my $ok = $load->{run}->finish;
	return ($ok, $load->{out});
}

# A seed: the one given in IQDB_SEED, or a new one; it is printed, and used for perl's own random numbers.
sub seed_from_env
{
	my $seed = $ENV{IQDB_SEED} // int(time * 1000) % 1000000007;
	srand $seed;
	diag_or_note("seed $seed (IQDB_SEED=$seed repeats it)");
	return $seed;
}

sub diag_or_note
{
	note $_[0];
}

1;

__DATA__
CREATE EXTENSION IF NOT EXISTS iqdb;

-- A random vector: multiples of 1 / steps, so that ties and duplicates happen when steps is small.
CREATE OR REPLACE FUNCTION iqdb_random(dimension int, steps int DEFAULT 1000000) RETURNS iqvector
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	RETURN ARRAY(SELECT floor(random() * steps) / steps FROM generate_series(1, dimension))::real[]::iqvector;
END $$;

-- The place of a row as a number, for tables without a key.
CREATE OR REPLACE FUNCTION iqdb_row(place tid) RETURNS bigint LANGUAGE sql IMMUTABLE AS
	'SELECT ((place::text::point)[0]::bigint << 16) + (place::text::point)[1]::bigint';

-- The rows of a query through an index (or not), in their order; fails if the plan is not the one wanted.
CREATE OR REPLACE FUNCTION iqdb_rows(query text, by_index boolean, OUT ids bigint[], OUT distances float8[])
LANGUAGE plpgsql AS $$
DECLARE
	line text;
	used boolean := false;
BEGIN
	PERFORM set_config('enable_seqscan', CASE WHEN by_index THEN 'off' ELSE 'on' END, true);
	PERFORM set_config('enable_bitmapscan', 'off', true);
	PERFORM set_config('enable_indexscan', CASE WHEN by_index THEN 'on' ELSE 'off' END, true);
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		used := used OR line LIKE '%Index Scan using%' OR line LIKE '%(Vector Scan)%';
	END LOOP;
	IF used <> by_index THEN
		RAISE EXCEPTION 'the plan is not by % for %', CASE WHEN by_index THEN 'index' ELSE 'sequential scan' END, query;
	END IF;
	EXECUTE 'SELECT array_agg(id), array_agg(d) FROM (' || query || ') q' INTO ids, distances;
	ids := coalesce(ids, '{}');
	distances := coalesce(distances, '{}');
END $$;

-- A search for indexes that are not open, and patience with who recovers them: until then plans leave them out.
CREATE OR REPLACE FUNCTION iqdb_settle(tab text, query text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('enable_seqscan', 'off', true);
	EXECUTE query;
	-- OFFSET 0: statistics open an index, and those of other tables may be locked by somebody who does not end
	WHILE EXISTS (SELECT FROM (SELECT c.oid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
				WHERE (i.indrelid = tab::regclass OR i.indrelid IN (SELECT relid FROM pg_partition_tree(tab::regclass)))
					AND a.amname LIKE 'iqdb%' AND c.relkind = 'i' AND i.indisready OFFSET 0) own,
			LATERAL iqdb_index_stats(own.oid) s WHERE s.state = 'recovering') LOOP
		PERFORM pg_sleep(0.005);
	END LOOP;
END $$;

-- One line per difference between index order and sequential order, the recall being one: for each of some query vectors (rows of the table,
-- and a vector that is not in it), the nearest ones; and once the whole table.
CREATE OR REPLACE FUNCTION iqdb_compare(tab text, id text, col text, op text, queries int, lim int, filter text,
	exact boolean, recall_wanted float8, whole boolean) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
	target text;
	targets text[];
	type text;
	base text;
	query text;
	a record;
	b record;
	found int := 0;
	total int := 0;
	problem text;
BEGIN
	-- of v::iqvector(3), it is v that must not be NULL: the cast may fail for rows that the filter leaves out
	base := format('FROM %s WHERE %s%s IS NOT NULL', tab, CASE WHEN filter <> '' THEN filter || ' AND ' ELSE '' END,
		split_part(col, '::', 1));
	EXECUTE format('SELECT coalesce(array_agg(v::text), ''{}''), max(pg_typeof(v)::text) FROM (SELECT %s AS v %s ORDER BY random() LIMIT %s) t',
		col, base, greatest(queries - 1, 1)) INTO targets, type;
	IF type = 'bit' THEN
		type := format('bit(%s)', length(targets[1]));
		targets := targets || (SELECT string_agg(CASE WHEN random() < 0.5 THEN '1' ELSE '0' END, '')
			FROM generate_series(1, length(targets[1])));
	ELSIF targets <> '{}' THEN
		targets := targets || (SELECT array_agg(random())::real[]::iqvector::text
			FROM generate_series(1, iqvector_dims(targets[1]::iqvector)));
	ELSE
		EXECUTE format('SELECT coalesce(array_agg(v::text), ''{}''), max(pg_typeof(v)::text) FROM (SELECT %s AS v FROM %s WHERE %s IS NOT NULL LIMIT 1) t',
			col, tab, col) INTO targets, type;
		IF targets = '{}' THEN
			RETURN;
		END IF;
	END IF;
	PERFORM iqdb_settle(tab, format('SELECT 1 %s ORDER BY %s %s %L::%s LIMIT 1', base, col, op, targets[1], type));
	FOREACH target IN ARRAY targets LOOP
		query := format('SELECT %s::bigint AS id, %s %s %L::%s AS d %s ORDER BY %s %s %L::%s LIMIT %s',
			id, col, op, target, type, base, col, op, target, type, lim);
		SELECT * INTO a FROM iqdb_rows(query, true);
		SELECT * INTO b FROM iqdb_rows(query, false);
		problem := iqdb_difference(a.ids, a.distances, b.ids, b.distances, exact);
		IF problem IS NOT NULL THEN
			RETURN NEXT format('%s: %s', problem, left(query, 200));
		END IF;
		-- a row as near as the farthest wanted one is as good
		total := total + cardinality(b.ids);
		found := found + (SELECT count(*) FROM unnest(a.distances) d WHERE d <= b.distances[cardinality(b.ids)] + 1e-6);
	END LOOP;
	IF total > 0 AND found::float8 / total < recall_wanted THEN
		RETURN NEXT format('recall %s is below %s', round(found::numeric / total, 4), recall_wanted);
	END IF;

	IF whole THEN
		query := format('SELECT %s::bigint AS id, %s %s %L::%s AS d %s ORDER BY %s %s %L::%s',
			id, col, op, target, type, base, col, op, target, type);
		SELECT * INTO a FROM iqdb_rows(query, true);
		SELECT * INTO b FROM iqdb_rows(query, false);
		-- an approximate method gives rows that it learns of late at the end; but no row may be left out
		IF NOT exact THEN
			SELECT coalesce(array_agg(u.id ORDER BY u.d), '{}') AS ids, coalesce(array_agg(u.d ORDER BY u.d), '{}') AS distances
				INTO a FROM unnest(a.ids, a.distances) u (id, d);
		END IF;
		problem := iqdb_difference(a.ids, a.distances, b.ids, b.distances, true);
		IF problem IS NOT NULL THEN
			RETURN NEXT format('whole table, %s: %s', problem, left(query, 200));
		END IF;
	END IF;
END $$;

-- What is wrong with result a, b being right; NULL if nothing. Rows of equal distance may be swapped, also at the end.
CREATE OR REPLACE FUNCTION iqdb_difference(a_ids bigint[], a float8[], b_ids bigint[], b float8[], exact boolean)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	n int := cardinality(b);
	twice bigint;
	missing bigint;
BEGIN
	IF cardinality(a) <> n THEN
		RETURN format('%s rows instead of %s', cardinality(a), n);
	END IF;
	SELECT id INTO twice FROM unnest(a_ids) id GROUP BY id HAVING count(*) > 1 LIMIT 1;
	IF FOUND THEN
		RETURN format('row %s twice', twice);
	END IF;
	FOR i IN 2 .. n LOOP
		IF a[i] < a[i - 1] THEN
			RETURN format('wrong order at %s', i);
		END IF;
	END LOOP;
	IF exact THEN
		FOR i IN 1 .. n LOOP
			IF a[i] IS DISTINCT FROM b[i] THEN
				RETURN format('distance %s at %s instead of %s', a[i], i, b[i]);
			END IF;
		END LOOP;
		SELECT u.id INTO missing FROM unnest(b_ids, b) u (id, d) WHERE d < b[n] AND id <> ALL (a_ids) LIMIT 1;
		IF FOUND THEN
			RETURN format('row %s is missing', missing);
		END IF;
	END IF;
	RETURN NULL;
END $$;

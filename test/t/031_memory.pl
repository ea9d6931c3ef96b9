# 031_memory.pl - memory and address space are taken by need, and freed again: by temporary tables, by indexes that grow, by
# sessions that come across many, on standbys, after a change of folders, under one limit for all indexes.
use strict;
use warnings;
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_node('primary', init => [ allows_streaming => 1 ], conf => "iqdb.fsync_interval = 50ms\n");
$primary->start;
install($primary);
my ($method) = grep { is_exact($_) } methods($primary);
my $add = 'INSERT INTO %s (v) SELECT iqdb_random(%d) FROM generate_series(1, %d)';
my $query = "SET enable_seqscan = off; SELECT count(*) FROM (SELECT 1 FROM t ORDER BY v <-> '[1,1,1,1]' LIMIT 1) s";

# ---- temporary tables come and go ----
{
	my $session = $primary->background_psql('postgres');
	my $round = "CREATE TEMP TABLE s (id serial, v iqvector(4)); CREATE INDEX ON s USING $method (v); "
	  . sprintf($add, 's', 4, 10) . '; DROP TABLE s;';
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my $maps = sub { scalar(split /\n/, slurp_file("/proc/$pid/maps")) };

	$session->query_safe($round x 3);
	my $before = $maps->();
	$session->query_safe($round) for 1 .. 50;
	cmp_ok($maps->(), '<=', $before + 15, 'temporary tables: fifty rounds leave no mapping');
	$session->query_safe("BEGIN; CREATE TEMP TABLE s (v iqvector(4)) ON COMMIT DROP; CREATE INDEX ON s USING $method (v); COMMIT")
	  for 1 .. 20;
	cmp_ok($maps->(), '<=', $before + 15, 'temporary tables: nor does ON COMMIT DROP');
	is_deeply([ arena_files($primary), own_files($primary) ], [], 'temporary tables: nor a file');
	$session->quit;
}

# ---- address space: as much as the table needs, and a larger arena when it is outgrown ----
for my $method (methods($primary))
{
	for my $kind ('', 'UNLOGGED', 'TEMP')
	{
		my $what = "$method: outgrown" . ($kind && ", $kind");
		my $offset = log_size($primary);
		my $rows = 5000;
		# one session, for the temporary one is gone with it
		my ($code, $out, $err) = $primary->psql('postgres', "CREATE $kind TABLE g (id serial, v iqvector(4)); "
			  . "CREATE INDEX g_v ON g USING $method (v); " . sprintf($add, 'g', 4, $rows) . "; SELECT iqdb_check('g_v'); "
			  . "SET enable_seqscan = off; SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM g ORDER BY v <-> '[1,1,1,1]') s; "
			  . "SELECT state, rows FROM iqdb_index_stats('g_v'); DROP TABLE g;", on_error_stop => 1);
		is("$code|$out|$err", "0|$rows|$rows\nready|$rows|", "$what: every row, and sound");
		next if $kind eq 'TEMP';
		like(log_since($primary, $offset), qr/"g_v" is opened anew: arena region/, "$what: it was made anew");
		next if $kind;
		like(log_since($primary, $offset), qr/"g_v" opened in .* [1-9]\d+ rows loaded from snapshot.* 0 rows rebuilt/,
			"$what: from what it held");
	}
}

# ---- one session comes across many indexes ----
{
	my $number = 100;
	$primary->safe_psql('postgres', join ';', map { "CREATE TABLE m_$_ (id serial, v iqvector(4)); " . sprintf($add, "m_$_", 4, 20)
		  . "; CREATE INDEX ON m_$_ USING $method (v) WITH (vectors = disk)" } 1 .. $number);
	my $session = $primary->background_psql('postgres');
	my $pid = $session->query_safe('SET enable_seqscan = off; SELECT pg_backend_pid()');
	my $size = sub { slurp_file("/proc/$pid/status") =~ /^VmSize:\s+(\d+) kB/m; $1 };
	my $search = sub { $session->query_safe("SELECT id FROM m_$_[0] ORDER BY v <-> (SELECT v FROM m_$_[0] WHERE id = 7) LIMIT 1") };
	is($search->(1), 7, 'many indexes: a search');
	my $before = $size->();
	is(join(' ', map { $search->($_) } 2 .. 20), join(' ', (7) x 19), 'many indexes: searches');
	cmp_ok($size->() - $before, '<', 20 * 8 * 1024, 'many indexes: less than 8 MB of address space for each');
  SKIP:
	{
		# what is left of address space takes a few more: older mappings make way
		my $limit = 1024 * ($size->() + 32 * 1024);
		skip 'no prlimit', 1 unless system("prlimit --pid=$pid --as=$limit:$limit 2>/dev/null") == 0;
		is(join(' ', map { $search->($_) } 21 .. $number, 1 .. 5), join(' ', (7) x ($number - 15)),
			'many indexes: searches with no address space to spare');
	}
	$session->quit;
	$primary->safe_psql('postgres', join ';', map { "DROP TABLE m_$_" } 1 .. $number);
	is_deeply([ arena_files($primary), own_files($primary) ], [], 'many indexes: nothing is left of them');
}

# ---- pages of memory are gathered into huge ones ----
{
	my $huge = 2 * 1024 * 1024;
	# what the mapping of the index of table h is to a session: where it begins, and kB of it in huge pages; and what the server says
	my $mapping = sub {
		my ($code, $out, $err) = $primary->psql('postgres', "SET client_min_messages = debug1; SELECT iqdb_prewarm('h_v'); "
			  . "SELECT memory_file FROM iqdb_index_stats('h_v'); SELECT pg_read_file('/proc/self/smaps')", on_error_stop => 1);
		my (undef, $file) = split /\n/, $out;
		my ($begin, $kilobytes) = $out =~ /^([0-9a-f]+)-[^\n]* \Q$file\E\n(?:[A-Z]\w+:.*\n)*?ShmemPmdMapped: +(\d+) kB/m;
		is($code, 0, 'huge pages: an index is warmed');
		is(hex($begin) % $huge, 0, 'huge pages: the index is mapped where they may begin');
		return ($kilobytes, $err);
	};

	$primary->safe_psql('postgres', 'CREATE TABLE h (id serial, v iqvector(250)); ' . sprintf($add, 'h', 250, 9000)
		  . "; CREATE INDEX h_v ON h USING $method (v)");
	my ($kilobytes, $err) = $mapping->();
  SKIP:
	{
		skip "the system gathers no pages: $1", 1 if $err =~ /stay small: (.*)/;
		cmp_ok($kilobytes, '>=', 8 * 1024, 'huge pages: vectors are in them');
	}
	$primary->safe_psql('postgres', 'DROP INDEX h_v');
	$primary->append_conf('postgresql.conf', "huge_pages = off\n");
	$primary->restart;
	$primary->safe_psql('postgres', "CREATE INDEX h_v ON h USING $method (v)");
	($kilobytes, $err) = $mapping->();
	unlike($err, qr/stay small/, 'huge pages: none is asked for where the server shall have none');
  SKIP:
	{
		skip 'the system gives some by itself', 1 if slurp_file('/proc/mounts') =~ /^\S+ \S+ tmpfs \S*huge=/m;
		is($kilobytes, 0, 'huge pages: there are none');
	}
	$primary->safe_psql('postgres', 'DROP TABLE h');
}

# ---- a standby frees what the primary dropped: it runs no VACUUM, and nobody calls iqdb_sweep ----
$primary->safe_psql('postgres', "CREATE TABLE t (id serial, v iqvector(4)); " . sprintf($add, 't', 4, 200)
	  . "; CREATE INDEX t_v ON t USING $method (v) WITH (vectors = disk)");
$primary->backup('base');
my $standby = new_node('standby', from_backup => [ $primary, 'base', has_streaming => 1 ], conf => "iqdb.fsync_interval = 50ms\n");
$standby->start;

sub poll
{
	my ($node, $test, $what) = @_;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return pass($what) if $test->();
		select undef, undef, undef, 0.1;
	}
	return fail($what);
}

for my $round (1 .. 3)
{
	wait_replay($primary, $standby);
	is(one($standby, $query), 1, "standby: a search, $round");
	one($standby, "SELECT iqdb_flush('t_v')");
	$primary->safe_psql('postgres', 'REINDEX INDEX t_v');
}
wait_replay($primary, $standby);
is(one($standby, $query), 1, 'standby: a search in the newest');
one($standby, "SELECT iqdb_flush('t_v')");
my $generation = one($standby, "SELECT generation FROM iqdb_index_stats('t_v')");
poll($standby, sub { !grep { !/$generation/ } arena_files($standby), own_files($standby) }, 'standby: older arenas and files go');
ok((grep { /$generation/ } own_files($standby)), 'standby: the newest files stay');
$primary->safe_psql('postgres', 'DROP TABLE t');
poll($standby, sub { !arena_files($standby) && !own_files($standby) }, 'standby: nothing is left of a table that was dropped');
$standby->stop;

# ---- iqdb.arena_directory and iqdb.vector_directory change while the server runs ----
my $second = make_folder('second');
my $third = make_folder('third');
my $disk = make_folder('disk');

sub make_folder
{
	my $folder = PostgreSQL::Test::Utils::tempdir_short() . "/$_[0]";
	mkdir $folder or die "$folder: $!";
	return $folder;
}

sub memory_of { return one($primary, "SELECT memory_file FROM iqdb_index_stats('$_[0]')") }

my $make = sub { $primary->safe_psql('postgres', "CREATE TABLE $_[0] (id serial, v iqvector(4)); "
	  . sprintf($add, $_[0], 4, 100) . "; CREATE INDEX $_[0]_v ON $_[0] USING $method (v) " . ($_[1] // '')) };
my $first = arena_folder_of($primary);
$make->('a');
setting($primary, 'iqdb.arena_directory', $second);
setting($primary, 'iqdb.vector_directory', $disk);
$make->('b', 'WITH (vectors = disk)');
is(one($primary, 'SELECT count(*) FROM a WHERE v <-> (SELECT v FROM a LIMIT 1) > -1'), 100, 'folders: rows');
like(memory_of('a_v'), qr/^\Q$first\E/, 'folders: an arena stays where it is, and is found there');
like(memory_of('b_v'), qr/^\Q$second\E/, 'folders: a new one is in the new folder');
is(scalar(() = glob("$disk/*.vectors")), 1, 'folders: its vectors are where the setting says');
agree($primary, 'folders: vectors on disk', table => 'b', method => $method, queries => 2);
kill_server($primary);
setting_in_file($primary, 'iqdb.arena_directory', $third);
setting_in_file($primary, 'iqdb.vector_directory', '');
$primary->start;
agree($primary, "folders: $_ after a crash", table => $_, method => $method, queries => 2) for 'a', 'b';
is(scalar(() = map { glob "$_/*iqdb.*" } $first, $second, $disk), 0, 'folders: what the crash left in others is gone');
# one folder by another spelling: what lies there must not count twice
setting($primary, 'iqdb.arena_directory', "$second/");
setting($primary, 'iqdb.vector_directory', "$disk/.");
$make->('c', 'WITH (vectors = disk)');
is_deeply([ sort split(/\n/, slurp_file($primary->data_dir . '/iqdb/arena_folders')) ], [ sort $first, $second, $third, $disk ],
	'folders: each is noted once');
$primary->safe_psql('postgres', 'DROP TABLE a');
is(scalar(() = glob("$third/iqdb.*")), 1, 'folders: a dropped index goes from another folder');
is(scalar(() = glob("$second/iqdb.*")), 1, 'folders: and no other');
$primary->stop;
is(scalar(() = map { glob "$_/*iqdb.*" } $first, $second, $third, $disk), 0, 'folders: a stop leaves nothing anywhere');

# ---- the list of folders is damaged ----
$primary->start;
for my $how ('unreadable', 'a folder', 'a pipe', 'no text')
{
	my $list = $primary->data_dir . '/iqdb/arena_folders';
	unlink $list if $how ne 'unreadable';
	$how eq 'unreadable' ? chmod 0, $list
	  : $how eq 'a folder' ? mkdir $list
	  : $how eq 'a pipe' ? system_or_bail('mkfifo', $list)
	  : append_to_file($list, "\x00/\xff" x 3000);
	$primary->safe_psql('postgres', 'DROP TABLE c');
	$make->('c', 'WITH (vectors = disk)');
	agree($primary, "folders: the list is $how: an index is made", table => 'c', method => $method, queries => 2);
	like(slurp_file($list), qr/^\Q$second\E$/m, "folders: the list is $how: its folder is noted");
}
$primary->stop;

sub setting_in_file
{
	my ($node, $name, $value) = @_;
	$node->append_conf('postgresql.auto.conf', "$name = '$value'");
}

# ---- a server of one user ----
my $postgres = $primary->config_data('--bindir') . '/postgres';
my $statement = "SET enable_seqscan = off; SELECT count(*) FROM (SELECT 1 FROM b ORDER BY v <-> '[1,1,1,1]' LIMIT 3) s;";
my ($code, $out, $err) = (0, '', '');
IPC::Run::run([ $postgres, '--single', '-D', $primary->data_dir, 'postgres' ], '<', \"$statement\n", '>', \$out, '2>', \$err);
like($out, qr/count = "3"/, 'single user: a search') or diag $err;
is(scalar(() = map { glob "$_/*iqdb.*" } $first, $second, $third, $disk), 0, 'single user: leaves nothing');

# ---- one limit for all indexes ----
setting_in_file($primary, 'iqdb.arena_directory', $first);
setting_in_file($primary, 'iqdb.memory_limit', '9MB');
$primary->start;
$primary->safe_psql('postgres', 'DROP TABLE b, c; CREATE TABLE big (id serial, v iqvector(64)); CREATE TABLE more (id serial, v iqvector(64))');
$primary->safe_psql('postgres', "CREATE INDEX big_v ON big USING $method (v); CREATE INDEX more_v ON more USING $method (v)");
$primary->safe_psql('postgres', sprintf($add, 'big', 64, 20000));
(undef, undef, $err) = $primary->psql('postgres', sprintf($add, 'more', 64, 20000));
like($err, qr/WARNING:  index "more_v" has fallen behind its table: .*memory limit of all indexes.*HINT:  Raise iqdb\.memory_limit/s,
	'memory_limit: two indexes together pass it, and a WARNING names it');
is(one($primary, "SELECT state FROM iqdb_index_stats('more_v')"), 'full', 'memory_limit: the state says so');
agree($primary, "memory_limit: $_", table => $_, method => $method, queries => 2, limit => 5) for 'big';
is(one($primary, "SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM more ORDER BY v <-> (SELECT v FROM more WHERE id = 7)) s"),
	20000, 'memory_limit: queries read the table');
$primary->safe_psql('postgres', 'DROP TABLE big');
$primary->safe_psql('postgres', 'VACUUM more');
is(one($primary, "SELECT state FROM iqdb_index_stats('more_v')"), 'ready', 'memory_limit: room again when another index has gone');
agree($primary, 'memory_limit: as a sequential scan', table => 'more', method => $method, queries => 2, limit => 5);
# TRUNCATE gives memory back, but not before it commits
$primary->safe_psql('postgres', sprintf($add, 'more', 64, 20000));
is(one($primary, "SELECT state FROM iqdb_index_stats('more_v')"), 'full', 'memory_limit: passed by one index');
($code, undef, $err) = $primary->psql('postgres', 'TRUNCATE more');
is("$code$err", '0', 'memory_limit: TRUNCATE needs no room');
$primary->safe_psql('postgres', sprintf($add, 'more', 64, 500));
agree($primary, 'memory_limit: after TRUNCATE', table => 'more', method => $method, queries => 2, limit => 5);
# the keeper may still link its rows
like(one($primary, "SELECT state, rows FROM iqdb_index_stats('more_v')"), qr/^(ready|building)\|500$/,
	'memory_limit: the index is used again');

# ---- no process for recoveries and for the keeper: VACUUM does what is left to do ----
$primary->stop;
unlink map { $primary->data_dir . "/$_" } own_files($primary);
setting_in_file($primary, 'max_worker_processes', 0);
$primary->start;
$primary->safe_psql('postgres', 'SET enable_seqscan = off; SELECT id FROM more ORDER BY v <-> (SELECT v FROM more LIMIT 1) LIMIT 1');
is(one($primary, "SELECT state, rows FROM iqdb_index_stats('more_v')"), 'building|500', 'no processes: a search has read the table');
$primary->safe_psql('postgres', 'VACUUM more');
is(one($primary, "SELECT state, rows, unlinked FROM iqdb_index_stats('more_v')"), 'ready|500|0', 'no processes: VACUUM has finished it');
$primary->stop;

done_testing();

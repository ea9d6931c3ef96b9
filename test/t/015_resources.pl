# 015_resources.pl - want of room: memory limit reached, shared memory full, its files removed, own folder not writable.
#
# Changes go on in every case, with a WARNING where an index falls behind; queries are exact, by another plan if need be;
# with room again the index comes up to date. For a small file system of its own the test enters a user namespace.
use strict;
use warnings;

# Once more, in a name space with a small /dev/shm and a small folder of our own, where the system allows that. Before the
# modules are loaded, which take over the output.
BEGIN
{
	if (!defined $ENV{IQDB_SMALL_FOLDER})
	{
		my $folder = ($ENV{TESTDIR} // '/tmp') . '/small';
		mkdir $folder;
		my ($group) = split ' ', $);
		my $enter = 'mount -t tmpfs -o size=24m iqdb "$0" && mount -t tmpfs -o size=48m,mode=1777 iqdb /dev/shm '
		  . "&& chmod 1777 \"\$0\" && exec unshare -U --map-user=$> --map-group=$group -- \"\$\@\"";
		my @prefix = ('unshare', '-Urm', 'sh', '-c', $enter, $folder);

		if (system('sh', '-c', '"$@" 2>/dev/null', 'sh', @prefix, 'true') == 0)
		{
			$ENV{IQDB_SMALL_FOLDER} = $folder;
			delete $ENV{TEMP_CONFIG};
			exec @prefix, $^X, map({ "-I$_" } @INC), $0;
		}
		$ENV{IQDB_SMALL_FOLDER} = '';
	}
}

use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $small = $ENV{IQDB_SMALL_FOLDER};
my $node = new_node('small', conf => "iqdb.fsync_interval = 50ms\nwork_mem = 64MB\ndynamic_shared_memory_type = mmap\n");
my $own_folder = arena_folder_of($node);
$node->start;
install($node);
my @methods = methods($node);
# long, but easy for an approximate method: most of it is zero
my $vector = "(iqdb_random(8) || array_fill(0, ARRAY[120])::iqvector)";
my $add = "INSERT INTO t (v) SELECT $vector FROM generate_series(1, %d)";
my $nearest = "SELECT string_agg(d::text, ' ' ORDER BY d) FROM (SELECT v <-> (SELECT v FROM t WHERE id = 5) AS d FROM t "
  . "ORDER BY v <-> (SELECT v FROM t WHERE id = 5) LIMIT 5) s";

sub plan_of
{
	return one($node, "SET enable_seqscan = off; EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = 5) LIMIT 3")
	  =~ /Index Scan using t_v/ ? 'index' : 'table';
}

sub state { return one($node, "SELECT state FROM iqdb_index_stats('t_v')") }

# Statements while there is no room. $code is the SQLSTATE of what needs room and cannot do without.
sub while_full
{
	my ($what, $method, $code, $place) = @_;
	$place //= '';

	is(plan_of(), 'table', "$what: the planner leaves the index out");
	is(one($node, "SET enable_seqscan = off; $nearest"), one($node, "SET enable_indexscan = off; $nearest"),
		"$what: a query is exact");
	my (undef, $out, $err) = $node->psql('postgres', sprintf($add, 50));
	is($err, '', "$what: inserts go on, and warn once only");
	(undef, $out, $err) = $node->psql('postgres', "UPDATE t SET v = $vector WHERE id BETWEEN 10 AND 20; "
		  . "DELETE FROM t WHERE id BETWEEN 100 AND 150; INSERT INTO t (v) VALUES (NULL)");
	is($err, '', "$what: updates and deletes go on");
	(undef, $out, $err) = $node->psql('postgres', 'VACUUM t');
	unlike($err, qr/ERROR/, "$what: so does VACUUM");
	$node->safe_psql('postgres', sprintf($add, 60));
	sql_fails($node, "CREATE INDEX t_w ON t USING $method (v) $place;", $code, '', "$what: CREATE INDEX fails");
	sql_fails($node, "SELECT iqdb_prewarm('t_v');", $code, '', "$what: iqdb_prewarm says why");
	is(one($node, "SELECT count(*) FROM pg_class WHERE relname = 't_w'"), 0, "$what: nothing is left of it");
	unlike(log_since($node, 0), qr/PANIC|TRAP|terminated by signal/, "$what: the server lives");
}

sub with_room
{
	my ($what, $method) = @_;

	$node->safe_psql('postgres', "SELECT iqdb_prewarm('t_v')");
	is(state(), 'ready', "$what: the index is up to date with room again");
	is(plan_of(), 'index', "$what: and used");
	agree($node, "$what: as a sequential scan", table => 't', method => $method, queries => 4);
	sound($node, 't_v', "$what: iqdb_check");
	$node->safe_psql('postgres', 'VACUUM t');
	$node->safe_psql('postgres', 'INSERT INTO t (v) SELECT NULL FROM generate_series(1, 50)');
	agree($node, "$what: places that were given free are not found by what they held", table => 't', method => $method,
		queries => 2);
}

sub fresh_table
{
	my ($method, $rows, $place) = @_;
	$place //= '';
	$node->safe_psql('postgres', "DROP TABLE IF EXISTS t; CREATE TABLE t (id serial, v iqvector(128)); "
		  . sprintf($add, $rows) . "; CREATE INDEX t_v ON t USING $method (v) $place");
}

for my $method (@methods)
{
	# ---- iqdb.arena_limit ----
	my $limit = is_exact($method) ? '6MB' : '8MB';
	setting($node, 'iqdb.arena_limit', $limit);
	fresh_table($method, 500);
	my (undef, undef, $err) = $node->psql('postgres', sprintf($add, 14000));
	like($err, qr/^[^\n]*WARNING:  index "t_v" has fallen behind its table: .*memory limit.*HINT:  Raise iqdb.arena_limit, or delete/s,
		"$method: iqdb.arena_limit: a WARNING that names the setting");
	is(one($node, 'SELECT count(*) FROM t'), 14500, "$method: iqdb.arena_limit: every row is in the table");
	is(state(), 'full', "$method: iqdb.arena_limit: the state says so");
	while_full("$method: iqdb.arena_limit", $method, '53200');

	# whoever fails, of those who build: the statement says why
	(undef, undef, $err) = $node->psql('postgres', 'SET max_parallel_maintenance_workers = 4; SET min_parallel_table_scan_size = 0;'
		  . "\nCREATE INDEX t_w ON t USING $method (v);" x (is_exact($method) ? 60 : 2), on_error_stop => 0);
	is(join("\n", grep { !/memory limit/ } $err =~ /ERROR: .*/g), '', "$method: iqdb.arena_limit: builds with workers fail for it");
	$node->restart;
	my ($code, $out) = $node->psql('postgres', "SET enable_seqscan = off; $nearest");
	is("$code|$out", '0|' . one($node, "SET enable_indexscan = off; $nearest"),
		"$method: iqdb.arena_limit: a query after a restart is exact");
	(undef, undef, $err) = $node->psql('postgres', sprintf($add, 10));
	unlike($err, qr/ERROR/, "$method: iqdb.arena_limit: inserts after a restart");
	setting($node, 'iqdb.arena_limit', undef);
	with_room("$method: iqdb.arena_limit", $method);

	# ---- a full file system ----
  SKIP:
	{
		skip 'no small file system: user namespaces are not allowed here', 1 if $small eq '';
		skip 'ivf stores rows as flat does', 1 if $method eq 'iqdb_ivf';
		fresh_table($method, 500);
		setting($node, 'iqdb.arena_directory', $small);
		$node->restart;
		agree($node, "$method: small folder: opened there", table => 't', method => $method, queries => 2);
		is(scalar(() = glob("$small/iqdb.*")), 1, "$method: small folder: that is where the memory is");
		append_to_file("$small/ballast", 'x' x 1_000_000) for 1 .. 18;
		(undef, undef, $err) = $node->psql('postgres', sprintf($add, 14000));
		like($err, qr/WARNING:  index "t_v" has fallen behind its table: .*No space left on device/s,
			"$method: small folder: a WARNING when it is full");
		while_full("$method: small folder", $method, '53100');
		my $load = start_load($node, 1, 3, { sprintf("$add;\n", 20) => 3, "VACUUM t;\n" => 1,
			"SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = 5) LIMIT 3;\n" => 3 });
		my ($ok, $said) = finish_load($load);
		ok($ok, "$method: small folder: sessions go on while it is full") or diag $said;
		unlink "$small/ballast";
		setting($node, 'iqdb.arena_directory', $own_folder);
		$node->restart;
		with_room("$method: small folder, a larger one instead", $method);
	}

	# ---- the disk of the own folder is full ----
  SKIP:
	{
		skip 'no small file system: user namespaces are not allowed here', 1 if $small eq '';
		my $what = "$method: own folder full";
		my $folder = $node->data_dir . '/iqdb';
		fresh_table($method, 500);
		$node->stop;
		system_or_bail('mv', $folder, "$small/iqdb");
		symlink "$small/iqdb", $folder or die $folder;
		$node->start;
		one($node, "SELECT iqdb_prewarm('t_v')");
		my $free = (split ' ', `df --output=avail -B1 $small | tail -n 1`)[0];
		append_to_file("$small/ballast", 'x' x 100_000) for 1 .. int($free / 100_000);
		append_to_file("$small/ballast", 'x' x 1000) for 1 .. 90;
		my (undef, undef, $said) = $node->psql('postgres', sprintf($add, 3000));
		unlike($said, qr/ERROR/, "$what: inserts go on");
		sql_fails($node, "SELECT iqdb_flush('t_v');", '53100', 'No space left on device', "$what: iqdb_flush says so");
		# each attempt begins a log, and must not leave its name behind
		my $before = own_files($node);
		$node->psql('postgres', sprintf($add, 20) . "; SELECT iqdb_flush('t_v')") for 1 .. 6;
		cmp_ok(scalar(own_files($node)), '<=', $before, "$what: attempts leave no files");
		is(join(' ', grep { !-s $node->data_dir . "/$_" } own_files($node)), '', "$what: nor empty ones");
		(undef, undef, $said) = $node->psql('postgres', "DELETE FROM t WHERE id % 5 = 1; CREATE INDEX t_w ON t USING $method (v)");
		like($said, qr/WARNING:  no snapshot of index "t_w" could be written.*No space left/s, "$what: CREATE INDEX warns");
		unlike($said, qr/ERROR/, "$what: and goes on");
		(undef, undef, $said) = $node->psql('postgres', 'VACUUM t');
		unlike($said, qr/ERROR/, "$what: so does VACUUM");
		agree($node, "$what: as a sequential scan", table => 't', method => $method, queries => 3);
		kill_server($node);
		$node->start;
		agree($node, "$what: after a crash", table => 't', method => $method, queries => 3);
		sound($node, $_, "$what: iqdb_check of $_") for 't_v', 't_w';
		unlike(log_since($node, 0), qr/PANIC|TRAP|terminated by signal/, "$what: the server lives");
		$node->safe_psql('postgres', 'DROP INDEX t_w');
		unlink "$small/ballast";
		cmp_ok(one($node, "SELECT iqdb_flush('t_v')"), '>', 2700 * 2, "$what: with room again a snapshot is written");
		one($node, "SELECT iqdb_flush('t_v')");
		cmp_ok(scalar(own_files($node, 'log')), '<=', 2, "$what: and the logs of before go");
		$node->stop;
		unlink $folder;
		system_or_bail('mv', "$small/iqdb", $folder);
		$node->start;
		agree($node, "$what: back in its place", table => 't', method => $method, queries => 3);
	}

	# ---- no room on disk for vectors: for exact searches they are read, for inverted lists ranked ----
  SKIP:
	{
		skip 'no small file system: user namespaces are not allowed here', 1 if $small eq '';
		skip 'the other methods show it', 1 if $method eq 'iqdb_hnsw';
		my $temporary = $node->data_dir . '/base/pgsql_tmp';
		my $vectors = "$temporary/pgsql_tmp.iqdb.*.vectors";
		$node->stop;
		mkdir "$small/temporary";
		rmdir $temporary;
		symlink "$small/temporary", $temporary or die "$temporary: $!";
		$node->start;
		fresh_table($method, 500, 'WITH (vectors = disk)');
		agree($node, "$method: vectors on disk", table => 't', method => $method, queries => 2);
		is(scalar(() = glob($vectors)), 1, "$method: vectors on disk: one file");
		is((stat((glob($vectors))[0]))[2] & 0777, 0600, "$method: vectors on disk: nobody else reads it");
		is(one($node, "SELECT vectors_on_disk > 500 * 512 AND memory < 4000000 FROM iqdb_index_stats('t_v')"), 't',
			"$method: vectors on disk: not in memory");
		append_to_file("$small/ballast", 'x' x 1_000_000) for 1 .. 18;
		(undef, undef, $err) = $node->psql('postgres', sprintf($add, 14000));
		like($err, qr/WARNING:  index "t_v" has fallen behind its table: .*vectors.*No space left on device/s,
			"$method: vectors on disk: a WARNING when the disk is full");
		while_full("$method: vectors on disk, full", $method, '53100', 'WITH (vectors = disk)');
		is(scalar(() = glob($vectors)), 1, "$method: vectors on disk, full: nothing is left of what could not be made");
		unlink "$small/ballast";
		with_room("$method: vectors on disk, room again", $method);

		# the file goes away under sessions: it cannot grow, so a new arena with a new file takes over
		is(scalar(unlink glob $vectors), 1, "$method: vectors on disk, removed");
		$node->safe_psql('postgres', sprintf($add, 3000));
		with_room("$method: vectors on disk, made anew", $method);
		is(scalar(() = glob($vectors)), 1, "$method: vectors on disk, made anew: one file");
		kill_server($node);
		$node->start;
		is(scalar(() = glob($vectors)), 0, "$method: vectors on disk: the server's start clears the folder");
		agree($node, "$method: vectors on disk, after a crash", table => 't', method => $method, queries => 3);
		# somebody else's file in that place is not mapped
		my $file = (glob $vectors)[0];
		rename $file, "$file.aside";
		append_to_file($file, 'x' x -s "$file.aside");
		agree($node, "$method: vectors on disk, another file instead", table => 't', method => $method, queries => 3);
		unlink "$file.aside";
		$node->safe_psql('postgres', 'DROP TABLE t');
		is(scalar(() = glob($vectors)), 0, "$method: vectors on disk: gone with the index");
		$node->stop;
		unlink $temporary;
		$node->start;
	}

	# ---- shared memory too small: the other folder takes over ----
  SKIP:
	{
		skip 'no small /dev/shm: user namespaces are not allowed here', 1 if $small eq '';
		skip 'the same code for every method', 1 unless is_exact($method);
		fresh_table($method, 500);
		setting($node, 'iqdb.arena_directory', '');
		$node->restart;
		agree($node, "$method: small /dev/shm: opened there", table => 't', method => $method, queries => 2);
		is(scalar(() = glob('/dev/shm/iqdb.*')), 1, "$method: small /dev/shm: that is where the memory is");
		append_to_file('/dev/shm/ballast', 'x' x 1_000_000) for 1 .. 45;
		(undef, undef, $err) = $node->psql('postgres', sprintf($add, 12000));
		agree($node, "$method: small /dev/shm: as a sequential scan when it is full", table => 't', method => $method, queries => 3)
		  if one($node, "SELECT iqdb_prewarm('t_v')");
		like(one($node, "SELECT memory_file FROM iqdb_index_stats('t_v')"), qr{pgsql_tmp/pgsql_tmp\.iqdb\.},
			"$method: small /dev/shm: the memory moved to base/pgsql_tmp");
		is(scalar(() = glob('/dev/shm/iqdb.*')), 0, "$method: small /dev/shm: and left nothing there");
		$node->safe_psql('postgres', sprintf($add, 100));
		agree($node, "$method: small /dev/shm: and goes on", table => 't', method => $method, queries => 3);
		fresh_table($method, 600);
		like(one($node, "SELECT memory_file FROM iqdb_index_stats('t_v')"), qr{pgsql_tmp/pgsql_tmp\.iqdb\.},
			"$method: small /dev/shm: a new index does not try it");
		agree($node, "$method: small /dev/shm: a new index", table => 't', method => $method, queries => 3);
		sound($node, 't_v', "$method: small /dev/shm: iqdb_check");
		unlink '/dev/shm/ballast';
		kill_server($node);
		$node->start;
		is(scalar(() = glob($node->data_dir . '/base/pgsql_tmp/*')), 0, "$method: small /dev/shm: the server's start clears the folder");
		agree($node, "$method: small /dev/shm: after a crash", table => 't', method => $method, queries => 3);
		setting($node, 'iqdb.arena_directory', $own_folder);
		$node->restart;
	}

	# ---- arena files removed under load ----
	fresh_table($method, 500);
	my $load = start_load($node, 2, 3, {
		"\\set i random(1, 3000)\n" . sprintf("$add;\n", 3) => 3,
		"\\set i random(1, 3000)\nDELETE FROM t WHERE id BETWEEN :i AND :i + 2 AND id > 5;\n" => 2,
		"\\set i random(1, 3000)\nUPDATE t SET v = $vector WHERE id = :i;\n" => 2,
		"SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = 5) LIMIT 3;\n" => 3,
		"VACUUM t;\n" => 1 });
	my $removed = 0;
	for my $turn (1 .. 6)
	{
		usleep(250_000);
		$removed += unlink glob "$own_folder/iqdb.*";
		# a session that comes now makes a new one; those that are there keep what they have mapped
		one($node, "SELECT iqdb_prewarm('t_v')");
	}
	my ($ok, $said) = finish_load($load);
	ok($ok, "$method: arena removed under load: no session met an error") or diag $said;
	cmp_ok($removed, '>', 1, "$method: arena removed under load: $removed times");
	agree($node, "$method: arena removed under load: as a sequential scan", table => 't', method => $method);
	sound($node, 't_v', "$method: arena removed under load: iqdb_check");
	$node->restart;
	agree($node, "$method: arena removed under load: after a restart", table => 't', method => $method);
	sound($node, 't_v', "$method: arena removed under load: iqdb_check after a restart");

	# a session whose memory has lost its file goes on with what it does
	my $keeps = $node->background_psql('postgres', on_error_stop => 0);
	for my $statement ("SELECT count(*) FROM iqdb_optimize('t_v')", sprintf($add, 5000), 'VACUUM t')
	{
		$keeps->query("SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = 5) LIMIT 1");
		$node->safe_psql('postgres', "UPDATE t SET v = $vector WHERE id % 3 = 0 AND id > 5");
		unlink glob "$own_folder/iqdb.*";
		$keeps->query($statement);
		unlike($keeps->{stderr}, qr/ERROR/, "$method: memory without a file: $statement");
		$keeps->{stderr} = '';
	}
	$keeps->quit;
	agree($node, "$method: memory without a file: as a sequential scan", table => 't', method => $method);
	sound($node, 't_v', "$method: memory without a file: iqdb_check");

	# ---- own folder that cannot be written: the same code for every method ----
	next unless is_exact($method);
	my $folder = $node->data_dir . '/iqdb/' . one($node, "SELECT oid FROM pg_database WHERE datname = 'postgres'");
	fresh_table($method, 500);
	$node->stop;
	chmod 0500, $folder;
	$node->start;
	(undef, undef, $err) = $node->psql('postgres', sprintf($add, 1000));
	unlike($err, qr/ERROR/, "$method: own folder not writable: inserts go on");
	agree($node, "$method: own folder not writable: as a sequential scan", table => 't', method => $method, queries => 3);
	sql_fails($node, "SELECT iqdb_flush('t_v');", '58030', '(Permission denied|could not)', "$method: own folder not writable: iqdb_flush says so");
	(undef, undef, $err) = $node->psql('postgres', "CREATE INDEX t_w ON t USING $method (v)");
	like($err, qr/WARNING:  no snapshot of index "t_w" could be written/, "$method: own folder not writable: CREATE INDEX warns");
	is(one($node, "DROP INDEX t_w; SELECT count(*) FROM t"), 1500, "$method: own folder not writable: rows");
	kill_server($node);
	$node->start;
	agree($node, "$method: own folder not writable: after a crash", table => 't', method => $method, queries => 3);
	chmod 0700, $folder;
	cmp_ok(one($node, "SELECT iqdb_flush('t_v')"), '>', 1500 * 2, "$method: own folder writable again: iqdb_flush");
	sound($node, 't_v', "$method: own folder writable again: iqdb_check");
}

$node->safe_psql('postgres', 'DROP TABLE t');
$node->stop;
is_deeply([ arena_files($node) ], [], 'nothing is left in shared memory');
done_testing();

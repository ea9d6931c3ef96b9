# 012_own_files.pl - own files and shared memory come and go with their index, whatever the statement and its outcome.
#
# Each case runs some statements on a fresh table with an index. Afterwards the index (if there is still one) answers as
# the table does, and own folder and shared memory hold files of the indexes that exist and of no others.
use strict;
use warnings;
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('files', conf => "allow_in_place_tablespaces = on\n");
$node->start;
install($node);
$node->safe_psql('postgres', "CREATE TABLESPACE aside LOCATION ''");
my ($method, $place);

# What a case has left over is reported once.
my %reported;

# Own folder and shared memory hold what belongs to indexes of these databases as they are now: own files those that are
# permanent, arenas and their vectors on disk all but temporary ones.
sub nothing_else
{
	my ($what, @more) = @_;
	my (%files, %arenas);

	for my $database ('postgres', @more)
	{
		for (split /\n/, $node->safe_psql($database,
			"SELECT s.generation, c.relpersistence FROM pg_class c JOIN pg_am a ON a.oid = c.relam "
			  . "JOIN pg_index i ON i.indexrelid = c.oid, iqdb_index_stats(c.oid::regclass) s "
			  . "WHERE a.amname LIKE 'iqdb%' AND c.relkind = 'i' AND i.indisready AND c.relpersistence <> 't'"))
		{
			my ($generation, $persistence) = split /\|/;
			$arenas{$generation} = 1;
			$files{$generation} = 1 if $persistence eq 'p';
		}
	}
	my @orphans = grep { !/([0-9a-f]{32})\.[0-9a-f]{16}\.(snap|log)$/ || !$files{$1} } own_files($node);
	my @arenas = grep { !/([0-9a-f]{32})(?:\.vectors)?$/ || !$arenas{$1} } arena_files($node);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_deeply([ grep { !$reported{$_}++ } @orphans, @arenas ], [], "$what: nothing is left over");
}

# case(name, statements): with t and its index t_v made anew. Options: rows => expected number of rows,
# none => 1 (the table is gone), index => its name now.
sub case
{
	my ($what, $sql, %args) = @_;
	my $index = $args{index} // 't_v';

	$what = "$method: $what";
	$node->safe_psql('postgres', <<"SQL");
DROP TABLE IF EXISTS t CASCADE;
CREATE TABLE t (id serial, v iqvector(4));
INSERT INTO t (v) SELECT iqdb_random(4) FROM generate_series(1, 200);
CREATE INDEX t_v ON t USING $method (v) $place;
INSERT INTO t (v) SELECT iqdb_random(4) FROM generate_series(1, 50);
SQL
	my ($code, $out, $err) = $node->psql('postgres', "SET client_min_messages = warning; $sql", on_error_stop => $args{fails} ? 0 : 1);
	if ($args{fails}) { like($err, $args{fails}, "$what: fails") }
	else { is("$code|$err", '0|', "$what: runs") }
	unless ($args{none})
	{
		my $compare = agree_sql(table => 't', method => $method, queries => 3);
		($code, $out, $err) = $node->psql('postgres', "SELECT count(*) FROM t; $compare SELECT iqdb_check('$index'); "
			  . 'INSERT INTO t (v) SELECT iqdb_random(4) FROM generate_series(1, 10); DELETE FROM t WHERE id % 3 = 0; '
			  . $compare);
		is("$code|$out|$err", "0|$args{rows}|", "$what: the right rows, as a sequential scan, before and after more changes");
	}
	nothing_else($what);
}

my $add = "INSERT INTO t (v) SELECT iqdb_random(4) FROM generate_series(1, 30);";
my $query = "SET enable_seqscan = off; SELECT count(*) > -1 FROM (SELECT 1 FROM t ORDER BY v <-> '[1,1,1,1]') s;";

my $first = 1;
for (methods($node))
{
	$method = $_;
	$place = place_of_vectors($method);
	my $create = "CREATE INDEX t_w ON t USING $method (v) $place;";

	# ---- going away ----
	case('DROP INDEX', 'DROP INDEX t_v', none => 1);
	case('DROP INDEX CONCURRENTLY', 'DROP INDEX CONCURRENTLY t_v', none => 1);
	case('DROP TABLE', 'DROP TABLE t', none => 1);
	case('DROP COLUMN', 'ALTER TABLE t DROP COLUMN v', none => 1);
	case('DROP SCHEMA', "CREATE SCHEMA s; ALTER TABLE t SET SCHEMA s; DROP SCHEMA s CASCADE", none => 1);
	case('CREATE and DROP in one transaction', "BEGIN; $create $add DROP INDEX t_w; COMMIT", rows => 280);
	case('DROP rolled back', "BEGIN; DROP INDEX t_v; ROLLBACK", rows => 250);
	case('DROP in a savepoint rolled back', "BEGIN; SAVEPOINT a; DROP INDEX t_v; ROLLBACK TO a; $add COMMIT", rows => 280);

	# ---- coming ----
	case('CREATE rolled back', "BEGIN; $create $add $query ROLLBACK", rows => 250);
	case('CREATE in a savepoint rolled back', "BEGIN; SAVEPOINT a; $create ROLLBACK TO a; $add COMMIT", rows => 280);
	case('CREATE in a released savepoint rolled back',
		"BEGIN; SAVEPOINT a; SAVEPOINT b; $create RELEASE b; ROLLBACK TO a; $add COMMIT", rows => 280);
	case('CREATE TABLE and INDEX in one transaction',
		"BEGIN; DROP TABLE t; CREATE TABLE t (id serial, v iqvector(4)); CREATE INDEX t_v ON t USING $method (v) $place; $add $query COMMIT",
		rows => 30);
	case('CREATE that fails', "INSERT INTO t (v) VALUES (NULL); ALTER TABLE t ADD w iqvector; "
		  . "UPDATE t SET w = '[1]'; UPDATE t SET w = '[1,2]' WHERE id = 200; CREATE INDEX t_w ON t USING $method ((w::iqvector(1)));",
		rows => 251, fails => qr/expected 1 dimensions, not 2/);
	case('CREATE INDEX CONCURRENTLY', "CREATE INDEX CONCURRENTLY t_w ON t USING $method (v) $place; DROP INDEX t_v", rows => 250,
		index => 't_w');
	case('CREATE INDEX CONCURRENTLY that fails', "ALTER TABLE t ADD w iqvector; UPDATE t SET w = '[1]'; "
		  . "UPDATE t SET w = '[1,2]' WHERE id = 7; CREATE INDEX CONCURRENTLY t_w ON t USING $method ((w::iqvector(1)));",
		rows => 250, fails => qr/expected 1 dimensions, not 2/);

	# ---- rebuilding ----
	for my $statement ('TRUNCATE t', 'REINDEX INDEX t_v', 'REINDEX TABLE t', 'VACUUM FULL t', 'ALTER INDEX t_v SET TABLESPACE aside',
		'ALTER TABLE t SET TABLESPACE aside', 'ALTER TABLE t ALTER v TYPE iqvector(4) USING v + v',
		'CREATE INDEX t_id ON t (id); CLUSTER t USING t_id', 'ALTER TABLE t SET UNLOGGED', 'ALTER TABLE t ADD x float DEFAULT random()',
		'REINDEX INDEX CONCURRENTLY t_v', 'REINDEX TABLE CONCURRENTLY t', 'ALTER INDEX t_v RENAME TO t_z; ALTER INDEX t_z RENAME TO t_v',
		'ALTER TABLE t SET UNLOGGED; ALTER TABLE t SET LOGGED')
	{
		my $rows = $statement =~ /TRUNCATE/ ? 0 : 250;

		# much of it is the same code for every method
		next unless $first || $statement =~ /^(TRUNCATE|REINDEX INDEX|VACUUM|ALTER INDEX t_v SET)/;
		case($statement, $statement, rows => $rows);
		next if $statement =~ /VACUUM|CONCURRENTLY/ || !$first;
		case("$statement, rows behind it", "BEGIN; $statement; $add $query COMMIT", rows => $rows + 30);
		# The server itself leaves entries in any index for rows that are added to a table that was moved, when the move
		# is rolled back.
		my $more = $statement =~ /TABLE t SET TABLESPACE/ ? '' : $add;
		case("$statement, rolled back", "BEGIN; $add $statement; $more $query ROLLBACK", rows => 250);
		case("$statement, rolled back to a savepoint",
			"BEGIN; $add SAVEPOINT a; $statement; $more $query ROLLBACK TO a; $add COMMIT", rows => 310);
		case("$statement, twice", "BEGIN; $statement; $add $statement; COMMIT; $query",
			rows => $rows ? 280 : 0) unless $statement =~ /t_id|ADD x|USING v|LOGGED|RENAME/;
	}
	case('TRUNCATE in the transaction that made the table',
		"BEGIN; DROP TABLE t; CREATE TABLE t (id serial, v iqvector(4)); $add CREATE INDEX t_v ON t USING $method (v) $place; "
		  . "$add TRUNCATE t; $add $query TRUNCATE t; $add COMMIT; $query", rows => 30);
	case('the same, rolled back', "BEGIN; DROP TABLE t; CREATE TABLE t (id serial, v iqvector(4)); "
		  . "CREATE INDEX t_v ON t USING $method (v) $place; $add TRUNCATE t; $add ROLLBACK", rows => 250);
	case('the same, and a savepoint', "BEGIN; DROP TABLE t; CREATE TABLE t (id serial, v iqvector(4)); "
		  . "CREATE INDEX t_v ON t USING $method (v) $place; $add SAVEPOINT a; TRUNCATE t; $add ROLLBACK TO a; $add COMMIT", rows => 60);
	case('there and back again', 'ALTER INDEX t_v SET TABLESPACE aside; ALTER INDEX t_v SET TABLESPACE pg_default', rows => 250);
	$node->restart;
	agree($node, "$method: after a restart", table => 't', method => $method);

	# a table that other sessions have open
	my $idle = $node->background_psql('postgres');
	$idle->query_safe($query);
	case('REINDEX while others have it open', "REINDEX INDEX t_v", rows => 250);
	$idle->query_safe($query);
	case('VACUUM FULL while others have it open', "VACUUM FULL t", rows => 250);
	$idle->query_safe($query);
	case('DROP TABLE while others have it open', "DROP TABLE t", none => 1);
	$idle->quit;

	# ---- CREATE INDEX CONCURRENTLY beside writers ----
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE w (id int, v iqvector(4));
INSERT INTO w SELECT i, iqdb_random(4) FROM generate_series(1, 3000) i;
SQL
	my $load = start_load($node, 2, 3, {
		"\\set i random(1, 3000)\nINSERT INTO w SELECT :i + k, iqdb_random(4) FROM generate_series(1, 5) k;\n" => 3,
		"\\set i random(1, 3000)\nUPDATE w SET v = iqdb_random(4) WHERE id = :i;\n" => 3,
		"\\set i random(1, 3000)\nDELETE FROM w WHERE id BETWEEN :i AND :i + 3;\n" => 2 });
	for my $turn (1 .. 3)
	{
		my ($code, undef, $err) = $node->psql('postgres', "CREATE INDEX CONCURRENTLY w_$turn ON w USING $method (v) $place");
		is("$code|$err", '0|', "$method: CREATE INDEX CONCURRENTLY beside writers, $turn");
		($code, undef, $err) = $node->psql('postgres', $turn == 1 ? "REINDEX INDEX CONCURRENTLY w_1" : "DROP INDEX w_" . ($turn - 1));
		is("$code|$err", '0|', "$method: REINDEX or DROP beside writers, $turn");
		$node->safe_psql('postgres', 'VACUUM w') if $turn == 2;
	}
	my ($ok, $said) = finish_load($load);
	ok($ok, "$method: the writers met no error") or diag $said;
	agree($node, "$method: as a sequential scan afterwards", table => 'w', id => 'iqdb_row(ctid)', method => $method);
	sound($node, 'w_3');
	nothing_else("$method: after CREATE INDEX CONCURRENTLY");
	$node->safe_psql('postgres', 'DROP TABLE w');

	# ---- databases: a copy is rebuilt, a dropped one is swept away ----
	$node->safe_psql('postgres', 'CREATE DATABASE original');
	install($node, 'original');
	$node->safe_psql('original', <<"SQL");
CREATE TABLE t (id serial, v iqvector(4));
INSERT INTO t (v) SELECT iqdb_random(4) FROM generate_series(1, 200);
CREATE INDEX t_v ON t USING $method (v) $place;
INSERT INTO t (v) SELECT iqdb_random(4) FROM generate_series(1, 50);
SQL
	for my $strategy ($first ? ('wal_log', 'file_copy') : 'file_copy')
	{
		$node->safe_psql('postgres', "CREATE DATABASE copy TEMPLATE original STRATEGY $strategy");
		agree($node, "$method: a copied database, $strategy", table => 't', method => $method, database => 'copy');
		$node->safe_psql('copy', 'INSERT INTO t (v) SELECT iqdb_random(4) FROM generate_series(1, 40); DELETE FROM t WHERE id % 4 = 1');
		$node->safe_psql('copy', 'VACUUM t');
		agree($node, "$method: the copy after changes", table => 't', method => $method, database => 'copy');
		sound($node, 't_v', "$method: iqdb_check of the copy", 'copy');
		agree($node, "$method: the original", table => 't', method => $method, database => 'original');
		nothing_else("$method: a copied database", 'original', 'copy');
		$node->safe_psql('postgres', 'DROP DATABASE copy');
		$node->safe_psql('original', 'SELECT iqdb_sweep()');
		nothing_else("$method: a dropped database, after a sweep", 'original');
	}
	$node->safe_psql('postgres', 'DROP DATABASE original');
	$node->safe_psql('postgres', "CREATE TABLE s (v iqvector(4)); CREATE INDEX ON s USING $method (v) $place");
	one($node, 'SELECT iqdb_sweep()');
	nothing_else("$method: a sweep in any database");
	$node->safe_psql('postgres', 'DROP TABLE s');

	# ---- two-phase commit: the session that commits knows nothing of the index ----
	for my $end ('COMMIT', 'ROLLBACK')
	{
		last unless $first;
		for my $statement ('TRUNCATE t', 'REINDEX INDEX t_v', "CREATE INDEX t_w ON t USING $method (v) $place", 'DROP INDEX t_v')
		{
			my $what = "$method: $statement, prepared, $end PREPARED";
			$node->safe_psql('postgres', <<"SQL");
DROP TABLE IF EXISTS t;
CREATE TABLE t (id serial, v iqvector(4));
INSERT INTO t (v) SELECT iqdb_random(4) FROM generate_series(1, 200);
CREATE INDEX t_v ON t USING $method (v) $place;
BEGIN; $statement; $add PREPARE TRANSACTION 'p';
SQL
			kill_server($node) if $statement =~ /TRUNCATE/;
			$node->start if $statement =~ /TRUNCATE/;
			$node->safe_psql('postgres', "$end PREPARED 'p'");
			agree($node, "$what: as a sequential scan", table => 't', method => $method, queries => 3)
			  unless $statement =~ /DROP/ && $end eq 'COMMIT';
			$node->safe_psql('postgres', 'SELECT iqdb_sweep()');
			nothing_else("$what, after a sweep");
		}
	}

	# ---- the keeper sweeps by itself, with no index left in the database, and however many there were ----
	if ($first)
	{
		$node->safe_psql('postgres', join ';', 'DROP TABLE IF EXISTS t', 'BEGIN',
			(map { "CREATE TABLE p_$_ (v iqvector(4)); CREATE INDEX ON p_$_ USING $method (v)" } 1 .. 70), 'COMMIT');
		is(scalar(own_files($node, 'snap')), 70, "$method: seventy indexes");
		$node->safe_psql('postgres', join ';', 'BEGIN', (map { "DROP TABLE p_$_" } 1 .. 70), "PREPARE TRANSACTION 'p'");
		$node->safe_psql('postgres', "COMMIT PREPARED 'p'");
		# own files lie in one folder for each database
		ok($node->poll_query_until('template1', "SELECT count(*) = 0 FROM pg_ls_dir('iqdb', true, false) d (database), "
			. "pg_ls_dir('iqdb/' || CASE WHEN database ~ '^[0-9]+\$' THEN database ELSE 'no folder' END, true, false)"),
			"$method: the keeper sweeps what a prepared transaction dropped");
		is_deeply([ arena_files($node) ], [], "$method: and their memory");
	}

	# ---- leftovers of a crash ----
	$node->safe_psql('postgres', <<"SQL");
DROP TABLE IF EXISTS t;
CREATE TABLE t (id serial, v iqvector(4));
INSERT INTO t (v) SELECT iqdb_random(4) FROM generate_series(1, 200);
CREATE INDEX t_v ON t USING $method (v) $place;
SQL
	my $open = $node->background_psql('postgres');
	$open->query_safe("BEGIN; CREATE INDEX t_w ON t USING $method (v) $place");
	cmp_ok(scalar(own_files($node, 'snap')), '>=', 2, "$method: files of an index that is not committed");
	is(one($node, 'SELECT iqdb_sweep()'), 0, "$method: young files are not swept");
	$open->query_safe('REINDEX INDEX t_v');
	grow_old($node);
	is(one($node, 'SELECT iqdb_sweep()'), 0, "$method: nothing is swept while an index cannot be looked at");
	kill_server($node);
	$open->{run}->finish;
	$node->start;
	agree($node, "$method: after the crash", table => 't', method => $method);
	grow_old($node);
	cmp_ok(one($node, 'SELECT iqdb_sweep()'), '>', 0, "$method: the sweep removes what the crash has left");
	nothing_else("$method: after the crash and a sweep");
	agree($node, "$method: the index still has its files", table => 't', method => $method);
	$node->safe_psql('postgres', 'DROP TABLE t');
	$first = 0;
}

# ---- the extension goes, with all its indexes ----
$node->safe_psql('postgres', join ';', map { "CREATE TABLE e_$_ (v iqvector(4)); CREATE INDEX ON e_$_ USING $_ (v); "
	  . "INSERT INTO e_$_ SELECT iqdb_random(4) FROM generate_series(1, 9)" } methods($node));
$node->safe_psql('postgres', 'DROP EXTENSION iqdb CASCADE');
is_deeply([ own_files($node), arena_files($node) ], [], 'DROP EXTENSION CASCADE: nothing is left');

$node->stop;
is_deeply([ arena_files($node) ], [], 'nothing is left in shared memory');
done_testing();

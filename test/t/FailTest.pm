# FailTest.pm - what the tests with fail points share: sessions that are held up at a point, and a comparison that shows
# rows an index should not have, too.
package FailTest;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use Time::HiRes qw(time usleep);
use PostgreSQL::Test::Utils;
use Test::More;
use IqdbTest;

our @EXPORT = qw(prepare_answers same background finish hold release wait_until wait_for_point let_go wait_for_restart
  forget_files);

# Functions of the database: answers(), and vec() for small random vectors.
sub prepare_answers
{
	my ($node) = @_;
	$node->safe_psql('postgres', <<'SQL');
-- All rows by index or by table as one text; the index scan has no filter, so a row without a vector would show. The
-- distances are those of the rows; by_index, they must come in order.
CREATE FUNCTION answers(tab text, by_index boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	query text;
	line text;
	used boolean := false;
	answer text;
BEGIN
	EXECUTE format('SELECT v::text FROM %I WHERE v IS NOT NULL ORDER BY id LIMIT 1', tab) INTO line;
	query := format('SELECT id, v <-> %1$L AS d FROM %2$I%3$s ORDER BY v <-> %1$L', coalesce(line, '[3,1,4,1]'), tab,
		CASE WHEN by_index THEN '' ELSE ' WHERE v IS NOT NULL' END);
	PERFORM set_config('enable_seqscan', (NOT by_index)::text, true), set_config('enable_sort', (NOT by_index)::text, true),
		set_config('enable_indexscan', by_index::text, true), set_config('enable_bitmapscan', 'off', true);
	FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
		used := used OR line LIKE '%Index Scan using%';
	END LOOP;
	IF used <> by_index THEN
		RAISE EXCEPTION 'wrong plan';
	END IF;
	EXECUTE format('SELECT count(*) || '' '' || coalesce(string_agg(id || '':'' || coalesce(d::text, ''none''), '' '' ORDER BY id, d), '''')
		FROM (%s) q', query) INTO answer;
	IF by_index AND EXISTS (SELECT FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_am a ON a.oid = c.relam
		WHERE i.indrelid = tab::regclass AND a.amname = 'iqdb_flat') THEN
		EXECUTE format('SELECT CASE WHEN bool_and(d >= before) IS FALSE THEN ''out of order '' ELSE '''' END
			FROM (SELECT d, lag(d) OVER () AS before FROM (%s) q) q', query) INTO line;
		answer := line || answer;
	END IF;
	RETURN answer;
END $$;
CREATE FUNCTION extra(a text, b text) RETURNS text LANGUAGE sql IMMUTABLE AS
	'SELECT string_agg(x, '' '') FROM (SELECT unnest(string_to_array(a, '' '')) EXCEPT ALL SELECT unnest(string_to_array(b, '' ''))) q (x)';
CREATE FUNCTION vec(dimension int DEFAULT 4) RETURNS iqvector LANGUAGE sql VOLATILE AS
	'SELECT array_agg(floor(random() * 30))::real[]::iqvector FROM generate_series(1, dimension)';
SQL
}

# One test: index and table give the same rows, and the index TABLE_v is sound.
sub same
{
	my ($node, $table, $what) = @_;
	my ($code, $out, $err) = $node->psql('postgres', "SELECT WHERE iqdb_prewarm('${table}_v') < 0;"
		  . "SELECT CASE WHEN a = b THEN 'same' ELSE concat('by index: ', extra(a, b), ', by table: ', extra(b, a)) END "
		  . "FROM answers('$table', true) a, answers('$table', false) b; SELECT iqdb_check('${table}_v')");

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is("$out$err", 'same', $what);
}

# A session in the background: arms a point, if there is one, and runs a statement.
sub background
{
	my ($node, $point, $sql) = @_;
	my $session = { out => '' };
	$session->{run} = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-h', $node->host, '-p', $node->port,
		($point ? ('-c', "SET iqdb.fail_point = '$point'") : ()), '-c', $sql, 'postgres' ], '<', \undef, '>&', \$session->{out});
	return $session;
}

# A session that runs statements and then stays as it is, in a transaction perhaps, until it is released.
sub hold
{
	my ($node, $sql) = @_;
	my $session = { in => "$sql\n\\echo held\n", out => '' };
	$session->{run} = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-h', $node->host, '-p', $node->port, 'postgres' ],
		'<', \$session->{in}, '>&', \$session->{out}, IPC::Run::timeout(120));
	$session->{run}->pump until $session->{out} =~ /^held$/m;
	return $session;
}

# Runs more statements in a session that was held, and ends it.
sub release
{
	my ($session, $sql) = @_;
	$session->{in} .= "$sql\n\\q\n";
	$session->{run}->finish;
	return $session->{out};
}

sub finish
{
	my ($session) = @_;
	$session->{run}->finish;
	return $session->{out};
}

sub wait_until
{
	my ($what, $condition) = @_;
	my $end = time + 60;
	until ($condition->())
	{
		die "waited too long: $what" if time > $end;
		usleep(5000);
	}
}

# A session that was told to sleep at a point has come there.
sub wait_for_point
{
	my ($node, $point) = @_;
	wait_until("a session at $point", sub { -e $node->data_dir . "/fail_point.$point" });
}

sub let_go
{
	my ($node, $point) = @_;
	unlink $node->data_dir . "/fail_point.$point" or die "nobody was at $point";
}

# The server has ended all processes and started again, as the log says behind this offset.
sub wait_for_restart
{
	my ($node, $offset) = @_;
	wait_until('the server', sub { log_since($node, $offset) =~ /database system is ready to accept connections/ });
}

# Takes own files and arenas away, of a server that runs or not: the next to open an index reads the table.
sub forget_files
{
	my ($node) = @_;
	unlink glob($node->data_dir . '/iqdb/*/*'), glob(arena_folder_of($node) . '/*');
}

1;

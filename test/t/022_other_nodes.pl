# What a standby knows and its primary does not: rows that one of them has seen at a time when the other had not. When
# VACUUM gives their places to rows without vector, no node may lead to those. And what a server meets in a table that
# others have left behind: versions without a root, rows that have lost their vectors, older versions with another key.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IqdbTest;
use FailTest;

my $primary = new_node('primary', init => [ allows_streaming => 1 ], conf => "iqdb.background_worker = off\n"
	  . "max_prepared_transactions = 5\nwal_log_hints = on\nwal_retrieve_retry_interval = 100ms\nwal_keep_size = 200MB\n"
	  . "max_standby_streaming_delay = -1\nwal_receiver_status_interval = 1s\n"
	  . "hot_standby_feedback = on\niqdb.journal_keep = 2\n");
$primary->start;
install($primary);
prepare_answers($primary);
$primary->backup('base');
my $standby = new_node('standby', from_backup => [ $primary, 'base', has_streaming => 1 ]);
$standby->start;

sub on_primary
{
	return $primary->safe_psql('postgres', $_[0]);
}

sub new_table
{
	my ($table, $dimension) = @_;
	$dimension //= 4;
	on_primary("CREATE TABLE $table (id bigserial, note text DEFAULT '', v iqvector($dimension)) WITH (fillfactor = 50); "
		  . "INSERT INTO $table (v) SELECT vec($dimension) FROM generate_series(1, 20); "
		  . "CREATE INDEX ${table}_v ON $table USING iqdb_flat (v)");
}

# Until nobody on the standby keeps the primary from removing rows any more.
sub wait_feedback
{
	my $now = on_primary('SELECT txid_current()');
	wait_until('feedback', sub { on_primary("SELECT backend_xmin::text::bigint > $now FROM pg_stat_replication") eq 't' });
}

# Every free place gets a row without vector, on both nodes.
sub fill_places
{
	my ($table, $what) = @_;
	wait_feedback();
	on_primary("VACUUM (INDEX_CLEANUP on) $table");
	on_primary("INSERT INTO $table (v) SELECT NULL FROM generate_series(1, 60)");
	wait_replay($primary, $standby);
	same($primary, $table, "$what: primary, places given to others");
	same($standby, $table, "$what: standby, places given to others");
}

# ---- places given to others ------------------------------------------------------------------------------------------

# The standby follows an insert that is then taken back; the primary has lost its files and reads the table anew.
new_table('taken_back');
wait_replay($primary, $standby);
same($standby, 'taken_back', 'taken back: before');
my $session = hold($primary, 'BEGIN; INSERT INTO taken_back (v) SELECT vec() FROM generate_series(1, 20);');
wait_replay($primary, $standby);
same($standby, 'taken_back', 'taken back: the standby has followed');
release($session, 'ROLLBACK;');
forget_files($primary);
same($primary, 'taken_back', 'taken back: the primary has read the table');
fill_places('taken_back', 'taken back');

# A statement fails on its way from the table to the index; meanwhile the standby reads the table.
on_primary(<<'SQL');
CREATE FUNCTION halfway(x bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF current_setting('test.halfway', true) = 'on' THEN
		PERFORM pg_advisory_lock(7);
		RAISE EXCEPTION 'halfway';
	END IF;
	RETURN x;
END $$;
CREATE TABLE halfway_told (id bigserial, note text DEFAULT '', v iqvector(4));
INSERT INTO halfway_told (v) SELECT vec() FROM generate_series(1, 20);
CREATE INDEX ON halfway_told (halfway(id));
CREATE INDEX halfway_told_v ON halfway_told USING iqdb_flat (v);
SQL
my $gate = hold($primary, 'SELECT pg_advisory_lock(7);');
my $inserter = background($primary, undef, "SET test.halfway = on; INSERT INTO halfway_told (v) VALUES ('[9,9,9,9]')");
wait_until('a statement halfway', sub { on_primary("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") > 0 });
wait_replay($primary, $standby);
forget_files($standby);
same($standby, 'halfway_told', 'halfway: the standby has read the table');
release($gate, '');
like(finish($inserter), qr/halfway/, 'halfway: the statement fails');
fill_places('halfway_told', 'halfway');

# Rows come and go while an index is created concurrently; for the standby they are not gone for good.
new_table('short_lived');
$session = background($primary, 'build-row:sleep', 'REINDEX INDEX CONCURRENTLY short_lived_v');
wait_for_point($primary, 'build-row');
on_primary("INSERT INTO short_lived (note, v) SELECT 'short', vec() FROM generate_series(1, 20)");
wait_replay($primary, $standby);
my $reader = hold($standby, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;');
on_primary("DELETE FROM short_lived WHERE note = 'short'");
let_go($primary, 'build-row');
is(finish($session), '', 'concurrently: built');
wait_replay($primary, $standby);
same($standby, 'short_lived', 'concurrently: the standby has read the table');
release($reader, 'COMMIT;');
fill_places('short_lived', 'concurrently');

# ---- what others have left behind ------------------------------------------------------------------------------------

# A crash ends a transaction that the standby takes for running as long as an older one is prepared.
new_table($_) for qw(orphans);
new_table('incomplete', 900);
new_table('no_index_yet');
on_primary('DROP INDEX no_index_yet_v');
my $toast = on_primary("SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 'incomplete'");
on_primary("BEGIN; CREATE TABLE spare (); PREPARE TRANSACTION 'older'");
$session = hold($primary, "BEGIN; UPDATE orphans SET note = 'hot' WHERE id % 2 = 0; "
	  . "UPDATE no_index_yet SET v = vec(); INSERT INTO incomplete (v) SELECT vec(900) "
	  . 'FROM generate_series(1, 10);');
wait_replay($primary, $standby);
kill_server($primary);
$session->{run}->kill_kill;
$primary->start;
# hints, in whole pages, go to the standby
on_primary('SELECT count(*) FROM orphans; SELECT count(*) FROM incomplete; CHECKPOINT; SELECT count(*) FROM orphans');
on_primary("VACUUM $toast");
on_primary('CREATE INDEX no_index_yet_v ON no_index_yet USING iqdb_flat (v)');
wait_replay($primary, $standby);
forget_files($standby);
for my $table (qw(orphans incomplete no_index_yet))
{
	same($primary, $table, "$table: primary");
	same($standby, $table, "$table: standby");
}
on_primary("ROLLBACK PREPARED 'older'");
fill_places('orphans', 'orphans');
fill_places('incomplete', 'incomplete');

# The horizon goes back: a standby that looks at old rows says so only after their vectors are gone.
sub set_feedback
{
	my ($value) = @_;
	$standby->safe_psql('postgres', "ALTER SYSTEM SET hot_standby_feedback = $value");
	$standby->reload;
	wait_until("feedback $value", sub { on_primary('SELECT backend_xmin IS NOT NULL FROM pg_stat_replication') eq
			($value eq 'on' ? 't' : 'f') });
}

new_table('horizon', 900);
$toast = on_primary("SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 'horizon'");
wait_replay($primary, $standby);
set_feedback('off');
$reader = hold($standby, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;');
on_primary('DELETE FROM horizon WHERE id % 2 = 0');
on_primary("VACUUM $toast");
set_feedback('on');
forget_files($primary);
same($primary, 'horizon', 'horizon: the primary has read the table');
release($reader, 'COMMIT;');
fill_places('horizon', 'horizon');

# A standby that did not look for so long that the journal has been used again.
new_table('overtaken');
wait_replay($primary, $standby);
same($standby, 'overtaken', 'overtaken: before');
for my $round (1 .. 4)
{
	on_primary('INSERT INTO overtaken (v) SELECT vec() FROM generate_series(1, 700)');
	on_primary("SELECT iqdb_flush('overtaken_v')");
}
my ($end, $kept) = split /\|/, on_primary("SELECT journal_entries, journal_kept FROM iqdb_index_stats('overtaken_v')");
cmp_ok($kept, '<', $end, 'overtaken: the journal is shorter than what was written to it');
wait_replay($primary, $standby);
same($standby, 'overtaken', 'overtaken: afterwards');

# An index that is younger than a row's versions: the oldest has another key, and somebody can still see it.
on_primary("CREATE TABLE versions (id bigint, note text DEFAULT '', v iqvector(4)) WITH (fillfactor = 50); "
	  . 'INSERT INTO versions SELECT i, i, vec() FROM generate_series(1, 20) i');
$reader = hold($primary, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class;');
on_primary('UPDATE versions SET v = vec() WHERE id % 2 = 0');
on_primary('CREATE INDEX versions_v ON versions USING iqdb_flat (v)');
same($primary, 'versions', 'versions: built');
forget_files($primary);
same($primary, 'versions', 'versions: read from the table');
release($reader, 'COMMIT;');
same($primary, 'versions', 'versions: later');

$standby->stop;
$primary->stop;
done_testing();

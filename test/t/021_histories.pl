# Files of another history than the table's: of a server that parted from this one, of a future that a crash took back,
# of a server's earlier life. Each must be told from the right one, even where the journals look alike.
use strict;
use warnings;

use File::Copy qw(copy);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IqdbTest;
use FailTest;

my $conf = "iqdb.background_worker = off\niqdb.fsync = always\nsynchronous_commit = on\nautovacuum = off\n"
  . "wal_writer_delay = 10s\ncheckpoint_timeout = 1h\n";
my @tables = qw(snapshot_only log_only mixed);

# ---- two servers that part -------------------------------------------------------------------------------------------

my $one = new_node('one', init => [ allows_streaming => 1 ], conf => $conf);
$one->start;
install($one);
prepare_answers($one);
for my $table (@tables)
{
	$one->safe_psql('postgres', "CREATE TABLE $table (id bigint, v iqvector(4)); INSERT INTO $table SELECT i, vec() "
		  . "FROM generate_series(1, 40) i; CREATE INDEX ${table}_v ON $table USING iqdb_flat (v)");
}
$one->stop('fast');
$one->backup_fs_cold('parting');
my $two = new_node('two', from_backup => [ $one, 'parting' ], conf => $conf);

# The same places in table and journal, but other rows.
sub write_rows
{
	my ($node, $x, $table) = @_;
	$node->safe_psql('postgres', "INSERT INTO $table SELECT 100 + i, format('[%s,%s,1,1]', $x, i)::iqvector FROM generate_series(1, 10) i");
}

$one->start;
$two->start;
write_rows($one, 5, $_) for qw(snapshot_only log_only mixed);
write_rows($two, 20, $_) for qw(snapshot_only log_only mixed);
$one->safe_psql('postgres', "SELECT iqdb_flush('snapshot_only_v'), iqdb_flush('mixed_v')");
write_rows($one, 6, 'mixed');
write_rows($two, 21, 'mixed');

for my $node ($one, $two)
{
	same($node, $_, $node->name . ": $_ after the parting") for @tables;
	$node->stop('fast');
}

# How many files of one server now lie in the place of the other's.
sub take_over
{
	my ($from, $to, $pattern) = @_;
	my $copied = 0;
	for my $file (own_files($from))
	{
		next unless $file =~ $pattern;
		copy($from->data_dir . "/$file", $to->data_dir . "/$file") or die "$file: $!";
		$copied++;
	}
	return $copied;
}

unlink map { $two->data_dir . "/$_" } own_files($two);
cmp_ok(take_over($one, $two, qr/./), '>=', 6, 'files of the other history are in place');
my $offset = log_size($two);
$two->start;
same($two, $_, "$_: files of another history") for @tables;
like(log_since($two, $offset), qr/is refused: it is of another history/, 'and the log says so');
$two->stop('fast');

# ---- a future that was lost ------------------------------------------------------------------------------------------

# Rows are committed without waiting for the WAL; own log and arena have them, and the server is killed.
my $lost = 0;
for my $round (1 .. 5)
{
	$one->start;
	$one->safe_psql('postgres', "SELECT iqdb_prewarm('log_only_v'); CHECKPOINT");
	my $before = one($one, 'SELECT count(*) FROM log_only');
	$one->psql('postgres', 'SET synchronous_commit = off; INSERT INTO log_only SELECT 1000 + i, vec() FROM generate_series(1, 20) i');
	kill_server($one);
	$one->start;
	my $gone = one($one, 'SELECT count(*) FROM log_only') == $before;
	same($one, 'log_only', "round $round: rows of the log that the table has lost");
	# rows without vector where the lost ones were
	$one->safe_psql('postgres', 'INSERT INTO log_only SELECT 2000 + i, NULL FROM generate_series(1, 25) i');
	same($one, 'log_only', "round $round: and with others in their places");
	$one->safe_psql('postgres', 'INSERT INTO log_only SELECT 3000 + i, vec() FROM generate_series(1, 5) i');
	kill_server($one);
	$one->start;
	same($one, 'log_only', "round $round: after another crash");
	$one->stop('fast');
	$lost++ if $gone;
	last if $lost == 2;
}
cmp_ok($lost, '>=', 1, 'a crash has taken rows back');

# An entry that nobody has applied is not passed over: the position of a snapshot would be none of this history.
$one->start;
$one->psql('postgres', "SET iqdb.fail_point = 'journal-appended:error'; INSERT INTO log_only SELECT 4000, vec()");
$one->safe_psql('postgres', 'INSERT INTO log_only SELECT 4000 + i, vec() FROM generate_series(1, 5) i');
$one->safe_psql('postgres', "SELECT iqdb_flush('log_only_v')");
$offset = log_size($one);
kill_server($one);
$one->start;
same($one, 'log_only', 'snapshot behind an entry that was left');
unlike(log_since($one, $offset), qr/is refused/, 'it is not refused');
$one->stop('fast');

# A snapshot is as durable as what it was made of: the journal entries in it are not lost with the WAL's tail.
$one->start;
$one->safe_psql('postgres', "SELECT iqdb_prewarm('mixed_v'); CHECKPOINT");
$one->psql('postgres', "SET synchronous_commit = off; INSERT INTO mixed SELECT 1000 + i, vec() FROM generate_series(1, 20) i; "
	  . "SELECT iqdb_flush('mixed_v')");
kill_server($one);
$offset = log_size($one);
$one->start;
same($one, 'mixed', 'snapshot with rows not waited for');
my $log = log_since($one, $offset);
unlike($log, qr/is refused/, 'no snapshot is refused after a crash');
like($log, qr/"mixed_v" opened in [\d.]+ ms: (?!0 rows)\d+ rows loaded from snapshot/, 'and one was used');
$one->stop('fast');

# ---- a snapshot that begins before two servers part, and ends behind that ----------------------------------------------

# Rows that VACUUM removes while it is copied are not in it, and the other server still has them. Its replay there does not
# mend that, because that server's journal has no entry for them. Where the copy, in parts of some thousand rows, is held
# up decides what is missing.
my @copied = map { "copied_$_" } 0 .. 3;
$one->start;
for my $table (@copied)
{
	$one->safe_psql('postgres', "CREATE TABLE $table (id bigint, v iqvector(4)); INSERT INTO $table SELECT i, vec() "
		  . "FROM generate_series(1, 9000) i; CREATE INDEX ${table}_v ON $table USING iqdb_flat (v)");
}
$one->backup('running');
my $three = new_node('three', from_backup => [ $one, 'running' ], conf => $conf);
$three->start;
for my $skip (0 .. 3)
{
	# before the copy begins, whose own session would keep VACUUM from removing them
	$one->safe_psql('postgres', "DELETE FROM copied_$skip WHERE id % 2 = 0");
	my $session = background($one, "snapshot-write:sleep:$skip", "SELECT iqdb_flush('copied_${skip}_v')");
	wait_for_point($one, 'snapshot-write');
	$one->safe_psql('postgres', "VACUUM copied_$skip");
	let_go($one, 'snapshot-write');
	finish($session);
	$three->safe_psql('postgres', "INSERT INTO copied_$skip SELECT 10000 + i, NULL FROM generate_series(1, 20) i");
	same($one, "copied_$skip", "copied in parts, $skip: the one");
	same($three, "copied_$skip", "copied in parts, $skip: the other");
}
$_->stop('fast') for $one, $three;
unlink map { $three->data_dir . "/$_" } own_files($three);
cmp_ok(take_over($one, $three, qr/snap$/), '>=', 4, 'snapshots of the other history are in place');
$three->start;
same($three, $_, "$_: a snapshot that ended in another history") for @copied;
$three->stop('fast');

done_testing();

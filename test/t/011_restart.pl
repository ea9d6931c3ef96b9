# 011_restart.pl - own files after a restart: used when they are right, noticed and mended when they are not.
#
# A snapshot and the log save time, no more: each of them may be gone, old, torn, garbled, of another index or of another
# history, and the index must answer as its table does. With iqdb.on_corruption = error damage is an error instead.
use strict;
use warnings;
use File::Copy qw(copy move);
use File::Path qw(remove_tree make_path);
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('restart', conf => "iqdb.snapshot_wal_size = 64MB\niqdb.fsync_interval = 50ms\n");
my $top = $node->data_dir;
$node->start;
install($node);
my @methods = methods($node);
my $method;
my $t;

# The own files that were there when the server was stopped.
my @files_at_stop;
sub files_of_down { return grep { -e $_ } @files_at_stop }

sub opened
{
	my ($offset) = @_;
	return log_since($node, $offset) =~
	  /index "${t}_v" opened in [\d.]+ ms: (\d+) rows loaded from snapshot, (\d+) changes replayed from log, (\d+) rows fetched by journal, (\d+) rows rebuilt from table/
	  ? { loaded => $1, replayed => $2, fetched => $3, rebuilt => $4 }
	  : {};
}

# Restarts the server, doing something while it is down, and looks at the index. Returns how it was opened, and the log.
sub after_restart
{
	my ($what, $while_down, %args) = @_;

	@files_at_stop = (files_of('snap'), files_of('log'));
	if ($args{crash}) { kill_server($node) }
	else { $node->stop($args{mode} // 'fast') }
	$while_down->() if $while_down;
	my $offset = log_size($node);
	$node->start;
	agree($node, "$what: as a sequential scan", table => $t, method => $method, queries => 5);
	sound($node, "${t}_v", "$what: iqdb_check");
	my $opened = opened($offset);
	my $log = log_since($node, $offset);
	unlike($log, qr/PANIC|TRAP|terminated by signal/, "$what: the server lives");
	return ($opened, $log);
}

sub generation { return one($node, "SELECT generation FROM iqdb_index_stats('${t}_v')") }
sub files_of { my ($suffix) = @_; my $g = generation(); return map { "$top/$_" } grep { /\Q$g\E/ } own_files($node, $suffix) }

sub add_rows
{
	my ($count) = @_;
	$node->safe_psql('postgres', "INSERT INTO $t (v) SELECT iqdb_random(6) FROM generate_series(1, $count)");
}

sub change_byte
{
	my ($path, $at) = @_;
	open my $file, '+<:raw', $path or die "$path: $!";
	seek $file, $at, 0;
	read $file, my $byte, 1;
	seek $file, $at, 0;
	print $file chr(ord($byte) ^ 0x40);
	close $file;
}

sub cut
{
	my ($path, $size) = @_;
	truncate $path, $size or die "$path: $!";
}

for (@methods)
{
	$method = $_;
	$t = "t_$method";
	my ($opened, $log);

	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE $t (id serial, v iqvector(6));
INSERT INTO $t (v) SELECT iqdb_random(6) FROM generate_series(1, 800);
CREATE INDEX ${t}_v ON $t USING $method (v);
SQL

	# ---- right files ----
	is(scalar(files_of('snap')), 1, "$method: CREATE INDEX leaves a snapshot");
	add_rows(100);
	$node->safe_psql('postgres', "DELETE FROM $t WHERE id % 9 = 2");
	$node->safe_psql('postgres', "VACUUM $t");
	add_rows(30);
	($opened) = after_restart("$method: clean restart");
	# rows of a snapshot that VACUUM has removed since are not in the table, unless another row has the place
	cmp_ok($opened->{loaded}, '>=', 711, "$method: rows came from the snapshot");
	cmp_ok($opened->{loaded}, '<=', 800, "$method: no more than it has");
	cmp_ok($opened->{replayed}, '>=', 200, "$method: changes came from the log");
	is($opened->{fetched} . $opened->{rebuilt}, '00', "$method: none from the table");

	my $bytes = one($node, "SELECT iqdb_flush('${t}_v')");
	cmp_ok($bytes, '>', 800 * 2, "$method: iqdb_flush writes a snapshot");
	add_rows(20);
	($opened) = after_restart("$method: restart after a flush");
	is($opened->{loaded}, one($node, "SELECT count(*) FROM $t") - 20, "$method: all rows came from the new snapshot");
	is($opened->{rebuilt}, 0, "$method: none from the table");

	# what only the shared buffer of the log had is fetched by TID
	setting($node, 'iqdb.fsync_interval', '1h');
	add_rows(25);
	($opened) = after_restart("$method: kill -9", undef, crash => 1);
	is($opened->{rebuilt}, 0, "$method: a crash does not rebuild");
	cmp_ok($opened->{fetched} + $opened->{replayed}, '>=', 25, "$method: it fetches what the files lack");
	setting($node, 'iqdb.fsync_interval', undef);

	for my $policy ('always', 'never', 'periodic')
	{
		setting($node, 'iqdb.fsync', $policy);
		add_rows(15);
		$node->safe_psql('postgres', "BEGIN; INSERT INTO $t (v) SELECT iqdb_random(6) FROM generate_series(1, 9); ROLLBACK; "
			  . "BEGIN; INSERT INTO $t (v) VALUES ('[50,0,0,0,0,0]'); PREPARE TRANSACTION '$policy'");
		($opened) = after_restart("$method: iqdb.fsync = $policy and kill -9", undef, crash => 1);
		is($opened->{rebuilt}, 0, "$method: iqdb.fsync = $policy does not rebuild");
		$node->safe_psql('postgres', "COMMIT PREPARED '$policy'");
		is(one($node, "SET enable_seqscan = off; SELECT v FROM $t ORDER BY v <-> '[50,0,0,0,0,0]' LIMIT 1"), '[50,0,0,0,0,0]',
			"$method: a transaction prepared before the crash is committed behind it");
		$node->safe_psql('postgres', "DELETE FROM $t WHERE v = '[50,0,0,0,0,0]'");
		cmp_ok($opened->{fetched}, '<=', 25, "$method: always: the log has what was committed") if $policy eq 'always';
	}
	setting($node, 'iqdb.fsync', undef);

	# ---- files that are gone ----
	($opened) = after_restart("$method: own folder deleted while down", sub { remove_tree("$top/iqdb") });
	is($opened->{rebuilt}, one($node, "SELECT count(*) FROM $t"), "$method: all rows came from the table");
	is($opened->{loaded}, 0, "$method: none from files");
	$node->safe_psql('postgres', "SELECT iqdb_flush('${t}_v')");
	add_rows(10);
	($opened) = after_restart("$method: log deleted while down", sub { unlink glob "$top/iqdb/*/*.log" });
	cmp_ok($opened->{fetched}, '>=', 10, "$method: its rows were fetched");
	is($opened->{rebuilt}, 0, "$method: and only those");

	# ---- files that are old ----
	make_path("$top/../older");
	$node->safe_psql('postgres', "SELECT iqdb_flush('${t}_v')");
	$node->stop;
	remove_tree("$top/../older");
	system_or_bail('cp', '-r', "$top/iqdb", "$top/../older");
	$node->start;
	add_rows(40);
	$node->safe_psql('postgres', "UPDATE $t SET v = iqdb_random(6) WHERE id % 5 = 0; DELETE FROM $t WHERE id % 11 = 4");
	$node->safe_psql('postgres', "VACUUM $t");
	add_rows(60);
	$node->safe_psql('postgres', "SELECT iqdb_flush('${t}_v')");
	add_rows(5);
	($opened) = after_restart("$method: own folder replaced by an older copy",
		sub { remove_tree("$top/iqdb"); system_or_bail('cp', '-r', "$top/../older", "$top/iqdb") });
	cmp_ok($opened->{loaded}, '>', 0, "$method: the old snapshot is of use");
	is($opened->{rebuilt}, 0, "$method: what is newer was fetched");

	# the same, after the journal has been trimmed beyond it
	$node->append_conf('postgresql.conf', "iqdb.journal_keep = 2\niqdb.journal_limit = 4\n");
	$node->restart;
	$node->safe_psql('postgres', "UPDATE $t SET v = v; UPDATE $t SET v = v; UPDATE $t SET v = v; UPDATE $t SET v = v");
	$node->safe_psql('postgres', "VACUUM $t; UPDATE $t SET v = iqdb_random(6)");
	$node->safe_psql('postgres', "SELECT iqdb_flush('${t}_v')");
	($opened, $log) = after_restart("$method: an older copy that the journal has left behind",
		sub { remove_tree("$top/iqdb"); system_or_bail('cp', '-r', "$top/../older", "$top/iqdb") });
	cmp_ok($opened->{rebuilt}, '>', 0, "$method: it is not used");
	like($log, qr/is refused: the journal does not reach back to it/, "$method: and the log says so");
	$node->append_conf('postgresql.conf', "iqdb.journal_keep = 64\niqdb.journal_limit = 4096\n");
	$node->restart;

	# ---- files of another index ----
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE other_$method (id serial, v iqvector(6));
INSERT INTO other_$method (v) SELECT iqdb_random(6) FROM generate_series(1, 300);
CREATE INDEX other_${method}_v ON other_$method USING $method (v);
INSERT INTO other_$method (v) SELECT iqdb_random(6) FROM generate_series(1, 30);
SELECT iqdb_flush('${t}_v');
SQL
	my ($mine, $theirs) = map { one($node, "SELECT generation FROM iqdb_index_stats('${_}_v')") } $t, "other_$method";
	($opened, $log) = after_restart("$method: files exchanged with another index's",
		sub {
			for my $path (glob "$top/iqdb/*/*")
			{
				my $new = $path =~ s/$mine/swap/r =~ s/$theirs/$mine/r =~ s/swap/$theirs/r;
				rename $path, "$new.new" if $path =~ /$mine|$theirs/;
			}
			for my $path (glob "$top/iqdb/*/*.new") { rename $path, $path =~ s/\.new$//r }
		});
	is($opened->{loaded}, 0, "$method: they are not used");
	like($log, qr/is refused: it belongs to another index or cluster/, "$method: and the log says so");
	agree($node, "$method: the other index is right as well", table => "other_$method", method => $method, queries => 3);

	# ---- damaged snapshots ----
	my $damage = 0;
	my @damages = (
		[ 'emptied' => sub { cut($_[0], 0) } ],
		[ 'cut in its header' => sub { cut($_[0], 200) } ],
		[ 'cut in the middle' => sub { cut($_[0], int((-s $_[0]) / 2)) } ],
		[ 'cut by one byte' => sub { cut($_[0], (-s $_[0]) - 1) } ],
		[ 'with a flipped bit in the header' => sub { change_byte($_[0], 40) } ],
		[ 'with a flipped bit in the rows' => sub { change_byte($_[0], int((-s $_[0]) * 0.6)) } ],
		[ 'with a flipped bit near the end' => sub { change_byte($_[0], (-s $_[0]) - 9) } ],
		[ 'of random bytes' => sub { my $size = -s $_[0]; unlink $_[0]; append_to_file($_[0], join('', map { chr int rand 256 } 1 .. $size)) } ],
		[ 'of another version' => sub { change_byte($_[0], 8) } ]);
	for my $case (@damages)
	{
		my ($how, $do) = @$case;
		$node->safe_psql('postgres', "SELECT iqdb_flush('${t}_v')");
		add_rows(3);
		my @snapshots = files_of('snap');
		# the newest alone, then all of them
		my @victims = $damage++ % 2 ? @snapshots : ($snapshots[-1]);
		($opened, $log) = after_restart("$method: snapshot $how" . (@victims > 1 ? ', and the older one too' : ''),
			sub { $do->($_) for @victims });
		like($log, qr/iqdb: snapshot "iqdb\S+snap" .*(is refused|is damaged): /, "$method: snapshot $how: the log says so");
		is($opened->{rebuilt} > 0 ? 'table' : 'snapshot', @victims < @snapshots ? 'snapshot' : 'table',
			"$method: snapshot $how: the older one, or the table, takes its place");
	}

	# ---- damaged logs: the rest is read from the table ----
	for my $case (@damages)
	{
		my ($how, $do) = @$case;
		$node->safe_psql('postgres', "SELECT iqdb_flush('${t}_v')");
		add_rows(50);
		$node->safe_psql('postgres', "DELETE FROM $t WHERE id % 50 = 7");
		$node->safe_psql('postgres', "VACUUM $t");
		add_rows(5);
		my $seen;
		($opened, $log) = after_restart("$method: log $how",
			sub { my ($last) = reverse glob("$top/iqdb/*/" . $mine . '*.log'); $seen = $last; $do->($last) if $last });
		ok($seen, "$method: log $how: there was one");
		cmp_ok($opened->{fetched}, '>', 0, "$method: log $how: the rest came from the table");
		is($opened->{rebuilt}, 0, "$method: log $how: but not all");
	}

	# ---- iqdb.on_corruption = error ----
	$node->safe_psql('postgres', "SELECT iqdb_flush('${t}_v')");
	my @snapshots = files_of('snap');
	$node->stop;
	change_byte($_, int((-s $_) * 0.5)) for @snapshots;
	$node->append_conf('postgresql.conf', "iqdb.on_corruption = error\n");
	$node->start;
	sql_fails($node, "SET enable_seqscan = off; SELECT 1 FROM $t ORDER BY v <-> '[1,1,1,1,1,1]' LIMIT 1;", 'XX002',
		'is damaged.*(DETAIL|offset).*HINT: +[^\n]*REINDEX', "$method: iqdb.on_corruption = error raises");
	# rows are journaled, and whoever opens the index next meets the damage
	is(one($node, "INSERT INTO $t (v) VALUES ('[1,2,3,4,5,6]') RETURNING 'written'"), 'written', "$method: writers go on");
	sql_fails($node, "SELECT iqdb_prewarm('${t}_v');", 'XX002', 'is damaged', "$method: the index is damaged still");
	is(one($node, "SELECT count(*) > 0 FROM $t"), 't', "$method: the table can be read");
	$node->safe_psql('postgres', "REINDEX INDEX ${t}_v");
	agree($node, "$method: REINDEX mends it", table => $t, method => $method);
	$node->append_conf('postgresql.conf', "iqdb.on_corruption = rebuild\n");
	$node->reload;

	# ---- unlogged indexes are emptied by a crash, and keep their rows over a stop ----
	$node->safe_psql('postgres', <<"SQL");
CREATE UNLOGGED TABLE u_$method (id serial, v iqvector(6));
INSERT INTO u_$method (v) SELECT iqdb_random(6) FROM generate_series(1, 100);
CREATE INDEX u_${method}_v ON u_$method USING $method (v);
INSERT INTO u_$method (v) SELECT iqdb_random(6) FROM generate_series(1, 100);
SQL
	$node->restart;
	agree($node, "$method: an unlogged table after a clean restart", table => "u_$method", method => $method);
	for my $turn (1, 2)
	{
		kill_server($node);
		$node->start;
		is(one($node, "SET enable_seqscan = off; SELECT count(*) FROM (SELECT 1 FROM u_$method ORDER BY v <-> '[1,1,1,1,1,1]') s"),
			0, "$method: an unlogged table after crash $turn");
		$node->safe_psql('postgres', "INSERT INTO u_$method (v) SELECT iqdb_random(6) FROM generate_series(1, 50)");
		agree($node, "$method: and with new rows", table => "u_$method", method => $method);
		sound($node, "u_${method}_v");
	}
	is(scalar(grep { /@{[one($node, "SELECT generation FROM iqdb_index_stats('u_${method}_v')")]}/ } own_files($node)), 0,
		"$method: an unlogged index has no own files");
	$node->safe_psql('postgres', "DROP TABLE u_$method, other_$method");

	# ---- options that ALTER INDEX changes: what is built goes on as it is, and the next REINDEX takes them ----
	my %options = (iqdb_flat => [ 'quantization = sq8', 'vectors = memory' ],
		iqdb_hnsw => [ 'm = 4', 'm = 100', 'quantization = none', 'quantization = bq', 'ef_construction = 300' ],
		iqdb_ivf => [ 'lists = 7', 'quantization = pq', 'quantization = none', 'pq_subvectors = 4', 'probes = 900000' ]);
	for my $option (@{ $options{$method} })
	{
		my $name = $option =~ s/ =.*//r;
		$node->safe_psql('postgres', "SELECT iqdb_flush('${t}_v'); ALTER INDEX ${t}_v SET ($option)");
		my $form = one($node, "SELECT quantization, lists FROM iqdb_index_stats('${t}_v')");
		add_rows(3);
		($opened) = after_restart("$method: SET ($option)");
		is($opened->{rebuilt}, 0, "$method: SET ($option) rebuilds nothing");
		is(one($node, "SELECT quantization, lists FROM iqdb_index_stats('${t}_v')"), $form, "$method: SET ($option): the form stays");
		$node->safe_psql('postgres', "SELECT iqdb_flush('${t}_v')");
		after_restart("$method: SET ($option), files gone", sub { remove_tree("$top/iqdb") });
		# together with the others it may be impossible; that is said by REINDEX, and by nobody else
		my (undef, undef, $err) = $node->psql('postgres', "REINDEX INDEX ${t}_v");
		unlike($err, qr/ERROR(?!.*(must be|not possible))/, "$method: SET ($option): REINDEX takes it, or says why not");
		$node->safe_psql('postgres', "ALTER INDEX ${t}_v RESET ($name); REINDEX INDEX ${t}_v");
	}
	# a column may lose its dimension under an index
	$node->safe_psql('postgres', "ALTER TABLE $t ALTER v TYPE iqvector");
	for my $turn ('at once', 'after a restart', 'from the table')
	{
		after_restart("$method: without a dimension, $turn", sub { remove_tree("$top/iqdb") if $turn =~ /table/ }) if $turn ne 'at once';
		add_rows(5);
		$node->safe_psql('postgres', "DELETE FROM $t WHERE id % 50 = 8");
		$node->safe_psql('postgres', "VACUUM $t");
		agree($node, "$method: without a dimension, $turn", table => $t, method => $method);
		sql_fails($node, "INSERT INTO $t (v) VALUES ('[1,2]');", '22000', 'expected 6 dimensions, not 2', "$method: another dimension, $turn");
	}
	sql_fails($node, "REINDEX INDEX ${t}_v;", '22023', 'does not have dimensions.*Give the column', "$method: without a dimension, REINDEX");
	agree($node, "$method: without a dimension, after REINDEX failed", table => $t, method => $method);
	$node->safe_psql('postgres', "ALTER TABLE $t ALTER v TYPE iqvector(6); REINDEX INDEX ${t}_v");

	# ---- what is no file has the name of one: it is not waited for ----
	for my $kind (qw(pipe folder))
	{
		$node->safe_psql('postgres', "SELECT iqdb_flush('${t}_v')");
		add_rows(5);
		($opened, $log) = after_restart("$method: a $kind for each own file", sub {
			for my $path (files_of_down())
			{
				unlink $path;
				$kind eq 'pipe' ? system_or_bail('mkfifo', $path) : mkdir $path;
			}
		});
		is($opened->{rebuilt}, one($node, "SELECT count(*) FROM $t"), "$method: a $kind for each own file: the table was read");
		like($log, qr/snapshot "\S+" is refused: .*(Invalid argument|Is a directory)/, "$method: a $kind: the log says so");
		$node->safe_psql('postgres', "SELECT iqdb_flush('${t}_v')");
		add_rows(5);
		$node->safe_psql('postgres', "SELECT iqdb_flush('${t}_v')");
		is(scalar(grep { !-f $_ } files_of('snap'), files_of('log')), 0, "$method: a $kind: it goes with the next snapshots");
	}

	# ---- compressed snapshots ----
	for my $compression ('lz4', 'zstd')
	{
		$node->safe_psql('postgres', "ALTER INDEX ${t}_v SET (compression = $compression); SELECT iqdb_flush('${t}_v')");
		($opened) = after_restart("$method: a snapshot compressed by $compression");
		cmp_ok($opened->{loaded}, '>', 0, "$method: $compression: rows came from it");
	}
	$node->safe_psql('postgres', "DROP TABLE $t");
}

is_deeply([ own_files($node) ], [], 'no own files are left');
$node->stop;
is_deeply([ arena_files($node) ], [], 'nothing is left in shared memory');
done_testing();

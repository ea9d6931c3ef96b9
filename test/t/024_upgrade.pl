# 024_upgrade.pl - pg_upgrade takes a cluster over into a new one of the same major version.
#
# It restores the schema first, so each index is built there over an empty table, and then puts the old files in place: the
# new own files are of indexes that are no more. With the old own folder put beside them, too, nothing of it may be believed
# either: it is of another cluster.
use strict;
use warnings;
use File::Path qw(remove_tree);
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = new_node('old');
$old->start;
install($old);
my @methods = methods($old);
my $add = 'INSERT INTO %s (v) SELECT iqdb_random(6) FROM generate_series(1, %d)';

for my $method (@methods)
{
	my $t = "t_$method";
	$old->safe_psql('postgres', "CREATE TABLE $t (id serial, v iqvector(6)); " . sprintf("$add; ", $t, 500)
		  . "CREATE INDEX ${t}_v ON $t USING $method (v); CREATE INDEX ${t}_w ON $t USING $method (v iqvector_l1_ops) WHERE id % 3 = 0; "
		  . sprintf("$add; DELETE FROM $t WHERE id %% 5 = 1;", $t, 60)
		  . "CREATE UNLOGGED TABLE u_$method (id serial, v iqvector(6)); CREATE INDEX u_${method}_v ON u_$method USING $method (v); "
		  . sprintf($add, "u_$method", 70));
	$old->safe_psql('postgres', "VACUUM $t");
	$old->safe_psql('postgres', "INSERT INTO $t (v) SELECT CASE WHEN i % 2 = 0 THEN iqdb_random(6) END FROM generate_series(1, 50) i");
}
my %rows = map { $_ => one($old, "SELECT count(*), sum(id), count(v) FROM t_$_") } @methods;
$old->stop;

for my $case ('own files of the new cluster', 'own files of the old cluster as well')
{
	my $new = new_node($case =~ /as well/ ? 'both' : 'new');
	# it writes its files into the current folder
	my $here = PostgreSQL::Test::Utils::tempdir_short();
	chdir $here or die $here;
	my $bin = `pg_config --bindir`;
	chomp $bin;
	command_ok([ 'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $bin, '-B', $bin, '-s', $here,
			'-p', $old->port, '-P', $new->port ], "$case: pg_upgrade");
	chdir '/';
	if ($case =~ /as well/)
	{
		mkdir $new->data_dir . '/iqdb';
		system_or_bail('sh', '-c', 'cp -r "$0"/iqdb/* "$1"/iqdb/', $old->data_dir, $new->data_dir);
	}
	$new->start;
	for my $method (@methods)
	{
		my $t = "t_$method";
		my $what = "$method: $case";
		is(one($new, "SELECT count(*), sum(id), count(v) FROM $t"), $rows{$method}, "$what: the table");
		agree($new, "$what: as a sequential scan", table => $t, method => $method, queries => 5);
		agree($new, "$what: a partial index", table => $t, method => $method, op => '<+>', filter => 'id % 3 = 0', queries => 3);
		agree($new, "$what: an unlogged table", table => "u_$method", method => $method, queries => 3);
		sound($new, $_, "$what: iqdb_check of $_") for "${t}_v", "${t}_w", "u_${method}_v";
		like(log_since($new, 0), qr/index "${t}_v" opened in [\d.]+ ms: 0 rows loaded from snapshot, .* [1-9]\d* rows rebuilt/,
			"$what: all rows came from the table");
		$new->safe_psql('postgres', "DELETE FROM $t WHERE id % 4 = 2");
		$new->safe_psql('postgres', "VACUUM $t");
		$new->safe_psql('postgres', "INSERT INTO $t (v) SELECT CASE WHEN i % 2 = 0 THEN iqdb_random(6) END FROM generate_series(1, 80) i");
		agree($new, "$what: and goes on", table => $t, method => $method, queries => 3);
	}
	kill_server($new);
	$new->start;
	agree($new, "$_: $case: after a crash", table => "t_$_", method => $_, queries => 3) for @methods;
	unlike(log_since($new, 0), qr/PANIC|TRAP|terminated by signal/, "$case: the server lives");
	grow_old($new);
	my $generations = join '|', split /\n/, one($new, "SELECT s.generation FROM pg_class c JOIN pg_am a ON a.oid = c.relam, "
		  . "iqdb_index_stats(c.oid::regclass) s WHERE a.amname LIKE 'iqdb%' AND c.relkind = 'i'");
	one($new, 'SELECT iqdb_sweep()');
	is_deeply([ grep { !/$generations/ } own_files($new) ], [], "$case: a sweep removes the files of indexes that are no more");
	$new->stop;
	is_deeply([ arena_files($new) ], [], "$case: nothing is left in shared memory");
}
done_testing();

# 050_foreign_servers.pl - tables over several servers: partitions that are foreign tables of postgres_fdw, and subscribers of
# logical replication with indexes of their own.
#
# A coordinator holds no row. Two servers hold one partition each, with an index. A search asks each of them for its nearest rows,
# in order, and the coordinator merges them: what it answers must be what a sequential scan over all rows answers. The rows are
# known to a plain table of the coordinator as well, which is what answers are compared with.
use strict;
use warnings;

use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $coordinator = new_node('coordinator', init => [ allows_streaming => 'logical' ]);
$coordinator->start;
if (one($coordinator, q(SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw')) == 0)
{
	$coordinator->stop;
	plan skip_all => 'this server has no postgres_fdw';
}
my %holder = map { $_ => new_node($_) } qw(north south);
$_->start for values %holder;
install($_) for $coordinator, values %holder;

# Searches of the holders look at everything, so that answers are exact whatever the method; and they go by index, though the
# tables are small.
my $thorough = '-c iqdb.hnsw_ef_search=2000 -c iqdb.ivf_probes=1000 -c enable_seqscan=off';

$coordinator->safe_psql('postgres', 'CREATE EXTENSION postgres_fdw;' . join '', map { <<"SQL" } sort keys %holder);
CREATE SERVER $_ FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '@{[$holder{$_}->host]}', port '@{[$holder{$_}->port]}',
	dbname 'postgres', extensions 'iqdb', fetch_size '20', batch_size '50', options '$thorough');
CREATE USER MAPPING FOR CURRENT_USER SERVER $_;
SQL

# wrong(table, operator, queries, limit): one line for each query that the partitions and the plain table answer differently.
# The query is a parameter of a plan that is kept for all of them.
$coordinator->safe_psql('postgres', <<'SQL');
CREATE FUNCTION wrong(tab text, op text, queries int, count int) RETURNS SETOF text LANGUAGE plpgsql
	SET plan_cache_mode = force_generic_plan AS $$
DECLARE
	target iqvector;
	a record;
	b record;
	problem text;
BEGIN
	EXECUTE format('PREPARE merged (iqvector, int) AS SELECT array_agg(id) AS ids, array_agg(d) AS distances FROM '
		'(SELECT id, v %1$s $1 AS d FROM %2$s ORDER BY v %1$s $1 LIMIT $2) s', op, tab);
	FOR i IN 1 .. queries LOOP
		target := iqdb_random(6);
		EXECUTE format('EXECUTE merged (%L, %s)', target, count) INTO a;
		EXECUTE format('SELECT array_agg(id) AS ids, array_agg(d) AS distances FROM '
			'(SELECT id, v %s %L::iqvector AS d FROM %s_all ORDER BY 2 LIMIT %s) s', op, target, tab, count) INTO b;
		problem := iqdb_difference(a.ids, a.distances, b.ids, b.distances, true);
		IF problem IS NOT NULL THEN
			RETURN NEXT format('%s: %s', problem, target);
		END IF;
	END LOOP;
	DEALLOCATE merged;
END $$;
SQL

# The plan of a query of the coordinator, or of a prepared one that keeps its parameters open.
sub plan_of
{
	my ($query, $preparation) = @_;
	return $coordinator->safe_psql('postgres',
		"SET plan_cache_mode = force_generic_plan; " . ($preparation // '') . "EXPLAIN (VERBOSE, COSTS OFF) $query");
}

# What the plan says to other servers.
sub remote_queries
{
	my ($plan) = @_;
	return $plan =~ /Remote SQL: (.*)/g;
}

sub scans
{
	my ($node, $index) = @_;
	return one($node, "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = '$index'");
}

my %distance = (iqdb_flat => [ '<=>', 'iqvector_cosine_ops' ], iqdb_hnsw => [ '<->', 'iqvector_l2_ops' ],
	iqdb_ivf => [ '<#>', 'iqvector_ip_ops' ]);
my $vector = "'[0.1,0.2,0.3,0.4,0.5,0.6]'";

for my $method (methods($holder{north}))
{
	my $t = "t_$method";
	my ($op, $class) = @{ $distance{$method} };
	my $nearest = "SELECT id, v $op $vector AS d FROM $t ORDER BY v $op $vector LIMIT 10";

	# ---- a table of two partitions elsewhere, filled through the coordinator ----
	$holder{$_}->safe_psql('postgres', "CREATE TABLE $t (id int, region text CHECK (region = '$_'), v iqvector(6)); "
		  . "CREATE INDEX ${t}_v ON $t USING $method (v $class)") for keys %holder;
	$coordinator->safe_psql('postgres', <<"SQL");
CREATE TABLE ${t}_all (id int, region text, v iqvector(6));
INSERT INTO ${t}_all SELECT i, CASE WHEN i % 3 = 0 THEN 'south' ELSE 'north' END, iqdb_random(6) FROM generate_series(1, 600) i;
CREATE TABLE $t (id int, region text, v iqvector(6)) PARTITION BY LIST (region);
CREATE FOREIGN TABLE ${t}_north PARTITION OF $t FOR VALUES IN ('north') SERVER north OPTIONS (table_name '$t');
CREATE FOREIGN TABLE ${t}_south PARTITION OF $t FOR VALUES IN ('south') SERVER south OPTIONS (table_name '$t');
INSERT INTO $t SELECT * FROM ${t}_all;
ANALYZE $t;
SQL
	is(one($holder{$_}, "SELECT count(*), min(region), max(region) FROM $t"),
		one($coordinator, "SELECT count(*), min(region), max(region) FROM ${t}_all WHERE region = '$_'"),
		"$method: rows went to $_") for sort keys %holder;
	sql_fails($coordinator, "INSERT INTO $t VALUES (0, 'west', $vector)", '23514', 'no partition of relation',
		"$method: a row that belongs nowhere");
	sql_fails($coordinator, "UPDATE $t SET region = 'south' WHERE id = 1", '23514', 'violates check constraint',
		"$method: a row that would have to move");

	# ---- what is asked of the others ----
	my $plan = plan_of($nearest);
	like($plan, qr/^Limit\n.*\n  ->  Merge Append\n/, "$method: answers are merged");
	my @asked = remote_queries($plan);
	is(scalar @asked, 2, "$method: both are asked");
	like($_, qr/ORDER BY \(v OPERATOR\(public\.\Q$op\E\) '\[0.1,[^']*'(::public\.iqvector)?\) ASC NULLS LAST$/,
		"$method: for rows in order")
	  for @asked;
	unlike($plan, qr/Sort\n/, "$method: nothing is sorted here");
	like(plan_of($nearest =~ s/FROM $t/FROM ${t}_north/r), qr/^Foreign Scan.*Remote SQL: .* ORDER BY .* LIMIT 10::bigint$/s,
		"$method: one server is sent the LIMIT too");
	@asked = remote_queries(plan_of($nearest =~ s/ORDER/WHERE region = 'south' AND id > 50 ORDER/r));
	like("@asked", qr/^SELECT .* WHERE .*\(\(id > 50\)\).* ORDER BY /,
		"$method: partitions that cannot hold such rows are not asked, filters go along");
	is(scalar @asked, 1, "$method: one is asked for a region");
	@asked = remote_queries(plan_of('EXECUTE merged(' . "$vector, 10)",
		"PREPARE merged (iqvector, int) AS SELECT id FROM $t ORDER BY v $op \$1 LIMIT \$2; "));
	is(scalar(grep { /ORDER BY \(v OPERATOR\(public\.\Q$op\E\) \$1::public\.iqvector\) ASC/ } @asked), 2,
		"$method: a kept plan sends its parameter");
	@asked = remote_queries(plan_of("(SELECT id, v $op $vector AS d FROM ${t}_north ORDER BY d LIMIT 10) UNION ALL "
		  . "(SELECT id, v $op $vector FROM ${t}_south ORDER BY v $op $vector LIMIT 10) ORDER BY d LIMIT 10"));
	is(scalar(grep { /ORDER BY .* LIMIT 10::bigint$/ } @asked), 2, "$method: each is sent its LIMIT by UNION ALL");

	# ---- what they answer ----
	my %before = map { $_ => scans($holder{$_}, "${t}_v") } keys %holder;
	is(one($coordinator, "SELECT string_agg(w, E'\\n') FROM wrong('$t', '$op', 15, 10) w"), '', "$method: the nearest ten");
	is(one($coordinator, "SELECT string_agg(w, E'\\n') FROM wrong('$t', '$op', 3, 150) w"), '',
		"$method: more than are fetched at a time");
	ok($holder{$_}->poll_query_until('postgres',
			"SELECT idx_scan >= $before{$_} + 18 FROM pg_stat_user_indexes WHERE indexrelname = '${t}_v'"),
		"$method: the index of $_ was searched") for sort keys %holder;

	# ---- transactions reach over the servers ----
	my $counts = "SELECT count(*) FROM $t WHERE id < 0";
	is(one($coordinator, "BEGIN; INSERT INTO $t VALUES (-1, 'north', $vector), (-2, 'south', $vector); "
		  . "SELECT string_agg(id::text, ',' ORDER BY id) FROM (SELECT id FROM $t ORDER BY v $op $vector LIMIT 2) s; ROLLBACK"),
		$op eq '<#>' ? one($coordinator, "SELECT string_agg(id::text, ',' ORDER BY id) FROM "
			  . "(SELECT id FROM ${t}_all ORDER BY v $op $vector LIMIT 2) s") : '-2,-1',
		"$method: a transaction finds its own rows");
	is(one($coordinator, $counts), '0', "$method: none is left of it");
	$coordinator->safe_psql('postgres', "DELETE FROM $_ WHERE id % 5 = 0; UPDATE $_ SET v = v * v WHERE id % 5 = 1")
	  for $t, "${t}_all";
	is(one($coordinator, "SELECT string_agg(w, E'\\n') FROM wrong('$t', '$op', 5, 10) w"), '', "$method: after changes");

	# ---- a server that is away ----
	$holder{south}->stop;
	sql_fails($coordinator, $nearest, '08001', 'could not connect to server "south"', "$method: the error names the server");
	is(one($coordinator, "SELECT count(*) FROM (SELECT id FROM $t WHERE region = 'north' ORDER BY v $op $vector LIMIT 10) s"), '10',
		"$method: what the other one holds is found meanwhile");
	$holder{south}->start;
	is(one($coordinator, "SELECT string_agg(w, E'\\n') FROM wrong('$t', '$op', 5, 10) w"), '', "$method: after its return");
	sound($holder{$_}, "${t}_v", "$method: iqdb_check on $_") for sort keys %holder;
}

# ---- logical replication: subscribers have indexes of their own, of whatever method ----
my %reader_method = (north => 'iqdb_hnsw', south => 'iqdb_ivf');

$coordinator->safe_psql('postgres', <<'SQL');
CREATE TABLE told (id int PRIMARY KEY, v iqvector(6));
INSERT INTO told SELECT i, iqdb_random(6) FROM generate_series(1, 400) i;
CREATE INDEX told_v ON told USING iqdb_flat (v);
CREATE PUBLICATION told FOR TABLE told;
SQL
for my $name (sort keys %holder)
{
	$holder{$name}->safe_psql('postgres', 'CREATE TABLE told (id int PRIMARY KEY, v iqvector(6)); '
		  . "CREATE INDEX told_v ON told USING $reader_method{$name} (v)");
	$holder{$name}->safe_psql('postgres', "CREATE SUBSCRIPTION told_$name CONNECTION '"
		  . 'host=' . $coordinator->host . ' port=' . $coordinator->port . " dbname=postgres' PUBLICATION told WITH (binary = true)");
	$holder{$name}->wait_for_subscription_sync($coordinator, "told_$name");
}

sub readers_agree
{
	my ($what) = @_;
	for my $name (sort keys %holder)
	{
		my $all = q(SELECT count(*), md5(string_agg(id || ' ' || v::text, ',' ORDER BY id)) FROM told);
		$coordinator->wait_for_catchup("told_$name");
		is(one($holder{$name}, $all), one($coordinator, $all), "$what: $name has the rows");
		agree($holder{$name}, "$what: and its index finds them", table => 'told', method => $reader_method{$name}, queries => 5);
		sound($holder{$name}, 'told_v', "$what: iqdb_check on $name");
	}
}

readers_agree('logical replication, at first');
$coordinator->safe_psql('postgres', <<'SQL');
INSERT INTO told SELECT i, iqdb_random(6) FROM generate_series(401, 600) i;
UPDATE told SET v = iqdb_random(6) WHERE id % 4 = 0;
DELETE FROM told WHERE id % 4 = 1;
BEGIN; DELETE FROM told; ROLLBACK;
SQL
readers_agree('logical replication, after changes');
$coordinator->safe_psql('postgres', 'TRUNCATE told; INSERT INTO told SELECT i, iqdb_random(6) FROM generate_series(1, 50) i');
readers_agree('logical replication, after TRUNCATE');

$_->safe_psql('postgres', 'DROP SUBSCRIPTION told_' . $_->name) for values %holder;
$_->stop for values %holder, $coordinator;
done_testing();

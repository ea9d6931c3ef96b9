# 043_update.pl - ALTER EXTENSION iqdb UPDATE: what older versions have made becomes what CREATE EXTENSION makes now, with all
# that hangs on it.
#
# The scripts of older versions lie in fixtures/. They run with today's library, as they do in the time between its
# installation and the update; nothing may end a session then.
use strict;
use warnings;
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('update');
$node->start;

# Every member of the extension with all that its catalogs say of it, but for OIDs; one line each.
my $inventory = <<'SQL';
SET search_path = public;
WITH member AS (
	SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'iqdb'
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e')
SELECT o.type || ' ' || o.identity || coalesce(' -- ' || obj_description(m.objid, m.classid::regclass::name), '') || E'\t' || translate(concat_ws(' | ',
	(SELECT concat_ws(' ', CASE WHEN prokind <> 'a' THEN pg_get_functiondef(p.oid) END, pg_get_function_arguments(p.oid), prosrc, procost,
		prosupport, proacl)
		FROM pg_proc p WHERE p.oid = m.objid AND m.classid = 'pg_proc'::regclass),
	(SELECT concat_ws(' ', aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggfinalextra, aggtranstype::regtype, aggtransspace, agginitval,
		aggkind, aggsortop)
		FROM pg_aggregate a WHERE a.aggfnoid = m.objid AND m.classid = 'pg_proc'::regclass),
	(SELECT concat_ws(' ', typlen, typbyval, typcategory, typispreferred, typinput, typoutput, typreceive, typsend, typmodin, typmodout,
		typalign, typstorage, typdefault, typcollation, typarray::regtype)
		FROM pg_type t WHERE t.oid = m.objid AND m.classid = 'pg_type'::regclass),
	(SELECT concat_ws(' ', oprcode, oprresult::regtype, oprcom::regoperator, oprnegate::regoperator, oprrest, oprjoin, oprcanmerge,
		oprcanhash)
		FROM pg_operator r WHERE r.oid = m.objid AND m.classid = 'pg_operator'::regclass),
	(SELECT concat_ws(' ', castfunc::regprocedure, castcontext, castmethod)
		FROM pg_cast c WHERE c.oid = m.objid AND m.classid = 'pg_cast'::regclass),
	(SELECT concat_ws(' ', amhandler, amtype) FROM pg_am a WHERE a.oid = m.objid AND m.classid = 'pg_am'::regclass),
	(SELECT concat_ws(' ', opcintype::regtype, opcdefault, opckeytype::regtype, (pg_identify_object('pg_opfamily'::regclass, opcfamily, 0)).identity)
		FROM pg_opclass k WHERE k.oid = m.objid AND m.classid = 'pg_opclass'::regclass),
	(SELECT string_agg(concat_ws(' ', amoplefttype::regtype, amoprighttype::regtype, amopstrategy, amoppurpose, amopopr::regoperator,
			(pg_identify_object('pg_opfamily'::regclass, NULLIF(amopsortfamily, 0), 0)).identity), ', ' ORDER BY amoplefttype::regtype::text,
			amoprighttype::regtype::text, amopstrategy)
		FROM pg_amop f WHERE f.amopfamily = m.objid AND m.classid = 'pg_opfamily'::regclass),
	(SELECT string_agg(concat_ws(' ', amproclefttype::regtype, amprocrighttype::regtype, amprocnum, amproc::regprocedure), ', '
			ORDER BY amproclefttype::regtype::text, amprocrighttype::regtype::text, amprocnum)
		FROM pg_amproc f WHERE f.amprocfamily = m.objid AND m.classid = 'pg_opfamily'::regclass)), E'\n', ' ')
FROM member m, pg_identify_object(m.classid, m.objid, 0) o
ORDER BY 1;
SQL

sub inventory
{
	my ($database) = @_;
	return split /\n/, $node->safe_psql($database, $inventory);
}

$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION iqdb');
my @fresh = inventory('fresh');
my $version = $node->safe_psql('fresh', "SELECT extversion FROM pg_extension WHERE extname = 'iqdb'");
cmp_ok(scalar @fresh, '>', 100, 'members of the extension');

# The script of a version that was between two has a number of its own; such a database says it has the one before.
my %says = ('0.1.0' => '0.1.0', '0.1.0.1' => '0.1.0');
for my $old (sort keys %says)
{
	my $database = "old_$old" =~ tr/./_/r;
	my @answers;
	my $ask = sub {
		return $node->safe_psql($database, "SET enable_seqscan = off; " . join '', map { "SELECT array_agg(id) FROM (SELECT id FROM t_$_ ORDER BY v <-> '[0.3,0.1,0.2]' LIMIT 20) s; "
			  . "SELECT array_agg(id) FROM (SELECT id FROM t_$_ ORDER BY v <=> '[0.3,0.1,0.2]' LIMIT 20) s;" } qw(flat hnsw ivf));
	};

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, "CREATE EXTENSION iqdb VERSION '$old'; UPDATE pg_extension SET extversion = '$says{$old}' WHERE extname = 'iqdb'");
	for my $method (qw(flat hnsw ivf))
	{
		$node->safe_psql($database, "CREATE TABLE t_$method (id int, v iqvector(3)); "
			  . "INSERT INTO t_$method SELECT i, ARRAY[sin(i), cos(i), sin(i * 3)]::real[]::iqvector FROM generate_series(1, 400) i; "
			  . "CREATE INDEX t_${method}_l2 ON t_$method USING iqdb_$method (v); CREATE INDEX t_${method}_cosine ON t_$method USING iqdb_$method (v iqvector_cosine_ops)");
	}
	$node->safe_psql($database, 'CREATE TABLE b (v iqvector(2)); CREATE INDEX b_v ON b (v); CREATE VIEW mean AS SELECT avg(v), sum(v) FROM t_flat');

	# with the library of today
	for my $call ("iqdb_index_stats('t_hnsw_l2')", "iqdb_recall('t_hnsw_l2', 5, 10)", "iqdb_estimate('iqdb_hnsw', 1000, 10)",
		"iqdb_optimize('t_ivf_l2')", "iqdb_check('t_flat_l2')", "iqdb_flush('t_flat_l2')", "iqdb_prewarm('t_hnsw_l2')",
		"iqdb_index_size('t_ivf_l2')", "iqdb_suggest_probes('t_ivf_l2', 0.5)", 'iqdb_sweep()', 'iqdb_version()', 'mean')
	{
		my ($code, $out, $err) = $node->psql($database, "SELECT * FROM $call", on_error_stop => 1);
		ok($code == 0 || $err =~ /HINT:  ALTER EXTENSION iqdb UPDATE/, "$old: $call before the update") or diag $err;
	}

	my $before = $ask->();
	$node->safe_psql($database, 'ALTER EXTENSION iqdb UPDATE');
	is($node->safe_psql($database, "SELECT extversion FROM pg_extension WHERE extname = 'iqdb'"), $version, "$old: the version after the update");
	my @updated = inventory($database);
	my (%fresh, %updated);
	@fresh{@fresh} = ();
	@updated{@updated} = ();
	is_deeply([ grep { !exists $fresh{$_} } @updated ], [], "$old: the update leaves nothing that a new database does not have");
	is_deeply([ grep { !exists $updated{$_} } @fresh ], [], "$old: the update makes all that a new database has");

	is($ask->(), $before, "$old: indexes answer as before");
	$node->safe_psql($database, "INSERT INTO t_$_ VALUES (0, '[0.3,0.1,0.2]')") for qw(flat hnsw ivf);
	like($ask->(), qr/^(?:\{0,.*\n?){6}$/, "$old: and go on");
	is($node->safe_psql($database, 'SELECT count(*) FROM iqdb_indexes() i, iqdb_check(i.index)'), '0', "$old: they are sound");
	is($node->safe_psql($database, 'SELECT iqdb_version()'), $version, "$old: the library has the version");
	$node->safe_psql($database, 'SELECT * FROM mean; CREATE TABLE h (v iqhalfvec(2)); CREATE INDEX ON h USING iqdb_hnsw (v); DROP EXTENSION iqdb CASCADE');
	is($node->safe_psql($database, "SELECT count(*) FROM pg_proc WHERE proname LIKE 'iq%'"), '0', "$old: all of it can be dropped");
}
$node->stop;
done_testing();

# 039_column_model.pl - random tables, columns, values, changes and conditions: what an index with columns answers, against a
# sequential scan of the same table.
#
# Values come from small pools with the odd ones of each type in them: least and greatest, infinities, NaN, both zeros, NULL, equal
# texts that differ in bytes, arrays with NULLs and of two dimensions. Constants are often of a neighbour type. Every row that
# passes must come, once, and no other; a LIMIT gives as many rows as there are. IQDB_CASES=n asks so many conditions in all,
# IQDB_SEED=n the same ones again.
use strict;
use warnings;

use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $per_round = 60;
my $rounds = int(($ENV{IQDB_CASES} // 2700) / $per_round);
my $node = new_node('model', conf => "fsync = off\njit = off\nTimeZone = 'Europe/Berlin'\n");
$node->start;
install($node);
seed_from_env();
my $has_icu = one($node, "SELECT count(*) FROM pg_collation WHERE collprovider = 'i'") > 0;
$node->safe_psql('postgres', "CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)") if $has_icu;
$node->safe_psql('postgres', <<'SQL');
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'wild');
ALTER TYPE mood ADD VALUE 'dull' BEFORE 'ok';
CREATE DOMAIN counted AS integer;
CREATE DOMAIN label AS text;
-- What is wrong with the answer of an index; NULL if nothing. took_out: whether the index has asked something itself.
CREATE FUNCTION wrong(condition text, node boolean, OUT problem text, OUT took boolean) LANGUAGE plpgsql AS $$
DECLARE
	query text := format($q$SELECT id FROM model WHERE v IS NOT NULL AND (%s) ORDER BY v <-> '[1,2,0,1]'$q$, condition);
	by_index integer[];
	by_table integer[];
	few integer;
	line text;
BEGIN
	PERFORM set_config('iqdb.enable_vector_scan', node::text, true), set_config('enable_seqscan', 'off', true),
		set_config('enable_bitmapscan', 'off', true), set_config('enable_indexscan', 'on', true);
	took := false;
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query || ' LIMIT 1000' LOOP
		-- that the vector is there is a condition on a column, too
		took := took OR (line ~ 'Index Cond' AND line !~ 'Index Cond: \(v IS NOT NULL\)$');
	END LOOP;
	EXECUTE 'SELECT array_agg(id ORDER BY id) FROM (' || query || ' LIMIT 1000) s' INTO by_index;
	EXECUTE 'SELECT count(*) FROM (' || query || ' LIMIT 7) s' INTO few;
	PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_indexscan', 'off', true);
	EXECUTE 'SELECT array_agg(id ORDER BY id) FROM (' || query || ') s' INTO by_table;
	IF by_index IS DISTINCT FROM by_table THEN
		problem := format('%s: index %s, table %s', condition, by_index, by_table);
	ELSIF few <> least(7, coalesce(cardinality(by_table), 0)) THEN
		problem := format('%s: %s rows for LIMIT 7, there are %s', condition, few, coalesce(cardinality(by_table), 0));
	END IF;
END $$;
SQL

sub pick { return $_[ rand @_ ] }
sub often { return rand() < $_[0] }
sub quoted { return "'" . ($_[0] =~ s/'/''/gr) . "'" }

# Of each kind of type: values, types that constants may have, and operators.
my @order = qw(< <= = >= > <>);
my @whole = (-1, 0, 1, 2, 3, 5, -32768, 32767);
my @float = ('0', '-0', '0.1', '1.5', '-1.5', 'NaN', 'Infinity', '-Infinity', '16777217', '1e-44', '-1e-44', '3.4e38');
my @times = ('infinity', '-infinity', '2000-01-01', '1999-12-31', '2000-01-02', '1999-12-31 23:59:59.999999', '2000-01-01 00:00:00.000001',
	'2026-07-01 12:00');
my @text = ('', 'a', 'A', 'a ', 'b', "it''s" =~ s/''/'/r, 'B', 'longer than eight');
my %kind = (
	smallint => { values => \@whole, others => [qw(smallint integer bigint)], ops => \@order },
	integer => { values => [ @whole, -2147483648, 2147483647, 40000 ], others => [qw(smallint integer bigint)], ops => \@order },
	bigint => { values => [ @whole, '-9223372036854775808', '9223372036854775807', '5000000000' ], others => [qw(smallint integer bigint)], ops => \@order },
	counted => { values => \@whole, others => [qw(integer bigint counted)], ops => \@order },
	boolean => { values => [qw(true false)], others => ['boolean'], ops => \@order },
	real => { values => \@float, others => [ 'real', 'double precision' ], ops => \@order },
	'double precision' => { values => [ @float, '1e300', '5e-324' ], others => [ 'real', 'double precision' ], ops => \@order },
	date => { values => [ @times, '4713-01-01 BC', '5874897-12-31' ], others => [qw(date timestamp timestamptz)], ops => \@order },
	timestamp => { values => [ @times, '294276-12-31 23:59:59.999999' ], others => [qw(date timestamp timestamptz)], ops => \@order },
	timestamptz => { values => \@times, others => [qw(date timestamp timestamptz)], ops => \@order },
	uuid => { values => [ map { sprintf '%08x-0000-0000-0000-00000000000%d', $_ * 77, $_ } 0 .. 5 ], others => ['uuid'], ops => \@order },
	text => { values => \@text, others => [qw(text varchar)], ops => \@order },
	'text COLLATE "C"' => { values => \@text, others => ['text'], ops => \@order },
	($has_icu ? ('text COLLATE folded' => { values => \@text, others => ['text'], ops => [qw(= <>)] }) : ()),
	label => { values => \@text, others => [qw(text label)], ops => \@order },
	'varchar(8)' => { values => [ map { substr $_, 0, 8 } @text ], others => [qw(text varchar)], ops => \@order },
	'char(3)' => { values => [ 'a', 'A', 'ab', 'abc', '' ], others => [ 'char(3)', 'bpchar' ], ops => \@order },
	mood => { values => [qw(sad dull ok happy wild)], others => ['mood'], ops => \@order },
	'integer[]' => { values => [ '{}', '{1}', '{1,2}', '{NULL}', '{3,NULL,3}', '{{1,2},{3,4}}', '{5,4,3,2,1}' ], others => ['integer[]'],
		ops => [ '&&', '@>', '=', '<@', '<>' ], member => [ 1, 2, 3, 9, 'NULL' ], of => 'integer' },
	'text[]' => { values => [ '{}', '{a}', '{a,b}', '{A,NULL}', '{"a ",""}', '{NULL}' ], others => ['text[]'],
		ops => [ '&&', '@>', '=', '<@', '<>' ], member => [ "'a'", "'A'", "''", "'b'", 'NULL' ], of => 'text' },
	'date[]' => { values => [ '{}', '{2000-01-01}', '{2000-01-01,infinity}', '{NULL,2000-01-02}' ], others => ['date[]'],
		ops => [ '&&', '@>', '=' ], member => [ "'2000-01-01'", "'infinity'" ], of => 'date' },
	($has_icu ? ('text[] COLLATE folded' => { values => [ '{}', '{a}', '{A,b}', '{B}', '{NULL,a}' ], others => ['text[]'],
		ops => [ '&&', '@>', '=' ], member => [ "'a'", "'A'", "'c'" ], of => 'text' }) : ()));

# ---- random pieces ------------------------------------------------------------------------------------------------------

sub value
{
	my ($type) = @_;
	return 'NULL' if often(0.15);
	return quoted(pick(@{ $kind{$type}{values} })) . "::$type" =~ s/ COLLATE.*//r;
}

# Constants that the type may not have are those of the type itself.
sub constant
{
	my ($type) = @_;
	my $other = pick(@{ $kind{$type}{others} });
	my $text = pick(@{ $kind{$type}{values} });

	return 'NULL::' . $other if often(0.05);
	if ($other ne $type && $other =~ /int|real|date|time/)
	{
		$text = pick(@{ ($kind{$other} // $kind{$type})->{values} });
	}
	return quoted($text) . "::$other";
}

sub atom
{
	my ($name, $type) = @_;
	my $kind = $kind{$type};
	my $op = pick(@{ $kind->{ops} });

	return "$name IS " . pick('', 'NOT ') . 'NULL' if often(0.08);
	if ($type eq 'boolean' && often(0.5))
	{
		return pick("$name", "NOT $name", "$name IS TRUE", "$name IS FALSE", "$name IS NOT TRUE", "$name IS NOT FALSE", "$name IS UNKNOWN");
	}
	if ($kind->{member} && often(0.3))
	{
		return pick(@{ $kind->{member} }) . "::$kind->{of} " . pick('= ANY', '= ANY', '<> ALL', '<> ANY') . " ($name)";
	}
	if (!$kind->{member} && often(0.25))
	{
		my $other = pick(@{ $kind->{others} });
		my @list = map { my $c = $kind{$other} ? value($other) : value($type); $c } 1 .. int(rand 5);
		my $plain = $kind{$other} ? $other : $type =~ s/ COLLATE.*//r;
		return "$name " . ($op eq '=' || often(0.5) ? '= ANY' : "$op " . pick('ANY', 'ALL')) . ' (ARRAY[' . join(', ', @list) . "]::$plain\[])";
	}
	return constant($type) . " $op $name" if often(0.2);
	return "$name $op " . constant($type);
}

sub condition
{
	my ($columns, $depth) = @_;
	my $name = pick(sort keys %$columns);

	return atom($name, $columns->{$name}) if $depth == 0 || often(0.3);
	return 'NOT (' . condition($columns, $depth - 1) . ')' if often(0.15);
	return '(' . condition($columns, $depth - 1) . pick(' AND ', ' AND ', ' AND ', ' OR ') . condition($columns, $depth - 1) . ')';
}

sub row
{
	my ($columns) = @_;
	my $vector = often(0.08) ? 'NULL' : "'[" . join(',', map { int rand 4 } 1 .. 4) . "]'";
	return '(' . join(', ', $vector, map { value($columns->{$_}) } sort keys %$columns) . ')';
}

sub insert
{
	my ($columns, $count) = @_;
	return 'INSERT INTO model (v, ' . join(', ', sort keys %$columns) . ') VALUES ' . join(', ', map { row($columns) } 1 .. $count) . ';';
}

sub change
{
	my ($columns) = @_;
	my $name = pick(sort keys %$columns);
	my $rows = 'id % ' . pick(3, 5, 11) . ' = ' . int(rand 3);

	return pick(
		"UPDATE model SET $name = " . value($columns->{$name}) . " WHERE $rows;",
		"UPDATE model SET $name = NULL, v = '[3,3,1,0]' WHERE $rows;",
		"DELETE FROM model WHERE $rows;",
		"DELETE FROM model WHERE $rows;\nVACUUM model;",
		"BEGIN; UPDATE model SET $name = " . value($columns->{$name}) . "; ROLLBACK;",
		insert($columns, 20), insert($columns, 20),
		"SELECT iqdb_flush('model_index');",
		'REINDEX INDEX model_index;');
}

# ---- rounds -------------------------------------------------------------------------------------------------------------

my @methods = methods($node);
my ($cases, $took, @problems) = (0, 0);

for my $round (1 .. $rounds)
{
	my %columns = map { ("c$_" => pick(sort keys %kind)) } 1 .. 1 + int rand 5;
	my @sorted = sort keys %columns;
	my @indexed = grep { often(0.85) } @sorted;
	my $method = $methods[ $round % @methods ];
	my $index = "CREATE INDEX model_index ON model USING $method (" . join(', ', 'v', @indexed ? @indexed : $sorted[0]) . ');';
	my $table = 'DROP TABLE IF EXISTS model; CREATE TABLE model (id serial, v iqvector(4), '
	  . join(', ', map { "$_ $columns{$_}" } @sorted) . ');';
	my $sql = join "\n", $table, often(0.3) ? ($index, insert(\%columns, 150)) : (insert(\%columns, 150), $index, insert(\%columns, 30));

	for my $part (1 .. 3)
	{
		$sql .= "\n" . change(\%columns) for 1 .. 2;
		$sql .= "\nSELECT * FROM wrong(" . quoted(condition(\%columns, 2)) . ', ' . pick('true', 'false') . ');' for 1 .. $per_round / 3;
		$sql .= "\nSELECT 'iqdb_check: ' || iqdb_check('model_index'), false;";
		my ($code, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-A', '-t', '-q' ], on_error_stop => 1);
		push @problems, "round $round, part $part: $err\n" if $code != 0 || $err =~ /ERROR/;
		for my $line (split /\n/, $out)
		{
			next unless $line =~ /^(.*)\|([tf])$/;
			$cases++;
			$took++ if $2 eq 't';
			push @problems, "round $round, part $part, $method, " . join(', ', map { "$_ $columns{$_}" } @sorted) . ": $1" if $1 ne '';
		}
		last if @problems;
		$node->restart if $part == 2 && $round % 5 == 0;
		$sql = '';
	}
	last if @problems;
}
is(join("\n", @problems), '', "$cases conditions, of which an index took part in $took");
cmp_ok($took * 4, '>', $cases, 'the index asks many of them itself');
$node->stop;
done_testing();

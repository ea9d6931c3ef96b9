# 041_reference.pl - docs/reference.md against the catalogs: every name of the extension stands in its tables, with arguments,
# results, defaults and ranges as the server has them, and nothing else does.
#
# The first cell of a table's head says of what its rows are. V is both vector types. What SQL cannot list, the options of
# WITH and the conditions of errors, is compared with the sources by lint/reference.sh; here, whether they are as they are
# described.
use strict;
use warnings;
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @types = qw(iqvector iqhalfvec);
my $node = new_node('reference');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION iqdb');

# ---- the page -----------------------------------------------------------------------------------------------------------

# { head of the first column => [ rows, each a list of cells ] }
sub read_tables
{
	my ($file) = @_;
	my %tables;
	my $rows;

	for my $line (split /\n/, slurp_file($file))
	{
		if ($line !~ /^\|/)
		{
			undef $rows;
			next;
		}
		next if $line =~ /^\|[-|]+$/;
		# a bar in a cell is written \|
		my @cells = map { s/\\\|/|/gr =~ s/^\s+|\s+$//gr } split /(?<!\\)\|/, $line =~ s/^\||\|$//gr, -1;
		if (defined $rows) { push @$rows, \@cells; }
		else { $rows = $tables{ $cells[0] } //= []; }
	}
	return \%tables;
}

# What stands between backticks.
sub spans
{
	my ($cell) = @_;
	return $cell =~ /`([^`]+)`/g;
}

# One text for each type that V may be.
sub expand
{
	return map { my $text = $_; $text =~ /(?:\b|_)V(?:\b|_)/ ? map { my $type = $_; $text =~ s/(?<![A-Za-z0-9])V(?![A-Za-z0-9])/$type/gr } @types : $text } @_;
}

# All values of one column of a query.
sub list
{
	my ($sql) = @_;
	return split /\n/, $node->safe_psql('postgres', $sql);
}

# The members of the extension in one catalog, as a FROM item that is joined with it.
sub members
{
	my ($catalog) = @_;
	return "$catalog c JOIN pg_depend d ON d.classid = '$catalog'::regclass AND d.objid = c.oid AND d.deptype = 'e' "
	  . "JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'iqdb'";
}

# The two lists are the same; says what is in one only.
sub same
{
	my ($what, $page, $catalog) = @_;
	my %page = map { $_ => 1 } @$page;
	my %catalog = map { $_ => 1 } @$catalog;

	is_deeply([ sort grep { !$page{$_} } keys %catalog ], [], "$what: all of the server's stand in the page");
	is_deeply([ sort grep { !$catalog{$_} } keys %page ], [], "$what: the server has all of the page's");
	cmp_ok(scalar keys %page, '>', 0, "$what: there are some");
}

my $tables = read_tables("$ENV{IQDB_DOCUMENTATION}/docs/reference.md");
my %read;

# The rows of a table; every table must be asked for.
sub table
{
	my ($head) = @_;
	$read{$head} = 1;
	return @{ $tables->{$head} // [] };
}

# ---- names --------------------------------------------------------------------------------------------------------------

same('types', [ map { spans($_->[0]) } table('type') ],
	[ list("SELECT typname FROM " . members('pg_type') . " WHERE c.typtype = 'b' AND c.typelem = 0") ]);

same('operators', [ map { my $row = $_; map { my $operator = (spans($row->[0]))[0];
				my ($left, $right, $result) = split /,/; "$left $operator $right: $result" }
			expand(join ',', spans($row->[1]), spans($row->[2])) } table('operator') ],
	[ list("SELECT oprleft::regtype || ' ' || oprname || ' ' || oprright::regtype || ': ' || oprresult::regtype FROM "
			  . members('pg_operator')) ]);

same('casts', [ map { my ($cast, $when) = @$_;
			my $word = $when =~ /^implicit/ ? 'i' : $when =~ /^in assignments/ ? 'a' : '?';
			map { "$_ $word" } expand(map { "$_->[0] to $_->[1]" } pairs($cast)) } table('cast') ],
	[ list("SELECT castsource::regtype || ' to ' || casttarget::regtype || ' ' || castcontext::text FROM " . members('pg_cast')) ]);

# `a` to `b`, `c` to `d`
sub pairs
{
	my ($cell) = @_;
	my @pairs;
	push @pairs, [ $1, $2 ] while $cell =~ /`([^`]+)` to `([^`]+)`/g;
	return @pairs;
}

same('access methods', [ map { spans($_->[0]) } table('access method') ], [ list("SELECT amname FROM " . members('pg_am')) ]);

same('operator classes', [ map { my ($class, $methods, $default) = @$_; my ($type) = spans($default);
			map { my $method = $_; map { "$_ $method " . ($type // '-') } spans($class) } spans($methods) } table('operator class') ],
	[ list("SELECT opcname || ' ' || a.amname || ' ' || CASE WHEN opcdefault THEN opcintype::regtype::text ELSE '-' END FROM "
			  . members('pg_opclass') . " JOIN pg_am a ON a.oid = opcmethod") ]);

# ---- functions ----------------------------------------------------------------------------------------------------------

# By name and arguments, what they return; columns of a result beside.
my %result;
my %columns;
for my $line (list("SELECT proname || '|' || pg_get_function_arguments(c.oid) || '|' || pg_get_function_result(c.oid) || '|' || prokind::text FROM "
		  . members('pg_proc')))
{
	my ($name, $arguments, $result, $kind) = split /\|/, $line;
	my @out;

	push @out, [ $1, $2 ] while $arguments =~ /\bOUT (\w+) ([^,]+)/g;
	$arguments =~ s/(?:^|, )OUT .*//;
	# 'x'::text is written 'x', and '-1'::integer as -1
	$arguments =~ s/('[^']*'|NULL)::[a-z]+(?:\[\])?/$1/g;
	$arguments =~ s/'(-\d+)'/$1/g;
	$result{$name}{$arguments} = [ $result, $kind ];
	$columns{$name} = \@out if @out;
}

my %behind = map { $_ => 1 } map { expand(spans($_->[1])) } table('behind');
for my $kind ('function', 'aggregate')
{
	my @page = map { my $row = $_; map { my $signature = $_; expand("$signature: " . (spans($row->[1]))[0]) } spans($row->[0]) } table($kind);
	my @catalog;

	for my $name (grep { !$behind{$_} } keys %result)
	{
		push @catalog, map { "$name($_): $result{$name}{$_}[0]" } grep { ($result{$name}{$_}[1] eq 'a') == ($kind eq 'aggregate') } keys %{ $result{$name} };
	}
	same("${kind}s", \@page, \@catalog);
}
is_deeply([ grep { !$result{$_} } sort keys %behind ], [], 'functions behind the scenes: the server has them');

for my $name (sort keys %columns)
{
	is_deeply([ map { join ' ', map { spans($_) } @$_[ 0, 1 ] } table("column of `$name`") ], [ map { "@$_" } @{ $columns{$name} } ],
		"columns of $name");
}

# ---- settings and options -----------------------------------------------------------------------------------------------

same('settings', [ map { my ($name, $default, $range, $context) = @$_; join '|', spans($name), $default, $range, $context } table('setting') ],
	[ list("LOAD 'iqdb'; SELECT concat_ws('|', name, concat_ws(' ', boot_val, unit), "
			  . "CASE WHEN vartype = 'enum' THEN array_to_string(enumvals, ', ') WHEN vartype = 'bool' THEN 'on, off' "
			  . "WHEN name LIKE '%directory' THEN 'a folder' WHEN name = 'iqdb.simd' THEN 'auto, scalar, avx2, avx512, neon' "
			  . "ELSE concat_ws(' ', min_val, 'to', max_val, unit) END, context) "
			  . "FROM pg_settings WHERE name LIKE 'iqdb.%'") ]);

# What CREATE INDEX says to a value that no option takes.
$node->safe_psql('postgres', 'CREATE TABLE t (' . join(', ', map { "$_ $_(64)" } @types) . ')');
sub refusal
{
	my ($method, $options) = @_;
	my ($code, $out, $err) = $node->psql('postgres', "BEGIN; CREATE INDEX ON t USING $method (iqvector) WITH ($options)");
	return $err;
}

for my $row (table('option'))
{
	my ($name) = spans($row->[0]);
	my $range = $row->[3];
	my %has = map { $_ => 1 } spans($row->[1]);

	for my $method (map { (spans($_->[0]))[0] } table('access method'))
	{
		if (!$has{$method})
		{
			like(refusal($method, "$name = 1"), qr/unrecognized parameter "$name"/, "$method has no option $name");
		}
		elsif ($range =~ /^(-?\d+) to (-?\d+)$/)
		{
			my ($min, $max) = ($1, $2);

			# one less or one more, where that still is a number of the server's
			for my $value ($min > -2**31 ? $min - 1 : (), $max < 2**31 - 1 ? $max + 1 : ())
			{
				like(refusal($method, "$name = $value"), qr/Valid values are between "$min" and "$max"/, "$method: $name = $value");
			}
			unlike(refusal($method, "$name = $_"), qr/out of bounds|invalid value/, "$method: $name = $_") for $min, $max;
		}
		else
		{
			my ($words) = refusal($method, "$name = nonsense") =~ /Valid values are (.*)\./;
			is_deeply([ ($words // '') =~ /"(\w+)"/g ], [ spans($range) ], "$method: values of $name");
		}
	}
}

# Which codes go with which distance.
my %goes;
for my $row (table('quantization'))
{
	my ($codes) = spans($row->[0]);
	for my $method (spans($row->[1])) { $goes{"$codes $method $_"} = 1 for spans($row->[2]); }
}
my %operator = (l2 => '<->', ip => '<#>', cosine => '<=>', l1 => '<+>', hamming => '<~>');
my @wrong;
for my $class (grep { /_(\w+)_ops$/ && $operator{$1} } map { spans($_->[0]) } table('operator class'))
{
	my ($type, $distance) = $class =~ /^(\w+?)_(\w+)_ops$/;
	for my $codes (map { spans($_->[0]) } table('quantization'))
	{
		for my $method (map { (spans($_->[0]))[0] } table('access method'))
		{
			my ($code) = $node->psql('postgres', "BEGIN; CREATE INDEX ON t USING $method ($type $class) WITH (quantization = $codes)",
				on_error_stop => 1);
			my $case = "$codes $method $operator{$distance}";
			push @wrong, "$type $case" if ($code == 0) != exists $goes{$case};
		}
	}
}
is_deeply(\@wrong, [], 'quantization goes with the distances that are named');

# ---- errors -------------------------------------------------------------------------------------------------------------

for my $row (table('SQLSTATE'))
{
	my ($state, $condition) = map { spans($_) } @$row[ 0, 1 ];
	my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\nDO \$\$ BEGIN RAISE 'x' USING ERRCODE = '$condition'; END \$\$");
	like($err, qr/ERROR: +$state$/m, "$condition is $state");
}

# ---- nothing else -------------------------------------------------------------------------------------------------------

is_deeply([ grep { !$read{$_} } sort keys %$tables ], [], 'every table of the page was compared');
is_deeply([ list("SELECT DISTINCT d.classid::regclass::text FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'iqdb' "
			  . "WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND d.classid::regclass::text NOT IN "
			  . "('pg_type', 'pg_operator', 'pg_cast', 'pg_am', 'pg_opclass', 'pg_opfamily', 'pg_proc')") ],
	[], 'the extension has nothing of another kind');
$node->stop;
done_testing();

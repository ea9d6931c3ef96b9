# 042_loading.pl - iqdb_copy: files of every format into columns, and files that are not what they say. The shell commands of
# docs/loading.md are run, one after the other.
use strict;
use warnings;
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('loading');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION iqdb');
my $folder = PostgreSQL::Test::Utils::tempdir_short();
chdir $folder or die "$folder: $!";
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';

sub write_file
{
	my ($name, $bytes) = @_;
	open my $out, '>:raw', $name or die "$name: $!";
	print $out $bytes;
	close $out or die "$name: $!";
}

# A .npy file: its head is padded so that numbers begin at a multiple of 64 bytes.
sub npy
{
	my ($descr, $shape, $numbers, %more) = @_;
	my $order = $more{fortran} ? 'True' : 'False';
	my $major = $more{major} // 1;
	my $head = "{'descr': '$descr', 'fortran_order': $order, 'shape': $shape, }";
	my $before = $major == 1 ? 10 : 12;

	$head .= ' ' x (63 - ($before + length $head) % 64) . "\n";
	return "\x93NUMPY" . chr($major) . "\0" . pack($major == 1 ? 'v' : 'V', length $head) . $head . $numbers;
}

# Loads a file into a new table, and returns its rows, or what iqdb_copy or the server said.
my $tables = 0;
sub load
{
	my ($options, $file, $type, $columns) = @_;
	my $table = 't' . $tables++;

	$columns //= 'id, v';
	$node->safe_psql('postgres', "CREATE TABLE $table (id bigint, v $type)");
	my $said = `iqdb_copy $options $file 2>copy.err | psql -Xc "COPY $table ($columns) FROM STDIN (FORMAT binary)" 2>&1`;
	my $complaint = slurp_file('copy.err');
	return $complaint if $complaint ne '';
	return $said unless $said =~ /^COPY/;
	return one($node, "SELECT string_agg(coalesce(id || ':', '') || v, ' ' ORDER BY ctid) FROM $table");
}

my @rows = ([ 1, -2, 3 ], [ 4, 5.5, 6 ]);
my @bytes = ([ 0, 128, 255 ], [ 1, 2, 3 ]);
my ($floats, $small) = (join('', map { pack 'f<*', @$_ } @rows), join('', map { pack 'C*', @$_ } @bytes));
my $expected = '0:[1,-2,3] 1:[4,5.5,6]';
my $whole = '0:[0,128,255] 1:[1,2,3]';

# ---- formats ------------------------------------------------------------------------------------------------------------

write_file('a.fvecs', join '', map { pack 'l<f<*', 3, @$_ } @rows);
write_file('a.bvecs', join '', map { pack 'l<C*', 3, @$_ } @bytes);
write_file('a.fbin', pack('L<L<', 2, 3) . $floats);
write_file('a.u8bin', pack('L<L<', 2, 3) . $small);
write_file('a.i8bin', pack('L<L<', 2, 3) . $small);
is(load('', 'a.fvecs', 'iqvector(3)'), $expected, '.fvecs');
is(load('', 'a.bvecs', 'iqvector(3)'), $whole, '.bvecs');
is(load('', 'a.fbin', 'iqvector(3)'), $expected, '.fbin');
is(load('', 'a.u8bin', 'iqvector(3)'), $whole, '.u8bin');
is(load('', 'a.i8bin', 'iqvector(3)'), '0:[0,-128,-1] 1:[1,2,3]', '.i8bin');

my %kind = ('f4' => 'f', 'f8' => 'd', 'i2' => 's', 'i4' => 'l', 'i8' => 'q');
for my $kind (sort keys %kind)
{
	my @values = map { [ map { $kind =~ /^i/ ? int($_) : $_ } @$_ ] } @rows;
	for my $order ('<', '>')
	{
		write_file('a.npy', npy("$order$kind", '(2, 3)', join('', map { pack "$kind{$kind}$order*", @$_ } @values), major => $order eq '<' ? 1 : 2));
		is(load('', 'a.npy', 'iqvector(3)'), join(' ', map { "$_:[" . join(',', @{ $values[$_] }) . ']' } 0, 1), ".npy of $order$kind");
	}
}
write_file('a.npy', npy('|u1', '(2, 3)', $small));
is(load('', 'a.npy', 'iqvector(3)'), $whole, '.npy of bytes');

# every finite half becomes the number that the server makes of it, and a half stays what it is
my @halves = grep { ($_ & 0x7c00) != 0x7c00 } 0 .. 65535;
write_file('h.npy', npy('<f2', '(' . @halves . ', 1)', pack 'v*', @halves));
load('', 'h.npy', 'iqvector');
load('--half', 'h.npy', 'iqhalfvec(1)');
my ($single, $half) = ('t' . ($tables - 2), 't' . ($tables - 1));
is(one($node, "SELECT count(*), count(*) FILTER (WHERE h.v = s.v::iqhalfvec AND h.v::iqvector = s.v) FROM $single s JOIN $half h USING (id)"),
	@halves . '|' . @halves, 'all finite halves');
is(one($node, "SELECT string_agg(encode(iqhalfvec_to_bytea(v), 'hex'), '' ORDER BY id) FROM $half WHERE id < 3000"),
	unpack('H*', pack 'v*', @halves[ 0 .. 2999 ]), 'bits of halves');

# ---- options ------------------------------------------------------------------------------------------------------------

is(load('--skip 1', 'a.fvecs', 'iqvector(3)'), '1:[4,5.5,6]', '--skip');
is(load('--rows 1 --first 70', 'a.fvecs', 'iqvector(3)'), '70:[1,-2,3]', '--rows, --first');
is(load('--rows 9 --skip 2', 'a.fvecs', 'iqvector(3)'), '', 'no rows are left');
is(load('--id none', 'a.fbin', 'iqvector(3)', 'v'), '[1,-2,3] [4,5.5,6]', '--id none');
like(load('--id integer', 'a.fbin', 'iqvector(3)'), qr/insufficient data left in message/, '--id must fit the column');
rename 'a.fbin', 'a.bin' or die;
is(load('--format fbin', 'a.bin', 'iqvector(3)'), $expected, '--format');
like(load('', 'a.bin', 'iqvector(3)'), qr/of what format is it/, 'an unknown name');
like(load('--half', 'a.fvecs', 'iqhalfvec(3)'), qr/wants half-precision numbers/, '--half of floats');

# ---- files that are not what they say -----------------------------------------------------------------------------------

my $npy = npy('<f4', '(2, 3)', $floats);
my %bad = (
	'short.fbin' => [ substr(pack('L<L<', 2, 3) . $floats, 0, -1), qr/31 bytes, but the head tells of 2 rows/ ],
	'long.fbin' => [ pack('L<L<', 2, 3) . $floats . "\0", qr/33 bytes, but the head tells of 2 rows/ ],
	'many.fbin' => [ pack('L<L<', 4294967295, 3) . $floats, qr/but the head tells of 4294967295 rows/ ],
	'wide.fbin' => [ pack('L<L<', 2, 16001), qr/rows of 16001 components/ ],
	'none.fbin' => [ pack('L<L<', 2, 0), qr/rows of 0 components/ ],
	'head.fbin' => [ pack('L<', 2), qr/ends early/ ],
	'empty.fvecs' => [ '', qr/is empty/ ],
	'minus.fvecs' => [ pack('l<f<', -1, 1), qr/a row of -1 components/ ],
	'torn.fvecs' => [ pack('l<f<3', 3, 1, 2, 3) . 'x', qr/no whole number of rows of 16/ ],
	'mixed.fvecs' => [ pack('l<f<3l<f<3', 3, 1, 2, 3, 2, 1, 2, 3), qr/row 1 has 2 components, the first has 3/ ],
	'magic.npy' => [ 'x' x 200, qr/is no \.npy file/ ],
	'column.npy' => [ npy('<f4', '(2, 3)', $floats, fortran => 1), qr/lies column by column/ ],
	'flat.npy' => [ npy('<f4', '(6,)', $floats), qr/must have two dimensions/ ],
	'text.npy' => [ npy('<U4', '(2, 3)', $floats), qr/numbers of this kind cannot be read/ ],
	'short.npy' => [ substr($npy, 0, -4), qr/but the head tells of 2 rows of 3/ ],
	'head.npy' => [ substr($npy, 0, 30), qr/ends early/ ],
	'nan.fvecs' => [ pack('l<f<', 1, 9**9**9 / 9**9**9), qr/NaN not allowed in iqvector/ ],
	'infinite.fvecs' => [ pack('l<f<', 1, 9**9**9), qr/infinite value not allowed in iqvector/ ]);
for my $name (sort keys %bad)
{
	my ($bytes, $expected) = @{ $bad{$name} };
	write_file($name, $bytes);
	like(load('', $name, 'iqvector'), $expected, $name);
	is(one($node, 'SELECT count(*) FROM t' . ($tables - 1)), '0', "$name: no row stays");
}
like(load('', 'absent.fvecs', 'iqvector'), qr/absent\.fvecs: No such file/, 'a file that is not there');
command_fails_like([ 'iqdb_copy', '--rows' ], qr/requires an argument.*iqdb_copy \[options\] FILE/s, 'a wrong call shows the usage');
command_like([ 'iqdb_copy', '--help' ], qr/^iqdb_copy \[options\] FILE/, '--help');

# ---- docs/loading.md ----------------------------------------------------------------------------------------------------

my @four = map { [ $_, $_ + 0.5, 3, 1 ] } 0 .. 99;
write_file('base.fvecs', join '', map { pack 'l<f<*', 4, @$_ } @four);
write_file('vectors.npy', npy('<f8', '(100, 4)', join '', map { pack 'd<*', @$_ } @four));
write_file('halves.npy', npy('<f2', '(100, 4)', pack 'v*', (0x3c00) x 400));
$node->safe_psql('postgres', 'CREATE TABLE item (id bigint, embedding iqvector(4))');
my $text = slurp_file("$ENV{IQDB_DOCUMENTATION}/docs/loading.md");
my $blocks = 0;
while ($text =~ /^```sh\n(.*?)^```/msg)
{
	write_file('block.sh', $1);
	my $line = 1 + (substr($text, 0, $-[0]) =~ tr/\n//);
	my $said = `sh -e block.sh 2>&1`;
	is("$?|" . join(' ', $said =~ /error|iqdb_copy: .*/gi), '0|', "docs/loading.md, line $line");
	$blocks++;
}
is($blocks, 3, 'blocks of commands');
is(one($node, "SELECT count(*), count(*) FILTER (WHERE id < 100 AND embedding = ARRAY[id, id + 0.5, 3, 1]::real[]::iqvector), "
		  . "count(*) FILTER (WHERE id BETWEEN 20000 AND 20099 AND embedding = ARRAY[id - 20000, id - 20000 + 0.5, 3, 1]::real[]::iqvector) FROM item"),
	'303|200|100', 'rows of its files');
is(one($node, "SELECT count(*), min(embedding::text) FROM half"), '100|[1,1,1,1]', 'rows of halves');
chdir '/';
$node->stop;
done_testing();

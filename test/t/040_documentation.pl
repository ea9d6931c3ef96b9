# 040_documentation.pl - every SQL command that the documentation shows is run.
#
# The blocks of a file that are marked as sql run one after the other, in a database of their own. What they need and do not
# show stands in a comment of the file: <!-- test: statements -->, run where it stands.
use strict;
use warnings;
use IqdbTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('documentation');
$node->start;
my $top = "$ENV{IQDB_DOCUMENTATION}";
my $number = 0;
my $blocks = 0;

for my $file ("$top/README.md", sort glob "$top/docs/*.md")
{
	my $text = slurp_file($file);
	my $database = 'documentation' . $number++;
	my $last = '';
	(my $name = $file) =~ s{^\Q$top\E/}{};

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	while ($text =~ /<!-- test: (.*?) -->|^```sql\n(.*?)^```/msg)
	{
		my $sql = $1 // $2;
		my $line = 1 + (substr($text, 0, $-[0]) =~ tr/\n//);
		my ($code, $out, $err) = $node->psql($database, $sql, on_error_stop => 1);

		$blocks++ if defined $2;
		$err =~ s/^.*(NOTICE|DETAIL|HINT|WARNING|drop cascades).*\n?//mg;
		is("$code|$err", '0|', "$name, line $line");
	}
}
cmp_ok($blocks, '>', 5, 'there were some');
$node->stop;
done_testing();

#!/usr/bin/perl
# compare.pl NAME SQL EXPECTED ACTUAL FOREIGN - prints a line "NAME DIGEST" and the difference, indented, for each statement
# of a regression test whose output is not the one expected. psql prints every statement before its output, so each output
# is what stands between one statement's text and the next one's. The width of columns does not count. Statements that name
# something matching FOREIGN, or stand under a comment that does, are passed over.
use strict;
use warnings;
use Digest::MD5 qw(md5_hex);

my ($name, $sql, $expected, $actual, $foreign) = @ARGV;

sub content { my ($path) = @_; local $/; open my $file, '<', $path or die "$path: $!"; return <$file>; }

# Statements: text up to a line that ends with a semicolon or is a command of psql's; copied data belongs to them.
sub statements
{
	my ($text) = @_;
	my @found = ('');
	for my $line (split /^/, $text)
	{
		$found[-1] .= $line;
		push @found, '' if $line =~ /;\s*(--.*)?$/ || $line =~ /^\\/;
	}
	return grep { /\S/ } @found;
}

sub outputs
{
	my ($text, @statements) = @_;
	my $at = 0;
	my @starts;
	for my $statement (@statements)
	{
		(my $wanted = $statement) =~ s/^\s*\n//mg;
		my $place = index($text, $wanted, $at);
		$place = $at if $place < 0;
		push @starts, [ $place, $place + length $wanted ];
		$at = $place + length $wanted;
	}
	return map {
		my $end = $_ < $#starts ? $starts[ $_ + 1 ][0] : length $text;
		$end > $starts[$_][1] ? substr($text, $starts[$_][1], $end - $starts[$_][1]) : ''
	} 0 .. $#starts;
}

my @statements = statements(content($sql));
my @expected = outputs(content($expected), @statements);
my @actual = outputs(content($actual), @statements);

# What is printed, but for the width of columns and the place that an error points to.
sub essence
{
	my ($text) = @_;
	$text =~ s/^ *\^\n//mg;
	$text =~ s/-{3,}(\+-+)*/---/g;
	$text =~ s/ +/ /g;
	$text =~ s/ $//mg;
	return $text;
}

my $section = '';
my %seen;
for my $i (0 .. $#statements)
{
	$section = $1 if $statements[$i] =~ /^-- (.*)/m;
	next if "$section $statements[$i]" =~ /$foreign/;
	next if essence($expected[$i]) eq essence($actual[$i]);
	(my $words = $statements[$i]) =~ s/\s+/ /g;
	my $digest = substr(md5_hex($words), 0, 10);
	print "$name $digest\n" unless $seen{$digest}++;
	print '    ', substr($words, 0, 150), "\n";
	print map { "    expected | $_\n" } split /\n/, $expected[$i];
	print map { "    actual   | $_\n" } split /\n/, $actual[$i];
}

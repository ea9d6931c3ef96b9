#!/usr/bin/env bash
# links.sh - every link in the documentation leads to a file that is there, and to a heading that it has; the README is short.
set -f
[ "$(wc -l <README.md)" -le 300 ] || { echo "README.md: more than 300 lines"; exit 1; }
list='git ls-files *.md'
$list >/dev/null 2>&1 || list='find . -name *.md -not -path ./build/*'
# shellcheck disable=SC2046
perl - $($list) <<'PERL'
use strict;
use warnings;
use File::Basename qw(dirname);
my ($bad, $links, %anchors) = (0, 0);

sub text
{
	open my $in, '<', shift or return '';
	local $/;
	my $text = <$in> // '';
	# what stands between fences is no text
	$text =~ s/^```.*?^```//msg;
	return $text;
}

# The names that a heading can be reached by: small letters, no punctuation, blanks as hyphens; a second one has -1.
sub anchors
{
	my ($file) = @_;
	return $anchors{$file} //= do
	{
		my (%found, %times);
		for my $heading (text($file) =~ /^#+ +(.*?) *$/mg)
		{
			my $name = lc $heading;
			$name =~ s/[^\w\- ]//g;
			$name =~ tr/ /-/;
			my $nth = $times{$name}++;
			$found{ $nth ? "$name-$nth" : $name } = 1;
		}
		\%found;
	};
}

for my $file (@ARGV)
{
	my $text = text($file);
	$text =~ s/`[^`\n]*`//g;
	while ($text =~ /\]\(([^)\s]+)\)/g)
	{
		my ($path, $anchor) = split /#/, $1, 2;
		next if $1 =~ m{^[a-z]+://};
		$links++;
		my $target = $path eq '' ? $file : dirname($file) . "/$path";
		if (!-e $target) { print "$file: there is no $path\n"; $bad = 1; }
		elsif (defined $anchor && !anchors($target)->{$anchor})
		{
			print "$file: $target has no heading #$anchor\n";
			$bad = 1;
		}
	}
}
if ($links < 50) { print "only $links links were found\n"; $bad = 1; }
exit $bad;
PERL

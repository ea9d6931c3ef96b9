# What a standby knows and its primary does not: rows that one of them has seen at a time when the other had not. When
# VACUUM gives their places to rows without vector, no node may lead to those. And what a standby meets that a primary
# never does.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IqdbTest;
use FailTest;

my $primary = new_node('primary', init => [ allows_streaming => 1 ], conf => "iqdb.background_worker = off\nautovacuum = off\n"
	  . "max_prepared_transactions = 5\nwal_log_hints = on\nwal_retrieve_retry_interval = 100ms\nwal_keep_size = 200MB\n"
	  . "max_standby_streaming_delay = -1\nwal_receiver_status_interval = 1s\n");
$primary->start;
install($primary);
prepare_answers($primary);
$primary->backup('base');
my $standby = new_node('standby', from_backup => [ $primary, 'base', has_streaming => 1 ]);
$standby->start;

# ---- places given to others ------------------------------------------------------------------------------------------

sub new_table
{
	my ($table, $options) = @_;
	$options //= '';
	$primary->safe_psql('postgres', "CREATE TABLE $table (id bigserial, note text DEFAULT '', v iqvector(4)) $options; "
		  . "INSERT INTO $table (v) SELECT vec() FROM generate_series(1, 40); CREATE INDEX ${table}_v ON $table USING iqdb_flat (v)");
}

# Every free place gets a row without vector, on both nodes.
sub fill_places
{
	my ($table, $what) = @_;
	$primary->safe_psql('postgres', "VACUUM (INDEX_CLEANUP on) $table; INSERT INTO $table (v) SELECT NULL FROM generate_series(1, 60)");
	wait_replay($primary, $standby);
	same($primary, $table, "$what: primary");
	same($standby, $table, "$what: standby");
}

# A session that stays in its transaction until it is told to go on.
sub hold
{
	my ($node, $sql) = @_;
	my $session = $node->interactive_or_background($sql);
	return $session;
}

# 1. The standby follows an insert that is then taken back; the primary has lost its files and reads the table anew.
new_table('taken_back');
wait_replay($primary, $standby);
same($standby, 'taken_back', 'taken back: before');
my $session = background($primary, undef, "BEGIN; INSERT INTO taken_back (v) SELECT vec() FROM generate_series(1, 20); "
	  . 'SELECT pg_advisory_lock(1); ROLLBACK');

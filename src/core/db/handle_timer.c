/*
 * handle_timer.c - the thread behind IQDB_FSYNC_PERIODIC: what was appended is synced when the interval is over, whether
 * or not anything else is ever written.
 *
 * It sleeps while everything is synced. The slow call runs without the writer mutex, so writes go on beside it; who wants
 * to close or cut the log waits for it (iqdbi_handle_wait_sync).
 */
#define _POSIX_C_SOURCE 200809L
#include "core/db/handle_private.h"

#include <time.h>

static bool
has_unsynced(const Iqdb *db)
{
	return db->log != NULL && !db->broken && iqdb_log_synced_end(db->log) < iqdb_log_end(db->log);
}

/* Sleeps until woken or for so many milliseconds. */
static void
sleep_for(Iqdb *db, uint64_t milliseconds)
{
	struct timespec until;

	if (clock_gettime(CLOCK_MONOTONIC, &until) != 0)
		return;
	until.tv_sec += (time_t) (milliseconds / 1000);
	until.tv_nsec += (long) (milliseconds % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000)
	{
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	(void) pthread_cond_timedwait(&db->timer_wake, &db->writer, &until);
}

static void
sync_now(Iqdb *db)
{
	IqdbLogSync ticket;
	IqdbStatus  status = iqdb_log_sync_start(db->log, &ticket, NULL);
	uint64_t    now = iqdbi_handle_now();

	/* counts as tried: a failed write is tried again an interval later, by then it was reported to a writer too */
	db->last_sync_ms = now;
	if (status != IQDB_OK)
	{
		db->cut_pending = true;
		return;
	}
	db->syncing = true;
	pthread_mutex_unlock(&db->writer);
	status = iqdb_log_sync_run(&ticket, NULL);
	pthread_mutex_lock(&db->writer);
	db->syncing = false;
	if (iqdb_log_sync_done(db->log, &ticket, status, now) != IQDB_OK)
		db->broken = true;
	pthread_cond_broadcast(&db->sync_idle);
}

static void *
timer_main(void *arg)
{
	Iqdb *db = arg;

	pthread_mutex_lock(&db->writer);
	while (!db->stop)
	{
		uint64_t now = iqdbi_handle_now();
		uint64_t due = db->last_sync_ms + db->fsync.interval_ms;

		if (!has_unsynced(db))
			(void) pthread_cond_wait(&db->timer_wake, &db->writer);
		else if (now < due)
			sleep_for(db, due - now);
		else
			sync_now(db);
	}
	pthread_mutex_unlock(&db->writer);
	return NULL;
}

IqdbStatus
iqdbi_handle_start_timer(Iqdb *db, IqdbError *err)
{
	int failure;

	if (db->log == NULL || db->fsync.mode != IQDB_FSYNC_PERIODIC)
		return IQDB_OK;
	db->last_sync_ms = iqdbi_handle_now();
	failure = pthread_create(&db->timer, NULL, timer_main, db);
	if (failure != 0)
		return iqdb_fail_io(err, failure, "", "start the thread that syncs");
	db->has_timer = true;
	return IQDB_OK;
}

void
iqdbi_handle_stop_timer(Iqdb *db)
{
	if (!db->has_timer)
		return;
	pthread_mutex_lock(&db->writer);
	db->stop = true;
	pthread_cond_signal(&db->timer_wake);
	pthread_mutex_unlock(&db->writer);
	(void) pthread_join(db->timer, NULL);
	db->has_timer = false;
}

void
iqdbi_handle_wake_timer(Iqdb *db)
{
	if (db->has_timer)
		pthread_cond_signal(&db->timer_wake);
}

void
iqdbi_handle_wait_sync(Iqdb *db)
{
	while (db->syncing)
		(void) pthread_cond_wait(&db->sync_idle, &db->writer);
}

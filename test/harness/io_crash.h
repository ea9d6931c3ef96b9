/*
 * io_crash.h - a file system in memory that can lose its power.
 *
 * Every write, truncate, create, rename and unlink is recorded until a sync of the file, or of the folder for names,
 * makes it durable. io_crash_crash() then decides by a seed, for each recorded one, whether it reached the disk:
 * kept, dropped, or torn (a prefix of a write, or some of its 512-byte sectors; the file may have grown without its
 * bytes). Unsynced changes reach the disk in any order, names independently of content. What survives is the file
 * system afterwards; handles of before are dead, locks are gone.
 *
 * A power cut in the middle: io_crash_power_cut_after(fs, n) lets n changing calls through, records the next one
 * without finishing it, and fails it and every later call with EIO, until io_crash_crash(). So a test runs its
 * workload for n = 0, 1, 2, ... and looks after each crash at what is left:
 *
 *     for (n = 0; !done; n++)
 *         for (seed = ...)
 *         {
 *             fs = io_crash_create();
 *             io_crash_power_cut_after(fs, n);
 *             done = workload(io_crash_io(fs), &acknowledged);   // false when it met EIO
 *             io_crash_crash(fs, seed);
 *             ... open through io_crash_io(fs), compare with what was acknowledged ...
 *             io_crash_destroy(fs);
 *         }
 *
 * Folders exist by being named: "a/b" is in folder "a", "b" in ".". All calls are safe from several threads. Aborts
 * when it runs out of memory.
 */
#ifndef IQDB_TEST_HARNESS_IO_CRASH_H
#define IQDB_TEST_HARNESS_IO_CRASH_H

#include "core/base/io.h"

typedef struct IoCrash IoCrash;

IoCrash *io_crash_create(void);
void io_crash_destroy(IoCrash *fs);

/* The file system's calls; valid until destroy, across crashes. */
const IqdbIo *io_crash_io(IoCrash *fs);

/* A copy of everything, unsynced changes included, but for open handles: to crash one state in many ways. */
IoCrash *io_crash_clone(const IoCrash *fs);

/* From now on so many changing calls (create, write, truncate, sync, rename, unlink, sync_dir) succeed, and no more. */
void io_crash_power_cut_after(IoCrash *fs, uint64_t changes);

/* Changing calls so far. */
uint64_t io_crash_changes(const IoCrash *fs);

/* Has the power gone? */
bool io_crash_is_down(const IoCrash *fs);

/* Lost power, came back: what is there now is what the seed left of the unsynced changes, and is durable. */
void io_crash_crash(IoCrash *fs, uint64_t seed);

/* Everything unsynced is lost, or nothing is. */
void io_crash_crash_dropping_all(IoCrash *fs);
void io_crash_crash_keeping_all(IoCrash *fs);

/* Open handles: 0 when the code under test has closed all it opened. */
size_t io_crash_open_handles(const IoCrash *fs);

/* ---- looking in from outside: not counted, work without power ---------------------------------------------------- */

bool io_crash_exists(const IoCrash *fs, const char *path);

/* Content of a file as a process sees it (unsynced changes included), NULL when absent. Valid until the next call. */
const unsigned char *io_crash_content(const IoCrash *fs, const char *path, size_t *length_out);

/* Makes a file with this content, durably, replacing what was there. */
void io_crash_put(IoCrash *fs, const char *path, const void *bytes, size_t length);

#endif

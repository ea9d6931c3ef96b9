/*
 * pg_files_private.h - what pg_files.c and pg_log.c share.
 */
#ifndef IQDB_PG_FILES_PRIVATE_H
#define IQDB_PG_FILES_PRIVATE_H

#include "pg/pg_files.h"

#define IQDB_PG_FOLDER "iqdb"
#define IQDB_PG_IDENTITY_SIZE 32

/* Path of a file; path has MAXPGPATH bytes. */
extern void iqdb_pg_file_path(char *path, Oid database, const IqdbPgGeneration *generation, uint64 number,
							  const char *suffix);

/* Removes what has the name of an own file, an empty folder too. */
extern void iqdb_pg_remove_file(const char *path);

/* The folder of a database, made if need be. */
extern IqdbStatus iqdb_pg_make_folder(Oid database, IqdbError *error);

/* Writes the identity part; returns IQDB_PG_IDENTITY_SIZE. */
extern uint32 iqdb_pg_identity(unsigned char *identity, const IqdbPgShared *shared);

/* Cluster and generation are right? */
extern bool iqdb_pg_identity_agrees(const unsigned char *identity, uint32 length, const IqdbPgGeneration *generation);

/* Ends the log segment at the applied position, begins the next there, and returns that position. */
extern IqdbPgPosition iqdb_pg_log_switch(IqdbPgArena *arena);

#endif

/*
 * pg_arena_private.h - what pg_arena.c and pg_arena_files.c share.
 */
#ifndef IQDB_PG_ARENA_PRIVATE_H
#define IQDB_PG_ARENA_PRIVATE_H

#include "storage/fd.h"

#include "pg/pg_arena.h"
#include "pg/pg_compat.h"

/* The server's own folder for temporary files: the second choice for arenas, and the place of vectors on disk. */
#define IQDB_PG_DISK_FOLDER "base/" PG_TEMP_FILES_DIR

/* Behind the name of an arena that is not finished. */
#define IQDB_PG_NEW_SUFFIX ".new"

/* Folders an arena may be in, first choice first; NULL ends the list. */
extern const char *iqdb_pg_arena_folder(int choice);

/* Name of an arena; path has MAXPGPATH bytes. */
extern void iqdb_pg_arena_path(char *path, int choice, Oid database, uint32 relation_number,
							   const IqdbPgGeneration *generation);

/* The file of vectors that belongs to an arena of this (final) name: always on disk, wherever the arena is. */
extern void iqdb_pg_arena_vectors_path(char *path, const char *arena_path);

/* Gives the memory of a dropped index back although others still map it: everything but the pages with header and state. */
extern void iqdb_pg_arena_punch(const char *path);

/* Marks this process's arenas of a temporary index dead; false if there are none. */
extern bool iqdb_pg_arena_forget_private(uint32 relation_number, IqdbPgGeneration *generation_out);

#endif

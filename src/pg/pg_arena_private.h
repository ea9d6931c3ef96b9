/*
 * pg_arena_private.h - what pg_arena.c, pg_arena_files.c, pg_arena_pages.c and pg_arena_room.c share.
 */
#ifndef IQDB_PG_ARENA_PRIVATE_H
#define IQDB_PG_ARENA_PRIVATE_H

#include "storage/fd.h"

#include "pg/pg_arena.h"
#include "pg/pg_compat.h"

/* The server's own folder for temporary files: the second choice for arenas, and the first for vectors on disk. */
#define IQDB_PG_DISK_FOLDER "base/" PG_TEMP_FILES_DIR

/* Behind the name of an arena that is not finished. */
#define IQDB_PG_NEW_SUFFIX ".new"

/* Folders an arena may be in, first choice first; NULL ends the list. */
extern const char *iqdb_pg_arena_folder(int choice);

/* Is this path, of a file or a folder, in the second choice? */
extern bool iqdb_pg_arena_on_disk(const char *path);

/*
 * Before a file is made in a folder: notes it among those that are looked at, whatever the settings say later.
 * false with errno set.
 */
extern bool iqdb_pg_arena_note_folder(const char *folder);

/* Calls visit for every folder that arenas of this cluster may be in, some of them twice, until it returns false. */
typedef bool (*IqdbPgFolderVisit) (const char *folder, void *arg);
extern void iqdb_pg_arena_visit_folders(IqdbPgFolderVisit visit, void *arg);

/* Bytes of memory that all arenas of this cluster take now: looks at each file. */
extern uint64 iqdb_pg_arena_memory(void);

/* Bytes that all arenas may take together: the setting, or what the machine or container has, which may change. */
extern uint64 iqdb_pg_arena_all_limit(void);

/* Takes bytes of that; false if there are not so many left. What was taken in vain, or released, is given back. */
extern bool iqdb_pg_arena_take_memory(uint64 bytes);
extern void iqdb_pg_arena_give_memory(uint64 bytes);

/* Has the file system of this folder room for so many bytes, and for what is promised to others? */
extern bool iqdb_pg_arena_has_room(const char *folder, uint64 needed);

/*
 * Says that an arena in the making will take so much of the first folder: who chooses a folder meanwhile must know. The
 * promise is kept as it grows, and ends when it is made, or given up.
 */
extern void iqdb_pg_arena_promise(IqdbPgArena *arena, uint64 bytes);
extern void iqdb_pg_arena_keep_promise(IqdbPgArena *arena, uint64 bytes);
extern void iqdb_pg_arena_end_promise(IqdbPgArena *arena);

/*
 * Maps a file of an arena so that what is huge pages of memory in it is huge pages of this process as well. As mmap: MAP_FAILED
 * with errno set.
 */
extern void *iqdb_pg_arena_map_pages(int fd, size_t size);

/* Name of an arena; path has MAXPGPATH bytes. */
extern void iqdb_pg_arena_path(char *path, const char *folder, Oid database, uint32 relation_number,
							   const IqdbPgGeneration *generation);

/* The folder of new files of vectors. */
extern const char *iqdb_pg_vectors_folder(void);

/* The file of vectors that is made for an arena of this (final) name: on disk, wherever the arena is. */
extern void iqdb_pg_arena_vectors_path(char *path, const char *arena_path);

/* Gives the memory of a dropped index back although others still map it: everything but the pages with header and state. */
extern void iqdb_pg_arena_punch(const char *path);

/* Marks this process's arenas of a temporary index dead; false if there are none. */
extern bool iqdb_pg_arena_forget_private(uint32 relation_number, IqdbPgGeneration *generation_out);

#endif

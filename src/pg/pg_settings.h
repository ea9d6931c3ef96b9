/*
 * pg_settings.h - the settings under the prefix iqdb., as C variables.
 */
#ifndef IQDB_PG_SETTINGS_H
#define IQDB_PG_SETTINGS_H

typedef enum IqdbPgOnCorruption
{
	IQDB_PG_CORRUPTION_REBUILD,
	IQDB_PG_CORRUPTION_ERROR
} IqdbPgOnCorruption;

extern int	iqdb_hnsw_ef_search;	/* 0 = the index's */
extern int	iqdb_ivf_probes;		/* 0 = the index's */
extern int	iqdb_max_scan_tuples;	/* 0 = no limit */
extern bool iqdb_enable_vector_scan;
extern int	iqdb_fsync;				/* IqdbFsync of persist/log.h */
extern int	iqdb_fsync_interval;	/* milliseconds */
extern int	iqdb_snapshot_wal_size; /* kilobytes */
extern int	iqdb_on_corruption;		/* IqdbPgOnCorruption */
extern char *iqdb_arena_directory;	/* "" = automatic */
extern char *iqdb_vector_directory; /* "" = the server's folder for temporary files */
extern int	iqdb_arena_limit;		/* megabytes per index, 0 = no other limit than the next */
extern int	iqdb_memory_limit;		/* megabytes of all indexes, 0 = the machine's memory, or container's */
extern int	iqdb_journal_keep_pages;
extern int	iqdb_journal_max_pages;
extern bool iqdb_background_worker;

extern void iqdb_pg_define_settings(void);

#endif

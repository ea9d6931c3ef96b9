/*
 * pg_sweep.h - removal of arenas and own files that no index has and no callback saw go: what COMMIT PREPARED and ROLLBACK
 * PREPARED of DDL, DROP DATABASE, crashes and the replay of a standby leave behind.
 *
 * Whose memory it is, the disk alone can tell: an arena is of an index whose fork has at least one page, from before the
 * arena's first byte to the end of the transaction that removes the fork. So what belongs to an arena without a fork goes at
 * once, in any process. Own files are named by a generation, and SET TABLESPACE copies a fork with its generation: which
 * generations are in use only the catalogue of their database says, and a process that is connected to it.
 */
#ifndef IQDB_PG_SWEEP_H
#define IQDB_PG_SWEEP_H

/*
 * Removes folders of own files of databases that are gone, arenas of forks that are gone, and, where this process is
 * connected to a database, own files of it that no index has: when their fork is gone, or they are older than an hour.
 * Returns how many files and folders were removed.
 */
extern int	iqdb_pg_sweep(void);

/*
 * The keeper's part: removes what needs no catalogue; for databases with files that may have to go, *start is called, from
 * time to time.
 */
extern void iqdb_pg_sweep_keep(void (*start) (Oid database));

#endif

/*
 * pg_lifecycle.h - when own files go: at the end of the transaction that drops them, or by the sweep.
 */
#ifndef IQDB_PG_LIFECYCLE_H
#define IQDB_PG_LIFECYCLE_H

/* Registers the transaction callbacks. Called once, from _PG_init. */
extern void iqdb_pg_install_callbacks(void);

/*
 * Removes own files of this database that no index has, and folders of databases that are gone: what crashes,
 * COMMIT PREPARED and DROP DATABASE leave behind. Never touches files younger than an hour, which may belong to an index
 * that another transaction is just creating. Returns how many files were removed.
 */
extern int	iqdb_pg_sweep(void);

#endif

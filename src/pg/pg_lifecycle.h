/*
 * pg_lifecycle.h - when own files go: at the end of the transaction that drops them. What no callback sees is left to the
 * sweep (pg_sweep.h).
 */
#ifndef IQDB_PG_LIFECYCLE_H
#define IQDB_PG_LIFECYCLE_H

#include "pg/pg_journal.h"

static inline bool
iqdb_pg_same_generation(const IqdbPgGeneration *a, const IqdbPgGeneration *b)
{
	return a->high == b->high && a->low == b->low;
}

/* Registers the transaction callbacks. Called once, from _PG_init. */
extern void iqdb_pg_install_callbacks(void);

#endif

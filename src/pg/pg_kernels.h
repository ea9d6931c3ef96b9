/*
 * pg_kernels.h - which kernel table this backend computes with: the setting iqdb.simd.
 */
#ifndef IQDB_PG_KERNELS_H
#define IQDB_PG_KERNELS_H

#include "core/vec/kernels.h"

/* The library's version, whichever version of the SQL script a database still has. */
#define IQDB_LIBRARY_VERSION "0.2.0"

/* The table that iqdb.simd names, or the best this machine can run. Never NULL; may change between statements. */
extern const IqdbKernels *iqdb_pg_kernels(void);

/* Defines iqdb.simd. Called once, from _PG_init. */
extern void iqdb_pg_define_kernel_settings(void);

#endif

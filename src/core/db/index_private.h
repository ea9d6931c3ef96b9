/*
 * index_private.h - parts of iqdb_index_put for a caller in this folder that checks before it writes its log.
 */
#ifndef IQDB_DB_INDEX_PRIVATE_H
#define IQDB_DB_INDEX_PRIVATE_H

#include "core/db/index.h"
#include "core/engine/store_write.h"

/* Errors: IQDB_ERR_DIMENSION, IQDB_ERR_VECTOR. The first looks into no arena. */
IqdbStatus iqdbi_check_vector(const IqdbIndexOptions *options, const IqdbKernels *kernels, const void *vector, size_t dim,
							  IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdbi_index_check_vector(const IqdbIndex *index, const void *vector, size_t dim,
									IqdbError *err) IQDB_MUST_CHECK;

/* iqdb_index_put_row for a row whose vector, id, metadata and columns were checked. */
IqdbStatus iqdbi_index_put_checked(IqdbIndex *index, const IqdbRow *row, const IqdbColumnValues *columns,
								   uint32_t *slot_out, IqdbError *err) IQDB_MUST_CHECK;

#endif

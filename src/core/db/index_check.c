/*
 * index_check.c - verification of a whole index: the row store, then what the engine keeps beside it.
 */
#include "core/db/index.h"

#include "core/engine/store_write.h"

IqdbStatus
iqdb_index_check(IqdbIndex *index, IqdbFinding finding, void *arg, IqdbError *err)
{
	IQDB_TRY(iqdb_store_check(&index->store, finding, arg, err));
	return index->engine->check(&index->store, finding, arg, err);
}

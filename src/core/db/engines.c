/*
 * engines.c - which engines this build has, and what only one of them can be asked. The only place that names them all.
 */
#include "core/db/index.h"
#include "core/flat/flat.h"
#include "core/hnsw/hnsw.h"
#include "core/ivf/ivf.h"

const IqdbEngine *
iqdb_engine_get(uint32_t kind)
{
	switch (kind)
	{
		case IQDB_ENGINE_FLAT:
			return &iqdb_flat_engine;
		case IQDB_ENGINE_HNSW:
			return &iqdb_hnsw_engine;
		case IQDB_ENGINE_IVF:
			return &iqdb_ivf_engine;
		default:
			return NULL;
	}
}

static IqdbStatus
check_has_lists(const IqdbIndex *index, IqdbError *err)
{
	if (index->engine != &iqdb_ivf_engine)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "an index of engine %s has no lists", index->engine->name);
	return IQDB_OK;
}

IqdbStatus
iqdb_index_suggest_probes(IqdbIndex *index, double coverage, uint32_t *probes_out, IqdbError *err)
{
	IQDB_TRY(check_has_lists(index, err));
	return iqdb_ivf_suggest_probes(&index->store, coverage, probes_out, err);
}

IqdbStatus
iqdb_index_list_sizes(IqdbIndex *index, uint64_t *sizes_out, uint32_t room, uint32_t *lists_out, IqdbError *err)
{
	IQDB_TRY(check_has_lists(index, err));
	*lists_out = iqdb_ivf_list_sizes(&index->store, sizes_out, room);
	return IQDB_OK;
}

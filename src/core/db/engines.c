/*
 * engines.c - which engines this build has. The only place that names them all.
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

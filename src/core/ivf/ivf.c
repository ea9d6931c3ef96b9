/*
 * ivf.c - the engine's contract: which function does what.
 */
#include "core/ivf/ivf.h"

#include <string.h>

#include "core/ivf/ivf_contract_private.h"
#include "core/ivf/ivf_edition_private.h"
#include "core/ivf/ivf_options_private.h"
#include "core/ivf/ivf_search_private.h"

#define LAYOUT 2u

/* Lists have one sign a component. */
#define SIGNS_DIMENSION 64

static IqdbStatus
ivf_format(IqdbStore *store, IqdbError *err)
{
	IqdbiIvfHeader *header = store->engine_header;

	(void) err;
	memset(header, 0, sizeof(*header));
	header->layout = LAYOUT;
	header->pools[0].count = 1;
	header->pools[1].count = 1;
	return IQDB_OK;
}

static IqdbStatus
ivf_reserve(IqdbStore *store, uint32_t slot_count, IqdbError *err)
{
	IqdbiIvf ivf;

	iqdbi_ivf_view(&ivf, store);
	return iqdbi_ivf_reserve(&ivf, slot_count, err);
}

const IqdbEngine iqdb_ivf_engine = {
	.kind = IQDB_ENGINE_IVF,
	.name = "ivf",
	.options = iqdbi_ivf_options,
	.option_count = IQDBI_IVF_OPTIONS,
	.quantizations = 1u << IQDB_QUANTIZATION_NONE | 1u << IQDB_QUANTIZATION_SQ8 | 1u << IQDB_QUANTIZATION_PQ |
					 1u << IQDB_QUANTIZATION_BQ,
	.default_quantization = IQDB_QUANTIZATION_SQ8,
	.signs_dimension = SIGNS_DIMENSION,
	.seeded = true,
	.check_options = iqdbi_ivf_check_options,
	.search_work = iqdbi_ivf_search_work,
	.build_work = iqdbi_ivf_build_work,
	.visit_stats = iqdbi_ivf_visit_stats,
	.reserves = iqdbi_ivf_reserves,
	.bytes_per_row = iqdbi_ivf_bytes_per_row,
	.bytes_beside = iqdbi_ivf_bytes_beside,
	.snapshot_bytes = iqdbi_ivf_snapshot_bytes,
	.format = ivf_format,
	.reserve = ivf_reserve,
	.added = iqdbi_ivf_added,
	.removed = iqdbi_ivf_removed,
	.link = iqdbi_ivf_link,
	.links_at_end = true,
	.link_pending = iqdbi_ivf_link_pending,
	.maintain = iqdbi_ivf_maintain,
	.assist = iqdbi_ivf_assist,
	.cursor_size = sizeof(IqdbiIvfCursor),
	.cursor_start = iqdbi_ivf_cursor_start,
	.cursor_next = iqdbi_ivf_cursor_next,
	.cursor_end = iqdbi_ivf_cursor_end,
	.save = iqdbi_ivf_save,
	.load = iqdbi_ivf_load,
	.check = iqdbi_ivf_check,
	.stats = iqdbi_ivf_stats,
};

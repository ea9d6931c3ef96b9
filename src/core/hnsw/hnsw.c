/*
 * hnsw.c - the engine's table. What each function does is in engine/engine.h, how in the files it names.
 */
#include "core/hnsw/hnsw.h"

#include "core/hnsw/hnsw_check_private.h"
#include "core/hnsw/hnsw_codec_private.h"
#include "core/hnsw/hnsw_delete_private.h"
#include "core/hnsw/hnsw_graph_private.h"
#include "core/hnsw/hnsw_insert_private.h"
#include "core/hnsw/hnsw_options_private.h"
#include "core/hnsw/hnsw_pending_private.h"
#include "core/hnsw/hnsw_search_private.h"

/* Graphs have 448 signs of the fewest components, and rank all that the beam has kept. */
#define SIGNS_DIMENSION 4

const IqdbEngine iqdb_hnsw_engine = {
	.kind = IQDB_ENGINE_HNSW,
	.name = "hnsw",
	.options = iqdbi_hnsw_options,
	.option_count = IQDBI_HNSW_OPTIONS,
	.quantizations = 1u << IQDB_QUANTIZATION_NONE | 1u << IQDB_QUANTIZATION_SQ8 | 1u << IQDB_QUANTIZATION_BQ,
	.default_quantization = IQDB_QUANTIZATION_SQ8,
	.signs_dimension = SIGNS_DIMENSION,
	.seeded = true,
	.check_options = iqdbi_hnsw_check_options,
	.search_work = iqdbi_hnsw_search_work,
	.build_work = iqdbi_hnsw_build_work,
	.visit_stats = iqdbi_hnsw_visit_stats,
	.reserves = iqdbi_hnsw_reserves,
	.bytes_per_row = iqdbi_hnsw_bytes_per_row,
	.snapshot_bytes = iqdbi_hnsw_snapshot_bytes,
	.format = iqdbi_hnsw_format,
	.reserve = iqdbi_hnsw_reserve,
	.prepare = iqdbi_hnsw_prepare,
	.added = iqdbi_hnsw_added,
	.removed = iqdbi_hnsw_removed,
	.link = iqdbi_hnsw_link,
	.link_pending = iqdbi_hnsw_link_pending,
	.maintain = iqdbi_hnsw_maintain,
	.cursor_size = sizeof(IqdbiHnswCursor),
	.cursor_start = iqdbi_hnsw_cursor_start,
	.cursor_next = iqdbi_hnsw_cursor_next,
	.cursor_end = iqdbi_hnsw_cursor_end,
	.save = iqdbi_hnsw_save,
	.load = iqdbi_hnsw_load,
	.check = iqdbi_hnsw_check,
	.stats = iqdbi_hnsw_stats,
};

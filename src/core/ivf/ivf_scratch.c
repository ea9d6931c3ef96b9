/*
 * ivf_scratch.c - memory for coding and for looking for lists, in one piece.
 */
#include "core/ivf/ivf_coarse_private.h"

#include <string.h>

static void
lay_out_scratch(IqdbiScratch *scratch, size_t room, size_t super_room, IqdbCarve *carve)
{
	const IqdbiIvf *ivf = scratch->ivf;
	size_t          wanted = iqdbi_coarse_candidates(scratch->wanted_max);
	size_t          row_code = iqdbi_code_size(&ivf->rows);
	size_t          centre_code = iqdbi_code_size(&ivf->centres);

	scratch->work = iqdb_carve(carve, IQDBI_COARSE_ROWS, ivf->work_bytes);
	scratch->code.floats = iqdb_carve(carve, 2 * ivf->code_stride, sizeof(*scratch->code.floats));
	scratch->code.unit = iqdb_carve(carve, 1, ivf->work_bytes);
	scratch->code.bytes = iqdb_carve(carve, row_code > centre_code ? row_code : centre_code, 1);
	scratch->query = iqdb_carve(carve, IQDBI_COARSE_ROWS, centre_code);
	scratch->ids = iqdb_carve(carve, wanted, sizeof(uint32_t));
	scratch->keys = iqdb_carve(carve, wanted, sizeof(*scratch->keys));
	scratch->pick.entries = iqdb_carve(carve, room, sizeof(uint64_t));
	scratch->super_pick.entries = iqdb_carve(carve, super_room, sizeof(uint64_t));
}

IqdbStatus
iqdbi_scratch_init(IqdbiScratch *scratch, const IqdbiIvf *ivf, uint32_t supers_max, uint32_t wanted_max, IqdbError *err)
{
	size_t room = iqdbi_pick_room(iqdbi_coarse_candidates(wanted_max));
	size_t super_room = iqdbi_pick_room(supers_max);

	memset(scratch, 0, sizeof(*scratch));
	scratch->ivf = ivf;
	scratch->wanted_max = wanted_max;
	scratch->pick.room = room;
	scratch->super_pick.room = super_room;
	lay_out_scratch(scratch, room, super_room, &scratch->memory);
	if (!iqdb_carve_alloc(&scratch->memory, &ivf->store->host->allocator))
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for %zu bytes of scratch", scratch->memory.size);
	lay_out_scratch(scratch, room, super_room, &scratch->memory);
	return IQDB_OK;
}

void
iqdbi_scratch_free(IqdbiScratch *scratch)
{
	if (scratch->ivf != NULL)
		iqdb_carve_free(&scratch->memory, &scratch->ivf->store->host->allocator);
	memset(scratch, 0, sizeof(*scratch));
}

/*
 * ivf_maintain.c - what link() and maintain() of the contract come to: training when it is time, cleaning, linking.
 */
#include "core/ivf/ivf_contract_private.h"

#include "core/ivf/ivf_edition_private.h"
#include "core/ivf/ivf_growth_private.h"
#include "core/ivf/ivf_list_private.h"

/*
 * Trains an index for the first time when it has enough rows. Without memory or room for that it stays as it is, and
 * searchable; only cancelling stops the caller. No lock is held.
 */
static IqdbStatus
train_if_due(const IqdbiIvf *ivf, IqdbError *err)
{
	IqdbStatus status;

	if (atomic_load_explicit(&ivf->header->current, memory_order_acquire) != 0 || !iqdbi_growth_is_first_due(ivf) ||
		!iqdbi_maintain_begin(ivf))
		return IQDB_OK;
	/* another process may have finished a training between the look and the begin */
	status = atomic_load_explicit(&ivf->header->current, memory_order_acquire) != 0 ? IQDB_OK
																					: iqdbi_ivf_retrain(ivf, err);
	iqdbi_maintain_end(ivf);
	return status == IQDB_ERR_CANCELLED ? status : IQDB_OK;
}

IqdbStatus
iqdbi_ivf_link(IqdbStore *store, uint32_t slot, IqdbError *err)
{
	IqdbiIvf ivf;
	bool     linked;

	iqdbi_ivf_view(&ivf, store);
	IQDB_TRY(train_if_due(&ivf, err));
	return iqdbi_row_link(&ivf, slot, &linked, err);
}

IqdbStatus
iqdbi_ivf_link_pending(IqdbStore *store, uint64_t max_rows, uint64_t *linked_out, IqdbError *err)
{
	IqdbiIvf ivf;

	*linked_out = 0;
	iqdbi_ivf_view(&ivf, store);
	IQDB_TRY(train_if_due(&ivf, err));
	return iqdbi_rows_link(&ivf, max_rows, linked_out, err);
}

static IqdbStatus
clean_train_and_link(const IqdbiIvf *ivf, IqdbMaintain what, IqdbError *err)
{
	uint64_t   linked = 0;
	IqdbStatus status = IQDB_OK;

	IQDB_TRY(iqdbi_ivf_vacuum(ivf, err));
	if (what == IQDB_MAINTAIN_OPTIMIZE || (what == IQDB_MAINTAIN_BUILD && !iqdbi_growth_fits(ivf)) ||
		iqdbi_growth_is_outgrown(ivf))
		status = iqdbi_ivf_retrain(ivf, err);
	if (status == IQDB_OK)
		status = iqdbi_rows_link(ivf, UINT64_MAX, &linked, err);
	/* VACUUM has cleaned up, which is all it was asked for; rows for which there is no room in lists go on waiting */
	if (what == IQDB_MAINTAIN_VACUUM && status != IQDB_ERR_CANCELLED)
		return IQDB_OK;
	return status;
}

IqdbStatus
iqdbi_ivf_maintain(IqdbStore *store, IqdbMaintain what, IqdbError *err)
{
	IqdbiIvf   ivf;
	IqdbStatus status;

	iqdbi_ivf_view(&ivf, store);
	/* another process maintains already: what it does not get done is for the next time */
	if (!iqdbi_maintain_begin(&ivf))
		return IQDB_OK;
	status = clean_train_and_link(&ivf, what, err);
	iqdbi_maintain_end(&ivf);
	return status;
}

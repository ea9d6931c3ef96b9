/*
 * ivf_home.c - home words; see ivf_home_private.h.
 */
#include "core/ivf/ivf_home_private.h"

void
iqdbi_home_set(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot, uint32_t status, uint32_t list)
{
	uint32_t word = status | list << IQDBI_HOME_LIST_SHIFT;

	if (iqdbi_home_size(ivf->header->editions[edition].lists) == sizeof(uint16_t))
		atomic_store_explicit((_Atomic uint16_t *) ivf->homes[edition] + slot, (uint16_t) word, memory_order_release);
	else
		atomic_store_explicit((_Atomic uint32_t *) ivf->homes[edition] + slot, word, memory_order_release);
}

bool
iqdbi_home_change(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot, uint32_t from, uint32_t to)
{
	uint32_t word = iqdbi_home(ivf, edition, slot);

	if (iqdbi_home_status(word) != from)
		return false;
	if (iqdbi_home_size(ivf->header->editions[edition].lists) == sizeof(uint16_t))
	{
		uint16_t old = (uint16_t) word;

		return atomic_compare_exchange_strong((_Atomic uint16_t *) ivf->homes[edition] + slot, &old, (uint16_t) to);
	}
	return atomic_compare_exchange_strong((_Atomic uint32_t *) ivf->homes[edition] + slot, &word, to);
}

/*
 * ivf_seen_private.h - a bit per slot: rows that were handed out, or met.
 */
#ifndef IQDB_IVF_IVF_SEEN_PRIVATE_H
#define IQDB_IVF_IVF_SEEN_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NULL: nothing was. */
static inline bool
iqdbi_seen(const unsigned char *seen, uint32_t slot)
{
	return seen != NULL && (seen[slot / 8] >> (slot % 8) & 1) != 0;
}

#endif

/*
 * fetch.h - memory fetched into the cache ahead of its use.
 *
 * GCC 12 takes a function that does nothing but __builtin_prefetch() for one without effects, and drops the calls of it unless
 * it has put them inline before: the empty asm statement is an effect, costs no instruction, and keeps them. So a function that
 * does nothing else calls this one; where the builtin stands beside other work, or is always inline, it stays.
 */
#ifndef IQDB_BASE_FETCH_H
#define IQDB_BASE_FETCH_H

#define IQDB_CACHE_LINE 64

/* Fetches the cache line of the address, which need not be mapped. */
static inline void
iqdb_fetch(const void *address)
{
	__builtin_prefetch(address);
	__asm__ volatile("");
}

#endif

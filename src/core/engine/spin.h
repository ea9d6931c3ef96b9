/*
 * spin.h - waiting for a word that another process will change in a moment.
 *
 * For words in the arena that are held for a few instructions: no lock of the host is as small. The process that holds such
 * a word may lose its processor all the same; therefore one that waits gives its own away now and then.
 */
#ifndef IQDB_ENGINE_SPIN_H
#define IQDB_ENGINE_SPIN_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

/* Looks at the word before the processor is given away. */
#define IQDB_SPINS_MAX 128u

/* One turn of a waiting loop; *spins is 0 at first, and the loop's own. */
static inline void
iqdb_spin(uint32_t *spins)
{
	if (++*spins < IQDB_SPINS_MAX)
	{
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#elif defined(__aarch64__)
		__asm__ volatile("yield");
#endif
		return;
	}
	*spins = 0;
	(void) sched_yield();
}

/* A lock that is one word: 1 while a process holds it, else 0. */
static inline void
iqdb_spin_lock(_Atomic uint32_t *word)
{
	uint32_t spins = 0;

	while (atomic_exchange_explicit(word, 1, memory_order_acquire) != 0)
	{
		while (atomic_load_explicit(word, memory_order_relaxed) != 0)
			iqdb_spin(&spins);
	}
}

static inline void
iqdb_spin_unlock(_Atomic uint32_t *word)
{
	atomic_store_explicit(word, 0, memory_order_release);
}

#endif

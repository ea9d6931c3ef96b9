/*
 * store_check.c - does the store hold what it promises? Every invariant of store.h, looked at in stretches under ROWS.
 *
 * What is wrong with one slot is wrong although others write. What several places say together (counts, lists, the id
 * map) can be judged only if nothing was written between two stretches: else it is looked at again, and at last left.
 * Findings are collected and reported after the lock is released: the callback is the host's and may take its time.
 */
#include "core/engine/store_private.h"

#include <string.h>

#include "core/base/topk.h"
#include "core/engine/finding.h"
#include "core/engine/stretch.h"
#include "core/meta/metadata.h"

/* A look at a slot with its blobs, or at a link to one, in nanoseconds. */
#define LOOK_CHARGE 250

/* How often all is looked at, when rows are written meanwhile. */
#define ROUNDS_MAX 3

typedef struct Check
{
	const IqdbStore *store;
	uint64_t         changes; /* the store's counters when the round began */
	uint64_t         moves;
	IqdbStretch      stretch; /* under ROWS */
	bool             quiet; /* nothing was written since */
	bool             cancelled;
	bool             slots_done; /* slots were looked at one by one in an earlier round */
	uint32_t         slot_count;
	uint64_t         live;
	uint64_t         known;
	uint64_t         dead;
	uint64_t         free;
	uint64_t         limbo;
	uint64_t         blob_bytes; /* in use by rows, and in the free lists */
	IqdbCandidate   *sequences;  /* of KNOWN and LIVE rows */
	IqdbFindings     certain;    /* about one slot */
	IqdbFindings     together;   /* about several places: count if it was quiet */
} Check;

/* Lets writers in when the stretch has been long enough. ROWS is held shared. false: cancelled, the check is to end. */
static bool
go_on(Check *check, uint64_t charge)
{
	const IqdbStoreHeader *header = check->store->header;

	iqdb_stretch_charge(&check->stretch, charge);
	if (!iqdb_stretch_is_over(&check->stretch))
		return true;
	check->cancelled |= iqdb_stretch_pause(&check->stretch) != IQDB_OK;
	check->quiet &= __atomic_load_n(&header->changes, __ATOMIC_ACQUIRE) == check->changes &&
					__atomic_load_n(&header->moves, __ATOMIC_ACQUIRE) == check->moves;
	return !check->cancelled;
}

/* The same where there is nothing more to judge once rows were written. */
static bool
go_on_quietly(Check *check)
{
	return go_on(check, LOOK_CHARGE) && check->quiet;
}

static void
check_blob(Check *check, uint32_t slot, uint64_t offset, const char *what)
{
	uint32_t length;
	uint32_t class_number;

	if (offset == 0)
		return;
	if (offset % IQDBI_BLOB_UNIT != 0 || offset + sizeof(uint32_t) > check->store->header->blob_end)
	{
		iqdb_findings_add(&check->certain, "slot %u: %s lies outside the blobs", slot, what);
		return;
	}
	(void) iqdbi_blob_bytes(check->store, offset, &length);
	class_number = iqdbi_blob_class(length);
	if (class_number >= IQDBI_BLOB_CLASSES ||
		iqdbi_blob_class_size(class_number) > check->store->header->blob_end - offset)
		iqdb_findings_add(&check->certain, "slot %u: %s is longer than the blobs", slot, what);
	else
		check->blob_bytes += iqdbi_blob_class_size(class_number);
}

static void
check_blobs_of(Check *check, uint32_t slot)
{
	IqdbIdKind kind;
	uint64_t   id = iqdbi_slot_blob(&check->store->slots[slot], &kind);
	uint64_t   findings = check->certain.count;
	uint32_t   length;

	check_blob(check, slot, id, "id");
	check_blob(check, slot, iqdbi_metadata_offset(check->store, slot), "metadata");
	if (id == 0 || check->certain.count != findings || kind == IQDB_ID_BYTES)
		return;
	(void) iqdbi_blob_bytes(check->store, id, &length);
	if (kind != IQDB_ID_U64 || length != sizeof(uint64_t) || iqdbi_id_fits(iqdb_store_id(check->store, slot)))
		iqdb_findings_add(&check->certain, "slot %u: id is no number of its kind", slot);
}

static void
check_vector(Check *check, uint32_t slot)
{
	const IqdbStore     *store = check->store;
	uint32_t             dimension = store->header->options.dimension;
	const unsigned char *vector = iqdb_store_vector(store, slot);
	float                norm = store->row_kernels->norm2(vector, dimension);

	if (iqdb_element_check(store->element, vector, dimension, NULL) != IQDB_OK)
		iqdb_findings_add(&check->certain, "slot %u: vector has a component that is not finite", slot);
	else if (store->norms != NULL && memcmp(&norm, &store->norms[slot], sizeof(norm)) != 0)
		iqdb_findings_add(&check->certain, "slot %u: stored norm is not that of the vector", slot);
	for (size_t i = iqdb_element_bytes(store->element, dimension); i < store->row_stride; i++)
	{
		if (vector[i] != 0)
		{
			iqdb_findings_add(&check->certain, "slot %u: padding is not zero", slot);
			break;
		}
	}
}

static void
check_row(Check *check, uint32_t slot, IqdbRowState state)
{
	const IqdbStore     *store = check->store;
	uint64_t             sequence = iqdb_store_sequence(store, slot);
	uint64_t             count = check->live + check->known;
	uint64_t             findings = check->certain.count;
	const unsigned char *metadata;
	size_t               length;

	if (sequence == 0 || sequence >= store->header->next_sequence)
		iqdb_findings_add(&check->certain, "slot %u: sequence out of range", slot);
	check->sequences[count] = (IqdbCandidate){.sequence = sequence, .slot = slot};
	check_blobs_of(check, slot);
	if (check->certain.count != findings)
		return;
	metadata = iqdb_store_metadata(store, slot, &length);
	if (!check->slots_done && metadata != NULL && iqdb_metadata_validate(metadata, length, NULL) != IQDB_OK)
		iqdb_findings_add(&check->certain, "slot %u: metadata is damaged", slot);
	if (!check->slots_done && iqdb_id_check(iqdb_store_id(store, slot), NULL) != IQDB_OK)
		iqdb_findings_add(&check->certain, "slot %u: id is empty", slot);
	if (!check->slots_done && state == IQDB_ROW_LIVE)
		check_vector(check, slot);
}

static void
check_slot(Check *check, uint32_t slot)
{
	IqdbRowState state = iqdb_store_state(check->store, slot);

	switch (state)
	{
		case IQDB_ROW_FREE:
			check->free++;
			break;
		case IQDB_ROW_KNOWN:
			check_row(check, slot, state);
			check->known++;
			break;
		case IQDB_ROW_LIVE:
			check_row(check, slot, state);
			check->live++;
			break;
		case IQDB_ROW_LIMBO:
			check->limbo++;
			/* fall through */
		case IQDB_ROW_DEAD:
			check->dead++;
			check_blobs_of(check, slot);
			break;
		default:
			iqdb_findings_add(&check->certain, "slot %u: state %d is none", slot, (int) state);
	}
}

static void
check_slots(Check *check)
{
	uint64_t charge = LOOK_CHARGE;

	/* a vector is read three times: for its components, its norm and its padding */
	if (!check->slots_done)
		charge += 3 * iqdb_charge_bytes(check->store->row_stride);
	for (uint32_t slot = 0; slot < check->slot_count && go_on(check, charge); slot++)
		check_slot(check, slot);
	check->slots_done |= !check->cancelled;
}

static void
check_counts(Check *check)
{
	const IqdbStoreHeader *header = check->store->header;

	if (check->live != atomic_load_explicit(&header->live_count, memory_order_relaxed))
		iqdb_findings_add(&check->together, "%llu rows are live, the header counts %u",
						  (unsigned long long) check->live,
						  atomic_load_explicit(&header->live_count, memory_order_relaxed));
	if (check->known != header->known_count)
		iqdb_findings_add(&check->together, "%llu rows are known, the header counts %u",
						  (unsigned long long) check->known, header->known_count);
	if (check->dead != header->dead_count)
		iqdb_findings_add(&check->together, "%llu slots are dead, the header counts %u",
						  (unsigned long long) check->dead, header->dead_count);
	if (check->free != (uint64_t) header->free_count + header->staged_count)
		iqdb_findings_add(&check->together, "%llu slots are free, the header counts %u",
						  (unsigned long long) check->free, header->free_count);
	if (check->limbo != header->limbo_count)
		iqdb_findings_add(&check->together, "%llu slots are in limbo, the header counts %u",
						  (unsigned long long) check->limbo, header->limbo_count);
}

static void
check_list(Check *check, uint32_t head, uint32_t count, IqdbRowState state, const char *name, uint32_t *last_out)
{
	uint32_t length = 0;
	uint32_t slot = head;

	*last_out = IQDB_SLOT_NONE;
	while (slot != IQDB_SLOT_NONE && length < count && go_on_quietly(check))
	{
		if (slot >= check->slot_count || iqdb_store_state(check->store, slot) != state)
		{
			iqdb_findings_add(&check->together, "%s list: slot %u does not belong there", name, slot);
			return;
		}
		*last_out = slot;
		slot = check->store->slots[slot].next;
		length++;
	}
	if (slot != IQDB_SLOT_NONE || length != count)
		iqdb_findings_add(&check->together, "%s list does not have %u slots", name, count);
}

static void
check_lists(Check *check)
{
	const IqdbStoreHeader *header = check->store->header;
	uint32_t               last;

	check_list(check, header->free_head, header->free_count, IQDB_ROW_FREE, "free", &last);
	check_list(check, header->limbo_head, header->limbo_count, IQDB_ROW_LIMBO, "limbo", &last);
	if (last != header->limbo_tail)
		iqdb_findings_add(&check->together, "limbo list does not end at its tail");
}

/* Is the slot's id found again behind it in its chain? */
static bool
id_repeats(const IqdbStore *store, uint32_t slot, uint64_t rows)
{
	IqdbId id = iqdb_store_id(store, slot);

	for (uint32_t at = store->slots[slot].next; at != IQDB_SLOT_NONE && rows-- > 0; at = store->slots[at].next)
	{
		if (iqdb_id_equal(iqdb_store_id(store, at), id))
			return true;
	}
	return false;
}

static void
check_map(Check *check)
{
	const IqdbStore *store = check->store;
	uint32_t         bucket_count = store->header->bucket_count;
	uint64_t         rows = check->live + check->known;
	uint64_t         seen = 0;

	for (uint32_t bucket = 0; bucket < bucket_count && go_on_quietly(check); bucket++)
	{
		for (uint32_t slot = iqdbi_map_head(store, bucket); slot != IQDB_SLOT_NONE; slot = store->slots[slot].next)
		{
			IqdbRowState state = slot < check->slot_count ? iqdb_store_state(store, slot) : IQDB_ROW_FREE;

			if (state != IQDB_ROW_LIVE && state != IQDB_ROW_KNOWN)
			{
				iqdb_findings_add(&check->together, "id map: slot %u holds no row", slot);
				break;
			}
			if (++seen > rows)
			{
				iqdb_findings_add(&check->together, "id map: more entries than rows");
				return;
			}
			if (iqdbi_map_bucket(bucket_count, iqdb_id_hash(iqdb_store_id(store, slot))) != bucket)
				iqdb_findings_add(&check->together, "id map: slot %u is in a bucket that is not its own", slot);
			if (id_repeats(store, slot, rows))
				iqdb_findings_add(&check->together, "id map: the id of slot %u occurs twice", slot);
		}
	}
	if (seen != rows)
		iqdb_findings_add(&check->together, "id map: %llu entries for %llu rows", (unsigned long long) seen,
						  (unsigned long long) rows);
}

/* On what was copied: no lock is needed. */
static void
check_sequences(Check *check)
{
	uint64_t rows = check->live + check->known;

	iqdb_candidates_sort(check->sequences, rows);
	for (uint64_t i = 1; i < rows; i++)
	{
		if (check->sequences[i].sequence == check->sequences[i - 1].sequence)
			iqdb_findings_add(&check->together, "slots %u and %u have the same sequence", check->sequences[i - 1].slot,
							  check->sequences[i].slot);
	}
}

/* Every piece ever cut off the region is in use or in a free list. */
static void
check_blobs(Check *check)
{
	const IqdbStore *store = check->store;
	uint64_t         end = store->header->blob_end;

	for (uint32_t class_number = 0; class_number < IQDBI_BLOB_CLASSES; class_number++)
	{
		uint64_t offset = store->header->blob_free[class_number];

		while (offset != 0 && go_on_quietly(check))
		{
			if (offset % IQDBI_BLOB_UNIT != 0 || offset >= end || check->blob_bytes > end)
			{
				iqdb_findings_add(&check->together, "blobs: free list %u is broken", class_number);
				return;
			}
			check->blob_bytes += iqdbi_blob_class_size(class_number);
			memcpy(&offset, store->blobs + offset, sizeof(offset));
		}
	}
	if (check->blob_bytes + IQDBI_BLOB_UNIT != end)
		iqdb_findings_add(&check->together, "blobs: %llu bytes are accounted for, %llu were given out",
						  (unsigned long long) check->blob_bytes, (unsigned long long) (end - IQDBI_BLOB_UNIT));
}

/* One round. ROWS is held. */
static void
check_round(Check *check)
{
	const IqdbStoreHeader *header = check->store->header;

	check->live = check->known = check->dead = check->free = check->limbo = check->blob_bytes = 0;
	check->together.count = 0;
	check->quiet = true;
	check->changes = __atomic_load_n(&header->changes, __ATOMIC_ACQUIRE);
	check->moves = __atomic_load_n(&header->moves, __ATOMIC_ACQUIRE);
	check_slots(check);
	if (check->cancelled || !check->quiet)
		return;
	check_counts(check);
	check_lists(check);
	/* chains through slots that are none could lead anywhere */
	if (check->certain.count > 0 || check->together.count > 0)
		return;
	check_map(check);
	check_blobs(check);
}

/* Rounds until nothing was written meanwhile, but not for ever. */
static void
check_all(Check *check)
{
	uint32_t room = check->slot_count;

	for (int round = 0; round < ROUNDS_MAX && (round == 0 || !check->quiet) && !check->cancelled; round++)
	{
		iqdb_stretch_begin(&check->stretch, check->store, IQDB_LOCK_ROWS, NULL);
		check->slot_count = atomic_load_explicit(&check->store->header->slot_count, memory_order_relaxed);
		/* more slots than there is memory for: those of the beginning are looked at, for what each is by itself */
		if (check->slot_count > room)
			check->slot_count = room;
		check_round(check);
		check->quiet &=
			check->slot_count == atomic_load_explicit(&check->store->header->slot_count, memory_order_relaxed);
		iqdb_stretch_end(&check->stretch);
	}
	if (check->quiet && check->certain.count == 0 && check->together.count == 0)
		check_sequences(check);
}

IqdbStatus
iqdb_store_check(IqdbStore *store, IqdbFinding finding, void *arg, IqdbError *err)
{
	const IqdbAllocator *allocator = &store->host->allocator;
	Check               *check = iqdb_alloc_zero(allocator, sizeof(*check));
	size_t               size;
	bool                 cancelled;

	if (check == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for verification");
	check->store = store;
	check->slot_count = atomic_load_explicit(&store->header->slot_count, memory_order_relaxed);
	size = ((size_t) check->slot_count + 1) * sizeof(*check->sequences);
	check->sequences = iqdb_alloc(allocator, size);
	if (check->sequences == NULL)
	{
		iqdb_free(allocator, check, sizeof(*check));
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for verification");
	}
	check_all(check);
	cancelled = check->cancelled;
	if (!cancelled)
	{
		iqdb_findings_report(&check->certain, "row store: more findings are not listed", finding, arg);
		if (check->quiet)
			iqdb_findings_report(&check->together, "row store: more findings are not listed", finding, arg);
	}
	iqdb_free(allocator, check->sequences, size);
	iqdb_free(allocator, check, sizeof(*check));
	return cancelled ? iqdb_fail(err, IQDB_ERR_CANCELLED, "verification was cancelled") : IQDB_OK;
}

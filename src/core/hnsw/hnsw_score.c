/*
 * hnsw_score.c - distances: on codes for finding the way, on full vectors for answers.
 *
 * Owns: what a target is made of, and which pairs are computed again more exactly. Does not own: the codes' formulas
 * (quant/sq8.h, quant/signs.h), the loops (vec/kernels.h).
 *
 * Usually a key is a sum in single precision, of codes or of vectors. That is not good enough for three kinds of pairs,
 * which are few, and are recognised by the key that came out or, for cosine, by the norms:
 *   - Sums that overflow, and squares that vanish. Finite vectors have a distance all the same, and a row of that kind
 *     must not be a dead end for searches that look for others. Such keys are computed in double and squeezed into
 *     floats.
 *   - Cosine of rows that point in nearly the same direction: 1 less a quotient near 1 has lost its digits.
 *   - Codes of bytes where rows are nearer to each other than a few of their steps. The steps of a row are as wide as
 *     its distance from the centre demands; where rows stand in a tight group far away from it, all of the group have
 *     the same code. There the vectors are compared instead.
 */
#include "core/hnsw/hnsw_score_private.h"

#include <math.h>
#include <string.h>

#include "core/engine/keys.h"

/* Slots scored at a time: the list of one node fits. */
#define BATCH 384

#define CACHE_LINE 64u

/*
 * Rows nearer than so many steps of their codes are compared by their vectors; squared, for the sum of both steps'
 * squares.
 */
#define NEAR_STEPS2 32.0f

/* The squared norm of a row for metrics whose keys need it, else 0: it is not kept then. STRUCTURE is held. */
static float
norm2_of(const IqdbiHnsw *graph, uint32_t slot)
{
	return graph->store->metric->needs_norms ? iqdb_store_norm2(graph->store, slot) : 0.0f;
}

/* Can codes not bear the norm? They are made of vectors of length one where keys are those of cosine. */
static bool
norm2_is_unusual(const IqdbiHnsw *graph, float norm2)
{
	return graph->store->metric->form == IQDB_KEY_COSINE && !iqdb_norm2_is_usual(norm2);
}

/* ---- targets ----------------------------------------------------------------------------------------------------- */

static size_t
code_room(const IqdbiHnsw *graph)
{
	switch (graph->code)
	{
		case IQDBI_HNSW_BYTES:
			return graph->dim;
		case IQDBI_HNSW_SIGNS:
			return iqdb_signs_query_bytes(graph->dim);
		default:
			return 0;
	}
}

/* The prepared query stands first, then the code; both begin at a cache line. */
static size_t
prepared_room(const IqdbiHnsw *graph)
{
	return (graph->prepared_bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

static size_t
target_room(const IqdbiHnsw *graph)
{
	size_t room = prepared_room(graph) + code_room(graph);

	return room > 0 ? room + CACHE_LINE : 0;
}

IqdbStatus
iqdbi_target_init(const IqdbiHnsw *graph, IqdbiTarget *target)
{
	size_t         room = target_room(graph);
	unsigned char *memory;

	memset(target, 0, sizeof(*target));
	iqdb_scorer_init(&target->exact, graph->store, NULL, NULL);
	if (room == 0)
		return IQDB_OK;
	memory = iqdb_alloc(&graph->store->host->allocator, room);
	if (memory == NULL)
		return IQDB_ERR_NOMEM;
	target->memory = memory;
	memory += CACHE_LINE - (uintptr_t) memory % CACHE_LINE;
	target->prepared = prepared_room(graph) > 0 ? memory : NULL;
	target->code = code_room(graph) > 0 ? memory + prepared_room(graph) : NULL;
	return IQDB_OK;
}

void
iqdbi_target_free(const IqdbiHnsw *graph, IqdbiTarget *target)
{
	iqdb_free(&graph->store->host->allocator, target->memory, target_room(graph));
	target->memory = NULL;
}

/* Codes are made of numbers, and a prepared query of numbers is an array of floats. */
void
iqdbi_target_query(const IqdbiHnsw *graph, IqdbiTarget *target, const void *query, float norm2)
{
	bool unusual = norm2_is_unusual(graph, norm2);

	iqdb_scorer_aim(&target->exact, query, norm2);
	target->slot = IQDB_SLOT_NONE;
	switch (iqdbi_hnsw_code_read(graph))
	{
		case IQDBI_HNSW_PLAIN:
			break;
		case IQDBI_HNSW_BYTES:
			iqdb_sq8_query(graph->metric, graph->centre, query, norm2, graph->dim, target->code, &target->query.bytes);
			target->query.bytes.base = unusual ? NAN : target->query.bytes.base;
			break;
		case IQDBI_HNSW_SIGNS:
			iqdb_signs_query(&graph->signs, query, norm2, target->code, &target->query.signs);
			target->query.signs.base = unusual ? NAN : target->query.signs.base;
			break;
	}
}

void
iqdbi_target_row(const IqdbiHnsw *graph, IqdbiTarget *target, uint32_t slot)
{
	/* bytes tell as much as the vector, and are in memory already */
	if (iqdbi_hnsw_code_read(graph) == IQDBI_HNSW_BYTES)
		iqdbi_target_code(graph, target, slot);
	else
		iqdbi_target_query(graph, target, iqdb_store_query(graph->store, slot, target->prepared),
						   norm2_of(graph, slot));
}

/* Makes the row's vector what others are compared with. */
static void
aim_at_row(const IqdbiHnsw *graph, IqdbiTarget *target)
{
	iqdb_scorer_aim(&target->exact, iqdb_store_query(graph->store, target->slot, target->prepared),
					norm2_of(graph, target->slot));
}

void
iqdbi_target_code(const IqdbiHnsw *graph, IqdbiTarget *target, uint32_t slot)
{
	target->slot = slot;
	/* the vector is not read unless codes do not tell rows apart: it may lie on disk */
	target->exact.query = NULL;
	switch (iqdbi_hnsw_code_read(graph))
	{
		case IQDBI_HNSW_PLAIN:
			aim_at_row(graph, target);
			break;
		case IQDBI_HNSW_BYTES:
			iqdb_sq8_query_of_row(graph->metric, iqdbi_hnsw_code(graph, slot), &graph->scalars[slot], graph->dim,
								  target->code, &target->query.bytes);
			break;
		case IQDBI_HNSW_SIGNS:
			iqdb_signs_query_of_row(&graph->signs, iqdbi_hnsw_signs(graph, slot), iqdbi_hnsw_signs_row(graph, slot),
									&target->query.signs);
			break;
	}
}

/*
 * A row with a norm that codes cannot bear gets NaN as its own term: its keys are NaN then, whatever it is compared
 * with, so that scoring notices and takes the vectors.
 */
void
iqdbi_hnsw_encode(const IqdbiHnsw *graph, uint32_t slot, void *prepared)
{
	float        norm2 = norm2_of(graph, slot);
	bool         unusual = norm2_is_unusual(graph, norm2);
	const float *vector;

	if (graph->code == IQDBI_HNSW_PLAIN)
		return;
	vector = iqdb_store_floats(graph->store, slot, prepared);
	if (graph->code == IQDBI_HNSW_BYTES)
	{
		iqdb_sq8_encode(graph->metric, graph->centre, vector, norm2, graph->dim, iqdbi_hnsw_code(graph, slot),
						&graph->scalars[slot]);
		graph->scalars[slot].own = unusual ? NAN : graph->scalars[slot].own;
	}
	else
	{
		IqdbSignsRow *row = iqdbi_hnsw_signs_row(graph, slot);

		iqdb_signs_encode(&graph->signs, vector, norm2, iqdbi_hnsw_signs(graph, slot), row);
		row->own = unusual ? NAN : row->own;
	}
}

/* ---- codes ------------------------------------------------------------------------------------------------------- */

/* Computes by vectors what codes do not tell apart: of slots[i] the key goes to keys[places[i]]. */
static void
score_closely(const IqdbiHnsw *graph, IqdbiTarget *target, const uint32_t *slots, const uint16_t *places, size_t count,
			  float *keys)
{
	float exact_keys[BATCH];

	if (target->exact.query == NULL)
		aim_at_row(graph, target);
	iqdb_scorer_slots(&target->exact, slots, count, exact_keys);
	for (size_t i = 0; i < count; i++)
		keys[places[i]] = exact_keys[i];
}

/* At most BATCH slots. */
static void
score_bytes(const IqdbiHnsw *graph, IqdbiTarget *target, const uint32_t *slots, size_t count, float *keys)
{
	const IqdbSq8Query *query = &target->query.bytes;
	/*
	 * What a key must be at least for codes to be trusted, in squared steps of the two codes. Keys of L2 have each of
	 * these squares once, those of cosine half of it, and those of inner products none: they say nothing of nearness,
	 * so all are trusted. query->square is the same weight for a square over all dimensions; query->scale has it twice,
	 * and the step.
	 */
	float    weight = query->square / (float) graph->dim;
	float    step = weight > 0.0f ? 0.5f * query->scale / weight : 0.0f;
	float    steps2 = NEAR_STEPS2 * weight;
	float    own2 = step * step;
	float    low = weight > 0.0f ? IQDB_VANISHING : (float) -IQDB_KEY_LARGE;
	float    vanished = iqdb_store_has_tiny(graph->store) ? (float) IQDB_KEY_SMALL : 0.0f;
	int32_t  dots[BATCH];
	uint32_t again[BATCH];
	uint16_t places[BATCH];
	size_t   again_count = 0;

	graph->store->kernels->dot_u8i8_gather(query->code, graph->nodes, graph->record_size, slots, count, graph->dim,
										   dots);
	for (size_t i = 0; i < count; i++)
	{
		const IqdbSq8Row *row = &graph->scalars[slots[i]];

		keys[i] = iqdb_sq8_key(query, row, dots[i]);
		if (__builtin_expect(!(keys[i] >= low + steps2 * (own2 + row->scale * row->scale) &&
							   keys[i] < (float) IQDB_KEY_LARGE && fabsf(keys[i]) >= vanished), 0))
		{
			places[again_count] = (uint16_t) i;
			again[again_count++] = slots[i];
		}
	}
	if (again_count > 0)
		score_closely(graph, target, again, places, again_count, keys);
}

/*
 * The same by signs. What they cannot tell apart is left as it is, unless it is no number: the vectors may lie on disk.
 */
static void
score_signs(const IqdbiHnsw *graph, IqdbiTarget *target, const uint32_t *slots, size_t count, float *keys)
{
	const IqdbSignsQuery *query = &target->query.signs;
	int32_t               sums[BATCH];
	uint32_t              again[BATCH];
	uint16_t              places[BATCH];
	size_t                again_count = 0;

	graph->signs.kernels->sums(query->planes, query->plane_count, graph->nodes, graph->record_size, slots, count,
							   iqdb_signs_words(graph->dim), sums);
	for (size_t i = 0; i < count; i++)
	{
		keys[i] = iqdb_signs_key(query, iqdbi_hnsw_signs_row(graph, slots[i]), sums[i]);
		if (__builtin_expect(!(fabsf(keys[i]) < (float) IQDB_KEY_LARGE), 0))
		{
			places[again_count] = (uint16_t) i;
			again[again_count++] = slots[i];
		}
	}
	if (again_count > 0)
		score_closely(graph, target, again, places, again_count, keys);
}

void
iqdbi_hnsw_score(const IqdbiHnsw *graph, IqdbiTarget *target, const uint32_t *slots, size_t count,
				 float *keys_out)
{
	IqdbiHnswCode code = iqdbi_hnsw_code_read(graph);

	for (size_t done = 0; done < count;)
	{
		size_t part = count - done < BATCH ? count - done : BATCH;

		if (code == IQDBI_HNSW_BYTES)
			score_bytes(graph, target, slots + done, part, keys_out + done);
		else if (code == IQDBI_HNSW_SIGNS)
			score_signs(graph, target, slots + done, part, keys_out + done);
		else
			iqdb_scorer_slots(&target->exact, slots + done, part, keys_out + done);
		done += part;
	}
}

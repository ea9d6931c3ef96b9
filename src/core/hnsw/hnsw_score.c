/*
 * hnsw_score.c - distances: on codes for finding the way, on full vectors for answers.
 *
 * Owns: what a target is made of, and which pairs are looked at more closely than the usual way does. Does not own: the codes'
 * formulas (quant/sq8.h, quant/signs.h), the loops (vec/kernels.h).
 *
 * The usual way is a sum of single precision, of codes or of vectors. It does not do for three kinds of pairs, which are few
 * and told by their key, or for cosine by their norms:
 *   - sums that overflow, and squares that vanish: finite vectors have distances all the same, and one row of that kind
 *     must not be a place where searches for others end. Such pairs are taken in double, their keys squeezed into floats;
 *   - cosine of rows that point in nearly the same direction: 1 less the quotient has lost its digits;
 *   - codes of rows that are nearer to each other than some of their steps: the steps are as wide as the distance of a row
 *     from the centre demands, and where rows stand in tight groups far away from it, all of a group have the same code.
 *     There vectors are compared.
 */
#include "core/hnsw/hnsw_score_private.h"

#include <math.h>
#include <string.h>

#include "core/engine/keys.h"

/* Slots scored at a time: the list of one node fits. */
#define BATCH 384

/* Rows nearer than so many steps of their codes are compared by their vectors; squared, for the sum of both steps' squares. */
#define NEAR_STEPS2 32.0f

/* Squared norm of a row, where keys need it: elsewhere it is not kept. */
static float
norm2_of(const IqdbiHnsw *graph, uint32_t slot)
{
	return graph->metric == IQDB_METRIC_COSINE ? iqdb_store_norm2(graph->store, slot) : 0.0f;
}

static size_t
target_bytes(const IqdbiHnsw *graph)
{
	return graph->code == IQDBI_HNSW_SIGNS ? iqdb_signs_query_bytes(graph->dim) : graph->dim;
}

IqdbStatus
iqdbi_target_init(const IqdbiHnsw *graph, IqdbiTarget *target)
{
	memset(target, 0, sizeof(*target));
	iqdb_scorer_init(&target->exact, graph->store, NULL, NULL);
	if (graph->code == IQDBI_HNSW_PLAIN)
		return IQDB_OK;
	target->code = iqdb_alloc(&graph->store->host->allocator, target_bytes(graph));
	return target->code != NULL ? IQDB_OK : IQDB_ERR_NOMEM;
}

void
iqdbi_target_free(const IqdbiHnsw *graph, IqdbiTarget *target)
{
	iqdb_free(&graph->store->host->allocator, target->code, target_bytes(graph));
	target->code = NULL;
}

void
iqdbi_target_query(const IqdbiHnsw *graph, IqdbiTarget *target, const float *vector, float norm2)
{
	bool unusual = graph->metric == IQDB_METRIC_COSINE && !iqdb_norm2_is_usual(norm2);

	iqdb_scorer_aim(&target->exact, vector, norm2);
	target->slot = IQDB_SLOT_NONE;
	switch (iqdbi_hnsw_code_read(graph))
	{
		case IQDBI_HNSW_PLAIN:
			break;
		case IQDBI_HNSW_BYTES:
			iqdb_sq8_query(graph->metric, graph->centre, vector, norm2, graph->dim, target->code, &target->query.bytes);
			target->query.bytes.base = unusual ? NAN : target->query.bytes.base;
			break;
		case IQDBI_HNSW_SIGNS:
			iqdb_signs_query(&graph->signs, vector, norm2, target->code, &target->query.signs);
			target->query.signs.base = unusual ? NAN : target->query.signs.base;
			break;
	}
}

void
iqdbi_target_row(const IqdbiHnsw *graph, IqdbiTarget *target, uint32_t slot)
{
	/* bytes are as good as the vector, and at hand */
	if (iqdbi_hnsw_code_read(graph) == IQDBI_HNSW_BYTES)
		iqdbi_target_code(graph, target, slot);
	else
		iqdbi_target_query(graph, target, iqdb_store_vector(graph->store, slot), norm2_of(graph, slot));
}

void
iqdbi_target_code(const IqdbiHnsw *graph, IqdbiTarget *target, uint32_t slot)
{
	IqdbiHnswCode code = iqdbi_hnsw_code_read(graph);

	iqdb_scorer_aim(&target->exact, iqdb_store_vector(graph->store, slot),
					code == IQDBI_HNSW_PLAIN ? norm2_of(graph, slot) : NAN);
	target->slot = slot;
	switch (code)
	{
		case IQDBI_HNSW_PLAIN:
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

/* A row whose own term is no number has a key that is none with all others, and is compared by its vector. */
void
iqdbi_hnsw_encode(const IqdbiHnsw *graph, uint32_t slot)
{
	const float *vector = iqdb_store_vector(graph->store, slot);
	float        norm2 = norm2_of(graph, slot);
	bool         unusual = graph->metric == IQDB_METRIC_COSINE && !iqdb_norm2_is_usual(norm2);

	if (graph->code == IQDBI_HNSW_BYTES)
	{
		iqdb_sq8_encode(graph->metric, graph->centre, vector, norm2, graph->dim, iqdbi_hnsw_code(graph, slot),
						&graph->scalars[slot]);
		graph->scalars[slot].own = unusual ? NAN : graph->scalars[slot].own;
	}
	else if (graph->code == IQDBI_HNSW_SIGNS)
	{
		IqdbSignsRow *row = iqdbi_hnsw_signs_row(graph, slot);

		iqdb_signs_encode(&graph->signs, vector, norm2, iqdbi_hnsw_signs(graph, slot), row);
		row->own = unusual ? NAN : row->own;
	}
}

/* ---- codes ------------------------------------------------------------------------------------------------------- */

/* Compares by vectors what codes do not tell: keys[places[i]] of slots[i]. */
static void
score_closely(const IqdbiHnsw *graph, const IqdbiTarget *target, const uint32_t *slots, const uint16_t *places, size_t count,
			  float *keys)
{
	IqdbScorer exact = target->exact;
	float      exact_keys[BATCH];

	if (target->slot != IQDB_SLOT_NONE)
		exact.query_norm2 = norm2_of(graph, target->slot);
	iqdb_scorer_slots(&exact, slots, count, exact_keys);
	for (size_t i = 0; i < count; i++)
		keys[places[i]] = exact_keys[i];
}

/* At most BATCH slots. */
static void
score_bytes(const IqdbiHnsw *graph, const IqdbiTarget *target, const uint32_t *slots, size_t count, float *keys)
{
	const IqdbSq8Query *query = &target->query.bytes;
	/* squares of steps, as many as keys have: half of them under COSINE, none under DOT, whose keys say nothing of nearness */
	float    steps2 = NEAR_STEPS2 * query->square / (float) graph->dim;
	float    step = graph->metric == IQDB_METRIC_L2 ? 0.5f * query->scale : query->scale;
	float    own2 = step * step;
	float    low = graph->metric == IQDB_METRIC_DOT ? (float) -IQDB_KEY_LARGE : IQDB_VANISHING;
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

/* The same. What signs cannot tell apart stays so, unless it is no number: their vectors lie on disk. */
static void
score_signs(const IqdbiHnsw *graph, const IqdbiTarget *target, const uint32_t *slots, size_t count, float *keys)
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
iqdbi_hnsw_score(const IqdbiHnsw *graph, const IqdbiTarget *target, const uint32_t *slots, size_t count,
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

/*
 * filter.c - evaluating and comparing finished filters.
 *
 * Building one from a tree is in filter_build.c, from bytes in filter_decode.c.
 */
#include "core/meta/filter.h"

#include <string.h>

#include "core/meta/filter_private.h"
#include "core/meta/metadata.h"

/* Shorter lists are searched from front to back. */
#define LINEAR_SEARCH_MAX 8

void
iqdb_filter_free(const IqdbAllocator *allocator, IqdbFilter *filter)
{
	if (filter != NULL)
		iqdb_free(allocator, filter, filter->size);
}

const unsigned char *
iqdb_filter_encoded(const IqdbFilter *filter, size_t *length_out)
{
	*length_out = filter->length;
	return filter->bytes;
}

/* ---- its conditions ---- */

uint32_t
iqdb_filter_part_count(const IqdbFilter *filter)
{
	return filter->node_count;
}

IqdbFilterPart
iqdb_filter_part(const IqdbFilter *filter, uint32_t number)
{
	const IqdbiFilterNode *node = &filter->nodes[number];

	return (IqdbFilterPart){.op = (IqdbFilterOp) node->op,
							.end = node->end,
							.field = node->field,
							.field_length = node->field_length,
							.values = node->values,
							.value_count = node->value_count};
}

/* ---- evaluation ---- */

bool
iqdbi_filter_value_before(const IqdbValue *a, const IqdbValue *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind;
	if (a->kind == IQDB_VALUE_FLOAT)
	{
		bool a_is_nan = a->as.real != a->as.real;
		bool b_is_nan = b->as.real != b->as.real;

		if (a_is_nan || b_is_nan)
			return !a_is_nan && b_is_nan;
	}
	return iqdb_value_compare(a, b) == IQDB_ORDER_LESS;
}

static bool
is_listed(const IqdbValue *values, uint32_t count, const IqdbValue *value)
{
	uint32_t low = 0;
	uint32_t high = count;

	/* smallest position whose value does not stand before the one looked for */
	while (high - low > LINEAR_SEARCH_MAX)
	{
		uint32_t middle = low + (high - low) / 2;

		if (iqdbi_filter_value_before(&values[middle], value))
			low = middle + 1;
		else
			high = middle + 1;
	}
	for (; low < high; low++)
	{
		if (iqdb_value_equal(&values[low], value))
			return true;
	}
	return false;
}

static bool
leaf_holds(const IqdbiFilterNode *node, const unsigned char *metadata, size_t length)
{
	IqdbValue value;
	IqdbOrder order;

	/* without conditions below them */
	if (node->op == IQDB_FILTER_AND)
		return true;
	if (node->op == IQDB_FILTER_OR)
		return false;
	if (!iqdb_metadata_lookup(metadata, length, node->field, node->field_length, &value))
		return false;
	if (node->op == IQDB_FILTER_IN)
		return is_listed(node->values, node->value_count, &value);

	if (value.kind != node->values[0].kind)
		return false;
	order = iqdb_value_compare(&value, &node->values[0]);
	switch (node->op)
	{
		case IQDB_FILTER_EQ:
			return order == IQDB_ORDER_EQUAL;
		case IQDB_FILTER_NEQ:
			return order != IQDB_ORDER_EQUAL;
		case IQDB_FILTER_LT:
			return order == IQDB_ORDER_LESS;
		case IQDB_FILTER_LTE:
			return order == IQDB_ORDER_LESS || order == IQDB_ORDER_EQUAL;
		case IQDB_FILTER_GT:
			return order == IQDB_ORDER_GREATER;
		case IQDB_FILTER_GTE:
			return order == IQDB_ORDER_GREATER || order == IQDB_ORDER_EQUAL;
		default:
			return false;
	}
}

bool
iqdb_filter_matches(const IqdbFilter *filter, const unsigned char *metadata, size_t length)
{
	uint32_t at = filter->start;

	while (at < filter->node_count)
	{
		const IqdbiFilterNode *node = &filter->nodes[at];

		at = leaf_holds(node, metadata, length) ? node->on_true : node->on_false;
	}
	return at == IQDBI_FILTER_TRUE;
}

/* ---- comparison of filters ---- */

bool
iqdb_filter_equal(const IqdbFilter *a, const IqdbFilter *b)
{
	if (a->node_count != b->node_count)
		return false;
	for (uint32_t i = 0; i < a->node_count; i++)
	{
		const IqdbiFilterNode *left = &a->nodes[i];
		const IqdbiFilterNode *right = &b->nodes[i];

		if (left->op != right->op || left->end != right->end || left->field_length != right->field_length ||
			left->value_count != right->value_count)
			return false;
		if (left->field_length > 0 && memcmp(left->field, right->field, left->field_length) != 0)
			return false;
		for (uint32_t v = 0; v < left->value_count; v++)
		{
			if (!iqdb_value_equal(&left->values[v], &right->values[v]))
				return false;
		}
	}
	return true;
}

static uint64_t
hash_number(uint64_t hash, uint64_t number)
{
	hash = (hash ^ number) * UINT64_C(0x9fb21c651e98df25);
	return hash ^ (hash >> 29);
}

static uint64_t
hash_bytes(uint64_t hash, const char *bytes, size_t length)
{
	hash = hash_number(hash, length);
	for (size_t i = 0; i < length; i++)
		hash = hash_number(hash, (unsigned char) bytes[i]);
	return hash;
}

static uint64_t
hash_value(uint64_t hash, const IqdbValue *value)
{
	uint64_t bits = 0;
	double   real;

	hash = hash_number(hash, (uint64_t) value->kind);
	switch (value->kind)
	{
		case IQDB_VALUE_STRING:
			return hash_bytes(hash, value->as.string, value->string_length);
		case IQDB_VALUE_INT:
			return hash_number(hash, (uint64_t) value->as.integer);
		case IQDB_VALUE_FLOAT:
			/* the two zeros are equal */
			real = value->as.real == 0.0 ? 0.0 : value->as.real;
			memcpy(&bits, &real, sizeof(bits));
			return hash_number(hash, bits);
		case IQDB_VALUE_BOOL:
			return hash_number(hash, value->as.boolean ? 1 : 0);
		case IQDB_VALUE_NULL:
			break;
	}
	return hash;
}

uint64_t
iqdb_filter_hash(const IqdbFilter *filter)
{
	uint64_t hash = hash_number(0, filter->node_count);

	for (uint32_t i = 0; i < filter->node_count; i++)
	{
		const IqdbiFilterNode *node = &filter->nodes[i];

		hash = hash_number(hash, ((uint64_t) node->end << 8) | node->op);
		hash = hash_bytes(hash, node->field, node->field_length);
		for (uint32_t v = 0; v < node->value_count; v++)
			hash = hash_value(hash, &node->values[v]);
	}
	return hash;
}

/*
 * filter_decode.c - from encoded bytes that may lie to a finished filter.
 *
 * The bytes are walked twice by the same function: first to check and to count, then, in the filter's own copy, to fill
 * the nodes. The walk keeps its own stack, which the depth limit bounds.
 */
#include "core/meta/filter.h"

#include <string.h>

#include "core/meta/filter_private.h"
#include "core/meta/meta_private.h"

typedef struct Walk
{
	IqdbiReader      reader;
	uint32_t         node_count;
	uint32_t         value_count;
	IqdbiFilterNode *nodes;  /* NULL in the first walk */
	IqdbValue       *values; /* the same */
	uint32_t         depth;
	uint32_t         left[IQDB_FILTER_DEPTH_MAX];   /* conditions still to come, per open node */
	uint32_t         opened[IQDB_FILTER_DEPTH_MAX]; /* number of each open node */
} Walk;

static IqdbStatus
cut_short(const Walk *walk, IqdbError *err)
{
	return iqdb_fail_corrupt(err, "", iqdbi_reader_offset(&walk->reader), "filter is cut short or has an unknown part");
}

/* Field, and the number of values of an IN list: *count_out holds 1 for the others. */
static IqdbStatus
read_leaf_head(Walk *walk, uint8_t op, IqdbiFilterNode *node, uint32_t *count_out, IqdbError *err)
{
	size_t field_length;

	if (!iqdbi_read_text(&walk->reader, &node->field, &field_length))
		return cut_short(walk, err);
	node->field_length = (uint32_t) field_length;
	*count_out = 1;
	if (op != IQDB_FILTER_IN)
		return IQDB_OK;
	if (!iqdbi_read_u32(&walk->reader, count_out))
		return cut_short(walk, err);
	if (*count_out > IQDB_FILTER_IN_MAX)
		return iqdb_fail(err, IQDB_ERR_FILTER, "filter has an IN list of %u values, at most %d are allowed",
						 (unsigned) *count_out, IQDB_FILTER_IN_MAX);
	return IQDB_OK;
}

static IqdbStatus
read_leaf(Walk *walk, IqdbiFilterNode *node, IqdbError *err)
{
	uint32_t count = 0;

	IQDB_TRY(read_leaf_head(walk, node->op, node, &count, err));
	node->value_count = count;
	if (walk->values != NULL)
		node->values = walk->values + walk->value_count;
	for (uint32_t i = 0; i < count; i++)
	{
		IqdbValue value;

		if (!iqdbi_read_value(&walk->reader, &value))
			return cut_short(walk, err);
		if (walk->values != NULL)
			walk->values[walk->value_count] = value;
		walk->value_count++;
	}
	return IQDB_OK;
}

/* Opens an AND, OR or NOT; *empty_out tells that nothing is below it. */
static IqdbStatus
open_inner(Walk *walk, uint8_t op, bool *empty_out, IqdbError *err)
{
	uint32_t count = 1;

	if (op != IQDB_FILTER_NOT && !iqdbi_read_u32(&walk->reader, &count))
		return cut_short(walk, err);
	if (walk->depth == IQDB_FILTER_DEPTH_MAX)
		return iqdb_fail(err, IQDB_ERR_FILTER, "filter is nested more than %d levels deep", IQDB_FILTER_DEPTH_MAX);
	/* each condition takes a byte at least: a count that cannot be is refused before anything is counted on it */
	if (count > iqdbi_reader_left(&walk->reader))
		return cut_short(walk, err);
	*empty_out = count == 0;
	if (count > 0)
	{
		walk->left[walk->depth] = count;
		walk->opened[walk->depth] = walk->node_count;
		walk->depth++;
	}
	return IQDB_OK;
}

/* A condition is complete: closes every open node that waited for it alone. */
static void
close_complete(Walk *walk)
{
	while (walk->depth > 0 && --walk->left[walk->depth - 1] == 0)
	{
		walk->depth--;
		if (walk->nodes != NULL)
			walk->nodes[walk->opened[walk->depth]].end = walk->node_count;
	}
}

static IqdbStatus
walk_bytes(Walk *walk, IqdbError *err)
{
	do
	{
		IqdbiFilterNode node = {0};
		bool            complete = true;
		uint64_t        offset = iqdbi_reader_offset(&walk->reader);

		if (!iqdbi_read_u8(&walk->reader, &node.op))
			return cut_short(walk, err);
		if (node.op >= IQDB_FILTER_OP_COUNT)
			return iqdb_fail_corrupt(err, "", offset, "filter has an unknown operator");
		if (iqdbi_filter_is_inner(node.op))
			IQDB_TRY(open_inner(walk, node.op, &complete, err));
		else
			IQDB_TRY(read_leaf(walk, &node, err));
		node.end = walk->node_count + 1;
		if (walk->nodes != NULL)
			walk->nodes[walk->node_count] = node;
		walk->node_count++;
		if (complete)
			close_complete(walk);
	} while (walk->depth > 0);

	if (iqdbi_reader_left(&walk->reader) != 0)
		return iqdb_fail_corrupt(err, "", iqdbi_reader_offset(&walk->reader), "bytes follow the filter");
	return IQDB_OK;
}

/* The first node at or below this one that evaluation can begin with: a leaf, or an AND or OR of nothing. */
static uint32_t
entry_of(const IqdbFilter *filter, uint32_t number)
{
	while (iqdbi_filter_is_inner(filter->nodes[number].op) && filter->nodes[number].end > number + 1)
		number++;
	return number;
}

/*
 * Fills in the jumps, from the root down: a parent's jumps are known when its children's are derived from them. The
 * last child of an AND or OR goes where the parent goes.
 */
static void
link_jumps(IqdbFilter *filter)
{
	IqdbiFilterNode *nodes = filter->nodes;

	nodes[0].on_true = IQDBI_FILTER_TRUE;
	nodes[0].on_false = IQDBI_FILTER_FALSE;
	filter->start = entry_of(filter, 0);
	for (uint32_t i = 0; i < filter->node_count; i++)
	{
		const IqdbiFilterNode *parent = &nodes[i];

		if (!iqdbi_filter_is_inner(parent->op))
			continue;
		for (uint32_t c = i + 1; c < parent->end; c = nodes[c].end)
		{
			IqdbiFilterNode *child = &nodes[c];
			bool             is_last = child->end == parent->end;

			child->on_true = parent->on_true;
			child->on_false = parent->on_false;
			if (parent->op == IQDB_FILTER_NOT)
			{
				child->on_true = parent->on_false;
				child->on_false = parent->on_true;
			}
			else if (!is_last && parent->op == IQDB_FILTER_AND)
				child->on_true = entry_of(filter, child->end);
			else if (!is_last)
				child->on_false = entry_of(filter, child->end);
		}
	}
}

static bool
value_before(const void *a, const void *b, const void *arg)
{
	IqdbValue left;
	IqdbValue right;

	(void) arg;
	/* the sort moves items through plain bytes */
	memcpy(&left, a, sizeof(left));
	memcpy(&right, b, sizeof(right));
	return iqdbi_filter_value_before(&left, &right);
}

static void
sort_lists(Walk *walk)
{
	for (uint32_t i = 0; i < walk->node_count; i++)
	{
		const IqdbiFilterNode *node = &walk->nodes[i];

		if (node->op == IQDB_FILTER_IN && node->value_count > 1)
			iqdbi_sort(walk->values + (node->values - walk->values), node->value_count, sizeof(IqdbValue), value_before,
					   NULL);
	}
}

_Static_assert(sizeof(IqdbValue) <= IQDBI_SORT_ITEM_MAX, "values must fit into the sort's buffer");
_Static_assert(sizeof(struct IqdbFilter) % _Alignof(IqdbiFilterNode) == 0, "nodes follow the head");
_Static_assert(sizeof(IqdbiFilterNode) % _Alignof(IqdbValue) == 0, "values follow the nodes");

/* Bytes of a filter: head, nodes, values, encoded form. */
static bool
filter_size(const Walk *counted, size_t length, size_t *size_out)
{
	size_t nodes;
	size_t values;

	return iqdb_mul_size(counted->node_count, sizeof(IqdbiFilterNode), &nodes) &&
		iqdb_mul_size(counted->value_count, sizeof(IqdbValue), &values) &&
		iqdb_add_size(sizeof(IqdbFilter), nodes, size_out) && iqdb_add_size(*size_out, values, size_out) &&
		iqdb_add_size(*size_out, length, size_out);
}

IqdbStatus
iqdb_filter_decode(const IqdbAllocator *allocator, const unsigned char *bytes, size_t length, IqdbFilter **filter_out,
				   IqdbError *err)
{
	Walk        first = {.reader = iqdbi_reader(bytes, length)};
	Walk        second = {0};
	IqdbFilter *filter;
	IqdbStatus  status;
	size_t      size;

	*filter_out = NULL;
	if (length > IQDB_FILTER_BYTES_MAX)
		return iqdb_fail(err, IQDB_ERR_FILTER, "filter has %zu bytes, at most %zu are allowed", length,
						 IQDB_FILTER_BYTES_MAX);
	IQDB_TRY(walk_bytes(&first, err));

	if (!filter_size(&first, length, &size) || (filter = iqdb_alloc_zero(allocator, size)) == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a filter");
	filter->size = size;
	filter->length = length;
	filter->node_count = first.node_count;
	filter->nodes = (IqdbiFilterNode *) (filter + 1);
	second.nodes = filter->nodes;
	second.values = (IqdbValue *) (filter->nodes + first.node_count);
	filter->bytes = (unsigned char *) (second.values + first.value_count);
	memcpy(filter->bytes, bytes, length);

	second.reader = iqdbi_reader(filter->bytes, length);
	status = walk_bytes(&second, err);
	if (status != IQDB_OK)
	{
		/* only if the caller's bytes changed under our hands */
		iqdb_filter_free(allocator, filter);
		return status;
	}
	sort_lists(&second);
	link_jumps(filter);
	*filter_out = filter;
	return IQDB_OK;
}

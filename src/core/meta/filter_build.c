/*
 * filter_build.c - from conditions put together one by one to a finished filter.
 *
 * Leaves are encoded as soon as they are known; AND, OR and NOT are links between nodes. finish() copies the parts in
 * prefix order and lets the decoder, the one place where limits are checked, make the filter.
 */
#include "core/meta/filter.h"

#include <string.h>

#include "core/meta/meta_private.h"

#define NO_NODE UINT32_MAX

typedef struct BuildNode
{
	uint8_t  op;
	uint32_t parent;
	uint32_t first;  /* first condition below, or NO_NODE */
	uint32_t next;   /* next condition of the same parent, or NO_NODE */
	uint32_t count;  /* conditions below */
	size_t   offset; /* leaf: encoded form in the builder's bytes */
	size_t   length;
} BuildNode;

void
iqdb_filter_builder_init(IqdbFilterBuilder *builder, const IqdbAllocator *allocator)
{
	memset(builder, 0, sizeof(*builder));
	builder->allocator = allocator;
	builder->failure = IQDB_OK;
}

void
iqdb_filter_builder_free(IqdbFilterBuilder *builder)
{
	iqdb_free(builder->allocator, builder->bytes, builder->bytes_allocated);
	iqdb_free(builder->allocator, builder->nodes, builder->nodes_allocated * sizeof(BuildNode));
	iqdb_filter_builder_init(builder, builder->allocator);
}

static IqdbCondition
remember(IqdbFilterBuilder *builder, IqdbStatus failure)
{
	if (builder->failure == IQDB_OK)
		builder->failure = failure;
	return NO_NODE;
}

static IqdbCondition
add_node(IqdbFilterBuilder *builder, const BuildNode *node)
{
	BuildNode *nodes;

	if (builder->node_count >= NO_NODE)
		return remember(builder, IQDB_ERR_FILTER);
	nodes = iqdbi_array_room(builder->allocator, builder->nodes, builder->node_count, &builder->nodes_allocated,
							 sizeof(*nodes));
	if (nodes == NULL)
		return remember(builder, IQDB_ERR_NOMEM);
	builder->nodes = nodes;
	nodes[builder->node_count] = *node;
	return (IqdbCondition) builder->node_count++;
}

static IqdbStatus
extend_bytes(IqdbFilterBuilder *builder, size_t size, unsigned char **at_out)
{
	IqdbiBytes bytes = {builder->allocator, builder->bytes, builder->bytes_length, builder->bytes_allocated};
	IqdbStatus status = iqdbi_bytes_extend(&bytes, size, at_out);

	builder->bytes = bytes.data;
	builder->bytes_length = bytes.length;
	builder->bytes_allocated = bytes.allocated;
	return status;
}

/* Size of a leaf's encoded form, or 0 with the failure remembered. */
static size_t
leaf_size(IqdbFilterBuilder *builder, IqdbFilterOp op, size_t field_length, const IqdbValue *values, size_t count)
{
	size_t size = 1 + 4 + (op == IQDB_FILTER_IN ? 4 : 0);

	if (count > IQDB_FILTER_IN_MAX || field_length > IQDB_FILTER_BYTES_MAX)
	{
		remember(builder, IQDB_ERR_FILTER);
		return 0;
	}
	size += field_length;
	for (size_t i = 0; i < count; i++)
	{
		size_t value_size = iqdb_value_encoded_size(&values[i]);

		if (value_size == 0 || value_size > IQDB_FILTER_BYTES_MAX || size > IQDB_FILTER_BYTES_MAX)
		{
			remember(builder, value_size == 0 ? IQDB_ERR_CONFIG : IQDB_ERR_FILTER);
			return 0;
		}
		size += value_size;
	}
	return size;
}

static IqdbCondition
add_leaf(IqdbFilterBuilder *builder, IqdbFilterOp op, const char *field, size_t field_length, const IqdbValue *values,
		 size_t count)
{
	BuildNode      node = {.op = (uint8_t) op, .parent = NO_NODE, .first = NO_NODE, .next = NO_NODE};
	unsigned char *at;

	if (builder->failure != IQDB_OK)
		return NO_NODE;
	node.length = leaf_size(builder, op, field_length, values, count);
	if (node.length == 0)
		return NO_NODE;
	node.offset = builder->bytes_length;
	if (extend_bytes(builder, node.length, &at) != IQDB_OK)
		return remember(builder, IQDB_ERR_NOMEM);

	*at++ = (unsigned char) op;
	iqdb_store_u32(at, (uint32_t) field_length);
	if (field_length > 0)
		memcpy(at + 4, field, field_length);
	at += 4 + field_length;
	if (op == IQDB_FILTER_IN)
	{
		iqdb_store_u32(at, (uint32_t) count);
		at += 4;
	}
	for (size_t i = 0; i < count; i++)
		at = iqdb_value_encode(&values[i], at);
	return add_node(builder, &node);
}

IqdbCondition
iqdb_filter_compare(IqdbFilterBuilder *builder, IqdbFilterOp op, const char *field, size_t field_length,
					const IqdbValue *value)
{
	if ((unsigned) op > IQDB_FILTER_GTE)
		return remember(builder, IQDB_ERR_CONFIG);
	return add_leaf(builder, op, field, field_length, value, 1);
}

IqdbCondition
iqdb_filter_eq(IqdbFilterBuilder *builder, const char *field, size_t field_length, const IqdbValue *value)
{
	return add_leaf(builder, IQDB_FILTER_EQ, field, field_length, value, 1);
}

IqdbCondition
iqdb_filter_neq(IqdbFilterBuilder *builder, const char *field, size_t field_length, const IqdbValue *value)
{
	return add_leaf(builder, IQDB_FILTER_NEQ, field, field_length, value, 1);
}

IqdbCondition
iqdb_filter_lt(IqdbFilterBuilder *builder, const char *field, size_t field_length, const IqdbValue *value)
{
	return add_leaf(builder, IQDB_FILTER_LT, field, field_length, value, 1);
}

IqdbCondition
iqdb_filter_lte(IqdbFilterBuilder *builder, const char *field, size_t field_length, const IqdbValue *value)
{
	return add_leaf(builder, IQDB_FILTER_LTE, field, field_length, value, 1);
}

IqdbCondition
iqdb_filter_gt(IqdbFilterBuilder *builder, const char *field, size_t field_length, const IqdbValue *value)
{
	return add_leaf(builder, IQDB_FILTER_GT, field, field_length, value, 1);
}

IqdbCondition
iqdb_filter_gte(IqdbFilterBuilder *builder, const char *field, size_t field_length, const IqdbValue *value)
{
	return add_leaf(builder, IQDB_FILTER_GTE, field, field_length, value, 1);
}

IqdbCondition
iqdb_filter_in(IqdbFilterBuilder *builder, const char *field, size_t field_length, const IqdbValue *values,
			   size_t count)
{
	return add_leaf(builder, IQDB_FILTER_IN, field, field_length, values, count);
}

static IqdbCondition
add_inner(IqdbFilterBuilder *builder, IqdbFilterOp op, const IqdbCondition *conditions, size_t count)
{
	BuildNode     node = {.op = (uint8_t) op, .parent = NO_NODE, .first = NO_NODE, .next = NO_NODE};
	IqdbCondition number;
	BuildNode    *nodes;

	if (builder->failure != IQDB_OK)
		return NO_NODE;
	/* each may be used once, so more than there are cannot be right; the number then fits */
	if (count > builder->node_count)
		return remember(builder, IQDB_ERR_CONFIG);
	node.count = (uint32_t) count;
	number = add_node(builder, &node);
	if (number == NO_NODE)
		return NO_NODE;
	nodes = builder->nodes;
	for (size_t i = count; i-- > 0;)
	{
		IqdbCondition child = conditions[i];

		if (child >= number || nodes[child].parent != NO_NODE)
			return remember(builder, IQDB_ERR_CONFIG);
		nodes[child].parent = number;
		nodes[child].next = nodes[number].first;
		nodes[number].first = child;
	}
	return number;
}

IqdbCondition
iqdb_filter_and(IqdbFilterBuilder *builder, const IqdbCondition *conditions, size_t count)
{
	return add_inner(builder, IQDB_FILTER_AND, conditions, count);
}

IqdbCondition
iqdb_filter_or(IqdbFilterBuilder *builder, const IqdbCondition *conditions, size_t count)
{
	return add_inner(builder, IQDB_FILTER_OR, conditions, count);
}

IqdbCondition
iqdb_filter_not(IqdbFilterBuilder *builder, IqdbCondition condition)
{
	return add_inner(builder, IQDB_FILTER_NOT, &condition, 1);
}

/* The node after this one in prefix order, within the tree under root; NO_NODE at its end. */
static uint32_t
next_in_prefix_order(const BuildNode *nodes, uint32_t root, uint32_t at)
{
	if (nodes[at].first != NO_NODE)
		return nodes[at].first;
	while (at != root && nodes[at].next == NO_NODE)
		at = nodes[at].parent;
	return at == root ? NO_NODE : nodes[at].next;
}

static size_t
node_head_size(const BuildNode *node)
{
	if (node->op == IQDB_FILTER_AND || node->op == IQDB_FILTER_OR)
		return 1 + 4;
	return node->op == IQDB_FILTER_NOT ? 1 : node->length;
}

static void
write_tree(const IqdbFilterBuilder *builder, uint32_t root, unsigned char *target)
{
	const BuildNode *nodes = builder->nodes;

	for (uint32_t at = root; at != NO_NODE; at = next_in_prefix_order(nodes, root, at))
	{
		const BuildNode *node = &nodes[at];

		if (node->length > 0)
			memcpy(target, builder->bytes + node->offset, node->length);
		else
		{
			target[0] = node->op;
			if (node->op != IQDB_FILTER_NOT)
				iqdb_store_u32(target + 1, node->count);
		}
		target += node_head_size(node);
	}
}

IqdbStatus
iqdb_filter_finish(IqdbFilterBuilder *builder, IqdbCondition root, IqdbFilter **filter_out, IqdbError *err)
{
	const BuildNode *nodes = builder->nodes;
	unsigned char   *bytes;
	size_t           length = 0;
	IqdbStatus       status;

	*filter_out = NULL;
	if (builder->failure == IQDB_ERR_NOMEM)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a filter");
	if (builder->failure == IQDB_ERR_FILTER)
		return iqdb_fail(err, IQDB_ERR_FILTER, "filter has an IN list of more than %d values, or is too long",
						 IQDB_FILTER_IN_MAX);
	if (builder->failure != IQDB_OK || root >= builder->node_count)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "filter has a condition that is unknown or used twice");

	for (uint32_t at = root; at != NO_NODE; at = next_in_prefix_order(nodes, root, at))
	{
		length += node_head_size(&nodes[at]);
		if (length > IQDB_FILTER_BYTES_MAX)
			return iqdb_fail(err, IQDB_ERR_FILTER, "filter would pass %zu bytes", IQDB_FILTER_BYTES_MAX);
	}
	bytes = iqdb_alloc(builder->allocator, length);
	if (bytes == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a filter");
	write_tree(builder, root, bytes);
	status = iqdb_filter_decode(builder->allocator, bytes, length, filter_out, err);
	iqdb_free(builder->allocator, bytes, length);
	return status;
}

/*
 * selectivity.c - estimates over a filter's nodes; one pass, no memory, no recursion.
 */
#include "core/meta/selectivity.h"

#include "core/meta/filter_private.h"

#define SHARE_EQ 0.1
#define SHARE_NEQ 0.9
#define SHARE_ORDERED (1.0 / 3.0)

static double
clamp_share(double share)
{
	return share < 0.0 ? 0.0 : share > 1.0 ? 1.0 : share;
}

static double
leaf_share(const IqdbiFilterNode *node)
{
	switch (node->op)
	{
		case IQDB_FILTER_EQ:
			return SHARE_EQ;
		case IQDB_FILTER_NEQ:
			return SHARE_NEQ;
		case IQDB_FILTER_IN:
			return clamp_share(SHARE_EQ * node->value_count);
		default:
			return SHARE_ORDERED;
	}
}

/* What the shares below an open node are multiplied into: the complements' product for OR. */
typedef struct OpenNode
{
	const IqdbiFilterNode *node;
	double                 product;
} OpenNode;

static double
close_node(const OpenNode *open)
{
	return open->node->op == IQDB_FILTER_AND ? open->product : clamp_share(1.0 - open->product);
}

double
iqdb_filter_selectivity(const IqdbFilter *filter)
{
	OpenNode open[IQDB_FILTER_DEPTH_MAX];
	uint32_t depth = 0;
	double   share = 1.0;

	for (uint32_t i = 0; i < filter->node_count; i++)
	{
		const IqdbiFilterNode *node = &filter->nodes[i];

		if (iqdbi_filter_is_inner(node->op) && node->end > i + 1)
		{
			open[depth].node = node;
			open[depth].product = 1.0;
			depth++;
			continue;
		}
		if (node->op == IQDB_FILTER_AND)
			share = 1.0;
		else if (node->op == IQDB_FILTER_OR)
			share = 0.0;
		else
			share = leaf_share(node);
		/* hand the share to its parent, and on upwards from every parent that ends here */
		while (depth > 0)
		{
			OpenNode *parent = &open[depth - 1];

			/* NOT: one minus the product of one share */
			parent->product *= parent->node->op == IQDB_FILTER_OR ? 1.0 - share : share;
			if (parent->node->end > i + 1)
				break;
			share = close_node(parent);
			depth--;
		}
	}
	return clamp_share(share);
}

double
iqdb_filter_selectivity_counted(const IqdbFilter *filter, uint64_t matching, uint64_t total)
{
	if (total == 0)
		return iqdb_filter_selectivity(filter);
	return clamp_share((double) matching / (double) total);
}

IqdbFilterStrategy
iqdb_filter_strategy(double selectivity, double threshold)
{
	if (threshold != threshold)
		threshold = IQDB_FILTER_THRESHOLD_DEFAULT;
	/* a comparison with NaN is false: score first */
	return selectivity <= clamp_share(threshold) ? IQDB_FILTER_FIRST : IQDB_FILTER_AFTER;
}

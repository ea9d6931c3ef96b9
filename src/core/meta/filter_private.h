/*
 * filter_private.h - what a finished filter is made of.
 *
 * Nodes stand in prefix order, so a subtree is a stretch of the array. For evaluation the tree is turned into jumps, as
 * a compiler does with conditions (Aho, Lam, Sethi, Ullman, "Compilers", 2nd ed., 6.6, short-circuit code): each leaf
 * knows which leaf to try next when it is true and when it is false, and AND, OR and NOT have vanished. Jumps only lead
 * forward, so evaluation ends after at most as many steps as there are leaves.
 */
#ifndef IQDB_META_FILTER_PRIVATE_H
#define IQDB_META_FILTER_PRIVATE_H

#include "core/meta/filter.h"

/* Jump targets that end the evaluation; every node number is below them. */
#define IQDBI_FILTER_TRUE (UINT32_MAX - 1)
#define IQDBI_FILTER_FALSE UINT32_MAX

typedef struct IqdbiFilterNode
{
	uint8_t          op;           /* IqdbFilterOp */
	uint32_t         end;          /* number of the first node behind this subtree */
	uint32_t         on_true;      /* leaf, or one of the two above */
	uint32_t         on_false;
	const char      *field;        /* comparisons and IN; points into bytes */
	uint32_t         field_length;
	uint32_t         value_count;  /* comparisons 1, IN any number, else 0 */
	const IqdbValue *values;       /* IN: sorted, see iqdbi_filter_value_before */
} IqdbiFilterNode;

struct IqdbFilter
{
	size_t           size;         /* of the whole allocation */
	size_t           length;       /* of bytes */
	unsigned char   *bytes;        /* encoded form */
	IqdbiFilterNode *nodes;
	uint32_t         node_count;   /* >= 1 */
	uint32_t         start;        /* leaf to begin with */
};

static inline bool
iqdbi_filter_is_inner(uint8_t op)
{
	return op == IQDB_FILTER_AND || op == IQDB_FILTER_OR || op == IQDB_FILTER_NOT;
}

/* A total order in which equal values are neighbours: by kind, then by iqdb_value_compare, NaN behind other floats. */
bool iqdbi_filter_value_before(const IqdbValue *a, const IqdbValue *b);

#endif

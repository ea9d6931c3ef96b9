/*
 * pg_clause.h - conditions that an index of ours can take, although the server does not hand them to it.
 */
#ifndef IQDB_PG_CLAUSE_H
#define IQDB_PG_CLAUSE_H

#include "nodes/pathnodes.h"

/*
 * The conditions of a path (IndexClause each) and all others on the index's filter columns that can be scan keys. The list is
 * the same one if there are none.
 */
extern List *iqdb_pg_complete_clauses(PlannerInfo *root, IndexOptInfo *index, List *clauses);

/* The path with these conditions, if there are any that it has not; else the path itself. */
extern IndexPath *iqdb_pg_complete_path(PlannerInfo *root, IndexPath *path);

#endif

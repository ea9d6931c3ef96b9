/*
 * pg_options.h - WITH (...) options of the access methods, and an index's shape as the core wants it.
 */
#ifndef IQDB_PG_OPTIONS_H
#define IQDB_PG_OPTIONS_H

#include "core/db/iqdb.h"
#include "utils/rel.h"

/* Options that every method has, and the most that an engine may have of its own. */
#define IQDB_PG_COMMON_OPTIONS 8
#define IQDB_PG_OWN_OPTIONS 8

/* What rd_options holds, for all methods. */
typedef struct IqdbPgOptions
{
	int32		vl_len_;
	int			seed;
	int			quantization;	/* IqdbQuantization, or -1 = automatic */
	int			vectors;		/* IqdbVectors */
	int			compression;	/* IqdbCompression */
	int			compression_level;
	int			cache_capacity;	/* 0 = no result cache */
	int			cache_policy;	/* IqdbCachePolicy */
	int			cache_ttl;		/* milliseconds; 0 = answers do not age */
	int			own[IQDB_PG_OWN_OPTIONS];	/* in the order of IqdbEngine.options */
} IqdbPgOptions;

/* Registers the options of all engines. Called once, from _PG_init. */
extern void iqdb_pg_define_options(void);

/* IqdbPgOptions from what stands in a WITH clause, NULL if there is none; ERROR where it is wrong and validate is set. */
extern bytea *iqdb_pg_parse_options(IqdbEngineKind kind, Datum reloptions, bool validate);

/*
 * The dimension of an index's column, which may be of a domain; if ALTER TABLE has taken it from the column since the index
 * was built, that of the index; 0 if there is none.
 */
extern uint32 iqdb_pg_dimension(Relation index);

/* What CREATE INDEX and REINDEX build: as the options say, checked; ERROR if the column has no dimension. */
extern IqdbIndexOptions iqdb_pg_build_options(Relation index);

/*
 * Dimension, metric, engine and options of an index that is there. ALTER INDEX may have made options contradict each other
 * or the index: that is an error of the next REINDEX, and never one of a statement on the table, so such options count as
 * their defaults. The arena's own header says what an open index was built with.
 */
extern IqdbIndexOptions iqdb_pg_index_options(Relation index);

/* Has a zero vector no distance under the index's operator? It then stands behind all other rows. */
extern bool iqdb_pg_zero_is_nan(Relation index);

/* What a search of this session takes: the session's settings, else the options of the index as they are now. */
extern IqdbSearchParams iqdb_pg_search_params(Relation index);

/* Options of a WITH clause (NULL = none) put over defaults; whether they go together is for iqdb_index_options_check. */
extern IqdbIndexOptions iqdb_pg_apply_options(IqdbIndexOptions options, const IqdbPgOptions *given);

extern IqdbCompression iqdb_pg_compression(Relation index, int *level_out);

/* What is to be remembered of searches; capacity 0: nothing. */
extern IqdbCacheConfig iqdb_pg_cache_config(Relation index);

#endif

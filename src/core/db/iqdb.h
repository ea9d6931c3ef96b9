/*
 * iqdb.h - the only door into the core.
 *
 * public/iqdb.h   the embedded database: open, upsert, get, delete, search, flush, close; the only header of a program
 * index.h         one index over an arena of the host's: what PostgreSQL's access methods use
 *
 * Below them, for hosts that write files of their own: persist/snapshot.h and persist/log.h; and for those that share memory,
 * cache/shared.h.
 */
#ifndef IQDB_DB_IQDB_H
#define IQDB_DB_IQDB_H

#include "core/cache/shared.h"
#include "core/db/index.h"
#include "core/db/index_codec.h"
#include "core/db/index_ranking.h"
#include "core/persist/log.h"
#include "core/persist/snapshot.h"
#include "core/public/iqdb.h"

#endif

/*
 * flat.h - the exact engine: every LIVE row is looked at. The oracle for the other engines.
 */
#ifndef IQDB_FLAT_FLAT_H
#define IQDB_FLAT_FLAT_H

#include "core/engine/engine.h"

extern const IqdbEngine iqdb_flat_engine;

#endif

/*
 * finding.h - what a check found wrong, collected while locks are held and reported when they are released: the callback
 * is the host's and may take its time.
 */
#ifndef IQDB_ENGINE_FINDING_H
#define IQDB_ENGINE_FINDING_H

#include "core/engine/engine.h"

/* So many are kept as text, the rest is counted; a longer text is cut. */
#define IQDB_FINDINGS_MAX 32
#define IQDB_FINDING_SIZE 120

/* All zero: nothing was found. */
typedef struct IqdbFindings
{
	uint64_t count;
	char     texts[IQDB_FINDINGS_MAX][IQDB_FINDING_SIZE];
} IqdbFindings;

/* Needs no memory, cannot fail. */
void iqdb_findings_add(IqdbFindings *findings, const char *format, ...) IQDB_PRINTF(2, 3);

/* Calls finding for each of them, and with `rest` if there were more. No lock may be held. */
void iqdb_findings_report(const IqdbFindings *findings, const char *rest, IqdbFinding finding, void *arg);

#endif

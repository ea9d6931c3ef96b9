/*
 * finding.c - see finding.h.
 */
#include "core/engine/finding.h"

#include <stdarg.h>
#include <stdio.h>

void
iqdb_findings_add(IqdbFindings *findings, const char *format, ...)
{
	va_list args;

	if (findings->count++ >= IQDB_FINDINGS_MAX)
		return;
	va_start(args, format);
	(void) vsnprintf(findings->texts[findings->count - 1], IQDB_FINDING_SIZE, format, args);
	va_end(args);
}

void
iqdb_findings_report(const IqdbFindings *findings, const char *rest, IqdbFinding finding, void *arg)
{
	for (uint64_t i = 0; i < findings->count && i < IQDB_FINDINGS_MAX; i++)
		finding(arg, findings->texts[i]);
	if (findings->count > IQDB_FINDINGS_MAX)
		finding(arg, rest);
}

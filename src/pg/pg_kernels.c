/*
 * pg_kernels.c - the setting iqdb.simd, and the functions that tell what runs.
 *
 * Owns the process's choice of a kernel table. The choice is for tests and for comparing machines: levels differ by
 * rounding only, so a value that this machine cannot run is refused instead of being replaced quietly.
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "pg/pg_compat.h"
#include "pg/pg_kernels.h"

/* Every name a table can have; what is not compiled in or not runnable here answers NULL to iqdb_kernels_named(). */
static const char *const kernel_names[] = {"scalar", "avx2", "avx512", "neon"};

/* The setting's text lives with the server; what it resolved to is kept because every distance asks for it. */
static char *simd_setting = NULL;
static const IqdbKernels *chosen_kernels = NULL;

static const IqdbKernels *
kernels_of_setting(const char *name)
{
	return pg_strcasecmp(name, "auto") == 0 ? iqdb_kernels_best() : iqdb_kernels_named(name);
}

static bool
check_simd(char **newval, void **extra, GucSource source)
{
	StringInfoData known;

	if (kernels_of_setting(*newval) != NULL)
		return true;

	initStringInfo(&known);
	appendStringInfoString(&known, "auto");
	for (int i = 0; i < lengthof(kernel_names); i++)
	{
		if (iqdb_kernels_named(kernel_names[i]) != NULL)
			appendStringInfo(&known, ", %s", kernel_names[i]);
	}
	GUC_check_errdetail("This machine can run: %s.", known.data);
	return false;
}

static void
assign_simd(const char *newval, void *extra)
{
	chosen_kernels = kernels_of_setting(newval);
}

const IqdbKernels *
iqdb_pg_kernels(void)
{
	if (unlikely(chosen_kernels == NULL))
		chosen_kernels = iqdb_kernels_best();
	return chosen_kernels;
}

void
iqdb_pg_define_kernel_settings(void)
{
	DefineCustomStringVariable("iqdb.simd",
							   "Instruction set of the distance computations.",
							   "\"auto\" takes the best this machine can run. Levels differ by rounding only.",
							   &simd_setting, "auto", PGC_USERSET, iqdb_pg_setting_flags(),
							   check_simd, assign_simd, NULL);
}

/* iqdb_simd() returns text: the name of the table in use */
PG_FUNCTION_INFO_V1(iqdb_simd);
Datum
iqdb_simd(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(iqdb_pg_kernels()->name));
}

/* iqdb_version() returns text: the library's version */
PG_FUNCTION_INFO_V1(iqdb_version);
Datum
iqdb_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(IQDB_LIBRARY_VERSION));
}

/*
 * pg_type.c - see pg_type.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/dependency.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "pg/iqvector.h"
#include "pg/pg_compat.h"
#include "pg/pg_type.h"

/* The type of the index's column, without the domains around it. */
static Oid
column_type(Relation index)
{
	return getBaseType(TupleDescAttr(RelationGetDescr(index), 0)->atttypid);
}

char *
iqdb_pg_type_name(Relation index)
{
	Oid			type = column_type(index);
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	name = pstrdup(NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname));
	ReleaseSysCache(tuple);
	return name;
}

/* Does this extension own the type? */
static bool
is_of_extension(Oid type, const char *extension)
{
	Oid			owner = getExtensionOfObject(TypeRelationId, type);
	char	   *name = OidIsValid(owner) ? get_extension_name(owner) : NULL;

	return name != NULL && strcmp(name, extension) == 0;
}

/* Does the type's own input function write the bytes of an IqVector? */
static bool
has_layout(Oid type)
{
	static const float expected[] = {1.0f, -2.5f, 3.0e20f};
	Oid			input;
	Oid			parameter;
	int16		length;
	bool		by_value;
	char		alignment;
	IqVector   *value;

	get_typlenbyvalalign(type, &length, &by_value, &alignment);
	if (length != -1 || by_value)
		return false;
	getTypeInputInfo(type, &input, &parameter);
	value = DatumGetIqVectorP(OidInputFunctionCall(input, pstrdup("[1,-2.5,3e20]"), parameter, -1));
	return VARSIZE_ANY(value) == IQVECTOR_SIZE(lengthof(expected)) && value->dim == lengthof(expected) &&
		value->unused == 0 && memcmp(value->x, expected, sizeof(expected)) == 0;
}

void
iqdb_pg_type_check(Relation index)
{
	Oid			type = column_type(index);
	char	   *name = iqdb_pg_type_name(index);
	bool		is_known = (strcmp(name, "iqvector") == 0 && is_of_extension(type, "iqdb")) ||
		(strcmp(name, "vector") == 0 && is_of_extension(type, "vector"));

	/* where casts make the one type pass for the other, a class left out would be the other's: an index nobody can use */
	if (is_known && type != index->rd_opcintype[0])
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("operator class for type %s does not fit a column of type %s",
						format_type_be(index->rd_opcintype[0]), format_type_be(type)),
				 errdetail("No query would use the index: operators on the column are those of its own type."),
				 errhint("Name one of the classes vector_l2_ops, vector_ip_ops, vector_cosine_ops, vector_l1_ops, which "
						 "iqdb_create_pgvector_support() makes, or cast to iqvector in an index expression.")));
	if (is_known && has_layout(type))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("type %s cannot be indexed by access method \"%s\"", format_type_be(type),
					get_am_name(index->rd_rel->relam)),
			 is_known ?
			 errdetail("Values of this version of the type do not lie in memory as iqdb expects them.") :
			 errdetail("Columns of type iqvector, and of type vector of the extension \"vector\", can be indexed."),
			 errhint("Cast to iqvector in an index expression, or change the type of the column.")));
}

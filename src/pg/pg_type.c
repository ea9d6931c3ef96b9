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
#include "utils/varbit.h"

#include "core/vec/half.h"

#include "pg/iqvector.h"
#include "pg/pg_compat.h"
#include "pg/pg_memo.h"
#include "pg/pg_type.h"

static uint32
read_vector(const struct varlena *value, const void **components_out)
{
	const IqVector *vector = (const IqVector *) value;

	*components_out = vector->x;
	return (uint32) vector->dim;
}

static uint32
read_bits(const struct varlena *value, const void **components_out)
{
	VarBit	   *bits = (VarBit *) unconstify(struct varlena *, value);

	*components_out = VARBITS(bits);
	return (uint32) VARBITLEN(bits);
}

StaticAssertDecl(offsetof(IqHalfVec, x) == offsetof(IqVector, x), "values of both types begin alike");

static const IqdbPgType types[] = {
	{"iqvector", "dimensions", "iqdb", "iqvector_cosine_ops", IQDB_ELEMENT_F32, read_vector},
	{"iqhalfvec", "dimensions", "iqdb", "iqhalfvec_cosine_ops", IQDB_ELEMENT_F16, read_vector},
	{"vector", "dimensions", "vector", "vector_cosine_ops", IQDB_ELEMENT_F32, read_vector},
	{"halfvec", "dimensions", "vector", "halfvec_cosine_ops", IQDB_ELEMENT_F16, read_vector},
	{"bit", "lengths", NULL, "bit_hamming_ops", IQDB_ELEMENT_BIT, read_bits},
};

const IqdbPgType *
iqdb_pg_type_named(const char *name)
{
	for (size_t i = 0; i < lengthof(types); i++)
		if (strcmp(types[i].name, name) == 0)
			return &types[i];
	return NULL;
}

const IqdbPgType *
iqdb_pg_type_called(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	const IqdbPgType *found;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	found = iqdb_pg_type_named(NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname));
	ReleaseSysCache(tuple);
	return found;
}

/* The type of the index's column, without the domains around it. */
static Oid
column_type(Relation index)
{
	return getBaseType(TupleDescAttr(RelationGetDescr(index), 0)->atttypid);
}

const IqdbPgType *
iqdb_pg_type(Relation index)
{
	IqdbPgMemo *memo = iqdb_pg_memo(index);

	if (memo->type == NULL)
	{
		const IqdbPgType *type = iqdb_pg_type_called(column_type(index));

		if (type == NULL)
			elog(ERROR, "index \"%s\" is of a type that cannot be indexed", RelationGetRelationName(index));
		/* looking it up may have thrown the memo away */
		memo = iqdb_pg_memo(index);
		memo->type = type;
	}
	return memo->type;
}

/* Is it owned by whom the table says? */
static bool
is_owned(Oid type, const IqdbPgType *known)
{
	Oid			owner;
	char	   *name;

	if (known->extension == NULL)
		return type == BITOID;
	owner = getExtensionOfObject(TypeRelationId, type);
	name = OidIsValid(owner) ? get_extension_name(owner) : NULL;
	return name != NULL && strcmp(name, known->extension) == 0;
}

/* Does the type's own input function write the bytes that we read? The server's own types are as the server's headers say. */
static bool
has_layout(Oid type, const IqdbPgType *known)
{
	static const float floats[] = {1.0f, -2.5f, 30000.0f};
	const IqdbElement *element = iqdb_element(known->element);
	Size		size = iqdb_element_bytes(element, lengthof(floats));
	IqdbHalf	halves[lengthof(floats)];
	Oid			input;
	Oid			parameter;
	int16		length;
	bool		by_value;
	char		alignment;
	IqVector   *value;

	if (known->extension == NULL)
		return true;
	get_typlenbyvalalign(type, &length, &by_value, &alignment);
	if (length != -1 || by_value)
		return false;
	getTypeInputInfo(type, &input, &parameter);
	value = DatumGetIqVectorP(OidInputFunctionCall(input, pstrdup("[1,-2.5,30000]"), parameter, -1));
	(void) iqdb_halves_narrow(floats, lengthof(floats), halves);
	return VARSIZE_ANY(value) == offsetof(IqVector, x) + size && value->dim == lengthof(floats) && value->unused == 0 &&
		memcmp(value->x, known->element == IQDB_ELEMENT_F16 ? (const void *) halves : floats, size) == 0;
}

const IqdbPgType *
iqdb_pg_type_of(Oid type)
{
	Oid			base = getBaseType(type);
	const IqdbPgType *known = iqdb_pg_type_called(base);

	return known != NULL && is_owned(base, known) && has_layout(base, known) ? known : NULL;
}

/* "iqvector, ..., bit", and whose they are. */
static char *
list_of_types(void)
{
	StringInfoData list;

	initStringInfo(&list);
	for (size_t i = 0; i < lengthof(types); i++)
	{
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", types[i].name);
		if (types[i].extension != NULL)
			appendStringInfo(&list, " (of extension \"%s\")", types[i].extension);
	}
	return list.data;
}

/* Where casts make the one type pass for the other, a class left out would be the other's: an index nobody can use. */
static void
check_class(Relation index, Oid type, const IqdbPgType *known)
{
	if (type == index->rd_opcintype[0])
		return;
	/* the class that every column gets that has no other is one to filter by */
	if (index->rd_opcintype[0] == ANYELEMENTOID)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("data type %s has no default operator class of vectors for access method \"%s\"",
						format_type_be(type), get_am_name(index->rd_rel->relam)),
				 errhint("Name one, as in (%s %s). iqdb_create_pgvector_support() makes the classes of this type.",
						 NameStr(TupleDescAttr(RelationGetDescr(index), 0)->attname), known->a_class)));
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("operator class for type %s does not fit a column of type %s",
					format_type_be(index->rd_opcintype[0]), format_type_be(type)),
			 errdetail("No query would use the index: operators on the column are those of its own type."),
			 errhint("Name one of the classes %s_l2_ops, %s_ip_ops, %s_cosine_ops, %s_l1_ops, which "
					 "iqdb_create_pgvector_support() makes, or cast to %s in an index expression.", known->name,
					 known->name, known->name, known->name, format_type_be(index->rd_opcintype[0]))));
}

/* The class is for bit, and takes what the server lets pass for it; but its values differ in length. */
static void
refuse_varbit(Relation index)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("type %s cannot be indexed by access method \"%s\"", format_type_be(VARBITOID),
					get_am_name(index->rd_rel->relam)),
			 errdetail("All vectors of an index have the same dimension: the length of its bit strings."),
			 errhint("Give the column the type bit(n), or index an expression: (column::bit(n)).")));
}

void
iqdb_pg_type_check(Relation index)
{
	Oid			type = column_type(index);
	const IqdbPgType *known = iqdb_pg_type_called(type);

	if (type == VARBITOID)
		refuse_varbit(index);
	if (known != NULL && is_owned(type, known))
	{
		check_class(index, type, known);
		if (has_layout(type, known))
			return;
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("type %s cannot be indexed by access method \"%s\"", format_type_be(type),
						get_am_name(index->rd_rel->relam)),
				 errdetail("Values of this version of the type do not lie in memory as iqdb expects them."),
				 errhint("Cast to iqvector in an index expression, or change the type of the column.")));
	}
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("type %s cannot be indexed by access method \"%s\"", format_type_be(type),
					get_am_name(index->rd_rel->relam)),
			 errdetail("The first column of an index is its vector, of one of these types: %s.", list_of_types()),
			 errhint("Put the vector first, and what is to be filtered by behind it; or cast to iqvector in an index "
					 "expression.")));
}

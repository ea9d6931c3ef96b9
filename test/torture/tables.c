/*
 * tables.c - the tables and their indexes: plain vectors, NULLs, a partial index, an index on an expression, wide vectors
 * kept out of line, vectors of which there are only a few, half vectors, and bit strings.
 */
#define _GNU_SOURCE

#include "torture.h"

#include <stdio.h>
#include <string.h>

const Table tables[] = {
	{"plain", "iqvector", "v iqvector(8)", "torture_vector(8, 1000)", "v", 8, 1000, 0, FORM_VECTOR, 900},
	{"holes", "iqvector", "v iqvector(6)", "CASE WHEN random() < 0.3 THEN NULL ELSE torture_vector(6, 1000) END", "v", 6, 1000,
	30, FORM_VECTOR, 700},
	{"part", "iqvector", "v iqvector(8)", "torture_vector(8, 50)", "v", 8, 50, 0, FORM_VECTOR, 700},
	{"expr", "iqvector", "r real[]", "CASE WHEN random() < 0.1 THEN NULL ELSE torture_vector(4, 100)::real[] END", "r", 4, 100,
	10, FORM_ARRAY, 700},
	{"wide", "iqvector", "v iqvector(800)", "torture_vector(800, 1000)", "v", 800, 1000, 0, FORM_VECTOR, 150},
	{"dups", "iqvector", "v iqvector(3)", "torture_vector(3, 2)", "v", 3, 2, 0, FORM_VECTOR, 600},
	{"halves", "iqhalfvec", "v iqhalfvec(8)", "torture_vector(8, 1000)::iqhalfvec", "v", 8, 1000, 0, FORM_VECTOR, 700},
	{"bits", "bit(48)", "v bit(48)", "torture_bits(48)::bit(48)", "v", 48, 2, 0, FORM_BITS, 700},
};
const int	table_count = COUNT_OF(tables);

const Index indexes[] = {
	{"plain_l2", &tables[0], "v", "iqvector_l2_ops", "<->", .predicate = NULL},
	{"plain_columns", &tables[0], "v", "iqvector_ip_ops, g, note", "<#>", .number = "g", .text = "note"},
	{"holes_ip", &tables[1], "v", "iqvector_ip_ops, g", "<#>", .number = "g"},
	{"part_l2", &tables[2], "v", "iqvector_l2_ops", "<->", .predicate = "g < 5"},
	{"part_cosine", &tables[2], "v", "iqvector_cosine_ops, (g % 3), (ARRAY[g, g / 2])", "<=>", .number = "g % 3",
	.labels = "ARRAY[g, g / 2]"},
	{"expr_l2", &tables[3], "(r::iqvector(4))", "iqvector_l2_ops", "<->", .predicate = NULL},
	{"wide_l2", &tables[4], "v", "iqvector_l2_ops, note", "<->", .text = "note"},
	{"dups_l1", &tables[5], "v", "iqvector_l1_ops", "<+>", .predicate = NULL},
	{"halves_l2", &tables[6], "v", "iqhalfvec_l2_ops", "<->", .predicate = NULL},
	{"halves_cosine", &tables[6], "v", "iqhalfvec_cosine_ops", "<=>", .predicate = "g < 5"},
	{"bits_hamming", &tables[7], "v", "bit_hamming_ops", "<~>", .predicate = NULL},
	{"bits_jaccard", &tables[7], "v", "bit_jaccard_ops, g", "<%>", .number = "g"},
};
const int	index_count = COUNT_OF(indexes);

/* Options that an index may be given. Which of them suit which index, tables_create() finds out. */
static const struct
{
	const char *option;
	const char *values[6];
} choices[] = {
	{"compression", {"lz4", "zstd"}},
	{"quantization", {"none", "sq8", "pq", "bq"}},
	{"vectors", {"disk"}},
	{"m", {"4", "24"}},
	{"lists", {"1", "7", "30"}},
};

#define VALUES_MAX COUNT_OF(choices[0].values)

static bool suits[COUNT_OF(indexes)][COUNT_OF(choices)][VALUES_MAX];

static void
write_definition(const Index *index, const char *verb, const char *name, const char *with, char *sql, size_t size)
{
	snprintf(sql, size, "%s %s ON %s USING %s (%s %s)%s%s%s%s%s", verb, name, index->table->name, options.method,
			 index->expression, index->opclass, with[0] != '\0' ? " WITH (" : "", with, with[0] != '\0' ? ")" : "",
			 index->predicate != NULL ? " WHERE " : "", index->predicate != NULL ? index->predicate : "");
}

void
index_definition(const Index *index, const char *verb, Random *random, char *sql, size_t size)
{
	char		with[256] = "";
	size_t		used = 0;

	for (size_t i = 0; i < COUNT_OF(choices); i++)
	{
		uint32_t	j = random_below(random, VALUES_MAX);

		if (suits[index - indexes][i][j])
			used += (size_t) snprintf(with + used, sizeof(with) - used, "%s%s = %s", used > 0 ? ", " : "",
									  choices[i].option, choices[i].values[j]);
	}
	write_definition(index, verb, index->name, with, sql, size);
}

/* Tries every value of every option on an index of its own. */
static void
find_what_suits(Session *session)
{
	for (int n = 0; n < index_count; n++)
		for (size_t i = 0; i < COUNT_OF(choices); i++)
			for (size_t j = 0; j < VALUES_MAX && choices[i].values[j] != NULL; j++)
			{
				char		with[128];
				char		sql[SQL_MAX];

				snprintf(with, sizeof(with), "%s = %s", choices[i].option, choices[i].values[j]);
				write_definition(&indexes[n], "CREATE INDEX", "trial", with, sql, sizeof(sql));
				if (session_run(session, "SELECT torture_suits('%s')", sql) != DONE)
					give_up("%s: %s", sql, session->message);
				suits[n][i][j] = PQgetvalue(session->result, 0, 0)[0] == 't';
			}
}

/* Can this build make an index of the method at all? */
static bool
method_is_there(Session *session)
{
	char		answer[8];

	(void) session_run(session, "DO $$ BEGIN CREATE TABLE trial (v iqvector(2)); INSERT INTO trial VALUES ('[1,2]'); "
					   "CREATE INDEX ON trial USING %s (v); DROP TABLE trial; "
					   "EXCEPTION WHEN feature_not_supported OR undefined_object THEN CREATE TABLE not_there (); END $$",
					   options.method);
	if (session_run(session, "SELECT to_regclass('not_there') IS NULL") != DONE)
		return true;
	snprintf(answer, sizeof(answer), "%s", PQgetvalue(session->result, 0, 0));
	return answer[0] == 't';
}

bool
tables_create(const Node *node, Random *random)
{
	Session		session = {0};

	if (session_open(&session, node, "setup") != DONE ||
		session_run(&session, "CREATE EXTENSION iqdb") != DONE ||
		session_run(&session, "CREATE TABLESPACE other LOCATION ''") != DONE ||
		session_run(&session,
					"CREATE FUNCTION torture_vector(dimension int, steps int) RETURNS iqvector LANGUAGE sql VOLATILE AS "
					"'SELECT array_agg(floor(random() * steps))::real[]::iqvector FROM generate_series(1, dimension)'") !=
		DONE ||
		session_run(&session,
					"CREATE FUNCTION torture_bits(length int) RETURNS text LANGUAGE sql VOLATILE AS "
					"'SELECT string_agg(CASE WHEN random() < 0.5 THEN ''0'' ELSE ''1'' END, '''') "
					"FROM generate_series(1, length)'")
		!= DONE ||
		/* operators and operator classes of bit strings */
		session_run(&session, "SELECT iqdb_create_pgvector_support()") != DONE ||
		session_run(&session,
					"CREATE FUNCTION torture_suits(definition text) RETURNS boolean LANGUAGE plpgsql AS "
					"'BEGIN EXECUTE definition; DROP INDEX trial; RETURN true; "
					"EXCEPTION WHEN feature_not_supported OR invalid_parameter_value THEN RETURN false; END'") != DONE)
		give_up("the database could not be prepared: %s", session.message);
	if (!method_is_there(&session))
	{
		session_close(&session);
		return false;
	}
	for (int i = 0; i < table_count; i++)
	{
		const Table *t = &tables[i];

		if (session_run(&session, "CREATE TABLE %s (id bigserial PRIMARY KEY, g int, note text, %s) WITH (fillfactor = 80, "
						"autovacuum_vacuum_threshold = 20, autovacuum_vacuum_scale_factor = 0.05)",
						t->name, t->column) != DONE ||
			session_run(&session, "INSERT INTO %s (g, note, %s) SELECT floor(random() * 10), 'first', %s "
						"FROM generate_series(1, %u)", t->name, t->literal, t->value, t->rows / 2) != DONE)
			give_up("table %s could not be made: %s", t->name, session.message);
	}
	find_what_suits(&session);
	for (int i = 0; i < index_count; i++)
	{
		char		sql[SQL_MAX];

		index_definition(&indexes[i], "CREATE INDEX", random, sql, sizeof(sql));
		if (session_run(&session, "%s", sql) != DONE)
			fail("index %s could not be made: %s", indexes[i].name, session.message);
	}
	session_close(&session);
	return true;
}

static void
components(uint32_t dimension, uint32_t steps, Form form, Random *random, char *text, size_t size)
{
	static const char *const marks[][3] = {
		[FORM_VECTOR] = {"[", ",", "]"},
		[FORM_ARRAY] = {"{", ",", "}"},
		[FORM_BITS] = {"", "", ""},
	};
	size_t		used = 0;

	for (uint32_t i = 0; i < dimension && used + 16 < size; i++)
		used += (size_t) snprintf(text + used, size - used, "%s%u", marks[form][i > 0], random_below(random, steps));
	snprintf(text + used, size - used, "%s", marks[form][2]);
}

void
random_value(const Table *table, Random *random, char *text, size_t size)
{
	if (random_chance(random, table->nulls))
		snprintf(text, size, "\\N");
	else
		components(table->dimension, table->steps, table->form, random, text, size);
}

void
random_query(const Table *table, Random *random, char *text, size_t size)
{
	components(table->dimension, table->steps, table->form == FORM_ARRAY ? FORM_VECTOR : table->form, random, text, size);
}

/* A condition on a column of the index, or "" if it has none, or by chance. */
void
random_condition(const Index *index, Random *random, char *text, size_t size)
{
	static const char *const of_numbers[] = {"= 3", "< 2", ">= 4", "<> 5", "IN (1, 7, NULL)", "IS NULL", "IS NOT NULL", "> 90"};
	static const char *const of_texts[] = {"= 'many'", "IN ('one', 'first')", "IS NULL", "= 'nobody'"};
	static const char *const of_labels[] = {"&& ARRAY[1, 4]", "@> ARRAY[2]", "@> ARRAY[4, 2]", "&& '{}'"};
	size_t		used = 0;

	text[0] = '\0';
	if (index->number != NULL && random_chance(random, 60))
		used += (size_t) snprintf(text + used, size - used, " AND %s %s", index->number,
								  of_numbers[random_below(random, COUNT_OF(of_numbers))]);
	if (index->text != NULL && random_chance(random, 40))
		used += (size_t) snprintf(text + used, size - used, " AND %s %s", index->text,
								  of_texts[random_below(random, COUNT_OF(of_texts))]);
	if (index->labels != NULL && random_chance(random, 40))
		snprintf(text + used, size - used, " AND %s %s", index->labels, of_labels[random_below(random, COUNT_OF(of_labels))]);
}

/*
 * load.c - writes rows of a vector file as COPY BINARY data for a table (id bigint, v iqvector or vector).
 *
 * Usage: load FILE rows COUNT         the first COUNT rows (0: all)
 *        load FILE count COUNT        how many rows that would be
 *        load FILE dimension 0        how many components they have
 *
 * id is the row's number in the file, counted from 0. Both types share one binary form: int16 dimension, int16 zero,
 * then the components as float4, big-endian.
 */
#define _POSIX_C_SOURCE 200809L

#include "vectors.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned char *
put16(unsigned char *p, uint16_t value)
{
	value = htons(value);
	memcpy(p, &value, 2);
	return p + 2;
}

static unsigned char *
put32(unsigned char *p, uint32_t value)
{
	value = htonl(value);
	memcpy(p, &value, 4);
	return p + 4;
}

int
main(int count, char **arguments)
{
	static const char signature[11] = "PGCOPY\n\377\r\n";
	Vectors           vectors;
	float            *row;
	unsigned char    *line;

	if (count != 4)
		die("usage: load FILE rows|count|dimension COUNT");
	vectors_open(&vectors, arguments[1], strtoul(arguments[3], NULL, 10));
	if (strcmp(arguments[2], "rows") != 0)
	{
		printf("%zu\n", strcmp(arguments[2], "count") == 0 ? vectors.rows : (size_t) vectors.dimension);
		return 0;
	}
	row = allocate(vectors.dimension * sizeof(float));
	line = allocate(64 + (size_t) vectors.dimension * 4);

	fwrite(signature, 1, 11, stdout);
	fwrite("\0\0\0\0\0\0\0\0", 1, 8, stdout);
	for (size_t i = 0; i < vectors.rows; i++)
	{
		unsigned char *p = put16(line, 2);

		vectors_read(&vectors, i, row);
		p = put32(put32(put32(p, 8), (uint32_t) ((uint64_t) i >> 32)), (uint32_t) i);
		p = put16(put16(put32(p, 4 + 4 * vectors.dimension), (uint16_t) vectors.dimension), 0);
		for (uint32_t j = 0; j < vectors.dimension; j++)
		{
			uint32_t bits;

			memcpy(&bits, &row[j], 4);
			p = put32(p, bits);
		}
		if (fwrite(line, (size_t) (p - line), 1, stdout) != 1)
			die("cannot write");
	}
	fwrite("\377\377", 1, 2, stdout);
	if (fflush(stdout) != 0)
		die("cannot write");
	return 0;
}

/*
 * text.h - a vector's outer forms: text "[1,2.5,-3e4]" and network bytes.
 *
 * Pure functions over bytes of any origin: nothing is allocated, no locale is asked, every bound is checked, the
 * length rules (no terminating NUL is needed or believed). A host phrases its own messages from the fault record,
 * because only it may show the user's input back to the user.
 *
 * Text:   blanks "[" number { "," number } "]" blanks, blanks allowed around every number. A number is
 *         [+-] digits [. digits] [e [+-] digits], at least one digit before or after the point. "nan", "inf" and
 *         "infinity" in any case are recognised in order to be refused by name. C's hexadecimal numbers, which pgvector
 *         takes, are not numbers here. Values are rounded to the nearest float, ties to even, as strtof does; what is too
 *         small becomes a zero of its sign, what is too large is a fault.
 * Binary: int16 dimension, int16 zero, then float4 each, big-endian.
 *
 * Both forms are read into floats, or into halves (half.h). A number of a text is rounded to the nearest float first and that
 * to the nearest half, so that a text read as halves is what the same text read as floats becomes when it is narrowed. In the
 * binary form a half has its own two bytes, big-endian.
 */
#ifndef IQDB_VEC_TEXT_H
#define IQDB_VEC_TEXT_H

#include "core/base/status.h"
#include "core/vec/half.h"

typedef enum IqdbVectorFaultKind
{
	IQDB_FAULT_NONE = 0,
	IQDB_FAULT_START,    /* does not begin with "[" */
	IQDB_FAULT_SYNTAX,   /* neither number, comma nor "]" where one of them must stand */
	IQDB_FAULT_JUNK,     /* something follows the "]" */
	IQDB_FAULT_EMPTY,    /* no component */
	IQDB_FAULT_TOO_MANY, /* more components than the capacity given */
	IQDB_FAULT_NAN,
	IQDB_FAULT_INFINITE, /* an infinity that was written as one */
	IQDB_FAULT_RANGE,    /* a number too large for a component */
	IQDB_FAULT_RESERVED, /* binary: the reserved field is not zero */
	IQDB_FAULT_SHORT     /* binary: fewer bytes than the dimension needs */
} IqdbVectorFaultKind;

/* What is wrong, and which bytes of the input show it. */
typedef struct IqdbVectorFault
{
	IqdbVectorFaultKind kind;
	uint32_t            number; /* binary: TOO_MANY, SHORT: the stated dimension; RESERVED: the field; else 0 */
	size_t              offset; /* first byte concerned */
	size_t              length; /* RANGE: bytes of the number; else 0 */
} IqdbVectorFault;

/*
 * How many components a text can have at most: one more than it has commas. For sizing the array before the parse;
 * exact for a text that parses.
 */
size_t iqdb_vector_text_bound(const char *text, size_t length);

/*
 * Reads a text of length bytes into values[0 .. capacity) and stores the number of components in *dim_out (0 on
 * failure; values may then be partly written). fault_out and err may be NULL. Errors: IQDB_ERR_VECTOR, IQDB_ERR_LIMIT
 * (TOO_MANY).
 */
IqdbStatus iqdb_vector_parse(const char *text, size_t length, float *values, size_t capacity,
							 IqdbVectorFault *fault_out, size_t *dim_out, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdb_half_vector_parse(const char *text, size_t length, IqdbHalf *halves, size_t capacity,
								  IqdbVectorFault *fault_out, size_t *dim_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Reads the binary form from the first of length bytes. Bytes behind the last component are not looked at: the value
 * occupies 4 bytes and those of *dim_out components, and whether more may follow is the caller's affair. Otherwise as
 * iqdb_vector_parse().
 */
IqdbStatus iqdb_vector_decode(const unsigned char *bytes, size_t length, float *values, size_t capacity,
							  IqdbVectorFault *fault_out, size_t *dim_out, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdb_half_vector_decode(const unsigned char *bytes, size_t length, IqdbHalf *halves, size_t capacity,
								   IqdbVectorFault *fault_out, size_t *dim_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Reads one number at the front of text (no blanks before it). *used_out is the count of bytes it takes. The kinds it
 * can give: NONE, SYNTAX (no number here, 0 bytes used), NAN, INFINITE and RANGE (*value_out is then 0).
 */
IqdbVectorFaultKind iqdb_float_parse(const char *text, size_t length, float *value_out, size_t *used_out);

#endif

/*
 * json_private.h - what reading and writing of JSON share: bytes of UTF-8. The forms are described in public/iqdb.h.
 */
#ifndef IQDB_DB_JSON_PRIVATE_H
#define IQDB_DB_JSON_PRIVATE_H

#include "core/base/mem.h"
#include "core/base/status.h"

/* Bytes of the character at p, which is before end: 1 to 4, or 0 where no character begins in UTF-8 (RFC 3629). */
static inline size_t
iqdbi_utf8_length(const unsigned char *p, const unsigned char *end)
{
	size_t   left = (size_t) (end - p);
	size_t   length = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	uint32_t point;

	if (length == 1)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4 || left < length)
		return 0;
	point = p[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++)
	{
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (p[i] & 0x3f);
	}
	/* forms longer than need be, halves of surrogate pairs, and what is beyond Unicode */
	if (length == 3 && (point < 0x800 || (point >= 0xd800 && point < 0xe000)))
		return 0;
	if (length == 4 && (point < 0x10000 || point > 0x10ffff))
		return 0;
	return length;
}

#endif

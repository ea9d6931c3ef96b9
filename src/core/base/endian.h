/*
 * endian.h - little-endian numbers in bytes: the only way integers and floats reach a file.
 *
 * Owns: load and store of fixed-width numbers at any alignment. Bytes are put together by shifts, so the result does
 * not depend on the machine; compilers turn each function into one move where the machine is little-endian. Floats
 * travel as their IEEE bit pattern, NaN payloads included.
 */
#ifndef IQDB_BASE_ENDIAN_H
#define IQDB_BASE_ENDIAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void
iqdb_store_u16(unsigned char *p, uint16_t v)
{
	p[0] = (unsigned char) v;
	p[1] = (unsigned char) (v >> 8);
}

static inline void
iqdb_store_u32(unsigned char *p, uint32_t v)
{
	p[0] = (unsigned char) v;
	p[1] = (unsigned char) (v >> 8);
	p[2] = (unsigned char) (v >> 16);
	p[3] = (unsigned char) (v >> 24);
}

static inline void
iqdb_store_u64(unsigned char *p, uint64_t v)
{
	iqdb_store_u32(p, (uint32_t) v);
	iqdb_store_u32(p + 4, (uint32_t) (v >> 32));
}

static inline uint16_t
iqdb_load_u16(const unsigned char *p)
{
	return (uint16_t) (p[0] | (unsigned) p[1] << 8);
}

static inline uint32_t
iqdb_load_u32(const unsigned char *p)
{
	return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

static inline uint64_t
iqdb_load_u64(const unsigned char *p)
{
	return (uint64_t) iqdb_load_u32(p) | (uint64_t) iqdb_load_u32(p + 4) << 32;
}

static inline void
iqdb_store_f32(unsigned char *p, float v)
{
	uint32_t bits;

	memcpy(&bits, &v, sizeof(bits));
	iqdb_store_u32(p, bits);
}

static inline float
iqdb_load_f32(const unsigned char *p)
{
	uint32_t bits = iqdb_load_u32(p);
	float    v;

	memcpy(&v, &bits, sizeof(v));
	return v;
}

/* Arrays: one copy where the machine's order is the file's. p and v must not overlap. */
static inline void
iqdb_store_f32_array(unsigned char *p, const float *v, size_t count)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	if (count > 0)
		memcpy(p, v, count * sizeof(*v));
#else
	for (size_t i = 0; i < count; i++)
		iqdb_store_f32(p + 4 * i, v[i]);
#endif
}

static inline void
iqdb_load_f32_array(float *v, const unsigned char *p, size_t count)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	if (count > 0)
		memcpy(v, p, count * sizeof(*v));
#else
	for (size_t i = 0; i < count; i++)
		v[i] = iqdb_load_f32(p + 4 * i);
#endif
}

static inline void
iqdb_store_u16_array(unsigned char *p, const uint16_t *v, size_t count)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	if (count > 0)
		memcpy(p, v, count * sizeof(*v));
#else
	for (size_t i = 0; i < count; i++)
		iqdb_store_u16(p + 2 * i, v[i]);
#endif
}

static inline void
iqdb_load_u16_array(uint16_t *v, const unsigned char *p, size_t count)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	if (count > 0)
		memcpy(v, p, count * sizeof(*v));
#else
	for (size_t i = 0; i < count; i++)
		v[i] = iqdb_load_u16(p + 2 * i);
#endif
}

static inline void
iqdb_store_u32_array(unsigned char *p, const uint32_t *v, size_t count)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	if (count > 0)
		memcpy(p, v, count * sizeof(*v));
#else
	for (size_t i = 0; i < count; i++)
		iqdb_store_u32(p + 4 * i, v[i]);
#endif
}

static inline void
iqdb_load_u32_array(uint32_t *v, const unsigned char *p, size_t count)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	if (count > 0)
		memcpy(v, p, count * sizeof(*v));
#else
	for (size_t i = 0; i < count; i++)
		v[i] = iqdb_load_u32(p + 4 * i);
#endif
}

/*
 * A varint: seven bits a byte, the lowest first, the top bit set in all bytes but the last. load() returns the bytes used, 0
 * when they end too early or say more than 64 bits.
 */
#define IQDB_VARINT_MAX 10u

static inline unsigned char *
iqdb_store_varint(unsigned char *target, uint64_t value)
{
	for (; value >= 128; value >>= 7)
		*target++ = (unsigned char) (value | 128);
	*target++ = (unsigned char) value;
	return target;
}

static inline size_t
iqdb_load_varint(const unsigned char *source, size_t length, uint64_t *value_out)
{
	uint64_t value = 0;

	for (size_t i = 0; i < length && i < IQDB_VARINT_MAX; i++)
	{
		uint64_t bits = source[i] & 127u;

		if (i == IQDB_VARINT_MAX - 1 && source[i] > 1)
			return 0;
		value |= bits << (7 * i);
		if (source[i] < 128)
		{
			*value_out = value;
			return i + 1;
		}
	}
	return 0;
}

/* A difference modulo 2^64 as a number that is small where the difference is, whatever its sign; and back. */
static inline uint64_t
iqdb_zigzag(uint64_t difference)
{
	return difference << 1 ^ (0 - (difference >> 63));
}

static inline uint64_t
iqdb_unzigzag(uint64_t zigzag)
{
	return zigzag >> 1 ^ (0 - (zigzag & 1));
}

#endif

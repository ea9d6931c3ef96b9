/*
 * crc32c.h - CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), the checksum of every byte we write.
 *
 * Chosen for its hardware instruction (SSE4.2, ARMv8) and its Hamming distance: every error of up to 5 bits is found in
 * blocks of up to 655 bytes, up to 3 bits in any block we write (Castagnoli, Braeuer, Herrmann 1993; Koopman 2002).
 */
#ifndef IQDB_BASE_CRC32C_H
#define IQDB_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/*
 * Checksum of data that continues `crc`, which is 0 for the first piece: crc32c(crc32c(0, a), b) is the checksum of a
 * followed by b. crc32c(0, "123456789", 9) is 0xE3069283. data may be NULL when length is 0. Fit for any thread.
 */
uint32_t iqdb_crc32c(uint32_t crc, const void *data, size_t length);

/* The same by tables alone; what CPUs without the instruction use, public so that a test can compare. */
uint32_t iqdb_crc32c_portable(uint32_t crc, const void *data, size_t length);

#endif

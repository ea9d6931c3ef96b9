/*
 * io_fault.h - an IqdbIo that counts calls, and makes call number N of chosen kinds fail.
 *
 * Wraps another IqdbIo (the real one, or io_crash). Hand &fault.io to the code under test. A sweep:
 *
 *     for (n = 1;; n++)
 *     {
 *         io_fault_init(&fault, &iqdb_io_posix);
 *         io_fault_arm(&fault, IO_FAULT_ALL, n, EIO);
 *         status = run(&fault.io);
 *         if (!fault.fired)
 *             break;              // every call has had its turn
 *         ... status must be a clean failure, nothing leaked, the old state intact ...
 *     }
 */
#ifndef IQDB_TEST_HARNESS_IO_FAULT_H
#define IQDB_TEST_HARNESS_IO_FAULT_H

#include "core/base/io.h"

typedef enum IoFaultKind
{
	IO_FAULT_OPEN = 0,
	IO_FAULT_CLOSE,
	IO_FAULT_READ,
	IO_FAULT_WRITE,
	IO_FAULT_SIZE,
	IO_FAULT_TRUNCATE,
	IO_FAULT_SYNC,
	IO_FAULT_LOCK,
	IO_FAULT_RENAME,
	IO_FAULT_UNLINK,
	IO_FAULT_SYNC_DIR,
	IO_FAULT_LIST,
	IO_FAULT_KIND_COUNT
} IoFaultKind;

#define IO_FAULT_BIT(kind) (1u << (kind))
#define IO_FAULT_ALL ((1u << IO_FAULT_KIND_COUNT) - 1)

typedef struct IoFault
{
	IqdbIo        io;    /* what the code under test gets; points back here */
	const IqdbIo *inner;
	uint64_t      calls[IO_FAULT_KIND_COUNT];

	/* set by io_fault_arm, or by hand afterwards */
	uint32_t      kinds;       /* bits of the kinds that count */
	uint64_t      fail_at;     /* the counted call that fails, from 1; 0 = none */
	int           error;       /* errno it fails with */
	bool          sticky;      /* and every counted call after it */
	bool          short_write; /* a failing write puts half of its bytes first (default: true) */

	uint64_t      counted;     /* calls of the armed kinds so far */
	bool          fired;       /* a call was made to fail */
	IoFaultKind   fired_kind;
} IoFault;

/* Passes everything on, counts. */
void io_fault_init(IoFault *fault, const IqdbIo *inner);

/* From now on, call number fail_at among the kinds fails with the errno value, once. */
void io_fault_arm(IoFault *fault, uint32_t kinds, uint64_t fail_at, int error);

/* Nothing fails any more. */
void io_fault_disarm(IoFault *fault);

/* "write", "sync", ...: for messages. */
const char *io_fault_kind_name(IoFaultKind kind);

#endif

/*
 * io_posix.h - the file calls of a POSIX system.
 */
#ifndef IQDB_BASE_IO_POSIX_H
#define IQDB_BASE_IO_POSIX_H

#include "core/base/io.h"

/*
 * No state, no argument. Files are created with mode 0640 (less umask) and close on exec. sync is fdatasync, which
 * includes the size. Locks are flock(2): they belong to one open(), so two opens in one process exclude each other too.
 */
extern const IqdbIo iqdb_io_posix;

#endif

/*
 * machine.h - how much memory the processes of this machine, or of this container, may use.
 */
#ifndef IQDB_BASE_MACHINE_H
#define IQDB_BASE_MACHINE_H

#include <stdint.h>

/*
 * Bytes of memory: the machine's, or the least limit of the control groups (version 1 and 2) that this process is in, parents
 * included. root: where /proc and /sys are found, "" but in tests. Opens a few small files.
 */
uint64_t iqdb_machine_memory(const char *root);

#endif

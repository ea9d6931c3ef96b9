/*
 * test_machine.c - memory limits of control groups, of both versions, in made-up trees of /proc and /sys.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "core/base/machine.h"

#define MB (UINT64_C(1024) * 1024)

static char root[512];

/* A fresh tree, without a file in it. */
static int
make_root(void **state)
{
	static int  number;
	const char *folder = getenv("TMPDIR");

	(void) state;
	(void) snprintf(root, sizeof(root), "%s/machine%d", folder != NULL ? folder : "/tmp", number++);
	return mkdir(root, 0700);
}

/* Writes a file below the root, folders in between included. */
static void
put(const char *path, const char *text)
{
	char  whole[1024];
	FILE *file;

	(void) snprintf(whole, sizeof(whole), "%s%s", root, path);
	for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/'))
	{
		*slash = '\0';
		(void) mkdir(whole, 0700);
		*slash = '/';
	}
	file = fopen(whole, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static uint64_t
machine(void)
{
	return (uint64_t) sysconf(_SC_PHYS_PAGES) * (uint64_t) sysconf(_SC_PAGESIZE);
}

static void
without_groups_it_is_the_machines(void **state)
{
	(void) state;
	assert_int_equal(iqdb_machine_memory(root), machine());
	put("/proc/self/cgroup", "0::/\n");
	assert_int_equal(iqdb_machine_memory(root), machine());
	put("/sys/fs/cgroup/memory.max", "max\n");
	assert_int_equal(iqdb_machine_memory(root), machine());
	put("/proc/self/cgroup", "rubbish\n\n:\n4:memory\n");
	assert_int_equal(iqdb_machine_memory(root), machine());
	assert_true(iqdb_machine_memory("") > 0 && iqdb_machine_memory("") <= machine());
}

static void
version_2_asks_the_group_and_its_parents(void **state)
{
	(void) state;
	put("/proc/self/cgroup", "0::/system.slice/db.service\n");
	put("/sys/fs/cgroup/system.slice/db.service/memory.max", "67108864\n");
	assert_int_equal(iqdb_machine_memory(root), 64 * MB);
	put("/sys/fs/cgroup/system.slice/memory.max", "33554432\n");
	assert_int_equal(iqdb_machine_memory(root), 32 * MB);
	put("/sys/fs/cgroup/system.slice/memory.max", "max\n");
	assert_int_equal(iqdb_machine_memory(root), 64 * MB);
	put("/sys/fs/cgroup/memory.max", "16777216\n");
	assert_int_equal(iqdb_machine_memory(root), 16 * MB);
}

static void
version_1_asks_the_memory_controller(void **state)
{
	(void) state;
	put("/proc/self/cgroup", "12:cpu,cpuacct:/a\n11:hugetlb,memory:/docker/0123\n0::/\n");
	put("/sys/fs/cgroup/memory/docker/0123/memory.limit_in_bytes", "67108864\n");
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put("/sys/fs/cgroup/cpu/a/memory.limit_in_bytes", "1\n");
	assert_int_equal(iqdb_machine_memory(root), 64 * MB);
}

/* In a container the group has the host's name, or one that climbs, and what is mounted is its own. */
static void
a_path_that_is_not_mounted_leads_to_the_root(void **state)
{
	(void) state;
	put("/proc/self/cgroup", "4:memory:/docker/0123\n");
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "33554432\n");
	assert_int_equal(iqdb_machine_memory(root), 32 * MB);
	put("/proc/self/cgroup", "0::/../../other\n");
	put("/sys/fs/cgroup/memory.max", "16777216\n");
	assert_int_equal(iqdb_machine_memory(root), 16 * MB);
	put("/proc/self/cgroup", "0::/\n3:memory:/");
	assert_int_equal(iqdb_machine_memory(root), 16 * MB);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(without_groups_it_is_the_machines, make_root),
		cmocka_unit_test_setup(version_2_asks_the_group_and_its_parents, make_root),
		cmocka_unit_test_setup(version_1_asks_the_memory_controller, make_root),
		cmocka_unit_test_setup(a_path_that_is_not_mounted_leads_to_the_root, make_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

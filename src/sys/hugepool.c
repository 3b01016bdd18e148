/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Reads /proc/meminfo and /sys/kernel/mm/hugepages. Keeps no state. */
#include "sys/hugepool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys/files.h"

#define POOLS "/sys/kernel/mm/hugepages"

int gmi_hugepool_default(uint64_t *ret_huge_bytes)
{
	static const char label[] = "\nHugepagesize:";
	char text[4096];
	const char *line;
	unsigned long long kib;
	int r = gmi_read_text("/proc/meminfo", text, sizeof(text));

	if (r < 0)
		return r;
	line = strstr(text, label);
	if (line == NULL)
		return -ENODEV;
	kib = strtoull(line + sizeof(label) - 1, NULL, 10);
	if (kib == 0 || (kib & (kib - 1)) != 0)
		return -ENODEV;
	*ret_huge_bytes = (uint64_t)kib * 1024;
	return 0;
}

int gmi_hugepool_check(uint64_t huge_bytes)
{
	char path[128];
	struct stat status;
	int r;

	(void)snprintf(path, sizeof(path), POOLS "/hugepages-%llukB", (unsigned long long)huge_bytes / 1024);
	r = gmi_stat(path, &status);
	if (r != -ENOENT)
		return r;
	/* Without sysfs there is no telling: the call that needs the pages will. */
	r = gmi_stat(POOLS, &status);
	return r == -ENOENT ? 0 : r == 0 ? -ENODEV : r;
}

static int read_number(uint64_t huge_bytes, const char *name, uint64_t *ret_number)
{
	char path[128], text[32];
	int r;

	(void)snprintf(path, sizeof(path), POOLS "/hugepages-%llukB/%s", (unsigned long long)huge_bytes / 1024, name);
	r = gmi_read_text(path, text, sizeof(text));
	if (r < 0)
		return r;
	*ret_number = strtoull(text, NULL, 10);
	return 0;
}

int gmi_hugepool_numbers(uint64_t huge_bytes, struct gmi_hugepool *ret_pool)
{
	struct gmi_hugepool pool;
	int r = read_number(huge_bytes, "nr_hugepages", &pool.total);

	if (r == 0)
		r = read_number(huge_bytes, "free_hugepages", &pool.free);
	if (r == 0)
		r = read_number(huge_bytes, "resv_hugepages", &pool.reserved);
	if (r == 0)
		*ret_pool = pool;
	return r;
}

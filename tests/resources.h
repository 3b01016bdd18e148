/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For tests of what the process and the machine have: descriptors, mappings, flags of a mapping, the pool of huge
 * pages. Counting allocates nothing, so that it doesn't change what it counts.
 */
#ifndef TEST_RESOURCES_H
#define TEST_RESOURCES_H

#include "support.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TEST_POOL "/proc/sys/vm/nr_hugepages"

struct test_resources {
	unsigned fds;
	uint64_t mapped_bytes; /* but for the heap, which grows as it likes */
	unsigned made;         /* entries of the directory that is watched */
};

static inline unsigned test_count_entries(const char *directory)
{
	static char buffer[65536];
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned count = 0;
	long got, at;

	assert_true(fd >= 0);
	while ((got = syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0) {
		/* Each record has its own length behind inode and offset. */
		for (at = 0; at < got; at += *(unsigned short *)(buffer + at + 16))
			count++;
	}
	close(fd);
	return count;
}

static inline uint64_t test_count_mapped(void)
{
	static char buffer[1 << 20];
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t got;
	uint64_t total = 0;
	char *line, *next, *dash;

	assert_true(fd >= 0);
	while ((got = read(fd, buffer + length, sizeof(buffer) - 1 - length)) > 0)
		length += (size_t)got;
	close(fd);
	buffer[length] = '\0';
	for (line = buffer; *line != '\0'; line = next + 1) {
		next = strchr(line, '\n');
		*next = '\0';
		if (strstr(line, "[heap]") != NULL || strstr(line, "[stack]") != NULL)
			continue;
		dash = strchr(line, '-');
		total += strtoull(dash + 1, NULL, 16) - strtoull(line, NULL, 16);
	}
	return total;
}

/* @directory: where files may be left behind; NULL for none. */
static inline struct test_resources test_count(const char *directory)
{
	struct test_resources now = { 0 };

	now.fds = test_count_entries("/proc/self/fd");
	now.mapped_bytes = TEST_SANITIZED ? 0 : test_count_mapped();
	now.made = directory ? test_count_entries(directory) : 0;
	return now;
}

#define assert_nothing_left(before, directory)                                                                         \
	do {                                                                                                           \
		struct test_resources now_ = test_count(directory);                                                    \
		assert_int_equal(now_.fds, (before).fds);                                                              \
		assert_int_equal(now_.mapped_bytes, (before).mapped_bytes);                                            \
		assert_int_equal(now_.made, (before).made);                                                            \
	} while (0)

/*
 * One value of /proc/self/smaps for the mapping that @address lies in: the line that begins with @label. False: no such
 * mapping.
 */
static inline bool test_smaps(const void *address, const char *label, char *ret_value, size_t value_max)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	unsigned long long first, last;
	bool inside = false, found = false;
	char line[1024];

	assert_non_null(file);
	while (!found && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%llx-%llx ", &first, &last) == 2)
			inside = first <= (uintptr_t)address && (uintptr_t)address < last;
		else if (inside && strncmp(line, label, strlen(label)) == 0) {
			snprintf(ret_value, value_max, "%s", line + strlen(label));
			found = true;
		}
	}
	fclose(file);
	return found;
}

/*
 * Whether the mapping at @address has a flag of two letters, as smaps writes them: "dc" is DONTFORK, "dd" is DONTDUMP.
 */
static inline bool test_vm_flag(const void *address, const char *flag)
{
	char flags[1024], *word, *rest = flags;

	assert_true(test_smaps(address, "VmFlags:", flags, sizeof(flags)));
	while ((word = strtok_r(NULL, " \n", &rest)) != NULL) {
		if (strcmp(word, flag) == 0)
			return true;
	}
	return false;
}

static inline uint64_t test_kib(const void *address, const char *label)
{
	char value[1024];

	assert_true(test_smaps(address, label, value, sizeof(value)));
	return strtoull(value, NULL, 10);
}

static inline long test_number_in(const char *path)
{
	char text[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (read(fd, text, sizeof(text) - 1) <= 0)
		text[0] = '\0';
	close(fd);
	return strtol(text, NULL, 10);
}

/* The machine's pool of huge pages, ours alone until given back: several test programs run at once. */
struct test_pool {
	int fd;
	long before;
};

static inline bool test_pool_set(const struct test_pool *pool, long pages)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%ld", pages);

	if (pwrite(pool->fd, text, (size_t)length, 0) != length)
		return false;
	return test_number_in(TEST_POOL) == pages;
}

/* The one that this program has; a test that fails in the middle leaves it to the next one, or to the program's exit. */
static struct test_pool test_pool_held = { -1, 0 };

static inline void test_pool_give_held(void)
{
	if (test_pool_held.fd < 0)
		return;
	(void)test_pool_set(&test_pool_held, test_pool_held.before);
	close(test_pool_held.fd);
	test_pool_held.fd = -1;
}

/* Whether the pool can be had, with @pages pages. */
static inline bool test_pool_take(struct test_pool *pool, long pages)
{
	test_pool_give_held();
	pool->before = 0;
	pool->fd = open(TEST_POOL, O_RDWR | O_CLOEXEC);
	if (pool->fd < 0)
		return false;
	if (flock(pool->fd, LOCK_EX) != 0) {
		close(pool->fd);
		return false;
	}
	pool->before = test_number_in(TEST_POOL);
	test_pool_held = *pool;
	(void)atexit(test_pool_give_held);
	if (test_pool_set(pool, pages))
		return true;
	test_pool_give_held();
	return false;
}

static inline void test_pool_give(struct test_pool *pool)
{
	test_pool_give_held();
	pool->fd = -1;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For tests of sources: a directory that is watched for what stays behind, regions that must be made, and ones that
 * must not.
 */
#ifndef TEST_SOURCES_H
#define TEST_SOURCES_H

#include "resources.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "region/region.h"

#define HUGE (2 * GM_MIB)

static char directory[] = "/tmp/guestmem-source-XXXXXX";

static inline const char *in_directory(const char *name)
{
	static char path[4][256];
	static unsigned next;

	next = (next + 1) % 4;
	snprintf(path[next], sizeof(path[next]), "%s/%s", directory, name);
	return path[next];
}

static inline int make_directory(void **state)
{
	(void)state;
	return mkdtemp(directory) == NULL;
}

static inline int remove_directory(void **state)
{
	(void)state;
	return rmdir(directory);
}

/* A file of that many bytes; the first eight of each page tell the page's offset. */
static inline int make_file(const char *path, uint64_t bytes)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	uint64_t at;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	for (at = 0; at < bytes; at += 4096)
		assert_int_equal(pwrite(fd, &at, sizeof(at), (off_t)at), sizeof(at));
	return fd;
}

static inline struct gm_region_opts options(enum gm_source source, uint64_t bytes)
{
	struct gm_region_opts opts = { .size = sizeof(opts), .name = "s", .source = source, .bytes = bytes };

	return opts;
}

static inline struct gm_region *make(const struct gm_region_opts *opts)
{
	struct gm_region *region = NULL;
	struct gm_error error = { 0, "" };

	if (gm_region_new(opts, &region, &error) != 0)
		fail_msg("%s", error.text);
	return region;
}

static inline void refuse(const struct gm_region_opts *opts, int code, const char *says)
{
	struct test_resources before = test_count(directory);
	struct gm_region *region = NULL;
	struct gm_error error = { 0, "" };

	if (gm_region_new(opts, &region, &error) != code || error.code != code)
		fail_msg("code %d, not %d: '%s'", error.code, code, error.text);
	if (strstr(error.text, says) == NULL)
		fail_msg("'%s' does not say '%s'", error.text, says);
	assert_null(region);
	assert_nothing_left(before, directory);
}

/* A hugetlbfs of our own, in a mount namespace of our own: nothing is left when the process is gone. */
static inline bool mount_hugetlbfs(const char *where, const char *how)
{
	return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mkdir(where, 0700) == 0 && mount("none", where, "hugetlbfs", 0, how) == 0;
}

#endif

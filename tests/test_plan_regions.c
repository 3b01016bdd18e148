/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* A plan's regions: what is filled into the template, each refusal, and that a failure midway leaves nothing behind. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <guestmem/layout.h>

#include "base/base.h"
#include "sys/fault.h"

#define PIECES 3
#define BYTES  (2 * GM_MIB)

static struct gm_region *const untouched = (struct gm_region *)&(char){ 0 };

/* Nodes 7 (host node 0), 2 and 5 of 2 MiB each, from 0. */
static struct gm_plan *plan_of_three(void)
{
	const struct gm_node nodes[PIECES] = { { .bytes = BYTES, .guest_node = 7, .host_node = 0 },
					       { .bytes = BYTES, .guest_node = 2, .host_node = -1 },
					       { .bytes = BYTES, .guest_node = 5, .host_node = -1 } };
	struct gm_layout layout;
	struct gm_plan *plan = NULL;

	gm_layout_open(&layout);
	assert_int_equal(gm_plan_new(&layout, nodes, PIECES, &plan, NULL), 0);
	return plan;
}

static void unref_all(struct gm_region **regions)
{
	size_t i;

	for (i = 0; i < PIECES; i++)
		gm_region_unref(regions[i]);
}

static unsigned open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void assert_refused(const struct gm_region_opts *opts, size_t max, int code, const char *part)
{
	struct gm_plan *plan = plan_of_three();
	struct gm_region *regions[PIECES] = { untouched, untouched, untouched };
	struct gm_error error = { 0, "" };
	unsigned files = open_files();
	size_t i;

	assert_int_equal(gm_plan_regions(plan, opts, regions, max, &error), code);
	assert_int_equal(error.code, code);
	if (strstr(error.text, part) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", error.text, part);
	for (i = 0; i < PIECES; i++)
		assert_ptr_equal(regions[i], untouched);
	assert_int_equal(open_files(), files);
	gm_plan_free(plan);
}

static void test_filled_in(void **state)
{
	struct gm_region_opts opts = { .size = sizeof(opts), .tag = 99, .flags = GM_REGION_HOTPLUG };
	struct gm_plan *plan = plan_of_three();
	struct gm_region *regions[PIECES + 1] = { NULL, NULL, NULL, untouched };
	const int nodes[PIECES] = { 7, 2, 5 };
	char name[16];
	size_t i;

	(void)state;
	assert_int_equal(gm_plan_regions(plan, &opts, regions, PIECES + 1, NULL), 0);
	for (i = 0; i < PIECES; i++) {
		snprintf(name, sizeof(name), "ram%zu", i);
		assert_string_equal(gm_region_name(regions[i]), name);
		assert_int_equal(gm_region_kind(regions[i]), GM_RAM);
		assert_int_equal(gm_region_source(regions[i]), GM_SOURCE_MEMFD);
		assert_true(gm_region_first(regions[i]).value == i * BYTES);
		assert_true(gm_region_bytes(regions[i]) == BYTES);
		assert_int_equal(gm_region_tag(regions[i]), nodes[i]);
		assert_true(gm_region_is_hotplug(regions[i]));
		assert_int_equal(gm_region_numa_node(regions[i]), i == 0 ? 0 : -1);
		assert_int_equal(gm_region_numa_policy(regions[i]), i == 0 ? GM_NUMA_BIND : GM_NUMA_DEFAULT);
	}
	assert_ptr_equal(regions[PIECES], untouched);
	unref_all(regions);
	gm_plan_free(plan);
}

static void test_name_and_policy(void **state)
{
	struct gm_region_opts opts = { .size = sizeof(opts), .name = "dimm", .source = GM_SOURCE_ANON };
	struct gm_plan *plan = plan_of_three();
	struct gm_region *regions[PIECES];
	const int node = 0;

	(void)state;
	opts.numa_policy = GM_NUMA_PREFERRED;
	opts.numa_nodes = &node;
	opts.numa_nodes_count = 1;
	assert_int_equal(gm_plan_regions(plan, &opts, regions, PIECES, NULL), 0);
	assert_string_equal(gm_region_name(regions[2]), "dimm2");
	assert_int_equal(gm_region_source(regions[2]), GM_SOURCE_ANON);
	/* The template's policy, and its nodes where the plan has none. */
	assert_int_equal(gm_region_numa_policy(regions[0]), GM_NUMA_PREFERRED);
	assert_int_equal(gm_region_numa_policy(regions[1]), GM_NUMA_PREFERRED);
	assert_int_equal(gm_region_numa_node(regions[1]), 0);
	unref_all(regions);
	gm_plan_free(plan);
}

static int small_file(uint64_t bytes)
{
	int fd = memfd_create("plan", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static void test_pieces_follow_in_a_file(void **state)
{
	struct gm_region_opts opts = { .size = sizeof(opts), .source = GM_SOURCE_FD };
	struct gm_plan *plan = plan_of_three();
	struct gm_region *regions[PIECES];
	size_t i;

	(void)state;
	opts.fd = small_file((PIECES + 1) * BYTES);
	opts.fd_offset = BYTES;
	assert_int_equal(gm_plan_regions(plan, &opts, regions, PIECES, NULL), 0);
	for (i = 0; i < PIECES; i++)
		assert_true(gm_region_fd_offset(regions[i]) == (i + 1) * BYTES);
	unref_all(regions);
	gm_plan_free(plan);
	close(opts.fd);
	/* A page short: the last of the three can't be had, and so none is. */
	opts.fd = small_file((PIECES + 1) * BYTES - GM_PAGE_BYTES);
	assert_refused(&opts, PIECES, -ENODATA, "");
	close(opts.fd);
}

static void test_refusals(void **state)
{
	struct gm_region_opts opts = { .size = sizeof(opts) };
	struct {
		struct gm_region_opts opts;
		uint64_t more;
	} newer = { { .size = sizeof(newer) }, 1 };
	char name[GM_NAME_MAX];
	struct gm_plan *plan = plan_of_three();
	struct gm_region *regions[PIECES];

	(void)state;
	assert_refused(&opts, PIECES - 1, -ENOSPC, "room for 2 regions, but there are 3 pieces");
	opts.kind = GM_DAX;
	assert_refused(&opts, PIECES, -EINVAL, "not of kind 3");
	opts.kind = GM_RAM;
	opts.source = GM_SOURCE_POINTER;
	assert_refused(&opts, PIECES, -EINVAL, "can't be cut into pieces");
	opts.source = GM_SOURCE_CALLBACKS;
	assert_refused(&opts, PIECES, -EINVAL, "can't be cut into pieces");
	opts.source = GM_SOURCE_DEFAULT;
	opts.size = 1;
	assert_refused(&opts, PIECES, -EINVAL, "too short for its own size");
	assert_refused(&newer.opts, PIECES, -E2BIG, "of a newer library");
	/* What gm_region_new() refuses comes through. */
	opts.size = sizeof(opts);
	opts.flags = ~GM_REGION_FLAGS_ALL;
	assert_refused(&opts, PIECES, -EINVAL, "");
	opts.flags = 0;
	/* The longest name that a number fits behind, and one more. */
	memset(name, 'x', sizeof(name));
	name[GM_NAME_MAX - 1] = '\0';
	opts.name = name;
	assert_refused(&opts, PIECES, -ENAMETOOLONG, "and a number are longer than 63 characters");
	name[GM_NAME_MAX - 2] = '\0';
	assert_int_equal(gm_plan_regions(plan, &opts, regions, PIECES, NULL), 0);
	assert_int_equal(strlen(gm_region_name(regions[0])), GM_NAME_MAX - 1);
	unref_all(regions);
	gm_plan_free(plan);
}

/* Each allocation and system call refused in turn: all three or none. Some failures are borne (advice), and that is fine. */
static void test_all_or_none(void **state)
{
	struct gm_region_opts opts = { .size = sizeof(opts) };
	struct gm_plan *plan = plan_of_three();
	unsigned files = open_files(), failures = 0;
	size_t i;
	long n;

	(void)state;
	for (n = 1; n < 1000; n++) {
		struct gm_region *regions[PIECES] = { untouched, untouched, untouched };
		int r, fired;

		gmi_fault_arm(n, ENOMEM);
		r = gm_plan_regions(plan, &opts, regions, PIECES, NULL);
		fired = gmi_fault_fired();
		gmi_fault_arm(0, 0);
		if (r == 0) {
			unref_all(regions);
		} else {
			assert_true(fired);
			failures++;
			for (i = 0; i < PIECES; i++)
				assert_ptr_equal(regions[i], untouched);
		}
		assert_int_equal(open_files(), files);
		if (!fired)
			break;
	}
	assert_in_range(n, PIECES + 1, 999);
	assert_true(failures >= PIECES);
	gm_plan_free(plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filled_in),
		cmocka_unit_test(test_name_and_policy),
		cmocka_unit_test(test_pieces_follow_in_a_file),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_all_or_none),
	};

	return cmocka_run_group_tests_name("plan_regions", tests, NULL, NULL);
}

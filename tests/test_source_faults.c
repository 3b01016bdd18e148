/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Each source with each of its steps made to fail: a code comes back and nothing stays behind. */
#include "sources.h"

/*
 * The n-th allocation or system call fails, for all n: a code comes back and nothing stays behind. Once it's not
 * reached any more, the region is made. A dirty log has one step that it can do without: it fences when the kernel
 * won't. Return: how many steps there were.
 */
static long fail_each(const struct gm_region_opts *opts, int code)
{
	struct test_resources before;
	struct gm_region *region;
	struct gm_error error;
	int survived = 0, r;
	long n;

	gm_region_unref(make(opts));
	before = test_count(directory);
	for (n = 1; n < 1000; n++) {
		region = NULL;
		memset(&error, 0, sizeof(error));
		gmi_fault_arm(n, code);
		r = gm_region_new(opts, &region, &error);
		if (!gmi_fault_fired())
			break;
		gmi_fault_arm(0, 0);
		if (r == 0 && opts->dirty_page_bytes != 0 && survived++ == 0) {
			gm_region_unref(region);
			continue;
		}
		if (r >= 0)
			fail_msg("%s: step %ld failed, and nobody minded", gm_source_name(opts->source), n);
		assert_null(region);
		assert_int_equal(error.code, r);
		assert_true(error.text[0] != '\0');
		assert_nothing_left(before, directory);
	}
	gmi_fault_arm(0, 0);
	assert_int_equal(r, 0);
	gm_region_unref(region);
	assert_nothing_left(before, directory);
	return n - 1;
}

static void each_step_fails(void **state)
{
	const char *path = in_directory("f");
	struct gm_region_opts opts = options(GM_SOURCE_ANON, 8192);
	static const int node = 0;
	int fd;

	(void)state;
	opts.dirty_page_bytes = 4096;
	opts.flags = GM_REGION_DONTDUMP;
	/* Own struct, dirty log, mapping; reserve, map, two times advice. */
	assert_true(fail_each(&opts, ENOMEM) >= 7);
	opts.dirty_page_bytes = 0;
	opts.numa_policy = GM_NUMA_BIND;
	opts.numa_nodes = &node;
	opts.numa_nodes_count = 1;
	opts.flags |= GM_REGION_NUMA_STRICT | GM_REGION_PREALLOC;
	opts.mmap_flags = MAP_LOCKED;
	opts.prealloc_threads = 2;
	if (access("/sys/devices/system/node/node0", F_OK) == 0)
		assert_true(fail_each(&opts, ENOMEM) >= 11);
	opts = options(GM_SOURCE_MEMFD, 8192);
	opts.huge = GM_HUGE_TRANSPARENT;
	assert_true(fail_each(&opts, EPERM) >= 10);
	opts = options(GM_SOURCE_CALLBACKS, 8192);
	opts.io = &(struct gm_region_io){ (int (*)(void *, struct gm_offset, void *, size_t))1,
					  (int (*)(void *, struct gm_offset, const void *, size_t))1 };
	opts.dirty_page_bytes = 4096;
	assert_true(fail_each(&opts, ENOMEM) >= 2);
	fd = make_file(path, 8192);
	opts = options(GM_SOURCE_FILE, 8192);
	opts.path = path;
	opts.huge = GM_HUGE_NEVER;
	assert_true(fail_each(&opts, EIO) >= 12);
	opts = options(GM_SOURCE_FD, 8192);
	opts.fd = fd;
	opts.flags = GM_REGION_COW;
	assert_true(fail_each(&opts, EIO) >= 11);
	close(fd);
	unlink(path);
}

static void each_step_fails_with_huge_pages(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_HUGEANON, 2 * HUGE);
	const char *mounted = in_directory("huge");
	struct test_pool pool;
	char path[256];

	(void)state;
	if (!test_pool_take(&pool, 2))
		test_skip("no pool of huge pages to be had");
	assert_true(fail_each(&opts, ENOMEM) >= 6);
	opts.huge_bytes = HUGE;
	assert_true(fail_each(&opts, EPERM) >= 6);
	opts.source = GM_SOURCE_HUGEMEMFD;
	opts.flags = GM_REGION_PREALLOC;
	assert_true(fail_each(&opts, ENOMEM) >= 10);
	if (!mount_hugetlbfs(mounted, "pagesize=2M")) {
		test_pool_give(&pool);
		rmdir(mounted);
		test_skip("no hugetlbfs can be mounted");
	}
	/* Here folders are counted too; what a success leaves is made before. */
	opts.source = GM_SOURCE_HUGETLBFS;
	snprintf(path, sizeof(path), "%s/ram", mounted);
	opts.path = path;
	assert_true(fail_each(&opts, ENOMEM) >= 14);
	assert_int_equal(test_count_entries(mounted), 2);
	assert_int_equal(umount(mounted), 0);
	rmdir(mounted);
	test_pool_give(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_step_fails),
		cmocka_unit_test(each_step_fails_with_huge_pages),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

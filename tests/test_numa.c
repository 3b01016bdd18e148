/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * NUMA policies: what the kernel says was applied, and nodes that are not there, strictly and by best effort. Whatever
 * machine runs this, node 1023 is not there; node 0 nearly always is.
 */
#include "sources.h"

#include <numa.h>
#include <sys/vfs.h>

#define ABSENT (GM_NODES_MAX - 1)

static const int node_0 = 0, node_absent = ABSENT, node_mixed[] = { 0, ABSENT };

static struct gm_region_opts bound(enum gm_source source, enum gm_numa_policy policy, const int *nodes, size_t count)
{
	struct gm_region_opts opts = options(source, 65536);

	opts.numa_policy = policy;
	opts.numa_nodes = nodes;
	opts.numa_nodes_count = count;
	return opts;
}

#define need_node_0()                                                                                                  \
	do {                                                                                                           \
		if (numa_available() < 0 || !numa_bitmask_isbitset(numa_all_nodes_ptr, 0))                             \
			test_skip("no NUMA policies here, or no node 0");                                              \
	} while (0)

/* The policy that /proc/self/numa_maps shows for the mapping at @address. */
static void kernel_policy(const void *address, char *ret_policy, size_t policy_max)
{
	FILE *file = fopen("/proc/self/numa_maps", "re");
	unsigned long long start;
	char line[1024], word[64];

	assert_non_null(file);
	ret_policy[0] = '\0';
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%llx %63s", &start, word) == 2 && start == (uintptr_t)address)
			snprintf(ret_policy, policy_max, "%s", word);
	}
	fclose(file);
}

static void policies_are_applied(void **state)
{
	static const struct {
		enum gm_numa_policy policy;
		const char *kernels;
	} policies[] = {
		{ GM_NUMA_DEFAULT, "default" },
		{ GM_NUMA_BIND, "bind:0" },
		{ GM_NUMA_PREFERRED, "prefer:0" },
		{ GM_NUMA_INTERLEAVE, "interleave:0" },
	};
	static const enum gm_source sources[] = { GM_SOURCE_ANON, GM_SOURCE_MEMFD };
	struct gm_region *region;
	char policy[64];
	size_t i;

	(void)state;
	need_node_0();
	for (i = 0; i < 8; i++) {
		struct gm_region_opts opts = bound(sources[i / 4], policies[i % 4].policy, &node_0, 1);

		opts.flags = GM_REGION_NUMA_STRICT | GM_REGION_PREALLOC;
		region = make(&opts);
		kernel_policy(gm_region_hva(region), policy, sizeof(policy));
		assert_string_equal(policy, policies[i % 4].kernels);
		assert_int_equal(gm_region_numa_policy(region), policies[i % 4].policy);
		assert_int_equal(gm_region_numa_result(region), 0);
		assert_int_equal(gm_region_numa_node(region), 0);
		assert_true(gm_region_has_numa_node(region, 0));
		assert_false(gm_region_has_numa_node(region, 1));
		gm_region_unref(region);
	}
}

static void huge_pages_are_bound(void **state)
{
	struct gm_region_opts opts = bound(GM_SOURCE_HUGEMEMFD, GM_NUMA_BIND, &node_0, 1);
	struct gm_region *region;
	struct test_pool pool;
	char policy[64];

	(void)state;
	need_node_0();
	if (!test_pool_take(&pool, 1))
		test_skip("no pool of huge pages to be had");
	opts.bytes = HUGE;
	opts.flags = GM_REGION_NUMA_STRICT | GM_REGION_PREALLOC;
	region = make(&opts);
	kernel_policy(gm_region_hva(region), policy, sizeof(policy));
	assert_string_equal(policy, "bind:0");
	gm_region_unref(region);
	test_pool_give(&pool);
}

static void nodes_that_are_not_there(void **state)
{
	static const enum gm_numa_policy policies[] = { GM_NUMA_BIND, GM_NUMA_PREFERRED, GM_NUMA_INTERLEAVE };
	struct gm_error error = { 1, "untouched" };
	struct gm_region_opts opts;
	struct gm_region *region;
	char policy[64];
	size_t i;

	(void)state;
	need_node_0();
	for (i = 0; i < 3; i++) {
		opts = bound(GM_SOURCE_ANON, policies[i], &node_absent, 1);
		opts.flags = GM_REGION_NUMA_STRICT;
		refuse(&opts, -ENODEV, "node 1023");
		opts.flags = 0;
		assert_int_equal(gm_region_new(&opts, &region, &error), 0);
		assert_string_equal(error.text, "untouched");
		assert_int_equal(gm_region_numa_result(region), -ENODEV);
		assert_int_equal(gm_region_numa_node(region), ABSENT);
		kernel_policy(gm_region_hva(region), policy, sizeof(policy));
		assert_string_equal(policy, "default");
		gm_region_unref(region);
	}
	/* The kernel would take this set, and silently leave the absent node out. */
	opts = bound(GM_SOURCE_ANON, GM_NUMA_BIND, node_mixed, 2);
	opts.flags = GM_REGION_NUMA_STRICT;
	refuse(&opts, -ENODEV, "node 1023");
	opts.flags = 0;
	region = make(&opts);
	assert_int_equal(gm_region_numa_result(region), -ENODEV);
	assert_int_equal(gm_region_numa_node(region), 0);
	assert_true(gm_region_has_numa_node(region, 0));
	assert_true(gm_region_has_numa_node(region, ABSENT));
	gm_region_unref(region);
}

static void a_description_is_not_applied(void **state)
{
	struct gm_region_opts opts = bound(GM_SOURCE_ANON, GM_NUMA_DEFAULT, &node_absent, 1);
	struct gm_region *region = make(&opts);

	(void)state;
	assert_int_equal(gm_region_numa_result(region), 0);
	assert_int_equal(gm_region_numa_node(region), ABSENT);
	gm_region_unref(region);
}

static void shared_files_heed_no_policy(void **state)
{
	const char *path = in_directory("f");
	struct gm_region_opts opts = bound(GM_SOURCE_FILE, GM_NUMA_BIND, &node_0, 1);
	struct gm_region *region;
	struct statfs files;

	(void)state;
	need_node_0();
	assert_int_equal(statfs(directory, &files), 0);
	if (files.f_type == 0x01021994)
		test_skip("the directory for temporary files is a tmpfs, whose files heed one");
	close(make_file(path, 65536));
	opts.path = path;
	opts.flags = GM_REGION_NUMA_STRICT;
	refuse(&opts, -EOPNOTSUPP, "file system");
	opts.flags = 0;
	region = make(&opts);
	assert_int_equal(gm_region_numa_result(region), -EOPNOTSUPP);
	gm_region_unref(region);
	/* Copied pages are ours, and so is their policy. */
	opts.flags = GM_REGION_NUMA_STRICT | GM_REGION_COW;
	region = make(&opts);
	assert_int_equal(gm_region_numa_result(region), 0);
	gm_region_unref(region);
	unlink(path);
}

/* No policies in the kernel, or a call that fails: strict fails with that, best effort keeps it. */
static void failures_are_kept_or_returned(void **state)
{
	struct gm_region_opts opts = bound(GM_SOURCE_ANON, GM_NUMA_BIND, &node_0, 1);
	bool none = false, failed = false, strict_none = false;
	struct gm_region *region;
	long n;
	int r;

	(void)state;
	need_node_0();
	for (n = 1; n < 100; n++) {
		gmi_fault_arm(n, EPERM);
		opts.flags = 0;
		r = gm_region_new(&opts, &region, NULL);
		if (!gmi_fault_fired())
			break;
		if (r == 0) {
			none |= gm_region_numa_result(region) == -ENOSYS;
			failed |= gm_region_numa_result(region) == -EPERM;
			assert_int_not_equal(gm_region_numa_result(region), 0);
			gm_region_unref(region);
		}
		gmi_fault_arm(n, EPERM);
		opts.flags = GM_REGION_NUMA_STRICT;
		strict_none |= gm_region_new(&opts, &region, NULL) == -ENOSYS;
		assert_true(gmi_fault_fired());
	}
	gmi_fault_arm(0, 0);
	gm_region_unref(region);
	assert_true(none && failed && strict_none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(policies_are_applied),        cmocka_unit_test(huge_pages_are_bound),
		cmocka_unit_test(nodes_that_are_not_there),    cmocka_unit_test(a_description_is_not_applied),
		cmocka_unit_test(shared_files_heed_no_policy), cmocka_unit_test(failures_are_kept_or_returned),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

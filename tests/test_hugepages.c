/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Sources from the pool of huge pages: really such pages, and an empty pool said with its numbers. */
#include "sources.h"

#include <sys/vfs.h>

/* Really of huge pages: the kernel says so of the mapping, not only of the options. */
static void huge_pages(void **state)
{
	static const enum gm_source sources[] = { GM_SOURCE_HUGEANON, GM_SOURCE_HUGEMEMFD };
	struct gm_region_opts opts = options(GM_SOURCE_HUGEANON, 2 * HUGE);
	struct test_resources before;
	struct gm_region *region;
	struct test_pool pool;
	struct statfs files;
	size_t i;

	(void)state;
	if (!test_pool_take(&pool, 4))
		test_skip("no pool of huge pages to be had");
	for (i = 0; i < 4; i++) {
		before = test_count(NULL);
		opts.source = sources[i / 2];
		opts.huge_bytes = i % 2 ? HUGE : 0;
		region = make(&opts);
		assert_int_equal(gm_region_page_bytes(region), HUGE);
		assert_int_equal((uintptr_t)gm_region_hva(region) % HUGE, 0);
		assert_int_equal(test_kib(gm_region_hva(region), "KernelPageSize:"), HUGE / 1024);
		assert_true(test_vm_flag(gm_region_hva(region), "ht"));
		memset(gm_region_hva(region), 1, 2 * HUGE);
		if (opts.source == GM_SOURCE_HUGEMEMFD) {
			assert_int_equal(fstatfs(gm_region_fd(region), &files), 0);
			assert_int_equal(files.f_bsize, HUGE);
			assert_int_equal(fcntl(gm_region_fd(region), F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW),
					 F_SEAL_SHRINK | F_SEAL_GROW);
			assert_true(region->file_known);
		} else {
			assert_true(gm_region_mmap_flags(region) & MAP_HUGETLB);
		}
		gm_region_unref(region);
		assert_nothing_left(before, NULL);
	}
	/* Imported: its pages are found out. */
	opts.huge_bytes = 0;
	opts.source = GM_SOURCE_HUGEMEMFD;
	region = make(&opts);
	{
		struct gm_region_opts import = options(GM_SOURCE_FD, HUGE);
		struct gm_region *other;

		import.fd = gm_region_fd(region);
		import.fd_offset = HUGE;
		other = make(&import);
		assert_int_equal(gm_region_page_bytes(other), HUGE);
		assert_int_equal(other->file_inode, region->file_inode);
		((char *)gm_region_hva(region))[HUGE] = 42;
		assert_int_equal(*(char *)gm_region_hva(other), 42);
		gm_region_unref(other);
		import.bytes = 4096;
		gm_region_unref(make(&import));
		import.bytes = HUGE;
		import.fd_offset = 0;
		import.huge = GM_HUGE_TRANSPARENT;
		refuse(&import, -EINVAL, "transparent");
	}
	gm_region_unref(region);
	test_pool_give(&pool);
}

/*
 * What a front-end shows of a huge-page file that it laid its machine out in: parts that begin and end inside of huge pages. They
 * are the file's bytes, no more of it is reached, and nothing stays mapped.
 */
static void huge_pages_in_part(void **state)
{
	struct test_resources before = test_count(directory);
	struct gm_region_opts opts = options(GM_SOURCE_HUGEMEMFD, 2 * HUGE), part = options(GM_SOURCE_FD, 0);
	static const uint64_t parts[][2] = {
		/* offset, bytes */
		{ 0, 0xa0000 }, { 0xc0000, 2 * HUGE - 0xc0000 }, { HUGE - 4096, 8192 }, { 2 * HUGE - 4096, 4096 },
		{ HUGE, 4096 }, { 4096, HUGE - 8192 },           { 0, 2 * HUGE },
	};
	struct gm_region *whole, *region;
	struct test_pool pool;
	unsigned char *bytes;

	(void)state;
	if (!test_pool_take(&pool, 2))
		test_skip("no pool of huge pages to be had");
	whole = make(&opts);
	bytes = gm_region_hva(whole);
	part.fd = gm_region_fd(whole);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		unsigned char *hva;

		part.fd_offset = parts[i][0];
		part.bytes = parts[i][1];
		part.flags = i % 2 ? GM_REGION_PREALLOC : 0;
		region = make(&part);
		hva = gm_region_hva(region);
		assert_int_equal(gm_region_page_bytes(region), HUGE);
		assert_int_equal(gm_region_fd_offset(region), parts[i][0]);
		assert_int_equal((uintptr_t)hva % HUGE, parts[i][0] % HUGE);
		hva[0] = (unsigned char)(i + 1);
		hva[part.bytes - 1] = (unsigned char)(i + 101);
		assert_int_equal(bytes[parts[i][0]], i + 1);
		assert_int_equal(bytes[parts[i][0] + part.bytes - 1], i + 101);
		gm_region_unref(region);
	}
	part.flags = 0;
	part.fd_offset = 2 * HUGE - 4096;
	part.bytes = 8192;
	refuse(&part, -ENODATA, "file has");
	part.fd_offset = 4095;
	refuse(&part, -EINVAL, "4 KiB");
	gm_region_unref(whole);
	test_pool_give(&pool);
	assert_nothing_left(before, directory);
}

static void huge_pages_refused(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_HUGEANON, 2 * HUGE);
	struct test_pool pool;

	(void)state;
	if (!test_pool_take(&pool, 1))
		test_skip("no pool of huge pages to be had");
	refuse(&opts, -ENOMEM, "2 of 2048 KiB wanted, the pool has 1 free (0 of them reserved) of 1");
	opts.source = GM_SOURCE_HUGEMEMFD;
	refuse(&opts, -ENOMEM, "2 of 2048 KiB wanted, the pool has 1 free");
	opts.bytes = HUGE + 4096;
	refuse(&opts, -EINVAL, "multiple of its huge pages");
	/* No processor has pages of this size. */
	opts.huge_bytes = 8192;
	opts.bytes = 8192;
	refuse(&opts, -ENODEV, "no huge pages of 8 KiB");
	opts.source = GM_SOURCE_HUGEANON;
	refuse(&opts, -ENODEV, "no huge pages of 8 KiB");
	test_pool_give(&pool);
}

static void hugetlbfs_files(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_HUGETLBFS, 2 * HUGE);
	const char *mounted = in_directory("huge");
	struct gm_region *region;
	struct test_pool pool;
	struct stat status;
	char path[256], folder[256];

	(void)state;
	/* On another file system: refused, and the folders that were made for it are gone again. */
	opts.path = in_directory("a/b/c");
	refuse(&opts, -EMEDIUMTYPE, "not on a hugetlbfs");
	assert_int_equal(stat(in_directory("a"), &status), -1);
	opts.path = in_directory("a/");
	refuse(&opts, -EISDIR, "making");
	opts.path = "/dev/null/a/b";
	refuse(&opts, -ENOTDIR, "folders");

	if (!test_pool_take(&pool, 2))
		test_skip("no pool of huge pages to be had");
	if (!mount_hugetlbfs(mounted, "pagesize=2M")) {
		test_pool_give(&pool);
		rmdir(mounted);
		test_skip("no hugetlbfs can be mounted");
	}
	snprintf(path, sizeof(path), "%s/vm/1/ram", mounted);
	snprintf(folder, sizeof(folder), "%s/vm/1", mounted);
	opts.path = path;
	region = make(&opts);
	assert_string_equal(gm_region_path(region), path);
	assert_int_equal(gm_region_page_bytes(region), HUGE);
	assert_int_equal(test_kib(gm_region_hva(region), "KernelPageSize:"), HUGE / 1024);
	assert_true(gm_region_is_shareable(region));
	assert_int_equal(fstat(gm_region_fd(region), &status), 0);
	assert_int_equal(status.st_size, 2 * HUGE);
	assert_int_equal(status.st_nlink, 0);
	assert_int_equal(region->file_inode, status.st_ino);
	assert_int_equal(stat(path, &status), -1);
	assert_int_equal(stat(folder, &status), 0);
	/* The pool is used up: refused with its numbers, and the folder made for it is gone. */
	snprintf(path, sizeof(path), "%s/vm/2/ram", mounted);
	refuse(&opts, -ENOMEM, "the pool has 2 free (2 of them reserved) of 2");
	snprintf(folder, sizeof(folder), "%s/vm/2", mounted);
	assert_int_equal(stat(folder, &status), -1);
	gm_region_unref(region);
	/* A file that is there is not ours to take. */
	snprintf(path, sizeof(path), "%s/vm/1/ram", mounted);
	close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	refuse(&opts, -EEXIST, "making");
	assert_int_equal(stat(path, &status), 0);
	unlink(path);
	opts.huge_bytes = GM_GIB;
	opts.bytes = GM_GIB;
	refuse(&opts, -EINVAL, "of 2048 KiB pages, not 1048576");
	opts.huge_bytes = 0;
	opts.bytes = 4096;
	refuse(&opts, -EINVAL, "multiple of its huge pages");
	assert_int_equal(umount(mounted), 0);
	rmdir(mounted);
	test_pool_give(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(huge_pages),
		cmocka_unit_test(huge_pages_in_part),
		cmocka_unit_test(huge_pages_refused),
		cmocka_unit_test(hugetlbfs_files),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

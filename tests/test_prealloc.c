/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Populating: all pages are there afterwards, progress is told in order and can cancel, and each failure is an error
 * number.
 */
#include "sources.h"

#include <pthread.h>
#include <sys/mman.h>

struct watch {
	pthread_t thread;
	uint64_t last, total, cancel_at;
	unsigned calls;
	bool first_zero, in_order, same_thread;
	int shrink_fd; /* a file to make shorter at the first call, 0: none */
};

static int watch_progress(void *opaque, uint64_t done, uint64_t total)
{
	struct watch *watch = opaque;

	if (watch->calls++ == 0) {
		watch->first_zero = done == 0;
		watch->in_order = watch->same_thread = true;
		if (watch->shrink_fd != 0)
			assert_int_equal(ftruncate(watch->shrink_fd, 4096), 0);
	}
	watch->in_order &= done >= watch->last && done <= total;
	watch->same_thread &= pthread_equal(watch->thread, pthread_self()) != 0;
	watch->last = done;
	watch->total = total;
	return watch->cancel_at != 0 && done >= watch->cancel_at - 1;
}

static struct gm_region_opts populated(enum gm_source source, uint64_t bytes, unsigned threads, struct watch *watch)
{
	struct gm_region_opts opts = options(source, bytes);

	opts.flags = GM_REGION_PREALLOC;
	opts.prealloc_threads = threads;
	if (watch != NULL) {
		memset(watch, 0, sizeof(*watch));
		watch->thread = pthread_self();
		opts.progress = watch_progress;
		opts.progress_opaque = watch;
	}
	return opts;
}

static void check_watch(const struct watch *watch, uint64_t bytes)
{
	assert_true(watch->calls >= 2);
	assert_true(watch->first_zero);
	assert_true(watch->in_order);
	assert_true(watch->same_thread);
	assert_int_equal(watch->last, bytes);
	assert_int_equal(watch->total, bytes);
}

static void all_pages_are_there(void **state)
{
	static const enum gm_source sources[] = { GM_SOURCE_ANON, GM_SOURCE_MEMFD };
	static const unsigned threads[] = { 0, 1, 3, GM_PREALLOC_THREADS_MAX };
	static const uint64_t sizes[] = { 4096, 4 * GM_MIB + 8192, 96 * GM_MIB };
	struct test_resources before;
	struct gm_region_opts opts;
	struct gm_region *region;
	struct watch watch;
	size_t i;

	(void)state;
	/* The C library keeps stacks of threads for the next ones. */
	opts = populated(GM_SOURCE_ANON, 256 * GM_MIB, GM_PREALLOC_THREADS_MAX, NULL);
	gm_region_unref(make(&opts));
	for (i = 0; i < 24; i++) {
		opts = populated(sources[i % 2], sizes[i / 8], threads[i / 2 % 4], &watch);
		before = test_count(NULL);
		region = make(&opts);
		assert_int_equal(test_kib(gm_region_hva(region), "Rss:"), opts.bytes / 1024);
		check_watch(&watch, opts.bytes);
		gm_region_unref(region);
		assert_int_equal(test_count_entries("/proc/self/fd"), before.fds);
	}
}

static void without_it_nothing_is_there(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_MEMFD, 65536);
	struct gm_region *region = make(&opts);

	(void)state;
	assert_int_equal(test_kib(gm_region_hva(region), "Rss:"), 0);
	gm_region_unref(region);
}

static void files_read_and_copied(void **state)
{
	const char *path = in_directory("f");
	struct gm_region_opts opts = populated(GM_SOURCE_FILE, 65536, 1, NULL);
	int fd = make_file(path, 65536);
	struct gm_region *region;

	(void)state;
	opts.path = path;
	region = make(&opts);
	assert_int_equal(test_kib(gm_region_hva(region), "Rss:"), 64);
	gm_region_unref(region);
	opts.prot = GM_READ;
	region = make(&opts);
	assert_int_equal(test_kib(gm_region_hva(region), "Rss:"), 64);
	gm_region_unref(region);
	/* Copies of our own from the first: */
	opts.prot = 0;
	opts.flags |= GM_REGION_COW;
	region = make(&opts);
	assert_int_equal(test_kib(gm_region_hva(region), "Anonymous:"), 64);
	assert_int_equal(((uint64_t *)gm_region_hva(region))[512], 4096);
	gm_region_unref(region);
	/* Read-only ones need none. */
	opts.prot = GM_READ;
	region = make(&opts);
	assert_int_equal(test_kib(gm_region_hva(region), "Rss:"), 64);
	assert_int_equal(test_kib(gm_region_hva(region), "Anonymous:"), 0);
	gm_region_unref(region);
	close(fd);
	unlink(path);
}

static void progress_cancels(void **state)
{
	struct watch watch;
	struct gm_region_opts opts = populated(GM_SOURCE_MEMFD, 64 * GM_MIB, 2, &watch);

	(void)state;
	gm_region_unref(make(&opts));
	/* Before anything, in the middle, and at the very last moment. */
	opts = populated(GM_SOURCE_MEMFD, 64 * GM_MIB, 2, &watch);
	watch.cancel_at = 1;
	refuse(&opts, -ECANCELED, "canceled when 0 of 67108864");
	assert_int_equal(watch.calls, 1);
	opts = populated(GM_SOURCE_MEMFD, 64 * GM_MIB, 2, &watch);
	watch.cancel_at = 8 * GM_MIB;
	refuse(&opts, -ECANCELED, "canceled");
	assert_true(watch.calls >= 2);
	opts = populated(GM_SOURCE_MEMFD, 64 * GM_MIB, 2, &watch);
	watch.cancel_at = 64 * GM_MIB + 1;
	refuse(&opts, -ECANCELED, "canceled");
	assert_int_equal(watch.last, 64 * GM_MIB);
}

/* The other owner of a file makes it shorter behind our look at its size: an error number, not a SIGBUS. */
static void files_that_shrink(void **state)
{
	const char *path = in_directory("f");
	struct watch watch;
	struct gm_region_opts opts;
	int fd, i;

	(void)state;
	for (i = 0; i < 4; i++) {
		fd = make_file(path, 65536);
		opts = populated(GM_SOURCE_FILE, 65536, 1, &watch);
		opts.path = path;
		opts.flags |= i & 1 ? GM_REGION_COW : 0;
		opts.prot = i & 2 ? GM_READ : 0;
		watch.shrink_fd = fd;
		refuse(&opts, -ENODATA, "the file has 4096 bytes");
		close(fd);
		unlink(path);
	}
}

static void file_systems_that_are_full(void **state)
{
	const char *mounted = in_directory("small");
	struct gm_region_opts opts = populated(GM_SOURCE_FILE, 8 * GM_MIB, 2, NULL);
	char path[256];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/sparse", mounted);
	assert_int_equal(mkdir(mounted, 0700), 0);
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("none", mounted, "tmpfs", 0, "size=1M") != 0) {
		rmdir(mounted);
		test_skip("no tmpfs can be mounted");
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, 8 * GM_MIB), 0);
	close(fd);
	opts.path = path;
	refuse(&opts, -GM_EFAULTED, "no room");
	assert_int_equal(umount(mounted), 0);
	rmdir(mounted);
}

static void pools_that_are_empty(void **state)
{
	static const enum gm_source sources[] = { GM_SOURCE_HUGEANON, GM_SOURCE_HUGEMEMFD };
	struct gm_region_opts opts;
	struct gm_region *region;
	struct test_pool pool;
	struct watch watch;
	size_t i;

	(void)state;
	if (!test_pool_take(&pool, 3))
		test_skip("no pool of huge pages to be had");
	for (i = 0; i < 2; i++) {
		/* Unreserved, so it is populating that finds the pool short. */
		opts = populated(sources[i], 4 * HUGE, 2, &watch);
		opts.mmap_flags = MAP_NORESERVE;
		refuse(&opts, -ENOMEM, "4 of 2048 KiB wanted, the pool has ");
		/* The same when it is locking that finds out. */
		opts.mmap_flags |= MAP_LOCKED;
		opts.flags = 0;
		opts.prealloc_threads = 0;
		opts.progress = NULL;
		opts.progress_opaque = NULL;
		if (!TEST_SANITIZED)
			refuse(&opts, -ENOMEM, "4 of 2048 KiB wanted, the pool has ");
		opts = populated(sources[i], 3 * HUGE, 2, &watch);
		region = make(&opts);
		assert_int_equal(test_number_in("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"), 0);
		check_watch(&watch, 3 * HUGE);
		gm_region_unref(region);
		assert_int_equal(test_number_in("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"), 3);
	}
	test_pool_give(&pool);
}

/* A kernel that doesn't know how to populate: through a shared file's descriptor, or not at all. */
static void kernels_before_5_14(void **state)
{
	static const struct {
		enum gm_source source;
		unsigned prot;
		bool can;
	} cases[] = {
		{ GM_SOURCE_MEMFD, 0, true },
		{ GM_SOURCE_MEMFD, GM_READ, false },
		{ GM_SOURCE_ANON, 0, false },
	};
	struct gm_region *region;
	struct stat status;
	size_t i;
	long n;
	int r;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct gm_region_opts opts = populated(cases[i].source, 65536, 1, NULL);
		bool filled = false, refused = false;

		opts.prot = cases[i].prot;
		for (n = 1; n < 100; n++) {
			region = NULL;
			gmi_fault_arm(n, EINVAL);
			r = gm_region_new(&opts, &region, NULL);
			if (!gmi_fault_fired())
				break;
			gmi_fault_arm(0, 0);
			refused |= r == -EOPNOTSUPP;
			if (r == 0) {
				assert_int_equal(fstat(gm_region_fd(region), &status), 0);
				assert_int_equal(status.st_blocks * 512, 65536);
				assert_int_equal(test_kib(gm_region_hva(region), "Rss:"), 0);
				filled = true;
				gm_region_unref(region);
			}
		}
		gmi_fault_arm(0, 0);
		gm_region_unref(region);
		assert_int_equal(filled, cases[i].can);
		assert_int_equal(refused, !cases[i].can);
	}
}

/* A joined thread is gone for us a moment before the kernel lists it no more. */
static bool tasks_go_down_to(unsigned tasks)
{
	int i;

	for (i = 0; i < 1000; i++) {
		if (test_count_entries("/proc/self/task") == tasks)
			return true;
		usleep(1000);
	}
	return false;
}

/* Steps on other threads fail too: all are joined, nothing stays. */
static void each_step_fails_on_some_thread(void **state)
{
	struct gm_region_opts opts = populated(GM_SOURCE_MEMFD, 16 * GM_MIB, 3, NULL);
	struct test_resources before;
	struct gm_region *region;
	struct gm_error error;
	bool no_thread = false;
	unsigned tasks;
	long n;
	int r;

	(void)state;
	gm_region_unref(make(&opts));
	/* This thread and, in some builds, a sanitizer's. */
	usleep(10000);
	tasks = test_count_entries("/proc/self/task");
	for (n = 1; n < 100; n++) {
		before = test_count(NULL);
		gmi_fault_arm(n, EAGAIN);
		r = gm_region_new(&opts, &region, &error);
		if (!gmi_fault_fired())
			break;
		assert_true(r == -EAGAIN || r == -ENOMEM);
		no_thread |= strstr(error.text, "starting threads") != NULL;
		assert_int_equal(test_count_entries("/proc/self/fd"), before.fds);
		assert_true(tasks_go_down_to(tasks));
	}
	gmi_fault_arm(0, 0);
	assert_int_equal(r, 0);
	gm_region_unref(region);
	assert_true(no_thread);
	/* Struct and mapping; memfd, its four calls; place, advice; two threads; eight chunks. */
	assert_true(n > 18);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_pages_are_there),
		cmocka_unit_test(without_it_nothing_is_there),
		cmocka_unit_test(files_read_and_copied),
		cmocka_unit_test(progress_cancels),
		cmocka_unit_test(files_that_shrink),
		cmocka_unit_test(file_systems_that_are_full),
		cmocka_unit_test(pools_that_are_empty),
		cmocka_unit_test(kernels_before_5_14),
		cmocka_unit_test(each_step_fails_on_some_thread),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

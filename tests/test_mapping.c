/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * How sources are mapped: guards, alignment, protection, advice, locking; and that failures on the way don't lose track
 * of it.
 */
#include "sources.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static sigjmp_buf back;
static siginfo_t fault;

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	fault = *info;
	siglongjmp(back, 1);
}

/*
 * Whether touching the byte is a SIGSEGV in a page that is there but must not be touched: a hole would say SEGV_MAPERR.
 */
static bool is_guarded(volatile unsigned char *address, bool write)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO }, before;
	volatile bool faulted = true;

	memset(&fault, 0, sizeof(fault));
	assert_int_equal(sigaction(SIGSEGV, &action, &before), 0);
	if (sigsetjmp(back, 1) == 0) {
		if (write)
			*address = 1;
		else
			(void)*address;
		faulted = false;
	}
	assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
	return faulted && fault.si_addr == (void *)address && fault.si_code == SEGV_ACCERR;
}

static void guards_stand(const struct gm_region *region)
{
	unsigned char *hva = gm_region_hva(region);
	uint64_t bytes = gm_region_bytes(region), page = (uint64_t)sysconf(_SC_PAGESIZE);

	assert_true(is_guarded(hva - 1, false));
	assert_true(is_guarded(hva - 1, true));
	assert_true(is_guarded(hva - page, false));
	assert_true(is_guarded(hva + bytes, false));
	assert_true(is_guarded(hva + bytes, true));
	assert_true(is_guarded(hva + bytes + page - 1, false));
	assert_false(is_guarded(hva, true));
	assert_false(is_guarded(hva + bytes - 1, true));
}

static void guards_on_both_sides(void **state)
{
	static const uint64_t sizes[] = { 65536, 2 * GM_MIB, 6 * GM_MIB + 65536 };
	static const enum gm_source sources[] = { GM_SOURCE_ANON, GM_SOURCE_MEMFD };
	struct gm_region *region;
	size_t i;

	(void)state;
	for (i = 0; i < 6; i++) {
		struct gm_region_opts opts = options(sources[i % 2], sizes[i / 2]);
		struct test_resources before = test_count(NULL);

		region = make(&opts);
		guards_stand(region);
		gm_region_unref(region);
		assert_nothing_left(before, NULL);
	}
}

static void guards_of_huge_pages(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_HUGEANON, HUGE);
	struct gm_region *region;
	struct test_pool pool;
	int i;

	(void)state;
	if (!test_pool_take(&pool, 1))
		test_skip("no pool of huge pages to be had");
	for (i = 0; i < 2; i++) {
		region = make(&opts);
		guards_stand(region);
		gm_region_unref(region);
		opts.source = GM_SOURCE_HUGEMEMFD;
	}
	test_pool_give(&pool);
}

static void alignment(void **state)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), huge = page * (page / 8);
	struct gm_region_opts opts = options(GM_SOURCE_ANON, huge);
	const char *path = in_directory("f");
	struct gm_region *region;
	uint64_t offset;
	int fd;

	(void)state;
	region = make(&opts);
	assert_int_equal((uintptr_t)gm_region_hva(region) % huge, 0);
	gm_region_unref(region);
	opts.source = GM_SOURCE_MEMFD;
	region = make(&opts);
	assert_int_equal((uintptr_t)gm_region_hva(region) % huge, 0);
	gm_region_unref(region);
	/* A file's huge pages stand at multiples of their size in the file. */
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, (off_t)(3 * huge)), 0);
	opts.source = GM_SOURCE_FILE;
	opts.path = path;
	for (offset = 0; offset <= 2 * huge; offset += huge / 4 + page) {
		opts.fd_offset = offset;
		region = make(&opts);
		assert_int_equal((uintptr_t)gm_region_hva(region) % huge, offset % huge);
		gm_region_unref(region);
	}
	close(fd);
	unlink(path);
}

static void transparent_huge_pages(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_ANON, 4 * GM_MIB);
	char enabled[64] = "";
	struct gm_region *region;
	int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);

	(void)state;
	if (fd < 0 || read(fd, enabled, sizeof(enabled) - 1) <= 0 || strstr(enabled, "[never]") != NULL) {
		close(fd);
		test_skip("this system has no transparent huge pages");
	}
	close(fd);
	opts.huge = GM_HUGE_TRANSPARENT;
	region = make(&opts);
	assert_int_equal(gm_region_huge(region), GM_HUGE_TRANSPARENT);
	assert_true(test_vm_flag(gm_region_hva(region), "hg"));
	memset(gm_region_hva(region), 1, 4 * GM_MIB);
	assert_int_equal(test_kib(gm_region_hva(region), "AnonHugePages:"), 4096);
	gm_region_unref(region);
	opts.huge = GM_HUGE_NEVER;
	region = make(&opts);
	assert_true(test_vm_flag(gm_region_hva(region), "nh"));
	memset(gm_region_hva(region), 1, 4 * GM_MIB);
	assert_int_equal(test_kib(gm_region_hva(region), "AnonHugePages:"), 0);
	gm_region_unref(region);
}

static void advice(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_MEMFD, 65536);
	struct gm_region *region = make(&opts);
	unsigned char *hva = gm_region_hva(region);

	(void)state;
	assert_true(test_vm_flag(hva, "dc"));
	assert_true(test_vm_flag(hva - 1, "dc"));
	assert_true(test_vm_flag(hva + 65536, "dc"));
	assert_false(test_vm_flag(hva, "dd"));
	assert_false(test_vm_flag(hva, "nr"));
	assert_false(test_vm_flag(hva, "lo"));
	gm_region_unref(region);
	opts.flags = GM_REGION_FORK | GM_REGION_DONTDUMP;
	opts.mmap_flags = MAP_NORESERVE | MAP_LOCKED;
	region = make(&opts);
	hva = gm_region_hva(region);
	assert_false(test_vm_flag(hva, "dc"));
	assert_true(test_vm_flag(hva, "dd"));
	assert_true(test_vm_flag(hva, "nr"));
	if (!TEST_SANITIZED) {
		assert_true(test_vm_flag(hva, "lo"));
		assert_int_equal(test_kib(hva, "Rss:"), 64);
	}
	assert_int_equal(gm_region_mmap_flags(region), MAP_SHARED | MAP_NORESERVE | MAP_LOCKED);
	gm_region_unref(region);
}

static void children_have_it_or_not(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_ANON, 65536);
	struct gm_region *region;
	unsigned char residency[16];
	int i, status;
	pid_t child;

	(void)state;
	for (i = 0; i < 2; i++) {
		opts.flags = i == 0 ? 0 : GM_REGION_FORK;
		region = make(&opts);
		*(char *)gm_region_hva(region) = 7;
		child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			/* Fails where nothing is mapped. */
			if (mincore(gm_region_hva(region), 65536, residency) != 0)
				_exit(100);
			_exit(*(char *)gm_region_hva(region));
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), i == 0 ? 100 : 7);
		gm_region_unref(region);
	}
}

static void protection(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_MEMFD, 65536);
	struct gm_region *region;

	(void)state;
	opts.prot = GM_READ;
	region = make(&opts);
	assert_int_equal(gm_region_prot(region), GM_READ);
	assert_true(is_guarded(gm_region_hva(region), true));
	assert_false(is_guarded(gm_region_hva(region), false));
	assert_int_equal(pwrite(gm_region_fd(region), "f", 1, 0), 1);
	assert_int_equal(*(char *)gm_region_hva(region), 'f');
	assert_false(test_vm_flag(gm_region_hva(region), "ex"));
	gm_region_unref(region);
	opts.prot = GM_READ | GM_EXEC;
	region = make(&opts);
	assert_true(test_vm_flag(gm_region_hva(region), "ex"));
	assert_false(test_vm_flag(gm_region_hva(region), "wr"));
	gm_region_unref(region);
}

static void more_than_may_be_locked(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_ANON, 16 * GM_MIB);
	struct rlimit limit = { 65536, 65536 }, before;

	(void)state;
	if (geteuid() != 0)
		test_skip("only root can lower and restore the limit");
	if (TEST_SANITIZED)
		test_skip("the sanitizer keeps mlock from doing anything");
	opts.mmap_flags = MAP_LOCKED;
	assert_int_equal(chmod(directory, 0755), 0);
	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
	limit.rlim_max = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	assert_int_equal(seteuid(65534), 0);
	refuse(&opts, -ENOMEM, "locking");
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
}

/* Counts the steps that may fail with @code and the region be made all the same. */
static int survivors(const struct gm_region_opts *opts, int code)
{
	struct test_resources before = test_count(NULL);
	struct gm_region *region;
	int count = 0, r;
	long n;

	for (n = 1; n < 100; n++) {
		gmi_fault_arm(n, code);
		r = gm_region_new(opts, &region, NULL);
		if (!gmi_fault_fired())
			break;
		gmi_fault_arm(0, 0);
		if (r == 0) {
			guards_stand(region);
			gm_region_unref(region);
			count++;
		}
		assert_nothing_left(before, NULL);
	}
	gmi_fault_arm(0, 0);
	assert_int_equal(r, 0);
	gm_region_unref(region);
	return count;
}

static void another_thread_was_quicker(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_MEMFD, 65536);

	(void)state;
	/* Between giving up the middle and claiming it: tried again elsewhere. */
	assert_int_equal(survivors(&opts, EEXIST), 1);
}

static void kernels_without_transparent_huge_pages(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_ANON, 65536);

	(void)state;
	assert_int_equal(survivors(&opts, EINVAL), 0);
	opts.huge = GM_HUGE_TRANSPARENT;
	assert_int_equal(survivors(&opts, EINVAL), 1);
	opts.huge = GM_HUGE_NEVER;
	assert_int_equal(survivors(&opts, EINVAL), 1);
}

#define BUSY_ROUNDS 400

/*
 * Maps, marks, checks and unmaps memory of just the size that regions have: whoever unmapped it meanwhile had no right
 * to.
 */
static void *busy_mapper(void *opaque)
{
	size_t bytes = *(size_t *)opaque;
	intptr_t lost = 0;
	int i;

	for (i = 0; i < BUSY_ROUNDS; i++) {
		unsigned char *mine = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (mine == MAP_FAILED)
			continue;
		mine[0] = 0x77;
		sched_yield();
		lost += mincore(mine, bytes, (unsigned char[16]){ 0 }) != 0 || mine[0] != 0x77;
		munmap(mine, bytes);
	}
	return (void *)lost;
}

/* Regions made, and failed to be made, while other threads map memory: nobody takes anybody's. */
static void beside_other_threads(void **state)
{
	size_t bytes = 65536;
	struct gm_region_opts opts = options(GM_SOURCE_ANON, bytes);
	struct gm_region *region;
	pthread_t threads[2];
	void *lost;
	int i;

	(void)state;
	for (i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, busy_mapper, &bytes), 0);
	for (i = 0; i < BUSY_ROUNDS; i++) {
		/* Every other one fails behind the point where its place is chosen. */
		gmi_fault_arm(i % 2 ? 5 : 0, ENOMEM);
		if (gm_region_new(&opts, &region, NULL) == 0) {
			assert_int_equal(i % 2, 0);
			*(char *)gm_region_hva(region) = 1;
			gm_region_unref(region);
		}
	}
	gmi_fault_arm(0, 0);
	for (i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(threads[i], &lost), 0);
		assert_null(lost);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guards_on_both_sides),
		cmocka_unit_test(guards_of_huge_pages),
		cmocka_unit_test(alignment),
		cmocka_unit_test(transparent_huge_pages),
		cmocka_unit_test(advice),
		cmocka_unit_test(children_have_it_or_not),
		cmocka_unit_test(protection),
		cmocka_unit_test(more_than_may_be_locked),
		cmocka_unit_test(another_thread_was_quicker),
		cmocka_unit_test(kernels_without_transparent_huge_pages),
		cmocka_unit_test(beside_other_threads),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

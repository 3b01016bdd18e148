/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* A membarrier that fails for want of memory is tried again: it must neither be left out nor stop the process. */
#include "support.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>

static int failures, barriers;

/* Stands in for the C library's, whose callers are in this program and in libraries. */
long syscall(long number, ...)
{
	long (*real)(long number, ...) = (long (*)(long number, ...))(uintptr_t)dlsym(RTLD_NEXT, "syscall");
	long a[6];
	va_list args;

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_membarrier && (int)a[0] == MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
		if (failures > 0) {
			failures--;
			errno = ENOMEM;
			return -1;
		}
		barriers++;
	}
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void is_tried_until_it_is_done(void **state)
{
	struct gm_region *region = test_bare("a", GM_RESERVED, 0, GM_PAGE_BYTES);
	struct gm_space *space;
	struct gm_update *update;

	(void)state;
	if (syscall(SYS_membarrier, (long)MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0L, 0L, 0L, 0L, 0L) != 0)
		test_skip("this kernel has no membarrier");
	assert_int_equal(gm_space_new(NULL, &space, NULL), 0);
	update = gm_update_begin(space);
	(void)gm_update_insert(update, region);
	failures = 3;
	assert_int_equal(gm_update_commit(update, NULL), 0);
	assert_int_equal(failures, 0);
	assert_int_equal(barriers, 1);
	gm_region_unref(region);
	gm_space_unref(space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_tried_until_it_is_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

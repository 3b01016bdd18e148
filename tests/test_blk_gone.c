/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The block device on memory that goes away under it: who shares the guest's memory truncates it, in front of a request or while the
 * disk is at it. Requests whose data is gone end in an error, all others in their data.
 */
#include "blk_fixture.h"

#include <unistd.h>

#define GONE  (BLK_DATA + UINT64_C(0x100000)) /* from here on, when it is */
#define BYTES 8192

static struct blk_machine machine;

static void begin(void)
{
	assert_int_equal(gm_fault_guard_install(NULL), 0);
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_FIXED, .shared = true });
}

static void end(void)
{
	blk_machine_fini(&machine);
	assert_int_equal(gm_fault_guard_remove(), 0);
}

static void truncate_memory(void *unused)
{
	(void)unused;
	assert_int_equal(ftruncate(machine.shared_fd, GONE - BLK_BASE), 0);
}

/* What stays works: its data comes and goes. */
static void expect_the_rest_to_work(void)
{
	unsigned char data[BYTES];

	memset(data, 0x5a, sizeof(data));
	blk_put(&machine, BLK_DATA, data, sizeof(data));
	assert_int_equal(blk_one(&machine, VBLK_T_OUT, 32, BLK_DATA, BYTES), VBLK_S_OK);
	assert_memory_equal(machine.disk.bytes + 32 * 512, data, BYTES);
	assert_int_equal(blk_one(&machine, VBLK_T_IN, 64, GONE - BYTES, BYTES), VBLK_S_OK);
	blk_get(&machine, GONE - BYTES, data, BYTES);
	assert_memory_equal(machine.disk.bytes + 64 * 512, data, BYTES);
}

static void expect_errors(void)
{
	/* More than once: the first one meets the fault, the next ones what took the page's place. */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(blk_one(&machine, VBLK_T_OUT, 0, GONE, BYTES), VBLK_S_IOERR);
		assert_int_equal(blk_one(&machine, VBLK_T_IN, 0, GONE, BYTES), VBLK_S_IOERR);
		assert_int_equal(blk_one(&machine, VBLK_T_IN, 0, GONE + BYTES, BYTES), VBLK_S_IOERR);
		/* A part of it. */
		assert_int_equal(blk_one(&machine, VBLK_T_OUT, 0, GONE - BYTES / 2, BYTES), VBLK_S_IOERR);
		assert_int_equal(blk_one(&machine, VBLK_T_GET_ID, 0, GONE + 4 * BYTES, 20), VBLK_S_IOERR);
	}
	expect_the_rest_to_work();
	assert_int_equal(machine.breaks, 0);
}

static void gone_before(void **state)
{
	(void)state;
	begin();
	expect_the_rest_to_work();
	truncate_memory(NULL);
	expect_errors();
	end();
}

static void gone_while_the_disk_is_at_it(void **state)
{
	(void)state;
	begin();
	/* The device has its pointers by then. */
	machine.disk.on_transfer = truncate_memory;
	assert_int_equal(blk_one(&machine, VBLK_T_OUT, 0, GONE, BYTES), VBLK_S_IOERR);
	machine.disk.on_transfer = NULL;
	expect_errors();
	end();
}

/* Not only data: the queue itself. The device stops it, and lives. */
static void gone_queue(void **state)
{
	(void)state;
	begin();
	assert_int_equal(ftruncate(machine.shared_fd, 0), 0);
	assert_true(vblk_queue_run(machine.vblk, 0) < 0);
	assert_int_equal(machine.breaks, 1);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gone_before),
		cmocka_unit_test(gone_while_the_disk_is_at_it),
		cmocka_unit_test(gone_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

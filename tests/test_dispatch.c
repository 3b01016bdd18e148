/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Access by call: which calls a register sees for which access, who may reach registers, what a failing device means, and
 * that a device never arrives at its own registers.
 */
#include "access_world.h"

#include <sys/uio.h>

#define RAM     UINT64_C(0x1000)
#define DEVICE  UINT64_C(0x2000) /* adjacent to it, tag 7 */
#define OTHER   UINT64_C(0x3000) /* adjacent to that, tag 8 */
#define REMOTE  UINT64_C(0x5000) /* RAM behind callbacks */
#define ODD     UINT64_C(0x7004) /* registers that begin in the middle of an aligned object */
#define NOBODY  UINT64_C(0x8000) /* registers that somebody else answers for */
#define REGIONS 5

static struct world world;

enum { R_RAM, R_DEVICE, R_OTHER, R_REMOTE, R_ODD };

static void make(unsigned flags)
{
	static const struct spec specs[REGIONS] = {
		[R_RAM] = { .first = RAM, .bytes = PAGE },
		[R_DEVICE] = { .first = DEVICE, .bytes = PAGE, .kind = GM_DEVICE, .tag = 7 },
		[R_OTHER] = { .first = OTHER, .bytes = PAGE, .kind = GM_DEVICE, .tag = 8 },
		[R_REMOTE] = { .first = REMOTE, .bytes = 2 * PAGE, .callbacks = true },
		[R_ODD] = { .first = ODD, .bytes = 100, .kind = GM_DEVICE, .tag = 9 },
	};

	world_new(&world, specs, REGIONS, GM_ALL_KINDS, flags);
	world_reset(&world, 1);
}

static int setup(void **state)
{
	(void)state;
	make(GM_VIEW_DISPATCH);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_free(&world);
	return 0;
}

/* A log of the calls that a register sees. */
static struct {
	uint64_t offset;
	size_t bytes;
} seen[64];
static unsigned seen_count;

static void record(void *opaque)
{
	struct store *store = opaque;

	assert_true(seen_count < 64);
	seen[seen_count].offset = store->last_offset;
	seen[seen_count++].bytes = store->last_bytes;
}

static void expect_calls(unsigned count, const uint64_t (*expected)[2])
{
	assert_int_equal(seen_count, count);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(seen[i].offset, expected[i][0]);
		assert_int_equal(seen[i].bytes, expected[i][1]);
	}
	seen_count = 0;
}

static void record_calls(unsigned region)
{
	world.stores[region].hook = record;
	world.stores[region].opaque = &world.stores[region];
	seen_count = 0;
}

static void objects_are_one_call(void **state)
{
	uint8_t n8;
	uint16_t n16;
	uint32_t n32;
	uint64_t n64, buffer;

	(void)state;
	record_calls(R_DEVICE);
	assert_int_equal(gm_load_u8(&world.view, gm_gpa(DEVICE + 3), GM_RELAXED, &n8), 0);
	expect_calls(1, (const uint64_t[][2]){ { 3, 1 } });
	assert_int_equal(gm_load_le16(&world.view, gm_gpa(DEVICE + 6), GM_ACQUIRE, &n16), 0);
	expect_calls(1, (const uint64_t[][2]){ { 6, 2 } });
	assert_int_equal(gm_load_be32(&world.view, gm_gpa(DEVICE + 12), GM_SEQ_CST, &n32), 0);
	expect_calls(1, (const uint64_t[][2]){ { 12, 4 } });
	assert_int_equal(gm_load_u64(&world.view, gm_gpa(DEVICE + PAGE - 8), GM_RELAXED, &n64), 0);
	expect_calls(1, (const uint64_t[][2]){ { PAGE - 8, 8 } });
	assert_memory_equal(&n64, world_bytes(&world, R_DEVICE) + PAGE - 8, 8);
	assert_int_equal(gm_store_u32(&world.view, gm_gpa(DEVICE + 4), GM_RELEASE, 0x12345678), 0);
	expect_calls(1, (const uint64_t[][2]){ { 4, 4 } });
	for (unsigned bytes = 1; bytes <= 8; bytes *= 2) {
		assert_int_equal(gm_read(&world.view, gm_gpa(DEVICE + 16), &buffer, bytes), 0);
		expect_calls(1, (const uint64_t[][2]){ { 16, bytes } });
		assert_int_equal(gm_write(&world.view, gm_gpa(DEVICE + 16), &buffer, bytes), 0);
		expect_calls(1, (const uint64_t[][2]){ { 16, bytes } });
	}
}

/* Everything else is taken apart as the guest's bus would. */
static void the_rest_is_taken_apart(void **state)
{
	unsigned char buffer[32];
	uint32_t n32;
	uint64_t n64;

	(void)state;
	record_calls(R_DEVICE);
	assert_int_equal(gm_read(&world.view, gm_gpa(DEVICE + 1), buffer, 24), 0);
	expect_calls(6, (const uint64_t[][2]){ { 1, 1 }, { 2, 2 }, { 4, 4 }, { 8, 8 }, { 16, 8 }, { 24, 1 } });
	assert_memory_equal(buffer, world_bytes(&world, R_DEVICE) + 1, 24);
	assert_int_equal(gm_write(&world.view, gm_gpa(DEVICE + 30), buffer, 5), 0);
	expect_calls(3, (const uint64_t[][2]){ { 30, 2 }, { 32, 2 }, { 34, 1 } });
	assert_memory_equal(buffer, world_bytes(&world, R_DEVICE) + 30, 5);
	assert_int_equal(gm_load_u32(&world.view, gm_gpa(DEVICE + 2), GM_RELAXED, &n32), 0);
	expect_calls(2, (const uint64_t[][2]){ { 2, 2 }, { 4, 2 } });
	assert_int_equal(gm_fill(&world.view, gm_gpa(DEVICE + 40), 9, 12), 0);
	expect_calls(2, (const uint64_t[][2]){ { 40, 8 }, { 48, 4 } });
	assert_int_equal(gm_copy(&world.view, gm_gpa(RAM), gm_gpa(DEVICE + 4), 12), 0);
	expect_calls(2, (const uint64_t[][2]){ { 4, 4 }, { 8, 8 } });
	assert_int_equal(gm_copy(&world.view, gm_gpa(DEVICE + 64), gm_gpa(RAM + 1), 8), 0);
	expect_calls(1, (const uint64_t[][2]){ { 64, 8 } });
	/* What counts is the address, as on a bus, not where in its region that is. */
	record_calls(R_ODD);
	assert_int_equal(gm_load_u64(&world.view, gm_gpa(ODD + 4), GM_RELAXED, &n64), 0);
	expect_calls(1, (const uint64_t[][2]){ { 4, 8 } });
	assert_int_equal(gm_read(&world.view, gm_gpa(ODD), buffer, 8), 0);
	expect_calls(2, (const uint64_t[][2]){ { 0, 4 }, { 4, 4 } });
	assert_int_equal(gm_read(&world.view, gm_gpa(ODD + 92), buffer, 8), 0);
	expect_calls(1, (const uint64_t[][2]){ { 92, 8 } });
}

/* Memory takes all of a range at once, but where it passes through a buffer. */
static void memory_is_one_call(void **state)
{
	static unsigned char buffer[2 * PAGE];

	(void)state;
	record_calls(R_REMOTE);
	assert_int_equal(gm_read(&world.view, gm_gpa(REMOTE + 1), buffer, 5000), 0);
	expect_calls(1, (const uint64_t[][2]){ { 1, 5000 } });
	assert_int_equal(gm_write(&world.view, gm_gpa(REMOTE + 9), buffer, 8000), 0);
	expect_calls(1, (const uint64_t[][2]){ { 9, 8000 } });
}

static void crossing_into_registers(void **state)
{
	unsigned char data[32], expected[32];

	(void)state;
	world_reset(&world, 5);
	assert_int_equal(gm_read(&world.view, gm_gpa(RAM + PAGE - 16), data, 32), 0);
	memcpy(expected, world_bytes(&world, R_RAM) + PAGE - 16, 16);
	memcpy(expected + 16, world_bytes(&world, R_DEVICE), 16);
	assert_memory_equal(data, expected, 32);
	for (unsigned i = 0; i < 32; i++)
		data[i] = (unsigned char)(i + 1);
	assert_int_equal(gm_write(&world.view, gm_gpa(DEVICE + PAGE - 16), data, 32), 0);
	expect_written(&world, DEVICE + PAGE - 16, data, 32);
}

static void no_pointers_to_registers(void **state)
{
	struct gm_span span;
	struct iovec iovec;
	uint32_t old;
	size_t count;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct gm_gpa at = gm_gpa(i ? DEVICE : REMOTE);

		assert_int_equal(gm_span(&world.view, at, 4, GM_READ, &span), -GM_EUNMAPPED);
		assert_int_equal(gm_iovecs(&world.view, at, 4, GM_READ, &iovec, 1, &count), -GM_EUNMAPPED);
		assert_int_equal(gm_fetch_or_u32(&world.view, at, GM_SEQ_CST, 1, &old), -GM_EUNMAPPED);
	}
	expect_untouched(&world);
}

static void only_for_views_that_dispatch(void **state)
{
	unsigned char buffer[16];
	uint32_t number;

	(void)state;
	world_free(&world);
	make(0);
	assert_int_equal(gm_load_u32(&world.view, gm_gpa(DEVICE), GM_RELAXED, &number), -GM_ENOTRAM);
	assert_int_equal(gm_store_u32(&world.view, gm_gpa(DEVICE), GM_RELAXED, 1), -GM_ENOTRAM);
	assert_int_equal(gm_write(&world.view, gm_gpa(DEVICE - 8), buffer, 16), -GM_ENOTRAM);
	assert_int_equal(world.stores[R_DEVICE].reads + world.stores[R_DEVICE].writes, 0);
	expect_untouched(&world);
	world_free(&world);
	make(GM_VIEW_DISPATCH);
}

static void owner_never_reaches_its_own(void **state)
{
	unsigned char buffer[16] = { 0 };
	uint32_t number = 0x77;

	(void)state;
	world_reset(&world, 2);
	gm_view_set_owner(&world.view, 7);
	assert_int_equal(gm_load_u32(&world.view, gm_gpa(DEVICE), GM_RELAXED, &number), -GM_EREENTRY);
	assert_int_equal(gm_store_u32(&world.view, gm_gpa(DEVICE), GM_RELAXED, 1), -GM_EREENTRY);
	assert_int_equal(gm_write(&world.view, gm_gpa(DEVICE - 8), buffer, 16), -GM_EREENTRY);
	assert_int_equal(gm_write_some(&world.view, gm_gpa(DEVICE), buffer, 16), -GM_EREENTRY);
	assert_int_equal(number, 0x77);
	expect_untouched(&world);
	assert_int_equal(gm_load_u32(&world.view, gm_gpa(OTHER), GM_RELAXED, &number), 0);
	gm_view_set_owner(&world.view, 1234);
	assert_int_equal(gm_load_u32(&world.view, gm_gpa(DEVICE), GM_RELAXED, &number), 0);
}

/* Re-entry: what a device does from inside of its call, through a view of its own. */
static struct {
	struct gm_view view;
	uint64_t target;
	unsigned depth, depth_max;
	int read, write, object, remote;
	int64_t part;
} inner;

static void reenter(void *opaque)
{
	unsigned char buffer[16];
	uint32_t number;

	(void)opaque;
	if (++inner.depth > inner.depth_max)
		inner.depth_max = inner.depth;
	if (inner.depth == 1) {
		inner.read = gm_read(&inner.view, gm_gpa(inner.target - 8), buffer, 16);
		inner.write = gm_write(&inner.view, gm_gpa(inner.target - 8), buffer, 16);
		inner.part = gm_write_some(&inner.view, gm_gpa(inner.target), buffer, 16);
		inner.object = gm_load_u32(&inner.view, gm_gpa(inner.target), GM_RELAXED, &number);
		inner.remote = gm_read(&inner.view, gm_gpa(REMOTE), buffer, 16);
	}
	inner.depth--;
}

static void inside_of_a_call(uint64_t target)
{
	uint32_t number;

	memset(&inner, 0, sizeof(inner));
	inner.target = target;
	assert_int_equal(gm_view_init(&inner.view, world.memory, "inner", GM_VIEW_DISPATCH), 0);
	gm_view_enter(&inner.view);
	world.stores[R_DEVICE].hook = reenter;
	assert_int_equal(gm_load_u32(&world.view, gm_gpa(DEVICE), GM_RELAXED, &number), 0);
	world.stores[R_DEVICE].hook = NULL;
	gm_view_leave(&inner.view);
	assert_int_equal(gm_view_fini(&inner.view), 0);
}

static void device_calls_itself(void **state)
{
	(void)state;
	world_reset(&world, 6);
	inside_of_a_call(DEVICE);
	assert_int_equal(inner.depth_max, 1);
	assert_int_equal(inner.read, -GM_EREENTRY);
	assert_int_equal(inner.write, -GM_EREENTRY);
	assert_int_equal(inner.part, -GM_EREENTRY);
	assert_int_equal(inner.object, -GM_EREENTRY);
	assert_int_equal(inner.remote, 0);
	/* Refused before the RAM in front of the registers was written. */
	expect_untouched(&world);
}

static void device_calls_another(void **state)
{
	(void)state;
	world_reset(&world, 7);
	inside_of_a_call(OTHER + 64);
	assert_int_equal(inner.depth_max, 1);
	assert_int_equal(inner.read, 0);
	assert_int_equal(inner.write, 0);
	assert_int_equal(inner.object, 0);
	assert_int_equal(inner.part, 16);
}

/* Through another device: DEVICE calls OTHER, which calls DEVICE. The outermost call is open all the time. */
static int back_again;

static void call_back(void *opaque)
{
	uint32_t number;

	(void)opaque;
	back_again = gm_load_u32(&inner.view, gm_gpa(DEVICE), GM_RELAXED, &number);
}

static void device_is_called_back(void **state)
{
	uint32_t number;

	(void)state;
	world_reset(&world, 8);
	back_again = 1;
	world.stores[R_OTHER].hook = call_back;
	inside_of_a_call(OTHER + 64);
	world.stores[R_OTHER].hook = NULL;
	assert_int_equal(back_again, -GM_EREENTRY);
	assert_int_equal(inner.read, 0);
	/* All over: the same call is fine again. */
	assert_int_equal(gm_load_u32(&world.view, gm_gpa(DEVICE), GM_RELAXED, &number), 0);
	assert_int_equal(gm_load_u32(&world.view, gm_gpa(OTHER), GM_RELAXED, &number), 0);
}

/* Memory behind callbacks that reads itself would do so for ever. */
static int64_t remote_result;

static void read_remote(void *opaque)
{
	unsigned char byte;

	(void)opaque;
	remote_result = gm_read_some(&world.view, gm_gpa(REMOTE + PAGE), &byte, 1);
}

static void memory_calls_itself(void **state)
{
	unsigned char byte;

	(void)state;
	remote_result = 1;
	world.stores[R_REMOTE].hook = read_remote;
	assert_int_equal(gm_read(&world.view, gm_gpa(REMOTE), &byte, 1), 0);
	world.stores[R_REMOTE].hook = NULL;
	assert_int_equal(remote_result, -GM_EREENTRY);
}

/* Any result but 0 is a failure, and says no more than that; the guard is down again after it. */
static void device_fails(void **state)
{
	static const int results[] = { -EIO, -GM_EHOLE, -12345, 1, 8 };
	struct store *store = &world.stores[R_DEVICE];
	unsigned char buffer[16] = { 0 };
	uint32_t number;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		store->fail_after = 0;
		store->fail_with = results[i];
		number = 0x77;
		assert_int_equal(gm_load_u32(&world.view, gm_gpa(DEVICE), GM_RELAXED, &number), -GM_EFAULTED);
		assert_int_equal(number, 0x77);
		assert_int_equal(gm_store_u32(&world.view, gm_gpa(DEVICE), GM_RELAXED, 1), -GM_EFAULTED);
		assert_int_equal(gm_read(&world.view, gm_gpa(DEVICE), buffer, 16), -GM_EFAULTED);
		/* The second of two calls: nothing after it is called. */
		store->fail_after = 1;
		record_calls(R_DEVICE);
		assert_int_equal(gm_write(&world.view, gm_gpa(DEVICE), buffer, 16), -GM_EFAULTED);
		expect_calls(2, (const uint64_t[][2]){ { 0, 8 }, { 8, 8 } });
		store->fail_after = 1;
		assert_int_equal(gm_write_some(&world.view, gm_gpa(DEVICE - 8), buffer, 24), 8);
		store->fail_after = UINT32_MAX;
		assert_int_equal(gm_load_u32(&world.view, gm_gpa(DEVICE), GM_RELAXED, &number), 0);
		store->hook = NULL;
	}
}

/* Registers without callbacks here: a hypervisor dispatches elsewhere. And a device that can be read only. */
static void nobody_answers(void **state)
{
	static const struct gm_region_io read_only = { .read = store_read };
	unsigned char byte = 0x77;
	struct store store = { .bytes = &byte, .size = 1, .fail_after = UINT32_MAX };
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = "ro",
		.kind = GM_DEVICE,
		.source = GM_SOURCE_CALLBACKS,
		.first = gm_gpa(NOBODY + 1),
		.bytes = 1,
		.prot = GM_READ,
		.io = &read_only,
		.opaque = &store,
	};
	struct gm_region *regions[2];
	struct gm_memory *memory;
	struct gm_view view;
	struct gm_map *map;
	uint8_t number;

	(void)state;
	assert_int_equal(gm_region_new_device("none", gm_gpa(NOBODY), 1, NULL, NULL, &regions[0], NULL), 0);
	assert_int_equal(gm_region_new(&opts, &regions[1], NULL), 0);
	assert_int_equal(gm_map_new(NULL, regions, 2, &map, NULL), 0);
	assert_int_equal(gm_map_memory(map, GM_ALL_KINDS, &memory), 0);
	assert_int_equal(gm_view_init(&view, memory, "device", GM_VIEW_DISPATCH), 0);
	gm_view_enter(&view);
	assert_int_equal(gm_load_u8(&view, gm_gpa(NOBODY), GM_RELAXED, &number), -GM_EUNMAPPED);
	assert_int_equal(gm_store_u8(&view, gm_gpa(NOBODY), GM_RELAXED, 1), -GM_EUNMAPPED);
	assert_int_equal(gm_load_u8(&view, gm_gpa(NOBODY + 1), GM_RELAXED, &number), 0);
	assert_int_equal(number, 0x77);
	assert_int_equal(gm_store_u8(&view, gm_gpa(NOBODY + 1), GM_RELAXED, 1), -GM_EACCESS);
	assert_int_equal(byte, 0x77);
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_memory_unref(memory);
	gm_map_unref(map);
	gm_region_unref(regions[0]);
	gm_region_unref(regions[1]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(objects_are_one_call, setup, teardown),
		cmocka_unit_test_setup_teardown(the_rest_is_taken_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_is_one_call, setup, teardown),
		cmocka_unit_test_setup_teardown(crossing_into_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(no_pointers_to_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(only_for_views_that_dispatch, setup, teardown),
		cmocka_unit_test_setup_teardown(owner_never_reaches_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(device_calls_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(device_calls_another, setup, teardown),
		cmocka_unit_test_setup_teardown(device_is_called_back, setup, teardown),
		cmocka_unit_test_setup_teardown(memory_calls_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(device_fails, setup, teardown),
		cmocka_unit_test(nobody_answers),
	};

	return run_unguarded_and_guarded(tests, NULL, NULL);
}

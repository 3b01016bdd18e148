/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Objects of 1, 2, 4 and 8 bytes in either byte order: at every kind of place, by the inlined path and by the one that is
 * not, with every order; what they refuse; and that an aligned one is never torn.
 */
#include "access_world.h"

#include <pthread.h>

#define RAM    UINT64_C(0x1000) /* two adjacent regions of a page */
#define CALLS  UINT64_C(0x3000) /* behind callbacks, adjacent to them */
#define ODD    UINT64_C(0x4000) /* three bytes behind callbacks, and the rest of the page behind others */
#define RDONLY UINT64_C(0x5000)
#define HOLE   UINT64_C(0x6000)
#define DEVICE UINT64_C(0x7000)
#define WRONLY UINT64_C(0x9000)
#define TOP    (UINT64_MAX - PAGE + 1)

static struct world world;

static int setup(void **state)
{
	static const struct spec specs[] = {
		{ .first = RAM, .bytes = PAGE },
		{ .first = RAM + PAGE, .bytes = PAGE },
		{ .first = CALLS, .bytes = PAGE, .callbacks = true },
		{ .first = ODD, .bytes = 3, .callbacks = true },
		{ .first = ODD + 3, .bytes = PAGE - 3, .callbacks = true },
		{ .first = RDONLY, .bytes = PAGE, .prot = GM_READ },
		{ .first = DEVICE, .bytes = PAGE, .kind = GM_DEVICE },
		{ .first = WRONLY, .bytes = PAGE, .prot = GM_WRITE },
		{ .first = TOP, .bytes = PAGE },
	};

	(void)state;
	world_new(&world, specs, sizeof(specs) / sizeof(specs[0]), GM_ONLY_RAM, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_free(&world);
	return 0;
}

/* All objects behind one type. A load always gives *ret what its own result holds, so that a failed one shows if it wrote. */
#define DEFINE_OBJECT(kind, bits)                                                                                      \
	static int load_##kind##bits(uint64_t at, int order, uint64_t *ret)                                            \
	{                                                                                                              \
		uint##bits##_t number = (uint##bits##_t) * ret;                                                        \
		int r = gm_load_##kind##bits(&world.view, gm_gpa(at), order, &number);                                 \
                                                                                                                       \
		*ret = number;                                                                                         \
		return r;                                                                                              \
	}                                                                                                              \
	static int store_##kind##bits(uint64_t at, int order, uint64_t number)                                         \
	{                                                                                                              \
		return gm_store_##kind##bits(&world.view, gm_gpa(at), order, (uint##bits##_t)number);                  \
	}

DEFINE_OBJECT(u, 8)
DEFINE_OBJECT(u, 16)
DEFINE_OBJECT(u, 32)
DEFINE_OBJECT(u, 64)
DEFINE_OBJECT(le, 16)
DEFINE_OBJECT(le, 32)
DEFINE_OBJECT(le, 64)
DEFINE_OBJECT(be, 16)
DEFINE_OBJECT(be, 32)
DEFINE_OBJECT(be, 64)

enum byte_order { HOST, LE, BE };

static const struct object {
	int (*load)(uint64_t at, int order, uint64_t *ret);
	int (*store)(uint64_t at, int order, uint64_t number);
	enum byte_order byte_order;
	unsigned bytes;
} objects[] = {
	{ load_u8, store_u8, HOST, 1 },   { load_u16, store_u16, HOST, 2 }, { load_u32, store_u32, HOST, 4 },
	{ load_u64, store_u64, HOST, 8 }, { load_le16, store_le16, LE, 2 }, { load_le32, store_le32, LE, 4 },
	{ load_le64, store_le64, LE, 8 }, { load_be16, store_be16, BE, 2 }, { load_be32, store_be32, BE, 4 },
	{ load_be64, store_be64, BE, 8 },
};
#define OBJECTS (sizeof(objects) / sizeof(objects[0]))

/* The number that lies in @bytes. */
static uint64_t decode(const struct object *object, const unsigned char *bytes)
{
	bool little = object->byte_order == LE ||
		      (object->byte_order == HOST && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
	uint64_t number = 0;

	for (unsigned i = 0; i < object->bytes; i++)
		number = number << 8 | bytes[little ? object->bytes - 1 - i : i];
	return number;
}

static const int load_orders[] = { GM_RELAXED, GM_ACQUIRE, GM_SEQ_CST, GM_RELEASE, 99 };
static const int store_orders[] = { GM_RELAXED, GM_RELEASE, GM_SEQ_CST, GM_ACQUIRE, 99 };

static void warm(uint64_t at)
{
	unsigned char byte;

	assert_int_equal(gm_read(&world.view, gm_gpa(at), &byte, 1), 0);
}

/* One place, by the path that its neighbourhood gives and by the other one. */
static void try_place(const struct object *object, uint64_t at, unsigned o)
{
	static const uint64_t hot[] = { RAM, RAM + PAGE, TOP };
	unsigned char expected[8];

	for (unsigned h = 0; h < 3; h++) {
		uint64_t number = UINT64_C(0x0123456789abcdef) * (h + 3) + at;
		uint64_t mask = object->bytes == 8 ? UINT64_MAX : (UINT64_C(1) << object->bytes * 8) - 1, loaded = 0;

		world_reset(&world, h + o);
		for (unsigned i = 0; i < object->bytes; i++)
			expected[i] = *peek(&world, at + i);
		warm(hot[h]);
		assert_int_equal(object->load(at, load_orders[o], &loaded), 0);
		assert_true(loaded == decode(object, expected));
		expect_untouched(&world);
		warm(hot[h]);
		assert_int_equal(object->store(at, store_orders[o], number), 0);
		for (unsigned i = 0; i < object->bytes; i++)
			expected[i] = *peek(&world, at + i);
		assert_true(decode(object, expected) == (number & mask));
		expect_written(&world, at, expected, object->bytes);
	}
}

static void every_place(void **state)
{
	static const uint64_t places[] = {
		RAM,        RAM + 1,   RAM + 8,     RAM + 0xff4, RAM + PAGE - 1, RAM + PAGE - 4, RAM + PAGE - 7,
		RAM + PAGE, CALLS - 1, CALLS - 8,   CALLS + 64,  CALLS + 65,     ODD - 3,        ODD,
		ODD + 2,    TOP,       TOP + 0xff0, CALLS + 66,  RAM + PAGE - 8, CALLS + 0xff8,
	};

	(void)state;
	for (unsigned k = 0; k < OBJECTS; k++)
		for (unsigned p = 0; p < sizeof(places) / sizeof(places[0]); p++)
			for (unsigned o = 0; o < 5; o++)
				try_place(&objects[k], places[p], o);
	/* The last bytes of the address space. */
	for (unsigned k = 0; k < OBJECTS; k++)
		try_place(&objects[k], UINT64_MAX - objects[k].bytes + 1, 0);
}

static void refuse(const struct object *object, uint64_t at, int load_code, int store_code)
{
	for (unsigned o = 0; o < 5; o++) {
		uint64_t loaded = 0x77;

		if (load_code != 0) {
			assert_int_equal(object->load(at, load_orders[o], &loaded), load_code);
			assert_true(loaded == 0x77);
		}
		if (store_code != 0)
			assert_int_equal(object->store(at, store_orders[o], UINT64_MAX), store_code);
	}
	expect_untouched(&world);
}

static void obstacles(void **state)
{
	(void)state;
	world_reset(&world, 1);
	for (unsigned hot = 0; hot < 2; hot++)
		for (unsigned k = 0; k < OBJECTS; k++) {
			const struct object *object = &objects[k];
			unsigned bytes = object->bytes;

			warm(hot ? RDONLY : RAM);
			refuse(object, HOLE, -GM_EHOLE, -GM_EHOLE);
			refuse(object, 0, -GM_EHOLE, -GM_EHOLE);
			refuse(object, RAM - 1, -GM_EHOLE, -GM_EHOLE);
			refuse(object, DEVICE + 8, -GM_ENOTRAM, -GM_ENOTRAM);
			warm(hot ? RDONLY : RAM);
			refuse(object, RDONLY + 16, 0, -GM_EACCESS);
			refuse(object, WRONLY + 16, -GM_EACCESS, 0);
			if (bytes == 1)
				continue;
			warm(hot ? TOP : RDONLY);
			refuse(object, HOLE - 1, -GM_EHOLE, -GM_EACCESS);
			refuse(object, HOLE - bytes + 1, -GM_EHOLE, -GM_EACCESS);
			refuse(object, RDONLY - 1, 0, -GM_EACCESS);
			refuse(object, DEVICE - 1, -GM_EHOLE, -GM_EHOLE);
			refuse(object, UINT64_MAX, -GM_EWRAP, -GM_EWRAP);
			refuse(object, UINT64_MAX - bytes + 2, -GM_EWRAP, -GM_EWRAP);
		}
}

static void outside_a_section(void **state)
{
	(void)state;
	world_reset(&world, 2);
	warm(RAM);
	gm_view_leave(&world.view);
	for (unsigned k = 0; k < OBJECTS; k++) {
		refuse(&objects[k], RAM, -EINVAL, -EINVAL);
		refuse(&objects[k], RAM + PAGE, -EINVAL, -EINVAL);
		refuse(&objects[k], RAM + 1, -EINVAL, -EINVAL);
	}
	gm_view_enter(&world.view);
}

/* An aligned object is one call of its size; a failing call leaves the result alone. */
static void behind_callbacks(void **state)
{
	struct store *store = &world.stores[2];

	(void)state;
	world_reset(&world, 3);
	for (unsigned k = 0; k < OBJECTS; k++) {
		unsigned reads = store->reads, write_calls = store->writes;
		uint64_t number = 0x77;

		assert_int_equal(objects[k].load(CALLS + 0x40, GM_ACQUIRE, &number), 0);
		assert_int_equal(store->reads, reads + 1);
		assert_int_equal(store->last_bytes, objects[k].bytes);
		assert_int_equal(store->last_offset, 0x40);
		assert_int_equal(objects[k].store(CALLS + 0x48, GM_RELEASE, 5), 0);
		assert_int_equal(store->writes, write_calls + 1);
		assert_int_equal(store->last_bytes, objects[k].bytes);
		assert_int_equal(store->last_offset, 0x48);

		world_reset(&world, 4);
		number = 0x77;
		store->fail_after = 0;
		assert_int_equal(objects[k].load(CALLS, GM_RELAXED, &number), -GM_EFAULTED);
		assert_int_equal(objects[k].store(CALLS, GM_RELAXED, 5), -GM_EFAULTED);
		if (objects[k].bytes > 1)
			assert_int_equal(objects[k].load(CALLS - 1, GM_RELAXED, &number), -GM_EFAULTED);
		assert_int_equal(number, 0x77);
		store->fail_after = UINT32_MAX;
		assert_memory_equal(world_bytes(&world, 2), world.saved[2], PAGE);
	}
}

/*
 * Tearing: two threads, each with its own view on the same memory. All bytes of an object are written at once, so a reader
 * never sees two different ones. Each way to write has a turn of its own, in as tight a loop as can be: a torn store is a
 * matter of a nanosecond.
 */
#define TURNS  4
#define ROUNDS 500000

static unsigned stop;

static int write_object(struct gm_view *view, unsigned turn, uint64_t number)
{
	unsigned char byte;
	int r;

	switch (turn) {
	case 0:
		return gm_store_u64(view, gm_gpa(RAM + 64), GM_RELAXED, number);
	case 1:
		return gm_write(view, gm_gpa(RAM + 64), &number, 8);
	case 2: /* by the path that is not inlined */
		r = gm_read(view, gm_gpa(TOP), &byte, 1);
		return r ? r : gm_store_u64(view, gm_gpa(RAM + 64), GM_RELEASE, number);
	default:
		return gm_fill(view, gm_gpa(RAM + 64), (unsigned char)number, 8);
	}
}

static void *alternate(void *opaque)
{
	unsigned turn = *(unsigned *)opaque;
	struct gm_view view;

	assert_int_equal(gm_view_init(&view, world.memory, "writer", 0), 0);
	gm_view_enter(&view);
	for (uint64_t i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++)
		if (write_object(&view, turn, (i & 0xff) * UINT64_C(0x0101010101010101)))
			abort();
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
	return NULL;
}

static void watch(unsigned turn)
{
	uint64_t number, seen[256] = { 0 }, different = 0;

	/* A writer that did not run, or a machine of one processor, proves nothing: go on until it was seen at work. */
	for (unsigned i = 0; i < ROUNDS || different < 3; i++) {
		if (turn == 2 && i % 2)
			warm(TOP);
		if (i % 2)
			assert_int_equal(gm_load_u64(&world.view, gm_gpa(RAM + 64), GM_RELAXED, &number), 0);
		else
			assert_int_equal(gm_read(&world.view, gm_gpa(RAM + 64), &number, 8), 0);
		assert_true(number == (number & 0xff) * UINT64_C(0x0101010101010101));
		different += seen[number & 0xff]++ == 0;
	}
}

static void never_torn(void **state)
{
	pthread_t thread;

	(void)state;
	for (unsigned turn = 0; turn < TURNS; turn++) {
		warm(RAM);
		assert_int_equal(gm_store_u64(&world.view, gm_gpa(RAM + 64), GM_RELAXED, 0), 0);
		__atomic_store_n(&stop, 0, __ATOMIC_RELAXED);
		assert_int_equal(pthread_create(&thread, NULL, alternate, &turn), 0);
		watch(turn);
		__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_place),      cmocka_unit_test(obstacles),  cmocka_unit_test(outside_a_section),
		cmocka_unit_test(behind_callbacks), cmocka_unit_test(never_torn),
	};

	return run_unguarded_and_guarded(tests, setup, teardown);
}

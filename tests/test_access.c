/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Every call that moves bytes against every obstacle: what is whole-or-nothing changes nothing when it fails, what does as
 * much as there is does exactly that, and what was written is exactly what is dirty.
 */
#include "access_world.h"

#define BASE    UINT64_C(0x10000) /* RUN adjacent regions of one page, the sixth and tenth behind callbacks */
#define RUN     20                /* more than a walk remembers */
#define SIZE    (RUN * PAGE)
#define HOLE    (BASE + SIZE)
#define RDONLY  (HOLE + 2 * PAGE)
#define DEVICE  (HOLE + 4 * PAGE)
#define WRONLY  (HOLE + 6 * PAGE)
#define FIRM    (HOLE + 8 * PAGE) /* of a kind that the view does not reach */
#define TOP     (UINT64_MAX - PAGE + 1)
#define SCRATCH UINT64_C(0x100000) /* far from all the others: the other side of copies */

static struct world world;
static unsigned char data[SIZE + 16], got[SIZE + 16];

static int setup(void **state)
{
	struct spec specs[RUN + 12] = { { 0 } };
	unsigned n = 0;

	(void)state;
	for (; n < RUN; n++)
		specs[n] = (struct spec){ .first = BASE + n * PAGE, .bytes = PAGE, .callbacks = n == 5 || n == 9 };
	specs[n++] = (struct spec){ .first = HOLE + PAGE, .bytes = PAGE };
	specs[n++] = (struct spec){ .first = RDONLY, .bytes = PAGE, .prot = GM_READ };
	specs[n++] = (struct spec){ .first = RDONLY + PAGE, .bytes = PAGE };
	specs[n++] = (struct spec){ .first = DEVICE, .bytes = PAGE, .kind = GM_DEVICE };
	specs[n++] = (struct spec){ .first = DEVICE + PAGE, .bytes = PAGE, .no_log = true };
	specs[n++] = (struct spec){ .first = WRONLY, .bytes = PAGE, .prot = GM_WRITE, .callbacks = true };
	specs[n++] = (struct spec){ .first = WRONLY + PAGE, .bytes = PAGE };
	specs[n++] = (struct spec){ .first = FIRM, .bytes = PAGE, .kind = GM_FIRMWARE, .prot = GM_READ | GM_WRITE };
	specs[n++] = (struct spec){ .first = FIRM + PAGE, .bytes = PAGE };
	specs[n++] = (struct spec){ .first = TOP, .bytes = PAGE };
	specs[n++] = (struct spec){ .first = SCRATCH, .bytes = SIZE };
	world_new(&world, specs, n, GM_ONLY_RAM, 0);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(200 - i * 7 - i / 256);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_free(&world);
	return 0;
}

/* The calls under test, by what they do to the range. */
enum call {
	CHECK_READ,
	CHECK_WRITE,
	READ,
	WRITE,
	FILL,
	COPY_FROM, /* the range is the source, SCRATCH the target */
	COPY_TO,
	CALLS,
};

static bool writes(enum call call)
{
	return call == CHECK_WRITE || call == WRITE || call == FILL || call == COPY_TO;
}

static int64_t do_whole(enum call call, uint64_t at, uint64_t bytes)
{
	struct gm_view *view = &world.view;

	switch (call) {
	case CHECK_READ:
		return gm_check(view, gm_gpa(at), bytes, GM_READ);
	case CHECK_WRITE:
		return gm_check(view, gm_gpa(at), bytes, GM_WRITE);
	case READ:
		return gm_read(view, gm_gpa(at), got, bytes);
	case WRITE:
		return gm_write(view, gm_gpa(at), data, bytes);
	case FILL:
		return gm_fill(view, gm_gpa(at), 0xa5, bytes);
	case COPY_FROM:
		return gm_copy(view, gm_gpa(SCRATCH), gm_gpa(at), bytes);
	case COPY_TO:
		return gm_copy(view, gm_gpa(at), gm_gpa(SCRATCH), bytes);
	default:
		return -ENOSYS;
	}
}

static int64_t do_some(enum call call, uint64_t at, uint64_t bytes)
{
	struct gm_view *view = &world.view;

	switch (call) {
	case READ:
		return gm_read_some(view, gm_gpa(at), got, bytes);
	case WRITE:
		return gm_write_some(view, gm_gpa(at), data, bytes);
	case FILL:
		return gm_fill_some(view, gm_gpa(at), 0xa5, bytes);
	case COPY_FROM:
		return gm_copy_some(view, gm_gpa(SCRATCH), gm_gpa(at), bytes);
	case COPY_TO:
		return gm_copy_some(view, gm_gpa(at), gm_gpa(SCRATCH), bytes);
	default:
		return -ENOSYS;
	}
}

/* All is as it has to be after @call did @bytes bytes at @at. */
static void expect_done(enum call call, uint64_t at, uint64_t bytes)
{
	static unsigned char expected[SIZE];

	switch (call) {
	case READ:
		expect_equal(&world, at, got, bytes);
		assert_int_equal(got[bytes], 0xee);
		expect_untouched(&world);
		break;
	case WRITE:
		expect_written(&world, at, data, bytes);
		break;
	case FILL:
		memset(expected, 0xa5, sizeof(expected));
		expect_written(&world, at, expected, bytes);
		break;
	case COPY_FROM:
		for (uint64_t i = 0; i < bytes; i++)
			expected[i] = *peek(&world, at + i);
		expect_written(&world, SCRATCH, expected, bytes);
		break;
	case COPY_TO:
		memcpy(expected, peek(&world, SCRATCH), bytes);
		expect_written(&world, at, expected, bytes);
		break;
	default:
		expect_untouched(&world);
		break;
	}
}

static void try_good(uint64_t at, uint64_t bytes)
{
	for (enum call call = 0; call < CALLS; call++) {
		world_reset(&world, (unsigned)(at >> 12));
		memset(got, 0xee, sizeof(got));
		assert_int_equal(do_whole(call, at, bytes), 0);
		expect_done(call, at, bytes);
		if (call < READ)
			continue;
		world_reset(&world, (unsigned)(at >> 12) + 1);
		memset(got, 0xee, sizeof(got));
		assert_int_equal(do_some(call, at, bytes), bytes);
		expect_done(call, at, bytes);
	}
}

static void good_ranges(void **state)
{
	static const uint64_t sizes[] = { 1, 2, 3, 4, 7, 8, 9, 15, 16, 64, 100, 4095, 4096 };

	(void)state;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		try_good(BASE, sizes[i]);
		try_good(BASE + PAGE - sizes[i], sizes[i]);
		try_good(SCRATCH + 8 * PAGE - 3, sizes[i]);     /* crosses pages of one region */
		try_good(BASE + PAGE - sizes[i] / 2, sizes[i]); /* crosses two regions */
		try_good(BASE + 5 * PAGE - 1, sizes[i] + 1);    /* into callbacks */
		try_good(BASE + 5 * PAGE, sizes[i]);            /* inside callbacks */
		try_good(TOP + PAGE - sizes[i], sizes[i]);      /* the last byte of the address space */
	}
	try_good(UINT64_MAX, 1);
	try_good(BASE, SIZE);
	try_good(BASE, 16 * PAGE);
	try_good(BASE + 1, SIZE - 2);
	try_good(BASE + 3 * PAGE + 5, 9 * PAGE);
	try_good(DEVICE + PAGE, PAGE); /* no log */
}

static void zero_bytes(void **state)
{
	static const uint64_t places[] = { 0, BASE, HOLE, DEVICE, FIRM, UINT64_MAX };

	(void)state;
	for (int inside = 1; inside >= 0; inside--) {
		if (!inside)
			gm_view_leave(&world.view);
		for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++)
			for (enum call call = 0; call < CALLS; call++) {
				world_reset(&world, i);
				assert_int_equal(do_whole(call, places[i], 0), 0);
				if (call >= READ)
					assert_int_equal(do_some(call, places[i], 0), 0);
				expect_untouched(&world);
			}
	}
	gm_view_enter(&world.view);
	/* No buffer is needed for nothing, also where the region is hot. The undefined-behaviour sanitizer watches. */
	for (unsigned i = 0; i < 2; i++) {
		unsigned char byte;

		assert_int_equal(gm_read(&world.view, gm_gpa(BASE), NULL, 0), 0);
		assert_int_equal(gm_write(&world.view, gm_gpa(BASE), NULL, 0), 0);
		assert_int_equal(gm_read(&world.view, gm_gpa(BASE), &byte, 1), 0);
	}
	expect_untouched(&world);
}

struct obstacle {
	const char *what;
	uint64_t at;
	uint64_t bytes;
	uint64_t before; /* bytes that a reader, or a writer, can have */
	int read;
	int write;
};

static const struct obstacle obstacles[] = {
	{ "hole at once", HOLE, 8, 0, -GM_EHOLE, -GM_EHOLE },
	{ "hole at the end", HOLE - PAGE, PAGE + 1, PAGE, -GM_EHOLE, -GM_EHOLE },
	{ "hole in the middle", HOLE - 100, PAGE + 200, 100, -GM_EHOLE, -GM_EHOLE },
	{ "hole behind all of them", BASE, SIZE + 1, SIZE, -GM_EHOLE, -GM_EHOLE },
	{ "hole at the end of one byte too much", HOLE - 7, 8, 7, -GM_EHOLE, -GM_EHOLE },
	{ "hole after the end of nothing", 0, 16, 0, -GM_EHOLE, -GM_EHOLE },
	{ "read-only at once", RDONLY, 8, 0, 0, -GM_EACCESS },
	{ "read-only in the middle", RDONLY - 16, PAGE + 32, 16, 0, -GM_EACCESS },
	{ "device at once", DEVICE + 8, 4, 0, -GM_ENOTRAM, -GM_ENOTRAM },
	{ "device in the middle", DEVICE - 16, PAGE + 32, 16, -GM_ENOTRAM, -GM_ENOTRAM },
	{ "write-only at once", WRONLY, 8, 0, -GM_EACCESS, 0 },
	{ "write-only in the middle", WRONLY - 16, PAGE + 32, 16, -GM_EACCESS, 0 },
	{ "another kind at once", FIRM + 1, 8, 0, -GM_ENOTRAM, -GM_ENOTRAM },
	{ "another kind in the middle", FIRM - 16, PAGE + 32, 16, -GM_ENOTRAM, -GM_ENOTRAM },
	{ "wraps by one", UINT64_MAX, 2, 1, -GM_EWRAP, -GM_EWRAP },
	{ "wraps by an object", UINT64_MAX - 3, 8, 4, -GM_EWRAP, -GM_EWRAP },
	{ "wraps into the first page", TOP, 2 * PAGE, PAGE, -GM_EWRAP, -GM_EWRAP },
};

static void obstacles_whole(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(obstacles) / sizeof(obstacles[0]); i++)
		for (enum call call = 0; call < CALLS; call++) {
			const struct obstacle *o = &obstacles[i];
			int expected = writes(call) ? o->write : o->read;

			/* Once cold, once with the hot region right before the obstacle. */
			for (int hot = 0; hot < 2; hot++) {
				unsigned char byte;

				world_reset(&world, i);
				memset(got, 0xee, sizeof(got));
				assert_true(gm_read_some(&world.view, gm_gpa(hot ? o->at : SCRATCH), &byte, 1) != 0);
				if (expected == 0) {
					assert_int_equal(do_whole(call, o->at, o->bytes), 0);
					expect_done(call, o->at, o->bytes);
					continue;
				}
				if (do_whole(call, o->at, o->bytes) != expected)
					fail_msg("%s: call %d", o->what, call);
				expect_untouched(&world);
				for (size_t k = 0; k < sizeof(got); k++)
					assert_int_equal(got[k], 0xee);
			}
		}
}

static void obstacles_some(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(obstacles) / sizeof(obstacles[0]); i++)
		for (enum call call = READ; call < CALLS; call++) {
			const struct obstacle *o = &obstacles[i];
			int code = writes(call) ? o->write : o->read;
			int64_t expected = code == 0 ? (int64_t)o->bytes : o->before ? (int64_t)o->before : code;

			world_reset(&world, i);
			memset(got, 0xee, sizeof(got));
			if (do_some(call, o->at, o->bytes) != expected)
				fail_msg("%s: call %d", o->what, call);
			expect_done(call, o->at, expected > 0 ? (uint64_t)expected : 0);
		}
}

/* Sizes that no buffer has, where the range is to be refused before a byte is looked at. */
static void absurd_sizes(void **state)
{
	struct gm_view *view = &world.view;

	(void)state;
	world_reset(&world, 9);
	for (int hot = 0; hot < 2; hot++) {
		assert_int_equal(gm_read_some(view, gm_gpa(hot ? BASE : TOP), got, 1), 1);
		assert_int_equal(gm_check(view, gm_gpa(BASE), UINT64_MAX, GM_READ), -GM_EWRAP);
		assert_int_equal(gm_check(view, gm_gpa(BASE), UINT64_MAX - BASE + 2, GM_READ), -GM_EWRAP);
		assert_int_equal(gm_check(view, gm_gpa(BASE), UINT64_MAX - BASE + 1, GM_READ), -GM_EHOLE);
		assert_int_equal(gm_read(view, gm_gpa(BASE), got, UINT64_MAX), -GM_EWRAP);
		assert_int_equal(gm_write(view, gm_gpa(BASE), data, UINT64_MAX), -GM_EWRAP);
		assert_int_equal(gm_fill(view, gm_gpa(BASE), 1, UINT64_MAX), -GM_EWRAP);
		assert_int_equal(gm_fill(view, gm_gpa(BASE), 1, UINT64_MAX - BASE), -GM_EHOLE);
		assert_int_equal(gm_copy(view, gm_gpa(BASE), gm_gpa(0), UINT64_MAX), -GM_EWRAP);
		assert_int_equal(gm_copy(view, gm_gpa(0), gm_gpa(BASE), UINT64_MAX), -GM_EWRAP);
		assert_int_equal(gm_check(view, gm_gpa(0), UINT64_MAX, GM_READ), -GM_EHOLE);
	}
	expect_untouched(&world);
	assert_int_equal(gm_fill_some(view, gm_gpa(BASE), 0xa5, UINT64_MAX), SIZE);
	expect_done(FILL, BASE, SIZE);
	assert_int_equal(gm_fill_some(view, gm_gpa(TOP), 0xa5, UINT64_MAX), PAGE);
	expect_done(FILL, TOP, PAGE);
}

static void bad_arguments(void **state)
{
	(void)state;
	assert_int_equal(gm_check(&world.view, gm_gpa(BASE), 8, 0), -EINVAL);
	assert_int_equal(gm_check(&world.view, gm_gpa(BASE), 8, 4), -EINVAL);
	assert_int_equal(gm_check(&world.view, gm_gpa(BASE), 8, GM_READ | 8), -EINVAL);
	assert_int_equal(gm_check(&world.view, gm_gpa(RDONLY), 8, GM_READ | GM_WRITE), -GM_EACCESS);
	assert_int_equal(gm_check(&world.view, gm_gpa(WRONLY), 8, GM_READ | GM_WRITE), -GM_EACCESS);
	assert_int_equal(gm_check(&world.view, gm_gpa(BASE), 8, GM_READ | GM_WRITE), 0);
}

static void outside_a_section(void **state)
{
	(void)state;
	world_reset(&world, 3);
	assert_int_equal(gm_read(&world.view, gm_gpa(BASE), got, 8), 0); /* hot */
	memset(got, 0xee, sizeof(got));
	gm_view_leave(&world.view);
	for (enum call call = 0; call < CALLS; call++) {
		assert_int_equal(do_whole(call, BASE, 8), -EINVAL);
		if (call >= READ)
			assert_int_equal(do_some(call, BASE, 8), -EINVAL);
	}
	assert_int_equal(got[0], 0xee);
	expect_untouched(&world);
	gm_view_enter(&world.view);
}

/* A callback that fails in the middle: the one case where a part is done. It is marked, and so is what may have been done. */
static void faulted(void **state)
{
	struct store *store = &world.stores[5];
	uint64_t at = BASE + 4 * PAGE, bytes = 3 * PAGE;
	static const int results[] = { -EIO, -EFAULT, -1000, 1, 4096 };

	(void)state;
	for (unsigned i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		store->fail_with = results[i];
		for (enum call call = READ; call < CALLS; call++) {
			world_reset(&world, i);
			store->fail_after = 0;
			assert_int_equal(do_whole(call, at, bytes), -GM_EFAULTED);
			assert_int_equal(collect_pages(&world, 4), writes(call));
			assert_int_equal(collect_pages(&world, 5), writes(call));
			assert_int_equal(collect_pages(&world, 6), 0);
			if (call == WRITE)
				expect_equal(&world, at, data, PAGE);
			assert_memory_equal(world_bytes(&world, 5), world.saved[5], PAGE);
			assert_memory_equal(world_bytes(&world, 6), world.saved[6], PAGE);

			world_reset(&world, i);
			assert_int_equal(do_some(call, at, bytes), PAGE);
			assert_int_equal(do_some(call, at + PAGE, bytes - PAGE), -GM_EFAULTED);
			assert_memory_equal(world_bytes(&world, 6), world.saved[6], PAGE);
		}
	}
	store->fail_after = UINT32_MAX;
}

/* Overlapping copies give what memmove() gives, over one region and over many, mapped and not. */
static void try_overlap(uint64_t base, uint64_t from, uint64_t to, uint64_t bytes, bool whole)
{
	static unsigned char expected[SIZE];

	world_reset(&world, (unsigned)(from ^ to ^ bytes));
	if (from + bytes > base + SIZE || to + bytes > base + SIZE) {
		assert_int_equal(gm_copy(&world.view, gm_gpa(to), gm_gpa(from), bytes), -GM_EHOLE);
		expect_untouched(&world);
		return;
	}
	for (uint64_t i = 0; i < bytes; i++)
		expected[i] = *peek(&world, from + i);
	if (whole)
		assert_int_equal(gm_copy(&world.view, gm_gpa(to), gm_gpa(from), bytes), 0);
	else
		assert_int_equal(gm_copy_some(&world.view, gm_gpa(to), gm_gpa(from), bytes), bytes);
	expect_written(&world, to, expected, bytes);
}

static void overlapping_copies(void **state)
{
	static const uint64_t bases[] = { BASE, SCRATCH };
	static const uint64_t offsets[] = { 5 * PAGE, 5 * PAGE + 17, 6 * PAGE - 3 };
	static const uint64_t sizes[] = { 1, 8, 100, PAGE, 2 * PAGE + 9, 6 * PAGE + 123, 9 * PAGE };
	static const int64_t distances[] = { 0, 1, -1, 8, -8, 500, -500, 4096, -4096, 5000, -5000, 20000, -20000 };

	(void)state;
	for (unsigned b = 0; b < 2; b++)
		for (unsigned o = 0; o < 3; o++)
			for (unsigned s = 0; s < 7; s++)
				for (unsigned d = 0; d < 13; d++) {
					uint64_t from = bases[b] + offsets[o], to = from + (uint64_t)distances[d];

					try_overlap(bases[b], from, to, sizes[s], (o + s + d) % 2);
				}
}

/* A copy that goes backwards and fails has done nothing at its beginning: it does not claim so. */
static void backward_copy_faulted(void **state)
{
	struct store *store = &world.stores[5];

	(void)state;
	world_reset(&world, 1);
	store->fail_after = 0;
	assert_int_equal(gm_copy_some(&world.view, gm_gpa(BASE + 5 * PAGE), gm_gpa(BASE + 4 * PAGE), 3 * PAGE),
			 -GM_EFAULTED);
	store->fail_after = UINT32_MAX;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_ranges),        cmocka_unit_test(zero_bytes),
		cmocka_unit_test(obstacles_whole),    cmocka_unit_test(obstacles_some),
		cmocka_unit_test(absurd_sizes),       cmocka_unit_test(bad_arguments),
		cmocka_unit_test(outside_a_section),  cmocka_unit_test(faulted),
		cmocka_unit_test(overlapping_copies), cmocka_unit_test(backward_copy_faulted),
	};

	return run_unguarded_and_guarded(tests, setup, teardown);
}

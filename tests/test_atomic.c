/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Atomics: what each of them does, of each size and order, what they refuse, what they mark, and that they are indivisible. */
#include "access_world.h"

#include <pthread.h>

#define RAM    UINT64_C(0x1000) /* two adjacent regions of a page */
#define CALLS  UINT64_C(0x3000)
#define RDONLY UINT64_C(0x5000)
#define HOLE   UINT64_C(0x6000)
#define DEVICE UINT64_C(0x7000)
#define WRONLY UINT64_C(0x9000)
#define FIRM   UINT64_C(0xa000)
#define TOP    (UINT64_MAX - PAGE + 1)

static struct world world;

static int setup(void **state)
{
	static const struct spec specs[] = {
		{ .first = RAM, .bytes = PAGE },
		{ .first = RAM + PAGE, .bytes = PAGE },
		{ .first = CALLS, .bytes = PAGE, .callbacks = true },
		{ .first = CALLS + PAGE, .bytes = 3, .callbacks = true },
		{ .first = RDONLY, .bytes = PAGE, .prot = GM_READ },
		{ .first = DEVICE, .bytes = PAGE, .kind = GM_DEVICE },
		{ .first = WRONLY, .bytes = PAGE, .prot = GM_WRITE },
		{ .first = FIRM, .bytes = PAGE, .kind = GM_FIRMWARE, .prot = GM_READ | GM_WRITE },
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

enum verb { EXCHANGE, FETCH_OR, FETCH_AND, FETCH_ADD, SWAP_GOOD, SWAP_BAD, VERBS };

/* All atomics behind one type. SWAP_GOOD expects what is there, SWAP_BAD something else: @expected. */
#define DEFINE_ATOMIC(bits)                                                                                            \
	static int do##bits(enum verb verb, uint64_t at, int order, uint64_t operand, uint64_t expected,               \
			    uint64_t *ret)                                                                             \
	{                                                                                                              \
		uint##bits##_t old = (uint##bits##_t) * ret, number = (uint##bits##_t)operand;                         \
		struct gm_view *view = &world.view;                                                                    \
		int r = -ENOSYS;                                                                                       \
                                                                                                                       \
		if (verb == EXCHANGE)                                                                                  \
			r = gm_exchange_u##bits(view, gm_gpa(at), order, number, &old);                                \
		else if (verb == FETCH_OR)                                                                             \
			r = gm_fetch_or_u##bits(view, gm_gpa(at), order, number, &old);                                \
		else if (verb == FETCH_AND)                                                                            \
			r = gm_fetch_and_u##bits(view, gm_gpa(at), order, number, &old);                               \
		else if (verb == FETCH_ADD)                                                                            \
			r = gm_fetch_add_u##bits(view, gm_gpa(at), order, number, &old);                               \
		else                                                                                                   \
			r = gm_compare_exchange_u##bits(view, gm_gpa(at), order, (uint##bits##_t)expected, number,     \
							&old);                                                         \
		*ret = old;                                                                                            \
		return r;                                                                                              \
	}

DEFINE_ATOMIC(8)
DEFINE_ATOMIC(16)
DEFINE_ATOMIC(32)
DEFINE_ATOMIC(64)

static int (*const sizes[])(enum verb verb, uint64_t at, int order, uint64_t operand, uint64_t expected,
			    uint64_t *ret) = { do8, do16, do32, do64 };
static const int orders[] = { GM_RELAXED, GM_ACQUIRE, GM_RELEASE, GM_ACQ_REL, GM_SEQ_CST, 99 };

static uint64_t object_at(uint64_t at, unsigned size)
{
	uint64_t number = 0;
	uint32_t number32;
	uint16_t number16;

	switch (size) {
	case 0:
		return *peek(&world, at);
	case 1:
		memcpy(&number16, peek(&world, at), 2);
		return number16;
	case 2:
		memcpy(&number32, peek(&world, at), 4);
		return number32;
	default:
		memcpy(&number, peek(&world, at), 8);
		return number;
	}
}

static uint64_t outcome(enum verb verb, uint64_t old, uint64_t operand)
{
	switch (verb) {
	case FETCH_OR:
		return old | operand;
	case FETCH_AND:
		return old & operand;
	case FETCH_ADD:
		return old + operand;
	case SWAP_BAD:
		return old;
	default:
		return operand;
	}
}

static void try_one(enum verb verb, unsigned size, uint64_t at, int order, uint64_t operand)
{
	uint64_t mask = size == 3 ? UINT64_MAX : (UINT64_C(1) << (8u << size)) - 1, old, ret = 0x55;
	unsigned char raw[8];

	world_reset(&world, (unsigned)operand);
	old = object_at(at, size);
	assert_int_equal(sizes[size](verb, at, order, operand, verb == SWAP_BAD ? old ^ 4 : old, &ret), 0);
	assert_true(ret == old);
	assert_true(object_at(at, size) == (outcome(verb, old, operand) & mask));
	memcpy(raw, peek(&world, at), 8);
	/* Dirty, but for a compare-exchange that found something else. */
	if (verb == SWAP_BAD)
		expect_untouched(&world);
	else
		expect_written(&world, at, raw, UINT64_C(1) << size);
}

static void what_they_do(void **state)
{
	(void)state;
	for (enum verb verb = 0; verb < VERBS; verb++)
		for (unsigned size = 0; size < 4; size++)
			for (unsigned o = 0; o < 6; o++) {
				try_one(verb, size, RAM, orders[o], UINT64_C(0x8123456789abcdef));
				try_one(verb, size, RAM + PAGE - 8, orders[o], 3);
				try_one(verb, size, TOP + PAGE - 8, orders[o], UINT64_MAX);
				try_one(verb, size, RAM + PAGE + 16, orders[o], 0);
			}
}

static void refuse(uint64_t at, unsigned size, int code)
{
	for (enum verb verb = 0; verb < VERBS; verb++) {
		uint64_t ret = 0x55;

		assert_int_equal(sizes[size](verb, at, GM_SEQ_CST, 1, 1, &ret), code);
		assert_true(ret == 0x55);
	}
	expect_untouched(&world);
}

static void obstacles(void **state)
{
	(void)state;
	world_reset(&world, 1);
	for (unsigned size = 0; size < 4; size++) {
		refuse(HOLE, size, -GM_EHOLE);
		refuse(RDONLY + 8, size, -GM_EACCESS);
		refuse(WRONLY + 8, size, -GM_EACCESS);
		refuse(DEVICE + 8, size, -GM_ENOTRAM);
		refuse(FIRM + 8, size, -GM_ENOTRAM);
		refuse(CALLS + 8, size, -GM_EUNMAPPED);
		refuse(CALLS + PAGE, size, -GM_EUNMAPPED);
		for (unsigned off = 1; off < 1u << size; off++) {
			refuse(RAM + off, size, -EINVAL);
			refuse(HOLE + off, size, -EINVAL);
			refuse(UINT64_MAX - off + 1, size, -EINVAL);
		}
	}
	gm_view_leave(&world.view);
	for (unsigned size = 0; size < 4; size++)
		refuse(RAM, size, -EINVAL);
	gm_view_enter(&world.view);
}

/* Two threads add to one object and set each other's bits: nothing is lost. */
#define ROUNDS 100000

struct adder {
	unsigned number;
	uint64_t swaps;
};

static void *add(void *opaque)
{
	struct adder *adder = opaque;
	struct gm_view view;
	uint64_t old, seen;
	uint8_t bits;
	int r;

	assert_int_equal(gm_view_init(&view, world.memory, "adder", 0), 0);
	gm_view_enter(&view);
	for (unsigned i = 0; i < ROUNDS; i++) {
		r = gm_fetch_add_u64(&view, gm_gpa(RAM), i % 2 ? GM_RELAXED : GM_ACQ_REL, 1, &old);
		r = r ? r : gm_fetch_or_u8(&view, gm_gpa(RAM + 8), GM_RELAXED, (uint8_t)(1u << adder->number), &bits);
		r = r ? r
		      : gm_fetch_and_u8(&view, gm_gpa(RAM + 8), GM_RELAXED, (uint8_t) ~(1u << adder->number), &bits);
		if (r || !(bits & 1u << adder->number))
			abort();
		r = gm_load_u64(&view, gm_gpa(RAM + 16), GM_RELAXED, &seen);
		r = r ? r : gm_compare_exchange_u64(&view, gm_gpa(RAM + 16), GM_SEQ_CST, seen, seen + 1, &old);
		if (r)
			abort();
		adder->swaps += old == seen;
	}
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
	return NULL;
}

static void indivisible(void **state)
{
	struct adder adders[2] = { { .number = 0 }, { .number = 1 } };
	pthread_t threads[2];

	(void)state;
	memset(peek(&world, RAM), 0, 64);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add, &adders[i]), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(object_at(RAM, 3), 2 * ROUNDS);
	assert_int_equal(object_at(RAM + 8, 0), 0);
	assert_int_equal(object_at(RAM + 16, 3), adders[0].swaps + adders[1].swaps);
	assert_true(adders[0].swaps > 0 && adders[1].swaps > 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_they_do),
		cmocka_unit_test(obstacles),
		cmocka_unit_test(indivisible),
	};

	return run_unguarded_and_guarded(tests, setup, teardown);
}

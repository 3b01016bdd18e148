/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Random maps and random calls against a slow, obvious model: two windows of the address space as flat arrays that say, byte
 * by byte, which region is there and what it holds. Result, data and dirty pages have to agree after every call.
 */
#include "access_world.h"

#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

/* The first bytes of the address space, and the last ones. */
#define WINDOW     (UINT64_C(40) * PAGE)
#define TOP_WINDOW (UINT64_C(8) * PAGE)
#define CELLS      (WINDOW + TOP_WINDOW)

#define MAPS       60
#define OPERATIONS 3000 /* on each map */

static struct world world;
static struct spec specs[WORLD_MAX];
static uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);

static struct {
	int region[CELLS]; /* -1: a hole */
	unsigned char byte[CELLS];
	uint64_t dirty[WORLD_MAX];
	unsigned kinds;
	bool dispatch;
	bool owned;
	uint64_t owner;
} model;

static uint64_t below(uint64_t limit)
{
	return random_next(&seed) % limit;
}

/* The cell of an address; CELLS when it is in neither window. */
static uint64_t cell_of(uint64_t address)
{
	if (address < WINDOW)
		return address;
	return address >= 0 - TOP_WINDOW ? WINDOW + (address + TOP_WINDOW) : CELLS;
}

static void add_spec(unsigned *count, uint64_t first, uint64_t bytes)
{
	static const unsigned prots[] = {
		0, 0, 0, 0, GM_READ, GM_WRITE, GM_READ | GM_WRITE, GM_READ | GM_EXEC, GM_EXEC
	};
	static const enum gm_kind kinds[] = { GM_RAM, GM_RAM, GM_RAM, GM_RAM, GM_RAM, GM_DAX, GM_FIRMWARE, GM_DEVICE };
	bool pages = first % PAGE == 0 && bytes % PAGE == 0;

	specs[*count] = (struct spec){
		.first = first,
		.bytes = bytes,
		.kind = kinds[below(8)],
		.prot = prots[below(9)],
		.callbacks = !pages || below(5) == 0,
		.no_log = below(6) == 0,
		.tag = below(4),
	};
	++*count;
}

/* More regions than a leaf of the map's tree has, mostly adjacent ones that permit all, so that ranges cross many of them. */
static unsigned crowd_window(unsigned count, uint64_t bytes)
{
	uint64_t at = 0;

	while (at < bytes && count < 140) {
		uint64_t size = count < 110 ? below(100) + 1 : PAGE;

		if (count < 110 && below(30) == 0)
			at += below(2) ? 1 : below(100);
		if (size == PAGE)
			at = (at + PAGE - 1) / PAGE * PAGE;
		if (at >= bytes)
			break;
		if (size > bytes - at)
			size = bytes - at;
		add_spec(&count, at, size);
		if (below(30) != 0) {
			specs[count - 1].kind = GM_RAM;
			specs[count - 1].prot = 0;
			specs[count - 1].callbacks = size != PAGE;
		}
		at += size;
	}
	return count;
}

/* Regions one after the other, some with gaps, some that are not whole pages. */
static unsigned fill_window(unsigned count, uint64_t base, uint64_t bytes)
{
	uint64_t at = 0;

	while (at < bytes && count < 40) {
		uint64_t size = below(4) == 0 ? below(3 * PAGE) + 1 : (below(4) + 1) * PAGE;

		if (size > bytes - at)
			size = bytes - at;
		if (below(4) != 0)
			add_spec(&count, base + at, size);
		at += size;
		if (below(3) != 0)
			at = (at + PAGE - 1) / PAGE * PAGE;
	}
	return count;
}

static void new_map(bool crowded)
{
	unsigned count = crowded ? crowd_window(0, WINDOW) : fill_window(0, 0, WINDOW);

	count = crowded ? count : fill_window(count, 0 - TOP_WINDOW, TOP_WINDOW);
	model.kinds = below(2) ? GM_ALL_KINDS : GM_RAM_AND_DAX;
	model.dispatch = below(2);
	model.owned = false;
	world_new(&world, specs, count, model.kinds, model.dispatch ? GM_VIEW_DISPATCH : 0);
	world_reset(&world, (unsigned)below(256));
	for (uint64_t i = 0; i < CELLS; i++)
		model.region[i] = -1;
	for (unsigned r = 0; r < count; r++)
		for (uint64_t k = 0; k < specs[r].bytes; k++) {
			uint64_t cell = cell_of(specs[r].first + k);

			model.region[cell] = (int)r;
			model.byte[cell] = world.saved[r][k];
		}
	memset(model.dirty, 0, sizeof(model.dirty));
}

/* What stands in the way of one byte. @mapped: only what has a pointer will do. */
static int obstacle(uint64_t address, unsigned access, bool mapped)
{
	uint64_t cell = cell_of(address);
	const struct spec *spec;
	unsigned prot;

	if (cell == CELLS || model.region[cell] < 0)
		return -GM_EHOLE;
	spec = &specs[model.region[cell]];
	if (!(model.kinds & GM_KIND_BIT(spec->kind)) || (spec->kind == GM_DEVICE && !model.dispatch))
		return -GM_ENOTRAM;
	if (spec->kind == GM_DEVICE && model.owned && spec->tag == model.owner)
		return -GM_EREENTRY;
	prot = spec->prot ? spec->prot : spec->kind == GM_FIRMWARE ? GM_READ : GM_READ | GM_WRITE;
	if (access & ~prot)
		return -GM_EACCESS;
	return mapped && (spec->callbacks || spec->kind == GM_DEVICE) ? -GM_EUNMAPPED : 0;
}

/* How many of @bytes bytes can be had, and the code of the first that can't. */
static uint64_t available(uint64_t at, uint64_t bytes, unsigned access, bool mapped, int *ret_code)
{
	for (uint64_t i = 0; i < bytes; i++) {
		*ret_code = i > 0 && at + i == 0 ? -GM_EWRAP : obstacle(at + i, access, mapped);
		if (*ret_code)
			return i;
	}
	*ret_code = 0;
	return bytes;
}

static bool wraps(uint64_t at, uint64_t bytes)
{
	return bytes > 0 && at + bytes - 1 < at;
}

/* The code of a call that is whole-or-nothing. */
static int whole(uint64_t at, uint64_t bytes, unsigned access, bool mapped)
{
	int code;

	if (wraps(at, bytes))
		return -GM_EWRAP;
	available(at, bytes, access, mapped, &code);
	return code;
}

static void model_mark(uint64_t at, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i++) {
		uint64_t cell = cell_of(at + i);
		int region = cell < CELLS ? model.region[cell] : -1;

		if (region >= 0 && world.readers[region] != NULL)
			model.dirty[region] |= UINT64_C(1) << ((at + i - specs[region].first) / PAGE);
	}
}

static void model_write(uint64_t at, const unsigned char *data, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i++)
		model.byte[cell_of(at + i)] = data[i];
	model_mark(at, bytes);
}

static void model_read(uint64_t at, unsigned char *data, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i++)
		data[i] = model.byte[cell_of(at + i)];
}

/* All bytes and all logs. */
static void compare(void)
{
	for (unsigned r = 0; r < world.count; r++) {
		assert_memory_equal(world_bytes(&world, r), model.byte + cell_of(specs[r].first), specs[r].bytes);
		assert_true(collect_pages(&world, r) == model.dirty[r]);
		model.dirty[r] = 0;
	}
}

static unsigned char data[CELLS + 64], got[CELLS + 64], expected[CELLS + 64];
static int file;

/* Half of the time near the place before, which the view remembers. */
static uint64_t random_address(void)
{
	static unsigned before;
	unsigned r = below(2) && before < world.count ? before : (unsigned)below(world.count);

	before = r;

	switch (below(8)) {
	case 0:
		return below(WINDOW + PAGE);
	case 1:
		return 0 - below(TOP_WINDOW + PAGE) - 1;
	case 2: /* around the beginning of a region */
		return specs[r].first + below(20) - 10;
	case 3: /* around its end */
		return specs[r].first + specs[r].bytes + below(20) - 16;
	default:
		return specs[r].first + below(specs[r].bytes);
	}
}

static uint64_t random_bytes(void)
{
	switch (below(8)) {
	case 0:
		return below(5 * PAGE);
	case 1:
		return below(WINDOW);
	case 2:
		return UINT64_C(1) << below(4);
	default:
		return below(80);
	}
}

/* Calls that did something, and that were refused: a generator that makes only one of them proves nothing. */
static unsigned done_count, refused_count;

/* A result against what the model says: a whole call gives 0 or its code, a partial one a count or its code. */
static uint64_t expect_result(int64_t r, bool some, uint64_t at, uint64_t bytes, unsigned access, int64_t good)
{
	uint64_t count;
	int code;

	*(r < 0 ? &refused_count : &done_count) += 1;
	if (!some) {
		code = whole(at, bytes, access, false);
		assert_int_equal(r, code ? code : good);
		return code ? 0 : bytes;
	}
	count = available(at, bytes, access, false, &code);
	assert_int_equal(r, count || !code ? (int64_t)count : code);
	return count;
}

static void do_read(uint64_t at, uint64_t bytes, bool some)
{
	struct gm_gpa gpa = gm_gpa(at);
	int64_t r;
	uint64_t count;

	memset(got, 0x5a, bytes + 8);
	r = some ? gm_read_some(&world.view, gpa, got, bytes) : gm_read(&world.view, gpa, got, bytes);
	count = expect_result(r, some, at, bytes, GM_READ, 0);
	model_read(at, expected, count);
	memset(expected + count, 0x5a, bytes + 8 - count);
	assert_memory_equal(got, expected, bytes + 8);
}

static void do_write(uint64_t at, uint64_t bytes, bool some)
{
	struct gm_gpa gpa = gm_gpa(at);
	const unsigned char *from = data + below(64);
	int64_t r = some ? gm_write_some(&world.view, gpa, from, bytes) : gm_write(&world.view, gpa, from, bytes);

	model_write(at, from, expect_result(r, some, at, bytes, GM_WRITE, 0));
}

static void do_fill(uint64_t at, uint64_t bytes, bool some)
{
	struct gm_gpa gpa = gm_gpa(at);
	unsigned char byte = (unsigned char)below(256);
	int64_t r = some ? gm_fill_some(&world.view, gpa, byte, bytes) : gm_fill(&world.view, gpa, byte, bytes);

	memset(expected, byte, bytes);
	model_write(at, expected, expect_result(r, some, at, bytes, GM_WRITE, 0));
}

static void do_copy(uint64_t from, uint64_t bytes, bool some)
{
	/* Half of the copies overlap. */
	uint64_t to = below(2) ? random_address() : from + below(2 * bytes + 1) - bytes, count;
	int64_t r = some ? gm_copy_some(&world.view, gm_gpa(to), gm_gpa(from), bytes)
			 : gm_copy(&world.view, gm_gpa(to), gm_gpa(from), bytes);
	int read_code, write_code;

	if (!some) {
		read_code = whole(from, bytes, GM_READ, false);
		write_code = whole(to, bytes, GM_WRITE, false);
		if (read_code == 0 && write_code == 0) {
			assert_int_equal(r, 0);
			count = bytes;
		} else {
			assert_true(r < 0 && (r == read_code || r == write_code));
			count = 0;
		}
	} else {
		uint64_t readable = available(from, bytes, GM_READ, false, &read_code);
		uint64_t writable = available(to, bytes, GM_WRITE, false, &write_code);

		count = readable < writable ? readable : writable;
		if (count > 0 || bytes == 0)
			assert_int_equal(r, count);
		else
			assert_true(r < 0 && (r == (readable ? 0 : read_code) || r == (writable ? 0 : write_code)));
	}
	model_read(from, expected, count);
	model_write(to, expected, count);
}

static void do_object(uint64_t at, bool store)
{
	unsigned bytes = 1u << below(4);
	uint64_t number = random_next(&seed), old = number;
	struct gm_view *view = &world.view;
	struct gm_gpa gpa = gm_gpa(at);
	uint32_t n32 = (uint32_t)number;
	uint16_t n16 = (uint16_t)number;
	uint8_t n8 = (uint8_t)number;
	unsigned char *raw = bytes == 1   ? &n8
			     : bytes == 2 ? (unsigned char *)&n16
			     : bytes == 4 ? (unsigned char *)&n32
					  : (unsigned char *)&number;
	int r, code;

	if (store)
		r = bytes == 1   ? gm_store_u8(view, gpa, GM_RELAXED, n8)
		    : bytes == 2 ? gm_store_u16(view, gpa, GM_RELEASE, n16)
		    : bytes == 4 ? gm_store_u32(view, gpa, GM_SEQ_CST, n32)
				 : gm_store_u64(view, gpa, GM_RELAXED, number);
	else
		r = bytes == 1   ? gm_load_u8(view, gpa, GM_RELAXED, &n8)
		    : bytes == 2 ? gm_load_u16(view, gpa, GM_ACQUIRE, &n16)
		    : bytes == 4 ? gm_load_u32(view, gpa, GM_SEQ_CST, &n32)
				 : gm_load_u64(view, gpa, GM_RELAXED, &number);
	code = whole(at, bytes, store ? GM_WRITE : GM_READ, false);
	assert_int_equal(r, code);
	if (store && code == 0) {
		model_write(at, raw, bytes);
	} else if (!store && code == 0) {
		model_read(at, expected, bytes);
		assert_memory_equal(raw, expected, bytes);
	} else if (bytes == 8) {
		assert_true(number == old);
	}
}

static void do_atomic(uint64_t at)
{
	uint32_t operand = (uint32_t)random_next(&seed), old = 0, seen, result;
	int code = at % 4 ? -EINVAL : whole(at, 4, GM_READ | GM_WRITE, true), r;
	bool swap = below(2);

	if (code == 0)
		model_read(at, (unsigned char *)&old, 4);
	result = swap ? operand : old + operand;
	seen = old + (uint32_t)below(2); /* of a compare-exchange: right or wrong */
	r = swap ? gm_compare_exchange_u32(&world.view, gm_gpa(at), GM_SEQ_CST, seen, operand, &operand)
		 : gm_fetch_add_u32(&world.view, gm_gpa(at), GM_ACQ_REL, operand, &operand);
	assert_int_equal(r, code);
	if (r)
		return;
	assert_int_equal(operand, old);
	if (!swap || seen == old)
		model_write(at, (const unsigned char *)&result, 4);
}

static void do_stream(uint64_t at, uint64_t bytes, bool some, bool to_file)
{
	uint64_t offset = below(2) ? 0 : below(5000), count;
	struct gm_gpa gpa = gm_gpa(at);
	int64_t r;

	if (to_file) {
		r = some ? gm_read_to_fd_some(&world.view, gpa, bytes, file, (int64_t)offset, NULL)
			 : gm_read_to_fd(&world.view, gpa, bytes, file, (int64_t)offset, NULL);
		count = expect_result(r, some, at, bytes, GM_READ, (int64_t)bytes);
		model_read(at, expected, count);
		assert_int_equal(pread(file, got, count, (off_t)offset), count);
		assert_memory_equal(got, expected, count);
		return;
	}
	assert_int_equal(pwrite(file, data, bytes, (off_t)offset), bytes);
	r = some ? gm_write_from_fd_some(&world.view, gpa, bytes, file, (int64_t)offset, NULL)
		 : gm_write_from_fd(&world.view, gpa, bytes, file, (int64_t)offset, NULL);
	model_write(at, data, expect_result(r, some, at, bytes, GM_WRITE, (int64_t)bytes));
}

/* Whatever the range: what stands there and has a log is marked, and no more. */
static void do_written(uint64_t at, uint64_t bytes)
{
	struct gm_pin pin;

	if (below(2)) {
		gm_written(&world.view, gm_gpa(at), bytes);
	} else {
		assert_int_equal(gm_view_pin(&world.view, &pin), 0);
		gm_pin_written(&pin, gm_gpa(at), bytes);
		gm_view_unpin(&pin);
	}
	model_mark(at, wraps(at, bytes) ? UINT64_MAX - at + 1 : bytes);
}

static void do_iovecs(uint64_t at, uint64_t bytes, unsigned access)
{
	struct iovec iovecs[64];
	size_t count;
	int code = whole(at, bytes, access, true);
	uint64_t done = 0;

	assert_int_equal(gm_iovecs(&world.view, gm_gpa(at), bytes, access, iovecs, 64, &count), code);
	if (code)
		return;
	for (size_t i = 0; i < count; i++) {
		unsigned char *hva = iovecs[i].iov_base;

		assert_true(iovecs[i].iov_len > 0);
		for (size_t k = 0; k < iovecs[i].iov_len; k += PAGE)
			assert_ptr_equal(hva + k, peek(&world, at + done + k));
		if (access & GM_WRITE)
			memcpy(hva, data + done, iovecs[i].iov_len);
		done += iovecs[i].iov_len;
	}
	assert_int_equal(done, bytes);
	if (access & GM_WRITE) {
		gm_written(&world.view, gm_gpa(at), bytes);
		model_write(at, data, bytes);
	}
}

static void do_span(uint64_t at, uint64_t bytes, unsigned access)
{
	struct gm_span span;
	bool bad = bytes == 0 || access == 0 || (access & GM_EXEC) != 0;
	int code, first = bad ? -EINVAL : wraps(at, bytes) ? -GM_EWRAP : obstacle(at, access, true);
	uint64_t reach = 0, cell = cell_of(at);

	code = gm_span(&world.view, gm_gpa(at), bytes, access, &span);
	assert_int_equal(code, first);
	if (code)
		return;
	while (reach < bytes && cell + reach < CELLS && model.region[cell + reach] == model.region[cell])
		reach++;
	assert_int_equal(span.bytes, reach);
	assert_ptr_equal(span.hva, peek(&world, at));
}

static void operation(void)
{
	static const unsigned accesses[] = { GM_READ, GM_WRITE, GM_READ | GM_WRITE };
	uint64_t at = random_address(), bytes = random_bytes();
	unsigned access = accesses[below(3)];
	bool some = below(2);

	switch (below(11)) {
	case 0:
		assert_int_equal(gm_check(&world.view, gm_gpa(at), bytes, access), whole(at, bytes, access, false));
		break;
	case 1:
		do_read(at, bytes, some);
		break;
	case 2:
		do_write(at, bytes, some);
		break;
	case 3:
		do_fill(at, bytes, some);
		break;
	case 4:
		do_copy(at, bytes, some);
		break;
	case 5:
	case 6:
		do_object(at, some);
		break;
	case 7:
		do_atomic(below(2) ? at : at & ~UINT64_C(3));
		break;
	case 8:
		do_stream(at, bytes, some, below(2));
		break;
	case 9:
		if (below(2))
			do_iovecs(at, bytes, access);
		else
			do_span(at, bytes, below(8) ? access : (unsigned)below(8));
		break;
	case 10:
		do_written(at, bytes);
		break;
	}
	/* Now and then a new section. */
	if (below(16) == 0) {
		gm_view_leave(&world.view);
		gm_view_enter(&world.view);
	}
	if (below(1000) == 0) {
		model.owned = true;
		model.owner = below(4);
		gm_view_set_owner(&world.view, model.owner);
	}
}

static void random_maps(void **state)
{
	(void)state;
	file = memfd_create("model", MFD_CLOEXEC);
	assert_true(file >= 0);
	for (uint64_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)random_next(&seed);
	for (unsigned m = 0; m < MAPS; m++) {
		new_map(m % 6 == 5);
		for (unsigned i = 0; i < OPERATIONS; i++) {
			operation();
			if (i % 8 == 0)
				compare();
		}
		compare();
		world_free(&world);
	}
	assert_true(done_count > MAPS * OPERATIONS / 10 && refused_count > MAPS * OPERATIONS / 10);
	close(file);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_maps),
	};

	return run_unguarded_and_guarded(tests, NULL, NULL);
}

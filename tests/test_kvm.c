/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The KVM adapter on /dev/kvm: after each of many random updates, with refusals, what the guest itself sees is the space. Then the
 * rest of what the kernel does: registers, read-only memory, limits, guest_memfd, thousands of slots.
 */
#include "kvm_guest.h"

#include "kvm_fake.h"
#include "resources.h"

#include <time.h>

#define PAGE        UINT64_C(4096)
#define WINDOW      UINT64_C(0x10000000)
#define PAGES       32
#define POOL        1024
#define UPDATES_MAX 10000

static bool quick;
static struct guest guest;
static struct gm_kvm *kvm;
static struct gm_space *space;
static unsigned char *pool;

static void begin(struct gm_kvm_opts opts)
{
	const char *why = guest_open(&guest);
	struct gm_error error = { 0, "" };

	if (why != NULL) {
		guest_close(&guest);
		test_skip("%s", why);
	}
	opts.size = sizeof(opts);
	opts.slot_first = 1;
	if (gm_kvm_new(guest.vm, &opts, &kvm, &error) != 0)
		fail_msg("%s", error.text);
	guest_add_vcpu(&guest);
	assert_int_equal(gm_kvm_add_vcpu(kvm, guest.vcpu, &error), 0);
	assert_int_equal(gm_space_new(NULL, &space, &error), 0);
	assert_int_equal(gm_kvm_attach(kvm, space, &error), 0);
	guest.adapter = kvm;
}

static int end(void **state)
{
	(void)state;
	if (kvm != NULL)
		gm_kvm_remove_vcpu(kvm, guest.vcpu);
	gm_kvm_free(kvm);
	gm_space_unref(space);
	kvm = NULL;
	space = NULL;
	guest_close(&guest);
	if (pool != NULL)
		munmap(pool, POOL * PAGE);
	pool = NULL;
	return 0;
}

static double ms_since(const struct timespec *from)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - from->tv_sec) * 1e3 + (double)(now.tv_nsec - from->tv_nsec) / 1e6;
}

static uint64_t stamp_of(uint64_t page)
{
	return UINT64_C(0x5eed0000) + page;
}

static void make_pool(void)
{
	pool = test_pages(POOL * PAGE);
	for (uint64_t i = 0; i < POOL; i++)
		memcpy(pool + i * PAGE, &(uint64_t){ stamp_of(i) }, 8);
}

static int change(struct gm_region *out, struct gm_region *in, struct gm_error *error)
{
	struct gm_update *update = gm_update_begin(space);

	if (out != NULL)
		assert_int_equal(gm_update_remove(update, out), 0);
	if (in != NULL)
		assert_int_equal(gm_update_insert(update, in), 0);
	return gm_update_commit(update, error);
}

static struct gm_region *pool_region(const char *name, uint64_t first, uint64_t at, uint64_t pages, unsigned prot)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.first = gm_gpa(first),
		.bytes = pages * PAGE,
		.source = GM_SOURCE_POINTER,
		.hva = pool + at * PAGE,
		.prot = prot,
	};
	struct gm_error error = { 0, "" };
	struct gm_region *region;

	if (gm_region_new(&opts, &region, &error) != 0)
		fail_msg("%s", error.text);
	return region;
}

/*
 * Random updates
 */

static struct gm_region *random_region(struct test_random *random, unsigned number, uint64_t at, uint64_t pages)
{
	unsigned kind = (unsigned)test_below(random, 8);
	struct gm_error error = { 0, "" };
	struct gm_region *region;
	char name[GM_NAME_MAX];
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.first = gm_gpa(WINDOW + at * PAGE),
		.bytes = pages * PAGE,
		.source = GM_SOURCE_POINTER,
		.hva = pool + test_below(random, POOL - pages + 1) * PAGE,
		.prot = kind == 1 ? GM_READ : 0,
	};

	snprintf(name, sizeof(name), "region%u", number);
	if (kind == 0)
		return test_bare(name, GM_DEVICE, opts.first.value, opts.bytes);
	if (gm_region_new(&opts, &region, &error) != 0)
		fail_msg("%s", error.text);
	return region;
}

/* The same bytes at the same place, by another name. */
static struct gm_region *renamed(const struct gm_region *there, unsigned number)
{
	struct gm_region *region;
	char name[GM_NAME_MAX];

	snprintf(name, sizeof(name), "region%u", number);
	if (gm_region_hva(there) == NULL)
		return test_bare(name, GM_DEVICE, gm_region_first(there).value, gm_region_bytes(there));
	region = pool_region(name, gm_region_first(there).value,
			     (uint64_t)((unsigned char *)gm_region_hva(there) - pool) / PAGE,
			     gm_region_bytes(there) / PAGE, gm_region_prot(there));
	return region;
}

/* Takes out some of what stands there, and puts in something where room is, or becomes; one in eight overlaps none the less. */
static int random_update(struct test_random *random, unsigned number, struct gm_error *error)
{
	struct gm_update *update = gm_update_begin(space);
	const struct gm_region *there = NULL;
	const struct gm_map *map;
	bool taken[PAGES] = { false };
	struct gm_region *in;
	uint64_t page, at, pages;
	int r;

	assert_int_equal(gm_space_map(space, "test", &map), 0);
	while ((there = gm_map_next(map, there)) != NULL) {
		bool goes = test_below(random, 4) == 0, stays_by_name = goes && test_below(random, 4) == 0;

		if (goes)
			gm_update_remove(update, (struct gm_region *)(uintptr_t)there);
		if (stays_by_name) {
			in = renamed(there, number++);
			gm_update_insert(update, in);
			gm_region_unref(in);
		}
		for (page = 0; page < gm_region_bytes(there) / PAGE && (!goes || stays_by_name); page++)
			taken[(gm_region_first(there).value - WINDOW) / PAGE + page] = true;
	}
	for (unsigned tries = 0; tries < 4; tries++) {
		pages = 1 + test_below(random, 6);
		at = test_below(random, PAGES - pages + 1);
		for (page = at; page < at + pages && !taken[page]; page++)
			;
		if (page < at + pages && test_below(random, 32) != 0)
			continue;
		in = random_region(random, number++, at, pages);
		gm_update_insert(update, in);
		gm_region_unref(in);
		memset(taken + at, 1, pages);
	}
	r = gm_update_commit(update, error);
	gm_map_unref(map);
	return r;
}

/* What the guest has to read at a page, and whether it may write there. */
static uint64_t expected_at(const struct gm_map *map, uint64_t page, bool *ret_writable)
{
	const struct gm_region *region = gm_map_find(map, gm_gpa(WINDOW + page * PAGE));
	const unsigned char *hva = region ? gm_region_hva(region) : NULL;

	*ret_writable = hva != NULL && (gm_region_prot(region) & GM_WRITE);
	if (hva == NULL)
		return UINT64_MAX;
	return stamp_of((uint64_t)(hva - pool) / PAGE + page - (gm_region_first(region).value - WINDOW) / PAGE);
}

static void check_guest_sees(struct test_random *random)
{
	const struct gm_map *map;
	bool writable;
	uint64_t page, stamp;
	unsigned long exits;

	assert_int_equal(gm_space_map(space, "test", &map), 0);
	assert_int_equal(guest_run(&guest, guest_scan, WINDOW, PAGE, PAGES, 0), 0);
	for (page = 0; page < PAGES; page++) {
		stamp = expected_at(map, page, &writable);
		if (guest_list(&guest)[page] != stamp)
			fail_msg("page %u: the guest reads %llx, not %llx", (unsigned)page,
				 (unsigned long long)guest_list(&guest)[page], (unsigned long long)stamp);
	}
	page = test_below(random, PAGES);
	stamp = expected_at(map, page, &writable);
	exits = guest.mmio;
	assert_int_equal(guest_run(&guest, guest_touch, WINDOW + page * PAGE + 8, 0, 1, exits + 1), 0);
	assert_int_equal(guest.mmio == exits, writable);
	if (stamp != UINT64_MAX) {
		uint64_t written;

		memcpy(&written, pool + (stamp - stamp_of(0)) * PAGE + 8, 8);
		assert_int_equal(written == exits + 1, writable);
	}
	gm_map_unref(map);
}

static int begin_with_model(struct fake_kvm *fake)
{
	begin((struct gm_kvm_opts){ .ioctl = fake_ioctl, .opaque = fake });
	return 0;
}

static void test_random_updates(void **state)
{
	struct test_random random = { 20261120 };
	struct fake_kvm *fake = fake_new();
	unsigned done = 0, refused = 0, injected = 0, mended = 0, updates = quick ? UPDATES_MAX / 10 : UPDATES_MAX, i;
	struct gm_error error;
	unsigned long from;
	int r;

	(void)state;
	make_pool();
	begin_with_model(fake);
	fake->real_fd = guest.vm;
	for (i = 0; i < updates; i++) {
		from = fake->calls + 1 + test_below(&random, 6);
		if (test_below(&random, 2) == 0) {
			fake->fail_from = from;
			fake->fail_to = test_below(&random, 4) == 0 ? ULONG_MAX : from;
			fake->fail_code = test_below(&random, 2) ? -ENOMEM : -EINVAL;
		}
		r = random_update(&random, i * 100, &error);
		injected += fake->fail_from != 0 && fake->calls >= fake->fail_from;
		fake->fail_from = fake->fail_to = 0;
		done += r == 0;
		refused += r < 0;
		if (gm_kvm_error(kvm, NULL) != 0) {
			assert_int_equal(gm_kvm_mend(kvm, &error), 0);
			mended++;
		}
		fake_equals(fake, space, 0);
		check_guest_sees(&random);
	}
	print_message("%u updates done, %u refused; %u calls of KVM made to fail, %u mended; %lu calls, %lu exits\n",
		      done, refused, injected, mended, fake->calls, guest.mmio);
	assert_true(done > updates / 10 && injected > updates / 10 && mended > 0);
	end(NULL);
	free(fake);
}

/*
 * Exits
 */

struct registers {
	uint64_t last_write, reads, writes;
	uint64_t offset;
	size_t bytes;
};

static int read_registers(void *opaque, struct gm_offset offset, void *data, size_t bytes)
{
	struct registers *registers = opaque;

	registers->reads++;
	memset(data, (int)(0x10 + offset.value), bytes);
	return 0;
}

static int write_registers(void *opaque, struct gm_offset offset, const void *data, size_t bytes)
{
	struct registers *registers = opaque;

	registers->writes++;
	registers->offset = offset.value;
	registers->bytes = bytes;
	memcpy(&registers->last_write, data, bytes);
	return 0;
}

/* Registers are called, at their widths; what stands nowhere reads as ones; a read-only slot is not written. */
static void test_exits(void **state)
{
	static const struct gm_region_io io = { .read = read_registers, .write = write_registers };
	struct registers registers = { 0 };
	struct gm_region *device, *rom;
	struct gm_error error = { 0, "" };
	struct gm_memory *memory;
	struct gm_view view;

	(void)state;
	make_pool();
	begin((struct gm_kvm_opts){ 0 });
	assert_int_equal(gm_region_new_device("uart", gm_gpa(WINDOW), PAGE, &io, &registers, &device, &error), 0);
	assert_int_equal(change(NULL, device, &error), 0);
	gm_region_unref(device);
	rom = pool_region("rom", WINDOW + PAGE, 7, 1, GM_READ);
	assert_int_equal(change(NULL, rom, &error), 0);
	gm_region_unref(rom);
	assert_int_equal(gm_space_memory(space, GM_ALL_KINDS, &memory), 0);
	assert_int_equal(gm_view_init(&view, memory, "vcpu0", GM_VIEW_DISPATCH), 0);
	guest.view = &view;

	assert_int_equal(guest_run(&guest, guest_wide, WINDOW + 0x40, 0, 0, UINT64_C(0x1122334455667788)), 0);
	assert_int_equal(guest.mmio, 6);
	assert_int_equal(registers.writes, 4);
	assert_int_equal(registers.reads, 2);
	assert_int_equal(registers.offset, 0x48);
	assert_int_equal(registers.bytes, 8);
	assert_int_equal(registers.last_write, UINT64_C(0x1122334455667788));
	assert_int_equal(guest_list(&guest)[0], 0x50);
	assert_int_equal(guest_list(&guest)[1], UINT64_C(0x5858585858585858));
	assert_int_equal(guest.mmio_code, 0);

	assert_int_equal(guest_run(&guest, guest_touch, WINDOW + PAGE + 16, 0, 1, 99), 0);
	assert_int_equal(guest.mmio_code, -GM_EACCESS);
	assert_int_equal(*(uint64_t *)(void *)(pool + 7 * PAGE + 16), 0);
	assert_int_equal(guest_run(&guest, guest_scan, WINDOW + PAGE, 0, 1, 0), 0);
	assert_int_equal(guest_list(&guest)[0], stamp_of(7));
	assert_int_equal(guest.mmio, 7);

	assert_int_equal(guest_run(&guest, guest_scan, WINDOW + 2 * PAGE, 0, 1, 0), 0);
	assert_int_equal(guest.mmio_code, -GM_EHOLE);
	assert_int_equal(guest_list(&guest)[0], UINT64_MAX);
	assert_int_equal(guest_run(&guest, guest_touch, WINDOW + 2 * PAGE, 0, 1, 1), 0);
	assert_int_equal(guest.mmio_code, -GM_EHOLE);

	/* No such exit, and lengths that make no sense. */
	guest.run->exit_reason = KVM_EXIT_HLT;
	assert_int_equal(gm_kvm_mmio(&view, guest.run), -EINVAL);
	guest.run->exit_reason = KVM_EXIT_MMIO;
	guest.run->mmio.len = 9;
	assert_int_equal(gm_kvm_mmio(&view, guest.run), -EINVAL);
	guest.run->mmio.len = 0;
	assert_int_equal(gm_kvm_mmio(&view, guest.run), -EINVAL);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_memory_unref(memory);
}

/* Thousands of slots, and as many as there are numbers; all of it gone afterwards. */
static void test_many(void **state)
{
	struct test_resources before;
	unsigned count = quick ? 200 : 4000, i;
	struct gm_error error = { 0, "" };
	struct gm_update *update;
	struct gm_region *region;
	struct timespec from;
	struct gm_kvm_info info;
	char name[GM_NAME_MAX];

	(void)state;
	make_pool();
	begin((struct gm_kvm_opts){ 0 });
	gm_kvm_info(kvm, &info);
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "dimm%u", i);
		region = pool_region(name, WINDOW + i * PAGE, i % POOL, 1, 0);
		assert_int_equal(change(NULL, region, &error), 0);
		gm_region_unref(region);
	}
	print_message("%u slots set in %.0f ms\n", count, ms_since(&from));
	assert_int_equal(gm_kvm_slots(kvm, NULL, 0), count);
	assert_int_equal(guest_run(&guest, guest_scan, WINDOW, PAGE, count, 0), 0);
	for (i = 0; i < count; i++)
		assert_int_equal(guest_list(&guest)[i], stamp_of(i % POOL));
	assert_int_equal(guest.mmio, 0);
	assert_int_equal(gm_kvm_detach(kvm), 0);
	assert_int_equal(gm_kvm_slots(kvm, NULL, 0), 0);
	assert_int_equal(guest_run(&guest, guest_scan, WINDOW, PAGE, 100, 0), 0);
	assert_int_equal(guest.mmio, 100);

	/* Attached at once: one change from nothing. */
	before = test_count(NULL);
	assert_int_equal(gm_kvm_attach(kvm, space, &error), 0);
	assert_int_equal(guest_run(&guest, guest_scan, WINDOW, PAGE, count, 0), 0);
	assert_int_equal(guest.mmio, 100);
	assert_int_equal(gm_kvm_detach(kvm), 0);
	assert_int_equal(test_count(NULL).fds, before.fds);

	/* The kernel's own limit, by numbers up to it. */
	gm_kvm_free(kvm);
	assert_int_equal(gm_kvm_new(guest.vm,
				    &(struct gm_kvm_opts){ .size = sizeof(struct gm_kvm_opts),
							   .slot_first = info.slots_max - 99 },
				    &kvm, &error),
			 0);
	gm_kvm_info(kvm, &info);
	assert_int_equal(info.slots_max, 100);
	assert_int_equal(gm_kvm_attach(kvm, space, &error), -ENOSPC);
	assert_non_null(strstr(error.text, "only 100 are free"));
	update = gm_update_begin(space);
	for (i = 100; i < count; i++) {
		snprintf(name, sizeof(name), "dimm%u", i);
		region = gm_space_find(space, name);
		gm_update_remove(update, region);
		gm_region_unref(region);
	}
	assert_int_equal(gm_update_commit(update, &error), 0);
	assert_int_equal(gm_kvm_attach(kvm, space, &error), 0);
	assert_int_equal(gm_kvm_slots(kvm, NULL, 0), 100);
}

static void test_guest_memfd(void **state)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts), .name = "private", .first = gm_gpa(WINDOW), .bytes = 16 * PAGE
	};
	struct gm_region *region, *wrong;
	struct gm_error error = { 0, "" };
	struct gm_kvm_slot slot;
	struct gm_kvm_info info;

	(void)state;
	begin((struct gm_kvm_opts){ 0 });
	gm_kvm_info(kvm, &info);
	if (!info.guest_memfd) {
		assert_int_equal(gm_kvm_region_new_guest_memfd(kvm, &opts, &region, &error), -EOPNOTSUPP);
		end(NULL);
		test_skip("this KVM has no guest_memfd that can be mapped");
	}
	opts.size = 4;
	assert_int_equal(gm_kvm_region_new_guest_memfd(kvm, &opts, &region, &error), -EINVAL);
	opts.size = sizeof(opts);
	opts.dirty_page_bytes = 4096;
	assert_int_equal(gm_kvm_region_new_guest_memfd(kvm, &opts, &region, &error), -EOPNOTSUPP);
	opts.dirty_page_bytes = 0;
	opts.prot = GM_READ;
	assert_int_equal(gm_kvm_region_new_guest_memfd(kvm, &opts, &region, &error), -EOPNOTSUPP);
	opts.prot = 0;
	opts.source = GM_SOURCE_ANON;
	assert_int_equal(gm_kvm_region_new_guest_memfd(kvm, &opts, &region, &error), -EINVAL);
	opts.source = GM_SOURCE_DEFAULT;
	opts.flags = GM_REGION_COW;
	assert_int_equal(gm_kvm_region_new_guest_memfd(kvm, &opts, &region, &error), -EOPNOTSUPP);
	opts.flags = 0;
	if (gm_kvm_region_new_guest_memfd(kvm, &opts, &region, &error) != 0)
		fail_msg("%s", error.text);
	if (change(NULL, region, &error) != 0)
		fail_msg("%s", error.text);
	assert_int_equal(gm_kvm_slots(kvm, &slot, 1), 1);
	assert_int_equal(slot.flags, KVM_MEM_GUEST_MEMFD);
	assert_int_equal(guest_run(&guest, guest_touch, WINDOW, PAGE, 16, 4711), 0);
	assert_int_equal(guest.mmio, 0);
	assert_int_equal(*(uint64_t *)(void *)((unsigned char *)gm_region_hva(region) + 15 * PAGE), 4711);
	/* It can't be logged; it can be punched. */
	assert_int_equal(gm_kvm_log_start(kvm, region, &error), -EOPNOTSUPP);
	assert_int_equal(gm_kvm_log_start(kvm, NULL, &error), 0);
	assert_int_equal(fallocate(gm_region_fd(region), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)PAGE),
			 0);
	assert_int_equal(guest_run(&guest, guest_scan, WINDOW, PAGE, 16, 0), 0);
	assert_int_equal(guest_list(&guest)[0], 0);
	assert_int_equal(guest_list(&guest)[1], 4711);

	/* Regions over it that were made by hand: what KVM can't do for them is refused, with a sentence. */
	opts.source = GM_SOURCE_FD;
	opts.fd = gm_region_fd(region);
	opts.flags = GM_REGION_ALIAS;
	opts.name = "again";
	opts.first = gm_gpa(WINDOW + GM_MIB);
	opts.dirty_page_bytes = 4096;
	assert_int_equal(gm_region_new(&opts, &wrong, &error), 0);
	assert_int_equal(change(NULL, wrong, &error), -EOPNOTSUPP);
	assert_int_equal(gm_kvm_log_stop(kvm, NULL, &error), 0);
	gm_region_unref(wrong);
	opts.prot = GM_READ;
	assert_int_equal(gm_region_new(&opts, &wrong, &error), 0);
	assert_int_equal(change(NULL, wrong, &error), -EOPNOTSUPP);
	gm_region_unref(wrong);

	assert_int_equal(change(region, NULL, &error), 0);
	assert_int_equal(guest_run(&guest, guest_scan, WINDOW, PAGE, 1, 0), 0);
	assert_int_equal(guest.mmio, 1);
	gm_region_unref(region);
}

/* Whole lives of a VM: no descriptor and no mapping is left. */
static void test_nothing_left(void **state)
{
	static const enum gm_kvm_log logs[] = { GM_KVM_LOG_BITMAP, GM_KVM_LOG_MANUAL, GM_KVM_LOG_RING };
	struct test_resources before = { 0 };
	struct gm_error error = { 0, "" };
	struct gm_region *region;

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		/* The first round warms up. */
		if (i == 3)
			before = test_count(NULL);
		begin((struct gm_kvm_opts){ .log = logs[i % 3] });
		assert_int_equal(gm_region_new_memory("ram", gm_gpa(WINDOW), GM_MIB, &region, &error), 0);
		assert_int_equal(change(NULL, region, &error), 0);
		gm_region_unref(region);
		assert_int_equal(gm_kvm_log_start(kvm, NULL, &error), 0);
		assert_int_equal(guest_run(&guest, guest_touch, WINDOW, PAGE, 16, 1), 0);
		end(NULL);
	}
	assert_nothing_left(before, NULL);
}

/* With an argument, less of everything: for emulated machines. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_random_updates, end), cmocka_unit_test_teardown(test_exits, end),
		cmocka_unit_test_teardown(test_many, end),           cmocka_unit_test_teardown(test_guest_memfd, end),
		cmocka_unit_test_teardown(test_nothing_left, end),
	};

	(void)argv;
	quick = argc > 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

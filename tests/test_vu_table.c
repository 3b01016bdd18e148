/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The table of a front-end's memory against a model that is as slow as it is plain: an array with one cell per page of guest and of user
 * addresses. Random tables, additions and removals in a small world, so that they meet; near the end of both kinds of addresses as well.
 */
#include "support.h"

#include <errno.h>

#include "table.h"

/* The world: so many pages, of which the last ones are the last there are. */
#define PAGES  64
#define TOP    (UINT64_MAX - PAGES * UINT64_C(4096) + 1)
#define NOBODY 0
#define ROUNDS 60000
#define FILES  3

/* A region as the model has it. Its number is what stands in the cells, and what it is mapped by. */
struct thing {
	struct vu_region region;
	struct vu_file file;
	bool there;
};

static struct thing things[ROUNDS * 8 + 1];
static unsigned things_count;
static unsigned by_gpa[PAGES], by_uva[PAGES];

static struct vu_table table;
static struct vu_plan plan;
static const char *reason;

static unsigned long thing_of(const void *ram)
{
	return (unsigned long)(uintptr_t)ram;
}

static uint64_t base_of(unsigned place)
{
	return place ? TOP : 0;
}

/* User addresses are the guest's, shifted around within the world, at its lower or upper end. */
static struct vu_region random_region(struct test_random *random, unsigned place)
{
	uint64_t pages = 1 + test_below(random, 9), first = test_below(random, PAGES - pages + 1);
	uint64_t user = test_below(random, PAGES - pages + 1);
	struct vu_region region = { base_of(place) + first * 4096, pages * 4096, base_of(place) + user * 4096,
				    test_below(random, 3) * 4096 };

	return region;
}

static struct vu_file random_file(struct test_random *random)
{
	struct vu_file file = { 5, test_below(random, FILES) };

	return file;
}

/* Cells that a region takes. Return: whether all of them are free. */
static bool cells(unsigned *array, uint64_t base, uint64_t at, uint64_t bytes, unsigned number)
{
	bool free_ = true;

	for (uint64_t page = (at - base) / 4096; page < (at - base + bytes) / 4096; page++) {
		free_ = free_ && array[page] == NOBODY;
		if (number != NOBODY)
			array[page] = number;
	}
	return free_;
}

static void clear_cells(unsigned number)
{
	for (unsigned page = 0; page < PAGES; page++) {
		by_gpa[page] = by_gpa[page] == number ? NOBODY : by_gpa[page];
		by_uva[page] = by_uva[page] == number ? NOBODY : by_uva[page];
	}
}

static bool model_fits(unsigned place, const struct vu_region *region)
{
	return cells(by_gpa, base_of(place), region->gpa, region->bytes, NOBODY) &&
	       cells(by_uva, base_of(place), region->uva, region->bytes, NOBODY);
}

static unsigned model_insert(unsigned place, const struct vu_region *region, const struct vu_file *file)
{
	unsigned number = ++things_count;

	things[number] = (struct thing){ *region, *file, true };
	(void)cells(by_gpa, base_of(place), region->gpa, region->bytes, number);
	(void)cells(by_uva, base_of(place), region->uva, region->bytes, number);
	return number;
}

static void model_remove(unsigned number)
{
	things[number].there = false;
	clear_cells(number);
}

/* Carry the plan out, as the adapter does: what is new gets a number, which the model knows already. */
static void apply(unsigned first_new)
{
	unsigned number = first_new;

	for (uint32_t i = 0; i < plan.next.count; i++) {
		if (plan.next.entries[i].ram == NULL)
			plan.next.entries[i].ram = (void *)(uintptr_t)number++;
	}
	assert_int_equal(number, things_count + 1);
	table = plan.next;
}

static void check_removed(const unsigned *expected, unsigned count)
{
	assert_int_equal(plan.removed_count, count);
	for (unsigned i = 0; i < count; i++) {
		bool found = false;

		for (uint32_t n = 0; n < plan.removed_count; n++)
			found = found || thing_of(plan.removed[n]) == expected[i];
		assert_true(found);
	}
}

/* The table has exactly what the model has, and every run of pages is translated as the cells say. */
static void check_table(unsigned place)
{
	uint64_t base = base_of(place);
	unsigned there = 0;

	for (unsigned number = things_count > 200 ? things_count - 200 : 1; number <= things_count; number++)
		there += things[number].there;
	assert_int_equal(table.count, there);
	for (uint32_t i = 0; i < table.count; i++) {
		const struct thing *thing = &things[thing_of(table.entries[i].ram)];

		assert_true(thing->there);
		assert_memory_equal(&table.entries[i].region, &thing->region, sizeof(thing->region));
		assert_int_equal(table.entries[i].file.inode, thing->file.inode);
	}
	for (unsigned page = 0; page < PAGES; page++) {
		/* From a byte inside the page, up to so many pages on. */
		for (unsigned more = 0; more < 6 && page + more < PAGES; more += 1 + page % 2) {
			uint64_t uva = base + page * UINT64_C(4096) + 17, bytes = more * UINT64_C(4096) + 4096 - 17,
				 gpa = 1;
			const struct thing *first = &things[by_uva[page]];
			bool good = true, settled;

			for (unsigned i = 0; i <= more; i++) {
				const struct thing *thing = &things[by_uva[page + i]];

				good = good && by_uva[page + i] != NOBODY &&
				       thing->region.gpa - thing->region.uva == first->region.gpa - first->region.uva;
			}
			assert_int_equal(vu_translate(&table, uva, bytes, &gpa, &settled), good ? 0 : -EFAULT);
			if (good)
				assert_int_equal(gpa, uva - first->region.uva + first->region.gpa);
			assert_true(!good || settled);
		}
	}
}

static void do_add(struct test_random *random, unsigned place)
{
	struct vu_region region = random_region(random, place);
	struct vu_file file = random_file(random);
	bool fits = model_fits(place, &region);
	unsigned number;

	assert_int_equal(vu_plan_add(&table, &region, &file, &plan, &reason), fits ? 0 : -EINVAL);
	if (!fits)
		return;
	check_removed(NULL, 0);
	number = model_insert(place, &region, &file);
	apply(number);
}

static void do_remove(struct test_random *random, unsigned place)
{
	struct vu_region region = random_region(random, place);
	unsigned number = NOBODY;

	if (table.count != 0 && test_below(random, 8) != 0) {
		number = (unsigned)thing_of(table.entries[test_below(random, table.count)].ram);
		region = things[number].region;
		region.offset = 99;
		/* Almost it is not it. */
		switch (test_below(random, 8)) {
		case 0:
			region.gpa ^= 4096;
			number = NOBODY;
			break;
		case 1:
			region.uva ^= 4096;
			number = NOBODY;
			break;
		case 2:
			region.bytes ^= 4096;
			number = NOBODY;
			break;
		default:
			break;
		}
	}
	for (unsigned i = things_count > 200 ? things_count - 200 : 1; i <= things_count && number == NOBODY; i++) {
		if (things[i].there && things[i].region.gpa == region.gpa && things[i].region.uva == region.uva &&
		    things[i].region.bytes == region.bytes)
			number = i;
	}
	assert_int_equal(vu_plan_remove(&table, &region, &plan, &reason), number == NOBODY ? -ENOENT : 0);
	if (number == NOBODY)
		return;
	check_removed(&number, 1);
	model_remove(number);
	apply(things_count + 1);
}

static bool is_same(const struct thing *thing, const struct vu_region *region, const struct vu_file *file)
{
	return thing->there && memcmp(&thing->region, region, sizeof(*region)) == 0 && thing->file.inode == file->inode;
}

/* A whole table: some of what is there, some that is new, in any order, some of it in another file. */
static void do_set(struct test_random *random, unsigned place)
{
	struct vu_region regions[VU_TABLE_REGIONS_MAX];
	struct vu_file files[VU_TABLE_REGIONS_MAX];
	uint32_t count = (uint32_t)test_below(random, VU_TABLE_REGIONS_MAX + 1);
	unsigned saved_gpa[PAGES], saved_uva[PAGES], gone[VU_SLOTS_MAX], gone_count = 0, first_new = things_count + 1;
	bool fits = true, kept[VU_TABLE_REGIONS_MAX] = { false };

	for (uint32_t i = 0; i < count; i++) {
		regions[i] = random_region(random, place);
		files[i] = random_file(random);
		if (table.count != 0 && test_below(random, 3) != 0) {
			const struct vu_entry *entry = &table.entries[test_below(random, table.count)];

			regions[i] = entry->region;
			files[i] = test_below(random, 6) ? entry->file : files[i];
		}
	}
	memcpy(saved_gpa, by_gpa, sizeof(by_gpa));
	memcpy(saved_uva, by_uva, sizeof(by_uva));
	memset(by_gpa, 0, sizeof(by_gpa));
	memset(by_uva, 0, sizeof(by_uva));
	for (uint32_t i = 0; i < count && fits; i++) {
		fits = model_fits(place, &regions[i]);
		(void)cells(by_gpa, base_of(place), regions[i].gpa, regions[i].bytes, UINT32_MAX);
		(void)cells(by_uva, base_of(place), regions[i].uva, regions[i].bytes, UINT32_MAX);
	}
	memcpy(by_gpa, saved_gpa, sizeof(by_gpa));
	memcpy(by_uva, saved_uva, sizeof(by_uva));
	assert_int_equal(vu_plan_set(&table, regions, files, count, &plan, &reason), fits ? 0 : -EINVAL);
	if (!fits)
		return;
	for (uint32_t n = 0; n < table.count; n++) {
		unsigned number = (unsigned)thing_of(table.entries[n].ram);
		bool stays = false;

		for (uint32_t i = 0; i < count; i++) {
			if (is_same(&things[number], &regions[i], &files[i]))
				stays = kept[i] = true;
		}
		if (!stays)
			gone[gone_count++] = number;
	}
	check_removed(gone, gone_count);
	while (gone_count > 0)
		model_remove(gone[--gone_count]);
	for (uint32_t i = 0; i < count; i++) {
		if (!kept[i])
			(void)model_insert(place, &regions[i], &files[i]);
	}
	apply(first_new);
}

static void run_model(unsigned place, uint64_t seed)
{
	struct test_random random = { seed };

	things_count = 0;
	memset(by_gpa, 0, sizeof(by_gpa));
	memset(by_uva, 0, sizeof(by_uva));
	table.count = 0;
	for (unsigned round = 0; round < ROUNDS; round++) {
		switch (test_below(&random, 8)) {
		case 0:
			do_set(&random, place);
			break;
		case 1:
		case 2:
		case 3:
			do_remove(&random, place);
			break;
		default:
			do_add(&random, place);
			break;
		}
		/* The same table twice is no change at all. */
		if (round % 16 == 0 && table.count <= VU_TABLE_REGIONS_MAX) {
			struct vu_region regions[VU_TABLE_REGIONS_MAX];
			struct vu_file files[VU_TABLE_REGIONS_MAX];

			for (uint32_t i = 0; i < table.count; i++) {
				regions[i] = table.entries[i].region;
				files[i] = table.entries[i].file;
			}
			assert_int_equal(vu_plan_set(&table, regions, files, table.count, &plan, &reason), 0);
			check_removed(NULL, 0);
			apply(things_count + 1);
		}
		if (round % 8 == 0)
			check_table(place);
	}
	assert_true(things_count > ROUNDS / 20);
}

static void test_model(void **state)
{
	(void)state;
	run_model(0, 1);
}

static void test_model_at_the_top(void **state)
{
	(void)state;
	run_model(1, 2);
}

static void test_slots(void **state)
{
	struct vu_region region = { 0, 4096, 0, 0 };
	struct vu_file file = { 1, 1 };

	(void)state;
	table.count = 0;
	things_count = 0;
	for (unsigned i = 0; i < 509; i++) {
		region.gpa = region.uva = i * UINT64_C(8192);
		assert_int_equal(vu_plan_add(&table, &region, &file, &plan, &reason), 0);
		things_count = i + 1;
		apply(i + 1);
	}
	region.gpa = region.uva = UINT64_C(1) << 40;
	assert_int_equal(vu_plan_add(&table, &region, &file, &plan, &reason), -ENOSPC);
	region.gpa = region.uva = 8192;
	assert_int_equal(vu_plan_remove(&table, &region, &plan, &reason), 0);
	assert_int_equal(plan.next.count, 508);
}

static void test_no_pages(void **state)
{
	static const struct vu_region regions[] = {
		{ 1, 4096, 0, 0 },       { 2048, 4096, 0, 0 }, { 0, 4095, 0, 0 },    { 0, 1, 0, 0 },
		{ 0, 4096 + 512, 0, 0 }, { 0, 4096, 0, 1 },    { 0, 4096, 0, 2048 },
	};
	struct vu_file file = { 1, 1 };

	(void)state;
	table.count = 0;
	for (size_t i = 0; i < sizeof(regions) / sizeof(regions[0]); i++) {
		assert_int_equal(vu_plan_add(&table, &regions[i], &file, &plan, &reason), -EINVAL);
		assert_int_equal(vu_plan_set(&table, &regions[i], &file, 1, &plan, &reason), -EINVAL);
	}
}

/* Neighbours in user addresses that are not neighbours for the guest are no one range; nor is what passes the end of addresses. */
static void test_translation(void **state)
{
	static const struct vu_region regions[] = {
		{ 0x10000, 0x2000, 0x7000, 0 }, { 0x12000, 0x1000, 0x9000, 0 },
		{ 0x20000, 0x1000, 0xa000, 0 }, { UINT64_MAX - 0xfff, 0x1000, 0x100000, 0 },
		{ 0, 0x1000, 0x101000, 0 },
	};
	static const struct vu_region regions_at_the_end[] = {
		{ 0x4000, 0x1000, UINT64_MAX - 0xfff, 0 },
		{ 0x5000, 0x1000, 0, 0 },
	};
	static struct vu_plan wrapped;
	struct vu_file files[5] = { { 0, 0 } };
	uint64_t gpa = 0;
	bool settled = true;

	(void)state;
	table.count = 0;
	assert_int_equal(vu_plan_set(&table, regions, files, 5, &plan, &reason), 0);
	assert_int_equal(vu_translate(&plan.next, 0x7001, 0x2fff, &gpa, &settled), 0);
	assert_int_equal(gpa, 0x10001);
	assert_false(settled);
	assert_int_equal(vu_translate(&plan.next, 0x7001, 0x3000, &gpa, &settled), -EFAULT);
	assert_int_equal(vu_translate(&plan.next, 0x6fff, 1, &gpa, &settled), -EFAULT);
	assert_int_equal(vu_translate(&plan.next, 0xb000, 1, &gpa, &settled), -EFAULT);
	assert_int_equal(vu_translate(&plan.next, 0xafff, 1, &gpa, &settled), 0);
	assert_int_equal(vu_translate(&plan.next, 0xafff, 2, &gpa, &settled), -EFAULT);
	assert_int_equal(vu_translate(&plan.next, 0x100ff0, 0x10, &gpa, &settled), 0);
	assert_int_equal(gpa, UINT64_MAX - 15);
	assert_int_equal(vu_translate(&plan.next, 0x100ff0, 0x11, &gpa, &settled), -EFAULT);
	assert_int_equal(vu_translate(&plan.next, 0x7000, UINT64_MAX, &gpa, &settled), -EFAULT);
	assert_int_equal(vu_translate(&plan.next, UINT64_MAX, 2, &gpa, &settled), -EFAULT);
	/* Nor does the end of user addresses lead to their beginning. */
	assert_int_equal(vu_plan_set(&table, regions_at_the_end, files, 2, &wrapped, &reason), 0);
	assert_int_equal(vu_translate(&wrapped.next, UINT64_MAX - 15, 16, &gpa, &settled), 0);
	assert_int_equal(vu_translate(&wrapped.next, UINT64_MAX - 15, 17, &gpa, &settled), -EFAULT);
	/* Some of it mapped, some not. */
	plan.next.entries[0].ram = &table;
	assert_int_equal(vu_translate(&plan.next, 0x7000, 0x2000, &gpa, &settled), 0);
	assert_true(settled);
	assert_int_equal(vu_translate(&plan.next, 0x7000, 0x2001, &gpa, &settled), 0);
	assert_false(settled);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_pages), cmocka_unit_test(test_translation),      cmocka_unit_test(test_slots),
		cmocka_unit_test(test_model),    cmocka_unit_test(test_model_at_the_top),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

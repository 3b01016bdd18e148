/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The table of a front-end's memory: any sequence of whole tables, additions and removals, against a list that is as slow as it is plain, with sums
 * that can't wrap. After each change the table is what the list is; and user addresses are translated as the list says, byte by byte where
 * it matters.
 *
 * Input: operations, each a byte and its numbers.
 */
#include "fuzz.h"

#include <errno.h>

#include "table.h"

__extension__ typedef unsigned __int128 wide;
#define TOP ((wide)1 << 64)

/* More changes make an input slow, and nothing new. */
#define OPERATIONS_MAX 100
/* Nor do more checks of many regions, each of which takes time as their square. */
#define THOROUGH_MAX 48

/* What the model has. An identity is what the table carries along as its mapping. */
struct thing {
	struct vu_region region;
	struct vu_file file;
	uintptr_t identity;
};

static struct thing model[VU_SLOTS_MAX];
static unsigned model_count;
static uintptr_t identities;

static struct vu_table table;
static struct vu_plan plan;

static bool shares(uint64_t a, uint64_t b, wide a_bytes, wide b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

static bool is_of_pages(const struct vu_region *region)
{
	return ((region->gpa | region->bytes | region->offset) & 4095) == 0;
}

static bool meet(const struct vu_region *a, const struct vu_region *b)
{
	return shares(a->gpa, b->gpa, a->bytes, b->bytes) || shares(a->uva, b->uva, a->bytes, b->bytes);
}

static bool is_same(const struct thing *thing, const struct vu_region *region, const struct vu_file *file)
{
	return memcmp(&thing->region, region, sizeof(*region)) == 0 && memcmp(&thing->file, file, sizeof(*file)) == 0;
}

/* What the parser lets through: at least a byte, no wrapping. Others are made so. */
static void make_parsed(struct vu_region *region)
{
	uint64_t highest = region->gpa > region->uva ? region->gpa : region->uva;

	highest = highest > region->offset ? highest : region->offset;
	if (region->bytes == 0 || region->bytes - 1 > UINT64_MAX - highest)
		region->bytes = UINT64_MAX - highest < 4095 ? 1 : 4096;
}

static struct vu_region read_region(struct fuzz_input *input, struct vu_file *ret_file)
{
	uint8_t form = fuzz_u8(input);
	struct vu_region region;

	ret_file->device = 1;
	ret_file->inode = form & 3;
	/* One that is there, or nearly. */
	if ((form & 0x80) && model_count > 0) {
		const struct thing *thing = &model[fuzz_u8(input) % model_count];

		region = thing->region;
		*ret_file = thing->file;
		region.gpa ^= form & 4 ? 4096 : 0;
		region.bytes ^= form & 8 ? 4096 : 0;
		region.uva ^= form & 16 ? 4096 : 0;
		region.offset ^= form & 32 ? 4096 : 0;
		ret_file->inode ^= form & 64 ? 1 : 0;
	} else {
		region.gpa = fuzz_number(input);
		region.bytes = fuzz_number(input);
		region.uva = form & 4 ? FUZZ_UVA + region.gpa : fuzz_number(input);
		region.offset = form & 8 ? region.gpa : fuzz_number(input);
	}
	make_parsed(&region);
	return region;
}

/* As the adapter does: what is new gets mapped. Only entries that are there are copied: a table is large. */
static void apply(void)
{
	table.count = plan.next.count;
	for (uint32_t i = 0; i < table.count; i++) {
		table.entries[i] = plan.next.entries[i];
		if (table.entries[i].ram == NULL)
			table.entries[i].ram = (void *)++identities;
	}
	model_count = 0;
	for (uint32_t i = 0; i < table.count; i++)
		model[model_count++] = (struct thing){ table.entries[i].region, table.entries[i].file,
						       (uintptr_t)table.entries[i].ram };
}

static bool plan_removes(uintptr_t identity)
{
	unsigned found = 0;

	for (uint32_t i = 0; i < plan.removed_count; i++)
		found += (uintptr_t)plan.removed[i] == identity;
	fuzz_check(found <= 1);
	return found == 1;
}

/* How often the plan keeps a thing, mapped as it is. */
static unsigned plan_keeps(const struct thing *thing)
{
	unsigned found = 0;

	for (uint32_t i = 0; i < plan.next.count; i++) {
		const struct vu_entry *entry = &plan.next.entries[i];

		if ((uintptr_t)entry->ram == thing->identity) {
			fuzz_check(is_same(thing, &entry->region, &entry->file));
			found++;
		}
	}
	return found;
}

/* Each thing stays, or goes, but for those that @wanted says are to go: and never both. */
static void check_kept(bool (*goes)(const struct thing *thing, const void *opaque), const void *opaque)
{
	unsigned gone = 0;

	if (model_count > THOROUGH_MAX)
		return;
	for (unsigned i = 0; i < model_count; i++) {
		bool went = plan_removes(model[i].identity);

		fuzz_check(went == goes(&model[i], opaque));
		fuzz_check(plan_keeps(&model[i]) == (went ? 0 : 1));
		gone += went;
	}
	fuzz_check(plan.removed_count == gone);
}

static bool nothing_goes(const struct thing *thing, const void *opaque)
{
	(void)thing, (void)opaque;
	return false;
}

static int expect_add(const struct vu_region *region)
{
	if (!is_of_pages(region))
		return -EINVAL;
	if (model_count == VU_SLOTS_MAX)
		return -ENOSPC;
	for (unsigned i = 0; i < model_count; i++) {
		if (meet(&model[i].region, region))
			return -EINVAL;
	}
	return 0;
}

static void try_add(const struct vu_region *region, const struct vu_file *file)
{
	const char *reason = NULL;
	const struct vu_entry *last;
	int r = vu_plan_add(&table, region, file, &plan, &reason);

	fuzz_check(r == expect_add(region));
	if (r != 0) {
		fuzz_check(reason != NULL);
		return;
	}
	check_kept(nothing_goes, NULL);
	fuzz_check(plan.next.count == model_count + 1);
	last = &plan.next.entries[model_count];
	fuzz_check(memcmp(&last->region, region, sizeof(*region)) == 0 && last->ram == NULL && last->fd == 0);
	fuzz_check(last->file.device == file->device && last->file.inode == file->inode);
	apply();
}

/* As good as full, without the many additions that led to it, so that the limit is met. */
static void begin_full(struct fuzz_input *input)
{
	unsigned count = VU_SLOTS_MAX - fuzz_u8(input) % 4;

	for (unsigned i = 0; i < count; i++) {
		struct thing *thing = &model[i];

		thing->region = (struct vu_region){ (i + 256) * 2 * FUZZ_PAGE, FUZZ_PAGE, i * 2 * FUZZ_PAGE, 0 };
		thing->file = (struct vu_file){ 2, 2 };
		thing->identity = ++identities;
		table.entries[i] = (struct vu_entry){ thing->region, thing->file, (void *)thing->identity, 0 };
	}
	table.count = model_count = count;
}

static bool goes_by_place(const struct thing *thing, const void *opaque)
{
	const struct vu_region *region = opaque;

	return thing->region.gpa == region->gpa && thing->region.uva == region->uva &&
	       thing->region.bytes == region->bytes;
}

static void try_remove(struct fuzz_input *input)
{
	struct vu_file file;
	struct vu_region region = read_region(input, &file);
	const char *reason = NULL;
	bool is_there = false;
	int r = vu_plan_remove(&table, &region, &plan, &reason);

	for (unsigned i = 0; i < model_count; i++)
		is_there = is_there || goes_by_place(&model[i], &region);
	fuzz_check(r == (is_there ? 0 : -ENOENT));
	if (r != 0) {
		fuzz_check(reason != NULL);
		return;
	}
	fuzz_check(plan.next.count == model_count - 1);
	check_kept(goes_by_place, &region);
	apply();
}

struct wanted {
	uint32_t count;
	struct vu_region regions[VU_TABLE_REGIONS_MAX];
	struct vu_file files[VU_TABLE_REGIONS_MAX];
};

static bool is_unwanted(const struct thing *thing, const void *opaque)
{
	const struct wanted *wanted = opaque;

	for (uint32_t i = 0; i < wanted->count; i++) {
		if (is_same(thing, &wanted->regions[i], &wanted->files[i]))
			return false;
	}
	return true;
}

static bool can_stand(const struct wanted *wanted)
{
	for (uint32_t i = 0; i < wanted->count; i++) {
		if (!is_of_pages(&wanted->regions[i]))
			return false;
		for (uint32_t other = 0; other < i; other++) {
			if (meet(&wanted->regions[i], &wanted->regions[other]))
				return false;
		}
	}
	return true;
}

static void try_set(struct fuzz_input *input)
{
	struct wanted wanted = { .count = fuzz_u8(input) % (VU_TABLE_REGIONS_MAX + 1) };
	const char *reason = NULL;
	int r;

	for (uint32_t i = 0; i < wanted.count; i++)
		wanted.regions[i] = read_region(input, &wanted.files[i]);
	r = vu_plan_set(&table, wanted.regions, wanted.files, wanted.count, &plan, &reason);
	fuzz_check(r == (can_stand(&wanted) ? 0 : -EINVAL));
	if (r != 0) {
		fuzz_check(reason != NULL);
		return;
	}
	check_kept(is_unwanted, &wanted);
	fuzz_check(plan.next.count == wanted.count);
	for (uint32_t i = 0; i < wanted.count; i++) {
		const struct vu_entry *entry = &plan.next.entries[i];

		fuzz_check(memcmp(&entry->region, &wanted.regions[i], sizeof(entry->region)) == 0);
		fuzz_check(entry->file.inode == wanted.files[i].inode && (entry->ram != NULL || entry->fd == i));
	}
	apply();
}

/* Where one byte of user addresses stands; NULL for nowhere. */
static const struct thing *place_of(wide uva, wide *ret_gpa)
{
	for (unsigned i = 0; i < model_count; i++) {
		const struct vu_region *region = &model[i].region;

		if (uva >= region->uva && uva < (wide)region->uva + region->bytes) {
			*ret_gpa = region->gpa + (uva - region->uva);
			return &model[i];
		}
	}
	return NULL;
}

/* Between two edges of regions all bytes are alike: the first and the last byte, and those at the edges, are enough. */
static bool expect_translation(uint64_t uva, uint64_t bytes, uint64_t *ret_gpa)
{
	wide first = 0, gpa = 0, end = (wide)uva + bytes;

	if (end > TOP || place_of(uva, &first) == NULL || place_of(end - 1, &gpa) == NULL || gpa != first + (bytes - 1))
		return false;
	for (unsigned i = 0; i < model_count; i++) {
		const struct vu_region *region = &model[i].region;
		const wide edges[4] = { (wide)region->uva - 1, region->uva, (wide)region->uva + region->bytes - 1,
					(wide)region->uva + region->bytes };

		for (unsigned edge = 0; edge < 4; edge++) {
			if (edges[edge] < uva || edges[edge] >= end)
				continue;
			if (place_of(edges[edge], &gpa) == NULL || gpa != first + (edges[edge] - uva))
				return false;
		}
	}
	*ret_gpa = (uint64_t)first;
	return first + bytes <= TOP;
}

static void try_translate(struct fuzz_input *input)
{
	uint8_t form = fuzz_u8(input);
	uint64_t uva = 0, bytes, gpa = 77, expected = 0;
	bool settled = false, good;
	int r;

	if ((form & 1) && model_count > 0)
		uva = model[fuzz_u8(input) % model_count].region.uva;
	uva += fuzz_number(input) - (form & 2 ? 16 : 0);
	bytes = fuzz_number(input) + 1;
	bytes = bytes == 0 ? UINT64_MAX : bytes;
	if (model_count > THOROUGH_MAX)
		return;
	good = expect_translation(uva, bytes, &expected);
	r = vu_translate(&table, uva, bytes, &gpa, &settled);
	fuzz_check(r == (good ? 0 : -EFAULT));
	fuzz_check(gpa == (good ? expected : 77) && (!good || settled));
}

/* One is not mapped yet: the translation has to know, from its first byte to its last. */
static void try_settled(struct fuzz_input *input)
{
	uint64_t gpa, bytes;
	unsigned number;
	bool settled;
	void *ram;

	if (table.count == 0)
		return;
	number = fuzz_u8(input) % table.count;
	bytes = table.entries[number].region.bytes;
	bytes = fuzz_u8(input) & 1 && bytes > 1 ? bytes - 1 : 1;
	ram = table.entries[number].ram;
	table.entries[number].ram = NULL;
	fuzz_check(vu_translate(&table, table.entries[number].region.uva, bytes, &gpa, &settled) == 0);
	fuzz_check(!settled && gpa == table.entries[number].region.gpa);
	table.entries[number].ram = ram;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fuzz_input input = { data, bytes };
	struct vu_region region;
	struct vu_file file;

	table.count = 0;
	model_count = 0;
	identities = 0;
	for (unsigned i = 0; i < OPERATIONS_MAX && input.left > 0; i++) {
		switch (fuzz_u8(&input) % 8) {
		case 0:
		case 1:
			try_set(&input);
			break;
		case 2:
		case 3:
			region = read_region(&input, &file);
			try_add(&region, &file);
			break;
		case 4:
			try_remove(&input);
			break;
		case 5:
			if (i == 0)
				begin_full(&input);
			break;
		case 6:
			try_settled(&input);
			break;
		default:
			try_translate(&input);
			break;
		}
	}
	return 0;
}

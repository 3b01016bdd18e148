/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Random updates of a space against a model that is slow and obvious: a list of regions, searched from end to end. After each
 * update: the result is what the model says; the current map, and each snapshot still held, show what the model showed when
 * they were taken; and a removed region is released exactly when no held snapshot has it any more.
 */
#include "support.h"

#include "map/map.h"

#define PAGE           GM_PAGE_BYTES
#define UPDATES        12000
#define MODEL_MAX      400
#define RETIRED_MAX    4000
#define SNAPSHOTS      6
#define OPERATIONS_MAX 6
/* Few places, names and bytes of the file, so that conflicts are common. */
#define PLACES     600
#define NAMES      900
#define FILE_PAGES 700

struct entry {
	struct gm_region *region;
	uint64_t first, last;
	int name;
	int64_t file_page; /* -1: shows no file */
	bool alias;
	bool released; /* the space said so */
};

struct model {
	struct entry *entries[MODEL_MAX];
	size_t count;
};

struct snapshot {
	enum { FREE, MAP, SECTION, PIN } kind;
	const struct gm_map *map;
	struct gm_view view;
	struct gm_pin pin;
	struct model model;
};

static struct test_random dice = { 20261120 };
static struct gm_space *space;
static struct model now;
static struct snapshot snapshots[SNAPSHOTS];
static struct entry *retired[RETIRED_MAX];
static size_t retired_count, listener_count;
static bool listener_refuses;
static int fd;

static bool shares_bytes(const struct entry *a, const struct entry *b)
{
	int64_t a_pages = (int64_t)((a->last - a->first) / PAGE), b_pages = (int64_t)((b->last - b->first) / PAGE);

	return a->file_page >= 0 && b->file_page >= 0 && !a->alias && !b->alias &&
	       a->file_page <= b->file_page + b_pages && b->file_page <= a->file_page + a_pages;
}

static bool conflicts(const struct entry *a, const struct entry *b)
{
	return (a->first <= b->last && b->first <= a->last) || a->name == b->name || shares_bytes(a, b);
}

static bool has(const struct model *model, const struct entry *entry)
{
	size_t i;

	for (i = 0; i < model->count; i++) {
		if (model->entries[i] == entry)
			return true;
	}
	return false;
}

static struct entry *random_entry(void)
{
	struct entry *entry = calloc(1, sizeof(*entry));
	struct gm_region_opts opts = { .size = sizeof(opts), .kind = GM_DEVICE, .tag = (uint64_t)(uintptr_t)entry };
	struct gm_error error = { 0, "" };
	uint64_t pages = 1 + test_below(&dice, 4);
	char name[16];

	entry->first = test_below(&dice, PLACES) * PAGE;
	/* Now and then at the very end of the address space. */
	if (test_below(&dice, 40) == 0)
		entry->first = UINT64_MAX - pages * PAGE + 1;
	entry->last = entry->first + (pages * PAGE - 1);
	entry->name = (int)test_below(&dice, NAMES);
	entry->file_page = -1;
	snprintf(name, sizeof(name), "n%d", entry->name);
	opts.name = name;
	opts.first = gm_gpa(entry->first);
	opts.bytes = pages * PAGE;
	if (test_below(&dice, 4) == 0) {
		entry->file_page = (int64_t)test_below(&dice, FILE_PAGES);
		entry->alias = test_below(&dice, 4) == 0;
		opts.kind = GM_RAM;
		opts.source = GM_SOURCE_FD;
		opts.fd = fd;
		opts.fd_offset = (uint64_t)entry->file_page * PAGE;
		opts.flags = entry->alias ? GM_REGION_ALIAS : 0;
	}
	if (gm_region_new(&opts, &entry->region, &error) != 0)
		fail_msg("%s", error.text);
	return entry;
}

static void free_entry(struct entry *entry)
{
	gm_region_unref(entry->region);
	free(entry);
}

/* What the model says of an update: 0 and *after, or the code that commit must return. */
static int model_update(struct entry **removed, size_t removed_count, struct entry **inserted, size_t inserted_count,
			struct model *after)
{
	size_t i, j;

	*after = now;
	for (i = 0; i < removed_count; i++) {
		if (!has(after, removed[i]))
			return -ENOENT;
		for (j = 0; after->entries[j] != removed[i]; j++)
			;
		after->entries[j] = after->entries[--after->count];
	}
	for (i = 0; i < inserted_count; i++) {
		for (j = 0; j < after->count; j++) {
			if (conflicts(after->entries[j], inserted[i]))
				return -EEXIST;
		}
		after->entries[after->count++] = inserted[i];
	}
	return listener_refuses ? -EPERM : 0;
}

static int by_first(const void *a, const void *b)
{
	const struct entry *const *x = a, *const *y = b;

	return (*x)->first < (*y)->first ? -1 : (*x)->first > (*y)->first;
}

static void expect_map(const struct gm_map *map, struct model *model)
{
	const struct gm_region *region = NULL;
	size_t i;

	assert_int_equal(gm_map_count(map), model->count);
	assert_true(gmi_tree_is_sound(map->root, model->count));
	qsort(model->entries, model->count, sizeof(model->entries[0]), by_first);
	for (i = 0; i < model->count; i++) {
		region = gm_map_next(map, region);
		assert_ptr_equal(region, model->entries[i]->region);
		assert_int_equal(gm_region_first(region).value, model->entries[i]->first);
	}
	assert_null(gm_map_next(map, region));
}

static int prepare(void *opaque, const struct gm_change *change, struct gm_error *error)
{
	(void)opaque;
	(void)error;
	assert_true(change->before == NULL || gm_map_generation(change->after) > gm_map_generation(change->before));
	return listener_refuses ? -EPERM : 0;
}

static void commit(void *opaque, const struct gm_change *change)
{
	size_t i;

	(void)opaque;
	for (i = 1; i < change->removed_count; i++)
		assert_true(gm_region_first(change->removed[i - 1]).value > gm_region_first(change->removed[i]).value);
	for (i = 1; i < change->inserted_count; i++)
		assert_true(gm_region_first(change->inserted[i - 1]).value <
			    gm_region_first(change->inserted[i]).value);
	listener_count += change->inserted_count - change->removed_count;
	assert_int_equal(listener_count, gm_map_count(change->after));
}

static void released(void *opaque, struct gm_region *region)
{
	struct entry *entry = (struct entry *)(uintptr_t)gm_region_tag(region);

	(void)opaque;
	assert_ptr_equal(entry->region, region);
	assert_false(entry->released);
	entry->released = true;
}

/* Held by a snapshot and not released; or by none and released, to the last one of them. */
static void check_releases(void)
{
	size_t i, s, held = 0, kept = 0;

	assert_true(gm_space_reclaim(space) >= 0);
	for (i = 0; i < retired_count; i++) {
		bool expected = false;

		for (s = 0; s < SNAPSHOTS; s++)
			expected |= snapshots[s].kind != FREE && has(&snapshots[s].model, retired[i]);
		assert_int_equal(retired[i]->released, !expected);
		held += expected;
		if (expected)
			retired[kept++] = retired[i];
		else
			free_entry(retired[i]);
	}
	retired_count = kept;
	assert_int_equal(gm_space_reclaim(space), held);
}

static void take_snapshot(struct snapshot *snapshot)
{
	snapshot->kind = 1 + test_below(&dice, 3);
	snapshot->model = now;
	if (snapshot->kind == MAP) {
		assert_int_equal(gm_space_map(space, "snapshot", &snapshot->map), 0);
		return;
	}
	gm_view_enter(&snapshot->view);
	snapshot->map = snapshot->view.slot;
	if (snapshot->kind == PIN) {
		assert_int_equal(gm_view_pin(&snapshot->view, &snapshot->pin), 0);
		gm_view_leave(&snapshot->view);
	}
}

static void drop_snapshot(struct snapshot *snapshot)
{
	if (snapshot->kind == MAP)
		gm_map_unref(snapshot->map);
	else if (snapshot->kind == SECTION)
		gm_view_leave(&snapshot->view);
	else
		gm_view_unpin(&snapshot->pin);
	snapshot->kind = FREE;
}

static void random_update(size_t *ret_done, size_t *ret_refused)
{
	struct entry *removed[OPERATIONS_MAX], *inserted[OPERATIONS_MAX];
	size_t removed_count = test_below(&dice, 3), inserted_count = test_below(&dice, 4), i;
	struct gm_update *update = gm_update_begin(space);
	struct gm_error error = { 0, "" };
	struct model after;
	int expected, r;

	/* Tends to a few hundred regions. */
	if (now.count > 250)
		removed_count += 3;
	for (i = 0; i < removed_count && now.count > 0; i++) {
		removed[i] = now.entries[test_below(&dice, now.count)];
		assert_int_equal(gm_update_remove(update, removed[i]->region), 0);
	}
	removed_count = i;
	for (i = 0; i < inserted_count; i++) {
		inserted[i] = random_entry();
		assert_int_equal(gm_update_insert(update, inserted[i]->region), 0);
	}
	listener_refuses = test_below(&dice, 16) == 0;
	expected = model_update(removed, removed_count, inserted, inserted_count, &after);
	r = gm_update_commit(update, &error);
	if (r != expected)
		fail_msg("commit gave %d, the model says %d: %s", r, expected, error.text);
	listener_refuses = false;
	if (r < 0) {
		assert_int_equal(error.code, r);
		for (i = 0; i < inserted_count; i++)
			free_entry(inserted[i]);
		++*ret_refused;
		return;
	}
	for (i = 0; i < removed_count; i++)
		retired[retired_count++] = removed[i];
	now = after;
	++*ret_done;
}

static void agrees_with_the_model(void **state)
{
	const struct gm_listener listener = {
		.size = sizeof(listener), .name = "model", .prepare = prepare, .commit = commit, .released = released
	};
	struct gm_error error = { 0, "" };
	struct gm_memory *memory;
	const struct gm_map *map;
	size_t done = 0, refused = 0, i;

	(void)state;
	fd = memfd_create("model", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, (FILE_PAGES + 8) * PAGE), 0);
	assert_int_equal(gm_space_new(NULL, &space, &error), 0);
	assert_int_equal(gm_space_add_listener(space, &listener, &error), 0);
	assert_int_equal(gm_space_memory(space, GM_ALL_KINDS, &memory), 0);
	for (i = 0; i < SNAPSHOTS; i++)
		assert_int_equal(gm_view_init(&snapshots[i].view, memory, "snapshot", 0), 0);
	while (done < UPDATES) {
		struct snapshot *snapshot = &snapshots[test_below(&dice, SNAPSHOTS)];

		random_update(&done, &refused);
		assert_int_equal(gm_space_map(space, "check", &map), 0);
		expect_map(map, &now);
		gm_map_unref(map);
		if (test_below(&dice, 8) == 0) {
			if (snapshot->kind != FREE)
				drop_snapshot(snapshot);
			else
				take_snapshot(snapshot);
		}
		if (snapshot->kind != FREE)
			expect_map(snapshot->map, &snapshot->model);
		check_releases();
	}
	print_message("%zu updates done, %zu refused, %zu regions stand\n", done, refused, now.count);
	assert_true(refused > done / 10);
	for (i = 0; i < SNAPSHOTS; i++) {
		if (snapshots[i].kind != FREE)
			drop_snapshot(&snapshots[i]);
		assert_int_equal(gm_view_fini(&snapshots[i].view), 0);
	}
	check_releases();
	assert_int_equal(retired_count, 0);
	gm_memory_unref(memory);
	gm_space_unref(space);
	/* The space told of all of them when it went. */
	for (i = 0; i < now.count; i++) {
		assert_true(now.entries[i]->released);
		free_entry(now.entries[i]);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

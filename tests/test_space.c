/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Spaces: updates that happen as a whole or not at all, each refusal, and release after the last holder. */
#include "support.h"

#define PAGE GM_PAGE_BYTES

struct released {
	int count;
	void *last;
};

static void count_release(void *opaque, void *hva, uint64_t bytes)
{
	struct released *released = opaque;

	(void)bytes;
	__atomic_add_fetch(&released->count, 1, __ATOMIC_RELEASE);
	released->last = hva;
}

/* RAM that tells when it goes. */
static struct gm_region *watched(const char *name, uint64_t first, void *hva, struct released *released)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.kind = GM_RAM,
		.first = gm_gpa(first),
		.bytes = PAGE,
		.source = GM_SOURCE_POINTER,
		.hva = hva,
		.release = count_release,
		.opaque = released,
	};
	struct gm_error error = { 0, "" };
	struct gm_region *region;

	if (gm_region_new(&opts, &region, &error) != 0)
		fail_msg("%s", error.text);
	return region;
}

static struct gm_space *new_space(const struct gm_layout *layout)
{
	struct gm_error error = { 0, "" };
	struct gm_space *space;

	if (gm_space_new(layout, &space, &error) != 0)
		fail_msg("%s", error.text);
	return space;
}

/* Removes and inserts what is not NULL. */
static int update(struct gm_space *space, struct gm_region *remove, struct gm_region *insert, struct gm_error *error)
{
	struct gm_update *u = gm_update_begin(space);

	if (remove != NULL)
		(void)gm_update_remove(u, remove);
	if (insert != NULL)
		(void)gm_update_insert(u, insert);
	return gm_update_commit(u, error);
}

static uint64_t generation_of(struct gm_space *space)
{
	const struct gm_map *map;
	uint64_t generation;

	assert_int_equal(gm_space_map(space, "test", &map), 0);
	generation = gm_map_generation(map);
	gm_map_unref(map);
	return generation;
}

/* Commits and expects the refusal; nothing may have changed. */
static void expect_refusal(struct gm_space *space, struct gm_update *u, int code, const char *words)
{
	uint64_t before = generation_of(space);
	struct gm_error error = { 0, "" };

	assert_int_equal(gm_update_commit(u, &error), code);
	assert_int_equal(error.code, code);
	if (strstr(error.text, words) == NULL)
		fail_msg("'%s' does not say '%s'", error.text, words);
	assert_int_equal(generation_of(space), before);
}

static void updates_apply_as_a_whole(void **state)
{
	unsigned char *pages = test_pages(4 * PAGE);
	struct released released[3] = { { 0, NULL } };
	struct gm_region *a = watched("a", 0, pages, &released[0]), *b = watched("b", PAGE, pages + PAGE, &released[1]);
	/* Takes a's name and place: fine in one update, since removals come first. */
	struct gm_region *a2 = watched("a", 0, pages + 2 * PAGE, &released[2]), *found;
	struct gm_space *space = new_space(NULL);
	struct gm_update *u = gm_update_begin(space);
	const struct gm_map *before, *after;

	(void)state;
	assert_int_equal(gm_update_insert(u, a), 0);
	assert_int_equal(gm_update_insert(u, b), 0);
	assert_int_equal(gm_update_commit(u, NULL), 0);
	assert_int_equal(gm_space_map(space, "before", &before), 0);
	u = gm_update_begin(space);
	assert_int_equal(gm_update_insert(u, a2), 0);
	assert_int_equal(gm_update_remove(u, a), 0);
	assert_int_equal(gm_update_commit(u, NULL), 0);
	gm_region_unref(a);
	gm_region_unref(a2);
	assert_int_equal(gm_space_map(space, "after", &after), 0);
	assert_ptr_equal(gm_map_find(before, gm_gpa(0)), a);
	assert_ptr_equal(gm_map_find(after, gm_gpa(0)), a2);
	assert_true(gm_map_generation(after) > gm_map_generation(before));
	found = gm_space_find(space, "a");
	assert_ptr_equal(found, a2);
	gm_region_unref(found);
	assert_null(gm_space_find(space, "c"));
	assert_int_equal(gm_space_reclaim(space), 1);
	assert_int_equal(released[0].count, 0);
	gm_map_unref(before);
	assert_int_equal(gm_space_reclaim(space), 0);
	assert_int_equal(released[0].count, 1);
	assert_ptr_equal(released[0].last, pages);
	/* b stands on, after its last other reference too. */
	gm_region_unref(b);
	assert_int_equal(released[1].count, 0);
	/* A map outlives our reference on the space. */
	gm_space_unref(space);
	assert_ptr_equal(gm_map_find(after, gm_gpa(PAGE)), b);
	gm_map_unref(after);
	assert_int_equal(released[1].count + released[2].count, 2);
	munmap(pages, 4 * PAGE);
}

static void refuses_what_conflicts(void **state)
{
	unsigned char *pages = test_pages(8 * PAGE);
	struct released released = { 0, NULL };
	struct gm_region *a = watched("a", 4 * PAGE, pages, &released);
	struct gm_region *overlaps = test_ram("x", 3 * PAGE, 2 * PAGE, pages + PAGE);
	struct gm_region *same_name = watched("a", 8 * PAGE, pages + 3 * PAGE, &released);
	struct gm_region *fine = watched("fine", 16 * PAGE, pages + 4 * PAGE, &released);
	struct gm_space *space = new_space(NULL), *other = new_space(NULL);
	struct gm_update *u;

	(void)state;
	assert_int_equal(update(space, NULL, a, NULL), 0);
	/* Each refused update has something good in it, which must not stay. */
	u = gm_update_begin(space);
	(void)gm_update_insert(u, fine);
	(void)gm_update_insert(u, overlaps);
	expect_refusal(space, u, -EEXIST, "overlaps ram region 'a' [0x4000, 0x4fff]");
	u = gm_update_begin(space);
	(void)gm_update_insert(u, same_name);
	(void)gm_update_insert(u, fine);
	expect_refusal(space, u, -EEXIST, "the name is that of");
	u = gm_update_begin(space);
	(void)gm_update_remove(u, a);
	(void)gm_update_remove(u, fine);
	expect_refusal(space, u, -ENOENT, "'fine'");
	u = gm_update_begin(space);
	(void)gm_update_remove(u, a);
	(void)gm_update_remove(u, a);
	expect_refusal(space, u, -ENOENT, "'a'");
	u = gm_update_begin(space);
	(void)gm_update_insert(u, fine);
	(void)gm_update_insert(u, fine);
	expect_refusal(space, u, -EBUSY, "stands in the space already");
	u = gm_update_begin(other);
	(void)gm_update_insert(u, a);
	expect_refusal(other, u, -EBUSY, "stands in another space");
	u = gm_update_begin(space);
	(void)gm_update_insert(u, NULL);
	expect_refusal(space, u, -EINVAL, "NULL");
	/* The same region out and in again: its pages are in use until the old map is gone. */
	u = gm_update_begin(space);
	(void)gm_update_replace(u, a, a);
	expect_refusal(space, u, -EBUSY, "not released");
	/* After all this the index of names and the tree still agree with the map. */
	assert_int_equal(update(space, NULL, fine, NULL), 0);
	assert_int_equal(update(space, a, same_name, NULL), 0);
	gm_region_unref(a);
	gm_region_unref(overlaps);
	gm_region_unref(same_name);
	gm_region_unref(fine);
	gm_space_unref(space);
	gm_space_unref(other);
	assert_int_equal(released.count, 3);
	munmap(pages, 8 * PAGE);
}

static void refuses_what_the_layout_forbids(void **state)
{
	unsigned char *pages = test_pages(PAGE);
	struct gm_region *ram = test_ram("ram", 0xc0000000, PAGE, pages);
	struct gm_layout layout;
	struct gm_space *space;
	struct gm_update *u;
	struct gm_error error = { 0, "" };

	(void)state;
	assert_int_equal(gm_layout_x86_64_pc(40, &layout), 0);
	space = new_space(&layout);
	u = gm_update_begin(space);
	(void)gm_update_insert(u, ram);
	expect_refusal(space, u, -ERANGE, "'ram'");
	gm_space_unref(space);
	layout.holes_count = GM_HOLES_MAX + 1;
	assert_int_equal(gm_space_new(&layout, &space, &error), -EINVAL);
	gm_region_unref(ram);
	munmap(pages, PAGE);
}

static void refuses_aliases_unless_asked(void **state)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = "a",
		.bytes = 4 * PAGE,
		.source = GM_SOURCE_FD,
	};
	struct gm_space *space = new_space(NULL);
	struct gm_region *a, *b, *c;
	struct gm_update *u;

	(void)state;
	opts.fd = memfd_create("alias", MFD_CLOEXEC);
	assert_int_equal(ftruncate(opts.fd, 16 * PAGE), 0);
	assert_int_equal(gm_region_new(&opts, &a, NULL), 0);
	opts.name = "b";
	opts.first = gm_gpa(0x100000);
	opts.fd_offset = 3 * PAGE;
	assert_int_equal(gm_region_new(&opts, &b, NULL), 0);
	opts.name = "c";
	opts.flags = GM_REGION_ALIAS;
	opts.first = gm_gpa(0x200000);
	assert_int_equal(gm_region_new(&opts, &c, NULL), 0);
	assert_int_equal(update(space, NULL, a, NULL), 0);
	u = gm_update_begin(space);
	(void)gm_update_insert(u, b);
	expect_refusal(space, u, -EEXIST, "GM_REGION_ALIAS");
	assert_int_equal(update(space, NULL, c, NULL), 0);
	/* When a is gone its bytes are free. */
	assert_int_equal(update(space, a, b, NULL), 0);
	gm_region_unref(a);
	gm_region_unref(b);
	gm_region_unref(c);
	gm_space_unref(space);
	close(opts.fd);
}

static void empty_and_aborted_updates_do_nothing(void **state)
{
	unsigned char *pages = test_pages(PAGE);
	struct released released = { 0, NULL };
	struct gm_region *a = watched("a", 0, pages, &released);
	struct gm_space *space = new_space(NULL);
	struct gm_update *u = gm_update_begin(space);

	(void)state;
	(void)gm_update_insert(u, a);
	gm_region_unref(a);
	assert_int_equal(released.count, 0);
	gm_update_abort(u);
	assert_int_equal(released.count, 1);
	gm_update_abort(NULL);
	assert_int_equal(gm_update_commit(gm_update_begin(space), NULL), 0);
	/* Without memory for the update itself, the result of commit says so. */
	assert_int_equal(gm_update_insert(NULL, NULL), -ENOMEM);
	assert_int_equal(gm_update_remove(NULL, NULL), -ENOMEM);
	assert_int_equal(gm_update_replace(NULL, NULL, NULL), -ENOMEM);
	assert_int_equal(gm_update_on_released(NULL, NULL, NULL), -ENOMEM);
	assert_int_equal(gm_update_commit(NULL, NULL), -ENOMEM);
	gm_space_unref(space);
	munmap(pages, PAGE);
}

struct holders {
	char text[512];
};

static void note_holder(void *opaque, const char *holder, enum gm_hold hold)
{
	static const char *const kinds[] = { "read", "pin", "map" };
	struct holders *holders = opaque;
	size_t length = strlen(holders->text);

	snprintf(holders->text + length, sizeof(holders->text) - length, "%s:%s ", holder, kinds[hold]);
}

static void signal_done(void *opaque)
{
	++*(int *)opaque;
}

/* A region that is held goes when its last holder does, whoever that is; and until then holders have names. */
static void releases_after_the_last_holder(void **state)
{
	unsigned char *pages = test_pages(2 * PAGE);
	struct released released = { 0, NULL };
	struct gm_region *a = watched("a", 0, pages, &released), *stays = watched("b", PAGE, pages + PAGE, &released);
	struct gm_space *space = new_space(NULL);
	struct holders holders = { "" };
	const struct gm_map *map;
	struct gm_memory *memory;
	struct gm_update *u;
	struct gm_view views[3];
	struct gm_pin pin;
	int done = 0;

	(void)state;
	assert_int_equal(update(space, NULL, a, NULL), 0);
	assert_int_equal(update(space, NULL, stays, NULL), 0);
	assert_int_equal(gm_space_memory(space, GM_ONLY_RAM, &memory), 0);
	assert_int_equal(gm_view_init(&views[0], memory, "reader", 0), 0);
	assert_int_equal(gm_view_init(&views[1], memory, "pinner", 0), 0);
	assert_int_equal(gm_view_init(&views[2], memory, "late", 0), 0);
	gm_view_enter(&views[0]);
	gm_view_enter(&views[1]);
	assert_int_equal(gm_view_pin(&views[1], &pin), 0);
	gm_view_leave(&views[1]);
	assert_int_equal(gm_space_map(space, "dumper", &map), 0);

	u = gm_update_begin(space);
	assert_int_equal(gm_update_remove(u, a), 0);
	assert_int_equal(gm_update_on_released(u, signal_done, &done), 0);
	assert_int_equal(gm_update_commit(u, NULL), 0);
	gm_region_unref(a);
	/* Who enters now does not hold it. */
	gm_view_enter(&views[2]);
	assert_int_equal(gm_space_wait(space, 0), -ETIMEDOUT);
	assert_int_equal(gm_space_wait(space, 5), -ETIMEDOUT);
	assert_int_equal(gm_space_holders(space, a, note_holder, &holders), 3);
	assert_string_equal(holders.text, "pinner:pin reader:read dumper:map ");
	holders.text[0] = '\0';
	assert_int_equal(gm_space_holders(space, NULL, note_holder, &holders), 3);
	assert_string_equal(holders.text, "pinner:pin reader:read dumper:map ");
	holders.text[0] = '\0';
	assert_int_equal(gm_space_holders(space, stays, note_holder, &holders), 4);
	assert_int_equal(done, 0);

	gm_view_leave(&views[0]);
	assert_int_equal(gm_space_reclaim(space), 1);
	gm_map_unref(map);
	assert_int_equal(gm_space_reclaim(space), 1);
	/* The page can still be used under the pin. */
	pages[5] = 1;
	gm_view_unpin(&pin);
	assert_int_equal(released.count + done, 0);
	assert_int_equal(gm_space_wait(space, 1000), 0);
	assert_int_equal(released.count, 1);
	assert_int_equal(done, 1);
	assert_int_equal(gm_space_holders(space, NULL, note_holder, &holders), 0);
	/* The region is gone; its address is only compared. */
	assert_int_equal(gm_space_holders(space, a, note_holder, &holders), -ENOENT);
	gm_view_leave(&views[2]);

	gm_region_unref(stays);
	gm_memory_unref(memory);
	gm_space_unref(space);
	assert_int_equal(gm_view_fini(&views[0]), 0);
	assert_int_equal(gm_view_fini(&views[1]), 0);
	assert_int_equal(released.count, 1);
	/* The last view takes the space down. */
	assert_int_equal(gm_view_fini(&views[2]), 0);
	assert_int_equal(released.count, 2);
	munmap(pages, 2 * PAGE);
}

/* A pin on an old map holds the regions of that map, and not those that came and went since. */
static void old_pins_hold_only_what_they_have(void **state)
{
	unsigned char *pages = test_pages(3 * PAGE);
	struct released old = { 0, NULL }, passing = { 0, NULL };
	struct gm_region *a = watched("a", 0, pages, &old), *b;
	struct gm_space *space = new_space(NULL);
	const struct gm_map *map;
	int i;

	(void)state;
	assert_int_equal(update(space, NULL, a, NULL), 0);
	assert_int_equal(gm_space_map(space, "old", &map), 0);
	assert_int_equal(update(space, a, NULL, NULL), 0);
	gm_region_unref(a);
	for (i = 1; i <= 100; i++) {
		b = watched("b", 0, pages + PAGE, &passing);
		assert_int_equal(update(space, NULL, b, NULL), 0);
		assert_int_equal(update(space, b, NULL, NULL), 0);
		gm_region_unref(b);
		assert_int_equal(passing.count, i);
	}
	assert_int_equal(gm_space_reclaim(space), 1);
	assert_int_equal(old.count, 0);
	assert_ptr_equal(gm_map_find(map, gm_gpa(0)), a);
	gm_map_unref(map);
	assert_int_equal(gm_space_reclaim(space), 0);
	assert_int_equal(old.count, 1);
	gm_space_unref(space);
	munmap(pages, 3 * PAGE);
}

static void reclaimer_releases_by_itself(void **state)
{
	unsigned char *pages = test_pages(PAGE);
	struct released released = { 0, NULL };
	struct gm_region *a = watched("a", 0, pages, &released);
	struct gm_space *space = new_space(NULL);
	const struct gm_map *map;
	int i;

	(void)state;
	assert_int_equal(gm_space_start_reclaimer(space), 0);
	assert_int_equal(gm_space_start_reclaimer(space), -EALREADY);
	assert_int_equal(update(space, NULL, a, NULL), 0);
	assert_int_equal(gm_space_map(space, "holder", &map), 0);
	assert_int_equal(update(space, a, NULL, NULL), 0);
	gm_region_unref(a);
	usleep(5000);
	assert_int_equal(__atomic_load_n(&released.count, __ATOMIC_ACQUIRE), 0);
	gm_map_unref(map);
	for (i = 0; i < 5000 && __atomic_load_n(&released.count, __ATOMIC_ACQUIRE) == 0; i++)
		usleep(1000);
	assert_int_equal(__atomic_load_n(&released.count, __ATOMIC_ACQUIRE), 1);
	gm_space_stop_reclaimer(space);
	gm_space_stop_reclaimer(space);
	/* It can be started again, and ends with the space. */
	assert_int_equal(gm_space_start_reclaimer(space), 0);
	gm_space_unref(space);
	munmap(pages, PAGE);
}

static void wait_in_completion(void *opaque)
{
	assert_int_equal(gm_space_wait(opaque, 1000), 0);
	assert_int_equal(update(opaque, NULL, NULL, NULL), 0);
}

static void completions_may_do_everything(void **state)
{
	unsigned char *pages = test_pages(2 * PAGE);
	struct released released = { 0, NULL };
	struct gm_region *a = watched("a", 0, pages, &released), *b = watched("b", PAGE, pages + PAGE, &released);
	struct gm_space *space = new_space(NULL);
	struct gm_update *u = gm_update_begin(space);
	int done = 0;

	(void)state;
	(void)gm_update_insert(u, a);
	(void)gm_update_insert(u, b);
	(void)gm_update_on_released(u, signal_done, &done);
	assert_int_equal(gm_update_commit(u, NULL), 0);
	/* Nothing to wait for. */
	assert_int_equal(done, 1);
	u = gm_update_begin(space);
	(void)gm_update_remove(u, a);
	(void)gm_update_remove(u, b);
	(void)gm_update_on_released(u, wait_in_completion, space);
	(void)gm_update_on_released(u, signal_done, &done);
	gm_region_unref(a);
	gm_region_unref(b);
	assert_int_equal(gm_update_commit(u, NULL), 0);
	assert_int_equal(done, 2);
	assert_int_equal(released.count, 2);
	/* A refused update calls nobody. */
	u = gm_update_begin(space);
	(void)gm_update_insert(u, NULL);
	(void)gm_update_on_released(u, signal_done, &done);
	assert_int_equal(gm_update_commit(u, NULL), -EINVAL);
	assert_int_equal(done, 2);
	gm_space_unref(space);
	munmap(pages, 2 * PAGE);
}

/* Two spaces know nothing of each other: a reader of one holds up nothing in the other. */
static void spaces_are_independent(void **state)
{
	unsigned char *pages = test_pages(2 * PAGE);
	struct released released = { 0, NULL };
	struct gm_region *a = watched("a", 0, pages, &released), *b = watched("a", 0, pages + PAGE, &released);
	struct gm_space *one = new_space(NULL), *two = new_space(NULL);
	struct gm_memory *memory;
	struct gm_view view;

	(void)state;
	assert_int_equal(update(one, NULL, a, NULL), 0);
	assert_int_equal(update(two, NULL, b, NULL), 0);
	assert_int_equal(gm_space_memory(one, GM_ONLY_RAM, &memory), 0);
	assert_int_equal(gm_view_init(&view, memory, "reader", 0), 0);
	gm_view_enter(&view);
	assert_int_equal(update(two, b, NULL, NULL), 0);
	assert_int_equal(gm_space_wait(two, 1000), 0);
	gm_region_unref(b);
	assert_int_equal(released.count, 1);
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_memory_unref(memory);
	gm_region_unref(a);
	gm_space_unref(one);
	gm_space_unref(two);
	munmap(pages, 2 * PAGE);
}

/* The n-th allocation of an update fails, for all n: each time nothing changes and nothing is lost. */
static void survives_want_of_memory(void **state)
{
	unsigned char *pages = test_pages(64 * PAGE);
	struct gm_region *regions[64];
	struct gm_space *space = NULL;
	struct gm_update *u;
	struct gm_error error;
	uint64_t before;
	long n;
	int i, r;

	(void)state;
	for (n = 1;; n++) {
		gmi_fault_arm(n, ENOMEM);
		r = gm_space_new(NULL, &space, &error);
		gmi_fault_arm(0, 0);
		/* Without membarrier (the last point) a space can be had, and its readers fence. */
		if (r == 0)
			break;
		assert_int_equal(r, -ENOMEM);
		assert_null(space);
	}
	assert_true(n > 3);
	for (i = 0; i < 64; i++) {
		char name[16];

		snprintf(name, sizeof(name), "r%d", i);
		regions[i] = test_ram(name, (uint64_t)i * PAGE, PAGE, pages + i * PAGE);
	}
	for (i = 0; i < 32; i++)
		assert_int_equal(update(space, NULL, regions[i], NULL), 0);
	before = generation_of(space);
	for (n = 1;; n++) {
		gmi_fault_arm(n, ENOMEM);
		u = gm_update_begin(space);
		for (i = 0; i < 64; i++)
			(void)(i < 32 ? gm_update_remove(u, regions[i]) : gm_update_insert(u, regions[i]));
		(void)gm_update_on_released(u, signal_done, &i);
		r = gm_update_commit(u, &error);
		gmi_fault_arm(0, 0);
		if (r == 0)
			break;
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(error.code, -ENOMEM);
		assert_int_equal(generation_of(space), before);
	}
	assert_true(n > 8);
	for (i = 0; i < 64; i++) {
		struct gm_region *found;
		char name[16];

		snprintf(name, sizeof(name), "r%d", i);
		found = gm_space_find(space, name);
		assert_ptr_equal(found, i < 32 ? NULL : regions[i]);
		gm_region_unref(found);
		gm_region_unref(regions[i]);
	}
	gm_space_unref(space);
	munmap(pages, 64 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(updates_apply_as_a_whole),
		cmocka_unit_test(refuses_what_conflicts),
		cmocka_unit_test(refuses_what_the_layout_forbids),
		cmocka_unit_test(refuses_aliases_unless_asked),
		cmocka_unit_test(empty_and_aborted_updates_do_nothing),
		cmocka_unit_test(releases_after_the_last_holder),
		cmocka_unit_test(old_pins_hold_only_what_they_have),
		cmocka_unit_test(reclaimer_releases_by_itself),
		cmocka_unit_test(completions_may_do_everything),
		cmocka_unit_test(spaces_are_independent),
		cmocka_unit_test(survives_want_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Listeners: order of the calls, refusal and its rollback, coming late, going early, and what they may not call. */
#include "support.h"

#define PAGE GM_PAGE_BYTES

static char told[4096];

static void tell(const char *format, ...)
{
	size_t length = strlen(told);
	va_list args;

	va_start(args, format);
	vsnprintf(told + length, sizeof(told) - length, format, args);
	va_end(args);
}

struct recorder {
	const char *name;
	int refusal;
	const char *sentence;
	const char *text_only;   /* the same without the code */
	struct gm_space *meddle; /* try what a listener must not do */
};

static void tell_change(const char *name, const char *what, const struct gm_change *change)
{
	size_t i;

	tell("%s.%s(", name, what);
	for (i = 0; i < change->removed_count; i++)
		tell("-%s", gm_region_name(change->removed[i]));
	for (i = 0; i < change->inserted_count; i++)
		tell("+%s", gm_region_name(change->inserted[i]));
	tell(") ");
}

static void meddle(struct gm_space *space)
{
	struct gm_listener listener = { .size = sizeof(listener), .name = "other" };
	struct gm_error error = { 0, "" };
	const struct gm_map *map;
	struct gm_memory *memory;
	struct gm_region *found;
	struct gm_view view;

	assert_int_equal(gm_update_commit(gm_update_begin(space), &error), -EDEADLK);
	assert_int_equal(error.code, -EDEADLK);
	assert_int_equal(gm_space_add_listener(space, &listener, &error), -EDEADLK);
	assert_int_equal(gm_space_remove_listener(space, "a"), -EDEADLK);
	assert_int_equal(gm_space_reclaim(space), -EDEADLK);
	assert_int_equal(gm_space_wait(space, 0), -EDEADLK);
	assert_int_equal(gm_space_holders(space, NULL, NULL, NULL), -EDEADLK);
	assert_int_equal(gm_space_memory(space, GM_ONLY_RAM, &memory), 0);
	assert_int_equal(gm_view_init(&view, memory, "view", 0), -EDEADLK);
	gm_memory_unref(memory);
	/* These two are allowed. */
	assert_int_equal(gm_space_map(space, "listener", &map), 0);
	gm_map_unref(map);
	found = gm_space_find(space, "x");
	gm_region_unref(found);
}

static int prepare(void *opaque, const struct gm_change *change, struct gm_error *error)
{
	struct recorder *recorder = opaque;

	tell_change(recorder->name, "prepare", change);
	if (recorder->meddle != NULL)
		meddle(recorder->meddle);
	if (recorder->refusal != 0 && recorder->sentence != NULL) {
		error->code = recorder->refusal;
		snprintf(error->text, sizeof(error->text), "%s", recorder->sentence);
	}
	if (recorder->text_only != NULL)
		snprintf(error->text, sizeof(error->text), "%s", recorder->text_only);
	return recorder->refusal;
}

static void on_abort(void *opaque, const struct gm_change *change)
{
	tell_change(((struct recorder *)opaque)->name, "abort", change);
}

static void commit(void *opaque, const struct gm_change *change)
{
	tell_change(((struct recorder *)opaque)->name, "commit", change);
}

static void released(void *opaque, struct gm_region *region)
{
	tell("%s.released(%s) ", ((struct recorder *)opaque)->name, gm_region_name(region));
}

static int add(struct gm_space *space, struct recorder *recorder, struct gm_error *error)
{
	struct gm_listener listener = {
		.size = sizeof(listener),
		.name = recorder->name,
		.opaque = recorder,
		.prepare = prepare,
		.abort = on_abort,
		.commit = commit,
		.released = released,
	};

	return gm_space_add_listener(space, &listener, error);
}

static void expect_told(const char *text)
{
	assert_string_equal(told, text);
	told[0] = '\0';
}

static int update(struct gm_space *space, struct gm_region **remove, struct gm_region **insert, struct gm_error *error)
{
	struct gm_update *u = gm_update_begin(space);

	for (; remove != NULL && *remove != NULL; remove++)
		(void)gm_update_remove(u, *remove);
	for (; insert != NULL && *insert != NULL; insert++)
		(void)gm_update_insert(u, *insert);
	return gm_update_commit(u, error);
}

static void hears_everything_in_order(void **state)
{
	struct gm_region *x = test_bare("x", GM_DEVICE, 0, PAGE), *y = test_bare("y", GM_DEVICE, PAGE, PAGE);
	struct gm_region *z = test_bare("z", GM_DEVICE, 2 * PAGE, PAGE);
	struct recorder a = { .name = "a" }, b = { .name = "b" };
	struct gm_space *space;
	struct gm_error error;

	(void)state;
	told[0] = '\0';
	assert_int_equal(gm_space_new(NULL, &space, &error), 0);
	assert_int_equal(add(space, &a, &error), 0);
	expect_told("a.prepare() a.commit() ");
	assert_int_equal(update(space, NULL, (struct gm_region *[]){ y, x, NULL }, &error), 0);
	expect_told("a.prepare(+x+y) a.commit(+x+y) ");
	/* Who comes late is told of what is there. */
	assert_int_equal(add(space, &b, &error), 0);
	expect_told("b.prepare(+x+y) b.commit(+x+y) ");
	assert_int_equal(add(space, &b, &error), -EEXIST);
	assert_int_equal(update(space, (struct gm_region *[]){ x, y, NULL }, (struct gm_region *[]){ z, NULL }, &error),
			 0);
	expect_told("a.prepare(-y-x+z) b.prepare(-y-x+z) a.commit(-y-x+z) b.commit(-y-x+z) "
		    "a.released(x) b.released(x) a.released(y) b.released(y) ");
	assert_int_equal(gm_space_remove_listener(space, "a"), 0);
	expect_told("a.commit(-z) a.released(z) ");
	assert_int_equal(gm_space_remove_listener(space, "a"), -ENOENT);
	gm_region_unref(x);
	gm_region_unref(y);
	gm_region_unref(z);
	gm_space_unref(space);
	expect_told("b.commit(-z) b.released(z) ");
}

static void refusal_takes_everything_back(void **state)
{
	struct gm_region *x = test_bare("x", GM_DEVICE, 0, PAGE), *y = test_bare("y", GM_DEVICE, PAGE, PAGE);
	struct recorder a = { .name = "a" }, b = { .name = "b" }, c = { .name = "c" }, d = { .name = "d" };
	struct gm_space *space;
	struct gm_error error;

	(void)state;
	told[0] = '\0';
	assert_int_equal(gm_space_new(NULL, &space, &error), 0);
	assert_int_equal(update(space, NULL, (struct gm_region *[]){ x, NULL }, &error), 0);
	assert_int_equal(add(space, &a, &error) | add(space, &b, &error) | add(space, &c, &error), 0);
	told[0] = '\0';
	c.refusal = -ENOSPC;
	c.sentence = "no slot is left for region 'y'";
	assert_int_equal(update(space, (struct gm_region *[]){ x, NULL }, (struct gm_region *[]){ y, NULL }, &error),
			 -ENOSPC);
	assert_string_equal(error.text, "no slot is left for region 'y' (listener 'c')");
	expect_told("a.prepare(-x+y) b.prepare(-x+y) c.prepare(-x+y) b.abort(-x+y) a.abort(-x+y) ");
	c.sentence = NULL;
	assert_int_equal(update(space, NULL, (struct gm_region *[]){ y, NULL }, &error), -ENOSPC);
	assert_string_equal(error.text, "listener 'c' refused the change: No space left on device");
	/* The text is enough, and a positive answer is no consent. */
	c.text_only = "text only";
	assert_int_equal(update(space, NULL, (struct gm_region *[]){ y, NULL }, &error), -ENOSPC);
	assert_string_equal(error.text, "text only (listener 'c')");
	c.text_only = NULL;
	c.refusal = ENOSPC;
	assert_int_equal(update(space, NULL, (struct gm_region *[]){ y, NULL }, &error), -EINVAL);
	assert_string_equal(error.text, "listener 'c' answered 28, which is neither 0 nor an error");
	told[0] = '\0';
	/* One that refuses what stands there can't be added. */
	d.refusal = -EPERM;
	assert_int_equal(add(space, &d, &error), -EPERM);
	expect_told("d.prepare(+x) ");
	/* And all is as it was: y may come, x may go. */
	c.refusal = 0;
	assert_int_equal(update(space, (struct gm_region *[]){ x, NULL }, (struct gm_region *[]){ y, NULL }, &error),
			 0);
	gm_region_unref(x);
	gm_region_unref(y);
	gm_space_unref(space);
}

/* A region that was removed before a listener came, and is released after, is nothing to it; and it goes knowing all. */
static void hears_of_what_it_knew_only(void **state)
{
	struct gm_region *x = test_bare("x", GM_DEVICE, 0, PAGE), *y = test_bare("y", GM_DEVICE, PAGE, PAGE);
	struct recorder a = { .name = "a" }, b = { .name = "b" };
	const struct gm_map *held;
	struct gm_space *space;
	struct gm_error error;

	(void)state;
	assert_int_equal(gm_space_new(NULL, &space, &error), 0);
	assert_int_equal(add(space, &a, &error), 0);
	assert_int_equal(update(space, NULL, (struct gm_region *[]){ x, y, NULL }, &error), 0);
	assert_int_equal(gm_space_map(space, "holder", &held), 0);
	assert_int_equal(update(space, (struct gm_region *[]){ x, NULL }, NULL, &error), 0);
	told[0] = '\0';
	assert_int_equal(add(space, &b, &error), 0);
	expect_told("b.prepare(+y) b.commit(+y) ");
	assert_int_equal(gm_space_remove_listener(space, "a"), 0);
	expect_told("a.commit(-y) a.released(x) a.released(y) ");
	gm_map_unref(held);
	assert_int_equal(gm_space_reclaim(space), 0);
	expect_told("");
	gm_region_unref(x);
	gm_region_unref(y);
	gm_space_unref(space);
}

static void can_not_change_its_space(void **state)
{
	struct gm_region *x = test_bare("x", GM_DEVICE, 0, PAGE);
	struct recorder a = { .name = "a" };
	struct gm_space *space;
	struct gm_error error;

	(void)state;
	assert_int_equal(gm_space_new(NULL, &space, &error), 0);
	a.meddle = space;
	assert_int_equal(add(space, &a, &error), 0);
	assert_int_equal(update(space, NULL, (struct gm_region *[]){ x, NULL }, &error), 0);
	gm_region_unref(x);
	gm_space_unref(space);
}

static void refuses_bad_listeners(void **state)
{
	struct gm_listener listener = { .size = sizeof(listener) };
	struct {
		struct gm_listener listener;
		int newer;
	} surplus = { { 0 }, 1 };
	struct gm_space *space;
	struct gm_error error;
	char names[GM_LISTENERS_MAX][8];
	long n;
	int i, r;

	(void)state;
	assert_int_equal(gm_space_new(NULL, &space, &error), 0);
	assert_int_equal(gm_space_add_listener(space, &listener, &error), -EINVAL);
	surplus.listener.size = sizeof(surplus);
	surplus.listener.name = "newer";
	assert_int_equal(gm_space_add_listener(space, &surplus.listener, &error), -EINVAL);
	surplus.newer = 0;
	assert_int_equal(gm_space_add_listener(space, &surplus.listener, &error), 0);
	for (i = 1; i < GM_LISTENERS_MAX; i++) {
		snprintf(names[i], sizeof(names[i]), "l%d", i % 100);
		listener.name = names[i];
		for (n = 1;; n++) {
			gmi_fault_arm(n, ENOMEM);
			r = gm_space_add_listener(space, &listener, &error);
			gmi_fault_arm(0, 0);
			if (r == 0)
				break;
			assert_int_equal(r, -ENOMEM);
		}
	}
	listener.name = "one more";
	assert_int_equal(gm_space_add_listener(space, &listener, &error), -ENOSPC);
	gmi_fault_arm(1, ENOMEM);
	assert_int_equal(gm_space_remove_listener(space, "l1"), -ENOMEM);
	gmi_fault_arm(0, 0);
	assert_int_equal(gm_space_remove_listener(space, "l1"), 0);
	gm_space_unref(space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hears_everything_in_order),  cmocka_unit_test(refusal_takes_everything_back),
		cmocka_unit_test(hears_of_what_it_knew_only), cmocka_unit_test(can_not_change_its_space),
		cmocka_unit_test(refuses_bad_listeners),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

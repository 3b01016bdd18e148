/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What a guest on /dev/kvm writes, in each of the three forms of KVM's log: no page is missing, while slots come and go, devices
 * write as well, and the vCPU runs. KVM may report more than was written; how much more is bounded.
 */
#include "kvm_guest.h"

#define PAGE    UINT64_C(4096)
#define REGIONS 5
#define PAGES   200 /* of each */
#define POKES   300
#define ROUNDS  60
#define SPIN    64 /* pages that the running vCPU writes to, around and around */

static const enum gm_kvm_log logs[] = { GM_KVM_LOG_BITMAP, GM_KVM_LOG_MANUAL, GM_KVM_LOG_RING };
static const char *const names[] = { "best", "bitmap", "manual", "ring" };

static bool quick;
static struct guest guest;
static struct gm_kvm *kvm;
static struct gm_space *space;
static struct gm_memory *memory;
static struct gm_view view;

static void begin(enum gm_kvm_log log)
{
	struct gm_kvm_opts opts = { .size = sizeof(opts), .log = log, .slot_first = 1 };
	const char *why = guest_open(&guest);
	struct gm_error error = { 0, "" };
	int r;

	if (why != NULL) {
		guest_close(&guest);
		test_skip("%s", why);
	}
	/* Small enough to run full. */
	if (log == GM_KVM_LOG_RING)
		opts.ring_entries = 1024;
	r = gm_kvm_new(guest.vm, &opts, &kvm, &error);
	if (r == -EOPNOTSUPP) {
		guest_close(&guest);
		test_skip("%s", error.text);
	}
	if (r != 0)
		fail_msg("%s", error.text);
	guest_add_vcpu(&guest);
	guest.adapter = kvm;
	assert_int_equal(gm_kvm_add_vcpu(kvm, guest.vcpu, &error), 0);
	assert_int_equal(gm_space_new(NULL, &space, &error), 0);
	assert_int_equal(gm_kvm_attach(kvm, space, &error), 0);
	assert_int_equal(gm_space_memory(space, GM_ONLY_RAM, &memory), 0);
	assert_int_equal(gm_view_init(&view, memory, "device", 0), 0);
}

static int end(void **state)
{
	(void)state;
	if (kvm == NULL)
		return 0;
	assert_int_equal(gm_view_fini(&view), 0);
	gm_memory_unref(memory);
	assert_int_equal(gm_kvm_remove_vcpu(kvm, guest.vcpu), 0);
	gm_kvm_free(kvm);
	gm_space_unref(space);
	kvm = NULL;
	guest_close(&guest);
	return 0;
}

static struct gm_region *make(unsigned number, uint64_t pages)
{
	char name[GM_NAME_MAX];
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		/* Neighbours, and one far away. */
		.first = gm_gpa(number == 0 ? 5 * GM_GIB : (1024 + number * PAGES) * PAGE),
		.bytes = pages * PAGE,
		.dirty_page_bytes = 4096,
	};
	struct gm_error error = { 0, "" };
	struct gm_region *region;

	snprintf(name, sizeof(name), "ram%u", number);
	if (gm_region_new(&opts, &region, &error) != 0)
		fail_msg("%s", error.text);
	return region;
}

static void change(struct gm_region *out, struct gm_region *in)
{
	struct gm_update *update = gm_update_begin(space);
	struct gm_error error = { 0, "" };

	if (out != NULL)
		assert_int_equal(gm_update_remove(update, out), 0);
	if (in != NULL)
		assert_int_equal(gm_update_insert(update, in), 0);
	if (gm_update_commit(update, &error) != 0)
		fail_msg("%s", error.text);
}

/*
 * Pages, one by one
 */

struct model {
	struct gm_region *region;
	struct gm_dirty_reader *reader;
	bool written[PAGES];
};

static unsigned long pages_written, pages_over;

static void check(struct model *model)
{
	struct gm_dirty_range range;
	struct gm_offset next;
	size_t count;

	for (unsigned page = 0; page < PAGES; page++) {
		bool dirty = gm_dirty_is_marked(model->reader, gm_offset(page * PAGE));

		if (model->written[page] && !dirty)
			fail_msg("region '%s': page %u was written, and is not reported", gm_region_name(model->region),
				 page);
		pages_written += model->written[page];
		pages_over += dirty && !model->written[page];
		model->written[page] = false;
	}
	while (gm_dirty_collect(model->reader, gm_offset(0), UINT64_MAX, &range, 1, &count, &next) == 1)
		;
}

static void plug(struct model *model, unsigned number)
{
	model->region = make(number, PAGES);
	memset(model->written, 0, sizeof(model->written));
	assert_int_equal(gm_dirty_reader_new(gm_region_dirty(model->region), &model->reader), 0);
	change(NULL, model->region);
}

/* Nothing is asked of KVM any more: all was marked when the commit returned. */
static void unplug(struct model *model)
{
	change(model->region, NULL);
	check(model);
	gm_dirty_reader_free(model->reader);
	gm_region_unref(model->region);
}

static void play_round(struct model *models, struct test_random *random)
{
	unsigned i, number, page;

	for (i = 0; i < POKES; i++) {
		number = (unsigned)test_below(random, REGIONS);
		page = (unsigned)test_below(random, PAGES);
		models[number].written[page] = true;
		guest_list(&guest)[i] = gm_region_first(models[number].region).value + page * PAGE +
					8 * test_below(random, 512);
	}
	assert_int_equal(guest_run(&guest, guest_poke, 0, 0, POKES, test_random(random)), 0);
	gm_view_enter(&view);
	for (i = 0; i < 20; i++) {
		number = (unsigned)test_below(random, REGIONS);
		page = (unsigned)test_below(random, PAGES);
		models[number].written[page] = true;
		assert_int_equal(gm_store_u64(&view, gm_gpa(gm_region_first(models[number].region).value + page * PAGE),
					      GM_RELAXED, i),
				 0);
	}
	gm_view_leave(&view);
}

static void check_pages(enum gm_kvm_log log)
{
	struct test_random random = { 77 + log };
	struct gm_error error = { 0, "" };
	struct model models[REGIONS];
	unsigned round, i;

	begin(log);
	pages_written = pages_over = 0;
	for (i = 0; i < REGIONS; i++)
		plug(&models[i], i);
	/* What was written before is nobody's business. */
	assert_int_equal(guest_run(&guest, guest_touch, gm_region_first(models[1].region).value, PAGE, PAGES, 1), 0);
	assert_int_equal(gm_kvm_log_start(kvm, NULL, &error), 0);
	for (round = 0; round < ROUNDS; round++) {
		play_round(models, &random);
		if (round % 3 == 1) {
			i = (unsigned)test_below(&random, REGIONS);
			unplug(&models[i]);
			plug(&models[i], i);
			play_round(models, &random);
		}
		if (round % 2 == 0)
			continue;
		if (gm_kvm_dirty_sync(kvm, &error) != 0)
			fail_msg("%s", error.text);
		for (i = 0; i < REGIONS; i++)
			check(&models[i]);
	}
	/* More than a ring takes, at once. */
	for (i = 0; i < REGIONS; i++) {
		memset(models[i].written, 1, sizeof(models[i].written));
		assert_int_equal(
			guest_run(&guest, guest_touch, gm_region_first(models[i].region).value, PAGE, PAGES, 1), 0);
	}
	assert_int_equal(guest.full > 0, log == GM_KVM_LOG_RING);
	assert_int_equal(gm_kvm_log_stop(kvm, NULL, &error), 0);
	for (i = 0; i < REGIONS; i++)
		unplug(&models[i]);
	assert_int_equal(guest.mmio, 0);
	print_message("%s: %lu pages written, %lu reported besides; rings full %lu times\n", names[log], pages_written,
		      pages_over, guest.full);
	assert_true(pages_written > ROUNDS * POKES / 4);
	assert_true(pages_over * 20 <= pages_written);
	end(NULL);
}

static void test_bitmap(void **state)
{
	(void)state;
	check_pages(logs[0]);
}

static void test_manual(void **state)
{
	(void)state;
	check_pages(logs[1]);
}

static void test_ring(void **state)
{
	(void)state;
	check_pages(logs[2]);
}

/*
 * A vCPU that runs, while its memory is copied away, and taken away
 */

struct copy {
	struct gm_region *region;
	struct gm_dirty_reader *reader;
	uint64_t numbers[SPIN];
	unsigned long copied;
};

static uint64_t number_at(const struct gm_region *region, uint64_t page)
{
	return __atomic_load_n((uint64_t *)(void *)((unsigned char *)gm_region_hva(region) + page * PAGE),
			       __ATOMIC_RELAXED);
}

static void copy_dirty(struct copy *copy)
{
	struct gm_dirty_range ranges[SPIN];
	struct gm_offset next;
	size_t count, i;

	assert_int_equal(gm_dirty_collect(copy->reader, gm_offset(0), UINT64_MAX, ranges, SPIN, &count, &next), 0);
	for (i = 0; i < count; i++) {
		for (uint64_t page = ranges[i].first.value / PAGE; page <= ranges[i].last.value / PAGE; page++) {
			copy->numbers[page] = number_at(copy->region, page);
			copy->copied++;
		}
	}
}

/* A machine that does other things lets the vCPU wait, but not for ever. */
static void wait_for_writes(const struct gm_region *region)
{
	for (unsigned i = 0; i < 100000 && number_at(region, SPIN - 1) == 0; i++)
		usleep(100);
	assert_true(number_at(region, SPIN - 1) != 0);
}

static void wait_for_exits(void)
{
	unsigned long before = __atomic_load_n(&guest.mmio, __ATOMIC_RELAXED);

	for (unsigned i = 0; i < 100000 && __atomic_load_n(&guest.mmio, __ATOMIC_RELAXED) == before; i++)
		usleep(100);
	assert_true(__atomic_load_n(&guest.mmio, __ATOMIC_RELAXED) > before);
}

static int spin_result;

static void *spin(void *opaque)
{
	spin_result = guest_run(opaque, guest_spin, gm_gpa(5 * GM_GIB).value, PAGE, SPIN, 0);
	return NULL;
}

/* As a migration of a memory module that is unplugged in the middle: the copy is what the guest wrote last. */
static unsigned long copy_and_unplug(struct copy *copy, unsigned rounds)
{
	struct gm_error error = { 0, "" };
	unsigned round;

	memset(copy, 0, sizeof(*copy));
	copy->region = make(0, SPIN);
	assert_int_equal(gm_dirty_reader_new(gm_region_dirty(copy->region), &copy->reader), 0);
	change(NULL, copy->region);
	wait_for_writes(copy->region);
	for (round = 0; round < rounds; round++) {
		if (gm_kvm_dirty_sync(kvm, &error) != 0)
			fail_msg("%s", error.text);
		copy_dirty(copy);
	}
	change(copy->region, NULL);
	copy_dirty(copy);
	for (uint64_t page = 0; page < SPIN; page++) {
		if (number_at(copy->region, page) != copy->numbers[page])
			fail_msg("page %u: %llu was copied, %llu is there", (unsigned)page,
				 (unsigned long long)copy->numbers[page],
				 (unsigned long long)number_at(copy->region, page));
	}
	gm_dirty_reader_free(copy->reader);
	gm_region_unref(copy->region);
	return copy->copied;
}

static void check_running(enum gm_kvm_log log)
{
	struct test_random random = { 99 };
	struct gm_error error = { 0, "" };
	unsigned long copied = 0;
	unsigned round;
	struct copy copy;
	pthread_t thread;

	begin(log);
	assert_int_equal(gm_kvm_log_start(kvm, NULL, &error), 0);
	guest_list(&guest)[0] = 0;
	assert_int_equal(pthread_create(&thread, NULL, spin, &guest), 0);
	for (round = 0; round < (quick ? ROUNDS / 2 : 2 * ROUNDS); round++)
		copied += copy_and_unplug(&copy, 1 + (unsigned)test_below(&random, 6));
	wait_for_exits();
	__atomic_store_n(&guest_list(&guest)[0], 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_int_equal(spin_result, 0);
	print_message(
		"%s: %lu pages copied while the vCPU ran, %lu exits for memory that was gone, rings full %lu times\n",
		names[log], copied, guest.mmio, guest.full);
	assert_true(copied > round && guest.mmio > 0);
	end(NULL);
}

static void test_bitmap_running(void **state)
{
	(void)state;
	check_running(logs[0]);
}

static void test_manual_running(void **state)
{
	(void)state;
	check_running(logs[1]);
}

static void test_ring_running(void **state)
{
	(void)state;
	check_running(logs[2]);
}

/* With an argument, less of everything: for emulated machines. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_bitmap, end),
		cmocka_unit_test_teardown(test_manual, end),
		cmocka_unit_test_teardown(test_ring, end),
		cmocka_unit_test_teardown(test_bitmap_running, end),
		cmocka_unit_test_teardown(test_manual_running, end),
		cmocka_unit_test_teardown(test_ring_running, end),
	};

	(void)argv;
	quick = argc > 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

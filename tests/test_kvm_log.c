/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * KVM's dirty log in its three forms, over a model of KVM: what the guest and devices wrote is in the regions' logs, neither more nor
 * less, whatever comes and goes, and whatever KVM refuses.
 */
#include "kvm_fake.h"

#include <pthread.h>

#define PAGE    UINT64_C(4096)
#define REGIONS 12
#define PAGES   130 /* of each: two words, and two bits of the third */

static const enum gm_kvm_log logs[] = { GM_KVM_LOG_BITMAP, GM_KVM_LOG_MANUAL, GM_KVM_LOG_RING };

static struct fake_kvm *fake;
static struct gm_kvm *kvm;
static struct gm_space *space;
static unsigned char *memory;
static int ring_fd = -1;

static void begin(enum gm_kvm_log log)
{
	struct gm_error error = { 0, "" };
	size_t ring_bytes = GM_KVM_RING_ENTRIES * sizeof(struct kvm_dirty_gfn);

	fake = fake_new();
	memory = test_pages(REGIONS * PAGES * PAGE);
	kvm = fake_open(fake, (struct gm_kvm_opts){ .log = log });
	if (log == GM_KVM_LOG_RING) {
		/* What maps like a vCPU. */
		ring_fd = memfd_create("vcpu", MFD_CLOEXEC);
		assert_int_equal(ftruncate(ring_fd, (off_t)(KVM_DIRTY_LOG_PAGE_OFFSET * PAGE + ring_bytes)), 0);
		fake->ring = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd,
				  (off_t)(KVM_DIRTY_LOG_PAGE_OFFSET * PAGE));
		assert_ptr_not_equal(fake->ring, MAP_FAILED);
		fake->ring_entries = GM_KVM_RING_ENTRIES;
	}
	assert_int_equal(gm_kvm_add_vcpu(kvm, ring_fd, &error), 0);
	assert_int_equal(gm_space_new(NULL, &space, &error), 0);
	assert_int_equal(gm_kvm_attach(kvm, space, &error), 0);
}

static int end(void **state)
{
	(void)state;
	if (kvm == NULL)
		return 0;
	assert_int_equal(gm_kvm_remove_vcpu(kvm, ring_fd), 0);
	gm_kvm_free(kvm);
	gm_space_unref(space);
	kvm = NULL;
	if (fake->ring != NULL)
		munmap(fake->ring, GM_KVM_RING_ENTRIES * sizeof(struct kvm_dirty_gfn));
	if (ring_fd >= 0)
		close(ring_fd);
	ring_fd = -1;
	munmap(memory, REGIONS * PAGES * PAGE);
	free(fake);
	return 0;
}

static struct gm_region *make(const char *name, unsigned number, unsigned prot, uint64_t dirty)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.first = gm_gpa(number * PAGES * PAGE),
		.bytes = PAGES * PAGE,
		.source = GM_SOURCE_POINTER,
		.hva = memory + number * PAGES * PAGE,
		.prot = prot,
		.dirty_page_bytes = dirty,
	};
	struct gm_error error = { 0, "" };
	struct gm_region *region;

	if (gm_region_new(&opts, &region, &error) != 0)
		fail_msg("%s", error.text);
	return region;
}

static int change(struct gm_region *out, struct gm_region *in)
{
	struct gm_update *update = gm_update_begin(space);
	struct gm_error error;

	if (out != NULL)
		assert_int_equal(gm_update_remove(update, out), 0);
	if (in != NULL)
		assert_int_equal(gm_update_insert(update, in), 0);
	return gm_update_commit(update, &error);
}

static uint64_t address(unsigned number, unsigned page)
{
	return (number * PAGES + page) * PAGE;
}

static struct gm_dirty_reader *reader_of(const struct gm_region *region)
{
	struct gm_dirty_reader *reader;

	assert_int_equal(gm_dirty_reader_new(gm_region_dirty(region), &reader), 0);
	return reader;
}

static uint64_t sync_and_count(struct gm_dirty_reader *reader)
{
	struct gm_error error = { 0, "" };

	if (gm_kvm_dirty_sync(kvm, &error) != 0)
		fail_msg("%s", error.text);
	return gm_dirty_count(reader);
}

static uint64_t drop_all(struct gm_dirty_reader *reader)
{
	struct gm_dirty_range ranges[PAGES];
	struct gm_offset next;
	uint64_t pages = 0;
	size_t count, i;

	assert_int_equal(gm_dirty_collect(reader, gm_offset(0), UINT64_MAX, ranges, PAGES, &count, &next), 0);
	for (i = 0; i < count; i++)
		pages += (ranges[i].last.value - ranges[i].first.value + 1) / PAGE;
	return pages;
}

/* Switched on and off, for one and for all. */
static void check_switches(enum gm_kvm_log log)
{
	struct gm_region *a, *b, *rom, *silent;
	struct gm_dirty_reader *reader, *other;
	struct gm_error error = { 0, "" };

	begin(log);
	a = make("a", 0, 0, 4096);
	b = make("b", 1, 0, 8192);
	rom = make("rom", 2, GM_READ, 4096);
	silent = make("silent", 3, 0, 0);
	reader = reader_of(a);
	other = reader_of(b);
	assert_int_equal(gm_kvm_log_start(kvm, a, &error), -ENOENT);
	assert_int_equal(gm_kvm_log_stop(kvm, a, &error), -ENOENT);
	assert_int_equal(change(NULL, a), 0);
	assert_int_equal(change(NULL, rom), 0);
	assert_int_equal(change(NULL, silent), 0);
	assert_int_equal(gm_kvm_log_start(kvm, rom, &error), -EINVAL);
	assert_int_equal(gm_kvm_log_start(kvm, silent, &error), -EINVAL);
	assert_true(fake_write(fake, address(0, 5)));
	assert_int_equal(sync_and_count(reader), 0);

	assert_int_equal(gm_kvm_log_start(kvm, a, &error), 0);
	assert_int_equal(gm_kvm_log_start(kvm, a, &error), 0);
	fake_write(fake, address(0, 0));
	fake_write(fake, address(0, 64));
	fake_write(fake, address(0, PAGES - 1));
	gm_dirty_mark(gm_region_dirty(a), gm_offset(PAGE), 1);
	assert_int_equal(sync_and_count(reader), 4);
	assert_true(gm_dirty_is_marked(reader, gm_offset(64 * PAGE)));
	assert_true(gm_dirty_is_marked(reader, gm_offset((PAGES - 1) * PAGE)));
	assert_int_equal(drop_all(reader), 4);
	/* Once collected, it is told of new writes only; and of a page that is written again. */
	assert_int_equal(sync_and_count(reader), 0);
	fake_write(fake, address(0, 64));
	assert_int_equal(sync_and_count(reader), 1);
	assert_int_equal(drop_all(reader), 1);

	/* All: those that come later, too. Its own wish outlives that of all. */
	assert_int_equal(gm_kvm_log_start(kvm, NULL, &error), 0);
	assert_int_equal(change(NULL, b), 0);
	fake_write(fake, address(0, 7));
	fake_write(fake, address(1, 8));
	assert_false(fake_write(fake, address(2, 9)));
	fake_write(fake, address(3, 9));
	assert_int_equal(sync_and_count(reader), 1);
	assert_int_equal(gm_dirty_count(other), 1);
	fake_write(fake, address(0, 8));
	fake_write(fake, address(1, 11));
	assert_int_equal(gm_kvm_log_stop(kvm, NULL, &error), 0);
	assert_int_equal(gm_dirty_count(reader), 2);
	assert_int_equal(gm_dirty_count(other), 2);
	fake_write(fake, address(0, 9));
	fake_write(fake, address(1, 40));
	assert_int_equal(sync_and_count(reader), 3);
	assert_int_equal(gm_dirty_count(other), 2);
	fake_write(fake, address(0, 10));
	assert_int_equal(gm_kvm_log_stop(kvm, a, &error), 0);
	fake_write(fake, address(0, 11));
	assert_int_equal(sync_and_count(reader), 4);

	gm_dirty_reader_free(reader);
	gm_dirty_reader_free(other);
	gm_region_unref(a);
	gm_region_unref(b);
	gm_region_unref(rom);
	gm_region_unref(silent);
	end(NULL);
}

static void test_switches(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		check_switches(logs[i]);
}

/* A collector that works all the time: it must not get a page before KVM protects it again. */
static struct gm_dirty_reader *eager;

static void collect_then_write(struct fake_kvm *with)
{
	assert_int_equal(drop_all(eager), 0);
	/* It is not protected yet: the log says nothing new. */
	fake_write(with, address(0, 3));
}

static void test_order(void **state)
{
	struct gm_error error;
	struct gm_region *a;

	(void)state;
	for (unsigned i = 1; i < 3; i++) {
		begin(logs[i]);
		a = make("a", 0, 0, 4096);
		assert_int_equal(change(NULL, a), 0);
		assert_int_equal(gm_kvm_log_start(kvm, NULL, &error), 0);
		eager = reader_of(a);
		fake_write(fake, address(0, 3));
		fake->before_clear = collect_then_write;
		assert_int_equal(gm_kvm_dirty_sync(kvm, &error), 0);
		fake->before_clear = NULL;
		assert_int_equal(drop_all(eager), 1);
		gm_dirty_reader_free(eager);
		gm_region_unref(a);
		end(NULL);
	}
}

/* The guest writes one more page before each change of a slot: what KVM let it write is not lost. */
static unsigned written_so_far;

static void write_one(struct fake_kvm *with, const struct kvm_userspace_memory_region *changed)
{
	(void)changed;
	if (fake_write(with, address(0, 20 + written_so_far)))
		written_so_far++;
}

static void check_removal(unsigned expected)
{
	struct gm_dirty_reader *reader;
	struct gm_error error;
	struct gm_region *a = make("a", 0, 0, 4096);

	assert_int_equal(change(NULL, a), 0);
	assert_int_equal(gm_kvm_log_start(kvm, NULL, &error), 0);
	reader = reader_of(a);
	fake_write(fake, address(0, 3));
	written_so_far = 0;
	fake->before = write_one;
	assert_int_equal(change(a, NULL), 0);
	fake->before = NULL;
	assert_int_equal(gm_dirty_count(reader), 1 + (expected != UINT_MAX ? expected : PAGES - 1));
	/* What the guest could write is what is dirty; without a way out of its reach, but for the last. */
	if (expected != UINT_MAX)
		assert_int_equal(written_so_far, expected + fake->no_move);
	gm_dirty_reader_free(reader);
	gm_region_unref(a);
}

static void test_removal(void **state)
{
	struct gm_region *instead;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		begin(logs[i]);
		check_removal(1);
		/* The next takes the number; what is left in a ring is not its. */
		instead = make("b", 0, 0, 0);
		assert_int_equal(change(NULL, instead), 0);
		assert_int_equal(change(instead, NULL), 0);
		gm_region_unref(instead);
		end(NULL);
	}
	/* The top of the addresses is lower here, and found. */
	begin(GM_KVM_LOG_MANUAL);
	fake->address_bits = 40;
	check_removal(13);
	assert_int_equal(fake_count(fake), 0);
	end(NULL);
	/* Kernels that can't move a slot, or have something at the top. What was written before the log was taken is there. */
	begin(GM_KVM_LOG_BITMAP);
	fake->no_move = true;
	check_removal(21);
	end(NULL);
	/* A log that can't be had is a log of everything. */
	begin(GM_KVM_LOG_BITMAP);
	fake->fail_gets = 1;
	check_removal(UINT_MAX);
	end(NULL);
}

/* The same bytes under another name: what was written before is the old one's, what comes after the new one's. */
static void test_inheritance(void **state)
{
	struct gm_dirty_reader *old_reader, *new_reader;
	struct gm_region *old, *heir;
	struct gm_error error;
	unsigned long calls;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		begin(logs[i]);
		old = make("old", 0, 0, 4096);
		heir = make("heir", 0, 0, 4096);
		old_reader = reader_of(old);
		new_reader = reader_of(heir);
		assert_int_equal(change(NULL, old), 0);
		assert_int_equal(gm_kvm_log_start(kvm, NULL, &error), 0);
		fake_write(fake, address(0, 1));
		calls = fake->calls;
		assert_int_equal(change(old, heir), 0);
		assert_int_equal(fake->calls, calls);
		assert_int_equal(gm_dirty_count(old_reader), 1);
		fake_write(fake, address(0, 2));
		(void)sync_and_count(new_reader);
		assert_true(gm_dirty_is_marked(new_reader, gm_offset(2 * PAGE)));
		assert_int_equal(gm_dirty_count(old_reader), 1);
		/* And back, while KVM does not protect again what was written: so what is written once more shows in no log of its. */
		(void)drop_all(old_reader);
		fake_write(fake, address(0, 3));
		fake->fail_clears = 10;
		assert_int_equal(change(heir, old), 0);
		fake_write(fake, address(0, 3));
		fake->fail_clears = 0;
		(void)sync_and_count(old_reader);
		assert_true(gm_dirty_is_marked(old_reader, gm_offset(3 * PAGE)));
		gm_dirty_reader_free(old_reader);
		gm_dirty_reader_free(new_reader);
		gm_region_unref(old);
		gm_region_unref(heir);
		end(NULL);
	}
}

/* KVM refuses: nothing is lost, all or nothing is switched. */
static void test_refusals(void **state)
{
	struct gm_dirty_reader *reader;
	struct gm_error error;
	struct gm_region *a, *b;
	unsigned i;

	(void)state;
	for (i = 0; i < 3; i++) {
		begin(logs[i]);
		a = make("a", 0, 0, 4096);
		b = make("b", 1, 0, 4096);
		assert_int_equal(change(NULL, a), 0);
		assert_int_equal(change(NULL, b), 0);
		reader = reader_of(a);
		fake->fail_from = fake->fail_to = fake->calls + 2;
		fake->fail_code = -ENOMEM;
		assert_int_equal(gm_kvm_log_start(kvm, NULL, &error), -ENOMEM);
		assert_int_equal(fake->slots[0].flags | fake->slots[1].flags, 0);
		fake->fail_from = fake->fail_to = fake->calls + 1;
		assert_int_equal(gm_kvm_log_start(kvm, a, &error), -ENOMEM);
		assert_int_equal(gm_kvm_log_start(kvm, NULL, &error), 0);
		assert_int_equal(fake->slots[0].flags & fake->slots[1].flags, KVM_MEM_LOG_DIRTY_PAGES);

		fake_write(fake, address(0, 3));
		fake->fail_gets = logs[i] != GM_KVM_LOG_RING;
		fake->fail_clears = logs[i] != GM_KVM_LOG_BITMAP;
		assert_int_equal(gm_kvm_dirty_sync(kvm, &error), -ENOMEM);
		assert_int_equal(gm_kvm_dirty_sync(kvm, &error), logs[i] == GM_KVM_LOG_MANUAL ? -ENOMEM : 0);
		assert_int_equal(sync_and_count(reader), 1);
		/* A reset that failed is made up for: the page is protected again, and so seen again. */
		assert_int_equal(drop_all(reader), 1);
		fake_write(fake, address(0, 3));
		assert_int_equal(sync_and_count(reader), 1);

		fake->fail_from = fake->fail_to = fake->calls + 2;
		assert_int_equal(gm_kvm_log_stop(kvm, NULL, &error), -ENOMEM);
		assert_int_equal(fake->slots[0].flags & fake->slots[1].flags, KVM_MEM_LOG_DIRTY_PAGES);
		assert_int_equal(gm_kvm_log_stop(kvm, NULL, &error), 0);
		assert_int_equal(fake->slots[0].flags | fake->slots[1].flags, 0);
		gm_dirty_reader_free(reader);
		gm_region_unref(a);
		gm_region_unref(b);
		end(NULL);
	}
}

static void test_vcpus(void **state)
{
	struct gm_dirty_reader *reader;
	struct gm_error error;
	struct gm_region *a;

	(void)state;
	begin(GM_KVM_LOG_RING);
	assert_int_equal(gm_kvm_add_vcpu(kvm, ring_fd, &error), -EEXIST);
	assert_int_equal(gm_kvm_add_vcpu(kvm, -1, &error), -EBADF);
	assert_int_equal(gm_kvm_remove_vcpu(kvm, -1), -ENOENT);
	a = make("a", 0, 0, 4096);
	reader = reader_of(a);
	assert_int_equal(change(NULL, a), 0);
	assert_int_equal(gm_kvm_log_start(kvm, a, &error), 0);
	/* Entries that make no sense: no such slot, another address space, and a page beyond the slot, whose address would wrap. */
	fake->ring[0] = (struct kvm_dirty_gfn){ KVM_DIRTY_GFN_F_DIRTY, 17, 0 };
	fake->ring[1] = (struct kvm_dirty_gfn){ KVM_DIRTY_GFN_F_DIRTY, UINT32_MAX, 0 };
	fake->ring[2] = (struct kvm_dirty_gfn){ KVM_DIRTY_GFN_F_DIRTY, 1 << 16, 0 };
	fake->ring[3] = (struct kvm_dirty_gfn){ KVM_DIRTY_GFN_F_DIRTY, 0, UINT64_C(1) << 52 };
	fake->ring[4] = (struct kvm_dirty_gfn){ KVM_DIRTY_GFN_F_DIRTY, 0, PAGES };
	assert_int_equal(sync_and_count(reader), 0);
	assert_int_equal(fake->ring[4].flags, KVM_DIRTY_GFN_F_RESET);
	gm_dirty_reader_free(reader);
	gm_region_unref(a);
	end(NULL);
}

/*
 * In between: what others do while an update is prepared and not committed
 */

struct meddler {
	bool refuses, starts;
};

static int meddle(void *opaque, const struct gm_change *changed, struct gm_error *error)
{
	struct meddler *meddler = opaque;

	(void)changed;
	assert_int_equal((meddler->starts ? gm_kvm_log_start : gm_kvm_log_stop)(kvm, NULL, error), 0);
	assert_int_equal(gm_kvm_dirty_sync(kvm, error), 0);
	return meddler->refuses ? -EPERM : 0;
}

static void check_flags(bool logged, size_t count)
{
	uint32_t flags = logged ? KVM_MEM_LOG_DIRTY_PAGES : 0;
	struct gm_kvm_slot slots[8];
	size_t i;

	fake_equals(fake, space, 0);
	assert_int_equal(gm_kvm_slots(kvm, slots, 8), count);
	for (i = 0; i < count; i++) {
		assert_int_equal(slots[i].flags, flags);
		assert_int_equal(fake->slots[slots[i].number].flags, flags);
	}
}

/* One that keeps its place, one whose place is taken by another, one that goes, one that comes; and logging is switched meanwhile. */
static void test_between(void **state)
{
	struct meddler meddler = { false, false };
	struct gm_listener listener = { .size = sizeof(listener), .name = "z", .opaque = &meddler, .prepare = meddle };
	struct gm_region *out[3], *in[3], *stays;
	struct gm_update *update;
	struct gm_error error;
	unsigned i, number;

	(void)state;
	for (number = 0; number < 12; number++) {
		begin(logs[number % 3]);
		stays = make("stays", 7, 0, 4096);
		out[0] = make("renamed", 0, 0, 4096);
		out[1] = make("shrinks", 1, 0, 4096);
		out[2] = make("goes", 2, 0, 4096);
		in[0] = make("heir", 0, 0, 4096);
		in[1] = make("other", 1, 0, 8192);
		in[2] = make("comes", 3, 0, 4096);
		assert_int_equal(change(NULL, stays), 0);
		for (i = 0; i < 3; i++)
			assert_int_equal(change(NULL, out[i]), 0);
		meddler.starts = number / 3 % 2;
		meddler.refuses = false;
		assert_int_equal(gm_space_add_listener(space, &listener, &error), 0);
		meddler.refuses = number / 6;
		assert_int_equal((meddler.starts ? gm_kvm_log_stop : gm_kvm_log_start)(kvm, NULL, &error), 0);
		check_flags(!meddler.starts, 4);
		update = gm_update_begin(space);
		for (i = 0; i < 3; i++) {
			gm_update_remove(update, out[i]);
			gm_update_insert(update, in[i]);
		}
		assert_int_equal(gm_update_commit(update, &error), meddler.refuses ? -EPERM : 0);
		check_flags(meddler.starts, 4);
		gm_region_unref(stays);
		for (i = 0; i < 3; i++) {
			gm_region_unref(out[i]);
			gm_region_unref(in[i]);
		}
		end(NULL);
	}
}

static void *sync_and_switch(void *stop)
{
	struct gm_error error;
	unsigned i;

	for (i = 0; !__atomic_load_n((bool *)stop, __ATOMIC_RELAXED); i++) {
		assert_int_equal(gm_kvm_dirty_sync(kvm, &error), 0);
		assert_int_equal((i % 2 ? gm_kvm_log_stop : gm_kvm_log_start)(kvm, NULL, &error), 0);
		assert_true(gm_kvm_slots(kvm, NULL, 0) <= 4);
		assert_int_equal(gm_kvm_error(kvm, &error), 0);
	}
	return NULL;
}

/* Any thread may ask for anything while another one changes the space. */
static void test_threads(void **state)
{
	struct gm_region *regions[4];
	bool stop = false;
	pthread_t thread;
	unsigned i;

	(void)state;
	begin(GM_KVM_LOG_MANUAL);
	for (i = 0; i < 4; i++)
		regions[i] = make((const char *[]){ "a", "b", "c", "d" }[i], i % 3, 0, 4096);
	assert_int_equal(pthread_create(&thread, NULL, sync_and_switch, &stop), 0);
	for (i = 0; i < 5000; i++) {
		/* The last one takes the first one's place. */
		assert_int_equal(change(NULL, regions[i % 3]), 0);
		if (i % 3 == 0)
			assert_int_equal(change(regions[0], regions[3]), 0);
		assert_int_equal(change(i % 3 ? regions[i % 3] : regions[3], NULL), 0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	fake_equals(fake, space, 0);
	for (i = 0; i < 4; i++)
		gm_region_unref(regions[i]);
	end(NULL);
}

/*
 * Random
 */

struct model {
	struct gm_region *region;
	struct gm_dirty_reader *reader;
	bool there, asked;
	bool dirty[PAGES];   /* to be reported */
	bool pending[PAGES]; /* written by the guest while logged, and not synchronized */
};

static void model_sync(struct model *model)
{
	for (unsigned page = 0; page < PAGES; page++) {
		model->dirty[page] |= model->pending[page];
		model->pending[page] = false;
	}
}

static void model_check(struct model *model, bool collects)
{
	for (unsigned page = 0; page < PAGES; page++) {
		if (gm_dirty_is_marked(model->reader, gm_offset(page * PAGE)) != model->dirty[page])
			fail_msg("region '%s' page %u: %s", gm_region_name(model->region), page,
				 model->dirty[page] ? "is lost" : "was not written");
	}
	if (collects) {
		(void)drop_all(model->reader);
		memset(model->dirty, 0, sizeof(model->dirty));
	}
}

static void step(struct model *models, struct test_random *random, bool *log_all)
{
	struct model *model = &models[test_below(random, REGIONS)];
	unsigned number = (unsigned)(model - models), page = (unsigned)test_below(random, PAGES), i;
	struct gm_error error = { 0, "" };
	bool start = test_below(random, 2);

	switch (test_below(random, 40)) {
	case 0:
		assert_int_equal(change(model->there ? model->region : NULL, model->there ? NULL : model->region), 0);
		model->there = !model->there;
		model->asked = false;
		/* Rings are of all. */
		for (i = 0; i < REGIONS; i++) {
			if (fake->ring != NULL || i == number)
				model_sync(&models[i]);
		}
		model_check(model, false);
		break;
	case 1:
		if (!model->there)
			break;
		assert_int_equal((start ? gm_kvm_log_start : gm_kvm_log_stop)(kvm, model->region, &error), 0);
		model->asked = start;
		for (i = 0; !start && i < REGIONS; i++) {
			if (fake->ring != NULL || i == number)
				model_sync(&models[i]);
		}
		model_check(model, false);
		break;
	case 2:
		assert_int_equal((start ? gm_kvm_log_start : gm_kvm_log_stop)(kvm, NULL, &error), 0);
		*log_all = start;
		for (i = 0; !start && i < REGIONS; i++)
			model_sync(&models[i]);
		break;
	case 3:
		assert_int_equal(gm_kvm_dirty_sync(kvm, &error), 0);
		for (i = 0; i < REGIONS; i++) {
			model_sync(&models[i]);
			model_check(&models[i], start);
		}
		break;
	case 4:
		gm_dirty_mark(gm_region_dirty(model->region), gm_offset(page * PAGE + 9), 1);
		model->dirty[page] = true;
		break;
	default:
		if (fake_write(fake, address(number, page)) && (model->asked || *log_all))
			model->pending[page] = true;
		break;
	}
}

static void check_random(enum gm_kvm_log log)
{
	static struct model models[REGIONS];
	struct test_random random = { 4 + log };
	bool log_all = false;
	char name[GM_NAME_MAX];
	unsigned i;

	begin(log);
	memset(models, 0, sizeof(models));
	for (i = 0; i < REGIONS; i++) {
		snprintf(name, sizeof(name), "region%u", i);
		models[i].region = make(name, i, 0, 4096);
		models[i].reader = reader_of(models[i].region);
	}
	for (i = 0; i < 30000; i++)
		step(models, &random, &log_all);
	for (i = 0; i < REGIONS; i++) {
		gm_dirty_reader_free(models[i].reader);
		gm_region_unref(models[i].region);
	}
	end(NULL);
}

static void test_random_logs(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		check_random(logs[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_switches, end),    cmocka_unit_test_teardown(test_order, end),
		cmocka_unit_test_teardown(test_removal, end),     cmocka_unit_test_teardown(test_inheritance, end),
		cmocka_unit_test_teardown(test_refusals, end),    cmocka_unit_test_teardown(test_vcpus, end),
		cmocka_unit_test_teardown(test_between, end),     cmocka_unit_test_teardown(test_threads, end),
		cmocka_unit_test_teardown(test_random_logs, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

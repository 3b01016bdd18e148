/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * KVM's slots follow a space: over a KVM that is a model, so that it can be made to refuse anything at any time. What /dev/kvm itself
 * does is test_kvm.c's.
 */
#include "kvm_fake.h"

#include "resources.h"

#define PAGE UINT64_C(4096)

/* The linker puts these in the way of the library and the adapter: the n-th allocation from now on fails, once. */
void *__real_calloc(size_t count, size_t bytes);
void *__real_reallocarray(void *old, size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_reallocarray(void *old, size_t count, size_t bytes);

static unsigned allocations_left; /* until the one that fails; 0: none does */

static bool fails_now(void)
{
	return allocations_left != 0 && --allocations_left == 0;
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return fails_now() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_reallocarray(void *old, size_t count, size_t bytes)
{
	return fails_now() ? NULL : __real_reallocarray(old, count, bytes);
}

static struct fake_kvm *fake;
static struct gm_kvm *kvm;
static struct gm_space *space;
static unsigned char *memory;

static void open_all(struct gm_kvm_opts opts)
{
	struct gm_error error;

	kvm = fake_open(fake, opts);
	assert_int_equal(gm_space_new(NULL, &space, &error), 0);
	assert_int_equal(gm_kvm_attach(kvm, space, &error), 0);
}

static int begin(void **state)
{
	(void)state;
	fake = fake_new();
	memory = test_pages(1024 * PAGE);
	return 0;
}

static int end(void **state)
{
	(void)state;
	gm_kvm_free(kvm);
	gm_space_unref(space);
	kvm = NULL;
	space = NULL;
	munmap(memory, 1024 * PAGE);
	free(fake);
	return 0;
}

static struct gm_region *make(const char *name, uint64_t page, uint64_t pages, unsigned prot, uint64_t dirty)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.first = gm_gpa(page * PAGE),
		.bytes = pages * PAGE,
		.source = GM_SOURCE_POINTER,
		.hva = memory + page * PAGE,
		.prot = prot,
		.dirty_page_bytes = dirty,
	};
	struct gm_error error = { 0, "" };
	struct gm_region *region;

	if (gm_region_new(&opts, &region, &error) != 0)
		fail_msg("%s", error.text);
	return region;
}

static int change(struct gm_region *out, struct gm_region *in, struct gm_error *error)
{
	struct gm_update *update = gm_update_begin(space);

	/* What fails here, the commit says too. */
	if (out != NULL)
		gm_update_remove(update, out);
	if (in != NULL)
		gm_update_insert(update, in);
	return gm_update_commit(update, error);
}

static struct gm_region *plug(const char *name, uint64_t page, uint64_t pages)
{
	struct gm_region *region = make(name, page, pages, 0, 0);
	struct gm_error error = { 0, "" };

	if (change(NULL, region, &error) != 0)
		fail_msg("%s", error.text);
	gm_region_unref(region); /* the space's keeps it */
	return region;
}

static void test_follows(void **state)
{
	struct gm_region *a, *b, *c, *rom, *bare;
	struct gm_error error = { 0, "" };
	struct gm_kvm_slot slots[8];
	struct gm_kvm_info info;
	unsigned long calls;

	(void)state;
	open_all((struct gm_kvm_opts){ .slot_first = 3 });
	a = plug("a", 1, 2);
	b = plug("b", 10, 1);
	c = plug("c", 4, 4);
	assert_int_equal(fake->slots[3].first, PAGE);
	assert_int_equal(fake->slots[4].first, 10 * PAGE);
	assert_int_equal(fake->slots[5].first, 4 * PAGE);
	fake_equals(fake, space, 0);

	/* Least changes: one call each. The lowest number that is free is taken. */
	calls = fake->calls;
	assert_int_equal(change(b, NULL, &error), 0);
	assert_int_equal(change(a, NULL, &error), 0);
	plug("d", 20, 1);
	plug("e", 30, 1);
	assert_int_equal(fake->calls, calls + 4);
	assert_int_equal(fake->slots[3].first, 20 * PAGE);
	assert_int_equal(fake->slots[4].first, 30 * PAGE);

	/* Read-only, and none at all. */
	rom = make("rom", 100, 1, GM_READ, 0);
	assert_int_equal(change(NULL, rom, &error), 0);
	gm_region_unref(rom);
	bare = test_bare("registers", GM_DEVICE, 200 * PAGE, 100);
	assert_int_equal(change(NULL, bare, &error), 0);
	gm_region_unref(bare);
	bare = test_bare("hole", GM_RESERVED, 300 * PAGE, 100);
	assert_int_equal(change(NULL, bare, &error), 0);
	gm_region_unref(bare);
	fake_equals(fake, space, 0);
	assert_int_equal(gm_kvm_slots(kvm, slots, 8), 4);
	assert_string_equal(gm_region_name(slots[0].region), "c");
	assert_int_equal(slots[3].flags, KVM_MEM_READONLY);
	assert_ptr_equal(slots[3].hva, memory + 100 * PAGE);
	assert_int_equal(gm_kvm_slots(kvm, slots, 1), 4);
	gm_kvm_info(kvm, &info);
	assert_int_equal(info.slots, 4);
	assert_int_equal(info.slots_max, FAKE_SLOTS - 3);

	/* Detached: none; attached again, all of them. */
	assert_int_equal(gm_kvm_attach(kvm, space, &error), -EBUSY);
	assert_int_equal(gm_kvm_detach(kvm), 0);
	assert_int_equal(fake_count(fake), 0);
	assert_int_equal(gm_kvm_detach(kvm), 0);
	assert_int_equal(change(c, NULL, &error), 0);
	assert_int_equal(gm_kvm_attach(kvm, space, &error), 0);
	fake_equals(fake, space, 0);
}

/* A region that only changes its name keeps its slot, and KVM is not called; any other replacement is a deletion and a slot. */
static void test_replaces(void **state)
{
	struct gm_region *a, *same, *larger, *rom;
	struct gm_error error = { 0, "" };
	unsigned long calls;

	(void)state;
	open_all((struct gm_kvm_opts){ 0 });
	a = plug("a", 1, 2);
	plug("b", 5, 1);
	calls = fake->calls;
	same = make("same", 1, 2, 0, 0);
	assert_int_equal(change(a, same, &error), 0);
	assert_int_equal(fake->calls, calls);
	fake_equals(fake, space, 0);
	larger = make("larger", 1, 3, 0, 0);
	assert_int_equal(change(same, larger, &error), 0);
	assert_int_equal(fake->calls, calls + 2);
	fake_equals(fake, space, 0);
	rom = make("rom", 1, 3, GM_READ, 0);
	assert_int_equal(change(larger, rom, &error), 0);
	assert_int_equal(fake->calls, calls + 4);
	fake_equals(fake, space, 0);
	gm_region_unref(same);
	gm_region_unref(larger);
	gm_region_unref(rom);
}

static void test_limit(void **state)
{
	struct gm_region *a, *b, *c, *in;
	struct gm_error error = { 0, "" };
	struct gm_update *update;
	unsigned long calls;

	(void)state;
	open_all((struct gm_kvm_opts){ .slot_first = 1, .slots_max = 2 });
	a = plug("a", 1, 1);
	b = plug("b", 2, 1);
	c = make("c", 3, 1, 0, 0);
	calls = fake->calls;
	assert_int_equal(change(NULL, c, &error), -ENOSPC);
	assert_non_null(strstr(error.text, "'c'"));
	assert_int_equal(fake->calls, calls);
	fake_equals(fake, space, 0);

	/* Whose number is needed makes way. */
	assert_int_equal(change(a, c, &error), 0);
	fake_equals(fake, space, 0);
	/* Two for one are too many: nothing is called. */
	in = make("in", 4, 1, 0, 0);
	calls = fake->calls;
	update = gm_update_begin(space);
	a = make("a", 1, 1, 0, 0);
	gm_update_remove(update, b);
	gm_update_insert(update, in);
	gm_update_insert(update, a);
	assert_int_equal(gm_update_commit(update, &error), -ENOSPC);
	assert_int_equal(fake->calls, calls);
	fake_equals(fake, space, 0);
	gm_region_unref(a);
	gm_region_unref(c);
	gm_region_unref(in);
}

/* Options, descriptors and regions that are refused, each with its code; nothing is left behind. */
static void test_refusals(void **state)
{
	struct gm_region_opts large = {
		.size = sizeof(large),
		.name = "large",
		.bytes = (GM_KVM_SLOT_PAGES_MAX + 1) * PAGE,
		.source = GM_SOURCE_POINTER,
		.hva = memory,
	};
	struct gm_kvm_opts opts = { .size = sizeof(opts), .ioctl = fake_ioctl, .opaque = fake };
	struct {
		struct gm_kvm_opts opts;
		char tail[8];
	} newer = { .opts = opts, .tail = { 0 } };
	struct test_resources before = test_count(NULL);
	struct gm_error error = { 0, "" };
	struct gm_kvm *none = NULL;
	struct gm_region *region;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(gm_kvm_new(-1, &opts, &none, &error), -EBADF);
	assert_int_equal(gm_kvm_new(fd, NULL, &none, &error), -ENOTTY);
	opts.log = (enum gm_kvm_log)9;
	assert_int_equal(gm_kvm_new(fd, &opts, &none, &error), -EINVAL);
	opts.log = GM_KVM_LOG_RING;
	opts.ring_entries = 1000;
	assert_int_equal(gm_kvm_new(fd, &opts, &none, &error), -EINVAL);
	opts.ring_entries = 1 << 17;
	assert_int_equal(gm_kvm_new(fd, &opts, &none, &error), -EINVAL);
	opts.log = GM_KVM_LOG_BITMAP;
	assert_int_equal(gm_kvm_new(fd, &opts, &none, &error), -EINVAL);
	opts.ring_entries = 0;
	opts.slot_first = FAKE_SLOTS;
	assert_int_equal(gm_kvm_new(fd, &opts, &none, &error), -EINVAL);
	opts.slot_first = 0;
	opts.log = GM_KVM_LOG_MANUAL;
	fake->no_manual = true;
	assert_int_equal(gm_kvm_new(fd, &opts, &none, &error), -EOPNOTSUPP);
	opts.size = 4;
	assert_int_equal(gm_kvm_new(fd, &opts, &none, &error), -EINVAL);
	newer.opts.size = sizeof(newer);
	newer.tail[7] = 1;
	assert_int_equal(gm_kvm_new(fd, &newer.opts, &none, &error), -E2BIG);
	newer.tail[7] = 0;
	assert_int_equal(gm_kvm_new(fd, &newer.opts, &none, &error), 0);
	gm_kvm_free(none);
	close(fd);
	before.fds--;
	before.fds++;
	assert_nothing_left(before, NULL);

	fake->no_readonly = true;
	open_all((struct gm_kvm_opts){ 0 });
	region = make("rom", 1, 1, GM_READ, 0);
	assert_int_equal(change(NULL, region, &error), -EOPNOTSUPP);
	gm_region_unref(region);
	assert_int_equal(gm_region_new(&large, &region, &error), 0);
	assert_int_equal(change(NULL, region, &error), -E2BIG);
	gm_region_unref(region);
	/* An address that the kernel does not take, and one that somebody else's slot is at. */
	fake->address_bits = 20;
	region = test_ram("far", 1 << 20, PAGE, memory);
	assert_int_equal(change(NULL, region, &error), -EINVAL);
	assert_non_null(strstr(error.text, "'far'"));
	gm_region_unref(region);
	fake->slots[100] = (struct fake_slot){ .first = 5 * PAGE, .bytes = PAGE, .hva = PAGE };
	fake->high = 101;
	region = make("there", 5, 1, 0, 0);
	assert_int_equal(change(NULL, region, &error), -EEXIST);
	gm_region_unref(region);
	fake_equals(fake, space, 1);
}

struct refuser {
	bool refuses;
};

static int refuse(void *opaque, const struct gm_change *changed, struct gm_error *error)
{
	struct refuser *refuser = opaque;

	(void)changed;
	(void)error;
	return refuser->refuses ? -EPERM : 0;
}

/* Another listener refuses behind KVM: what was set and what made way are as before. Removed slots stay until commit. */
static void test_rollback(void **state)
{
	struct refuser refuser = { false };
	struct gm_listener listener = { .size = sizeof(listener), .name = "no", .opaque = &refuser, .prepare = refuse };
	struct gm_region *a, *b, *wide;
	struct gm_error error = { 0, "" };
	struct gm_update *update;
	unsigned long calls;

	(void)state;
	open_all((struct gm_kvm_opts){ 0 });
	assert_int_equal(gm_space_add_listener(space, &listener, &error), 0);
	a = plug("a", 1, 1);
	b = plug("b", 2, 1);
	refuser.refuses = true;
	calls = fake->calls;
	assert_int_equal(change(a, NULL, &error), -EPERM);
	assert_int_equal(fake->calls, calls);
	wide = make("wide", 1, 3, 0, 0);
	update = gm_update_begin(space);
	gm_update_remove(update, a);
	gm_update_remove(update, b);
	gm_update_insert(update, wide);
	assert_int_equal(gm_update_commit(update, &error), -EPERM);
	assert_int_equal(fake->calls, calls + 2 + 1 + 1 + 2);
	fake_equals(fake, space, 0);
	assert_int_equal(gm_kvm_error(kvm, &error), 0);
	gm_region_unref(wide);
}

/* Each call of a replacement of two by two fails in turn, once and for ever. */
static void test_every_refusal(void **state)
{
	struct gm_error error = { 0, "" };
	unsigned long at, end_at = 0;
	bool twice;

	(void)state;
	open_all((struct gm_kvm_opts){ 0 });
	for (at = 1; end_at == 0; at++) {
		for (twice = false;; twice = true) {
			struct gm_region *out[2] = { make("a", 1, 2, 0, 4096), make("b", 3, 1, 0, 0) };
			struct gm_region *in[2] = { make("c", 2, 2, 0, 4096), make("d", 7, 1, 0, 0) };
			struct gm_update *update = gm_update_begin(space);
			int r, i;

			gm_update_insert(update, out[0]);
			gm_update_insert(update, out[1]);
			assert_int_equal(gm_update_commit(update, &error), 0);
			assert_int_equal(gm_kvm_log_start(kvm, out[0], &error), 0);
			update = gm_update_begin(space);
			for (i = 0; i < 2; i++) {
				gm_update_remove(update, out[i]);
				gm_update_insert(update, in[i]);
			}
			fake->fail_from = fake->calls + at;
			fake->fail_to = twice ? fake->fail_from : ULONG_MAX;
			fake->fail_code = -ENOMEM;
			r = gm_update_commit(update, &error);
			if (fake->calls < fake->fail_from)
				end_at = at;
			fake->fail_from = fake->fail_to = 0;
			assert_true(r == 0 || r == -ENOMEM);
			if (gm_kvm_error(kvm, &error) != 0) {
				assert_int_equal(error.code, -ENOMEM);
				assert_int_equal(gm_kvm_mend(kvm, &error), 0);
			}
			assert_int_equal(gm_kvm_error(kvm, &error), 0);
			fake_equals(fake, space, 0);
			update = gm_update_begin(space);
			for (i = 0; i < 2; i++)
				gm_update_remove(update, r == 0 ? in[i] : out[i]);
			assert_int_equal(gm_update_commit(update, &error), 0);
			assert_int_equal(fake_count(fake), 0);
			for (i = 0; i < 2; i++) {
				gm_region_unref(in[i]);
				gm_region_unref(out[i]);
			}
			if (twice)
				break;
		}
	}
	/* Moved, deleted, deleted; two set. */
	assert_int_equal(end_at, 6);
}

static void note_release(void *opaque, void *hva, uint64_t bytes)
{
	(void)hva;
	(void)bytes;
	*(bool *)opaque = true;
}

/*
 * A deletion that the kernel refuses where nothing may fail: the memory stays while the guest can reach it, updates are refused while
 * it stays so, and the next one that can mends it.
 */
static void test_stale(void **state)
{
	bool released = false;
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = "a",
		.bytes = PAGE,
		.source = GM_SOURCE_POINTER,
		.hva = memory,
		.release = note_release,
		.opaque = &released,
	};
	struct gm_error error = { 0, "" };
	struct gm_region *a, *b = make("b", 5, 1, 0, 0);

	(void)state;
	open_all((struct gm_kvm_opts){ 0 });
	assert_int_equal(gm_region_new(&opts, &a, &error), 0);
	assert_int_equal(change(NULL, a, &error), 0);
	gm_region_unref(a);
	fake->fail_from = 1;
	fake->fail_to = ULONG_MAX;
	fake->fail_code = -ENOMEM;
	assert_int_equal(change(a, NULL, &error), 0);
	assert_int_equal(gm_space_wait(space, 1000), 0);
	assert_false(released);
	assert_int_equal(gm_kvm_error(kvm, &error), -ENOMEM);
	assert_non_null(strstr(error.text, "'a'"));
	assert_int_equal(change(NULL, b, &error), -ENOMEM);
	assert_non_null(strstr(error.text, "'a'"));
	assert_int_equal(gm_kvm_mend(kvm, &error), -ENOMEM);
	fake->fail_to = 0;
	assert_int_equal(change(NULL, b, &error), 0);
	assert_true(released);
	assert_int_equal(gm_kvm_error(kvm, &error), 0);
	fake_equals(fake, space, 0);
	gm_region_unref(b);
}

/* A space that goes down while attached can't be: KVM holds it. Two VMs on one space. */
static void test_two_machines(void **state)
{
	struct fake_kvm *other = fake_new();
	struct gm_error error = { 0, "" };
	struct gm_kvm *second;

	(void)state;
	open_all((struct gm_kvm_opts){ 0 });
	second = fake_open(other, (struct gm_kvm_opts){ 0 });
	plug("a", 1, 1);
	assert_int_equal(gm_kvm_attach(second, space, &error), 0);
	plug("b", 3, 1);
	fake_equals(fake, space, 0);
	fake_equals(other, space, 0);
	gm_space_unref(space);
	gm_kvm_free(kvm);
	kvm = NULL;
	assert_int_equal(fake_count(fake), 0);
	fake_equals(other, space, 0);
	gm_kvm_free(second);
	assert_int_equal(fake_count(other), 0);
	space = NULL;
	free(other);
}

/* One step of the life of a VM, of which each allocation fails in turn: -ENOMEM, and nothing has happened. */
enum step { STEP_NEW, STEP_ATTACH, STEP_UPDATE, STEP_LOG, STEP_VCPU, STEPS };

static int take_step(enum step step, struct gm_region *more)
{
	struct gm_kvm_opts opts = { .size = sizeof(opts), .ioctl = fake_ioctl, .opaque = fake, .log = GM_KVM_LOG_RING };
	struct gm_error error = { 0, "" };
	int r = 0, fd;

	switch (step) {
	case STEP_NEW:
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		r = gm_kvm_new(fd, &opts, &kvm, &error);
		close(fd);
		break;
	case STEP_ATTACH:
		r = gm_kvm_attach(kvm, space, &error);
		break;
	case STEP_UPDATE:
		r = change(NULL, more, &error);
		break;
	case STEP_LOG:
		r = gm_kvm_log_start(kvm, NULL, &error);
		break;
	default:
		/* What can't be mapped is found out behind the allocations. */
		r = gm_kvm_add_vcpu(kvm, -1, &error);
		r = r == -EBADF ? 0 : r;
		break;
	}
	if (r == -ENOMEM)
		assert_true(error.code == r && error.text[0] != '\0');
	return r;
}

static void test_memory(void **state)
{
	unsigned failed[STEPS] = { 0 }, at, i;
	struct gm_region *more = make("more", 500, 3, 0, 4096), *region;
	struct gm_error error;
	char name[GM_NAME_MAX];
	int r;

	(void)state;
	assert_int_equal(gm_space_new(NULL, &space, &error), 0);
	/* More than there is room for at first. */
	for (i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "ram%u", i);
		region = make(name, i * 2, 1, 0, 4096);
		assert_int_equal(change(NULL, region, &error), 0);
		gm_region_unref(region);
	}
	for (enum step step = STEP_NEW; step < STEPS; step++) {
		for (at = 1;; at++) {
			allocations_left = at;
			r = take_step(step, more);
			if (r == 0)
				break;
			assert_int_equal(allocations_left, 0);
			assert_int_equal(r, -ENOMEM);
			failed[step]++;
			if (step > STEP_ATTACH)
				fake_equals(fake, space, 0);
			else
				assert_int_equal(fake_count(fake), 0);
		}
		allocations_left = 0;
	}
	fake_equals(fake, space, 0);
	assert_true(failed[STEP_NEW] == 1 && failed[STEP_ATTACH] > 40 && failed[STEP_UPDATE] > 1);
	assert_true(failed[STEP_VCPU] == 2);
	gm_region_unref(more);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_follows, begin, end),
		cmocka_unit_test_setup_teardown(test_replaces, begin, end),
		cmocka_unit_test_setup_teardown(test_limit, begin, end),
		cmocka_unit_test_setup_teardown(test_refusals, begin, end),
		cmocka_unit_test_setup_teardown(test_rollback, begin, end),
		cmocka_unit_test_setup_teardown(test_every_refusal, begin, end),
		cmocka_unit_test_setup_teardown(test_stale, begin, end),
		cmocka_unit_test_setup_teardown(test_two_machines, begin, end),
		cmocka_unit_test_setup_teardown(test_memory, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The whole job with one failure in it: a machine is laid out, its memory made from several sources, put into a space with a
 * listener, used by a device, hot-plugged and taken down. The n-th allocation or system call fails, for all n until none is
 * left; whatever step that hits, it gives a negative code, the steps before it can be taken down, and nothing is left behind.
 */
#include "resources.h"

#include <fcntl.h>

#define NODE_BYTES (2 * GM_MIB)
/* Less than one lost mapping in each of a hundred runs would be. */
#define STACKS_BYTES (64 * GM_MIB)

struct machine {
	struct gm_plan *plan;
	struct gm_region *regions[4];
	size_t count;
	struct gm_space *space;
	struct gm_memory *memory;
	struct gm_view view;
	struct gm_dirty_reader *reader;
	struct gm_region *dimm;
};

static int listener_count;
static bool fired;

static void note_change(void *opaque, const struct gm_change *change)
{
	(void)opaque;
	listener_count += (int)change->inserted_count - (int)change->removed_count;
}

static int lay_out(struct machine *machine, const struct gm_layout *layout, struct gm_error *error)
{
	static const unsigned vcpus[] = { 0, 1 };
	const struct gm_node nodes[] = {
		{ .bytes = NODE_BYTES, .guest_node = 0, .host_node = -1, .vcpus = vcpus, .vcpus_count = 1 },
		{ .bytes = NODE_BYTES, .guest_node = 1, .host_node = -1, .vcpus = vcpus + 1, .vcpus_count = 1 },
	};
	const struct gm_region_opts like = {
		.size = sizeof(like),
		.kind = GM_RAM,
		.source = GM_SOURCE_MEMFD,
		.dirty_page_bytes = 4096,
		.flags = GM_REGION_PREALLOC,
		.prealloc_threads = 2,
	};
	const struct gm_piece *pieces;
	int r = gm_plan_new(layout, nodes, 2, &machine->plan, error);

	if (r < 0)
		return r;
	r = gm_plan_regions(machine->plan, &like, machine->regions, 4, error);
	if (r == 0)
		machine->count = gm_plan_pieces(machine->plan, &pieces);
	return r;
}

static int build_space(struct machine *machine, const struct gm_layout *layout, struct gm_error *error)
{
	const struct gm_listener listener = { .size = sizeof(listener), .name = "count", .commit = note_change };
	struct gm_update *update;
	size_t i;
	int r = gm_space_new(layout, &machine->space, error);

	if (r < 0)
		return r;
	r = gm_space_add_listener(machine->space, &listener, error);
	if (r < 0)
		return r;
	r = gm_space_start_reclaimer(machine->space);
	if (r < 0)
		return r;
	update = gm_update_begin(machine->space);
	for (i = 0; i < machine->count; i++)
		(void)gm_update_insert(update, machine->regions[i]);
	return gm_update_commit(update, error);
}

/* A device reads a file into guest memory across the border of two regions, and the log says which pages. */
static int use(struct machine *machine, int fd)
{
	struct gm_dirty_range ranges[8];
	struct gm_offset next;
	unsigned char byte;
	size_t count;
	int64_t moved;
	int r = gm_space_memory(machine->space, GM_ONLY_RAM, &machine->memory);

	if (r < 0)
		return r;
	r = gm_dirty_reader_new(gm_region_dirty(machine->regions[1]), &machine->reader);
	if (r < 0)
		return r;
	r = gm_view_init(&machine->view, machine->memory, "device", 0);
	if (r < 0)
		return r;
	gm_view_enter(&machine->view);
	moved = gm_write_from_fd(&machine->view, gm_gpa(NODE_BYTES - 4096), 8192, fd, 0, NULL);
	r = moved < 0 ? (int)moved : gm_read(&machine->view, gm_gpa(NODE_BYTES), &byte, 1);
	gm_view_leave(&machine->view);
	if (r < 0)
		return r;
	/* A stream that failed after a part has moved less; the caller would go on from there. */
	if (moved < 8192)
		return -EIO;
	assert_int_equal(byte, 'x');
	assert_int_equal(gm_dirty_collect(machine->reader, gm_offset(0), NODE_BYTES, ranges, 8, &count, &next), 0);
	assert_int_equal(count, 1);
	assert_int_equal(ranges[0].last.value, 4095);
	return 0;
}

static int plug_and_unplug(struct machine *machine, struct gm_error *error)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = "dimm0",
		.kind = GM_RAM,
		.first = gm_gpa(4 * GM_GIB),
		.bytes = GM_MIB,
		.source = GM_SOURCE_ANON,
		.huge = GM_HUGE_TRANSPARENT,
		.dirty_page_bytes = 4096,
	};
	int before = listener_count, r = gm_region_new(&opts, &machine->dimm, error);
	struct gm_update *update;

	if (r < 0)
		return r;
	update = gm_update_begin(machine->space);
	(void)gm_update_insert(update, machine->dimm);
	r = gm_update_commit(update, error);
	assert_int_equal(listener_count, before + (r == 0));
	if (r < 0)
		return r;
	update = gm_update_begin(machine->space);
	(void)gm_update_remove(update, machine->dimm);
	r = gm_update_commit(update, error);
	assert_int_equal(listener_count, before + (r < 0));
	return r < 0 ? r : gm_space_wait(machine->space, 10000);
}

static void take_down(struct machine *machine)
{
	size_t i;

	gm_region_unref(machine->dimm);
	gm_dirty_reader_free(machine->reader);
	assert_int_equal(gm_view_fini(&machine->view), 0);
	gm_memory_unref(machine->memory);
	gm_space_unref(machine->space);
	for (i = 0; i < machine->count; i++)
		gm_region_unref(machine->regions[i]);
	gm_plan_free(machine->plan);
}

static int run(const struct gm_layout *layout, int fd)
{
	struct machine machine = { .plan = NULL };
	struct gm_error error = { 0, "" };
	int r;

	listener_count = 0;
	r = lay_out(&machine, layout, &error);
	if (r == 0)
		r = build_space(&machine, layout, &error);
	if (r == 0)
		r = use(&machine, fd);
	if (r == 0)
		r = plug_and_unplug(&machine, &error);
	if (error.code != 0)
		assert_true(error.text[0] != 0);
	/* Disarmed first: what takes down can't fail. */
	fired = gmi_fault_fired();
	gmi_fault_arm(0, 0);
	take_down(&machine);
	assert_int_equal(listener_count, 0);
	return r;
}

static void every_failure_is_survived(void **state)
{
	static const int errors[] = { ENOMEM, EIO, EMFILE };
	char block[8192], path[] = "/tmp/guestmem-faults-XXXXXX";
	struct gm_layout layout;
	struct test_resources before, after;
	int fd, r;
	size_t e;
	long n;

	(void)state;
	fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	memset(block, 'x', sizeof(block));
	assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
	assert_int_equal(gm_layout_x86_64_pc(40, &layout), 0);
	/* Once to warm up what the C library and libnuma keep. */
	assert_int_equal(run(&layout, fd), 0);
	before = test_count(NULL);
	for (e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
		size_t failed = 0;

		for (n = 1;; n++) {
			gmi_fault_arm(n, errors[e]);
			r = run(&layout, fd);
			assert_int_equal(test_count(NULL).fds, before.fds);
			if (r < 0)
				failed++;
			if (!fired)
				break;
		}
		assert_int_equal(r, 0);
		print_message("%ld places to fail, %zu of them seen by the caller\n", n - 1, failed);
		assert_true(n > 60 && failed > 40);
	}
	/* The C library keeps the stacks of threads that ended: a few MiB each, however many runs. */
	after = test_count(NULL);
	assert_true(after.mapped_bytes <= before.mapped_bytes + STACKS_BYTES);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_failure_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

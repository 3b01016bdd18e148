/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The block device on memory that changes: regions go away under requests that are to come, that are in flight, that are half
 * done; and what the device writes shows in the dirty logs.
 */
#include "blk_fixture.h"

#include <pthread.h>

/* A region beside the machine's own, whose end shows. */
#define EXTRA       (BLK_BASE + BLK_BYTES)
#define EXTRA_BYTES (64 * 1024)

struct extra {
	struct gm_region *region;
	unsigned char *host;
	int releases;
};

static void on_release(void *opaque, void *hva, uint64_t bytes)
{
	struct extra *extra = opaque;

	assert_ptr_equal(hva, extra->host);
	assert_int_equal(bytes, EXTRA_BYTES);
	extra->releases++;
}

/* Right behind the machine's last region: a buffer may go from one to the other. */
static void plug_extra(struct blk_machine *machine, struct extra *extra)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = "extra",
		.first = gm_gpa(EXTRA),
		.bytes = EXTRA_BYTES,
		.source = GM_SOURCE_POINTER,
		.release = on_release,
		.opaque = extra,
	};
	struct gm_update *update = gm_update_begin(machine->space);
	struct gm_error error;

	extra->host = test_pages(EXTRA_BYTES);
	extra->releases = 0;
	opts.hva = extra->host;
	assert_int_equal(gm_region_new(&opts, &extra->region, &error), 0);
	assert_int_equal(gm_update_insert(update, extra->region), 0);
	assert_int_equal(gm_update_commit(update, &error), 0);
	/* The space alone holds it now. */
	gm_region_unref(extra->region);
}

static void unplug(struct blk_machine *machine, struct gm_region *region)
{
	struct gm_update *update = gm_update_begin(machine->space);
	struct gm_error error;

	assert_int_equal(gm_update_remove(update, region), 0);
	assert_int_equal(gm_update_commit(update, &error), 0);
}

static void plug(struct blk_machine *machine, struct gm_region *region)
{
	struct gm_update *update = gm_update_begin(machine->space);
	struct gm_error error;

	assert_int_equal(gm_space_wait(machine->space, 1000), 0);
	assert_int_equal(gm_update_insert(update, region), 0);
	assert_int_equal(gm_update_commit(update, &error), 0);
}

static struct gm_region *region_at(struct blk_machine *machine, uint64_t at)
{
	return machine->regions[(at - BLK_BASE) / BLK_REGION_BYTES];
}

/* Between making a request and taking it. */
static void before_the_request(void **state)
{
	const uint64_t at = BLK_DATA + BLK_REGION_BYTES - 256;
	const struct gblk_segment segment = { gm_gpa(at), 512 };
	const uint32_t types[] = { VBLK_T_IN, VBLK_T_OUT };
	struct blk_machine machine;
	struct gblk_result result;
	struct vblk_stats stats;
	unsigned char data[256], seen[256];
	unsigned i;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_SPACE });
	for (i = 0; i < 2; i++) {
		blk_pattern(data, sizeof(data), i);
		blk_put(&machine, at, data, sizeof(data));
		assert_int_equal(
			gblk_add(machine.gblk,
				 &(struct gblk_request){ .type = types[i], .segments = &segment, .segments_count = 1 }),
			0);
		assert_int_equal(gblk_kick(machine.gblk), 1);
		/* The second half of the buffer. */
		unplug(&machine, region_at(&machine, BLK_DATA + BLK_REGION_BYTES));
		assert_int_equal(vblk_queue_run(machine.vblk, 0), 1);
		assert_int_equal(gblk_reap(machine.gblk, &result), 1);
		assert_int_equal(result.status, VBLK_S_IOERR);
		/* The first half was not touched, nor was the disk. */
		blk_get(&machine, at, seen, sizeof(seen));
		assert_memory_equal(seen, data, sizeof(data));
		assert_int_equal(machine.disk.ops[VBLK_READ] + machine.disk.ops[VBLK_WRITE], i);
		plug(&machine, region_at(&machine, BLK_DATA + BLK_REGION_BYTES));
		assert_int_equal(blk_one(&machine, VBLK_T_IN, 0, at, 512), VBLK_S_OK);
	}
	vblk_queue_stats(machine.vblk, 0, &stats);
	assert_int_equal(stats.failed_memory, 2);
	blk_machine_fini(&machine);
}

static void expect_pin(void *opaque, const char *holder, enum gm_hold hold)
{
	assert_string_equal(holder, "disk0/queue0");
	assert_int_equal(hold, GM_HOLD_PIN);
	++*(int *)opaque;
}

/* A region goes while the disk reads into it: it stays until the disk is done, not longer, and who holds it can be asked. */
static void in_flight(void **state)
{
	const struct gblk_segment segment = { gm_gpa(EXTRA - 1024), 2048 };
	const uint32_t types[] = { VBLK_T_IN, VBLK_T_OUT };
	struct blk_machine machine;
	struct gblk_result result;
	struct extra extra;
	unsigned char data[2048];
	unsigned i;
	int pins;

	(void)state;
	for (i = 0; i < 2; i++) {
		blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_SPACE });
		plug_extra(&machine, &extra);
		blk_pattern(data, sizeof(data), 200 + i);
		if (types[i] == VBLK_T_OUT)
			blk_put(&machine, EXTRA - 1024, data, sizeof(data));
		machine.disk.is_held = true;
		blk_submit(&machine,
			   &(struct gblk_request){
				   .type = types[i], .sector = 8, .segments = &segment, .segments_count = 1 });
		assert_int_equal(vblk_queue_in_flight(machine.vblk, 0), 1);
		unplug(&machine, extra.region);
		assert_int_equal(gm_space_reclaim(machine.space), 1);
		assert_int_equal(extra.releases, 0);
		assert_int_equal(gm_space_wait(machine.space, 0), -ETIMEDOUT);
		pins = 0;
		assert_int_equal(gm_space_holders(machine.space, extra.region, expect_pin, &pins), 1);
		assert_int_equal(pins, 1);
		/* Others go on meanwhile, on the new memory. */
		machine.disk.is_held = false;
		assert_int_equal(
			blk_do(&machine,
			       &(struct gblk_request){ .type = VBLK_T_IN, .segments = &segment, .segments_count = 1 })
				.status,
			VBLK_S_IOERR);
		assert_int_equal(extra.releases, 0);

		assert_int_equal(gblk_reap(machine.gblk, &result), 0);
		blk_disk_release(&machine.disk);
		assert_int_equal(gblk_reap(machine.gblk, &result), 1);
		assert_int_equal(result.status, VBLK_S_OK);
		if (types[i] == VBLK_T_IN)
			assert_memory_equal(extra.host, machine.disk.bytes + 8 * 512 + 1024, 1024);
		else
			assert_memory_equal(machine.disk.bytes + 8 * 512, data, sizeof(data));
		assert_int_equal(gm_space_wait(machine.space, 1000), 0);
		assert_int_equal(extra.releases, 1);
		blk_machine_fini(&machine);
		munmap(extra.host, EXTRA_BYTES);
	}
}

/* The place of the status goes while the request is in flight: the request is given back without one. */
static void status_goes(void **state)
{
	const struct gblk_segment segment = { gm_gpa(BLK_DATA), 512 };
	const uint64_t slots = BLK_DRIVER +
			       BLK_REGION_BYTES; /* of a driver of 128 entries: from the second region on */
	struct blk_machine machine;
	struct gblk_result result;
	struct vblk_stats stats;
	unsigned i;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_SPACE, .size = 128 });
	machine.disk.is_held = true;
	for (i = 0; i < 40; i++) {
		assert_int_equal(gblk_add(machine.gblk, &(struct gblk_request){ .type = VBLK_T_IN,
										.segments = &segment,
										.segments_count = 1,
										.cookie = i }),
				 0);
	}
	assert_true(gblk_kick(machine.gblk) >= 0);
	assert_int_equal(vblk_queue_run(machine.vblk, 0), 40);
	unplug(&machine, region_at(&machine, slots));
	blk_disk_release(&machine.disk);
	assert_int_equal(vblk_queue_in_flight(machine.vblk, 0), 0);
	assert_int_equal(vblk_queue_fault(machine.vblk, 0, NULL), VIRTQ_GOOD);
	vblk_queue_stats(machine.vblk, 0, &stats);
	assert_in_range(stats.failed_lost, 1, 39);
	plug(&machine, region_at(&machine, slots));
	for (i = 0; i < 40; i++) {
		assert_int_equal(gblk_reap(machine.gblk, &result), 1);
		assert_int_equal(result.cookie, i);
		assert_int_equal(result.status, result.bytes == 0 ? 0xff : VBLK_S_OK);
		stats.failed_lost -= result.bytes == 0;
	}
	assert_int_equal(stats.failed_lost, 0);
	assert_int_equal(blk_one(&machine, VBLK_T_IN, 0, BLK_DATA, 512), VBLK_S_OK);
	blk_machine_fini(&machine);
}

/* A request of several transfers loses memory after its first: it fails, and nothing is left behind. */
static void between_transfers(void **state)
{
	const struct gblk_segment segment = { gm_gpa(BLK_DATA), 512 * 6000 };
	struct blk_machine machine;
	struct gblk_result result;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_SPACE, .disk_bytes = 4 * 1024 * 1024 });
	machine.disk.is_held = true;
	blk_submit(&machine, &(struct gblk_request){ .type = VBLK_T_IN, .segments = &segment, .segments_count = 1 });
	unplug(&machine, region_at(&machine, BLK_DATA + 150 * BLK_REGION_BYTES));
	assert_int_equal(gm_space_reclaim(machine.space), 1);
	blk_disk_release(&machine.disk);
	assert_int_equal(machine.disk.ops[VBLK_READ], 1);
	assert_int_equal(gblk_reap(machine.gblk, &result), 1);
	assert_int_equal(result.status, VBLK_S_IOERR);
	assert_int_equal(result.bytes, 0);
	assert_int_equal(gm_space_reclaim(machine.space), 0);
	assert_int_equal(vblk_queue_in_flight(machine.vblk, 0), 0);
	blk_machine_fini(&machine);
}

/* Through the buffer, held back: what the guest changes after the request was taken is not written. */
static void bounced_in_flight(void **state)
{
	const struct gblk_segment segment = { gm_gpa(BLK_DATA), 100 * 1024 };
	static unsigned char data[100 * 1024], other[100 * 1024];
	struct blk_machine machine;
	struct gblk_result result;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_CALLBACKS });
	blk_pattern(data, sizeof(data), 1000);
	blk_put(&machine, BLK_DATA, data, sizeof(data));
	machine.disk.is_held = true;
	blk_submit(&machine, &(struct gblk_request){ .type = VBLK_T_OUT, .segments = &segment, .segments_count = 1 });
	blk_put(&machine, BLK_DATA, other, VBLK_BOUNCE_BYTES_MAX);
	assert_int_equal(vblk_queue_unset(machine.vblk, 0, NULL), -EBUSY);
	blk_disk_release(&machine.disk);
	assert_int_equal(gblk_reap(machine.gblk, &result), 1);
	assert_int_equal(result.status, VBLK_S_OK);
	assert_memory_equal(machine.disk.bytes, data, sizeof(data));
	assert_int_equal(machine.disk.ops[VBLK_WRITE], 2);
	blk_machine_fini(&machine);
}

/* What the disk writes to the guest is dirty once the driver is told, and not what is merely read. */
static void dirty_pages(void **state)
{
	const uint64_t at = BLK_DATA + 5 * BLK_REGION_BYTES - 256;
	const struct gblk_segment segment = { gm_gpa(at), 4096 + 512 };
	struct gm_dirty_reader *low, *high;
	struct blk_machine machine;
	struct gblk_result result;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_SPACE, .dirty_page_bytes = 4096 });
	assert_int_equal(gm_dirty_reader_new(gm_region_dirty(region_at(&machine, at)), &low), 0);
	assert_int_equal(gm_dirty_reader_new(gm_region_dirty(region_at(&machine, at + 256)), &high), 0);
	assert_int_equal(blk_do(&machine,
				&(struct gblk_request){ .type = VBLK_T_OUT, .segments = &segment, .segments_count = 1 })
				 .status,
			 VBLK_S_OK);
	assert_int_equal(gm_dirty_count(low) + gm_dirty_count(high), 0);
	machine.disk.is_held = true;
	blk_submit(&machine, &(struct gblk_request){ .type = VBLK_T_IN, .segments = &segment, .segments_count = 1 });
	assert_int_equal(gm_dirty_count(low) + gm_dirty_count(high), 0);
	/* A transfer that failed may have written. */
	machine.disk.fail = EIO;
	blk_disk_release(&machine.disk);
	assert_int_equal(gblk_reap(machine.gblk, &result), 1);
	assert_int_equal(result.status, VBLK_S_IOERR);
	assert_int_equal(gm_dirty_count(low), 1);
	assert_int_equal(gm_dirty_count(high), 2);
	assert_true(gm_dirty_is_marked(low, gm_offset(BLK_REGION_BYTES - 1)));
	assert_true(gm_dirty_is_marked(high, gm_offset(0)));
	assert_true(gm_dirty_is_marked(high, gm_offset(4096)));
	gm_dirty_reader_free(low);
	gm_dirty_reader_free(high);
	blk_machine_fini(&machine);
}

/*
 * A thread that plugs and unplugs
 */

struct plugger {
	struct blk_machine *machine;
	struct gm_region *region;
	bool stop; /* atomic */
	unsigned rounds;
};

static void *plug_and_unplug(void *opaque)
{
	struct plugger *plugger = opaque;

	while (!__atomic_load_n(&plugger->stop, __ATOMIC_RELAXED)) {
		unplug(plugger->machine, plugger->region);
		plug(plugger->machine, plugger->region);
		plugger->rounds++;
	}
	return NULL;
}

/* Each request sees the region or does not, as a whole; the data of those that see it is right. */
static void while_plugging(void **state)
{
	const uint64_t at = BLK_DATA + BLK_REGION_BYTES - 2048;
	unsigned good = 0, bad = 0, i;
	static unsigned char seen[4096];
	struct blk_machine machine;
	struct plugger plugger;
	pthread_t thread;
	uint8_t status;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_SPACE });
	plugger = (struct plugger){ .machine = &machine, .region = region_at(&machine, at + 2048) };
	assert_int_equal(pthread_create(&thread, NULL, plug_and_unplug, &plugger), 0);
	for (i = 0; i < 50000 && (good < 1000 || bad < 1000); i++) {
		status = blk_one(&machine, i % 2 ? VBLK_T_OUT : VBLK_T_IN, 0, at, sizeof(seen));
		good += status == VBLK_S_OK;
		bad += status == VBLK_S_IOERR;
	}
	__atomic_store_n(&plugger.stop, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(good + bad, i);
	assert_true(good > 0 && plugger.rounds > 0);
	print_message("%u good, %u refused, %u rounds\n", good, bad, plugger.rounds);
	assert_int_equal(blk_one(&machine, VBLK_T_IN, 0, at, sizeof(seen)), VBLK_S_OK);
	blk_get(&machine, at, seen, sizeof(seen));
	assert_memory_equal(seen, machine.disk.bytes, sizeof(seen));
	blk_machine_fini(&machine);
}

/* The device looks at the index in a section that is older than the memory the request lies in: it must still find it. */
static void plugged_in_a_section(void **state)
{
	const struct gblk_segment segment = { gm_gpa(EXTRA), 512 };
	struct blk_machine machine;
	struct virtq_chain chain;
	struct virtq_ring ring;
	struct extra extra;
	struct virtq virtq;
	struct gm_view view;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_SPACE });
	ring = gblk_ring(machine.gblk);
	assert_int_equal(gm_view_init(&view, machine.memory, "late", 0), 0);
	assert_int_equal(virtq_init(&virtq, &view, &ring, true, true), 0);
	gm_view_enter(&view);
	assert_int_equal(virtq_pop(&virtq, &chain), 0);
	assert_int_equal(gm_check(&view, gm_gpa(EXTRA), 512, GM_WRITE), -GM_EHOLE);
	plug_extra(&machine, &extra);
	assert_int_equal(
		gblk_add(machine.gblk,
			 &(struct gblk_request){ .type = VBLK_T_IN, .segments = &segment, .segments_count = 1 }),
		0);
	assert_true(gblk_kick(machine.gblk) >= 0);
	assert_int_equal(virtq_pop(&virtq, &chain), 1);
	assert_int_equal(gm_check(&view, gm_gpa(EXTRA), 512, GM_WRITE), 0);
	gm_view_leave(&view);
	virtq_fini(&virtq);
	assert_int_equal(gm_view_fini(&view), 0);
	blk_machine_fini(&machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(before_the_request), cmocka_unit_test(in_flight),
		cmocka_unit_test(status_goes),        cmocka_unit_test(between_transfers),
		cmocka_unit_test(bounced_in_flight),  cmocka_unit_test(dirty_pages),
		cmocka_unit_test(while_plugging),     cmocka_unit_test(plugged_in_a_section),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

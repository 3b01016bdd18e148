/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The block device, request by request, over each kind of memory: what the disk and the guest hold afterwards, the status, the
 * length given back, and the counts.
 */
#include "blk_fixture.h"

static const char *world_name(enum blk_world world)
{
	return (const char *[]){ "fixed", "space", "callbacks" }[world];
}

/* Data lands where it should, from and to any address, in any cut. */
static void check_data(struct blk_machine *machine, const struct gblk_segment *segments, unsigned count,
		       uint64_t sector)
{
	unsigned char *data, *seen;
	struct gblk_result result;
	uint64_t bytes = 0, at = 0;
	unsigned i;

	for (i = 0; i < count; i++)
		bytes += segments[i].bytes;
	data = malloc(bytes);
	seen = malloc(bytes);
	assert_true(data != NULL && seen != NULL);
	blk_pattern(data, bytes, (uint32_t)sector + 77);
	for (i = 0; i < count; at += segments[i++].bytes)
		blk_put(machine, segments[i].at.value, data + at, segments[i].bytes);
	result = blk_do(machine, &(struct gblk_request){ .type = VBLK_T_OUT,
							 .sector = sector,
							 .segments = segments,
							 .segments_count = count,
							 .cookie = 1 });
	assert_int_equal(result.status, VBLK_S_OK);
	assert_int_equal(result.bytes, 1);
	assert_memory_equal(machine->disk.bytes + sector * VBLK_SECTOR_BYTES, data, bytes);

	blk_pattern(machine->disk.bytes + sector * VBLK_SECTOR_BYTES, bytes, (uint32_t)sector + 5);
	result = blk_do(machine, &(struct gblk_request){ .type = VBLK_T_IN,
							 .sector = sector,
							 .segments = segments,
							 .segments_count = count,
							 .cookie = 2 });
	assert_int_equal(result.status, VBLK_S_OK);
	assert_int_equal(result.bytes, bytes + 1);
	for (i = 0, at = 0; i < count; at += segments[i++].bytes)
		blk_get(machine, segments[i].at.value, seen + at, segments[i].bytes);
	assert_memory_equal(seen, machine->disk.bytes + sector * VBLK_SECTOR_BYTES, bytes);
	free(data);
	free(seen);
}

static void read_and_write_anywhere(void **state)
{
	static const struct gblk_segment odd[] = {
		{ { BLK_DATA + 1 }, 511 },
		{ { BLK_DATA + 5 * BLK_REGION_BYTES - 100 }, 201 },   /* across a border */
		{ { BLK_DATA + 9 * BLK_REGION_BYTES + 3 }, 40248 },   /* across three */
		{ { BLK_DATA + 7 * BLK_REGION_BYTES }, 0 },           /* nothing */
		{ { BLK_DATA + 2 * BLK_REGION_BYTES }, 16384 + 512 }, /* a region, and a bit */
		{ { BLK_BASE + BLK_BYTES - 1024 }, 1024 },            /* up to the last byte */
	};
	static const struct gblk_segment one[] = { { { BLK_DATA }, 512 } };
	static const struct gblk_segment huge[] = { { { BLK_DATA + 123 }, 512 * 8000 } };
	const uint64_t cuts[] = { 0, VBLK_F_INDIRECT_DESC, VBLK_F_EVENT_IDX, VBLK_F_INDIRECT_DESC | VBLK_F_EVENT_IDX };
	struct blk_machine machine;
	struct vblk_stats stats;
	unsigned world, cut;

	(void)state;
	for (world = 0; world < BLK_WORLDS; world++) {
		for (cut = 0; cut < 4; cut++) {
			print_message("%s, without %#llx\n", world_name(world), (unsigned long long)cuts[cut]);
			blk_machine_init(&machine, &(struct blk_opts){ .world = world,
								       .refuse = cuts[cut],
								       .disk_bytes = 8 * 1024 * 1024 });
			check_data(&machine, odd, 6, 3);
			check_data(&machine, one, 1, 0);
			check_data(&machine, one, 1, 8 * 2048 - 1);
			check_data(&machine, huge, 1, 100);
			vblk_queue_stats(machine.vblk, 0, &stats);
			assert_int_equal(stats.requests, 8);
			assert_int_equal(stats.bytes_read, stats.bytes_written);
			assert_int_equal(stats.bytes_read, 511 + 201 + 40248 + 16896 + 1024 + 2 * 512 + 512 * 8000);
			assert_true(world == BLK_CALLBACKS ? stats.bounced > 8 : stats.bounced == 0);
			/* Four MB and a border every 16 KiB: more than one transfer takes. */
			if (world == BLK_SPACE)
				assert_int_equal(machine.disk.iovecs_max, VBLK_IOVECS_MAX);
			if (world == BLK_FIXED)
				assert_int_equal(machine.disk.iovecs_max, 5);
			blk_machine_fini(&machine);
		}
	}
}

/* The requests of a driver that keeps the queue full. */
static void many_requests(void **state)
{
	struct blk_machine machine;
	unsigned round, i, world;

	(void)state;
	for (world = 0; world < BLK_WORLDS; world++) {
		blk_machine_init(&machine, &(struct blk_opts){ .world = world, .size = 8 });
		for (round = 0; round < 9000; round++) { /* indexes pass 2^16 */
			struct gblk_segment segment = { gm_gpa(BLK_DATA), 512 };
			struct gblk_request request = { .type = VBLK_T_IN, .segments = &segment, .segments_count = 1 };
			struct gblk_result result;

			for (i = 0; i < 8; i++) {
				request.cookie = round * 8 + i;
				assert_int_equal(gblk_add(machine.gblk, &request), 0);
			}
			assert_int_equal(gblk_add(machine.gblk, &request), -ENOSPC);
			assert_int_equal(gblk_kick(machine.gblk), 1);
			assert_int_equal(vblk_queue_run(machine.vblk, 0), 8);
			assert_int_equal(vblk_queue_run(machine.vblk, 0), 0);
			for (i = 0; i < 8; i++) {
				assert_int_equal(gblk_reap(machine.gblk, &result), 1);
				assert_int_equal(result.cookie, round * 8 + i);
				assert_int_equal(result.status, VBLK_S_OK);
			}
			assert_int_equal(gblk_reap(machine.gblk, &result), 0);
			assert_int_equal(gblk_in_flight(machine.gblk), 0);
		}
		blk_machine_fini(&machine);
	}
}

static void flush_and_id(void **state)
{
	struct blk_machine machine;
	char id[VBLK_ID_BYTES + 4] = "";
	unsigned world;
	struct gblk_segment segment = { gm_gpa(BLK_DATA), sizeof(id) };

	(void)state;
	for (world = 0; world < BLK_WORLDS; world++) {
		blk_machine_init(&machine, &(struct blk_opts){ .world = world });
		assert_int_equal(blk_one(&machine, VBLK_T_FLUSH, 0, 0, 0), VBLK_S_OK);
		assert_int_equal(machine.disk.ops[VBLK_FLUSH], 1);
		assert_int_equal(blk_one(&machine, VBLK_T_OUT, 0, BLK_DATA, 512), VBLK_S_OK);
		assert_int_equal(machine.disk.ops[VBLK_FLUSH], 1);

		memset(id, 'x', sizeof(id));
		blk_put(&machine, BLK_DATA, id, sizeof(id));
		/* 20 bytes are the whole identity; what is behind is left alone, and not claimed to be written. */
		assert_int_equal(blk_do(&machine, &(struct gblk_request){ .type = VBLK_T_GET_ID,
									  .segments = &segment,
									  .segments_count = 1 })
					 .bytes,
				 VBLK_ID_BYTES);
		blk_get(&machine, BLK_DATA, id, sizeof(id));
		assert_memory_equal(id, "a disk in memory\0\0\0\0xxxx", sizeof(id));
		blk_machine_fini(&machine);

		/* A driver that never flushes gets its writes through to the disk. */
		blk_machine_init(&machine, &(struct blk_opts){ .world = world, .refuse = VBLK_F_FLUSH });
		assert_int_equal(blk_one(&machine, VBLK_T_FLUSH, 0, 0, 0), VBLK_S_UNSUPP);
		assert_int_equal(blk_one(&machine, VBLK_T_IN, 0, BLK_DATA, 512), VBLK_S_OK);
		assert_int_equal(machine.disk.ops[VBLK_FLUSH], 0);
		assert_int_equal(blk_one(&machine, VBLK_T_OUT, 0, BLK_DATA, 512), VBLK_S_OK);
		assert_int_equal(machine.disk.ops[VBLK_FLUSH], 1);
		blk_machine_fini(&machine);
	}
}

static struct vblk_range range_of(uint64_t sector, uint32_t sectors, uint32_t flags)
{
	return (struct vblk_range){ gm_le64(sector), gm_le32(sectors), gm_le32(flags) };
}

static uint8_t with_ranges(struct blk_machine *machine, uint32_t type, const struct vblk_range *ranges, uint32_t count)
{
	return blk_do(machine, &(struct gblk_request){ .type = type, .ranges = ranges, .ranges_count = count }).status;
}

static void discard_and_zero(void **state)
{
	struct vblk_range ranges[] = { range_of(1, 2, 0), range_of(9, 0, 0), range_of(2040, 8, 0) };
	struct vblk_range bad[] = { range_of(4, 1, 0), range_of(2048, 1, 0) };
	struct vblk_range unmap = range_of(20, 1, VBLK_RANGE_F_UNMAP), unknown = range_of(20, 1, 2);
	struct vblk_range long_one = range_of(0, VBLK_RANGE_SECTORS_MAX + 1, 0), far = range_of(UINT64_MAX, 2, 0);
	static const unsigned char zeros[8 * 512];
	struct blk_machine machine;
	unsigned world;

	(void)state;
	for (world = 0; world < BLK_WORLDS; world++) {
		blk_machine_init(&machine, &(struct blk_opts){ .world = world });
		assert_int_equal(with_ranges(&machine, VBLK_T_WRITE_ZEROES, ranges, 3), VBLK_S_OK);
		assert_int_equal(machine.disk.ops[VBLK_ZERO], 2);
		assert_memory_equal(machine.disk.bytes + 512, zeros, 1024);
		assert_memory_not_equal(machine.disk.bytes + 3 * 512, zeros, 512);
		assert_memory_equal(machine.disk.bytes + 2040 * 512, zeros, sizeof(zeros));
		assert_int_equal(with_ranges(&machine, VBLK_T_DISCARD, ranges, 3), VBLK_S_OK);
		assert_int_equal(machine.disk.ops[VBLK_DISCARD], 2);
		assert_false(machine.disk.may_unmap);
		assert_int_equal(with_ranges(&machine, VBLK_T_WRITE_ZEROES, &unmap, 1), VBLK_S_OK);
		assert_true(machine.disk.may_unmap);

		/* None of it when one is bad. */
		assert_int_equal(with_ranges(&machine, VBLK_T_WRITE_ZEROES, bad, 2), VBLK_S_IOERR);
		assert_memory_not_equal(machine.disk.bytes + 4 * 512, zeros, 512);
		assert_int_equal(with_ranges(&machine, VBLK_T_WRITE_ZEROES, &long_one, 1), VBLK_S_IOERR);
		assert_int_equal(with_ranges(&machine, VBLK_T_WRITE_ZEROES, &far, 1), VBLK_S_IOERR);
		assert_int_equal(with_ranges(&machine, VBLK_T_WRITE_ZEROES, &unknown, 1), VBLK_S_UNSUPP);
		assert_int_equal(with_ranges(&machine, VBLK_T_DISCARD, &unmap, 1), VBLK_S_UNSUPP);
		/* No range, a part of one, and too many. */
		assert_int_equal(blk_one(&machine, VBLK_T_DISCARD, 0, BLK_DATA, 0), VBLK_S_IOERR);
		assert_int_equal(blk_one(&machine, VBLK_T_DISCARD, 0, BLK_DATA, 24), VBLK_S_IOERR);
		assert_int_equal(blk_one(&machine, VBLK_T_DISCARD, 0, BLK_DATA, 17 * 16), VBLK_S_IOERR);
		assert_int_equal(machine.disk.ops[VBLK_DISCARD] + machine.disk.ops[VBLK_ZERO], 5);
		blk_machine_fini(&machine);

		blk_machine_init(&machine,
				 &(struct blk_opts){ .world = world, .refuse = VBLK_F_DISCARD | VBLK_F_WRITE_ZEROES });
		assert_int_equal(with_ranges(&machine, VBLK_T_DISCARD, ranges, 1), VBLK_S_UNSUPP);
		assert_int_equal(with_ranges(&machine, VBLK_T_WRITE_ZEROES, ranges, 1), VBLK_S_UNSUPP);
		blk_machine_fini(&machine);
	}
}

static void claim_done(void *opaque, struct vblk_io *io)
{
	assert_in_range(io->bytes, 1, (uint64_t)VBLK_RANGE_SECTORS_MAX * VBLK_SECTOR_BYTES);
	++*(unsigned *)opaque;
	vblk_io_done(io, 0);
}

/* On a disk that has so many sectors, the limit of a range is one, and the disk's end is where it is. */
static void large_ranges(void **state)
{
	const uint32_t max = VBLK_RANGE_SECTORS_MAX;
	const uint64_t sectors = UINT64_C(1) << 40;
	unsigned done = 0;
	struct vblk_disk disk = {
		.bytes = sectors * VBLK_SECTOR_BYTES, .can_zero = true, .submit = claim_done, .opaque = &done
	};
	struct vblk_range good = range_of(sectors - max, max, 0), more = range_of(0, max + 1, 0);
	struct vblk_range beyond = range_of(sectors - max + 1, max, 0);
	struct blk_machine machine;
	struct virtq_ring ring;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_FIXED });
	ring = gblk_ring(machine.gblk);
	vblk_free(machine.vblk);
	assert_int_equal(vblk_new(machine.memory, &(struct vblk_opts){ .name = "large", .disk = &disk }, &machine.vblk),
			 0);
	assert_int_equal(vblk_set_features(machine.vblk, vblk_features(machine.vblk)), 0);
	assert_int_equal(vblk_queue_set(machine.vblk, 0, &ring), 0);
	assert_int_equal(with_ranges(&machine, VBLK_T_WRITE_ZEROES, &good, 1), VBLK_S_OK);
	assert_int_equal(done, 1);
	assert_int_equal(with_ranges(&machine, VBLK_T_WRITE_ZEROES, &more, 1), VBLK_S_IOERR);
	assert_int_equal(with_ranges(&machine, VBLK_T_WRITE_ZEROES, &beyond, 1), VBLK_S_IOERR);
	assert_int_equal(done, 1);
	blk_machine_fini(&machine);
}

static void bad_requests(void **state)
{
	struct blk_machine machine;
	struct vblk_stats stats;
	unsigned char *before;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_SPACE });
	before = malloc(machine.disk.size);
	assert_non_null(before);
	memcpy(before, machine.disk.bytes, machine.disk.size);
	assert_int_equal(blk_one(&machine, VBLK_T_IN, 2048, BLK_DATA, 512), VBLK_S_IOERR);
	assert_int_equal(blk_one(&machine, VBLK_T_OUT, 2047, BLK_DATA, 1024), VBLK_S_IOERR);
	assert_int_equal(blk_one(&machine, VBLK_T_OUT, UINT64_MAX, BLK_DATA, 512), VBLK_S_IOERR);
	assert_int_equal(blk_one(&machine, VBLK_T_OUT, UINT64_MAX / 512 + 1, BLK_DATA, 512), VBLK_S_IOERR);
	assert_int_equal(blk_one(&machine, VBLK_T_OUT, 0, BLK_DATA, 511), VBLK_S_IOERR);
	assert_int_equal(blk_one(&machine, VBLK_T_IN, 0, BLK_DATA, 513), VBLK_S_IOERR);
	/* Nothing at all is no error inside the disk, and is one outside. */
	assert_int_equal(blk_one(&machine, VBLK_T_IN, 2048, BLK_DATA, 0), VBLK_S_OK);
	assert_int_equal(blk_one(&machine, VBLK_T_IN, 2049, BLK_DATA, 0), VBLK_S_IOERR);
	assert_int_equal(blk_one(&machine, 0x12345678, 0, BLK_DATA, 512), VBLK_S_UNSUPP);
	assert_memory_equal(before, machine.disk.bytes, machine.disk.size);
	assert_int_equal(machine.disk.ops[VBLK_READ] + machine.disk.ops[VBLK_WRITE], 0);
	vblk_queue_stats(machine.vblk, 0, &stats);
	assert_int_equal(stats.requests, 9);
	assert_int_equal(stats.failed_request, 7);
	assert_int_equal(stats.failed_unsupported, 1);
	free(before);
	blk_machine_fini(&machine);

	blk_machine_init(&machine, &(struct blk_opts){ .read_only = true });
	assert_true(vblk_features(machine.vblk) & VBLK_F_RO);
	assert_int_equal(blk_one(&machine, VBLK_T_IN, 0, BLK_DATA, 512), VBLK_S_OK);
	assert_int_equal(blk_one(&machine, VBLK_T_OUT, 0, BLK_DATA, 512), VBLK_S_IOERR);
	assert_int_equal(blk_one(&machine, VBLK_T_DISCARD, 0, BLK_DATA, 16), VBLK_S_UNSUPP);
	assert_int_equal(machine.disk.ops[VBLK_WRITE], 0);
	blk_machine_fini(&machine);
}

/* An image of 1000 bytes: two sectors, the last 24 bytes of which are not there. */
static void partial_sector(void **state)
{
	unsigned char data[1024], expected[1024] = { 0 };
	struct vblk_range both = range_of(0, 2, 0);
	struct blk_machine machine;
	struct vblk_config config;
	unsigned world;

	(void)state;
	for (world = 0; world < BLK_WORLDS; world++) {
		blk_machine_init(&machine, &(struct blk_opts){ .world = world, .disk_bytes = 1000 });
		assert_int_equal(vblk_config_read(machine.vblk, 0, &config, VBLK_CONFIG_BYTES), 0);
		assert_int_equal(gm_le64_get(config.capacity), 2);
		memset(data, 0xee, sizeof(data));
		blk_put(&machine, BLK_DATA + 100, data, sizeof(data));
		assert_int_equal(blk_one(&machine, VBLK_T_IN, 0, BLK_DATA + 100, 1024), VBLK_S_OK);
		blk_get(&machine, BLK_DATA + 100, data, sizeof(data));
		memcpy(expected, machine.disk.bytes, 1000);
		assert_memory_equal(data, expected, sizeof(data));

		blk_pattern(data, sizeof(data), 99);
		blk_put(&machine, BLK_DATA, data, sizeof(data));
		assert_int_equal(blk_one(&machine, VBLK_T_OUT, 0, BLK_DATA, 1024), VBLK_S_OK);
		assert_memory_equal(machine.disk.bytes, data, 1000);
		assert_int_equal(with_ranges(&machine, VBLK_T_WRITE_ZEROES, &both, 1), VBLK_S_OK);
		blk_machine_fini(&machine);
	}
}

static void disk_failures(void **state)
{
	static const struct {
		uint32_t type;
		uint32_t bytes;
		enum vblk_op op;
	} cases[] = { { VBLK_T_IN, 512, VBLK_READ }, { VBLK_T_OUT, 512, VBLK_WRITE }, { VBLK_T_FLUSH, 0, VBLK_FLUSH } };
	struct gblk_segment segment = { gm_gpa(BLK_DATA), 4096 };
	struct blk_machine machine;
	struct gblk_result result;
	struct vblk_error error;
	struct vblk_stats stats;
	unsigned i, world;

	(void)state;
	for (world = 0; world < BLK_WORLDS; world++) {
		blk_machine_init(&machine, &(struct blk_opts){ .world = world });
		vblk_queue_error(machine.vblk, 0, &error);
		assert_int_equal(error.code, 0);
		machine.disk.fail = ENOMEDIUM;
		for (i = 0; i < 3; i++) {
			assert_int_equal(blk_one(&machine, cases[i].type, 0, BLK_DATA, cases[i].bytes), VBLK_S_IOERR);
			vblk_queue_error(machine.vblk, 0, &error);
			assert_int_equal(error.code, -ENOMEDIUM);
			assert_int_equal(error.op, cases[i].op);
		}
		/* The image shrank: what there is of it may have been read, but the request failed. */
		machine.disk.fail = 0;
		machine.disk.size = 10 * 512 + 100;
		result = blk_do(&machine,
				&(struct gblk_request){
					.type = VBLK_T_IN, .sector = 8, .segments = &segment, .segments_count = 1 });
		assert_int_equal(result.status, VBLK_S_IOERR);
		assert_int_equal(result.bytes, 0);
		vblk_queue_error(machine.vblk, 0, &error);
		assert_int_equal(error.code, -ENODATA);
		assert_int_equal(error.offset, 8 * 512);
		assert_int_equal(error.bytes, 4096);
		assert_int_equal(blk_one(&machine, VBLK_T_OUT, 8, BLK_DATA, 4096), VBLK_S_IOERR);
		vblk_queue_error(machine.vblk, 0, &error);
		assert_int_equal(error.code, -EIO);
		/* It lives. */
		assert_int_equal(blk_one(&machine, VBLK_T_IN, 0, BLK_DATA, 4096), VBLK_S_OK);
		vblk_queue_stats(machine.vblk, 0, &stats);
		assert_int_equal(stats.failed_disk, 5);
		blk_machine_fini(&machine);
	}
}

/* A chain with that many data buffers has to fit the queue, whose size is as far as a driver may go in a table too. */
static void check_seg_max(const struct blk_machine *machine, const struct vblk_opts *opts)
{
	static const uint32_t sizes[] = { 1, 2, 4, 64, 128, VBLK_QUEUE_SIZE_MAX };
	static const uint32_t wanted[] = { 1, 1, 2, 62, 126, VBLK_SEGMENTS_MAX };
	struct vblk_opts small = *opts;
	struct vblk_config config;
	struct vblk *vblk = NULL;
	unsigned i;

	for (i = 0; i < 6; i++) {
		small.queue_size_max = sizes[i];
		assert_int_equal(vblk_new(machine->memory, &small, &vblk), 0);
		assert_int_equal(vblk_config_read(vblk, 0, &config, VBLK_CONFIG_BYTES), 0);
		assert_int_equal(gm_le32_get(config.seg_max), wanted[i]);
		vblk_free(vblk);
	}
}

static void options(void **state)
{
	struct vblk_disk disk = { .bytes = 4096, .submit = blk_disk_submit };
	struct vblk_opts good = {
		.name = "disk0", .disk = &disk, .queues = 4, .queue_size_max = 256, .block_bytes = 4096
	};
	struct vblk_opts opts = good;
	struct virtq_ring ring, bad;
	struct vblk *vblk = NULL;
	struct vblk_config config;
	struct blk_machine machine;
	unsigned char byte;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_FIXED });
	assert_int_equal(vblk_new(NULL, &good, &vblk), -EINVAL);
#define REFUSED(field, value)                                                                                          \
	do {                                                                                                           \
		opts = good;                                                                                           \
		opts.field = (value);                                                                                  \
		assert_int_equal(vblk_new(machine.memory, &opts, &vblk), -EINVAL);                                     \
		assert_null(vblk);                                                                                     \
	} while (0)
	REFUSED(name, NULL);
	REFUSED(name, "");
	REFUSED(name, "a name of forty-eight characters is one too long");
	REFUSED(disk, NULL);
	REFUSED(queues, VBLK_QUEUES_MAX + 1);
	REFUSED(queue_size_max, 100);
	REFUSED(queue_size_max, 2 * VBLK_QUEUE_SIZE_MAX);
	REFUSED(block_bytes, 256);
	REFUSED(block_bytes, 131072);
	REFUSED(block_bytes, 1000);
	disk.id = "one character too long";
	REFUSED(queues, 4);
	disk.id = NULL;
#undef REFUSED
	assert_int_equal(vblk_new(machine.memory, &good, &vblk), 0);
	assert_int_equal(vblk_features(vblk), VBLK_F_SEG_MAX | VBLK_F_BLK_SIZE | VBLK_F_FLUSH | VBLK_F_MQ |
						      VBLK_F_INDIRECT_DESC | VBLK_F_EVENT_IDX | VBLK_F_VERSION_1);
	memset(&config, 0xff, sizeof(config));
	assert_int_equal(vblk_config_read(vblk, 0, &config, VBLK_CONFIG_BYTES), 0);
	assert_int_equal(gm_le64_get(config.capacity), 8);
	assert_int_equal(gm_le32_get(config.seg_max), VBLK_SEGMENTS_MAX);
	assert_int_equal(gm_le32_get(config.blk_size), 4096);
	assert_int_equal(gm_le16_get(config.num_queues), 4);
	assert_int_equal(gm_le32_get(config.max_discard_seg), 0);
	assert_int_equal(vblk_config_read(vblk, 34, &byte, 1), 0);
	assert_int_equal(byte, 4);
	assert_int_equal(vblk_config_read(vblk, VBLK_CONFIG_BYTES, &byte, 1), -EINVAL);
	assert_int_equal(vblk_config_read(vblk, SIZE_MAX, &byte, 2), -EINVAL);
	check_seg_max(&machine, &good);

	ring = gblk_ring(machine.gblk);
	assert_int_equal(vblk_queue_set(vblk, 0, &ring), -EINVAL); /* no features yet */
	assert_int_equal(vblk_set_features(vblk, VBLK_F_VERSION_1 | VBLK_F_RO), -EINVAL);
	assert_int_equal(vblk_set_features(vblk, VBLK_F_FLUSH), -EINVAL);
	assert_int_equal(vblk_set_features(vblk, VBLK_F_VERSION_1), 0);
	assert_int_equal(vblk_queue_set(vblk, 4, &ring), -EINVAL);
	assert_int_equal(vblk_queue_run(vblk, 0), -EINVAL);
	assert_int_equal(vblk_queue_run(vblk, 4), -EINVAL);
#define RING_REFUSED(field, value, code)                                                                               \
	do {                                                                                                           \
		bad = ring;                                                                                            \
		bad.field = (value);                                                                                   \
		assert_int_equal(vblk_queue_set(vblk, 0, &bad), code);                                                 \
	} while (0)
	RING_REFUSED(size, 0, -EINVAL);
	RING_REFUSED(size, 48, -EINVAL);
	RING_REFUSED(size, 512, -EINVAL);
	RING_REFUSED(desc, gm_gpa(ring.desc.value + 8), -EINVAL);
	RING_REFUSED(avail, gm_gpa(ring.avail.value + 1), -EINVAL);
	RING_REFUSED(used, gm_gpa(ring.used.value + 2), -EINVAL);
	RING_REFUSED(used, ring.desc, -EINVAL);
	RING_REFUSED(avail, ring.desc, -EINVAL);
	RING_REFUSED(used, gm_gpa(ring.avail.value + 4), -EINVAL);
	RING_REFUSED(desc, gm_gpa(UINT64_MAX - 15), -GM_EWRAP);
	RING_REFUSED(avail, gm_gpa(UINT64_MAX - 15), -GM_EWRAP);
	RING_REFUSED(used, gm_gpa(UINT64_MAX - 15), -GM_EWRAP);
#undef RING_REFUSED
	assert_int_equal(vblk_queue_set(vblk, 3, &ring), 0);
	assert_int_equal(vblk_queue_set(vblk, 3, &ring), -EBUSY);
	assert_int_equal(vblk_set_features(vblk, VBLK_F_VERSION_1), -EBUSY);
	assert_int_equal(vblk_queue_unset(vblk, 3, NULL), 0);
	assert_int_equal(vblk_queue_unset(vblk, 3, NULL), 0);
	assert_int_equal(vblk_queue_unset(vblk, 4, NULL), -EINVAL);
	vblk_free(vblk);
	vblk_free(NULL);
	blk_machine_fini(&machine);
}

static void add_another(void *opaque)
{
	struct blk_machine *machine = opaque;
	struct gblk_result result;

	assert_true(gblk_reap(machine->gblk, &result) >= 0);
	assert_int_equal(gblk_add(machine->gblk, &(struct gblk_request){ .type = VBLK_T_FLUSH }), 0);
	assert_true(gblk_kick(machine->gblk) >= 0);
}

/* A driver that adds a request for each that is taken does not hold the thread for ever. */
static void endless_driver(void **state)
{
	struct blk_machine machine;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_SPACE });
	machine.disk.on_transfer = add_another;
	machine.disk.opaque = &machine;
	add_another(&machine);
	assert_int_equal(vblk_queue_run(machine.vblk, 0), 64);
	assert_int_equal(vblk_queue_run(machine.vblk, 0), 64);
	machine.disk.on_transfer = NULL;
	assert_int_equal(vblk_queue_run(machine.vblk, 0), 1);
	assert_int_equal(machine.disk.ops[VBLK_FLUSH], 129);
	blk_machine_fini(&machine);
}

/* A queue is taken down in the middle and goes on where it was. */
static void resume(void **state)
{
	struct blk_machine machine;
	struct virtq_ring ring;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_SPACE });
	ring = gblk_ring(machine.gblk);
	assert_int_equal(blk_one(&machine, VBLK_T_IN, 0, BLK_DATA, 512), VBLK_S_OK);
	assert_int_equal(blk_one(&machine, VBLK_T_IN, 0, BLK_DATA, 512), VBLK_S_OK);
	assert_int_equal(vblk_queue_unset(machine.vblk, 0, &ring.next), 0);
	assert_int_equal(ring.next, 2);
	assert_int_equal(vblk_queue_set(machine.vblk, 0, &ring), 0);
	assert_int_equal(blk_one(&machine, VBLK_T_IN, 0, BLK_DATA, 512), VBLK_S_OK);
	blk_machine_fini(&machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_and_write_anywhere),
		cmocka_unit_test(many_requests),
		cmocka_unit_test(flush_and_id),
		cmocka_unit_test(discard_and_zero),
		cmocka_unit_test(bad_requests),
		cmocka_unit_test(partial_sector),
		cmocka_unit_test(disk_failures),
		cmocka_unit_test(options),
		cmocka_unit_test(large_ranges),
		cmocka_unit_test(endless_driver),
		cmocka_unit_test(resume),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Chains that a driver should not make, built descriptor by descriptor: what breaks the queue and why, what is answered, what is
 * given back without a word; and when either side is notified.
 */
#include "blk_fixture.h"

/* A queue of eight by hand, and things for its chains. The rings are a region each, so that a test can take one away. */
#define SIZE    8
#define DESC    (BLK_BASE + UINT64_C(0x100000))
#define AVAIL   (DESC + BLK_REGION_BYTES)
#define USED    (DESC + 2 * BLK_REGION_BYTES)
#define TABLE   (DESC + 3 * BLK_REGION_BYTES)
#define HEADER  (DESC + 4 * BLK_REGION_BYTES)
#define STATUS  (DESC + 5 * BLK_REGION_BYTES)
#define DATA    BLK_DATA
#define NOWHERE (BLK_BASE + BLK_BYTES + 4096)

#define N VIRTQ_DESC_F_NEXT
#define W VIRTQ_DESC_F_WRITE
#define I VIRTQ_DESC_F_INDIRECT

static uint16_t offered;

static void write_entry(struct blk_machine *machine, uint64_t table, unsigned index, uint64_t at, uint32_t bytes,
			uint16_t flags, uint16_t next)
{
	struct virtq_desc desc = { gm_le64(at), gm_le32(bytes), gm_le16(flags), gm_le16(next) };

	blk_put(machine, table + index * 16, &desc, sizeof(desc));
}

static void desc(struct blk_machine *machine, unsigned index, uint64_t at, uint32_t bytes, uint16_t flags,
		 uint16_t next)
{
	write_entry(machine, DESC, index, at, bytes, flags, next);
}

/* A good read of a sector, from descriptor 0 on. */
static void good_read(struct blk_machine *machine)
{
	desc(machine, 0, HEADER, 16, N, 1);
	desc(machine, 1, DATA, 512, N | W, 2);
	desc(machine, 2, STATUS, 1, W, 0);
}

static void set_le16(struct blk_machine *machine, uint64_t at, uint16_t number)
{
	struct gm_le16 ordered = gm_le16(number);

	blk_put(machine, at, &ordered, sizeof(ordered));
}

static uint16_t get_le16(struct blk_machine *machine, uint64_t at)
{
	struct gm_le16 ordered;

	blk_get(machine, at, &ordered, sizeof(ordered));
	return gm_le16_get(ordered);
}

static void offer(struct blk_machine *machine, uint16_t head)
{
	set_le16(machine, AVAIL + VIRTQ_AVAIL_ENTRY(offered % SIZE), head);
	set_le16(machine, AVAIL + VIRTQ_INDEX, ++offered);
}

static void set_header(struct blk_machine *machine, uint32_t type)
{
	struct vblk_header header = { .type = gm_le32(type) };

	blk_put(machine, HEADER, &header, sizeof(header));
}

static uint8_t status_at(struct blk_machine *machine, uint64_t at)
{
	uint8_t status;

	blk_get(machine, at, &status, 1);
	return status;
}

/* Set up anew, with empty rings and no status. */
static void reset(struct blk_machine *machine)
{
	static const unsigned char zeros[2 * BLK_REGION_BYTES];
	const struct virtq_ring ring = {
		.desc = gm_gpa(DESC), .avail = gm_gpa(AVAIL), .used = gm_gpa(USED), .size = SIZE
	};
	const uint8_t none = 0xff;

	assert_int_equal(vblk_queue_unset(machine->vblk, 0, NULL), 0);
	blk_put(machine, DESC, zeros, sizeof(zeros));
	blk_put(machine, DESC + sizeof(zeros), zeros, sizeof(zeros));
	blk_put(machine, STATUS, &none, 1);
	set_header(machine, VBLK_T_IN);
	offered = 0;
	machine->interrupts = machine->breaks = 0;
	assert_int_equal(vblk_queue_set(machine->vblk, 0, &ring), 0);
}

static void refuses(struct blk_machine *machine, enum virtq_fault fault, int code, int line)
{
	const unsigned ops = machine->disk.ops[VBLK_READ] + machine->disk.ops[VBLK_WRITE];
	int fault_code = 0;

	if (vblk_queue_run(machine->vblk, 0) != -EBADMSG)
		fail_msg("line %d: not refused", line);
	if (vblk_queue_fault(machine->vblk, 0, &fault_code) != fault)
		fail_msg("line %d: %s", line, virtq_fault_text(vblk_queue_fault(machine->vblk, 0, NULL)));
	assert_int_equal(fault_code, code);
	assert_int_equal(machine->breaks, 1);
	assert_int_equal(machine->disk.ops[VBLK_READ] + machine->disk.ops[VBLK_WRITE], ops);
	assert_int_equal(status_at(machine, STATUS), 0xff);
	/* It stays so, and says so once. */
	assert_int_equal(vblk_queue_run(machine->vblk, 0), -EBADMSG);
	assert_int_equal(machine->breaks, 1);
	assert_int_equal(vblk_queue_in_flight(machine->vblk, 0), 0);
	/* And works again after it was set up anew. */
	reset(machine);
	good_read(machine);
	offer(machine, 0);
	assert_int_equal(vblk_queue_run(machine->vblk, 0), 1);
	assert_int_equal(status_at(machine, STATUS), VBLK_S_OK);
	reset(machine);
}

#define REFUSES(machine, fault, code) refuses(machine, fault, code, __LINE__)

static void direct_chains(struct blk_machine *m)
{
	unsigned i;

	/* Indexes that point nowhere. */
	good_read(m);
	offer(m, SIZE);
	REFUSES(m, VIRTQ_BAD_HEAD, -EINVAL);
	offer(m, 0xffff);
	REFUSES(m, VIRTQ_BAD_HEAD, -EINVAL);
	desc(m, 0, HEADER, 16, N, SIZE);
	offer(m, 0);
	REFUSES(m, VIRTQ_BAD_NEXT, -EINVAL);
	good_read(m);
	set_le16(m, AVAIL + VIRTQ_INDEX, SIZE + 1);
	REFUSES(m, VIRTQ_BAD_AVAIL_INDEX, -EINVAL);
	set_le16(m, AVAIL + VIRTQ_INDEX, 0xffff);
	REFUSES(m, VIRTQ_BAD_AVAIL_INDEX, -EINVAL);
	/* Loops: onto itself, over all, behind a tail, and of nothing. */
	desc(m, 0, HEADER, 16, N, 0);
	offer(m, 0);
	REFUSES(m, VIRTQ_TOO_LONG, -EINVAL);
	for (i = 0; i < SIZE; i++)
		desc(m, i, DATA + 512 * i, 512, N | W, (uint16_t)((i + 1) % SIZE));
	offer(m, 3);
	REFUSES(m, VIRTQ_TOO_LONG, -EINVAL);
	desc(m, 0, HEADER, 16, N, 1);
	desc(m, 1, DATA, 1, N, 2);
	desc(m, 2, DATA, 1, N, 1);
	offer(m, 0);
	REFUSES(m, VIRTQ_TOO_LONG, -EINVAL);
	desc(m, 0, HEADER, 0, N, 0);
	offer(m, 0);
	REFUSES(m, VIRTQ_TOO_LONG, -EINVAL);
	/* Order, size, place. */
	desc(m, 0, HEADER, 16, N, 1);
	desc(m, 1, STATUS, 1, N | W, 2);
	desc(m, 2, DATA, 512, 0, 0);
	offer(m, 0);
	REFUSES(m, VIRTQ_BAD_ORDER, -EINVAL);
	desc(m, 0, 0, UINT32_MAX, N, 1);
	desc(m, 1, 0, 1, N, 2);
	desc(m, 2, 0, 1, 0, 0);
	offer(m, 0);
	REFUSES(m, VIRTQ_TOO_MANY_BYTES, -EINVAL);
	good_read(m);
	desc(m, 1, UINT64_MAX - 510, 512, N | W, 2);
	offer(m, 0);
	REFUSES(m, VIRTQ_BUFFER_WRAPS, -GM_EWRAP);
	desc(m, 0, UINT64_MAX, 16, 0, 0);
	offer(m, 0);
	REFUSES(m, VIRTQ_BUFFER_WRAPS, -GM_EWRAP);
	good_read(m);
	desc(m, 1, DESC - 511, 512, N | W, 2);
	offer(m, 0);
	REFUSES(m, VIRTQ_BUFFER_IN_RINGS, -EINVAL);
	good_read(m);
	desc(m, 1, AVAIL + VIRTQ_AVAIL_BYTES(SIZE) - 1, 512, N | W, 2);
	offer(m, 0);
	REFUSES(m, VIRTQ_BUFFER_IN_RINGS, -EINVAL);
	good_read(m);
	desc(m, 2, USED + VIRTQ_USED_BYTES(SIZE) - 1, 1, W, 0);
	offer(m, 0);
	REFUSES(m, VIRTQ_BUFFER_IN_RINGS, -EINVAL);
}

static void indirect(struct blk_machine *m, uint32_t bytes)
{
	desc(m, 0, TABLE, bytes, I, 0);
	write_entry(m, TABLE, 0, HEADER, 16, N, 2);
	write_entry(m, TABLE, 1, STATUS, 1, W, 0);
	write_entry(m, TABLE, 2, DATA, 512, N | W, 1);
	offer(m, 0);
}

static void indirect_chains(struct blk_machine *m)
{
	unsigned i;

	indirect(m, 0);
	REFUSES(m, VIRTQ_BAD_TABLE, -EINVAL);
	indirect(m, 47);
	REFUSES(m, VIRTQ_BAD_TABLE, -EINVAL);
	indirect(m, (SIZE + 1) * 16);
	REFUSES(m, VIRTQ_BAD_TABLE, -EINVAL);
	indirect(m, 0xfffffff0);
	REFUSES(m, VIRTQ_BAD_TABLE, -EINVAL);
	indirect(m, 32); /* 2 is behind its end */
	REFUSES(m, VIRTQ_BAD_NEXT, -EINVAL);
	indirect(m, 48);
	desc(m, 0, TABLE, 48, I | N, 0);
	REFUSES(m, VIRTQ_TABLE_WITH_NEXT, -EINVAL);
	indirect(m, 48);
	write_entry(m, TABLE, 2, TABLE, 48, I, 0);
	REFUSES(m, VIRTQ_NESTED_TABLE, -EINVAL);
	indirect(m, 48);
	desc(m, 0, NOWHERE, 48, I, 0);
	REFUSES(m, VIRTQ_UNREACHABLE, -GM_EHOLE);
	indirect(m, 48);
	desc(m, 0, UINT64_MAX - 15, 48, I, 0);
	REFUSES(m, VIRTQ_UNREACHABLE, -GM_EWRAP);
	indirect(m, 48);
	write_entry(m, TABLE, 0, HEADER, 16, N, 0);
	REFUSES(m, VIRTQ_TOO_LONG, -EINVAL);
	/* One in the queue, and as many as the queue has in the table. */
	desc(m, 1, HEADER, 16, N, 0);
	desc(m, 0, TABLE, SIZE * 16, I, 0);
	for (i = 0; i < SIZE; i++)
		write_entry(m, TABLE, i, DATA + i * 512, 1, i + 1 < SIZE ? N | W : W, (uint16_t)(i + 1));
	offer(m, 1);
	REFUSES(m, VIRTQ_TOO_LONG, -EINVAL);
}

static void broken_chains(void **state)
{
	struct blk_machine machine;
	unsigned world;

	(void)state;
	for (world = 0; world < BLK_WORLDS; world++) {
		blk_machine_init(&machine, &(struct blk_opts){ .world = world });
		reset(&machine);
		direct_chains(&machine);
		indirect_chains(&machine);
		blk_machine_fini(&machine);
	}
	blk_machine_init(&machine, &(struct blk_opts){ .refuse = VBLK_F_INDIRECT_DESC });
	reset(&machine);
	indirect(&machine, 48);
	REFUSES(&machine, VIRTQ_NOT_NEGOTIATED, -EINVAL);
	blk_machine_fini(&machine);
}

/* What the specification allows, though few drivers do it. */
static void unusual_chains(void **state)
{
	struct blk_machine machine;
	unsigned i;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_SPACE });
	reset(&machine);
	/* The first part in the queue, the rest in a table, whose WRITE flag means nothing; entries out of order. */
	desc(&machine, 5, HEADER, 16, N, 0);
	desc(&machine, 0, TABLE, 48, I | W, 77);
	write_entry(&machine, TABLE, 0, DATA, 100, W | N, 2);
	write_entry(&machine, TABLE, 1, STATUS, 1, W, 0);
	write_entry(&machine, TABLE, 2, DATA + 200, 412, W | N, 1);
	offer(&machine, 5);
	assert_int_equal(vblk_queue_run(machine.vblk, 0), 1);
	assert_int_equal(status_at(&machine, STATUS), VBLK_S_OK);
	/* Header in pieces, status behind data in one buffer, empty buffers in between. */
	reset(&machine);
	desc(&machine, 0, HEADER, 7, N, 1);
	desc(&machine, 1, NOWHERE, 0, N, 2);
	desc(&machine, 2, HEADER + 7, 9, N, 3);
	desc(&machine, 3, DATA, 513, W | N, 4);
	desc(&machine, 4, 0, 0, W, 0);
	offer(&machine, 0);
	assert_int_equal(vblk_queue_run(machine.vblk, 0), 1);
	assert_int_equal(status_at(&machine, DATA + 512), VBLK_S_OK);
	assert_int_equal(get_le16(&machine, USED + VIRTQ_USED_ENTRY(0) + 4), 513);
	/* As long as the queue. */
	reset(&machine);
	desc(&machine, 0, HEADER, 16, N, 1);
	for (i = 1; i < SIZE - 1; i++)
		desc(&machine, i, DATA + i * 600, 512, N | W, (uint16_t)(i + 1));
	desc(&machine, SIZE - 1, STATUS, 1, W, 0);
	offer(&machine, 0);
	assert_int_equal(vblk_queue_run(machine.vblk, 0), 1);
	assert_int_equal(status_at(&machine, STATUS), VBLK_S_OK);
	assert_int_equal(get_le16(&machine, USED + VIRTQ_USED_ENTRY(0) + 4), 6 * 512 + 1);
	blk_machine_fini(&machine);
}

/* One chain: what the device answers, and that the queue goes on. */
static void answers(struct blk_machine *machine, int status, uint16_t used_bytes, int line)
{
	const unsigned ops = machine->disk.ops[VBLK_READ] + machine->disk.ops[VBLK_WRITE];

	offer(machine, 0);
	assert_int_equal(vblk_queue_run(machine->vblk, 0), 1);
	if (status_at(machine, STATUS) != status)
		fail_msg("line %d: status %u", line, status_at(machine, STATUS));
	assert_int_equal(get_le16(machine, USED + VIRTQ_INDEX), offered);
	assert_int_equal(get_le16(machine, USED + VIRTQ_USED_ENTRY(0) + 4), used_bytes);
	assert_int_equal(machine->disk.ops[VBLK_READ] + machine->disk.ops[VBLK_WRITE], ops);
	assert_int_equal(vblk_queue_fault(machine->vblk, 0, NULL), VIRTQ_GOOD);
	good_read(machine);
	set_header(machine, VBLK_T_IN);
	offer(machine, 0);
	assert_int_equal(vblk_queue_run(machine->vblk, 0), 1);
	assert_int_equal(status_at(machine, STATUS), VBLK_S_OK);
	reset(machine);
	good_read(machine);
}

#define ANSWERS(machine, status, used_bytes) answers(machine, status, used_bytes, __LINE__)
#define NO_STATUS                            0xff

static void refused_requests(void **state)
{
	struct blk_machine machine, *m = &machine;
	struct vblk_stats stats;
	unsigned world;

	(void)state;
	for (world = 0; world < BLK_WORLDS; world++) {
		blk_machine_init(m, &(struct blk_opts){ .world = world });
		reset(m);
		good_read(m);
		/* Overlaps: of two that are written, with the header, with the table; not of two that are read. */
		desc(m, 1, DATA, 512, N | W, 3);
		desc(m, 3, DATA + 511, 512, N | W, 2);
		ANSWERS(m, VBLK_S_IOERR, 0);
		desc(m, 1, HEADER + 15, 512, N | W, 2);
		ANSWERS(m, VBLK_S_IOERR, 0);
		desc(m, 1, HEADER - 497, 512, N | W, 2);
		ANSWERS(m, VBLK_S_IOERR, 0);
		desc(m, 1, STATUS - 511, 512, N | W, 2);
		ANSWERS(m, VBLK_S_IOERR, 0);
		indirect(m, 48);
		offered--;
		write_entry(m, TABLE, 2, TABLE + 47, 512, N | W, 1);
		ANSWERS(m, VBLK_S_IOERR, 0);
		/* Buffers that are not there: data, header. Nothing is moved, of the part that is there neither. */
		desc(m, 1, NOWHERE, 512, N | W, 2);
		ANSWERS(m, VBLK_S_IOERR, 0);
		desc(m, 1, BLK_BASE + BLK_BYTES - 511, 512, N | W, 2);
		ANSWERS(m, VBLK_S_IOERR, 0);
		desc(m, 0, NOWHERE, 16, N, 1);
		ANSWERS(m, VBLK_S_IOERR, 0);
		/* Header too short, or none. */
		desc(m, 0, HEADER, 15, N, 1);
		ANSWERS(m, VBLK_S_IOERR, 0);
		desc(m, 0, STATUS, 1, W, 0);
		ANSWERS(m, VBLK_S_IOERR, 1);
		/* No status, or none that can be written: no word, and nothing done. */
		desc(m, 0, HEADER, 16, 0, 0);
		ANSWERS(m, NO_STATUS, 0);
		set_header(m, VBLK_T_OUT);
		desc(m, 0, HEADER, 16, N, 1);
		desc(m, 1, DATA, 512, 0, 0);
		ANSWERS(m, NO_STATUS, 0);
		set_header(m, VBLK_T_OUT);
		desc(m, 1, DATA, 512, N, 2);
		desc(m, 2, NOWHERE, 1, W, 0);
		ANSWERS(m, NO_STATUS, 0);
		/* An empty chain. */
		desc(m, 0, 0, 0, 0, 0);
		ANSWERS(m, NO_STATUS, 0);
		vblk_queue_stats(m->vblk, 0, &stats);
		assert_int_equal(stats.failed_request, 7);
		assert_int_equal(stats.failed_memory, 3);
		assert_int_equal(stats.failed_lost, 4);
		/* Reading the same bytes twice is fine. */
		set_header(m, VBLK_T_OUT);
		desc(m, 1, DATA, 512, N, 3);
		desc(m, 3, DATA, 512, N, 2);
		offer(m, 0);
		assert_int_equal(vblk_queue_run(m->vblk, 0), 1);
		assert_int_equal(status_at(m, STATUS), VBLK_S_OK);
		blk_machine_fini(m);
	}
}

/* More data buffers than the device said it takes. */
static void too_many_segments(void **state)
{
	struct gblk_segment segments[VBLK_SEGMENTS_MAX];
	const struct virtq_ring ring = {
		.desc = gm_gpa(DESC), .avail = gm_gpa(AVAIL), .used = gm_gpa(USED), .size = 128
	};
	struct blk_machine machine;
	uint8_t none = NO_STATUS;
	unsigned i;

	(void)state;
	for (i = 0; i < VBLK_SEGMENTS_MAX; i++)
		segments[i] = (struct gblk_segment){ gm_gpa(DATA + i * 1000), 512 };
	blk_machine_init(&machine,
			 &(struct blk_opts){ .world = BLK_SPACE, .size = 128, .segments_max = VBLK_SEGMENTS_MAX });
	assert_int_equal(blk_do(&machine, &(struct gblk_request){ .type = VBLK_T_IN,
								  .segments = segments,
								  .segments_count = VBLK_SEGMENTS_MAX })
				 .status,
			 VBLK_S_OK);
	/* One more fits the chain when the status is in the last of them. */
	assert_int_equal(vblk_queue_unset(machine.vblk, 0, NULL), 0);
	offered = 0;
	set_header(&machine, VBLK_T_IN);
	desc(&machine, 0, HEADER, 16, N, 1);
	for (i = 1; i < VBLK_SEGMENTS_MAX + 1; i++)
		desc(&machine, i, DATA + i * 1000, 512, N | W, (uint16_t)(i + 1));
	desc(&machine, i, STATUS - 512, 513, W, 0);
	blk_put(&machine, STATUS, &none, 1);
	assert_int_equal(vblk_queue_set(machine.vblk, 0, &ring), 0);
	offer(&machine, 0);
	assert_int_equal(vblk_queue_run(machine.vblk, 0), 1);
	assert_int_equal(status_at(&machine, STATUS), VBLK_S_IOERR);
	blk_machine_fini(&machine);
}

/* A head that comes again while its request is in flight. What is in flight ends as if nothing were. */
static void head_in_flight(void **state)
{
	struct blk_machine machine;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_SPACE });
	reset(&machine);
	good_read(&machine);
	machine.disk.is_held = true;
	offer(&machine, 0);
	assert_int_equal(vblk_queue_run(machine.vblk, 0), 1);
	assert_int_equal(vblk_queue_in_flight(machine.vblk, 0), 1);
	offer(&machine, 0);
	assert_int_equal(vblk_queue_run(machine.vblk, 0), -EBADMSG);
	assert_int_equal(vblk_queue_fault(machine.vblk, 0, NULL), VIRTQ_HEAD_IN_FLIGHT);
	assert_int_equal(vblk_queue_unset(machine.vblk, 0, NULL), -EBUSY);
	blk_disk_release(&machine.disk);
	assert_int_equal(status_at(&machine, STATUS), VBLK_S_OK);
	/* But a broken queue gives nothing back. */
	assert_int_equal(get_le16(&machine, USED + VIRTQ_INDEX), 0);
	assert_int_equal(vblk_queue_in_flight(machine.vblk, 0), 0);
	reset(&machine);
	blk_machine_fini(&machine);
}

/* Rings in a region that goes away. */
static void rings_go_away(void **state)
{
	static const uint64_t parts[] = { DESC, AVAIL, USED };
	struct blk_machine machine;
	struct gm_error error;
	unsigned i, region;

	(void)state;
	for (i = 0; i < 3; i++) {
		blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_SPACE });
		reset(&machine);
		good_read(&machine);
		offer(&machine, 0);
		assert_int_equal(vblk_queue_run(machine.vblk, 0), 1);
		offer(&machine, 0);
		region = (unsigned)((parts[i] - BLK_BASE) / BLK_REGION_BYTES);
		{
			struct gm_update *update = gm_update_begin(machine.space);

			assert_int_equal(gm_update_remove(update, machine.regions[region]), 0);
			assert_int_equal(gm_update_commit(update, &error), 0);
		}
		assert_int_equal(vblk_queue_run(machine.vblk, 0), -EBADMSG);
		assert_int_equal(vblk_queue_fault(machine.vblk, 0, NULL), VIRTQ_UNREACHABLE);
		assert_int_equal(machine.breaks, 1);
		{
			struct gm_update *update = gm_update_begin(machine.space);

			assert_int_equal(gm_space_wait(machine.space, 1000), 0);
			assert_int_equal(gm_update_insert(update, machine.regions[region]), 0);
			assert_int_equal(gm_update_commit(update, &error), 0);
		}
		reset(&machine);
		good_read(&machine);
		offer(&machine, 0);
		assert_int_equal(vblk_queue_run(machine.vblk, 0), 1);
		assert_int_equal(status_at(&machine, STATUS), VBLK_S_OK);
		blk_machine_fini(&machine);
	}
}

/* The flags without the event index. */
static void suppress_by_flags(void **state)
{
	struct blk_machine machine;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .refuse = VBLK_F_EVENT_IDX });
	reset(&machine);
	good_read(&machine);
	offer(&machine, 0);
	assert_int_equal(vblk_queue_run(machine.vblk, 0), 1);
	assert_int_equal(machine.interrupts, 1);
	assert_int_equal(vblk_queue_run(machine.vblk, 0), 0);
	assert_int_equal(machine.interrupts, 1);
	set_le16(&machine, AVAIL + VIRTQ_FLAGS, VIRTQ_AVAIL_F_NO_INTERRUPT);
	offer(&machine, 0);
	assert_int_equal(vblk_queue_run(machine.vblk, 0), 1);
	assert_int_equal(machine.interrupts, 1);
	/* Idle, the device wants to be notified. */
	assert_int_equal(get_le16(&machine, USED + VIRTQ_FLAGS), 0);
	blk_machine_fini(&machine);
}

static void suppress_by_event(void **state)
{
	struct blk_machine machine;
	unsigned i;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_SPACE });
	reset(&machine);
	good_read(&machine);
	/* The driver asks for a notification at the fifth. */
	set_le16(&machine, AVAIL + VIRTQ_USED_EVENT(SIZE), 4);
	for (i = 0; i < 8; i++) {
		offer(&machine, 0);
		assert_int_equal(vblk_queue_run(machine.vblk, 0), 1);
		assert_int_equal(machine.interrupts, i >= 4);
		/* The device asks for one at the very next. */
		assert_int_equal(get_le16(&machine, USED + VIRTQ_AVAIL_EVENT(SIZE)), i + 1);
	}
	blk_machine_fini(&machine);
}

static void add_late(struct blk_machine *machine, uint64_t at, size_t bytes)
{
	if (at == USED + VIRTQ_AVAIL_EVENT(SIZE) && bytes == 2) {
		machine->on_write = NULL;
		/* Head 0 stands there already. Not through a view: this is inside a call of the region. */
		machine->host[AVAIL + VIRTQ_INDEX - BLK_BASE] = (unsigned char)++offered;
	}
}

/*
 * The driver adds a request after the device found none, and looks whether it is to notify just before the device says so: only the
 * device's second look finds it.
 */
static void late_request(void **state)
{
	struct blk_machine machine;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_CALLBACKS });
	reset(&machine);
	good_read(&machine);
	offer(&machine, 0);
	machine.on_write = add_late;
	assert_int_equal(vblk_queue_run(machine.vblk, 0), 2);
	assert_null(machine.on_write);
	assert_int_equal(get_le16(&machine, USED + VIRTQ_INDEX), 2);
	blk_machine_fini(&machine);
}

/* The same, seen by a driver: one notification for many requests, on both ways. */
static void count_notifications(void **state)
{
	const struct gblk_segment segment = { gm_gpa(DATA), 512 };
	const struct gblk_request request = { .type = VBLK_T_IN, .segments = &segment, .segments_count = 1 };
	struct blk_machine machine;
	struct gblk_result result;
	unsigned round, i, kicks = 0;

	(void)state;
	blk_machine_init(&machine, &(struct blk_opts){ .world = BLK_SPACE });
	assert_int_equal(vblk_queue_run(machine.vblk, 0), 0);
	for (round = 0; round < 10; round++) {
		assert_int_equal(gblk_listen(machine.gblk, 16), 0);
		machine.disk.is_held = true;
		for (i = 0; i < 16; i++) {
			assert_int_equal(gblk_add(machine.gblk, &request), 0);
			kicks += (unsigned)gblk_kick(machine.gblk);
		}
		assert_int_equal(vblk_queue_run(machine.vblk, 0), 16);
		assert_int_equal(machine.interrupts, round);
		blk_disk_release(&machine.disk);
		assert_int_equal(machine.interrupts, round + 1);
		assert_int_equal(gblk_listen(machine.gblk, 16), 1);
		for (i = 0; i < 16; i++)
			assert_int_equal(gblk_reap(machine.gblk, &result), 1);
	}
	assert_int_equal(kicks, 10);
	/* Not at all. */
	assert_int_equal(gblk_listen(machine.gblk, 0), 0);
	assert_int_equal(blk_one(&machine, VBLK_T_IN, 0, DATA, 512), VBLK_S_OK);
	assert_int_equal(machine.interrupts, 10);
	blk_machine_fini(&machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(broken_chains),     cmocka_unit_test(unusual_chains),
		cmocka_unit_test(refused_requests),  cmocka_unit_test(too_many_segments),
		cmocka_unit_test(head_in_flight),    cmocka_unit_test(rings_go_away),
		cmocka_unit_test(suppress_by_flags), cmocka_unit_test(suppress_by_event),
		cmocka_unit_test(late_request),      cmocka_unit_test(count_notifications),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

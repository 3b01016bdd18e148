/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The whole back-end (gm_vu_...) with the block device behind it, against a front-end that says anything: messages that are nearly right, bytes
 * that are none, descriptors of all kinds, rings of its making, memory that shrinks, calls of the system that fail. What has to hold:
 *
 *	- a message is answered when it asks for it, and then once, by an answer of the right kind;
 *	- one on memory that is acknowledged has been done: the space has what it said. One that is refused has changed nothing;
 *	- while there is a log, what is written to a page is in it after gm_vu_log_sync();
 *	- whatever waits goes on when nothing is in flight and nobody is in the memory;
 *	- in the end no descriptor and no mapping is left.
 *
 * Input: operations, each a byte and its numbers. backend_message.c makes messages of them.
 */
#include "backend_message.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sys/fault.h"

/* Longer inputs take longer, and find nothing that shorter ones do not. */
#define OPERATIONS_MAX 120
/* Calls of gm_vu_run() in which a message that nothing holds up is over. */
#define RUNS_MAX 6

/* The front-end's log, as far as it is known for sure. */
struct log {
	int file; /* -1: unknown */
	uint64_t offset, bytes;
};

struct run {
	struct world world;
	struct fuzz_input input;
	struct builder builder;
	struct log log;
	long fault;     /* which of the next things that need memory or the system is told no; 0: none */
	bool is_framed; /* the bytes sent so far are whole messages, and each was dealt with */
};

/* What is in the space: for the moment before and the moment after. */
struct memory {
	uint64_t generation;
	size_t count;
};

static struct memory look(struct run *run)
{
	struct memory memory = { 0, 0 };
	const struct gm_map *map;

	fuzz_check(gm_space_map(run->world.space, "look", &map) == 0);
	memory.generation = gm_map_generation(map);
	memory.count = gm_map_count(map);
	gm_map_unref(map);
	return memory;
}

static bool has_region(const struct gm_map *map, const struct vu_region *region)
{
	const struct gm_region *found = gm_map_find(map, gm_gpa(region->gpa));

	return found != NULL && gm_region_first(found).value == region->gpa &&
	       gm_region_bytes(found) == region->bytes && gm_region_fd_offset(found) == region->offset;
}

/* Whether the space is what an acknowledged message makes of it. */
static bool is_done(struct run *run, const struct sent *sent, const struct memory *before)
{
	const struct gm_map *map;
	bool good = true;
	size_t count;

	fuzz_check(gm_space_map(run->world.space, "look", &map) == 0);
	count = gm_map_count(map);
	if (sent->request == VU_SET_MEM_TABLE) {
		good = count == sent->regions_count;
		for (unsigned i = 0; i < sent->regions_count; i++)
			good = good && has_region(map, &sent->regions[i]);
	} else if (sent->request == VU_ADD_MEM_REG) {
		good = count == before->count + 1 && has_region(map, &sent->regions[0]);
	} else if (sent->request == VU_REM_MEM_REG) {
		good = count + 1 == before->count && gm_map_find(map, gm_gpa(sent->regions[0].gpa)) == NULL;
	}
	gm_map_unref(map);
	return good;
}

/* A region that was added shows the bytes of the file that came with it. */
static void check_bytes(struct run *run, const struct sent *sent)
{
	static uint8_t number;
	const struct vu_region *region = &sent->regions[0];
	uint64_t at = region->gpa + region->bytes - 1, offset = region->offset + region->bytes - 1;
	struct gm_view view;
	uint8_t found = 0;
	int r;

	number++;
	fuzz_check(gm_view_init(&view, run->world.memory, "bytes", 0) == 0);
	gm_view_enter(&view);
	r = gm_write(&view, gm_gpa(at), &number, 1);
	gm_view_leave(&view);
	fuzz_check(gm_view_fini(&view) == 0);
	fuzz_check(r == 0 || r == -GM_EFAULTED);
	if (r == 0)
		fuzz_check(pread(sent->fds[0], &found, 1, (off_t)offset) == 1 && found == number);
}

static void check_memory(struct run *run, const struct sent *sent, const struct memory *before,
			 const struct answer *answer)
{
	struct memory after = look(run);
	bool is_memory = sent->request == VU_SET_MEM_TABLE || sent->request == VU_ADD_MEM_REG ||
			 sent->request == VU_REM_MEM_REG;

	if (!is_memory) {
		fuzz_check(after.generation == before->generation);
	} else if (!answer->is_there) {
		fuzz_check(after.generation == before->generation || is_done(run, sent, before));
	} else if (answer->number != 0) {
		fuzz_check(after.generation == before->generation);
	} else {
		fuzz_check(is_done(run, sent, before));
		if (sent->request == VU_ADD_MEM_REG)
			check_bytes(run, sent);
	}
}

/* Until the message is dealt with: nothing holds it up but what the front-end itself may let go of. */
static void run_until_done(struct run *run)
{
	struct world *world = &run->world;

	gmi_fault_arm(run->fault, ENOMEM);
	for (unsigned i = 0; i < RUNS_MAX && !world->is_over; i++) {
		world->is_over = gm_vu_run(world->vu, NULL) != 0;
		if (world->is_over || !gm_vu_is_waiting(world->vu))
			return;
		world_turn(world);
		if (i >= 1)
			world_let_go(world);
	}
	fuzz_check(world->is_over);
}

static void note_log(struct run *run, const struct sent *sent)
{
	if (sent->request != VU_SET_LOG_BASE)
		return;
	run->log = (struct log){ sent->fds[0], sent->log_offset, sent->log_bytes };
}

/* A whole message, and what comes of it. */
static void do_message(struct run *run)
{
	struct world *world = &run->world;
	uint64_t agreed = gm_vu_protocol_features(world->vu);
	struct memory before;
	struct answer answer;
	struct sent sent;

	builder_read(&run->builder, world, &run->input, &sent);
	before = look(run);
	if (!sent_send(&sent, world->socket)) {
		world->is_over = true;
		return;
	}
	if (!run->is_framed || sent.is_broken) {
		run->is_framed = false;
		run->log.file = -1;
		return;
	}
	run_until_done(run);
	gmi_fault_arm(0, 0);
	answer_receive(&answer, world->socket, sent.request);
	if (world->is_over) {
		fuzz_check(look(run).generation == before.generation || answer.is_there ||
			   is_done(run, &sent, &before));
		return;
	}
	fuzz_check(answer.is_there == sent_wants_answer(&sent, agreed));
	check_memory(run, &sent, &before, &answer);
	note_log(run, &sent);
}

/* Bytes as they come, which may be half a header. What comes of it is only that nothing goes wrong. */
static void do_bytes(struct run *run)
{
	unsigned char bytes[255];
	uint8_t count = fuzz_u8(&run->input);

	fuzz_bytes(&run->input, bytes, count);
	run->is_framed = false;
	run->log.file = -1;
	if (send(run->world.socket, bytes, count, MSG_NOSIGNAL) < 0)
		run->world.is_over = true;
}

static void do_run(struct run *run)
{
	struct world *world = &run->world;

	gmi_fault_arm(run->fault, ENOMEM);
	world->is_over = gm_vu_run(world->vu, NULL) != 0;
	gmi_fault_arm(0, 0);
	answers_drain(world->socket);
}

static enum world_file read_memory_file(struct run *run)
{
	return (enum world_file)(fuzz_u8(&run->input) % (FILE_LOG + 1));
}

/* Guest memory by its file, as a guest writes it: the file does not grow by it. */
static void put(struct run *run, enum world_file which, uint64_t at, const void *data, size_t bytes)
{
	int fd = world_file(&run->world, which);

	if (at + bytes <= 16 * FUZZ_PAGE && lseek(fd, 0, SEEK_END) >= (off_t)(at + bytes))
		fuzz_check(pwrite(fd, data, bytes, (off_t)at) == (ssize_t)bytes);
}

static void do_put(struct run *run)
{
	enum world_file which = read_memory_file(run);
	uint64_t at = fuzz_number(&run->input) + fuzz_u8(&run->input);
	unsigned char bytes[64];
	uint8_t count = fuzz_u8(&run->input) % 64;

	fuzz_bytes(&run->input, bytes, count);
	if (at < 16 * FUZZ_PAGE)
		put(run, which, at, bytes, count);
}

/* A descriptor table with one good request in a page, and its rings: where seeds put them, too. */
static void do_request(struct run *run)
{
	enum world_file which = read_memory_file(run);
	uint64_t page = fuzz_u8(&run->input) % 16 * FUZZ_PAGE, gpa = fuzz_number(&run->input);
	uint8_t type = fuzz_u8(&run->input);
	struct vblk_header header = { .type = gm_le32(type), .sector = gm_le64(fuzz_u8(&run->input)) };
	bool reads = type != VBLK_T_OUT && type != VBLK_T_DISCARD && type != VBLK_T_WRITE_ZEROES;
	struct virtq_desc table[3] = {
		{ gm_le64(gpa + 0xc00), gm_le32(sizeof(header)), gm_le16(VIRTQ_DESC_F_NEXT), gm_le16(1) },
		{ gm_le64(fuzz_number(&run->input)), gm_le32((uint32_t)fuzz_number(&run->input)),
		  gm_le16(VIRTQ_DESC_F_NEXT | (reads ? VIRTQ_DESC_F_WRITE : 0)), gm_le16(2) },
		{ gm_le64(gpa + 0xd00), gm_le32(1), gm_le16(VIRTQ_DESC_F_WRITE), gm_le16(0) },
	};
	const struct gm_le16 index = gm_le16(fuzz_u8(&run->input));

	put(run, which, page, table, sizeof(table));
	put(run, which, page + 0xc00, &header, sizeof(header));
	put(run, which, page + 0x402, &index, sizeof(index));
}

/* Its memory shrinks, grows, or has holes. */
static void do_resize(struct run *run)
{
	int fd = world_file(&run->world, read_memory_file(run));
	uint64_t pages = fuzz_u8(&run->input) % 17;

	if (fuzz_u8(&run->input) & 1)
		(void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(pages * FUZZ_PAGE),
				 (off_t)FUZZ_PAGE);
	else
		(void)!ftruncate(fd, (off_t)(pages * FUZZ_PAGE));
}

/* The device writes a byte, and the log has to tell. */
static void do_write(struct run *run)
{
	struct world *world = &run->world;
	uint64_t at = fuzz_number(&run->input), page = at / FUZZ_PAGE;
	bool logs = gm_vu_is_logging(world->vu) && run->log.file >= 0 && page / 8 < run->log.bytes;
	uint8_t byte = 0x77;
	struct gm_view view;
	int r;

	if (gm_view_init(&view, world->memory, "writer", 0) != 0)
		return;
	gm_view_enter(&view);
	r = gm_write(&view, gm_gpa(at), &byte, 1);
	gm_view_leave(&view);
	fuzz_check(gm_view_fini(&view) == 0);
	if (r != 0 || !logs || gm_vu_log_sync(world->vu) != 0)
		return;
	/* A log that shrank has nothing to say. */
	if (pread(run->log.file, &byte, 1, (off_t)(run->log.offset + page / 8)) == 1)
		fuzz_check(byte & 1u << page % 8);
}

static void do_other(struct run *run, uint8_t operation)
{
	struct world *world = &run->world;

	switch (operation) {
	case 0:
		world_turn(world);
		break;
	case 1:
		world->is_disk_held = true;
		break;
	case 2:
		world_let_go(world);
		break;
	case 3:
		world_hold(world);
		break;
	case 4:
		(void)!gm_vu_log_sync(world->vu);
		break;
	default:
		if (world->socket >= 0)
			close(world->socket);
		world->socket = -1;
		(void)!gm_vu_run(world->vu, NULL);
		world->is_over = true;
		break;
	}
}

static void do_operation(struct run *run)
{
	uint8_t operation = fuzz_u8(&run->input);

	run->fault = operation >= 0xc0 ? 1 + (operation - 0xc0) / 16 + fuzz_u8(&run->input) % 16 : 0;
	operation %= 16;
	switch (operation) {
	case 8:
		do_bytes(run);
		break;
	case 9:
		do_run(run);
		break;
	case 10:
		do_put(run);
		break;
	case 11:
		do_request(run);
		break;
	case 12:
		do_resize(run);
		break;
	case 13:
		do_write(run);
		break;
	case 14:
		do_other(run, fuzz_u8(&run->input) % 6);
		break;
	case 15:
		world_turn(&run->world);
		break;
	default:
		do_message(run);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct run run = { .input = { data, bytes }, .log = { .file = -1 }, .is_framed = true };

	if (!world_open(&run.world))
		return 1;
	for (unsigned i = 0; i < OPERATIONS_MAX && run.input.left > 0 && !run.world.is_over; i++)
		do_operation(&run);
	world_close(&run.world);
	return 0;
}

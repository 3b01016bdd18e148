/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The front-end's side (gm_vu_front_...) over a space that changes, against a back-end whose answers are the input's. What has to hold:
 *
 *	- what it sends is right: front_peer.c reads it with the parser of the back-end's side, and keeps a table by it;
 *	- while the connection is good, after each call: that table is the space's memory, and rings that run stand in it;
 *	- a page that the back-end logs is dirty after gm_vu_front_log_sync();
 *	- calls that fail when the connection does say why; and when all is over, no descriptor and no mapping is left.
 *
 * Input: a byte for what is not negotiated, then operations, each a byte and its numbers, between them what the back-end answers.
 */
#include "front_peer.h"
#include "left.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <guestmem/vhost_user_front.h>

#include "sys/fault.h"

/* Longer inputs take longer, and find nothing that shorter ones do not. */
#define OPERATIONS_MAX 60
#define THINGS_MAX     24
#define FILE_PAGES     16
#define F_LOG_ALL      (UINT64_C(1) << 26)

struct thing {
	struct gm_region *region; /* NULL: not made */
	bool stands;              /* in the space */
};

struct run {
	struct fuzz_input input;
	struct peer peer;
	struct gm_space *space;
	struct gm_vu_front *front;
	struct thing things[THINGS_MAX];
	unsigned made; /* for names */
	bool is_attached;
	bool refuses;     /* the listener that comes after the front-end's */
	bool has_refuser; /* there is one */
	struct gm_dirty_reader
		*reader; /* of a region of which the back-end has logged a page; NULL: nothing to expect */
	uint64_t logged; /* where in it */
	int file, event;
};

static bool is_good(struct run *run)
{
	return !run->peer.is_closed && gm_vu_front_failure(run->front, NULL) == 0;
}

/* What a failed call leaves: a reason, and the same for ever. */
static void check_failure(struct run *run)
{
	struct gm_error error = { 0, "" };
	int r = gm_vu_front_failure(run->front, &error);

	fuzz_check(r <= 0);
	if (r != 0)
		fuzz_check(error.code == r && error.text[0] != '\0');
}

/* Whether a back-end has to know it. */
static bool is_shown(const struct gm_region *region)
{
	return gm_region_kind(region) == GM_RAM && (gm_region_prot(region) & GM_WRITE);
}

static bool peer_has(const struct run *run, const struct gm_region *region)
{
	struct stat status;

	fuzz_check(fstat(gm_region_fd(region), &status) == 0);
	for (unsigned i = 0; i < run->peer.count; i++) {
		const struct peer_region *one = &run->peer.regions[i];

		if (one->region.gpa == gm_region_first(region).value && one->region.bytes == gm_region_bytes(region) &&
		    one->region.uva == (uintptr_t)gm_region_hva(region) &&
		    one->region.offset == gm_region_fd_offset(region) && one->inode == status.st_ino)
			return true;
	}
	return false;
}

static void check_table(struct run *run)
{
	const struct gm_region *region = NULL;
	const struct gm_map *map;
	unsigned count = 0;

	fuzz_check(gm_space_map(run->space, "check", &map) == 0);
	while (run->is_attached && (region = gm_map_next(map, region)) != NULL) {
		if (!is_shown(region))
			continue;
		fuzz_check(peer_has(run, region));
		count++;
	}
	fuzz_check(run->peer.count == count);
	gm_map_unref(map);
}

static bool peer_knows(const struct run *run, uint64_t uva, uint64_t bytes)
{
	for (unsigned i = 0; i < run->peer.count; i++) {
		const struct vu_region *region = &run->peer.regions[i].region;

		if (uva >= region->uva && uva - region->uva < region->bytes &&
		    bytes <= region->bytes - (uva - region->uva))
			return true;
	}
	return false;
}

static void check_rings(struct run *run)
{
	for (unsigned i = 0; i < sizeof(run->peer.rings) / sizeof(run->peer.rings[0]); i++) {
		const struct peer_ring *ring = &run->peer.rings[i];

		if (!ring->runs)
			continue;
		fuzz_check(peer_knows(run, ring->desc, UINT64_C(16) * ring->size));
		fuzz_check(peer_knows(run, ring->avail, 6 + UINT64_C(2) * ring->size));
		fuzz_check(peer_knows(run, ring->used, 6 + UINT64_C(8) * ring->size));
	}
}

/*
 * Operations
 */

/* Of most kinds that there are; some can't be handed over, and some are none of a device's business. */
static struct gm_region *new_region(struct run *run)
{
	uint8_t form = fuzz_u8(&run->input);
	struct gm_region *region = NULL;
	char name[GM_NAME_MAX];
	struct gm_region_opts opts = { .size = sizeof(opts), .name = name, .source = GM_SOURCE_MEMFD };

	snprintf(name, sizeof(name), "r%u", run->made++);
	opts.first = gm_gpa(fuzz_number(&run->input) & ~(FUZZ_PAGE - 1));
	opts.bytes = (1 + fuzz_u8(&run->input) % 8) * FUZZ_PAGE;
	opts.dirty_page_bytes = form & 0x40 ? FUZZ_PAGE : 0;
	switch (form % 16) {
	case 8:
		opts.source = GM_SOURCE_ANON;
		break;
	case 9:
		opts.kind = GM_FIRMWARE;
		break;
	case 10:
	case 11:
		opts.source = GM_SOURCE_FD;
		opts.fd = run->file;
		opts.fd_offset = fuzz_u8(&run->input) % FILE_PAGES * FUZZ_PAGE;
		opts.flags = form % 16 == 10 ? GM_REGION_COW : GM_REGION_ALIAS;
		break;
	case 12:
		opts.prot = GM_READ;
		break;
	case 13:
		opts.kind = GM_RESERVED;
		opts.source = GM_SOURCE_NONE;
		opts.dirty_page_bytes = 0;
		break;
	case 14:
		opts.kind = GM_DAX;
		break;
	default:
		break;
	}
	return gm_region_new(&opts, &region, NULL) == 0 ? region : NULL;
}

/* Some that stand go, some that do not come; the back-end may make it fail. */
static void do_update(struct run *run)
{
	struct gm_update *update = gm_update_begin(run->space);
	uint8_t count = 1 + fuzz_u8(&run->input) % 4;
	bool changes[THINGS_MAX] = { false };
	int r;

	for (uint8_t i = 0; i < count; i++) {
		unsigned which = fuzz_u8(&run->input) % THINGS_MAX;
		struct thing *thing = &run->things[which];

		if (thing->region == NULL)
			thing->region = new_region(run);
		if (thing->region == NULL || changes[which])
			continue;
		changes[which] = true;
		if (thing->stands)
			(void)!gm_update_remove(update, thing->region);
		else
			(void)!gm_update_insert(update, thing->region);
	}
	r = gm_update_commit(update, NULL);
	for (unsigned i = 0; i < THINGS_MAX && r == 0; i++)
		run->things[i].stands = run->things[i].stands != changes[i];
}

static void do_ring_start(struct run *run)
{
	uint8_t form = fuzz_u8(&run->input);
	uint64_t at = fuzz_number(&run->input);
	struct gm_vu_front_ring ring = {
		.desc = gm_gpa(at),
		.avail = gm_gpa(form & 4 ? fuzz_number(&run->input) : at + 0x400),
		.used = gm_gpa(form & 8 ? fuzz_number(&run->input) : at + 0x800),
		.size = form & 16 ? (uint32_t)fuzz_number(&run->input) : 16,
		.next = form & 32 ? fuzz_u16(&run->input) : 0,
		.kick_fd = form & 64 ? -1 : run->event,
		.call_fd = run->event,
		.err_fd = form & 128 ? -1 : run->event,
	};
	struct gm_error error = { 0, "" };
	int r = gm_vu_front_ring_start(run->front, form % 4, &ring, &error);

	fuzz_check(r == 0 || (r < 0 && error.code == r && error.text[0] != '\0'));
}

static void do_ring_stop(struct run *run)
{
	unsigned queue = fuzz_u8(&run->input) % 4;
	struct gm_error error = { 0, "" };
	uint16_t next;
	int r = gm_vu_front_ring_stop(run->front, queue, &next, &error);

	fuzz_check(r == 0 || (r < 0 && error.code == r && error.text[0] != '\0'));
	if (r == 0 && is_good(run))
		fuzz_check(!run->peer.rings[queue].runs);
}

/* What was logged is dirty by now, whatever has become of the region and of the log since. */
static void expect_logged(struct run *run)
{
	if (run->reader != NULL && is_good(run))
		fuzz_check(gm_dirty_is_marked(run->reader, gm_offset(run->logged)));
	gm_dirty_reader_free(run->reader);
	run->reader = NULL;
}

/* The back-end logs a page of some region. */
static void log_page(struct run *run, const struct gm_region *region, uint64_t offset)
{
	uint64_t page = (gm_region_first(region).value + offset) / FUZZ_PAGE;
	uint8_t byte;

	if (gm_dirty_reader_new(gm_region_dirty(region), &run->reader) != 0)
		return;
	run->logged = offset;
	/* The log is as long as the memory that is logged. */
	fuzz_check(page / 8 < run->peer.log_bytes);
	fuzz_check(pread(run->peer.log, &byte, 1, (off_t)(page / 8)) == 1);
	byte |= (uint8_t)(1u << page % 8);
	fuzz_check(pwrite(run->peer.log, &byte, 1, (off_t)(page / 8)) == 1);
}

/* By its first byte: anything is written into the log, a page is logged, it is looked at. */
static void do_log_page(struct run *run)
{
	uint8_t form = fuzz_u8(&run->input);
	const struct thing *thing = &run->things[form % THINGS_MAX];
	uint64_t offset = fuzz_u8(&run->input) % 8 * FUZZ_PAGE;
	unsigned char junk[16];

	if (run->peer.log < 0 || !(run->peer.features & F_LOG_ALL) || !is_good(run) || !run->is_attached) {
		(void)!gm_vu_front_log_sync(run->front);
		return;
	}
	/* Not over what is to be looked for. */
	if (form >= 0xc0 && run->reader == NULL) {
		fuzz_bytes(&run->input, junk, sizeof(junk));
		(void)!pwrite(run->peer.log, junk, sizeof(junk), 0);
	}
	if (run->reader == NULL && thing->stands && is_shown(thing->region) && gm_region_dirty(thing->region) != NULL &&
	    offset < gm_region_bytes(thing->region))
		log_page(run, thing->region, offset);
	/* Else later: until then the log may be replaced, or the region removed. */
	if (!(form & 0x20) && gm_vu_front_log_sync(run->front) == 0)
		expect_logged(run);
}

static void do_log(struct run *run)
{
	bool on = fuzz_u8(&run->input) & 1;

	if (gm_vu_front_log(run->front, on, NULL) == 0 && !on)
		expect_logged(run);
}

static void do_config(struct run *run)
{
	uint32_t offset = fuzz_u8(&run->input), bytes = fuzz_u8(&run->input);
	unsigned char data[256] = { 0 };
	struct gm_error error = { 0, "" };
	int r;

	if (fuzz_u8(&run->input) & 1)
		r = gm_vu_front_config_read(run->front, offset, data, bytes, &error);
	else
		r = gm_vu_front_config_write(run->front, offset, data, bytes, &error);
	fuzz_check(r == 0 || (r < 0 && error.code == r && error.text[0] != '\0'));
}

static int refuse(void *opaque, const struct gm_change *change, struct gm_error *error)
{
	const struct run *run = opaque;

	(void)change, (void)error;
	return run->refuses ? -EPERM : 0;
}

static void do_attach(struct run *run)
{
	struct gm_listener refuser = { .size = sizeof(refuser), .name = "refuser", .opaque = run, .prepare = refuse };
	struct gm_error error = { 0, "" };
	int r = gm_vu_front_attach(run->front, run->space, &error);

	fuzz_check(r <= 0 && (!run->is_attached || r != 0));
	run->is_attached = run->is_attached || r == 0;
	if (!run->has_refuser && r == 0)
		run->has_refuser = gm_space_add_listener(run->space, &refuser, NULL) == 0;
}

static void do_detach(struct run *run)
{
	int r = gm_vu_front_detach(run->front);

	fuzz_check(r <= 0 && (run->is_attached || r != 0));
	run->is_attached = run->is_attached && r != 0;
}

static void do_operation(struct run *run)
{
	uint8_t operation = fuzz_u8(&run->input);
	uint8_t fault = operation >= 0xe0 ? 1 + fuzz_u8(&run->input) % 32 : 0;

	gmi_fault_arm(fault, ENOMEM);
	switch (operation % 16) {
	case 0:
		do_attach(run);
		break;
	case 1:
		do_detach(run);
		break;
	case 2:
	case 3:
		do_ring_start(run);
		break;
	case 4:
		do_ring_stop(run);
		break;
	case 5:
		do_log(run);
		break;
	case 6:
		do_log_page(run);
		break;
	case 7:
		do_config(run);
		break;
	case 8:
		(void)!gm_vu_front_set_features(run->front, fuzz_u64(&run->input), NULL);
		break;
	case 9:
		(void)!gm_vu_front_set_features(run->front, gm_vu_front_features(run->front), NULL);
		break;
	case 15:
		run->refuses = !run->refuses;
		break;
	default:
		do_update(run);
		break;
	}
	gmi_fault_arm(0, 0);
	check_failure(run);
	if (is_good(run)) {
		check_table(run);
		check_rings(run);
	}
}

static void do_all(struct run *run)
{
	for (unsigned i = 0; i < OPERATIONS_MAX && run->input.left > 0; i++)
		do_operation(run);
	gm_vu_front_free(run->front);
}

static void open_run(struct run *run, int *ret_front)
{
	int ends[2];

	fuzz_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	fuzz_check(gm_space_new(NULL, &run->space, NULL) == 0);
	run->file = memfd_create("shared", MFD_CLOEXEC);
	run->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fuzz_check(run->file >= 0 && run->event >= 0 && ftruncate(run->file, FILE_PAGES * FUZZ_PAGE) == 0);
	peer_open(&run->peer, ends[0], ends[1], &run->input);
	*ret_front = ends[0];
}

static void close_run(struct run *run)
{
	peer_close(&run->peer);
	gm_dirty_reader_free(run->reader);
	run->refuses = false;
	if (run->has_refuser)
		fuzz_check(gm_space_remove_listener(run->space, "refuser") == 0);
	gm_space_unref(run->space);
	for (unsigned i = 0; i < THINGS_MAX; i++)
		gm_region_unref(run->things[i].region);
	close(run->file);
	close(run->event);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct run run = { .input = { data, bytes } };
	struct gm_vu_front_opts opts = { .size = sizeof(opts) };
	struct gm_error error = { 0, "" };
	struct left left;
	int front, r;

	left_look(&left);
	open_run(&run, &front);
	/* Each bit takes one protocol feature away. */
	for (uint8_t without = fuzz_u8(&run.input), bit = 0; bit < 8; bit++)
		opts.without |= without & 1u << bit ? UINT64_C(3) << bit * 2 : 0;
	r = gm_vu_front_new(front, &opts, &run.front, &error);
	if (r == 0) {
		do_all(&run);
	} else {
		fuzz_check(r < 0 && error.code == r && error.text[0] != '\0');
		close(front);
	}
	close_run(&run);
	left_check(&left);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A queue's driver: makes requests of random kind, size and place, puts what is to be written into guest memory, and compares what
 * was read with what the image has to hold. A request leases a cell of guest memory and an extent of the disk, so nothing else
 * touches either while it is under way.
 *
 * When memory is pulled out under a request, the device meets a hole and refuses it whole. That is right, and expected for a cell
 * whose slot is leaving, and for no other; such a request is sent again from another cell. Bytes that arrived in memory
 * that is gone by the time they are compared are compared past the map.
 */
#include <guest_blk.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run.h"

/* How long the device may have a request before the run is given up: longer than any disk, shorter than patience. */
#define STUCK_NS      UINT64_C(60000000000)
#define REQUEST_BYTES (REQUEST_SECTORS_MAX * SECTOR_BYTES)
#define FLUSH_ONE_IN  200
#define ZEROES_ONE_IN 60
#define POISON        0xdb

enum state { IDLE, WAITING, SENT };

struct request {
	enum state state;
	uint32_t type;
	uint64_t sector;
	uint32_t sectors;
	int64_t extent; /* -1: none */
	uint32_t version;
	struct cell *cell; /* NULL: none */
	struct gblk_segment segments[RUN_SEGMENTS_MAX];
	uint32_t segments_count;
	uint64_t sent_ns;
};

struct driver {
	struct queue *queue;
	struct run *run;
	struct gm_view view;
	struct random random;
	struct request requests[RUN_DEPTH_MAX];
	unsigned in_flight;
	unsigned char *data, *wanted; /* REQUEST_BYTES each */
	struct failure failure;
};

/* What kind, and where on the disk. Return: false when no extent is free. */
static bool choose(struct driver *driver, struct request *request)
{
	struct image *image = &driver->run->image;
	bool writes = image->mode != IMAGE_READ_ONLY;
	uint64_t first, left;

	*request = (struct request){ .extent = -1, .type = VBLK_T_FLUSH };
	if (random_below(&driver->random, FLUSH_ONE_IN) == 0)
		return true;
	request->extent = image_lease(image, &driver->random);
	if (request->extent < 0)
		return false;
	first = (uint64_t)request->extent * image->extent_sectors;
	left = image->sectors - first < image->extent_sectors ? image->sectors - first : image->extent_sectors;
	request->sector = random_below(&driver->random, left);
	left -= request->sector;
	request->sector += first;
	/* Half of them small: as many requests as bytes are to be tried. */
	request->sectors = (uint32_t)random_below(&driver->random, random_below(&driver->random, 2) ? 16 : left) + 1;
	if (request->sectors > left)
		request->sectors = (uint32_t)left;
	if (request->sectors > REQUEST_SECTORS_MAX)
		request->sectors = REQUEST_SECTORS_MAX;
	request->type = writes && random_below(&driver->random, 5) < 2 ? VBLK_T_OUT : VBLK_T_IN;
	if (writes && random_below(&driver->random, ZEROES_ONE_IN) == 0)
		request->type = VBLK_T_WRITE_ZEROES;
	if (request->type == VBLK_T_OUT)
		request->version = image_new_version(image);
	else if (request->type == VBLK_T_WRITE_ZEROES)
		request->version = VERSION_ZEROED;
	return true;
}

static bool has_data(const struct request *request)
{
	return request->type == VBLK_T_IN || request->type == VBLK_T_OUT;
}

/* The last sector of an image that ends inside it: the device fills it in two steps, which may see two maps. */
static bool has_tail(const struct image *image, const struct request *request)
{
	return image->bytes % SECTOR_BYTES && request->sector + request->sectors == image->sectors;
}

/*
 * Where a request's buffers begin, and by how much they may lie apart: anywhere in the cell. But in a cell that has borders every
 * other request is put side by side over one of them: left to chance, few buffers would cross any.
 */
static uint64_t place_first(struct driver *driver, const struct cell *cell, uint64_t bytes, uint64_t *ret_slack)
{
	const struct plot *plots = &driver->run->ground.plots[cell->plot];
	uint64_t border, offset;

	*ret_slack = cell->bytes - bytes;
	if (cell->plots == 1 || random_below(&driver->random, 2) == 0)
		return cell->first.value;
	border = plots[1 + random_below(&driver->random, cell->plots - 1)].range.first.value - cell->first.value;
	offset = random_below(&driver->random, bytes);
	offset = border > offset ? border - offset : 0;
	offset = offset < *ret_slack ? offset : *ret_slack;
	*ret_slack = 0;
	return cell->first.value + offset;
}

/* Cuts a request's bytes into pieces without overlap, in any order. */
static void place(struct driver *driver, struct request *request)
{
	uint64_t left = (uint64_t)request->sectors * SECTOR_BYTES, slack;
	uint32_t count = 1 + (uint32_t)random_below(&driver->random, RUN_SEGMENTS_MAX);
	uint64_t at = place_first(driver, request->cell, left, &slack);

	for (uint32_t i = 0; i < count; i++) {
		uint32_t rest = count - i - 1;
		uint64_t gap = random_below(&driver->random, slack / (rest + 1) + 1);
		uint64_t bytes = rest ? 1 + random_below(&driver->random, left - rest) : left;

		slack -= gap;
		at += gap;
		request->segments[i] = (struct gblk_segment){ gm_gpa(at), (uint32_t)bytes };
		at += bytes;
		left -= bytes;
	}
	for (uint32_t i = count; i > 1; i--) {
		uint32_t other = (uint32_t)random_below(&driver->random, i);
		struct gblk_segment segment = request->segments[i - 1];

		request->segments[i - 1] = request->segments[other];
		request->segments[other] = segment;
	}
	request->segments_count = count;
}

/* Leases memory for a request and fits it in. Return: false when no cell is free. */
static bool settle(struct driver *driver, struct request *request)
{
	struct run *run = driver->run;

	request->cell = cells_lease(&run->cells, &driver->random, has_tail(&run->image, request));
	if (!request->cell)
		return false;
	/* A small machine has small cells. An extent is leased as a whole: to take less of it is fine. */
	if (request->sectors > request->cell->bytes / 2 / SECTOR_BYTES)
		request->sectors = (uint32_t)(request->cell->bytes / 2 / SECTOR_BYTES);
	place(driver, request);
	return true;
}

/* What is to be written goes into guest memory as a driver would put it there. Return: 1; 0 at a hole; -1. */
static int put_data(struct driver *driver, struct request *request)
{
	struct run *run = driver->run;
	const unsigned char *data = driver->data;
	int r = 0;

	for (uint32_t i = 0; i < request->sectors; i++)
		image_pattern(&run->image, request->sector + i, request->version, driver->data + i * SECTOR_BYTES);
	gm_view_enter(&driver->view);
	for (uint32_t i = 0; i < request->segments_count && r == 0; i++) {
		const struct gblk_segment *segment = &request->segments[i];

		r = gm_write(&driver->view, segment->at, data, segment->bytes);
		if (r == 0)
			ground_record(&run->ground, segment->at, segment->bytes);
		data += segment->bytes;
	}
	gm_view_leave(&driver->view);
	if (r == 0)
		return 1;
	if (r == -GM_EHOLE && cells_is_leaving(&run->cells, request->cell))
		return 0;
	return fail(&driver->failure, STATUS_WRONG, "the driver can't write guest memory at 0x%llx: %s",
		    (unsigned long long)request->segments[0].at.value, strerror(-r));
}

static void let_go(struct driver *driver, struct request *request)
{
	if (request->cell)
		cells_release(&driver->run->cells, request->cell);
	request->cell = NULL;
}

/* Hand it to the device. Return: 1; 0 when it has to wait for memory; -1. */
static int send(struct driver *driver, struct request *request)
{
	struct gblk_request add = { .type = request->type, .sector = request->sector };
	struct vblk_range range;
	int r = 1;

	request->state = WAITING;
	if (has_data(request)) {
		if (!settle(driver, request))
			return 0;
		if (request->type == VBLK_T_OUT)
			r = put_data(driver, request);
		else
			for (uint32_t i = 0; i < request->segments_count; i++)
				ground_poison(&driver->run->ground, request->segments[i].at, POISON,
					      request->segments[i].bytes);
		if (r <= 0) {
			let_go(driver, request);
			run_count(&driver->run->counts.refused, r == 0);
			return r;
		}
		add.segments = request->segments;
		add.segments_count = request->segments_count;
	} else if (request->type == VBLK_T_WRITE_ZEROES) {
		range.sector = gm_le64(request->sector);
		range.sectors = gm_le32(request->sectors);
		range.flags = gm_le32(0);
		add.ranges = &range;
		add.ranges_count = 1;
	}
	add.cookie = (uint64_t)(request - driver->requests);
	request->sent_ns = now_ns();
	r = gblk_add(driver->queue->gblk, &add);
	if (r < 0)
		return fail(&driver->failure, STATUS_WRONG, "the driver can't add a request: %s", strerror(-r));
	request->state = SENT;
	driver->in_flight++;
	return 1;
}

static int differ(struct driver *driver, const struct request *request)
{
	uint64_t i = 0;

	/* Of an image that somebody cut or replaced, this is what is to be said. */
	if (image_watch(&driver->run->image, &driver->failure) < 0)
		return -1;
	while (driver->data[i] == driver->wanted[i])
		i++;
	return fail(&driver->failure, STATUS_WRONG, "byte 0x%llx of the disk was read as 0x%02x and is 0x%02x",
		    (unsigned long long)(request->sector * SECTOR_BYTES + i), driver->data[i], driver->wanted[i]);
}

/* Segment by segment through the view, as a guest looks; past the map where a slot went meanwhile. */
static int compare(struct driver *driver, struct request *request)
{
	struct run *run = driver->run;
	uint64_t offset = 0;
	int r = 0;

	if (image_expect(&run->image, request->sector, request->sectors, driver->wanted, &driver->failure) < 0)
		return -1;
	gm_view_enter(&driver->view);
	for (uint32_t i = 0; i < request->segments_count && r == 0; i++) {
		const struct gblk_segment *segment = &request->segments[i];

		r = gm_read(&driver->view, segment->at, driver->data + offset, segment->bytes);
		if (r == -GM_EHOLE && cells_is_leaving(&run->cells, request->cell)) {
			ground_peek(&run->ground, segment->at, driver->data + offset, segment->bytes);
			r = 0;
		}
		offset += segment->bytes;
	}
	gm_view_leave(&driver->view);
	if (r < 0)
		return fail(&driver->failure, STATUS_WRONG, "the driver can't read guest memory: %s", strerror(-r));
	return memcmp(driver->data, driver->wanted, offset) ? differ(driver, request) : 0;
}

/* A request that went well: compare, or note what the disk holds now. */
static int settle_good(struct driver *driver, struct request *request, const struct gblk_result *result)
{
	struct counts *counts = &driver->run->counts;
	struct image *image = &driver->run->image;
	uint64_t bytes = (uint64_t)request->sectors * SECTOR_BYTES;
	bool reads = request->type == VBLK_T_IN;

	if (has_data(request) && result->bytes != (reads ? bytes + 1 : 1))
		return fail(&driver->failure, STATUS_WRONG, "the device says that it wrote %u bytes for a %s of %llu",
			    result->bytes, reads ? "read" : "write", (unsigned long long)bytes);
	for (uint32_t i = 0; has_data(request) && i < request->segments_count; i++) {
		const struct gblk_segment *segment = &request->segments[i];
		struct plot *plot = ground_find(&driver->run->ground, segment->at);

		/* What the driver wrote is recorded already; this is what the device did. */
		if (reads)
			ground_record(&driver->run->ground, segment->at, segment->bytes);
		run_count(&counts->crossings, segment->bytes - 1 > plot->range.last.value - segment->at.value);
	}
	if (reads && compare(driver, request) < 0)
		return -1;
	for (uint32_t i = 0; !reads && i < request->sectors; i++)
		image->versions[request->sector + i] = request->version;
	run_count(&counts->requests, 1);
	run_count(&counts->flushes, request->type == VBLK_T_FLUSH);
	run_count(&counts->zeroes, request->type == VBLK_T_WRITE_ZEROES);
	if (has_data(request))
		run_count(reads ? &counts->read_bytes : &counts->written_bytes, bytes);
	return 0;
}

/* Return: 0; -1. */
static int refuse(struct driver *driver, const struct request *request, uint8_t status)
{
	struct run *run = driver->run;
	struct vblk_error error;

	if (status == VBLK_S_IOERR && request->cell && cells_is_leaving(&run->cells, request->cell))
		return 0;
	if (image_watch(&run->image, &driver->failure) < 0)
		return -1;
	vblk_queue_error(run->vblk, driver->queue->index, &error);
	return fail(&driver->failure, STATUS_WRONG, "the device failed a request at sector %llu with status %u%s%s",
		    (unsigned long long)request->sector, status, error.code ? ": the disk said " : "",
		    error.code ? strerror(-error.code) : "");
}

static int finish(struct driver *driver, const struct gblk_result *result)
{
	struct request *request = &driver->requests[result->cookie];
	int r;

	driver->in_flight--;
	if (result->status != VBLK_S_OK) {
		r = refuse(driver, request, result->status);
		let_go(driver, request);
		request->state = WAITING;
		run_count(&driver->run->counts.refused, 1);
		return r;
	}
	latency_add(&driver->queue->latency, now_ns() - request->sent_ns);
	r = settle_good(driver, request, result);
	let_go(driver, request);
	if (request->extent >= 0)
		image_release(&driver->run->image, (uint64_t)request->extent);
	request->state = IDLE;
	return r;
}

/* Keeps the queue filled, waiting requests first: they hold extents. Return: 0; -1. */
static int fill(struct driver *driver)
{
	bool stopping = run_is_stopping(driver->run);
	uint64_t one = 1;
	int r = 1;

	for (unsigned i = 0; i < driver->run->options->depth && r >= 0; i++) {
		struct request *request = &driver->requests[i];

		if (request->state == IDLE && !stopping && choose(driver, request))
			r = send(driver, request);
		else if (request->state == WAITING)
			r = send(driver, request);
	}
	if (r < 0)
		return r;
	r = gblk_kick(driver->queue->gblk);
	if (r < 0)
		return fail(&driver->failure, STATUS_WRONG, "the driver can't notify the device: %s", strerror(-r));
	if (r > 0 && write(driver->queue->kick, &one, sizeof(one)) < 0)
		return fail(&driver->failure, STATUS_MISSING, "the device can't be notified");
	return 0;
}

static bool has_waiting(const struct driver *driver)
{
	for (unsigned i = 0; i < driver->run->options->depth; i++)
		if (driver->requests[i].state == WAITING)
			return true;
	return false;
}

/* Takes what is done. Return: how many; -1. */
static int reap(struct driver *driver)
{
	struct gblk_result result;
	int count = 0, r;

	while ((r = gblk_reap(driver->queue->gblk, &result)) > 0) {
		if (finish(driver, &result) < 0)
			return -1;
		count++;
	}
	if (r < 0)
		return fail(&driver->failure, STATUS_WRONG, "the device's used ring makes no sense: %s", strerror(-r));
	return count;
}

/* Sleeps until the device says that something is done. Return: 0; -1 when it is stuck. */
static int await(struct driver *driver)
{
	struct pollfd done = { .fd = driver->queue->done, .events = POLLIN };
	uint64_t count, oldest = UINT64_MAX;
	int r = gblk_listen(driver->queue->gblk, 1);

	if (r < 0)
		return fail(&driver->failure, STATUS_WRONG, "the driver can't listen: %s", strerror(-r));
	if (r > 0)
		return 0;
	if (poll(&done, 1, 100) > 0 && read(driver->queue->done, &count, sizeof(count)) < 0)
		return 0;
	for (unsigned i = 0; i < driver->run->options->depth; i++)
		if (driver->requests[i].state == SENT && driver->requests[i].sent_ns < oldest)
			oldest = driver->requests[i].sent_ns;
	if (oldest != UINT64_MAX && now_ns() > oldest && now_ns() - oldest > STUCK_NS)
		return fail(&driver->failure, STATUS_WRONG, "the device has held a request for a minute");
	return 0;
}

static int work(struct driver *driver)
{
	while (!run_is_stopping(driver->run) || driver->in_flight || has_waiting(driver)) {
		int r = fill(driver);

		if (r == 0)
			r = reap(driver);
		if (r == 0 && driver->in_flight)
			r = await(driver);
		else if (r == 0)
			sched_yield(); /* all memory, or all of the disk, is leased by others */
		if (r < 0)
			return r;
		/* Another thread's failure: what is in flight does not matter any more. */
		if (run_is_stopping(driver->run) && run_has_failed(driver->run))
			return 0;
	}
	return 0;
}

/* What a failure left in flight. The device may still be at it. */
static void abandon(struct driver *driver)
{
	for (unsigned i = 0; i < RUN_DEPTH_MAX; i++)
		if (driver->requests[i].cell)
			cells_abandon(&driver->run->cells, driver->requests[i].cell);
}

void *driver_main(void *opaque)
{
	struct queue *queue = opaque;
	struct driver *driver = calloc(1, sizeof(*driver));
	struct failure failure = { 0 };
	char name[32];
	int r;

	if (!driver) {
		fail(&failure, STATUS_MISSING, "no memory for a driver");
		run_fail(queue->run, &failure);
		return NULL;
	}
	driver->queue = queue;
	driver->run = queue->run;
	driver->random.state = random_mix(queue->run->options->seed + queue->index + 1);
	driver->data = malloc(REQUEST_BYTES);
	driver->wanted = malloc(REQUEST_BYTES);
	snprintf(name, sizeof(name), "driver%u", queue->index);
	r = driver->data && driver->wanted ? gm_view_init(&driver->view, queue->run->ground.memory, name, 0) : -ENOMEM;
	if (r < 0)
		fail(&driver->failure, STATUS_MISSING, "a driver can't be made: %s", strerror(-r));
	else
		work(driver);
	if (driver->failure.status)
		run_fail(queue->run, &driver->failure);
	abandon(driver);
	(void)gm_view_fini(&driver->view);
	free(driver->data);
	free(driver->wanted);
	free(driver);
	return NULL;
}

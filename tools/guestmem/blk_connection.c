/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * One front-end. Owns the space that the adapter fills, the device over it and its queues.
 *
 * Callbacks only note things; blk_connection_work() does them, once per turn: so that a hundred completions of one turn make one
 * notification, and nothing is torn down under what called. Order on the way out: the adapter stops the queues, each is unset
 * when its last request is given back, and when all are, adapter, device and space go.
 */
#include <errno.h>
#include <guestmem/guard.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blk.h"
#include "blk_hold.h"
#include "blk_picture.h"

/* Messages that wait for queues to stop, one after the other, of one turn: whoever sends them without end is not to be all that is served. */
#define ROUNDS_MAX 16

/* How long to wait before looking again at a queue whose driver does not kick. */
#define POLL_NS 50000

struct blk_queue {
	struct blk_connection *connection;
	struct uring_watch *watch; /* of its kick descriptor; NULL while it is stopped, or its driver does not kick */
	unsigned index;
	uint32_t size;
	bool is_set;
	bool is_kicked;
	bool has_past; /* has a record and did not run yet: in it may be what another server took and did not give back */
	bool is_stopping;
	bool is_polled;
	bool is_interrupt; /* its driver is to be notified */
	struct blk_hold hold;
};

struct blk_connection {
	struct blk_server *server;
	struct gm_space *space;
	struct gm_memory *memory;
	struct vblk *vblk;
	struct gm_vu *vu;
	struct uring_watch *watch;
	struct blk_picture *picture;
	uint64_t failed_told; /* failures of the disk that were told of */
	bool is_legacy;       /* the driver did not take VIRTIO_F_VERSION_1 */
	bool has_message;
	bool is_closing;
	unsigned queues_count;
	struct blk_queue queues[];
};

/*
 * What the device calls
 */

static void on_interrupt(void *opaque, unsigned index)
{
	struct blk_connection *connection = opaque;

	connection->queues[index].is_interrupt = true;
}

static void on_broken(void *opaque, unsigned index)
{
	struct blk_connection *connection = opaque;
	int code = 0;
	const enum virtq_fault fault = vblk_queue_fault(connection->vblk, index, &code);

	blk_say("queue %u is broken by its driver: %s (%s)", index, virtq_fault_text(fault), gm_code_text(code));
	gm_vu_queue_broken(connection->vu, index);
}

static void on_kick(void *opaque)
{
	struct blk_queue *queue = opaque;

	queue->is_kicked = true;
}

static void on_message(void *opaque)
{
	struct blk_connection *connection = opaque;

	connection->has_message = true;
}

/*
 * What the adapter calls
 */

static int set_features(void *opaque, uint64_t features)
{
	struct blk_connection *connection = opaque;

	/* Some front-ends take nothing at first, and more later; it has to be good when a queue starts. */
	connection->is_legacy = !(features & VBLK_F_VERSION_1);
	return connection->is_legacy ? 0 : vblk_set_features(connection->vblk, features);
}

static int config_read(void *opaque, uint32_t offset, void *data, uint32_t bytes)
{
	const struct blk_connection *connection = opaque;

	return vblk_config_read(connection->vblk, offset, data, bytes);
}

static int queue_start(void *opaque, unsigned index, const struct gm_vu_ring *ring)
{
	struct blk_connection *connection = opaque;
	struct blk_queue *queue = &connection->queues[index];
	const struct virtq_ring place = {
		.desc = ring->desc,
		.avail = ring->avail,
		.used = ring->used,
		.size = ring->size,
		.next = ring->next,
		.record = ring->inflight,
		.record_at = ring->inflight_at,
		.record_bytes = ring->inflight_bytes,
	};
	int r;

	if (connection->is_legacy) {
		blk_say("queue %u can't be started: its driver is a legacy one, which is not served", index);
		return -EINVAL;
	}
	if (ring->kick_fd >= 0) {
		queue->watch = uring_watch_new(&connection->server->uring, ring->kick_fd, true, on_kick, queue);
		if (queue->watch == NULL)
			return -ENOMEM;
	}
	r = vblk_queue_set(connection->vblk, index, &place);
	if (r < 0) {
		blk_say("queue %u can't be started: %s", index, strerror(-r));
		uring_watch_free(queue->watch);
		queue->watch = NULL;
		return r;
	}
	uring_watch_arm(queue->watch);
	queue->size = ring->size;
	queue->is_set = true;
	queue->is_stopping = false;
	queue->is_polled = ring->kick_fd < 0;
	/* Its driver may have kicked whoever served it before. */
	queue->is_kicked = true;
	queue->has_past = ring->inflight != NULL;
	return 0;
}

static void queue_stop(void *opaque, unsigned index)
{
	struct blk_connection *connection = opaque;
	struct blk_queue *queue = &connection->queues[index];

	uring_watch_free(queue->watch);
	queue->watch = NULL;
	queue->is_stopping = true;
	queue->is_polled = false;
	queue->is_kicked = false;
	/* A front-end that gets the queue back takes it that nothing is in flight: so what was before us is done first. */
	if (queue->has_past && !connection->is_closing)
		(void)!vblk_queue_run(connection->vblk, index);
	queue->has_past = false;
}

/*
 * Work
 */

/* Give back the queues that are to stop and have nothing in flight. Return: whether there were some. */
static bool finish_stops(struct blk_connection *connection)
{
	bool any = false;
	unsigned i;

	for (i = 0; i < connection->queues_count; i++) {
		struct blk_queue *queue = &connection->queues[i];
		uint16_t next = 0;

		if (!queue->is_stopping || vblk_queue_in_flight(connection->vblk, i) > 0)
			continue;
		if (vblk_queue_unset(connection->vblk, i, &next) < 0)
			continue;
		queue->is_set = false;
		queue->is_stopping = false;
		any = true;
		/* What it gave back last is logged, and told of, before the front-end takes the queue. */
		if (queue->is_interrupt) {
			queue->is_interrupt = false;
			(void)gm_vu_log_sync(connection->vu);
			(void)gm_vu_notify(connection->vu, i);
		}
		gm_vu_queue_stopped(connection->vu, i, next);
	}
	return any;
}

static void run_queues(struct blk_connection *connection)
{
	unsigned i;
	int r;

	for (i = 0; i < connection->queues_count; i++) {
		struct blk_queue *queue = &connection->queues[i];

		if (!queue->is_set || queue->is_stopping || !(queue->is_kicked || queue->is_polled))
			continue;
		r = vblk_queue_run(connection->vblk, i);
		queue->has_past = false;
		/* As many as it took: there may be more, after the others had their turn. */
		queue->is_kicked = r > 0 && (uint32_t)r >= queue->size;
	}
}

static void notify(struct blk_connection *connection)
{
	struct vblk_stats stats;
	uint64_t now, done;
	unsigned i;

	for (i = 0; i < connection->queues_count; i++) {
		struct blk_queue *queue = &connection->queues[i];

		if (!queue->is_interrupt)
			continue;
		now = blk_now_ns();
		vblk_queue_stats(connection->vblk, i, &stats);
		done = stats.requests - vblk_queue_in_flight(connection->vblk, i);
		if (!connection->is_closing && blk_hold_back(&queue->hold, stats.requests, done, now))
			continue;
		queue->is_interrupt = false;
		blk_hold_told(&queue->hold, done, now);
		(void)gm_vu_notify(connection->vu, i);
	}
}

static void run_messages(struct blk_connection *connection)
{
	struct gm_error error;
	int r;

	connection->has_message = false;
	r = gm_vu_run(connection->vu, &error);
	if (r < 0)
		blk_say("the front-end is dropped: %s", error.text);
	if (r != 0)
		blk_connection_close(connection);
}

void blk_connection_work(struct blk_connection *connection)
{
	unsigned rounds = 0;
	bool again;

	do {
		run_queues(connection);
		again = finish_stops(connection);
		if (!connection->is_closing && (connection->has_message || again || gm_vu_is_waiting(connection->vu)))
			run_messages(connection);
	} while (again && ++rounds < ROUNDS_MAX);
	/* The rest in the next turn, which does not wait then. */
	connection->has_message |= again && !connection->is_closing;
	/* Who is told that a request is done finds what it wrote in the log. */
	if (gm_vu_log_sync(connection->vu) < 0)
		blk_say("the front-end's log of written pages has gone");
	notify(connection);
}

int64_t blk_connection_patience(const struct blk_connection *connection)
{
	int64_t patience = -1, left;
	uint64_t now = 0;
	unsigned i;

	if (connection->has_message)
		return 0;
	for (i = 0; i < connection->queues_count; i++) {
		const struct blk_queue *queue = &connection->queues[i];

		left = -1;
		if (queue->is_kicked)
			return 0;
		if (queue->is_interrupt) {
			now = now ? now : blk_now_ns();
			if (queue->hold.until_ns <= now)
				return 0;
			left = (int64_t)(queue->hold.until_ns - now);
		}
		if (queue->is_polled && (left < 0 || left > POLL_NS))
			left = POLL_NS;
		if (left >= 0 && (patience < 0 || left < patience))
			patience = left;
	}
	return patience;
}

void blk_connection_arm(struct blk_connection *connection)
{
	unsigned i;

	for (i = 0; i < connection->queues_count; i++)
		uring_watch_arm(connection->queues[i].watch);
	/* Nothing is read while a message is being worked on; gm_vu_run() is called in each turn then. */
	if (!connection->is_closing && !gm_vu_is_waiting(connection->vu))
		uring_watch_arm(connection->watch);
}

/*
 * Coming and going
 */

static int make_device(struct blk_connection *connection)
{
	const struct blk_server *server = connection->server;
	const struct vblk_opts opts = {
		.name = "disk",
		.disk = &server->vblk_disk,
		.queues = server->options->queues,
		.queue_size_max = server->options->queue_size,
		.read_only = server->options->read_only,
		.interrupt = on_interrupt,
		.broken = on_broken,
		.opaque = connection,
	};
	struct gm_error error;
	int r = gm_space_new(NULL, &connection->space, &error);

	if (r == 0)
		r = gm_space_memory(connection->space, GM_ONLY_RAM, &connection->memory);
	if (r == 0)
		r = vblk_new(connection->memory, &opts, &connection->vblk);
	if (r == 0)
		r = blk_picture_new(connection->space, &connection->picture);
	return r;
}

static int make_adapter(struct blk_connection *connection, int fd, struct gm_error *error)
{
	const struct blk_options *options = connection->server->options;
	const struct gm_vu_device device = {
		.size = sizeof(device),
		.opaque = connection,
		.features = vblk_features(connection->vblk),
		.queues = options->queues,
		.queue_size_max = options->queue_size,
		.config_bytes = VBLK_CONFIG_BYTES,
		.set_features = set_features,
		.config_read = config_read,
		.queue_start = queue_start,
		.queue_stop = queue_stop,
	};

	return gm_vu_new(fd, connection->space, &device, &connection->vu, error);
}

struct blk_connection *blk_connection_new(struct blk_server *server, int fd)
{
	const unsigned count = server->options->queues;
	struct blk_connection *connection = calloc(1, sizeof(*connection) + count * sizeof(connection->queues[0]));
	struct gm_error error = { .text = "" };
	unsigned i;
	int r;

	if (connection == NULL) {
		blk_say("a front-end can't be served: no memory");
		return NULL;
	}
	connection->server = server;
	connection->is_legacy = true;
	connection->queues_count = count;
	for (i = 0; i < count; i++) {
		connection->queues[i].connection = connection;
		connection->queues[i].index = i;
	}
	r = make_device(connection);
	if (r == 0)
		r = make_adapter(connection, fd, &error);
	if (r == 0) {
		connection->watch = uring_watch_new(&server->uring, gm_vu_fd(connection->vu), false, on_message,
						    connection);
		if (connection->watch != NULL)
			return connection;
		/* From here on the descriptor is the adapter's: so there is a connection, which ends at once. */
		blk_connection_close(connection);
		return connection;
	}
	blk_say("a front-end can't be served: %s", error.text[0] ? error.text : strerror(-r));
	blk_connection_free(connection);
	return NULL;
}

void blk_connection_close(struct blk_connection *connection)
{
	if (connection->is_closing)
		return;
	connection->is_closing = true;
	connection->has_message = false;
	uring_watch_free(connection->watch);
	connection->watch = NULL;
	blk_connection_complain(connection);
	gm_vu_close(connection->vu);
}

bool blk_connection_is_over(const struct blk_connection *connection)
{
	return connection->is_closing && gm_vu_is_idle(connection->vu);
}

void blk_connection_free(struct blk_connection *connection)
{
	gm_vu_free(connection->vu);
	blk_picture_free(connection->picture);
	vblk_free(connection->vblk);
	gm_memory_unref(connection->memory);
	gm_space_unref(connection->space);
	free(connection);
}

/*
 * What people are told
 */

void blk_connection_state(const struct blk_connection *connection, struct blk_state *ret_state)
{
	struct blk_state state = { .is_logging = gm_vu_is_logging(connection->vu) };
	struct vblk_stats stats;
	unsigned i;

	for (i = 0; i < connection->queues_count; i++) {
		vblk_queue_stats(connection->vblk, i, &stats);
		state.counts.requests += stats.requests;
		state.counts.bytes_read += stats.bytes_read;
		state.counts.bytes_written += stats.bytes_written;
		state.counts.failed += stats.failed_request + stats.failed_unsupported + stats.failed_memory +
				       stats.failed_disk + stats.failed_lost;
		state.queues += connection->queues[i].is_set;
		state.in_flight += vblk_queue_in_flight(connection->vblk, i);
	}
	*ret_state = state;
}

static const char *reason(int code)
{
	switch (-code) {
	case ENODATA:
		return "the image has become shorter";
	case EFAULT:
		return "the machine's memory for it has gone";
	default:
		return strerror(-code);
	}
}

/* Memory that our own accesses found gone, as rings are when they are. */
static void complain_of_memory(void)
{
	struct gm_fault fault, first;
	uint64_t missed, count = 0;

	while (gm_fault_guard_next(&fault, &missed) == 0) {
		if (count == 0)
			first = fault;
		count += 1 + missed;
	}
	if (count > 0)
		blk_say("memory of the machine has gone in %llu place%s, such as %#llx in %s",
			(unsigned long long)count, count == 1 ? "" : "s", (unsigned long long)first.at.value,
			first.region);
}

void blk_connection_complain(struct blk_connection *connection)
{
	static const char *const words[] = {
		[VBLK_READ] = "reading",       [VBLK_WRITE] = "writing", [VBLK_FLUSH] = "flushing",
		[VBLK_DISCARD] = "discarding", [VBLK_ZERO] = "zeroing",
	};
	struct vblk_error last = { 0 }, error;
	struct vblk_stats stats;
	uint64_t failed = 0;
	unsigned i;

	complain_of_memory();
	for (i = 0; i < connection->queues_count; i++) {
		vblk_queue_stats(connection->vblk, i, &stats);
		vblk_queue_error(connection->vblk, i, &error);
		failed += stats.failed_disk;
		if (error.code)
			last = error;
	}
	if (failed == connection->failed_told)
		return;
	blk_say("%s: %llu request%s failed, such as %s %llu bytes at %llu: %s", connection->server->options->image,
		(unsigned long long)(failed - connection->failed_told),
		failed - connection->failed_told == 1 ? "" : "s", words[last.op], (unsigned long long)last.bytes,
		(unsigned long long)last.offset, reason(last.code));
	connection->failed_told = failed;
}

struct gm_space *blk_connection_space(const struct blk_connection *connection)
{
	return connection->space;
}

struct blk_picture *blk_connection_picture(const struct blk_connection *connection)
{
	return connection->picture;
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The front-end of tests of "guestmem blk". One thread. */
#include "blk_front.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define USER_ADDRESS UINT64_C(0x500000000000)
#define F_PROTOCOL   (UINT64_C(1) << 30)
#define P_MQ         (UINT64_C(1) << 0)
#define P_REPLY_ACK  (UINT64_C(1) << 3)
#define P_CONFIG     (UINT64_C(1) << 9)
#define P_INFLIGHT   (UINT64_C(1) << 12)
#define P_MEM_SLOTS  (UINT64_C(1) << 15)
#define TRIES_MS     20000

enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	GET_QUEUE_NUM = 17,
	SET_VRING_ENABLE = 18,
	GET_CONFIG = 24,
	GET_INFLIGHT_FD = 31,
	SET_INFLIGHT_FD = 32,
	ADD_MEM_REG = 37,
};

struct message {
	uint32_t request, flags, bytes;
	union {
		uint64_t number;
		struct {
			uint32_t index, value;
		} state;
		struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} rings;
		struct {
			uint64_t padding, gpa, bytes, uva, offset;
		} region;
		struct {
			uint32_t count, padding;
			struct {
				uint64_t gpa, bytes, uva, offset;
			} regions[2];
		} table;
		struct {
			uint32_t offset, bytes, flags;
			unsigned char data[VBLK_CONFIG_BYTES];
		} config;
		struct {
			uint64_t bytes, offset;
			uint16_t queues, size;
		} record;
	};
} __attribute__((packed));

#define HEADER_BYTES 12

void front_die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static void send_message(struct front *front, struct message *message, uint32_t request, uint32_t bytes, const int *fds,
			 unsigned fds_count)
{
	char control[CMSG_SPACE(2 * sizeof(int))] = { 0 };
	struct iovec iovec = { .iov_base = message, .iov_len = HEADER_BYTES + bytes };
	struct msghdr header = { .msg_iov = &iovec, .msg_iovlen = 1 };

	message->request = request;
	message->flags |= 1;
	message->bytes = bytes;
	if (fds_count > 0) {
		struct cmsghdr *part;

		header.msg_control = control;
		header.msg_controllen = CMSG_SPACE(fds_count * sizeof(int));
		part = CMSG_FIRSTHDR(&header);
		part->cmsg_level = SOL_SOCKET;
		part->cmsg_type = SCM_RIGHTS;
		part->cmsg_len = CMSG_LEN(fds_count * sizeof(int));
		memcpy(CMSG_DATA(part), fds, fds_count * sizeof(int));
	}
	/* A server that is killed now shows by the next wait. */
	if (sendmsg(front->socket, &header, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
		front_die("request %u can't be sent: %s", request, strerror(errno));
}

/* Return: false when the server has gone. */
static bool receive(struct front *front, struct message *message, uint32_t request, int *fd)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iovec = { .iov_base = message, .iov_len = sizeof(*message) };
	struct msghdr header = {
		.msg_iov = &iovec, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	ssize_t bytes = recvmsg(front->socket, &header, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *part;

	/* Some servers send head and payload apart. */
	if (bytes == HEADER_BYTES && message->bytes > 0)
		bytes += recv(front->socket, (char *)message + bytes, sizeof(*message) - HEADER_BYTES, 0);
	if (bytes == 0 || (bytes < 0 && errno == ECONNRESET))
		return false;
	if (bytes < HEADER_BYTES || message->request != request || !(message->flags & 4) ||
	    message->bytes + HEADER_BYTES != (size_t)bytes)
		front_die("request %u has a bad answer of %zd bytes", request, bytes);
	part = CMSG_FIRSTHDR(&header);
	if (fd != NULL) {
		if (part == NULL || part->cmsg_len != CMSG_LEN(sizeof(int)))
			front_die("request %u was answered without a descriptor", request);
		memcpy(fd, CMSG_DATA(part), sizeof(int));
	}
	return true;
}

static bool ask(struct front *front, struct message *message, uint32_t request, uint32_t bytes, int *fd)
{
	send_message(front, message, request, bytes, NULL, 0);
	return receive(front, message, request, fd);
}

static void tell_state(struct front *front, uint32_t request, uint32_t index, uint32_t value)
{
	struct message message = { .state = { index, value } };

	send_message(front, &message, request, sizeof(message.state), NULL, 0);
}

static bool negotiate(struct front *front)
{
	const uint64_t wanted = P_MQ | P_CONFIG | (front->is_plain ? 0 : P_REPLY_ACK | P_INFLIGHT | P_MEM_SLOTS);
	struct message message = { 0 };

	if (!ask(front, &message, GET_FEATURES, 0, NULL))
		return false;
	if (!(message.number & F_PROTOCOL))
		front_die("there are no protocol features");
	front->features = message.number & ~front->refuse & ~(UINT64_C(1) << 26);
	message = (struct message){ 0 };
	if (!ask(front, &message, GET_PROTOCOL_FEATURES, 0, NULL))
		return false;
	if ((message.number & wanted) != wanted)
		front_die("protocol features lack some: %llx", (unsigned long long)message.number);
	message = (struct message){ .number = wanted };
	send_message(front, &message, SET_PROTOCOL_FEATURES, 8, NULL, 0);
	message = (struct message){ 0 };
	if (!ask(front, &message, GET_QUEUE_NUM, 0, NULL))
		return false;
	if (message.number < front->queues_count)
		front_die("there are %llu queues only", (unsigned long long)message.number);
	message = (struct message){ 0 };
	send_message(front, &message, SET_OWNER, 0, NULL, 0);
	message = (struct message){ .config = { .bytes = VBLK_CONFIG_BYTES } };
	if (!ask(front, &message, GET_CONFIG, sizeof(message.config), NULL))
		return false;
	memcpy(&front->config, message.config.data, VBLK_CONFIG_BYTES);
	message = (struct message){ .number = front->features };
	send_message(front, &message, SET_FEATURES, 8, NULL, 0);
	return true;
}

static bool describe_memory(struct front *front)
{
	const int fds[2] = { front->memfd, front->memfd };
	struct message message = { 0 };
	unsigned i;

	if (front->is_plain) {
		message.table.count = 2;
		for (i = 0; i < 2; i++) {
			message.table.regions[i].gpa = i * FRONT_HIGH;
			message.table.regions[i].bytes = FRONT_REGION_BYTES;
			message.table.regions[i].uva = USER_ADDRESS + i * FRONT_HIGH;
			message.table.regions[i].offset = i * FRONT_REGION_BYTES;
		}
		send_message(front, &message, SET_MEM_TABLE, sizeof(message.table), fds, 2);
		return true;
	}
	for (i = 0; i < 2; i++) {
		message = (struct message){ .flags = 8 };
		message.region.gpa = i * FRONT_HIGH;
		message.region.bytes = FRONT_REGION_BYTES;
		message.region.uva = USER_ADDRESS + i * FRONT_HIGH;
		message.region.offset = i * FRONT_REGION_BYTES;
		send_message(front, &message, ADD_MEM_REG, sizeof(message.region), fds, 1);
		if (!receive(front, &message, ADD_MEM_REG, NULL))
			return false;
		if (message.number != 0)
			front_die("memory was refused");
	}
	return true;
}

static bool keep_record(struct front *front)
{
	struct message message = { .record = { .queues = (uint16_t)front->queues_count,
					       .size = (uint16_t)front->queue_size } };

	if (front->is_plain)
		return true;
	if (front->record < 0) {
		if (!ask(front, &message, GET_INFLIGHT_FD, sizeof(message.record), &front->record))
			return false;
		front->record_bytes = message.record.bytes;
		front->record_offset = message.record.offset;
	}
	message = (struct message){ .record = { .bytes = front->record_bytes,
						.offset = front->record_offset,
						.queues = (uint16_t)front->queues_count,
						.size = (uint16_t)front->queue_size } };
	send_message(front, &message, SET_INFLIGHT_FD, sizeof(message.record), &front->record, 1);
	return true;
}

static void make_drivers(struct front *front)
{
	const struct gblk_opts opts = {
		.memory = front->memory,
		.size = front->queue_size,
		.segments_max = 16,
		.indirect = front->features & VBLK_F_INDIRECT_DESC,
		.event_index = front->features & VBLK_F_EVENT_IDX,
	};
	unsigned i;

	if (front->has_drivers)
		return;
	front->has_drivers = true;
	for (i = 0; i < front->queues_count; i++) {
		struct gblk_opts own = opts;

		own.at = gm_gpa(i * FRONT_QUEUE_BYTES);
		if (gblk_new(&own, &front->queues[i].gblk) < 0)
			front_die("no driver");
	}
}

static void start_queue(struct front *front, unsigned index)
{
	const struct virtq_ring ring = gblk_ring(front->queues[index].gblk);
	struct message message = { .rings = { .index = index,
					      .desc = USER_ADDRESS + ring.desc.value,
					      .used = USER_ADDRESS + ring.used.value,
					      .avail = USER_ADDRESS + ring.avail.value } };

	tell_state(front, SET_VRING_NUM, index, front->queue_size);
	/* True for a new ring only. With the record, the server has to know better. */
	tell_state(front, SET_VRING_BASE, index, 0);
	send_message(front, &message, SET_VRING_ADDR, sizeof(message.rings), NULL, 0);
	message = (struct message){ .number = index };
	send_message(front, &message, SET_VRING_CALL, 8, &front->queues[index].call, 1);
	message = (struct message){ .number = index };
	send_message(front, &message, SET_VRING_KICK, 8, &front->queues[index].kick, 1);
	tell_state(front, SET_VRING_ENABLE, index, 1);
}

static bool try_socket(struct front *front)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", front->path);
	front->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (front->socket < 0)
		front_die("no socket");
	if (connect(front->socket, (struct sockaddr *)&address, sizeof(address)) == 0)
		return true;
	front_drop(front);
	return false;
}

void front_connect(struct front *front)
{
	const struct timespec moment = { .tv_nsec = 5000000 };
	unsigned i, tries;

	for (tries = 0; tries < TRIES_MS / 5; tries++) {
		/* It may be killed while we speak. */
		if (try_socket(front) && negotiate(front) && describe_memory(front) && keep_record(front))
			break;
		front_drop(front);
		nanosleep(&moment, NULL);
	}
	if (front->socket < 0)
		front_die("nobody serves %s", front->path);
	make_drivers(front);
	for (i = 0; i < front->queues_count; i++)
		start_queue(front, i);
}

void front_drop(struct front *front)
{
	if (front->socket >= 0)
		close(front->socket);
	front->socket = -1;
}

uint16_t front_stop(struct front *front, unsigned queue)
{
	struct message message = { .state = { queue, 0 } };

	if (!ask(front, &message, GET_VRING_BASE, sizeof(message.state), NULL))
		front_die("the server has gone");
	return (uint16_t)message.state.value;
}

uint16_t front_start_and_stop(struct front *front, unsigned queue)
{
	struct message message = { .state = { queue, 0 } };
	struct ucred server;
	socklen_t bytes = sizeof(server);

	if (getsockopt(front->socket, SOL_SOCKET, SO_PEERCRED, &server, &bytes) < 0 || kill(server.pid, SIGSTOP) < 0)
		front_die("the server can't be halted");
	start_queue(front, queue);
	send_message(front, &message, GET_VRING_BASE, sizeof(message.state), NULL, 0);
	(void)kill(server.pid, SIGCONT);
	if (!receive(front, &message, GET_VRING_BASE, NULL))
		front_die("the server has gone");
	return (uint16_t)message.state.value;
}

void front_flood(struct front *front, unsigned queue, unsigned seconds)
{
	/* No descriptor: the server polls. */
	const struct message start = { .request = SET_VRING_KICK, .flags = 1, .bytes = 8, .number = queue | 0x100 };
	const struct message stop = { .request = GET_VRING_BASE, .flags = 1, .bytes = 8, .state = { queue, 0 } };
	enum { ONE = HEADER_BYTES + 8, PAIRS = 1000 };
	static unsigned char pairs[PAIRS * 2 * ONE], answers[65536];
	const time_t end = time(NULL) + seconds;
	size_t sent = 0, i;

	for (i = 0; i < PAIRS; i++) {
		memcpy(pairs + 2 * i * ONE, &start, ONE);
		memcpy(pairs + (2 * i + 1) * ONE, &stop, ONE);
	}
	while (time(NULL) < end) {
		struct pollfd both = { .fd = front->socket, .events = POLLIN | POLLOUT };
		ssize_t r;

		if (poll(&both, 1, 1000) < 0 || (both.revents & (POLLHUP | POLLERR)))
			return;
		if ((both.revents & POLLIN) && recv(front->socket, answers, sizeof(answers), MSG_DONTWAIT) == 0)
			return;
		r = send(front->socket, pairs + sent, sizeof(pairs) - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		sent = r > 0 ? (sent + (size_t)r) % sizeof(pairs) : sent;
	}
}

void front_record_last(struct front *front, unsigned queue)
{
	const struct virtq_ring ring = gblk_ring(front->queues[queue].gblk);
	const uint64_t part = (VIRTQ_RECORD_BYTES((uint64_t)ring.size) + 63) / 64 * 64, counter = 1;
	const uint8_t in_flight = 1;
	uint16_t index, head;
	off_t at;

	front_get(front, ring.avail.value + VIRTQ_INDEX, &index, sizeof(index));
	index = (uint16_t)(index - 1) & (uint16_t)(ring.size - 1);
	front_get(front, ring.avail.value + VIRTQ_AVAIL_ENTRY(index), &head, sizeof(head));
	at = (off_t)(front->record_offset + part * queue + 16 + 16 * (uint64_t)head);
	if (pwrite(front->record, &counter, sizeof(counter), at + 8) != sizeof(counter) ||
	    pwrite(front->record, &in_flight, sizeof(in_flight), at) != sizeof(in_flight))
		front_die("record");
}

void front_disconnect(struct front *front)
{
	unsigned i;

	for (i = 0; i < front->queues_count; i++)
		(void)front_stop(front, i);
	front_drop(front);
}

void front_init(struct front *front, const char *path, unsigned queues, uint32_t queue_size)
{
	struct gm_region *regions[2];
	struct gm_error error;
	unsigned i;

	*front = (struct front){
		.path = path, .socket = -1, .record = -1, .queues_count = queues, .queue_size = queue_size
	};
	front->memfd = memfd_create("front", MFD_CLOEXEC);
	if (front->memfd < 0 || ftruncate(front->memfd, 2 * FRONT_REGION_BYTES) < 0)
		front_die("no memory");
	for (i = 0; i < 2; i++) {
		const struct gm_region_opts opts = {
			.size = sizeof(opts),
			.name = i ? "high" : "low",
			.first = gm_gpa(i * FRONT_HIGH),
			.bytes = FRONT_REGION_BYTES,
			.source = GM_SOURCE_FD,
			.fd = front->memfd,
			.fd_offset = i * FRONT_REGION_BYTES,
		};

		if (gm_region_new(&opts, &regions[i], &error) < 0)
			front_die("%s", error.text);
	}
	if (gm_map_new(NULL, regions, 2, &front->map, &error) < 0 ||
	    gm_map_memory(front->map, GM_ONLY_RAM, &front->memory) < 0 ||
	    gm_view_init(&front->view, front->memory, "front", 0) < 0)
		front_die("no map");
	gm_region_unref(regions[0]);
	gm_region_unref(regions[1]);
	for (i = 0; i < queues; i++) {
		front->queues[i].kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		front->queues[i].call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
}

void front_fini(struct front *front)
{
	unsigned i;

	front_drop(front);
	for (i = 0; i < front->queues_count; i++) {
		gblk_free(front->queues[i].gblk);
		close(front->queues[i].kick);
		close(front->queues[i].call);
	}
	if (gm_view_fini(&front->view) < 0)
		front_die("the view is in use");
	gm_memory_unref(front->memory);
	gm_map_unref(front->map);
	close(front->memfd);
	if (front->record >= 0)
		close(front->record);
}

void front_kick(struct front *front, unsigned queue)
{
	const uint64_t one = 1;
	const int r = gblk_kick(front->queues[queue].gblk);

	if (r < 0)
		front_die("kick: %s", strerror(-r));
	if (r > 0 && write(front->queues[queue].kick, &one, sizeof(one)) != sizeof(one))
		front_die("kick: %s", strerror(errno));
}

bool front_wait(struct front *front, int timeout_ms)
{
	struct pollfd polls[FRONT_QUEUES_MAX + 1];
	uint64_t count;
	unsigned i;
	char byte;

	for (i = 0; i < front->queues_count; i++)
		polls[i] = (struct pollfd){ .fd = front->queues[i].call, .events = POLLIN };
	polls[i] = (struct pollfd){ .fd = front->socket, .events = POLLIN };
	if (poll(polls, front->queues_count + 1, timeout_ms) == 0)
		front_die("waited %d ms in vain", timeout_ms);
	for (i = 0; i < front->queues_count; i++)
		if (polls[i].revents && read(polls[i].fd, &count, sizeof(count)) < 0)
			front_die("call: %s", strerror(errno));
	return !(polls[i].revents && recv(front->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0);
}

uint8_t front_do(struct front *front, unsigned queue, const struct gblk_request *request)
{
	struct gblk *gblk = front->queues[queue].gblk;
	struct gblk_result result;
	int r = gblk_add(gblk, request);

	if (r < 0)
		front_die("request: %s", strerror(-r));
	front_kick(front, queue);
	while ((r = gblk_reap(gblk, &result)) == 0) {
		if (gblk_listen(gblk, 1) == 0 && !front_wait(front, 10000))
			front_die("the server has gone");
	}
	if (r < 0)
		front_die("the device gave back what it did not have");
	return result.status;
}

void front_put(struct front *front, uint64_t at, const void *data, size_t bytes)
{
	gm_view_enter(&front->view);
	if (gm_write(&front->view, gm_gpa(at), data, bytes) < 0)
		front_die("write");
	gm_view_leave(&front->view);
}

void front_get(struct front *front, uint64_t at, void *data, size_t bytes)
{
	gm_view_enter(&front->view);
	if (gm_read(&front->view, gm_gpa(at), data, bytes) < 0)
		front_die("read");
	gm_view_leave(&front->view);
}

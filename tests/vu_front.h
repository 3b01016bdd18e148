/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For tests of the vhost-user back-end: a front-end that says what it is told to, right or wrong, over a socketpair; and a device
 * that remembers what it was asked. Both ends live on the test's one thread: send, run, read the answer.
 */
#ifndef TEST_VU_FRONT_H
#define TEST_VU_FRONT_H

#include "resources.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <guestmem/access.h>
#include <guestmem/vhost_user.h>

#include "message.h"
#include "vu.h"

#define FRONT_QUEUES       2
#define FRONT_QUEUE_SIZE   256
#define FRONT_CONFIG_BYTES 60
#define FRONT_FEATURES     (UINT64_C(1) << 32 | UINT64_C(1) << 9)

/* The device: what it was called with. */
struct front_device {
	uint64_t features;
	unsigned features_calls, starts[FRONT_QUEUES], stops[FRONT_QUEUES];
	struct gm_vu_ring rings[FRONT_QUEUES];
	bool runs[FRONT_QUEUES];
	bool closes;      /* queue_start and queue_stop end the connection */
	bool stops_later; /* queue_stop does not finish at once */
	int start_result, features_result, config_result;
	uint16_t next[FRONT_QUEUES]; /* where it would go on */
	unsigned char config[FRONT_CONFIG_BYTES];
	struct gm_vu *vu;
};

struct front {
	int socket; /* the front-end's end */
	struct gm_space *space;
	struct gm_memory *memory;
	struct gm_vu *vu;
	struct front_device device;
	struct gm_error error;
	int result; /* of the last run */
};

static inline int front_set_features(void *opaque, uint64_t features)
{
	struct front_device *device = opaque;

	device->features = features;
	device->features_calls++;
	return device->features_result;
}

static inline int front_config_read(void *opaque, uint32_t offset, void *data, uint32_t bytes)
{
	struct front_device *device = opaque;

	assert_true(offset <= FRONT_CONFIG_BYTES && bytes <= FRONT_CONFIG_BYTES - offset);
	memcpy(data, device->config + offset, bytes);
	return device->config_result;
}

static inline int front_config_write(void *opaque, uint32_t offset, const void *data, uint32_t bytes)
{
	struct front_device *device = opaque;

	assert_true(offset <= FRONT_CONFIG_BYTES && bytes <= FRONT_CONFIG_BYTES - offset);
	if (device->config_result == 0)
		memcpy(device->config + offset, data, bytes);
	return device->config_result;
}

static inline int front_queue_start(void *opaque, unsigned queue, const struct gm_vu_ring *ring)
{
	struct front_device *device = opaque;

	assert_true(queue < FRONT_QUEUES);
	assert_false(device->runs[queue]);
	device->starts[queue]++;
	if (device->closes)
		gm_vu_close(device->vu);
	if (device->start_result != 0)
		return device->start_result;
	device->rings[queue] = *ring;
	device->next[queue] = ring->next;
	device->runs[queue] = true;
	return 0;
}

static inline void front_queue_stop(void *opaque, unsigned queue)
{
	struct front_device *device = opaque;

	assert_true(queue < FRONT_QUEUES);
	assert_true(device->runs[queue]);
	device->runs[queue] = false;
	device->stops[queue]++;
	if (device->closes)
		gm_vu_close(device->vu);
	if (!device->stops_later)
		gm_vu_queue_stopped(device->vu, queue, device->next[queue]);
}

static inline struct gm_vu_device front_describe(struct front_device *device)
{
	struct gm_vu_device description = {
		.size = sizeof(description),
		.opaque = device,
		.features = FRONT_FEATURES,
		.queues = FRONT_QUEUES,
		.queue_size_max = FRONT_QUEUE_SIZE,
		.config_bytes = FRONT_CONFIG_BYTES,
		.set_features = front_set_features,
		.config_read = front_config_read,
		.config_write = front_config_write,
		.queue_start = front_queue_start,
		.queue_stop = front_queue_stop,
	};

	return description;
}

static inline void front_open(struct front *front)
{
	struct gm_vu_device description;
	int sockets[2];

	memset(front, 0, sizeof(*front));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	front->socket = sockets[0];
	assert_int_equal(gm_space_new(NULL, &front->space, NULL), 0);
	assert_int_equal(gm_space_memory(front->space, GM_ONLY_RAM, &front->memory), 0);
	description = front_describe(&front->device);
	if (gm_vu_new(sockets[1], front->space, &description, &front->vu, &front->error) != 0)
		fail_msg("%s", front->error.text);
	front->device.vu = front->vu;
	for (unsigned i = 0; i < FRONT_CONFIG_BYTES; i++)
		front->device.config[i] = (unsigned char)(i + 1);
}

static inline void front_close(struct front *front)
{
	gm_vu_close(front->vu);
	for (unsigned i = 0; i < FRONT_QUEUES; i++)
		gm_vu_queue_stopped(front->vu, i, 0);
	assert_true(gm_vu_is_idle(front->vu));
	gm_vu_free(front->vu);
	gm_memory_unref(front->memory);
	gm_space_unref(front->space);
	if (front->socket >= 0)
		close(front->socket);
}

/* Bytes as they are, with descriptors. */
static inline void front_send_raw(struct front *front, const void *data, size_t bytes, const int *fds, size_t fds_count)
{
	char control[CMSG_SPACE(64 * sizeof(int))] = { 0 };
	struct iovec iovec = { (void *)(uintptr_t)data, bytes };
	struct msghdr message = { .msg_iov = &iovec, .msg_iovlen = 1 };
	struct cmsghdr *head;

	assert_true(fds_count <= 64);
	if (fds_count != 0) {
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(fds_count * sizeof(int));
		head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(fds_count * sizeof(int));
		memcpy(CMSG_DATA(head), fds, fds_count * sizeof(int));
	}
	assert_int_equal(sendmsg(front->socket, &message, MSG_NOSIGNAL), bytes);
}

static inline void front_send(struct front *front, uint32_t request, uint32_t flags, const void *payload,
			      uint32_t bytes, const int *fds, size_t fds_count)
{
	unsigned char message[VU_HEADER_BYTES + 1024];
	uint32_t head[3] = { request, flags | 1, bytes };

	assert_true(bytes <= 1024);
	memcpy(message, head, sizeof(head));
	if (bytes != 0)
		memcpy(message + sizeof(head), payload, bytes);
	front_send_raw(front, message, sizeof(head) + bytes, fds, fds_count);
}

static inline int front_run(struct front *front)
{
	front->result = gm_vu_run(front->vu, &front->error);
	return front->result;
}

/* Reads an answer that has to be there. Returns its payload's size; a descriptor that came with it in *ret_fd. */
static inline uint32_t front_answer_fd(struct front *front, uint32_t request, void *payload, uint32_t bytes_max,
				       int *ret_fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	uint32_t head[3] = { 0 };
	struct iovec iovec = { head, sizeof(head) };
	struct msghdr message = {
		.msg_iov = &iovec, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *control_head;

	assert_int_equal(recvmsg(front->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC), sizeof(head));
	assert_int_equal(head[0], request);
	assert_int_equal(head[1], 5);
	assert_true(head[2] <= bytes_max);
	if (head[2] != 0)
		assert_int_equal(recv(front->socket, payload, head[2], MSG_DONTWAIT), head[2]);
	control_head = CMSG_FIRSTHDR(&message);
	assert_int_equal(control_head != NULL, ret_fd != NULL);
	if (control_head != NULL)
		memcpy(ret_fd, CMSG_DATA(control_head), sizeof(*ret_fd));
	return head[2];
}

static inline uint32_t front_answer(struct front *front, uint32_t request, void *payload, uint32_t bytes_max)
{
	return front_answer_fd(front, request, payload, bytes_max, NULL);
}

static inline uint64_t front_answer_u64(struct front *front, uint32_t request)
{
	uint64_t number = 0;

	assert_int_equal(front_answer(front, request, &number, sizeof(number)), sizeof(number));
	return number;
}

static inline void front_no_answer(struct front *front)
{
	char byte;

	assert_int_equal(recv(front->socket, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* Send, run, and see that it is taken without an answer. */
static inline void front_tell(struct front *front, uint32_t request, const void *payload, uint32_t bytes, int fd)
{
	front_send(front, request, 0, payload, bytes, &fd, fd >= 0 ? 1 : 0);
	if (front_run(front) != 0)
		fail_msg("%d: %s", front->result, front->error.text);
	front_no_answer(front);
}

static inline void front_tell_u64(struct front *front, uint32_t request, uint64_t number, int fd)
{
	front_tell(front, request, &number, sizeof(number), fd);
}

static inline void front_tell_state(struct front *front, uint32_t request, uint32_t index, uint32_t number)
{
	uint32_t state[2] = { index, number };

	front_tell(front, request, state, sizeof(state), -1);
}

static inline uint64_t front_ask(struct front *front, uint32_t request)
{
	front_send(front, request, 0, NULL, 0, NULL, 0);
	assert_int_equal(front_run(front), 0);
	return front_answer_u64(front, request);
}

/* With NEED_REPLY. Returns what it says: 0 is good. */
static inline uint64_t front_request(struct front *front, uint32_t request, const void *payload, uint32_t bytes,
				     const int *fds, size_t fds_count)
{
	front_send(front, request, VU_FLAG_NEED_REPLY, payload, bytes, fds, fds_count);
	if (front_run(front) != 0)
		fail_msg("%d: %s", front->result, front->error.text);
	return front_answer_u64(front, request);
}

static inline void front_negotiate(struct front *front)
{
	uint64_t features = front_ask(front, VU_GET_FEATURES), protocol;

	protocol = front_ask(front, VU_GET_PROTOCOL_FEATURES);
	front_tell_u64(front, VU_SET_PROTOCOL_FEATURES, protocol, -1);
	front_tell(front, VU_SET_OWNER, NULL, 0, -1);
	front_tell_u64(front, VU_SET_FEATURES, features & ~GM_VU_F_LOG_ALL, -1);
}

static inline uint64_t front_add(struct front *front, uint64_t gpa, uint64_t bytes, uint64_t uva, uint64_t offset,
				 int fd)
{
	uint64_t payload[5] = { 0, gpa, bytes, uva, offset };

	return front_request(front, VU_ADD_MEM_REG, payload, sizeof(payload), &fd, 1);
}

static inline uint64_t front_remove(struct front *front, uint64_t gpa, uint64_t bytes, uint64_t uva)
{
	uint64_t payload[5] = { 0, gpa, bytes, uva, 0 };

	return front_request(front, VU_REM_MEM_REG, payload, sizeof(payload), NULL, 0);
}

static inline uint64_t front_table(struct front *front, const struct vu_region *regions, uint32_t count, const int *fds)
{
	unsigned char payload[8 + VU_TABLE_REGIONS_MAX * sizeof(*regions)] = { 0 };

	memcpy(payload, &count, sizeof(count));
	memcpy(payload + 8, regions, count * sizeof(*regions));
	return front_request(front, VU_SET_MEM_TABLE, payload, (uint32_t)(8 + count * sizeof(*regions)), fds, count);
}

static inline void front_tell_rings(struct front *front, uint32_t index, uint32_t flags, uint64_t desc, uint64_t used,
				    uint64_t avail, uint64_t log)
{
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} rings = { index, flags, desc, used, avail, log };

	front_tell(front, VU_SET_VRING_ADDR, &rings, sizeof(rings), -1);
}

/* Size, base, addresses at @uva (descriptors, then 0x1000 on the available, 0x2000 on the used ring), descriptors, enabled. */
static inline void front_start_queue(struct front *front, uint32_t index, uint64_t uva, uint16_t base, int kick,
				     int call)
{
	front_tell_state(front, VU_SET_VRING_NUM, index, 128);
	front_tell_state(front, VU_SET_VRING_BASE, index, base);
	front_tell_rings(front, index, 0, uva, uva + 0x2000, uva + 0x1000, 0);
	front_tell_u64(front, VU_SET_VRING_CALL, index, call);
	front_tell_u64(front, VU_SET_VRING_KICK, index, kick);
	front_tell_state(front, VU_SET_VRING_ENABLE, index, 1);
}

/* GET_VRING_BASE, of a queue that stops at once. */
static inline uint32_t front_stop_queue(struct front *front, uint32_t index)
{
	uint32_t state[2] = { index, 0 };

	front_send(front, VU_GET_VRING_BASE, 0, state, sizeof(state), NULL, 0);
	assert_int_equal(front_run(front), 0);
	assert_int_equal(front_answer(front, VU_GET_VRING_BASE, state, sizeof(state)), sizeof(state));
	assert_int_equal(state[0], index);
	return state[1];
}

static inline int front_memfd(uint64_t bytes)
{
	int fd = memfd_create("front", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

static inline int front_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

/* How often it was signalled since. */
static inline uint64_t front_count(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

#endif

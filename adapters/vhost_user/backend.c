/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A connection: made, fed with messages, closed. Each message goes through the steps that vu.h tells of; what they are for each is in
 * one table here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vu.h"

/* Messages of one gm_vu_run(): a start-up has a few dozen; queues that run meanwhile have their turn soon enough. */
#define MESSAGES_MAX 16

/* VIRTIO_F_ACCESS_PLATFORM and VIRTIO_F_RING_PACKED: addresses and rings of a kind that the adapter does not know. */
#define FEATURES_UNKNOWN ((UINT64_C(1) << 33) | (UINT64_C(1) << 34))

int vu_error(struct gm_error *error, int code, const char *format, ...)
{
	va_list args;

	if (error == NULL)
		return code;
	error->code = code;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return code;
}

static int nothing(struct gm_vu *vu)
{
	(void)vu;
	return 0;
}

static int answer_u64(struct gm_vu *vu, uint64_t number)
{
	return vu_wire_send(&vu->wire, vu->message.request, &number, sizeof(number), -1);
}

/* What a message without an answer of its own is answered with, where it wants one. */
static int acknowledge(struct gm_vu *vu)
{
	return vu->message.need_reply ? answer_u64(vu, 0) : 0;
}

static int answer_features(struct gm_vu *vu)
{
	return answer_u64(vu, vu->terms.offered);
}

static int answer_protocol_features(struct gm_vu *vu)
{
	return answer_u64(vu, vu->terms.protocol_offered);
}

static int answer_queue_num(struct gm_vu *vu)
{
	return answer_u64(vu, vu->device.queues);
}

static int answer_slots(struct gm_vu *vu)
{
	return answer_u64(vu, GM_VU_SLOTS_MAX);
}

static int answer_log(struct gm_vu *vu)
{
	return answer_u64(vu, 0);
}

static int answer_vring_base(struct gm_vu *vu)
{
	uint32_t answer[2] = { vu->message.index, vu->queues[vu->message.index].next };

	return vu_wire_send(&vu->wire, vu->message.request, answer, sizeof(answer), -1);
}

static int begin_features(struct gm_vu *vu)
{
	uint64_t changed = vu->features ^ vu->message.u64;

	if ((changed & ~GM_VU_F_LOG_ALL) && vu_queues_run(vu))
		return vu_refuse(vu, -EBUSY, "queues run");
	return 0;
}

static int apply_features(struct gm_vu *vu)
{
	uint64_t ours = GM_VU_F_LOG_ALL | GM_VU_F_PROTOCOL_FEATURES, features = vu->message.u64;
	uint64_t before = vu->features;
	int r;

	/* First what can be taken back. */
	vu->features = features;
	r = vu_log_update(vu);
	if (r != 0) {
		vu->features = before;
		return vu_refuse(vu, r, "no memory for logging");
	}
	if (!vu->has_features || ((before ^ features) & ~ours))
		r = vu->device.set_features(vu->device.opaque, features & ~ours);
	if (r != 0) {
		vu->is_over = true;
		return vu_refuse(vu, r, "the device refuses the features");
	}
	vu->has_features = true;
	return 0;
}

static int apply_protocol_features(struct gm_vu *vu)
{
	vu->terms.protocol = vu->message.u64;
	return 0;
}

static int apply_log_fd(struct gm_vu *vu)
{
	if (!vu_is_eventfd(vu->wire.fds[0]))
		return vu_refuse(vu, -EINVAL, "the descriptor is not an eventfd");
	if (vu->log.fd >= 0)
		close(vu->log.fd);
	vu->log.fd = vu_wire_take(&vu->wire, 0);
	return 0;
}

/* What the device does not have of what was asked for reads as zeros: newer front-ends know of more fields. */
static int answer_config(struct gm_vu *vu)
{
	struct vu_message *message = &vu->message;
	uint32_t head[3] = { message->config.offset, message->config.bytes, message->config.flags }, bytes = 0;
	unsigned char payload[VU_PAYLOAD_MAX];

	memset(message->config.data, 0, sizeof(message->config.data));
	if (head[0] < vu->device.config_bytes) {
		bytes = vu->device.config_bytes - head[0];
		bytes = bytes < head[1] ? bytes : head[1];
	}
	/* An answer of no bytes says that it failed. */
	if (bytes != 0 && vu->device.config_read(vu->device.opaque, head[0], message->config.data, bytes) != 0)
		return vu_wire_send(&vu->wire, message->request, NULL, 0, -1);
	memcpy(payload, head, sizeof(head));
	memcpy(payload + sizeof(head), message->config.data, head[1]);
	return vu_wire_send(&vu->wire, message->request, payload, (uint32_t)sizeof(head) + head[1], -1);
}

static int apply_config(struct gm_vu *vu)
{
	struct vu_message *message = &vu->message;
	int r;

	if (vu->device.config_write == NULL)
		return vu_refuse(vu, -EACCES, "nothing in the configuration space can be written");
	r = vu->device.config_write(vu->device.opaque, message->config.offset, message->config.data,
				    message->config.bytes);
	return r != 0 ? vu_refuse(vu, r, "the device refuses it") : 0;
}

static const struct handler {
	int (*begin)(struct gm_vu *vu);
	int (*apply)(struct gm_vu *vu);
	int (*answer)(struct gm_vu *vu);
} handlers[VU_REQUESTS] = {
	[VU_GET_FEATURES] = { nothing, nothing, answer_features },
	[VU_SET_FEATURES] = { begin_features, apply_features, acknowledge },
	/* Who speaks first is the owner, and nobody else can speak. */
	[VU_SET_OWNER] = { nothing, nothing, acknowledge },
	/* No longer used, and never of one meaning. */
	[VU_RESET_OWNER] = { nothing, nothing, acknowledge },
	[VU_SET_MEM_TABLE] = { vu_memory_begin, vu_memory_apply, acknowledge },
	[VU_SET_LOG_BASE] = { nothing, vu_log_set, answer_log },
	[VU_SET_LOG_FD] = { nothing, apply_log_fd, acknowledge },
	[VU_SET_VRING_NUM] = { vu_queue_begin, vu_queue_apply, acknowledge },
	[VU_SET_VRING_ADDR] = { vu_queue_begin, vu_queue_apply, acknowledge },
	[VU_SET_VRING_BASE] = { vu_queue_begin, vu_queue_apply, acknowledge },
	[VU_GET_VRING_BASE] = { vu_queue_begin, vu_queue_apply, answer_vring_base },
	[VU_SET_VRING_KICK] = { vu_queue_begin, vu_queue_apply, acknowledge },
	[VU_SET_VRING_CALL] = { vu_queue_begin, vu_queue_apply, acknowledge },
	[VU_SET_VRING_ERR] = { vu_queue_begin, vu_queue_apply, acknowledge },
	[VU_GET_PROTOCOL_FEATURES] = { nothing, nothing, answer_protocol_features },
	[VU_SET_PROTOCOL_FEATURES] = { nothing, apply_protocol_features, acknowledge },
	[VU_GET_QUEUE_NUM] = { nothing, nothing, answer_queue_num },
	[VU_SET_VRING_ENABLE] = { vu_queue_begin, vu_queue_apply, acknowledge },
	[VU_GET_CONFIG] = { nothing, nothing, answer_config },
	[VU_SET_CONFIG] = { nothing, apply_config, acknowledge },
	[VU_GET_INFLIGHT_FD] = { nothing, nothing, vu_inflight_answer },
	[VU_SET_INFLIGHT_FD] = { vu_inflight_begin, vu_inflight_apply, acknowledge },
	[VU_GET_MAX_MEM_SLOTS] = { nothing, nothing, answer_slots },
	[VU_ADD_MEM_REG] = { vu_memory_begin, vu_memory_apply, acknowledge },
	[VU_REM_MEM_REG] = { vu_memory_begin, vu_memory_apply, acknowledge },
};

static void end_message(struct gm_vu *vu)
{
	vu_wire_next(&vu->wire);
	vu->phase = VU_IDLE;
}

/* Nothing of the message has happened. Says so, where the front-end listens. Return: 0, or why the connection has to end. */
static int refuse(struct gm_vu *vu, int code, struct gm_error *error)
{
	const struct vu_message *message = &vu->message;
	uint32_t request = message->request;
	bool has_own = request < VU_REQUESTS && handlers[request].answer != NULL &&
		       handlers[request].answer != acknowledge;
	int r = code;

	if (!vu->is_over && request == VU_GET_CONFIG)
		r = vu_wire_send(&vu->wire, request, NULL, 0, -1);
	else if (!vu->is_over && message->need_reply && !has_own)
		r = answer_u64(vu, 1);
	if (r != 0)
		return vu_error(error, code, "%s (%u) of the front-end: %s: %s", vu_request_name(request), request,
				vu->reason, gm_code_text(code));
	/* Those that were to stop for it. */
	vu_queues_start(vu);
	end_message(vu);
	return 0;
}

/* Return: 1 when a message came, and is at hand if it was not refused; 0; otherwise why the connection is over, or -ECONNRESET. */
static int next_message(struct gm_vu *vu, struct gm_error *error)
{
	const char *reason = "";
	int r = vu_wire_receive(&vu->wire, &reason);

	if (r == -ECONNRESET || r == 0)
		return r;
	if (r < 0)
		return vu_error(error, r, "a message of the front-end: %s", reason);
	vu->reason = "it can't be done";
	r = vu_message_parse(&vu->terms, &vu->wire.header, vu->wire.payload, vu->wire.fds_count, &vu->message,
			     &vu->reason);
	if (r == 0)
		r = handlers[vu->message.request].begin(vu);
	if (r != 0) {
		r = refuse(vu, r, error);
		return r != 0 ? r : 1;
	}
	vu->phase = VU_BEFORE_APPLY;
	return 1;
}

static int finish(struct gm_vu *vu, struct gm_error *error)
{
	int r = vu_memory_released(vu), synced = gm_vu_log_sync(vu);

	r = r != 0 ? r : synced;
	if (r != 0)
		return vu_error(error, r, "the front-end's log can't be written: %s", gm_code_text(r));
	vu_queues_start(vu);
	r = handlers[vu->message.request].answer(vu);
	if (r != 0)
		return vu_error(error, r, "%s of the front-end can't be answered: %s",
				vu_request_name(vu->message.request), gm_code_text(r));
	end_message(vu);
	return 0;
}

/* Go on with the message at hand. Return: 1 when it is dealt with; 0 when it waits; otherwise why the connection is over. */
static int proceed(struct gm_vu *vu, struct gm_error *error)
{
	int r;

	if (vu->phase == VU_BEFORE_APPLY) {
		if (vu_queues_stop_now(vu))
			return 0;
		r = handlers[vu->message.request].apply(vu);
		if (r != 0) {
			r = refuse(vu, r, error);
			return r != 0 ? r : 1;
		}
		vu->phase = VU_AFTER_APPLY;
	}
	if (vu_memory_is_held(vu))
		return 0;
	r = finish(vu, error);
	return r != 0 ? r : 1;
}

static void close_now(struct gm_vu *vu)
{
	vu_wire_next(&vu->wire);
	vu_queues_stop(vu);
}

VU_PUBLIC int gm_vu_run(struct gm_vu *vu, struct gm_error *error)
{
	int r = 1;

	/* From one of the device's calls. */
	if (vu->is_running)
		return 0;
	vu->is_running = true;
	for (int i = 0; i < MESSAGES_MAX && r == 1 && !vu->is_closed; i++) {
		r = vu->phase == VU_IDLE ? next_message(vu, error) : 1;
		if (r == 1 && vu->phase != VU_IDLE)
			r = proceed(vu, error);
	}
	vu->is_running = false;
	if (vu->is_closed)
		close_now(vu);
	return r == -ECONNRESET ? 1 : r < 0 ? r : 0;
}

/* The caller's struct may be older than ours, which has more, or newer. */
static int copy_device(struct gm_vu_device *ours, const struct gm_vu_device *theirs, struct gm_error *error)
{
	const unsigned char *bytes = (const unsigned char *)theirs;

	if (theirs->size < offsetof(struct gm_vu_device, queue_stop) + sizeof(theirs->queue_stop))
		return vu_error(error, -EINVAL, "vhost-user: the description of the device lacks its size");
	for (size_t i = sizeof(*ours); i < theirs->size; i++) {
		if (bytes[i] != 0)
			return vu_error(error, -E2BIG, "vhost-user: the device is described for a newer library");
	}
	memcpy(ours, theirs, sizeof(*ours));
	return 0;
}

static int check_device(const struct gm_vu_device *device, struct gm_error *error)
{
	const char *why = NULL;

	if (device->queues == 0 || device->queues > GM_VU_QUEUES_MAX)
		why = "its number of queues is none that can be";
	else if (!gm_is_power_of_2(device->queue_size_max) || device->queue_size_max > GM_VU_RING_MAX)
		why = "its queues' size is not a power of two up to 32768";
	else if (device->config_bytes > GM_VU_CONFIG_MAX)
		why = "its configuration space is too large";
	else if (device->set_features == NULL || device->queue_start == NULL || device->queue_stop == NULL ||
		 (device->config_bytes != 0 && device->config_read == NULL))
		why = "it lacks a call";
	else if (device->features & FEATURES_UNKNOWN)
		why = "it offers packed rings or an IOMMU, which are not supported";
	return why != NULL ? vu_error(error, -EINVAL, "vhost-user device: %s", why) : 0;
}

static int check_socket(int fd, struct gm_error *error)
{
	int family = 0, type = 0;
	socklen_t bytes = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &bytes) != 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) != 0)
		return vu_error(error, -errno, "vhost-user: descriptor %d: %s", fd, strerror(errno));
	if (family != AF_UNIX || type != SOCK_STREAM)
		return vu_error(error, -ENOTSOCK, "vhost-user: descriptor %d is not a stream socket of AF_UNIX", fd);
	return 0;
}

static int check_space(struct gm_space *space, struct gm_error *error)
{
	const struct gm_map *map;
	size_t count;
	int r = gm_space_map(space, "vhost-user", &map);

	if (r != 0)
		return vu_error(error, r, "vhost-user: looking at the space: %s", strerror(-r));
	count = gm_map_count(map);
	gm_map_unref(map);
	return count != 0 ? vu_error(error, -EBUSY, "vhost-user: the space is not empty") : 0;
}

static void set_terms(struct gm_vu *vu)
{
	vu->terms.offered = vu->device.features | GM_VU_F_LOG_ALL | GM_VU_F_PROTOCOL_FEATURES;
	vu->terms.protocol_offered = VU_P_MQ | VU_P_LOG_SHMFD | VU_P_REPLY_ACK | VU_P_INFLIGHT_SHMFD |
				     VU_P_CONFIGURE_MEM_SLOTS;
	if (vu->device.config_bytes != 0)
		vu->terms.protocol_offered |= VU_P_CONFIG;
	vu->terms.queues = vu->device.queues;
	vu->terms.queue_size_max = vu->device.queue_size_max;
	vu->terms.config_bytes = vu->device.config_bytes;
}

VU_PUBLIC int gm_vu_new(int fd, struct gm_space *space, const struct gm_vu_device *device, struct gm_vu **ret_vu,
			struct gm_error *error)
{
	struct gm_vu_device ours;
	struct gm_vu *vu;
	int flags, r;

	if (space == NULL || device == NULL || ret_vu == NULL)
		return vu_error(error, -EINVAL, "vhost-user: an argument is missing");
	r = copy_device(&ours, device, error);
	if (r == 0)
		r = check_device(&ours, error);
	if (r == 0)
		r = check_socket(fd, error);
	if (r == 0)
		r = check_space(space, error);
	if (r != 0)
		return r;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
		return vu_error(error, -errno, "vhost-user: descriptor %d: %s", fd, strerror(errno));
	vu = calloc(1, sizeof(*vu));
	if (vu == NULL)
		return vu_error(error, -ENOMEM, "vhost-user: no memory");
	vu->device = ours;
	vu->space = gm_space_ref(space);
	vu->log.fd = -1;
	vu_wire_init(&vu->wire, fd);
	vu_queues_init(vu);
	set_terms(vu);
	*ret_vu = vu;
	return 0;
}

VU_PUBLIC int gm_vu_fd(const struct gm_vu *vu)
{
	return vu->wire.fd;
}

VU_PUBLIC bool gm_vu_is_waiting(const struct gm_vu *vu)
{
	return vu->phase != VU_IDLE && !vu->is_closed;
}

VU_PUBLIC void gm_vu_close(struct gm_vu *vu)
{
	vu->is_closed = true;
	/* The message at hand has descriptors still, and goes on when the device returns. */
	if (!vu->is_running)
		close_now(vu);
}

VU_PUBLIC bool gm_vu_is_idle(const struct gm_vu *vu)
{
	return !vu_queues_run(vu);
}

VU_PUBLIC void gm_vu_free(struct gm_vu *vu)
{
	if (vu == NULL)
		return;
	/* What was in flight when it was closed may have been written since, and whoever has the log may still go by it. */
	(void)gm_vu_log_sync(vu);
	(void)vu_memory_released(vu);
	vu_log_fini(vu);
	vu_memory_clear(vu);
	vu_window_close(&vu->inflight);
	vu_queues_fini(vu);
	vu_wire_fini(&vu->wire);
	gm_space_unref(vu->space);
	free(vu);
}

VU_PUBLIC uint64_t gm_vu_features(const struct gm_vu *vu)
{
	return vu->features;
}

VU_PUBLIC uint64_t gm_vu_protocol_features(const struct gm_vu *vu)
{
	return vu->terms.protocol;
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The front-end's side: its life, what is negotiated, and the device's configuration. Start at gm_vu_front_new(). */
#include "front.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define F_LOG_ALL           (UINT64_C(1) << 26)
#define F_PROTOCOL_FEATURES (UINT64_C(1) << 30)
#define PROTOCOL_KNOWN                                                                                                 \
	(GM_VU_FRONT_MQ | GM_VU_FRONT_LOG_SHMFD | GM_VU_FRONT_REPLY_ACK | GM_VU_FRONT_CONFIG | GM_VU_FRONT_MEM_SLOTS)

struct config {
	uint32_t offset, bytes, flags;
	unsigned char data[FRONT_CONFIG_MAX];
};

static int check_opts(int fd, const struct gm_vu_front_opts *opts, struct gm_error *error)
{
	const char *name = opts->name;
	int domain, type;
	socklen_t bytes = sizeof(domain);

	if (opts->size < sizeof(*opts) || opts->timeout_ms < 0 ||
	    (name != NULL && (name[0] == '\0' || strlen(name) >= GM_NAME_MAX)))
		return front_say(error, -EINVAL,
				 "options of a vhost-user front-end: size, name or time that make no sense");
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) != 0)
		return front_say(error, -errno, "descriptor %d of a vhost-user front-end: %s", fd, strerror(errno));
	bytes = sizeof(type);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) != 0)
		return front_say(error, -errno, "descriptor %d of a vhost-user front-end: %s", fd, strerror(errno));
	if (domain != AF_UNIX || type != SOCK_STREAM)
		return front_say(error, -ENOTSOCK,
				 "descriptor %d of a vhost-user front-end is no stream socket of the family AF_UNIX",
				 fd);
	return 0;
}

static int ask_number(struct gm_vu_front *front, enum vu_request request, uint64_t *ret_number)
{
	return front_ask(front, request, NULL, 0, ret_number, sizeof(*ret_number));
}

/* Before REPLY_ACK is negotiated, nothing but later answers says that a message was taken. */
static int negotiate(struct gm_vu_front *front, uint64_t without)
{
	uint64_t offered = 0, number = 1;
	int r = front_tell(front, VU_SET_OWNER, NULL, 0, NULL, 0);

	r = r ? r : ask_number(front, VU_GET_FEATURES, &front->offered);
	front->queues = 1;
	front->slots = FRONT_TABLE_MAX;
	if (r || (front->offered & F_PROTOCOL_FEATURES) == 0)
		return r;
	r = ask_number(front, VU_GET_PROTOCOL_FEATURES, &offered);
	if (r)
		return r;
	offered &= PROTOCOL_KNOWN & ~without;
	r = front_tell(front, VU_SET_PROTOCOL_FEATURES, &offered, sizeof(offered), NULL, 0);
	front->protocol = offered;
	if (r == 0 && (offered & GM_VU_FRONT_MQ)) {
		r = ask_number(front, VU_GET_QUEUE_NUM, &number);
		front->queues = number < FRONT_QUEUES_MAX ? (unsigned)number : FRONT_QUEUES_MAX;
	}
	if (r == 0 && (offered & GM_VU_FRONT_MEM_SLOTS)) {
		r = ask_number(front, VU_GET_MAX_MEM_SLOTS, &number);
		/* More than a machine has are none to count. */
		front->slots = number < GM_REGIONS_MAX ? (unsigned)number : GM_REGIONS_MAX;
	}
	return r;
}

FRONT_PUBLIC int gm_vu_front_new(int fd, const struct gm_vu_front_opts *opts, struct gm_vu_front **ret_front,
				 struct gm_error *error)
{
	static const struct gm_vu_front_opts defaults = { .size = sizeof(defaults) };
	struct gm_vu_front *front;
	int r;

	opts = opts != NULL ? opts : &defaults;
	r = check_opts(fd, opts, error);
	if (r)
		return r;
	front = calloc(1, sizeof(*front));
	if (front == NULL)
		return front_say(error, -ENOMEM, "no memory for a vhost-user front-end");
	pthread_mutex_init(&front->mutex, NULL);
	front->fd = fd;
	front->log_fd = -1;
	front->timeout_ms = opts->timeout_ms != 0 ? opts->timeout_ms : GM_VU_FRONT_TIMEOUT_MS;
	snprintf(front->name, sizeof(front->name), "%s", opts->name != NULL ? opts->name : "vhost-user");
	r = negotiate(front, opts->without);
	if (r == -EREMOTEIO)
		r = front_break(front, -ECONNABORTED, "the back-end refused to negotiate");
	if (r == 0) {
		front->queue = calloc(front->queues > 0 ? front->queues : 1, sizeof(*front->queue));
		if (front->queue == NULL)
			r = front_break(front, -ENOMEM, "no memory for a vhost-user front-end");
	}
	if (r) {
		front_failed(front, error);
		front->fd = -1;
		gm_vu_front_free(front);
		return r;
	}
	*ret_front = front;
	return 0;
}

FRONT_PUBLIC void gm_vu_front_free(struct gm_vu_front *front)
{
	unsigned queue;
	uint16_t next;

	if (front == NULL)
		return;
	for (queue = 0; front->queue != NULL && queue < front->queues; queue++) {
		if (front->queue[queue].is_started && gm_vu_front_ring_stop(front, queue, &next, NULL) != 0)
			front->queue[queue].is_started = false;
	}
	/* Without memory for it, the back-end learns from the end of the connection; the listener has to go in any case. */
	while (front->space != NULL && gm_vu_front_detach(front) == -ENOMEM)
		;
	/* Called from a listener: ours stays, and would be called. Rather lose memory than that. */
	if (front->space != NULL)
		return;
	front_log_free(front);
	if (front->fd >= 0)
		close(front->fd);
	free(front->table);
	free(front->after);
	free(front->queue);
	pthread_mutex_destroy(&front->mutex);
	free(front);
}

FRONT_PUBLIC uint64_t gm_vu_front_features(const struct gm_vu_front *front)
{
	return front->offered & ~(F_PROTOCOL_FEATURES | F_LOG_ALL);
}

FRONT_PUBLIC uint64_t gm_vu_front_protocol_features(const struct gm_vu_front *front)
{
	return front->protocol;
}

FRONT_PUBLIC unsigned gm_vu_front_queues(const struct gm_vu_front *front)
{
	return front->queues;
}

FRONT_PUBLIC unsigned gm_vu_front_slots(const struct gm_vu_front *front)
{
	return front->slots;
}

FRONT_PUBLIC int gm_vu_front_failure(struct gm_vu_front *front, struct gm_error *error)
{
	int r;

	pthread_mutex_lock(&front->mutex);
	r = front_failed(front, error);
	pthread_mutex_unlock(&front->mutex);
	return r;
}

int front_send_features(struct gm_vu_front *front)
{
	uint64_t features = front->accepted | (front->offered & F_PROTOCOL_FEATURES) |
			    (front->is_logging ? F_LOG_ALL : 0);

	return front_tell(front, VU_SET_FEATURES, &features, sizeof(features), NULL, 0);
}

/* What a call returns that failed: the connection's sentence, or that the back-end refused. */
static int answer(struct gm_vu_front *front, int r, const char *what, struct gm_error *error)
{
	if (r == -EREMOTEIO)
		return front_say(error, r, "the back-end refused %s", what);
	if (r != 0 && front_failed(front, error) == 0)
		return front_say(error, r, "%s: %s", what, strerror(-r));
	return r;
}

FRONT_PUBLIC int gm_vu_front_set_features(struct gm_vu_front *front, uint64_t features, struct gm_error *error)
{
	unsigned queue;
	int r = 0;

	if (features & ~gm_vu_front_features(front))
		return front_say(error, -EINVAL, "features 0x%llx were not offered by the back-end",
				 (unsigned long long)(features & ~gm_vu_front_features(front)));
	pthread_mutex_lock(&front->mutex);
	for (queue = 0; queue < front->queues; queue++) {
		if (front->queue[queue].is_started)
			r = front_say(error, -EBUSY, "features can't change while ring %u is started", queue);
	}
	if (r == 0) {
		front->accepted = features;
		r = answer(front, front_send_features(front), "the features", error);
	}
	pthread_mutex_unlock(&front->mutex);
	return r;
}

static int check_config(const struct gm_vu_front *front, uint32_t offset, uint32_t bytes, struct gm_error *error)
{
	if (bytes == 0 || offset >= FRONT_CONFIG_MAX || bytes > FRONT_CONFIG_MAX - offset)
		return front_say(error, -EINVAL, "a device's configuration is read and written inside of its %d bytes",
				 FRONT_CONFIG_MAX);
	if ((front->protocol & GM_VU_FRONT_CONFIG) == 0)
		return front_say(error, -EOPNOTSUPP, "the back-end does not serve the device's configuration");
	return 0;
}

FRONT_PUBLIC int gm_vu_front_config_read(struct gm_vu_front *front, uint32_t offset, void *data, uint32_t bytes,
					 struct gm_error *error)
{
	struct config config = { .offset = offset, .bytes = bytes }, read;
	size_t message = offsetof(struct config, data) + bytes;
	int r = check_config(front, offset, bytes, error);

	if (r)
		return r;
	pthread_mutex_lock(&front->mutex);
	r = front_ask(front, VU_GET_CONFIG, &config, message, &read, message);
	if (r == 0 && (read.offset != offset || read.bytes != bytes))
		r = front_break(front, -ECONNABORTED,
				"the back-end answered with another part of the configuration than asked for");
	if (r == 0)
		memcpy(data, read.data, bytes);
	r = answer(front, r, "to say its configuration", error);
	pthread_mutex_unlock(&front->mutex);
	return r;
}

FRONT_PUBLIC int gm_vu_front_config_write(struct gm_vu_front *front, uint32_t offset, const void *data, uint32_t bytes,
					  struct gm_error *error)
{
	struct config config = { .offset = offset, .bytes = bytes };
	int r = check_config(front, offset, bytes, error);

	if (r)
		return r;
	memcpy(config.data, data, bytes);
	pthread_mutex_lock(&front->mutex);
	r = front_tell(front, VU_SET_CONFIG, &config, offsetof(struct config, data) + bytes, NULL, 0);
	r = answer(front, r, "the configuration", error);
	pthread_mutex_unlock(&front->mutex);
	return r;
}

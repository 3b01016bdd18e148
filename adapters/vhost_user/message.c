/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "message.h"

#include <errno.h>
#include <string.h>

/* Payloads as they come over the socket, in the machine's own byte order. */
struct wire_state {
	uint32_t index, number;
};
struct wire_rings {
	uint32_t index, flags;
	uint64_t desc, used, avail, log_gpa;
};
struct wire_table {
	uint32_t count, padding;
};
struct wire_single {
	uint64_t padding;
	struct vu_region region;
};
struct wire_log {
	uint64_t bytes, offset;
};
struct wire_inflight {
	uint64_t bytes, offset;
	uint16_t queues, queue_size;
};
/* Some front-ends send the struct with the padding at its end, some without. */
#define INFLIGHT_BYTES 20

/* VHOST_VRING_F_LOG */
#define RINGS_FLAG_LOG 1u
/* Of a message with a descriptor for a queue: the queue, and "no descriptor". */
#define FD_INDEX_MASK 0xffu
#define FD_NONE       0x100u

#define NO_EXTENSION UINT64_C(0)

/* A parser of a payload whose size is right. Return: NULL, or why not. */
typedef const char *parser(const struct vu_terms *terms, const void *payload, struct vu_message *message);

static const char *check_index(const struct vu_terms *terms, uint32_t index, struct vu_message *message)
{
	if (index >= terms->queues)
		return "there is no such queue";
	message->index = index;
	return NULL;
}

static const char *parse_nothing(const struct vu_terms *terms, const void *payload, struct vu_message *message)
{
	(void)terms;
	(void)payload;
	(void)message;
	return NULL;
}

static const char *parse_features(const struct vu_terms *terms, const void *payload, struct vu_message *message)
{
	uint64_t offered = message->request == VU_SET_FEATURES ? terms->offered : terms->protocol_offered;

	memcpy(&message->u64, payload, sizeof(message->u64));
	return message->u64 & ~offered ? "it has features that were not offered" : NULL;
}

static const char *check_region(const struct vu_region *region)
{
	uint64_t last = region->bytes - 1;

	if (region->bytes == 0)
		return "a region has no bytes";
	if (last > UINT64_MAX - region->gpa || last > UINT64_MAX - region->uva || last > UINT64_MAX - region->offset)
		return "a region passes 2^64";
	return NULL;
}

static const char *parse_table(const struct vu_terms *terms, const void *payload, struct vu_message *message)
{
	const char *reason = NULL;
	struct wire_table head;

	(void)terms;
	memcpy(&head, payload, sizeof(head));
	if (head.count > VU_TABLE_REGIONS_MAX)
		return "it has too many regions";
	/* Some front-ends send all eight, whatever the count. */
	if (message->bytes < sizeof(head) + head.count * sizeof(struct vu_region))
		return "it has fewer regions than it says";
	if (message->fds_count != head.count)
		return "it has another number of descriptors than of regions";
	message->table.count = head.count;
	memcpy(message->table.regions, (const char *)payload + sizeof(head), head.count * sizeof(struct vu_region));
	for (uint32_t i = 0; i < head.count && reason == NULL; i++)
		reason = check_region(&message->table.regions[i]);
	return reason;
}

static const char *parse_single(const struct vu_terms *terms, const void *payload, struct vu_message *message)
{
	struct wire_single single;

	(void)terms;
	memcpy(&single, payload, sizeof(single));
	message->table.count = 1;
	message->table.regions[0] = single.region;
	/* The place in the file is meant to be ignored: some front-ends always say 0. */
	if (message->request == VU_REM_MEM_REG)
		message->table.regions[0].offset = 0;
	return check_region(&message->table.regions[0]);
}

static const char *parse_log(const struct vu_terms *terms, const void *payload, struct vu_message *message)
{
	struct wire_log log;

	(void)terms;
	memcpy(&log, payload, sizeof(log));
	if (log.bytes == 0)
		return "the log has no bytes";
	if (log.bytes - 1 > UINT64_MAX - log.offset)
		return "the log passes 2^64";
	message->log.bytes = log.bytes;
	message->log.offset = log.offset;
	return NULL;
}

static const char *parse_state(const struct vu_terms *terms, const void *payload, struct vu_message *message)
{
	struct wire_state state;

	memcpy(&state, payload, sizeof(state));
	message->number = state.number;
	if (message->request == VU_SET_VRING_NUM) {
		if (state.number == 0 || (state.number & (state.number - 1)) != 0)
			return "the ring's size is not a power of two";
		if (state.number > terms->queue_size_max)
			return "the ring is too large";
	}
	if (message->request == VU_SET_VRING_BASE && state.number > UINT16_MAX)
		return "the index is above 65535";
	if (message->request == VU_SET_VRING_ENABLE && state.number > 1)
		return "a queue is on (1) or off (0)";
	return check_index(terms, state.index, message);
}

static const char *parse_rings(const struct vu_terms *terms, const void *payload, struct vu_message *message)
{
	struct wire_rings rings;

	memcpy(&rings, payload, sizeof(rings));
	if (rings.flags & ~RINGS_FLAG_LOG)
		return "it has flags that mean nothing";
	message->rings.log = rings.flags & RINGS_FLAG_LOG;
	message->rings.desc = rings.desc;
	message->rings.used = rings.used;
	message->rings.avail = rings.avail;
	message->rings.log_gpa = rings.log_gpa;
	return check_index(terms, rings.index, message);
}

static const char *parse_ring_fd(const struct vu_terms *terms, const void *payload, struct vu_message *message)
{
	uint64_t number;

	memcpy(&number, payload, sizeof(number));
	if (number & ~(uint64_t)(FD_INDEX_MASK | FD_NONE))
		return "it has bits that mean nothing";
	message->has_fd = !(number & FD_NONE);
	if (message->has_fd != (message->fds_count == 1))
		return "it has a descriptor and says that it has none, or the other way round";
	return check_index(terms, number & FD_INDEX_MASK, message);
}

static const char *parse_config(const struct vu_terms *terms, const void *payload, struct vu_message *message)
{
	uint32_t head[3];

	(void)terms;
	memcpy(head, payload, sizeof(head));
	message->config.offset = head[0];
	message->config.bytes = head[1];
	message->config.flags = head[2];
	/* Whoever asks has to send as many bytes as the answer is to have. */
	if (head[1] != message->bytes - VU_CONFIG_HEAD_BYTES)
		return "it has more or fewer bytes than it says";
	if (head[0] > VU_CONFIG_MAX || head[1] > VU_CONFIG_MAX - head[0])
		return "it goes beyond what a configuration space can have";
	if (message->request == VU_SET_CONFIG && head[2] > 1)
		return "it has flags that mean nothing";
	if (message->request == VU_SET_CONFIG &&
	    (head[0] > terms->config_bytes || head[1] > terms->config_bytes - head[0]))
		return "it goes beyond the configuration space";
	memcpy(message->config.data, (const char *)payload + sizeof(head), head[1]);
	return NULL;
}

static const char *parse_inflight(const struct vu_terms *terms, const void *payload, struct vu_message *message)
{
	struct wire_inflight inflight = { 0 };

	memcpy(&inflight, payload, INFLIGHT_BYTES);
	if (inflight.queues == 0 || inflight.queues > terms->queues)
		return "the record is of no queue, or of more than there are";
	if (inflight.queue_size == 0 || inflight.queue_size > terms->queue_size_max)
		return "the record is of queues of a size that is none";
	message->inflight.bytes = inflight.bytes;
	message->inflight.offset = inflight.offset;
	message->inflight.queues = inflight.queues;
	message->inflight.queue_size = inflight.queue_size;
	if (message->request == VU_SET_INFLIGHT_FD && inflight.bytes == 0)
		return "the record has no bytes";
	if (message->request == VU_SET_INFLIGHT_FD && inflight.bytes - 1 > UINT64_MAX - inflight.offset)
		return "the record passes 2^64";
	return NULL;
}

/* What each request looks like. Those without a name are unknown. */
static const struct shape {
	const char *name;
	parser *parse;
	uint64_t extension; /* that has to be agreed on */
	uint16_t bytes_min, bytes_max;
	uint8_t fds_min, fds_max;
} shapes[VU_REQUESTS] = {
	[VU_GET_FEATURES] = { "GET_FEATURES", parse_nothing, NO_EXTENSION, 0, 0, 0, 0 },
	[VU_SET_FEATURES] = { "SET_FEATURES", parse_features, NO_EXTENSION, 8, 8, 0, 0 },
	[VU_SET_OWNER] = { "SET_OWNER", parse_nothing, NO_EXTENSION, 0, 0, 0, 0 },
	[VU_RESET_OWNER] = { "RESET_OWNER", parse_nothing, NO_EXTENSION, 0, 0, 0, 0 },
	[VU_SET_MEM_TABLE] = { "SET_MEM_TABLE", parse_table, NO_EXTENSION, 8, 264, 0, VU_FDS_MAX },
	[VU_SET_LOG_BASE] = { "SET_LOG_BASE", parse_log, VU_P_LOG_SHMFD, 16, 16, 1, 1 },
	[VU_SET_LOG_FD] = { "SET_LOG_FD", parse_nothing, NO_EXTENSION, 0, 8, 1, 1 },
	[VU_SET_VRING_NUM] = { "SET_VRING_NUM", parse_state, NO_EXTENSION, 8, 8, 0, 0 },
	[VU_SET_VRING_ADDR] = { "SET_VRING_ADDR", parse_rings, NO_EXTENSION, 40, 40, 0, 0 },
	[VU_SET_VRING_BASE] = { "SET_VRING_BASE", parse_state, NO_EXTENSION, 8, 8, 0, 0 },
	[VU_GET_VRING_BASE] = { "GET_VRING_BASE", parse_state, NO_EXTENSION, 8, 8, 0, 0 },
	[VU_SET_VRING_KICK] = { "SET_VRING_KICK", parse_ring_fd, NO_EXTENSION, 8, 8, 0, 1 },
	[VU_SET_VRING_CALL] = { "SET_VRING_CALL", parse_ring_fd, NO_EXTENSION, 8, 8, 0, 1 },
	[VU_SET_VRING_ERR] = { "SET_VRING_ERR", parse_ring_fd, NO_EXTENSION, 8, 8, 0, 1 },
	[VU_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", parse_nothing, NO_EXTENSION, 0, 0, 0, 0 },
	[VU_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", parse_features, NO_EXTENSION, 8, 8, 0, 0 },
	[VU_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", parse_nothing, NO_EXTENSION, 0, 0, 0, 0 },
	[VU_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", parse_state, NO_EXTENSION, 8, 8, 0, 0 },
	[VU_GET_CONFIG] = { "GET_CONFIG", parse_config, VU_P_CONFIG, VU_CONFIG_HEAD_BYTES, VU_PAYLOAD_MAX, 0, 0 },
	[VU_SET_CONFIG] = { "SET_CONFIG", parse_config, VU_P_CONFIG, VU_CONFIG_HEAD_BYTES, VU_PAYLOAD_MAX, 0, 0 },
	[VU_GET_INFLIGHT_FD] = { "GET_INFLIGHT_FD", parse_inflight, VU_P_INFLIGHT_SHMFD, INFLIGHT_BYTES, 24, 0, 0 },
	[VU_SET_INFLIGHT_FD] = { "SET_INFLIGHT_FD", parse_inflight, VU_P_INFLIGHT_SHMFD, INFLIGHT_BYTES, 24, 1, 1 },
	[VU_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", parse_nothing, VU_P_CONFIGURE_MEM_SLOTS, 0, 0, 0, 0 },
	[VU_ADD_MEM_REG] = { "ADD_MEM_REG", parse_single, VU_P_CONFIGURE_MEM_SLOTS, 40, 40, 1, 1 },
	/* A descriptor with it is a mistake that some front-ends make; the specification wants it closed, and no more. */
	[VU_REM_MEM_REG] = { "REM_MEM_REG", parse_single, VU_P_CONFIGURE_MEM_SLOTS, 40, 40, 0, 1 },
};

const char *vu_header_check(const struct vu_header *header)
{
	if ((header->flags & VU_FLAGS_VERSION_MASK) != VU_FLAGS_VERSION)
		return "it is of another version of the protocol";
	if (header->flags & ~(VU_FLAGS_VERSION_MASK | VU_FLAG_NEED_REPLY))
		return "it has flags that a request does not have";
	if (header->bytes > VU_PAYLOAD_MAX)
		return "it is longer than any message";
	return NULL;
}

static const struct shape *shape_of(uint32_t request)
{
	return request < VU_REQUESTS && shapes[request].name != NULL ? &shapes[request] : NULL;
}

const char *vu_request_name(uint32_t request)
{
	const struct shape *shape = shape_of(request);

	return shape != NULL ? shape->name : "a request";
}

static const char *check_shape(const struct vu_terms *terms, const struct shape *shape, const void *payload,
			       struct vu_message *message)
{
	if (message->bytes < shape->bytes_min || message->bytes > shape->bytes_max)
		return "its payload is not of its size";
	if (message->fds_count < shape->fds_min)
		return "it lacks a descriptor";
	if (message->fds_count > shape->fds_max)
		return "it has surplus descriptors";
	return shape->parse(terms, payload, message);
}

int vu_message_parse(const struct vu_terms *terms, const struct vu_header *header, const void *payload,
		     uint32_t fds_count, struct vu_message *ret_message, const char **ret_reason)
{
	const struct shape *shape = shape_of(header->request);

	memset(ret_message, 0, sizeof(*ret_message));
	ret_message->request = (enum vu_request)header->request;
	ret_message->need_reply = (header->flags & VU_FLAG_NEED_REPLY) && (terms->protocol & VU_P_REPLY_ACK);
	ret_message->bytes = header->bytes;
	ret_message->fds_count = fds_count;
	if (shape == NULL) {
		*ret_reason = "it is not known here";
		return -EOPNOTSUPP;
	}
	if (shape->extension & ~terms->protocol) {
		*ret_reason = "the extension that it belongs to was not agreed on";
		return -EOPNOTSUPP;
	}
	*ret_reason = check_shape(terms, shape, payload, ret_message);
	return *ret_reason != NULL ? -EINVAL : 0;
}

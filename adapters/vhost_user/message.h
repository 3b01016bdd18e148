/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Messages of a front-end: from bytes and a count of descriptors to a checked message, or to a reason why not. Pure: no descriptor is
 * touched, nothing is kept. What is checked here: sizes, counts, indexes, bits that mean nothing, ranges that wrap, and that an extension
 * was agreed on. What depends on the state of queues and memory is the business of those who have it.
 */
#ifndef VU_MESSAGE_H
#define VU_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Requests, by their numbers in the protocol. */
enum vu_request {
	VU_GET_FEATURES = 1,
	VU_SET_FEATURES = 2,
	VU_SET_OWNER = 3,
	VU_RESET_OWNER = 4,
	VU_SET_MEM_TABLE = 5,
	VU_SET_LOG_BASE = 6,
	VU_SET_LOG_FD = 7,
	VU_SET_VRING_NUM = 8,
	VU_SET_VRING_ADDR = 9,
	VU_SET_VRING_BASE = 10,
	VU_GET_VRING_BASE = 11,
	VU_SET_VRING_KICK = 12,
	VU_SET_VRING_CALL = 13,
	VU_SET_VRING_ERR = 14,
	VU_GET_PROTOCOL_FEATURES = 15,
	VU_SET_PROTOCOL_FEATURES = 16,
	VU_GET_QUEUE_NUM = 17,
	VU_SET_VRING_ENABLE = 18,
	VU_GET_CONFIG = 24,
	VU_SET_CONFIG = 25,
	VU_GET_INFLIGHT_FD = 31,
	VU_SET_INFLIGHT_FD = 32,
	VU_GET_MAX_MEM_SLOTS = 36,
	VU_ADD_MEM_REG = 37,
	VU_REM_MEM_REG = 38,
	VU_REQUESTS
};

/* Protocol features, as bits. */
#define VU_P_MQ                  (UINT64_C(1) << 0)
#define VU_P_LOG_SHMFD           (UINT64_C(1) << 1)
#define VU_P_REPLY_ACK           (UINT64_C(1) << 3)
#define VU_P_CONFIG              (UINT64_C(1) << 9)
#define VU_P_INFLIGHT_SHMFD      (UINT64_C(1) << 12)
#define VU_P_CONFIGURE_MEM_SLOTS (UINT64_C(1) << 15)

/* A message's flags: the version in the lowest two bits, which has been 1 for ever. */
#define VU_FLAGS_VERSION_MASK 3u
#define VU_FLAGS_VERSION      1u
#define VU_FLAG_REPLY         4u
#define VU_FLAG_NEED_REPLY    8u

/* Regions, and so descriptors, of one message: VHOST_MEMORY_BASELINE_NREGIONS. */
#define VU_TABLE_REGIONS_MAX 8
#define VU_FDS_MAX           VU_TABLE_REGIONS_MAX
#define VU_CONFIG_MAX        256
/* What a configuration message has before its bytes. */
#define VU_CONFIG_HEAD_BYTES 12
/* The longest payload is that of a configuration message; a whole table has 264 bytes. */
#define VU_PAYLOAD_MAX (VU_CONFIG_HEAD_BYTES + VU_CONFIG_MAX)

struct vu_header {
	uint32_t request;
	uint32_t flags;
	uint32_t bytes; /* of the payload */
};

/* A region of the front-end's memory. Its bytes pass neither 2^64 of guest addresses, of user addresses, nor of the file. */
struct vu_region {
	uint64_t gpa;
	uint64_t bytes;
	uint64_t uva;
	uint64_t offset;
};

/* What has been agreed on so far, and what the device is like: all that a message's sense depends on here. */
struct vu_terms {
	uint64_t offered;          /* features */
	uint64_t protocol_offered; /* protocol features */
	uint64_t protocol;         /* protocol features agreed on */
	uint32_t queues;
	uint32_t queue_size_max;
	uint32_t config_bytes;
};

struct vu_message {
	enum vu_request request;
	bool need_reply; /* and REPLY_ACK was agreed on */
	uint32_t bytes;  /* of the payload */
	uint32_t fds_count;
	uint32_t index; /* of the queue, for messages on one */
	union {
		uint64_t u64; /* features */
		uint32_t number;
		bool has_fd;
		struct {
			bool log;
			uint64_t desc, used, avail, log_gpa;
		} rings;
		struct {
			uint32_t count;
			struct vu_region regions[VU_TABLE_REGIONS_MAX];
		} table; /* ADD and REM: one */
		struct {
			uint64_t bytes, offset;
		} log;
		struct {
			uint32_t offset, bytes, flags;
			unsigned char data[VU_CONFIG_MAX];
		} config;
		struct {
			uint64_t bytes, offset;
			uint16_t queues, queue_size;
		} inflight;
	};
};

/* Whether a payload may follow. Return: NULL; or why the connection can't go on. */
const char *vu_header_check(const struct vu_header *header);

/**
 * vu_message_parse - check a message
 * @header: one that vu_header_check() is content with
 * @payload: @header->bytes bytes
 * @fds_count: descriptors that came with it
 * @ret_message: request, need_reply and counts are set whatever is returned
 * @ret_reason: why not; a constant
 *
 * Return: 0; -EOPNOTSUPP for what is unknown or was not agreed on; -EINVAL.
 */
int vu_message_parse(const struct vu_terms *terms, const struct vu_header *header, const void *payload,
		     uint32_t fds_count, struct vu_message *ret_message, const char **ret_reason);

/* For people: "SET_MEM_TABLE"; "a request" for what is unknown. */
const char *vu_request_name(uint32_t request);

#endif

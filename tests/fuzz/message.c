/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The parser of vhost-user messages, on any bytes. Beside it runs a second reader, written from the protocol's description, that
 * says of each message whether it is good; the two have to agree, and what the parser hands on has to be what the bytes say.
 *
 * Input: a byte that picks what was agreed on, one for the count of descriptors, the header's 12 bytes, the payload.
 */
#include "fuzz.h"

#include <errno.h>

#include "message.h"

/* Sums that can't wrap. */
__extension__ typedef unsigned __int128 wide;
#define TOP ((wide)1 << 64)

struct tried {
	struct vu_terms terms;
	struct vu_header header;
	uint32_t fds;
	unsigned char *payload; /* of exactly header.bytes bytes */
};

static uint64_t at64(const struct tried *tried, size_t offset)
{
	uint64_t number;

	fuzz_check(offset + sizeof(number) <= tried->header.bytes);
	memcpy(&number, tried->payload + offset, sizeof(number));
	return number;
}

static uint32_t at32(const struct tried *tried, size_t offset)
{
	uint32_t number;

	fuzz_check(offset + sizeof(number) <= tried->header.bytes);
	memcpy(&number, tried->payload + offset, sizeof(number));
	return number;
}

static uint16_t at16(const struct tried *tried, size_t offset)
{
	uint16_t number;

	fuzz_check(offset + sizeof(number) <= tried->header.bytes);
	memcpy(&number, tried->payload + offset, sizeof(number));
	return number;
}

/* A region as it stands in a message: gpa, size, user address, place in the file. */
static bool region_is_good(const struct tried *tried, size_t offset, bool has_file)
{
	wide bytes = at64(tried, offset + 8);

	return bytes > 0 && at64(tried, offset) + bytes <= TOP && at64(tried, offset + 16) + bytes <= TOP &&
	       (!has_file || at64(tried, offset + 24) + bytes <= TOP);
}

static bool table_is_good(const struct tried *tried)
{
	uint32_t count;

	if (tried->header.bytes < 8 || tried->header.bytes > 8 + 8 * 32)
		return false;
	count = at32(tried, 0);
	if (count > 8 || tried->header.bytes < 8 + (size_t)count * 32 || tried->fds != count)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		if (!region_is_good(tried, 8 + (size_t)i * 32, true))
			return false;
	}
	return true;
}

static bool state_is_good(const struct tried *tried)
{
	uint32_t number;

	if (tried->header.bytes != 8 || tried->fds != 0 || at32(tried, 0) >= tried->terms.queues)
		return false;
	number = at32(tried, 4);
	switch (tried->header.request) {
	case VU_SET_VRING_NUM:
		return __builtin_popcount(number) == 1 && number <= tried->terms.queue_size_max;
	case VU_SET_VRING_BASE:
		return number < 65536;
	case VU_SET_VRING_ENABLE:
		return number < 2;
	default:
		return true;
	}
}

static bool ring_fd_is_good(const struct tried *tried)
{
	uint64_t number;

	if (tried->header.bytes != 8)
		return false;
	number = at64(tried, 0);
	return number < 512 && (number & 255) < tried->terms.queues && tried->fds == (number < 256 ? 1 : 0);
}

static bool config_is_good(const struct tried *tried, bool writes)
{
	wide last;

	if (tried->header.bytes < 12 || tried->header.bytes > 268 || tried->fds != 0 ||
	    at32(tried, 4) != tried->header.bytes - 12)
		return false;
	last = (wide)at32(tried, 0) + at32(tried, 4);
	return last <= 256 && (!writes || (last <= tried->terms.config_bytes && at32(tried, 8) < 2));
}

static bool inflight_is_good(const struct tried *tried, bool gives)
{
	if (tried->header.bytes < 20 || tried->header.bytes > 24 || tried->fds != (gives ? 1 : 0))
		return false;
	if (at16(tried, 16) == 0 || at16(tried, 16) > tried->terms.queues || at16(tried, 18) == 0 ||
	    at16(tried, 18) > tried->terms.queue_size_max)
		return false;
	return !gives || (at64(tried, 0) > 0 && (wide)at64(tried, 0) + at64(tried, 8) <= TOP);
}

static bool is_bare(const struct tried *tried)
{
	return tried->header.bytes == 0 && tried->fds == 0;
}

/* Which protocol feature a request needs, as a bit; 0 for none. */
static uint64_t needs(uint32_t request)
{
	switch (request) {
	case VU_SET_LOG_BASE:
		return 1 << 1;
	case VU_GET_CONFIG:
	case VU_SET_CONFIG:
		return 1 << 9;
	case VU_GET_INFLIGHT_FD:
	case VU_SET_INFLIGHT_FD:
		return 1 << 12;
	case VU_GET_MAX_MEM_SLOTS:
	case VU_ADD_MEM_REG:
	case VU_REM_MEM_REG:
		return 1 << 15;
	default:
		return 0;
	}
}

static bool is_good(const struct tried *tried, bool *ret_known)
{
	uint32_t bytes = tried->header.bytes;

	*ret_known = true;
	switch (tried->header.request) {
	case VU_GET_FEATURES:
	case VU_SET_OWNER:
	case VU_RESET_OWNER:
	case VU_GET_PROTOCOL_FEATURES:
	case VU_GET_QUEUE_NUM:
	case VU_GET_MAX_MEM_SLOTS:
		return is_bare(tried);
	case VU_SET_FEATURES:
		return bytes == 8 && tried->fds == 0 && (at64(tried, 0) & ~tried->terms.offered) == 0;
	case VU_SET_PROTOCOL_FEATURES:
		return bytes == 8 && tried->fds == 0 && (at64(tried, 0) & ~tried->terms.protocol_offered) == 0;
	case VU_SET_MEM_TABLE:
		return table_is_good(tried);
	case VU_ADD_MEM_REG:
		return bytes == 40 && tried->fds == 1 && region_is_good(tried, 8, true);
	case VU_REM_MEM_REG:
		return bytes == 40 && tried->fds <= 1 && region_is_good(tried, 8, false);
	case VU_SET_LOG_BASE:
		return bytes == 16 && tried->fds == 1 && at64(tried, 0) > 0 &&
		       (wide)at64(tried, 0) + at64(tried, 8) <= TOP;
	case VU_SET_LOG_FD:
		return bytes <= 8 && tried->fds == 1;
	case VU_SET_VRING_NUM:
	case VU_SET_VRING_BASE:
	case VU_GET_VRING_BASE:
	case VU_SET_VRING_ENABLE:
		return state_is_good(tried);
	case VU_SET_VRING_ADDR:
		return bytes == 40 && tried->fds == 0 && at32(tried, 0) < tried->terms.queues && at32(tried, 4) < 2;
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
		return ring_fd_is_good(tried);
	case VU_GET_CONFIG:
	case VU_SET_CONFIG:
		return config_is_good(tried, tried->header.request == VU_SET_CONFIG);
	case VU_GET_INFLIGHT_FD:
	case VU_SET_INFLIGHT_FD:
		return inflight_is_good(tried, tried->header.request == VU_SET_INFLIGHT_FD);
	default:
		*ret_known = false;
		return false;
	}
}

static void check_regions(const struct tried *tried, const struct vu_message *message)
{
	bool is_table = message->request == VU_SET_MEM_TABLE, has_file = message->request != VU_REM_MEM_REG;

	fuzz_check(message->table.count == (is_table ? at32(tried, 0) : 1));
	for (uint32_t i = 0; i < message->table.count; i++) {
		const struct vu_region *region = &message->table.regions[i];
		size_t at = 8 + (size_t)i * 32;

		fuzz_check(region->gpa == at64(tried, at) && region->bytes == at64(tried, at + 8) &&
			   region->uva == at64(tried, at + 16) &&
			   region->offset == (has_file ? at64(tried, at + 24) : 0));
	}
}

static void check_ring(const struct tried *tried, const struct vu_message *message)
{
	fuzz_check(message->index < tried->terms.queues);
	switch (message->request) {
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
		fuzz_check(message->index == (uint8_t)at64(tried, 0) && message->has_fd == (tried->fds == 1));
		break;
	case VU_SET_VRING_ADDR:
		fuzz_check(message->index == at32(tried, 0) && message->rings.log == (at32(tried, 4) == 1));
		fuzz_check(message->rings.desc == at64(tried, 8) && message->rings.used == at64(tried, 16) &&
			   message->rings.avail == at64(tried, 24) && message->rings.log_gpa == at64(tried, 32));
		break;
	default:
		fuzz_check(message->index == at32(tried, 0) && message->number == at32(tried, 4));
		break;
	}
}

/* What was accepted says what the bytes say. */
static void check_message(const struct tried *tried, const struct vu_message *message)
{
	switch (message->request) {
	case VU_SET_FEATURES:
	case VU_SET_PROTOCOL_FEATURES:
		fuzz_check(message->u64 == at64(tried, 0));
		break;
	case VU_SET_MEM_TABLE:
	case VU_ADD_MEM_REG:
	case VU_REM_MEM_REG:
		check_regions(tried, message);
		break;
	case VU_SET_LOG_BASE:
		fuzz_check(message->log.bytes == at64(tried, 0) && message->log.offset == at64(tried, 8));
		break;
	case VU_SET_VRING_NUM:
	case VU_SET_VRING_BASE:
	case VU_GET_VRING_BASE:
	case VU_SET_VRING_ENABLE:
	case VU_SET_VRING_ADDR:
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
		check_ring(tried, message);
		break;
	case VU_GET_CONFIG:
	case VU_SET_CONFIG:
		fuzz_check(message->config.offset == at32(tried, 0) && message->config.bytes == at32(tried, 4) &&
			   message->config.flags == at32(tried, 8));
		fuzz_check(memcmp(message->config.data, tried->payload + 12, message->config.bytes) == 0);
		break;
	case VU_GET_INFLIGHT_FD:
	case VU_SET_INFLIGHT_FD:
		fuzz_check(message->inflight.bytes == at64(tried, 0) && message->inflight.offset == at64(tried, 8) &&
			   message->inflight.queues == at16(tried, 16) &&
			   message->inflight.queue_size == at16(tried, 18));
		break;
	default:
		break;
	}
}

static void try(const struct tried *tried)
{
	struct vu_message message;
	const char *reason = NULL;
	bool known, good = is_good(tried, &known);
	bool agreed = (needs(tried->header.request) & ~tried->terms.protocol) == 0;
	int expected = !known || !agreed ? -EOPNOTSUPP : good ? 0 : -EINVAL;
	int r;

	memset(&message, 0xa5, sizeof(message));
	r = vu_message_parse(&tried->terms, &tried->header, tried->payload, tried->fds, &message, &reason);
	fuzz_check(r == expected);
	fuzz_check((uint32_t)message.request == tried->header.request && message.bytes == tried->header.bytes &&
		   message.fds_count == tried->fds);
	fuzz_check(message.need_reply == ((tried->header.flags & 8) != 0 && (tried->terms.protocol & 8) != 0));
	fuzz_check((strcmp(vu_request_name(tried->header.request), "a request") != 0) == known);
	if (r != 0)
		fuzz_check(reason != NULL && reason[0] != '\0');
	else
		check_message(tried, &message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fuzz_input input = { data, bytes };
	struct tried tried = { .terms = { .offered = 0x144000200, .protocol_offered = 0x920b } };
	unsigned form = fuzz_u8(&input);
	const char *ends;

	/* With all that is offered, most of the time: the rest is refused at the door. */
	tried.terms.protocol = form & 7 ? tried.terms.protocol_offered : form << 8 | form;
	tried.terms.queues = form & 8 ? 256 : 2;
	tried.terms.queue_size_max = form & 16 ? 32768 : 256;
	tried.terms.config_bytes = form & 32 ? 60 : 256;
	tried.fds = fuzz_u8(&input) % (VU_FDS_MAX + 1);
	fuzz_bytes(&input, &tried.header, sizeof(tried.header));
	/* A size that fits, else it would hardly ever. */
	if (form & 64)
		tried.header.bytes = (uint32_t)input.left;
	ends = vu_header_check(&tried.header);
	fuzz_check((ends == NULL) == (((tried.header.flags & ~8u) == 1) && tried.header.bytes <= 268));
	if (ends != NULL)
		return 0;
	tried.payload = malloc(tried.header.bytes > 0 ? tried.header.bytes : 1);
	fuzz_check(tried.payload != NULL);
	fuzz_bytes(&input, tried.payload, tried.header.bytes);
	try(&tried);
	free(tried.payload);
	return 0;
}

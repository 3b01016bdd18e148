/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "backend_message.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER_BYTES 12
/* Of one answer: the longest is that of a configuration. */
#define ANSWER_BYTES_MAX VU_PAYLOAD_MAX

/*
 * Messages
 */

static void append(struct sent *sent, const void *data, size_t bytes)
{
	fuzz_check(sent->bytes + bytes <= sizeof(sent->payload));
	memcpy(sent->payload + sent->bytes, data, bytes);
	sent->bytes += (uint32_t)bytes;
}

static void append_u64(struct sent *sent, uint64_t number)
{
	append(sent, &number, sizeof(number));
}

static void append_u32(struct sent *sent, uint32_t number)
{
	append(sent, &number, sizeof(number));
}

static void append_fd(struct sent *sent, struct world *world, enum world_file file)
{
	if (sent->fds_count < SENT_FDS_MAX)
		sent->fds[sent->fds_count++] = world_file(world, file);
}

/* One of before, or a new one, which is kept for later. */
static struct vu_region read_region(struct builder *builder, struct fuzz_input *input, enum world_file *ret_file)
{
	uint8_t form = fuzz_u8(input);
	struct vu_region region;

	if ((form & 0x80) && builder->count > 0) {
		unsigned which = form % (builder->count < 8 ? builder->count : 8);

		*ret_file = builder->files[which];
		return builder->regions[which];
	}
	region.gpa = fuzz_number(input);
	region.bytes = fuzz_number(input);
	region.uva = form & 0x40 ? fuzz_number(input) : FUZZ_UVA + region.gpa;
	region.offset = form & 0x20 ? fuzz_number(input) : 0;
	*ret_file = (enum world_file)((form & 0x1f) % FILES);
	builder->files[builder->count % 8] = *ret_file;
	builder->regions[builder->count++ % 8] = region;
	return region;
}

static void add_region(struct sent *sent, const struct vu_region *region)
{
	append(sent, region, sizeof(*region));
	sent->regions[sent->regions_count++] = *region;
}

static void read_table(struct builder *builder, struct world *world, struct fuzz_input *input, struct sent *sent)
{
	uint32_t count = fuzz_u8(input) % (VU_TABLE_REGIONS_MAX + 1);
	enum world_file file;

	append_u64(sent, count);
	for (uint32_t i = 0; i < count; i++) {
		struct vu_region region = read_region(builder, input, &file);

		add_region(sent, &region);
		append_fd(sent, world, file);
	}
}

static void read_single(struct builder *builder, struct world *world, struct fuzz_input *input, struct sent *sent)
{
	enum world_file file;
	struct vu_region region = read_region(builder, input, &file);

	append_u64(sent, 0);
	add_region(sent, &region);
	if (sent->request == VU_ADD_MEM_REG)
		append_fd(sent, world, file);
}

static void read_log(struct world *world, struct fuzz_input *input, struct sent *sent)
{
	sent->log_bytes = fuzz_number(input);
	sent->log_offset = fuzz_number(input);
	append_u64(sent, sent->log_bytes);
	append_u64(sent, sent->log_offset);
	append_fd(sent, world, (enum world_file)((FILE_LOG + fuzz_u8(input)) % FILES));
}

static void read_state(struct fuzz_input *input, struct sent *sent)
{
	uint8_t form = fuzz_u8(input);

	append_u32(sent, form & 0x70 ? form & 1 : form & 3);
	if (sent->request == VU_SET_VRING_NUM)
		append_u32(sent, form & 0x80 ? (uint32_t)fuzz_number(input) : UINT32_C(1) << fuzz_u8(input) % 9);
	else if (sent->request == VU_SET_VRING_ENABLE)
		append_u32(sent, form & 0x80 ? 0 : form & 0x40 ? 2 : 1);
	else
		append_u32(sent, (uint32_t)fuzz_number(input));
}

/* Rings as do_request() makes them, or anywhere. */
static void read_rings(struct fuzz_input *input, struct sent *sent)
{
	uint8_t form = fuzz_u8(input);
	uint64_t uva = fuzz_number(input);

	append_u32(sent, form & 1);
	append_u32(sent, form >> 1 & (form & 0x40 ? 3 : 1));
	append_u64(sent, uva);
	append_u64(sent, form & 4 ? fuzz_number(input) : uva + 0x800);
	append_u64(sent, form & 8 ? fuzz_number(input) : uva + 0x400);
	append_u64(sent, form & 16 ? fuzz_number(input) : 0);
}

static void read_ring_fd(struct world *world, struct fuzz_input *input, struct sent *sent)
{
	uint8_t form = fuzz_u8(input);
	bool has_fd = form & 2;

	append_u64(sent, (uint64_t)(form & 1) | (has_fd ? 0 : 0x100) | (form & 4 ? 2 : 0));
	if (has_fd)
		append_fd(sent, world, form & 0xf0 ? (enum world_file)((form >> 4) % FILES) : FILE_EVENT);
}

static void read_config(struct fuzz_input *input, struct sent *sent)
{
	uint32_t offset = fuzz_u8(input), bytes = fuzz_u8(input) % 64u * 4;
	unsigned char data[VU_CONFIG_MAX];

	if (offset == 255)
		offset = (uint32_t)fuzz_number(input);
	append_u32(sent, offset);
	append_u32(sent, bytes);
	append_u32(sent, sent->request == VU_SET_CONFIG ? fuzz_u8(input) % 3u : 0);
	fuzz_bytes(input, data, bytes);
	append(sent, data, bytes);
}

static void read_inflight(struct world *world, struct fuzz_input *input, struct sent *sent)
{
	const uint16_t queues = fuzz_u8(input) % 4, size = (uint16_t)(1u << fuzz_u8(input) % 9);

	append_u64(sent, fuzz_number(input));
	append_u64(sent, fuzz_number(input));
	append_u32(sent, queues | (uint32_t)size << 16);
	if (fuzz_u8(input) & 1)
		append_u32(sent, 0);
	if (sent->request == VU_SET_INFLIGHT_FD)
		append_fd(sent, world, (enum world_file)(fuzz_u8(input) % FILES));
}

static void read_features(struct world *world, struct fuzz_input *input, struct sent *sent)
{
	uint8_t form = fuzz_u8(input);
	uint64_t all = vblk_features(world->vblk) | GM_VU_F_LOG_ALL | GM_VU_F_PROTOCOL_FEATURES;

	if (sent->request == VU_SET_PROTOCOL_FEATURES)
		all = VU_P_MQ | VU_P_LOG_SHMFD | VU_P_REPLY_ACK | VU_P_CONFIG | VU_P_INFLIGHT_SHMFD |
		      VU_P_CONFIGURE_MEM_SLOTS;

	/* The low bits take features away, the others add what was not offered. */
	if (form & 1)
		all &= ~(UINT64_C(1) << 26);
	if (form & 2)
		all &= ~UINT64_C(8);
	if (form & 4)
		all &= fuzz_u64(input);
	append_u64(sent, form & 0x80 ? fuzz_number(input) : all);
}

static void read_payload(struct builder *builder, struct world *world, struct fuzz_input *input, struct sent *sent)
{
	switch (sent->request) {
	case VU_SET_FEATURES:
	case VU_SET_PROTOCOL_FEATURES:
		read_features(world, input, sent);
		break;
	case VU_SET_MEM_TABLE:
		read_table(builder, world, input, sent);
		break;
	case VU_ADD_MEM_REG:
	case VU_REM_MEM_REG:
		read_single(builder, world, input, sent);
		break;
	case VU_SET_LOG_BASE:
		read_log(world, input, sent);
		break;
	case VU_SET_LOG_FD:
		append_u64(sent, 0);
		append_fd(sent, world, (enum world_file)((FILE_EVENT + fuzz_u8(input)) % FILES));
		break;
	case VU_SET_VRING_NUM:
	case VU_SET_VRING_BASE:
	case VU_GET_VRING_BASE:
	case VU_SET_VRING_ENABLE:
		read_state(input, sent);
		break;
	case VU_SET_VRING_ADDR:
		read_rings(input, sent);
		break;
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
		read_ring_fd(world, input, sent);
		break;
	case VU_GET_CONFIG:
	case VU_SET_CONFIG:
		read_config(input, sent);
		break;
	case VU_GET_INFLIGHT_FD:
	case VU_SET_INFLIGHT_FD:
		read_inflight(world, input, sent);
		break;
	default:
		break;
	}
}

/* One thing that is wrong with it. */
static void spoil(struct world *world, struct fuzz_input *input, struct sent *sent)
{
	uint8_t form = fuzz_u8(input);

	switch (form >> 6) {
	case 0:
		sent->bytes = form & 1 ? sent->bytes + 1 + form % 32u
				       : sent->bytes - (sent->bytes < 8 ? sent->bytes : 8);
		break;
	case 1:
		for (unsigned i = 0; i < form % SENT_FDS_MAX; i++)
			append_fd(sent, world, (enum world_file)(fuzz_u8(input) % FILES));
		break;
	case 2:
		sent->fds_count = form % 2u < sent->fds_count ? form % 2u : sent->fds_count;
		break;
	default:
		if (sent->bytes > 0)
			sent->payload[fuzz_u8(input) % sent->bytes] ^= fuzz_u8(input);
		/* What was meant is not what it says now. */
		sent->is_broken = true;
		break;
	}
	/* Too long for any message ends the connection, and so do too many descriptors. */
	sent->is_broken = sent->is_broken || sent->bytes > VU_PAYLOAD_MAX || sent->fds_count > VU_FDS_MAX;
}

/* Byte: what to ask for; byte: 1 wants an answer, 2 one thing is wrong, else what the flags are. */
void builder_read(struct builder *builder, struct world *world, struct fuzz_input *input, struct sent *ret_sent)
{
	uint8_t form;

	memset(ret_sent, 0, sizeof(*ret_sent));
	ret_sent->request = fuzz_u8(input) % (VU_REQUESTS + 2);
	form = fuzz_u8(input);
	ret_sent->flags = 1 | (form & 1 ? 8 : 0);
	read_payload(builder, world, input, ret_sent);
	if (form & 2)
		spoil(world, input, ret_sent);
	if (form >= 0xf0) {
		ret_sent->flags = fuzz_u8(input);
		ret_sent->is_broken = true;
	}
}

bool sent_send(const struct sent *sent, int socket)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(SENT_FDS_MAX * sizeof(int))];
	} control;
	uint32_t head[3] = { sent->request, sent->flags, sent->bytes };
	struct iovec parts[2] = { { head, sizeof(head) }, { (void *)(uintptr_t)sent->payload, sent->bytes } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };

	if (sent->fds_count > 0) {
		memset(&control, 0, sizeof(control));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(sent->fds_count * sizeof(int));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sent->fds_count * sizeof(int));
		memcpy(CMSG_DATA(&control.head), sent->fds, sent->fds_count * sizeof(int));
	}
	return sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t)(sizeof(head) + sent->bytes);
}

static bool has_own_answer(uint32_t request)
{
	return request == VU_GET_FEATURES || request == VU_GET_PROTOCOL_FEATURES || request == VU_GET_QUEUE_NUM ||
	       request == VU_GET_MAX_MEM_SLOTS || request == VU_GET_VRING_BASE || request == VU_GET_CONFIG ||
	       request == VU_GET_INFLIGHT_FD || request == VU_SET_LOG_BASE;
}

bool sent_wants_answer(const struct sent *sent, uint64_t agreed)
{
	/* The message itself may be the one that agrees on answers. */
	if (sent->request == VU_SET_PROTOCOL_FEATURES)
		return (sent->flags & 8) && (agreed & VU_P_REPLY_ACK);
	return has_own_answer(sent->request) || ((sent->flags & 8) && (agreed & VU_P_REPLY_ACK));
}

/*
 * Answers
 */

/* How long an answer to a request may be: from, to. */
static bool has_good_size(uint32_t request, uint32_t bytes)
{
	switch (request) {
	case VU_GET_CONFIG:
		return bytes == 0 || (bytes >= 12 && bytes <= ANSWER_BYTES_MAX);
	case VU_GET_INFLIGHT_FD:
		return bytes >= 20 && bytes <= 24;
	default:
		return bytes == 8;
	}
}

/* Return: whether there was one. */
static bool receive(int socket, uint32_t *ret_request, uint64_t *ret_number)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(4 * sizeof(int))];
	} control;
	unsigned char payload[ANSWER_BYTES_MAX] = { 0 };
	uint32_t head[3];
	struct iovec part = { head, sizeof(head) };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t got = socket < 0 ? 0 : recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int fd;

	if (got <= 0)
		return false;
	fuzz_check(got == sizeof(head) && head[1] == 5 && has_good_size(head[0], head[2]));
	if (head[2] > 0)
		fuzz_check(recv(socket, payload, head[2], MSG_DONTWAIT) == (ssize_t)head[2]);
	/* One thing is given away, and nothing else. */
	fuzz_check((CMSG_FIRSTHDR(&message) != NULL) == (head[0] == VU_GET_INFLIGHT_FD));
	if (CMSG_FIRSTHDR(&message) != NULL) {
		fuzz_check(CMSG_FIRSTHDR(&message)->cmsg_len == CMSG_LEN(sizeof(fd)));
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
		close(fd);
	}
	*ret_request = head[0];
	memcpy(ret_number, payload, sizeof(*ret_number));
	return true;
}

void answer_receive(struct answer *answer, int socket, uint32_t request)
{
	uint64_t number;
	uint32_t of;

	answer->is_there = receive(socket, &of, &answer->number);
	if (!answer->is_there)
		return;
	fuzz_check(of == request);
	fuzz_check(!receive(socket, &of, &number));
}

void answers_drain(int socket)
{
	uint64_t number;
	uint32_t of;

	while (receive(socket, &of, &number))
		;
}

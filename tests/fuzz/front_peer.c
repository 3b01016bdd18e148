/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "front_peer.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define FEATURES       (UINT64_C(1) << 32 | UINT64_C(1) << 30 | UINT64_C(1) << 26 | UINT64_C(1) << 9)
#define PROTOCOL       (VU_P_MQ | VU_P_LOG_SHMFD | VU_P_REPLY_ACK | VU_P_CONFIG | VU_P_CONFIGURE_MEM_SLOTS)
#define SLOTS          8
#define JUNK_MAX       64
#define FDS_MAX        4
#define ANSWER_LONGEST (VU_PAYLOAD_MAX + JUNK_MAX)

/* The one that is open. */
static struct peer *the_peer;

/* sendmsg(2) itself, and what stands in its place. */
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);

struct received {
	struct vu_header header;
	unsigned char payload[VU_PAYLOAD_MAX];
	int fds[VU_FDS_MAX];
	uint32_t fds_count;
	struct vu_message message;
};

static void shut(struct peer *peer)
{
	(void)shutdown(peer->socket, SHUT_WR);
	peer->is_closed = true;
}

static void receive_part(struct peer *peer, struct received *received, void *to, size_t bytes)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(VU_FDS_MAX * sizeof(int))];
	} control;
	struct iovec part = { to, bytes };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *head;

	if (bytes == 0)
		return;
	fuzz_check(recvmsg(peer->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) == (ssize_t)bytes);
	fuzz_check(!(message.msg_flags & MSG_CTRUNC));
	head = CMSG_FIRSTHDR(&message);
	if (head == NULL)
		return;
	received->fds_count = (uint32_t)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	memcpy(received->fds, CMSG_DATA(head), received->fds_count * sizeof(int));
}

/* The next message, which has to be whole and right. Return: whether there was one. */
static bool receive(struct peer *peer, struct received *received)
{
	const char *reason = NULL;
	char byte;
	int r;

	memset(received, 0, sizeof(*received));
	if (recv(peer->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 1)
		return false;
	receive_part(peer, received, &received->header, sizeof(received->header));
	reason = vu_header_check(&received->header);
	fuzz_check(reason == NULL);
	receive_part(peer, received, received->payload, received->header.bytes);
	r = vu_message_parse(&peer->terms, &received->header, received->payload, received->fds_count,
			     &received->message, &reason);
	/* What its last answer was understood as, if it was none, is not known here. */
	fuzz_check(r == 0 || peer->is_closed);
	return true;
}

/*
 * What a good back-end does
 */

static uint64_t inode_of(int fd)
{
	struct stat status;

	fuzz_check(fstat(fd, &status) == 0);
	return status.st_ino;
}

static bool meet(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a <= b + (b_bytes - 1) && b <= a + (a_bytes - 1);
}

static void add_region(struct peer *peer, const struct vu_region *region, int fd)
{
	fuzz_check(peer->count < PEER_REGIONS);
	for (unsigned i = 0; i < peer->count; i++) {
		const struct vu_region *other = &peer->regions[i].region;

		fuzz_check(!meet(region->gpa, region->bytes, other->gpa, other->bytes));
		fuzz_check(!meet(region->uva, region->bytes, other->uva, other->bytes));
	}
	peer->regions[peer->count++] = (struct peer_region){ *region, inode_of(fd) };
	fuzz_check(peer->count <= peer->slots || !(peer->terms.protocol & VU_P_CONFIGURE_MEM_SLOTS));
}

static void remove_region(struct peer *peer, const struct vu_region *region)
{
	for (unsigned i = 0; i < peer->count; i++) {
		const struct vu_region *one = &peer->regions[i].region;

		if (one->gpa == region->gpa && one->uva == region->uva && one->bytes == region->bytes) {
			peer->regions[i] = peer->regions[--peer->count];
			return;
		}
	}
	/* Nothing is taken away that was not given. */
	fuzz_check(false);
}

static void set_log(struct peer *peer, struct received *received)
{
	if (peer->log >= 0)
		close(peer->log);
	peer->log = received->fds[0];
	peer->log_bytes = received->message.log.bytes;
	received->fds_count = 0;
	fuzz_check(received->message.log.offset == 0 && ftruncate(peer->log, 0) != 0);
}

static void carry_out(struct peer *peer, struct received *received)
{
	const struct vu_message *message = &received->message;
	struct peer_ring *ring = &peer->rings[message->index];

	switch (message->request) {
	case VU_SET_FEATURES:
		peer->features = message->u64;
		break;
	case VU_SET_PROTOCOL_FEATURES:
		peer->terms.protocol = message->u64;
		break;
	case VU_SET_MEM_TABLE:
		peer->count = 0;
		for (uint32_t i = 0; i < message->table.count; i++)
			add_region(peer, &message->table.regions[i], received->fds[i]);
		break;
	case VU_ADD_MEM_REG:
		add_region(peer, &message->table.regions[0], received->fds[0]);
		break;
	case VU_REM_MEM_REG:
		remove_region(peer, &message->table.regions[0]);
		break;
	case VU_SET_VRING_NUM:
		ring->size = message->number;
		break;
	case VU_SET_VRING_ADDR:
		ring->desc = message->rings.desc;
		ring->used = message->rings.used;
		ring->avail = message->rings.avail;
		break;
	case VU_SET_VRING_KICK:
		ring->runs = true;
		break;
	case VU_GET_VRING_BASE:
		ring->runs = false;
		break;
	case VU_SET_LOG_BASE:
		set_log(peer, received);
		break;
	default:
		break;
	}
}

/*
 * Answers, good and bad
 */

struct answer {
	struct vu_header header;
	unsigned char payload[ANSWER_LONGEST];
};

static bool is_question(uint32_t request)
{
	return request == VU_GET_FEATURES || request == VU_GET_PROTOCOL_FEATURES || request == VU_GET_QUEUE_NUM ||
	       request == VU_GET_MAX_MEM_SLOTS || request == VU_GET_VRING_BASE || request == VU_GET_CONFIG ||
	       request == VU_SET_LOG_BASE;
}

/* What is answered to a question for a number is what holds from then on. */
static void note_number(struct peer *peer, uint32_t request, uint64_t number)
{
	/* The first only says that the message before it was taken; later ones too. */
	if (request == VU_GET_FEATURES && ++peer->features_answers <= 2) {
		peer->terms.offered = number;
	} else if (request == VU_GET_PROTOCOL_FEATURES) {
		peer->terms.protocol_offered = number;
	} else if (request == VU_GET_QUEUE_NUM) {
		peer->terms.queues = number < 256 ? (uint32_t)number : 256;
	} else if (request == VU_GET_MAX_MEM_SLOTS) {
		peer->slots = number;
	}
}

static uint64_t good_number(uint32_t request)
{
	switch (request) {
	case VU_GET_FEATURES:
		return FEATURES;
	case VU_GET_PROTOCOL_FEATURES:
		return PROTOCOL;
	case VU_GET_QUEUE_NUM:
		return PEER_QUEUES;
	case VU_GET_MAX_MEM_SLOTS:
		return SLOTS;
	default:
		return 0;
	}
}

static void make_good(const struct received *received, struct answer *answer)
{
	uint64_t number = good_number(received->header.request);

	memset(answer, 0, sizeof(*answer));
	answer->header = (struct vu_header){ received->header.request, 5, sizeof(number) };
	memcpy(answer->payload, &number, sizeof(number));
	if (received->header.request == VU_GET_CONFIG || received->header.request == VU_GET_VRING_BASE) {
		answer->header.bytes = received->header.bytes;
		memcpy(answer->payload, received->payload, received->header.bytes);
	}
}

static void send_answer(struct peer *peer, const struct answer *answer, size_t bytes, unsigned fds_count)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = { .room = { 0 } };
	struct iovec part = { (void *)(uintptr_t)answer, bytes };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (fds_count > 0) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(fds_count * sizeof(int));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(fds_count * sizeof(int));
		for (unsigned i = 0; i < fds_count; i++)
			memcpy(CMSG_DATA(&control.head) + i * sizeof(int), &peer->socket, sizeof(int));
	}
	(void)!__real_sendmsg(peer->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* An answer that is none. Whatever its length is, nothing comes after it. */
static void send_bad(struct peer *peer, struct answer *answer, uint8_t form)
{
	size_t bytes = sizeof(answer->header) + answer->header.bytes;

	switch (form % 8) {
	case 0:
		bytes = fuzz_u8(peer->input) % (bytes + 1);
		break;
	case 1:
		answer->header.request = fuzz_u8(peer->input);
		break;
	case 2:
		answer->header.flags = fuzz_u8(peer->input);
		break;
	case 3:
		answer->header.bytes = (uint32_t)fuzz_number(peer->input);
		break;
	case 4:
		fuzz_bytes(peer->input, answer->payload, answer->header.bytes);
		break;
	case 5:
		/* The beginning of an answer that nobody asked for. */
		fuzz_bytes(peer->input, answer->payload + answer->header.bytes, JUNK_MAX);
		bytes += fuzz_u8(peer->input) % JUNK_MAX;
		break;
	case 6:
		fuzz_bytes(peer->input, answer, sizeof(answer->header));
		break;
	default:
		break;
	}
	send_answer(peer, answer, bytes, form % 8 == 7 ? 1 + form / 8 % FDS_MAX : 0);
	shut(peer);
}

/*
 * Bytes of the input: below 0xb0 a good answer; 0xb0 to 0xcf no, or another number; 0xd0 to 0xdf an answer without a payload; else none.
 * Return: whether the message was taken.
 */
static bool answer(struct peer *peer, const struct received *received)
{
	uint32_t request = received->header.request;
	uint8_t form = fuzz_u8(peer->input);
	struct answer answer;
	uint64_t number;

	make_good(received, &answer);
	memcpy(&number, answer.payload, sizeof(number));
	if (form >= 0xe0) {
		send_bad(peer, &answer, form);
		return false;
	}
	if (form >= 0xd0) {
		answer.header.bytes = 0;
	} else if (form >= 0xb0 && request != VU_GET_CONFIG) {
		number = is_question(request) ? fuzz_number(peer->input) : 1;
		memcpy(answer.payload, &number, sizeof(number));
	}
	if (answer.header.bytes == sizeof(number))
		note_number(peer, request, number);
	send_answer(peer, &answer, sizeof(answer.header) + answer.header.bytes, 0);
	return answer.header.bytes > 0 && (is_question(request) || number == 0);
}

static void serve(struct peer *peer)
{
	struct received received;

	while (receive(peer, &received)) {
		bool taken = true;

		if (!peer->is_closed && (is_question(received.header.request) || (received.header.flags & 8)))
			taken = answer(peer, &received);
		if (taken && !peer->is_closed)
			carry_out(peer, &received);
		for (uint32_t i = 0; i < received.fds_count; i++)
			close(received.fds[i]);
	}
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	ssize_t sent = __real_sendmsg(fd, message, flags);

	if (sent > 0 && the_peer != NULL && fd == the_peer->front)
		serve(the_peer);
	return sent;
}

void peer_open(struct peer *peer, int front, int socket, struct fuzz_input *input)
{
	memset(peer, 0, sizeof(*peer));
	peer->front = front;
	peer->socket = socket;
	peer->input = input;
	peer->log = -1;
	peer->slots = VU_TABLE_REGIONS_MAX;
	peer->terms.queues = 1;
	peer->terms.queue_size_max = 32768;
	peer->terms.config_bytes = VU_CONFIG_MAX;
	the_peer = peer;
}

void peer_close(struct peer *peer)
{
	the_peer = NULL;
	if (peer->log >= 0)
		close(peer->log);
	close(peer->socket);
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void vu_wire_init(struct vu_wire *wire, int fd)
{
	memset(wire, 0, sizeof(*wire));
	wire->fd = fd;
}

void vu_wire_next(struct vu_wire *wire)
{
	for (uint32_t i = 0; i < wire->fds_count; i++) {
		if (wire->fds[i] >= 0)
			close(wire->fds[i]);
	}
	wire->fds_count = 0;
	wire->got = 0;
}

void vu_wire_fini(struct vu_wire *wire)
{
	vu_wire_next(wire);
	if (wire->fd >= 0)
		close(wire->fd);
	wire->fd = -1;
}

int vu_wire_take(struct vu_wire *wire, uint32_t index)
{
	int fd = wire->fds[index];

	wire->fds[index] = -1;
	return fd;
}

/* Takes over what came along. Return: whether all of it had room. */
static bool keep_fds(struct vu_wire *wire, struct msghdr *message)
{
	bool all = !(message->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head != NULL; head = CMSG_NXTHDR(message, head)) {
		size_t count;

		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(head) + i * sizeof(fd), sizeof(fd));
			if (wire->fds_count < VU_FDS_MAX) {
				wire->fds[wire->fds_count++] = fd;
			} else {
				close(fd);
				all = false;
			}
		}
	}
	return all;
}

/* Return: bytes; 0 at the end; -EMSGSIZE for more descriptors than any message has; a negative error number. */
static ssize_t receive_some(struct vu_wire *wire, void *to, size_t bytes)
{
	union {
		char bytes[CMSG_SPACE(VU_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iovec = { to, bytes };
	struct msghdr message = {
		.msg_iov = &iovec,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t got;

	do {
		got = recvmsg(wire->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	return keep_fds(wire, &message) ? got : -EMSGSIZE;
}

/* What is still to come of the part that is being received. */
static size_t missing(const struct vu_wire *wire)
{
	return wire->got < VU_HEADER_BYTES ? VU_HEADER_BYTES - wire->got
					   : VU_HEADER_BYTES + wire->header.bytes - wire->got;
}

static int explain(const struct vu_wire *wire, ssize_t got, const char **ret_reason)
{
	if (got == -EAGAIN || got == -EWOULDBLOCK)
		return 0;
	if (got == 0 && wire->got == 0)
		return -ECONNRESET;
	if (got == 0)
		*ret_reason = "the connection ended within a message";
	else if (got == -EMSGSIZE)
		*ret_reason = "more descriptors came than any message has, or than this process may have";
	else
		*ret_reason = strerror((int)-got);
	return got == 0 ? -EPROTO : (int)got;
}

int vu_wire_receive(struct vu_wire *wire, const char **ret_reason)
{
	while (missing(wire) > 0) {
		bool head = wire->got < VU_HEADER_BYTES;
		unsigned char *to = head ? (unsigned char *)&wire->header + wire->got
					 : wire->payload + (wire->got - VU_HEADER_BYTES);
		ssize_t got = receive_some(wire, to, missing(wire));

		if (got <= 0)
			return explain(wire, got, ret_reason);
		wire->got += (uint32_t)got;
		if (head && wire->got == VU_HEADER_BYTES) {
			*ret_reason = vu_header_check(&wire->header);
			if (*ret_reason != NULL)
				return -EPROTO;
		}
	}
	return 1;
}

int vu_wire_send(struct vu_wire *wire, enum vu_request request, const void *payload, uint32_t bytes, int fd)
{
	struct vu_header header = { request, VU_FLAGS_VERSION | VU_FLAG_REPLY, bytes };
	struct iovec iovecs[2] = { { &header, sizeof(header) }, { (void *)(uintptr_t)payload, bytes } };
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr head;
	} control = { { 0 } };
	struct msghdr message = { .msg_iov = iovecs, .msg_iovlen = 2 };
	ssize_t sent;

	if (fd >= 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	}
	do {
		sent = sendmsg(wire->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return errno == EPIPE ? -ECONNRESET : -errno;
	/* A front-end waits for each answer, so there is always room, but for one that never reads. */
	return (size_t)sent == sizeof(header) + bytes ? 0 : -EAGAIN;
}

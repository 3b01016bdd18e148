/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Messages between a front-end and its back-end: a header of three little-endian words (request, flags, size of the payload), the
 * payload, descriptors beside the first byte. An answer is believed when number, version, size and the absence of descriptors are what was
 * asked for; else the connection is over.
 */
#include "front.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Descriptors that an answer may bring before they are closed: more can't be sent with one message. */
#define FDS_MOST 253

int front_say(struct gm_error *error, int code, const char *format, ...)
{
	va_list arguments;

	if (error == NULL)
		return code;
	error->code = code;
	va_start(arguments, format);
	vsnprintf(error->text, sizeof(error->text), format, arguments);
	va_end(arguments);
	return code;
}

int front_break(struct gm_vu_front *front, int code, const char *format, ...)
{
	va_list arguments;

	if (front->failure.code != 0)
		return front->failure.code;
	front->failure.code = code;
	va_start(arguments, format);
	vsnprintf(front->failure.text, sizeof(front->failure.text), format, arguments);
	va_end(arguments);
	return code;
}

int front_failed(const struct gm_vu_front *front, struct gm_error *error)
{
	if (front->failure.code != 0 && error != NULL)
		*error = front->failure;
	return front->failure.code;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits until the socket can be read or written. */
static int wait_for(struct gm_vu_front *front, short events, int64_t until, enum vu_request request)
{
	struct pollfd poll_fd = { .fd = front->fd, .events = events };

	for (;;) {
		int64_t left = until - now_ms();
		int r;

		if (left < 0)
			return front_break(front, -ETIMEDOUT, "the back-end has not answered request %d within %d ms",
					   (int)request, front->timeout_ms);
		r = poll(&poll_fd, 1, (int)left);
		if (r > 0)
			return 0;
		if (r < 0 && errno != EINTR)
			return front_break(front, -errno, "waiting for the back-end: %s", strerror(errno));
	}
}

static void close_received(const struct msghdr *message)
{
	struct cmsghdr *control;

	for (control = CMSG_FIRSTHDR(message); control != NULL;
	     control = CMSG_NXTHDR((struct msghdr *)message, control)) {
		size_t i, count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fd;

		if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
			continue;
		for (i = 0; i < count; i++) {
			memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(fd));
			close(fd);
		}
	}
}

static int send_all(struct gm_vu_front *front, const void *data, size_t bytes, const int *fds, size_t fds_count,
		    int64_t until, enum vu_request request)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(FRONT_TABLE_MAX * sizeof(int))];
	} control;
	const char *at = data;

	while (bytes > 0) {
		struct iovec part = { .iov_base = (void *)(uintptr_t)at, .iov_len = bytes };
		struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
		ssize_t sent;

		if (fds_count > 0) {
			memset(&control, 0, sizeof(control));
			message.msg_control = &control;
			message.msg_controllen = CMSG_SPACE(fds_count * sizeof(int));
			control.header.cmsg_level = SOL_SOCKET;
			control.header.cmsg_type = SCM_RIGHTS;
			control.header.cmsg_len = CMSG_LEN(fds_count * sizeof(int));
			memcpy(CMSG_DATA(&control.header), fds, fds_count * sizeof(int));
		}
		sent = sendmsg(front->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent > 0) {
			/* They went with the first byte. */
			fds_count = 0;
			at += sent;
			bytes -= (size_t)sent;
		} else if (sent < 0 && errno == EAGAIN) {
			int r = wait_for(front, POLLOUT, until, request);

			if (r)
				return r;
		} else if (sent == 0 || errno != EINTR) {
			return front_break(front, -ECONNABORTED, "request %d can't be sent to the back-end: %s",
					   (int)request, sent == 0 ? "nothing taken" : strerror(errno));
		}
	}
	return 0;
}

static int receive_all(struct gm_vu_front *front, void *data, size_t bytes, int64_t until, enum vu_request request)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(FDS_MOST * sizeof(int))];
	} control;
	char *at = data;

	while (bytes > 0) {
		struct iovec part = { .iov_base = at, .iov_len = bytes };
		struct msghdr message = {
			.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
		};
		int r = wait_for(front, POLLIN, until, request);
		ssize_t got;

		if (r)
			return r;
		got = recvmsg(front->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (got == 0)
			return front_break(front, -ECONNABORTED, "the back-end closed the connection at request %d",
					   (int)request);
		if (got < 0) {
			if (errno == EAGAIN || errno == EINTR)
				continue;
			return front_break(front, -ECONNABORTED,
					   "the back-end's answer to request %d can't be read: %s", (int)request,
					   strerror(errno));
		}
		if (message.msg_controllen > 0) {
			close_received(&message);
			return front_break(front, -ECONNABORTED,
					   "the back-end sent descriptors with its answer to request %d", (int)request);
		}
		at += got;
		bytes -= (size_t)got;
	}
	return 0;
}

static int transmit(struct gm_vu_front *front, enum vu_request request, uint32_t flags, const void *payload,
		    size_t bytes, const int *fds, size_t fds_count, int64_t until)
{
	struct vu_header header = { (uint32_t)request, VU_FLAGS_VERSION | flags, (uint32_t)bytes };
	/* In one piece: a configuration space, or a table, and what stands before them. */
	unsigned char whole[sizeof(header) + 16 + FRONT_CONFIG_MAX + FRONT_TABLE_MAX * sizeof(struct vu_region)];

	if (front->failure.code != 0)
		return front->failure.code;
	if (bytes > sizeof(whole) - sizeof(header) || fds_count > FRONT_TABLE_MAX)
		return -EINVAL;
	memcpy(whole, &header, sizeof(header));
	if (bytes > 0)
		memcpy(whole + sizeof(header), payload, bytes);
	return send_all(front, whole, sizeof(header) + bytes, fds, fds_count, until, request);
}

static int receive(struct gm_vu_front *front, enum vu_request request, void *answer, size_t bytes, int64_t until)
{
	struct vu_header header;
	int r = receive_all(front, &header, sizeof(header), until, request);

	if (r)
		return r;
	/* How an answer says that there is none. */
	if (header.request == (uint32_t)request && (header.flags & VU_FLAGS_VERSION_MASK) == VU_FLAGS_VERSION &&
	    (header.flags & VU_FLAG_REPLY) != 0 && header.bytes == 0 && bytes > 0)
		return -EREMOTEIO;
	if (header.request != (uint32_t)request || (header.flags & VU_FLAGS_VERSION_MASK) != VU_FLAGS_VERSION ||
	    (header.flags & VU_FLAG_REPLY) == 0 || header.bytes != bytes)
		return front_break(
			front, -ECONNABORTED,
			"the back-end answered request %d, %zu bytes expected, with request %u, flags 0x%x, %u bytes",
			(int)request, bytes, header.request, header.flags, header.bytes);
	return receive_all(front, answer, bytes, until, request);
}

int front_ask_with(struct gm_vu_front *front, enum vu_request request, const void *payload, size_t bytes, int fd,
		   void *answer, size_t answer_bytes)
{
	int64_t until = now_ms() + front->timeout_ms;
	int r = transmit(front, request, 0, payload, bytes, &fd, fd >= 0 ? 1 : 0, until);

	return r ? r : receive(front, request, answer, answer_bytes, until);
}

int front_ask(struct gm_vu_front *front, enum vu_request request, const void *payload, size_t bytes, void *answer,
	      size_t answer_bytes)
{
	return front_ask_with(front, request, payload, bytes, -1, answer, answer_bytes);
}

int front_tell(struct gm_vu_front *front, enum vu_request request, const void *payload, size_t bytes, const int *fds,
	       size_t fds_count)
{
	int64_t until = now_ms() + front->timeout_ms;
	bool acknowledged = (front->protocol & GM_VU_FRONT_REPLY_ACK) != 0;
	uint64_t answer;
	int r = transmit(front, request, acknowledged ? VU_FLAG_NEED_REPLY : 0, payload, bytes, fds, fds_count, until);

	if (r)
		return r;
	if (acknowledged) {
		r = receive(front, request, &answer, sizeof(answer), until);
		return r ? r : answer == 0 ? 0 : -EREMOTEIO;
	}
	/* Messages are worked on in order: once this one is answered, that one is done. To refuse this one does not mean that one. */
	r = front_ask(front, VU_GET_FEATURES, NULL, 0, &answer, sizeof(answer));
	return r == -EREMOTEIO ? front_break(front, -ECONNABORTED, "the back-end refused to say what features it has")
			       : r;
}

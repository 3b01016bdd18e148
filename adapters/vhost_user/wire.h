/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The socket. Receives one message at a time, in as many parts as it comes in, and never a byte of the next; owns the descriptors that
 * came with it until they are taken. Never blocks.
 */
#ifndef VU_WIRE_H
#define VU_WIRE_H

#include <guestmem/error.h>

#include "message.h"

#define VU_HEADER_BYTES 12

struct vu_wire {
	int fd;
	uint32_t got; /* bytes of header and payload so far */
	struct vu_header header;
	unsigned char payload[VU_PAYLOAD_MAX];
	int fds[VU_FDS_MAX]; /* -1: taken */
	uint32_t fds_count;
};

/* @fd: the wire's from now on. */
void vu_wire_init(struct vu_wire *wire, int fd);
void vu_wire_fini(struct vu_wire *wire);

/*
 * Return: 1 when a message is there; 0 when it is not yet; -ECONNRESET when the other side has closed, between two messages; or a
 * negative error number with *@ret_reason for people.
 */
int vu_wire_receive(struct vu_wire *wire, const char **ret_reason);
/* The message is dealt with: closes what was not taken of its descriptors. */
void vu_wire_next(struct vu_wire *wire);
/* A descriptor of the message; the caller's from now on. */
int vu_wire_take(struct vu_wire *wire, uint32_t index);

/*
 * Answer. @fd: goes along, stays the caller's; -1 for none. Return: 0 or a negative error number: -EAGAIN when the other side does not
 * read; -ECONNRESET when it has closed.
 */
GM_CHECKED int vu_wire_send(struct vu_wire *wire, enum vu_request request, const void *payload, uint32_t bytes, int fd);

#endif

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * "guestmem blk": an image served as a disk to a front-end of vhost-user, such as QEMU. One thread, one loop: each turn of the ring
 * submits what the last one led to, waits, and calls back; then the connection works on what was noted.
 *
 *	server		options, the ring, the image, the socket that is listened on; there for as long as the command runs
 *	connection	one front-end: a space for its memory, a device, its queues; at most one at a time
 *
 * A connection ends when the front-end closes it, when what it sends makes no sense, or when the command is to end: its queues
 * stop, transfers in flight finish, and then all of it goes. The server listens again afterwards.
 */
#ifndef TOOL_BLK_H
#define TOOL_BLK_H

#include <guestmem/guestmem.h>
#include <guestmem/vhost_user.h>
#include <stdbool.h>
#include <stdint.h>
#include <uring_disk.h>
#include <virtio_blk.h>

#include "failure.h"
#include "text.h"

/* As many as Linux makes for most guests; a front-end takes as many of them as it wants. */
#define BLK_QUEUES_DEFAULT 16
/* A queue's memory is taken for its real size only, so the largest costs nothing. */
#define BLK_QUEUE_SIZE_DEFAULT VBLK_QUEUE_SIZE_MAX

struct blk_options {
	const char *image;
	const char *socket; /* path; NULL with @fd */
	int fd;             /* a socket that listens, or one that is connected; -1 for none */
	const char *map;    /* SVG; NULL for none */
	unsigned queues;
	uint32_t queue_size;
	bool read_only, direct, status, once;
};

/* Return: 0; 1 when help was printed and nothing is to be done; -1. */
int blk_options_parse(int argc, char **argv, struct blk_options *ret_options, struct failure *failure);

/* Sums over all queues, as struct vblk_stats counts. */
struct blk_counts {
	uint64_t requests, bytes_read, bytes_written, failed;
};

struct blk_connection;

struct blk_server {
	const struct blk_options *options;
	struct uring uring;
	struct uring_disk *disk;
	struct vblk_disk vblk_disk;
	char id[VBLK_ID_BYTES + 1]; /* the disk's serial number: of the image's name */
	int listener;               /* -1 when there is none: @options->fd was a connected one */
	bool has_caller;            /* accept(2) has something */
	bool stopping;
	bool draw; /* a picture was asked for */
	bool tick; /* a second has passed */
	struct blk_connection *connection;
	struct blk_counts past; /* of connections that are over */
	uint64_t connections;
};

uint64_t blk_now_ns(void);
/* One sentence on standard error, behind "guestmem: ". */
void blk_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Connections
 */

/* @fd: becomes the connection's if it is made. Says why if not. Return: NULL then. */
struct blk_connection *blk_connection_new(struct blk_server *server, int fd);
/* Begin to end it. May be called again. */
void blk_connection_close(struct blk_connection *connection);
/* Whether it was closed and nothing is in flight any more. */
bool blk_connection_is_over(const struct blk_connection *connection);
void blk_connection_free(struct blk_connection *connection);
/* Before and after a turn of the ring. */
void blk_connection_arm(struct blk_connection *connection);
void blk_connection_work(struct blk_connection *connection);
/* How long there is nothing to do if nothing happens, as uring_turn() takes it. */
int64_t blk_connection_patience(const struct blk_connection *connection);
/* Say what the disk, and memory, failed since the last time. */
void blk_connection_complain(struct blk_connection *connection);

struct blk_state {
	struct blk_counts counts;
	unsigned queues, in_flight; /* started; requests */
	bool is_logging;
};
void blk_connection_state(const struct blk_connection *connection, struct blk_state *ret_state);
struct gm_space *blk_connection_space(const struct blk_connection *connection);
struct blk_picture *blk_connection_picture(const struct blk_connection *connection);

/*
 * The socket
 */

/* Return: a listening descriptor, which does not block; -1. */
int blk_listen(const char *path, struct failure *failure);
/* Take the name away, if it still is that of our socket. */
void blk_unlisten(const char *path, int fd);

/* One line: what passed since the last one. @elapsed_ns: since then. */
void blk_status_show(const struct blk_server *server, struct blk_counts *last, uint64_t elapsed_ns);

#endif

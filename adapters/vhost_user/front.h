/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Private to the front-end's side. One mutex guards all of struct gm_vu_front; where a space's mutex is held too (its listener is
 * called), that one was taken first. Functions that begin with front_ want the mutex held, and talk to the back-end only while
 * @failure.code is 0; the first failure stays.
 */
#ifndef ADAPTERS_VHOST_USER_FRONT_H
#define ADAPTERS_VHOST_USER_FRONT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guestmem/guestmem.h>
#include <guestmem/vhost_user_front.h>

#include "message.h"

#define FRONT_PUBLIC __attribute__((visibility("default")))

/* Regions of one table, and so descriptors of one message. */
#define FRONT_TABLE_MAX  VU_TABLE_REGIONS_MAX
#define FRONT_CONFIG_MAX VU_CONFIG_MAX
#define FRONT_QUEUES_MAX 256
#define FRONT_LOG_PAGE   4096

/* One that was handed over; the space keeps it alive until it is taken away. */
struct front_entry {
	struct gm_region *region;
	struct vu_region wire; /* @uva: its address in this process, by which the back-end finds rings */
};

struct front_queue {
	bool is_started;
	struct gm_vu_front_ring ring; /* descriptors are not kept */
	uint64_t desc, avail, used;   /* the front-end's addresses of it */
};

struct gm_vu_front {
	pthread_mutex_t mutex;
	int fd;
	int timeout_ms;
	char name[GM_NAME_MAX];
	struct gm_error failure; /* code 0: none */

	uint64_t offered;  /* features */
	uint64_t accepted; /* of these, by the driver */
	uint64_t protocol; /* features that both sides have */
	unsigned queues, slots;
	struct front_queue *queue;

	struct gm_space *space;    /* attached; a reference */
	struct front_entry *table; /* ascending; what the back-end has */
	size_t count;
	struct front_entry *after; /* of an update that is being prepared: the table then; NULL without one */
	size_t after_count;
	bool removes_first; /* that update: see front_memory.c */

	bool is_logging;
	int log_fd;
	uint64_t *log; /* a bit a page of FRONT_LOG_PAGE bytes, from guest physical address 0 */
	size_t log_bytes;
	/* One that was sent when the connection broke: the back-end may log there or in the other. NULL: none. */
	uint64_t *unsure_log;
	size_t unsure_bytes;
};

/* Fills @error, unless NULL, and returns @code. */
int front_say(struct gm_error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The connection is over: keeps the first reason. Return: @code. */
int front_break(struct gm_vu_front *front, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Why it is over, into @error. Return: its code; 0 while it is good. */
int front_failed(const struct gm_vu_front *front, struct gm_error *error);

/*
 * Messages. Return: 0; -EREMOTEIO when the back-end refused; or the connection's failure, which is kept.
 * ask: sends, and waits for an answer of exactly @answer_bytes
 * tell: sends, and waits until the back-end has done it, or refused
 */
int front_ask(struct gm_vu_front *front, enum vu_request request, const void *payload, size_t bytes, void *answer,
	      size_t answer_bytes);
int front_ask_with(struct gm_vu_front *front, enum vu_request request, const void *payload, size_t bytes, int fd,
		   void *answer, size_t answer_bytes);
int front_tell(struct gm_vu_front *front, enum vu_request request, const void *payload, size_t bytes, const int *fds,
	       size_t fds_count);

/* The address in this process of guest memory that was handed over, all of it in one region. Return: 0; -GM_EHOLE. */
int front_translate(const struct gm_vu_front *front, struct gm_gpa at, uint64_t bytes, uint64_t *ret_hva);
/* SET_VRING_ADDR, with the flag for logging as it is now. */
int front_send_ring_address(struct gm_vu_front *front, unsigned queue);
/* SET_FEATURES, with LOG_ALL as it is now. */
int front_send_features(struct gm_vu_front *front);

/* The log follows the table: a larger one when memory has come above it. Return: 0; -ENOMEM; a failure. */
int front_log_fit(struct gm_vu_front *front, const struct front_entry *table, size_t count, struct gm_error *error);
/* What the log has of a region, into that region's own log. */
void front_log_take(struct gm_vu_front *front, const struct front_entry *entry);
void front_log_free(struct gm_vu_front *front);

#endif

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Inside of a back-end's connection. Start reading at gm_vu_run() in backend.c.
 *
 * A message goes through three steps: begin (check it against the state; ask queues to stop that must not run meanwhile), apply (do
 * it; all or nothing) and finish (start queues that can run, bring the log up to date, answer). Between two steps a message may wait:
 * before apply for queues to stop, after it for memory to be released. One message at a time; nothing is read while one waits.
 *
 * Locking: none; one thread at a time per connection.
 */
#ifndef VU_VU_H
#define VU_VU_H

#include <guestmem/access.h>
#include <guestmem/vhost_user.h>

#include "message.h"
#include "table.h"
#include "wire.h"

#define VU_PUBLIC __attribute__((visibility("default")))

/* What every queue's index, and the table's count, are bounded by. */
_Static_assert(VU_SLOTS_MAX == GM_VU_SLOTS_MAX, "the table's limit is the one that is announced");
_Static_assert(VU_CONFIG_MAX == GM_VU_CONFIG_MAX, "as large a configuration space as a message can have");

/* One region of the front-end's memory. The space owns the region itself. */
struct vu_ram {
	struct gm_region *region;       /* while it stands in the space */
	struct gm_dirty_reader *reader; /* while there is a log */
	uint64_t gpa, bytes;
	bool may_shrink;     /* nothing keeps the front-end from making its file shorter */
	struct vu_ram *next; /* of those that were removed and are not released yet */
};

/* Bytes of a file of the front-end's, reached through views like guest memory: it may shrink under us. All zeros: none. */
struct vu_window {
	struct gm_memory *memory;
	struct gm_gpa at;
	uint64_t bytes;
};

struct vu_release;

enum vu_queue_state {
	VU_STOPPED,
	VU_RUNNING,
	VU_STOPPING, /* the device was asked to */
};

struct vu_queue {
	enum vu_queue_state state;
	bool started; /* the front-end gave a kick descriptor, or said that there is none */
	bool enabled;
	bool refused; /* it could not be started as it is; told once */
	bool has_rings;
	bool logs_used;
	uint32_t size;
	uint16_t next;
	uint64_t desc, used, avail; /* user addresses */
	uint64_t log_gpa;
	int kick, call, err;    /* -1: none */
	struct gm_vu_ring ring; /* as the device has it while it is not stopped */
};

struct vu_log {
	struct vu_window window;
	struct gm_view view;
	bool is_on;       /* there is a window, and the feature was taken: every region has a reader */
	uint64_t dropped; /* pages that were dirty and stand beyond the log */
	int fd;           /* to be told when the log changed; -1: none */
};

enum vu_phase {
	VU_IDLE,
	VU_BEFORE_APPLY, /* waits for queues to stop */
	VU_AFTER_APPLY,  /* waits for memory to be released */
};

struct gm_vu {
	struct vu_wire wire;
	struct gm_space *space;
	struct gm_vu_device device;
	struct vu_terms terms;
	uint64_t features; /* taken */
	bool has_features;
	bool is_closed;
	bool is_running; /* gm_vu_run() is on the stack */

	enum vu_phase phase;
	struct vu_message message;
	const char *reason;         /* why the message at hand was refused */
	bool is_over;               /* and no answer would do: the connection has to end */
	struct vu_release *release; /* of what the message at hand removed; NULL: of nothing */

	struct vu_table table;
	struct vu_plan plan; /* of the message at hand */
	struct vu_ram *leaving;
	uint64_t regions_made; /* for names */

	struct vu_log log;
	struct vu_window inflight;
	uint16_t inflight_queues, inflight_queue_size;

	struct vu_queue queues[GM_VU_QUEUES_MAX];
};

/* Fills *error (unless NULL) and returns @code. */
int vu_error(struct gm_error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Why the message at hand is refused, and the code. */
static inline int vu_refuse(struct gm_vu *vu, int code, const char *reason)
{
	vu->reason = reason;
	return code;
}

/*
 * memory.c
 */

/* begin and apply of the three messages on memory. */
int vu_memory_begin(struct gm_vu *vu);
int vu_memory_apply(struct gm_vu *vu);
/* Whether what the message removed is still held by somebody. */
bool vu_memory_is_held(struct gm_vu *vu);
/* What was removed is released: forget it. Return: 0; or why the log lost what was written there last. */
int vu_memory_released(struct gm_vu *vu);
/* Everything out of the space. */
void vu_memory_clear(struct gm_vu *vu);

/*
 * queue.c
 */

void vu_queues_init(struct gm_vu *vu);
void vu_queues_fini(struct gm_vu *vu);
/* Whether any is not stopped. */
bool vu_queues_run(const struct gm_vu *vu);
bool vu_queues_stop_now(const struct gm_vu *vu);
/* Ask the device to stop it, if it runs. */
void vu_queue_stop(struct gm_vu *vu, unsigned index);
void vu_queues_stop(struct gm_vu *vu);
/* Ask those to stop whose rings stand elsewhere, or in other memory, by @next. */
void vu_queues_stop_moved(struct gm_vu *vu, const struct vu_table *next);
/* Start what can run and does not. */
void vu_queues_start(struct gm_vu *vu);
/* begin and apply of the messages on one queue. */
int vu_queue_begin(struct gm_vu *vu);
int vu_queue_apply(struct gm_vu *vu);
/* Signal an eventfd of somebody else's; never blocks. -1 is none. */
void vu_signal(int fd);
/* Whether a descriptor may be signalled and read as an eventfd. */
bool vu_is_eventfd(int fd);

/*
 * log.c
 */

void vu_log_fini(struct gm_vu *vu);
/* apply of SET_LOG_BASE. */
int vu_log_set(struct gm_vu *vu);
/* Features have changed: begin or end to log. Return: 0; -ENOMEM and the like. */
int vu_log_update(struct gm_vu *vu);
/* A region came while there is a log. */
int vu_log_add(struct gm_vu *vu, struct vu_ram *ram);
/* A region goes: what was written in it last. Return: as gm_vu_log_sync(). */
int vu_log_drain(struct gm_vu *vu, struct vu_ram *ram);

/*
 * window.c
 */

/* @fd stays the caller's. Return: 0, or as gm_region_new(). */
int vu_window_open(struct vu_window *window, const char *name, int fd, uint64_t offset, uint64_t bytes);
/* Accepts one of zeros, and makes it one. */
void vu_window_close(struct vu_window *window);

/*
 * inflight.c
 */

/* Answers GET_INFLIGHT_FD. */
int vu_inflight_answer(struct gm_vu *vu);
int vu_inflight_begin(struct gm_vu *vu);
int vu_inflight_apply(struct gm_vu *vu);
/* The part of a queue's record. Return: 0; -EINVAL when there is a record, but not for such a queue. */
int vu_inflight_of(struct gm_vu *vu, unsigned index, struct gm_vu_ring *ring);

#endif

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * An io_uring that is a whole event loop: transfers, and waiting for descriptors, are submitted together, once per turn, and what is
 * over calls back. One thread, which also has to be the one that made it.
 *
 *	uring_init(&uring, entries)
 *	loop:	uring_turn(&uring, -1)		submits, waits for something, calls back
 *		work on what the callbacks noted
 *	uring_fini(&uring)			when no transfer is in flight any more
 */
#ifndef DEVICES_URING_H
#define DEVICES_URING_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#include <guestmem/inline.h>

/* Descriptors that transfers name by an index, which spares the kernel its look-up. */
#define URING_FILES_MAX 8

/* What is in flight: @done is called with what its completion says. Stays in place until the last completion was seen. */
struct uring_event {
	void (*done)(struct uring_event *event, int32_t result, uint32_t flags);
};

struct uring_watch;

/* Fields are private. */
struct uring {
	struct io_uring ring;
	struct uring_watch *watches;
	unsigned files_count;
};

/**
 * uring_init - make a ring
 * @entries: submissions of one turn; more of them make a system call more
 *
 * Return: 0, or the error number of io_uring_setup(2), of which -ENOSYS and -EPERM mean that there is none here.
 */
GM_CHECKED int uring_init(struct uring *uring, unsigned entries);
/* Ends all watches. Nothing else may be in flight. */
void uring_fini(struct uring *uring);

/* Register a descriptor, which may be closed then. Return: its index; -ENOSPC; an error number. */
GM_CHECKED int uring_add_file(struct uring *uring, int fd);

/*
 * Room for a submission, which the caller fills by io_uring_prep_...() and then uring_set_event(), whose completion comes in some
 * later turn. Return: NULL while the kernel takes none: try again after a turn.
 */
struct io_uring_sqe *uring_prepare(struct uring *uring);
static inline void uring_set_event(struct io_uring_sqe *sqe, struct uring_event *event)
{
	io_uring_sqe_set_data(sqe, event);
}

/**
 * uring_turn - submit, take completions, call back
 * @wait_ns: wait until there is one, for so long at most; 0: don't; negative: for as long as it takes
 *
 * Return: 0, also when interrupted by a signal; or the error number of io_uring_enter(2), which is not to be got over.
 */
GM_CHECKED int uring_turn(struct uring *uring, int64_t wait_ns);

/**
 * uring_watch_new - wait for a descriptor to become readable, or to break
 * @edges: stay on: call for each time that something comes, without a submission in between and without anybody having to read it.
 *	For an eventfd. Else one call per uring_watch_arm(), whose descriptor is readable already or becomes so
 * @ready: called from uring_turn(). May end the watch
 *
 * Return: NULL without memory.
 */
struct uring_watch *uring_watch_new(struct uring *uring, int fd, bool edges, void (*ready)(void *opaque), void *opaque);
/* Begin to wait, unless it does. To be called before each turn. Does nothing for NULL. */
void uring_watch_arm(struct uring_watch *watch);
/* No call comes any more. The descriptor may be closed. Accepts NULL. */
void uring_watch_free(struct uring_watch *watch);

#endif

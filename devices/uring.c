/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The loop's ring. Owns the ring and all watches, those too that were ended and whose last completion did not come yet: the kernel
 * still has their address. No locks: one thread.
 */
#include "uring.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

/* Completions that fit in before the kernel has to keep them elsewhere. */
#define COMPLETIONS 8192
/* Taken per turn at most, so that what they lead to is submitted and told of before long. */
#define BATCH 256

struct uring_watch {
	struct uring_event event;
	struct uring *uring;
	struct uring_watch *next, *previous;
	int fd; /* -1: ended */
	bool edges;
	bool is_armed;
	void (*ready)(void *opaque);
	void *opaque;
};

static void ignore(struct uring_event *event, int32_t result, uint32_t flags)
{
	(void)event;
	(void)result;
	(void)flags;
}

static struct uring_event ignored = { ignore };

int uring_init(struct uring *uring, unsigned entries)
{
	/* Completions are made when we ask for them, by ourselves: no interrupts of this thread. Since Linux 6.1. */
	struct io_uring_params quick = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN,
		.cq_entries = COMPLETIONS,
	};
	struct io_uring_params plain = { .flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP, .cq_entries = COMPLETIONS };
	int none[URING_FILES_MAX], r;
	unsigned i;

	memset(uring, 0, sizeof(*uring));
	r = io_uring_queue_init_params(entries, &uring->ring, &quick);
	if (r == -EINVAL)
		r = io_uring_queue_init_params(entries, &uring->ring, &plain);
	if (r < 0)
		return r;
	for (i = 0; i < URING_FILES_MAX; i++)
		none[i] = -1;
	r = io_uring_register_files(&uring->ring, none, URING_FILES_MAX);
	if (r < 0)
		io_uring_queue_exit(&uring->ring);
	return r;
}

void uring_fini(struct uring *uring)
{
	struct uring_watch *watch;

	io_uring_queue_exit(&uring->ring);
	while ((watch = uring->watches) != NULL) {
		uring->watches = watch->next;
		free(watch);
	}
}

int uring_add_file(struct uring *uring, int fd)
{
	int r;

	if (uring->files_count == URING_FILES_MAX)
		return -ENOSPC;
	r = io_uring_register_files_update(&uring->ring, uring->files_count, &fd, 1);
	if (r < 0)
		return r;
	return (int)uring->files_count++;
}

struct io_uring_sqe *uring_prepare(struct uring *uring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

	if (sqe == NULL && io_uring_submit(&uring->ring) >= 0)
		sqe = io_uring_get_sqe(&uring->ring);
	return sqe;
}

/* Return: how many completions were taken. */
static unsigned take(struct uring *uring)
{
	struct io_uring_cqe *cqes[BATCH];
	const unsigned count = io_uring_peek_batch_cqe(&uring->ring, cqes, BATCH);
	unsigned i;

	for (i = 0; i < count; i++) {
		struct uring_event *event = io_uring_cqe_get_data(cqes[i]);
		const int32_t result = cqes[i]->res;
		const uint32_t flags = cqes[i]->flags;

		event->done(event, result, flags);
	}
	io_uring_cq_advance(&uring->ring, count);
	return count;
}

int uring_turn(struct uring *uring, int64_t wait_ns)
{
	static const struct timespec moment = { .tv_nsec = 1000000 };
	/* What is there already need not be waited for. */
	const bool has_some = io_uring_cq_ready(&uring->ring) > 0;
	struct __kernel_timespec timeout = { .tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000 };
	struct io_uring_cqe *cqe;
	int r;

	if (wait_ns < 0 && !has_some)
		r = io_uring_submit_and_wait(&uring->ring, 1);
	else if (wait_ns > 0 && !has_some)
		r = io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1, &timeout, NULL);
	else
		r = io_uring_submit_and_get_events(&uring->ring);
	if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY && r != -ENOMEM && r != -ETIME)
		return r;
	/* Short of memory, or of room for completions: those that are there make some. If there are none, don't spin. */
	if (take(uring) == 0 && r < 0 && r != -EINTR && r != -ETIME)
		(void)nanosleep(&moment, NULL);
	return 0;
}

/*
 * Watches
 */

static void unlink_watch(struct uring_watch *watch)
{
	if (watch->previous != NULL)
		watch->previous->next = watch->next;
	else
		watch->uring->watches = watch->next;
	if (watch->next != NULL)
		watch->next->previous = watch->previous;
}

/* An eventfd that is polled anew says again what was not read. Never blocks, whatever the descriptor is. */
static void drain(int fd)
{
	uint64_t count;
	struct iovec iovec = { .iov_base = &count, .iov_len = sizeof(count) };

	if (preadv2(fd, &iovec, 1, -1, RWF_NOWAIT) < 0)
		return;
}

static void watch_done(struct uring_event *event, int32_t result, uint32_t flags)
{
	struct uring_watch *watch = (struct uring_watch *)event;

	if (!(flags & IORING_CQE_F_MORE))
		watch->is_armed = false;
	if (watch->fd >= 0) {
		if (watch->edges && !watch->is_armed && result >= 0)
			drain(watch->fd);
		watch->ready(watch->opaque);
		return;
	}
	if (!watch->is_armed) {
		unlink_watch(watch);
		free(watch);
	}
}

struct uring_watch *uring_watch_new(struct uring *uring, int fd, bool edges, void (*ready)(void *opaque), void *opaque)
{
	struct uring_watch *watch = calloc(1, sizeof(*watch));

	if (watch == NULL)
		return NULL;
	watch->event.done = watch_done;
	watch->uring = uring;
	watch->fd = fd;
	watch->edges = edges;
	watch->ready = ready;
	watch->opaque = opaque;
	watch->next = uring->watches;
	if (watch->next != NULL)
		watch->next->previous = watch;
	uring->watches = watch;
	return watch;
}

void uring_watch_arm(struct uring_watch *watch)
{
	struct io_uring_sqe *sqe;

	if (watch == NULL || watch->is_armed)
		return;
	sqe = uring_prepare(watch->uring);
	if (sqe == NULL)
		return;
	if (watch->edges)
		io_uring_prep_poll_multishot(sqe, watch->fd, POLLIN);
	else
		io_uring_prep_poll_add(sqe, watch->fd, POLLIN);
	uring_set_event(sqe, &watch->event);
	watch->is_armed = true;
}

void uring_watch_free(struct uring_watch *watch)
{
	struct io_uring_sqe *sqe;

	if (watch == NULL)
		return;
	watch->fd = -1;
	if (!watch->is_armed) {
		unlink_watch(watch);
		free(watch);
		return;
	}
	/* Its completion frees it. Where none can be asked for now, it comes with the descriptor's next event, or the ring's end. */
	sqe = uring_prepare(watch->uring);
	if (sqe == NULL)
		return;
	io_uring_prep_poll_remove(sqe, (uint64_t)(uintptr_t)&watch->event);
	uring_set_event(sqe, &ignored);
	(void)io_uring_submit(&watch->uring->ring);
}

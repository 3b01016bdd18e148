/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The back-end's log of what it writes: shared memory of ours, a bit for each page of 4 KiB from guest physical address 0 up to the highest
 * that was handed over. The back-end sets bits at any time; we take them by indivisible operations, and mark them in the log of the region that
 * stands there. The memory is ours and sealed, so that the back-end can't take it away from under us.
 */
#include "front.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define F_LOG_ALL (UINT64_C(1) << 26)
/* Pages of a word, and so what a log grows by. */
#define WORD_BYTES (UINT64_C(64) * FRONT_LOG_PAGE)

struct log_message {
	uint64_t bytes, offset;
};

void front_log_free(struct gm_vu_front *front)
{
	if (front->log != NULL)
		munmap(front->log, front->log_bytes);
	if (front->log_fd >= 0)
		close(front->log_fd);
	if (front->unsure_log != NULL)
		munmap(front->unsure_log, front->unsure_bytes);
	front->log = front->unsure_log = NULL;
	front->log_bytes = front->unsure_bytes = 0;
	front->log_fd = -1;
}

/* The word with the bits of @pages pages from @first on, which are all in it, goes to 0. */
static uint64_t take_bits(uint64_t *log, uint64_t first, uint64_t pages)
{
	uint64_t *word = &log[first / 64];
	uint64_t mask = (pages < 64 ? (UINT64_C(1) << pages) - 1 : UINT64_MAX) << first % 64;

	if ((__atomic_load_n(word, __ATOMIC_RELAXED) & mask) == 0)
		return 0;
	/* Acquire: pairs with the back-end's, so that what it wrote before is seen by whoever reads the page now. */
	return (__atomic_fetch_and(word, ~mask, __ATOMIC_ACQ_REL) & mask) >> first % 64;
}

static void take_from(uint64_t *log, size_t log_bytes, const struct front_entry *entry)
{
	uint64_t first = entry->wire.gpa / FRONT_LOG_PAGE,
		 last = (entry->wire.gpa + (entry->wire.bytes - 1)) / FRONT_LOG_PAGE;
	struct gm_dirty *dirty = gm_region_dirty(entry->region);
	uint64_t limit = log_bytes * 8, at, pages, bits;

	if (dirty == NULL || log == NULL)
		return;
	for (at = first; at <= last && at < limit; at += pages) {
		pages = 64 - at % 64 <= last - at ? 64 - at % 64 : last - at + 1;
		for (bits = take_bits(log, at, pages); bits != 0; bits &= bits - 1)
			gm_dirty_mark(dirty, gm_offset((at + (uint64_t)__builtin_ctzll(bits) - first) * FRONT_LOG_PAGE),
				      1);
	}
}

void front_log_take(struct gm_vu_front *front, const struct front_entry *entry)
{
	take_from(front->log, front->log_bytes, entry);
	take_from(front->unsure_log, front->unsure_bytes, entry);
	/*
	 * The bits go before anybody reads the pages: a back-end that writes one now, and finds its bit set still, leaves it at that. Pairs
	 * with the fence between its writing and its looking.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void take_all(struct gm_vu_front *front)
{
	size_t i;

	for (i = 0; i < front->count; i++)
		front_log_take(front, &front->table[i]);
}

static int make_log(size_t bytes, int *ret_fd, uint64_t **ret_log)
{
	int fd = memfd_create("vhost-user-log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *log;
	int r;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) != 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
		r = -errno;
		close(fd);
		return r;
	}
	log = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (log == MAP_FAILED) {
		r = -errno;
		close(fd);
		return r;
	}
	*ret_fd = fd;
	*ret_log = log;
	return 0;
}

static int send_log(struct gm_vu_front *front, int fd, size_t bytes)
{
	struct log_message message = { bytes, 0 };
	uint64_t answer;

	/* What it answers is not agreed upon: 0, or the size. */
	return front_ask_with(front, VU_SET_LOG_BASE, &message, sizeof(message), fd, &answer, sizeof(answer));
}

/* A log of that size in place of the one that is there, whose bits are taken when nothing comes to them any more. */
static int replace(struct gm_vu_front *front, size_t bytes)
{
	uint64_t *log = NULL, *old = front->log;
	size_t old_bytes = front->log_bytes;
	int fd = -1, old_fd = front->log_fd;
	int r = make_log(bytes, &fd, &log);

	if (r)
		return r;
	r = send_log(front, fd, bytes);
	if (r) {
		close(fd);
		/* It happens once, for nothing is sent any more. */
		if (front->failure.code != 0 && front->unsure_log == NULL) {
			front->unsure_log = log;
			front->unsure_bytes = bytes;
		} else {
			munmap(log, bytes);
		}
		return r;
	}
	take_all(front);
	if (old != NULL)
		munmap(old, old_bytes);
	if (old_fd >= 0)
		close(old_fd);
	front->log = log;
	front->log_bytes = bytes;
	front->log_fd = fd;
	return 0;
}

static size_t size_for(const struct front_entry *table, size_t count)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), last, bytes;

	if (count == 0)
		return page;
	last = table[count - 1].wire.gpa + (table[count - 1].wire.bytes - 1);
	bytes = (last / WORD_BYTES + 1) * 8;
	return (bytes + page - 1) / page * page;
}

/* With what an update is about to bring: the back-end has it already. */
static size_t size_for_all(const struct gm_vu_front *front)
{
	size_t now = size_for(front->table, front->count);
	size_t then = front->after != NULL ? size_for(front->after, front->after_count) : 0;

	return now > then ? now : then;
}

int front_log_fit(struct gm_vu_front *front, const struct front_entry *table, size_t count, struct gm_error *error)
{
	size_t bytes = size_for(table, count);
	int r;

	if (!front->is_logging || bytes <= front->log_bytes)
		return 0;
	r = replace(front, bytes);
	if (r != 0 && front_failed(front, error) == 0)
		front_say(error, r, "a log of %zu bytes for '%s': %s", bytes, front->name, strerror(-r));
	return r;
}

/* The back-end is told of features first when it ends, last when it begins: as long as it logs, it has a log. */
static int switch_log(struct gm_vu_front *front, bool on)
{
	unsigned queue;
	int r = 0;

	if (on)
		r = replace(front, size_for_all(front));
	if (r)
		return r;
	front->is_logging = on;
	r = front_send_features(front);
	for (queue = 0; r == 0 && queue < front->queues; queue++) {
		if (front->queue[queue].is_started)
			r = front_send_ring_address(front, queue);
	}
	if (r == -EREMOTEIO)
		r = front_break(front, -ECONNABORTED, "the back-end of '%s' does not let its log be switched %s",
				front->name, on ? "on" : "off");
	if (on || front->log == NULL)
		return r;
	take_all(front);
	if (r == 0)
		front_log_free(front);
	/* A back-end that was not told goes on writing, and logging, until it ends. */
	front->is_logging = r != 0;
	return r;
}

FRONT_PUBLIC int gm_vu_front_log(struct gm_vu_front *front, bool on, struct gm_error *error)
{
	int r;

	pthread_mutex_lock(&front->mutex);
	r = front_failed(front, error);
	if (r == 0 && front->space == NULL)
		r = front_say(error, -ENOENT, "'%s' has no space whose memory could be logged", front->name);
	if (r == 0 && ((front->offered & F_LOG_ALL) == 0 || (front->protocol & GM_VU_FRONT_LOG_SHMFD) == 0))
		r = front_say(error, -EOPNOTSUPP, "the back-end of '%s' can't log what it writes", front->name);
	if (r == 0 && on != front->is_logging) {
		r = switch_log(front, on);
		if (r != 0 && front_failed(front, error) == 0)
			front_say(error, r, "the log of '%s': %s", front->name, strerror(-r));
	}
	pthread_mutex_unlock(&front->mutex);
	return r;
}

FRONT_PUBLIC int gm_vu_front_log_sync(struct gm_vu_front *front)
{
	int r = 0;

	pthread_mutex_lock(&front->mutex);
	if (front->is_logging)
		take_all(front);
	else
		r = -EINVAL;
	pthread_mutex_unlock(&front->mutex);
	return r;
}

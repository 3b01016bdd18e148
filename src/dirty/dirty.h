/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Inside of a dirty log. dirty.c makes logs and readers, mark.c sets bits, merge.c sets those of foreign bitmaps, take.c takes
 * and clears them, collect.c gives them to readers, and emit.c makes ranges of them. Start reading in mark.c: its opening states
 * the guarantees that all of them keep.
 *
 * Two levels of bits, everywhere the same: a word is 64 pages, a group is 8 words (512 pages, one cache line), and one summary bit
 * stands for a group; a window is what one summary word stands for, 64 groups. Set bits imply a set summary bit as soon as the call that set them has returned; a set summary bit implies nothing.
 *
 * Locking: the primary and the late bits are atomics; any thread sets them, only the holder of the log's mutex clears them. A reader's
 * pending bits, the list of readers, and growing the log belong to the mutex.
 */
#ifndef GMI_DIRTY_H
#define GMI_DIRTY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guestmem/dirty.h>

#define GMI_DIRTY_GROUP_WORDS  (GMI_DIRTY_PAGES_PER_SUMMARY / 64)
#define GMI_DIRTY_WINDOW_WORDS (GMI_DIRTY_GROUP_WORDS * 64)
#define GMI_DIRTY_WINDOW_PAGES (UINT64_C(64) * GMI_DIRTY_WINDOW_WORDS)

_Static_assert(GM_DIRTY_PAGES_MAX / GMI_DIRTY_WINDOW_PAGES <= 1 << GMI_DIRTY_WINDOW_BITS,
	       "head.clearing names any window");

/* Bits of two levels. words is aligned to a cache line and holds whole groups. */
struct gmi_dirty_bits {
	uint64_t *words;
	uint64_t *summary;
	void *memory;
	size_t size;
};

struct gm_dirty_reader {
	struct gm_dirty *dirty;
	struct gmi_dirty_bits pending; /* what others drained from the primary, and what did not fit into our ranges */
	bool pending_any;              /* false: pending is all zeros, and need not be looked at */
};

struct gm_dirty {
	struct gmi_dirty_head head; /* first: the inlined write path sees only this */
	uint64_t bytes;             /* atomic, grows only; head.pages follows it */
	/* Marking reads what is above; the mutex below is written by every collect. Keep them in different cache lines. */
	char apart[128 - sizeof(struct gmi_dirty_head) - sizeof(uint64_t)];
	pthread_mutex_t mutex;
	uint64_t bytes_max;
	struct gmi_dirty_bits primary;
	struct gmi_dirty_bits
		late;  /* marks that could not be sure of the primary bits, which a collector was clearing */
	bool late_any; /* atomic; false: nothing is in the late bits but what is being put there */
	bool is_freed; /* by its owner; the last reader takes it down */
	size_t readers_count;
	struct gm_dirty_reader *readers[GM_DIRTY_READERS_MAX];
};

/* The bits of word @index that stand for numbers from @first to @last; the word has at least one of them. */
static inline uint64_t gmi_dirty_mask(uint64_t index, uint64_t first, uint64_t last)
{
	uint64_t mask = UINT64_MAX;

	if (index == first / 64)
		mask &= UINT64_MAX << (first % 64);
	if (index == last / 64)
		mask &= UINT64_MAX >> (63 - last % 64);
	return mask;
}

/* Marks pages from @first to @last, which are inside the log. Any thread. */
void gmi_dirty_mark_pages(const struct gmi_dirty_head *head, uint64_t first, uint64_t last);

/* Marks the pages that @bits says of word @index; they are inside the log. Any thread. */
void gmi_dirty_mark_bits(const struct gmi_dirty_head *head, uint64_t index, uint64_t bits);

/*
 * Takes whole groups of a window, those that @groups says, with their summary bits, out of the primary bits, into their places in
 * @bits, which is for a whole window. The mutex is held.
 */
void gmi_dirty_take(struct gm_dirty *dirty, uint64_t window, uint64_t groups, uint64_t *bits);
/* Those pages of one group that @masks says. */
void gmi_dirty_take_part(struct gm_dirty *dirty, uint64_t group, const uint64_t *masks, uint64_t *bits);
/* Marks again what was taken and can't be used. */
void gmi_dirty_put_back(struct gm_dirty *dirty, uint64_t window, uint64_t groups, const uint64_t *bits);
/* Moves the late bits to the primary ones. Comes before anything that looks at those with the mutex held. */
void gmi_dirty_take_late(struct gm_dirty *dirty);

/* Moves all that the primary bits have into the readers' pending bits; without readers, drops it. The mutex is held. */
void gmi_dirty_drain_all(struct gm_dirty *dirty);

#endif

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The front-end's log: one bit per 4 KiB of guest memory, in memory of its own. While it is on, each region has a reader of its
 * dirty log, which is made when it is switched on: so nothing of before is told, and nothing after is lost.
 *
 * The used ring is guest memory that the device writes through its view, so its pages are found among the others; where the front-end
 * wants them logged at another address (SET_VRING_ADDR), they are logged there too.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "vu.h"

/* Ranges of dirty pages that are taken at a time. */
#define RANGES_MAX 256

#define BYTE_BITS 8
#define WORD_BITS 64

/* Sets bits [first, first + count) of the byte or word at @at, if they are not set: that would cost others their cache line. */
static int set_bits(struct gm_view *view, struct gm_gpa at, uint64_t mask, bool word)
{
	struct gm_le64 ordered = gm_le64(mask);
	uint64_t old_word;
	uint8_t old;
	int r;

	if (word) {
		r = gm_load_u64(view, at, GM_RELAXED, &old_word);
		if (r != 0 || (old_word & ordered.raw) == ordered.raw)
			return r;
		return gm_fetch_or_u64(view, at, GM_SEQ_CST, ordered.raw, &old_word);
	}
	r = gm_load_u8(view, at, GM_RELAXED, &old);
	if (r != 0 || (old & mask) == mask)
		return r;
	return gm_fetch_or_u8(view, at, GM_SEQ_CST, (uint8_t)mask, &old);
}

static uint64_t ones(uint64_t from, uint64_t to)
{
	return (UINT64_MAX << from) & (UINT64_MAX >> (WORD_BITS - 1 - to));
}

/* Pages from @first to @last, both included, which the log has. */
static int set_pages(struct vu_log *log, uint64_t first, uint64_t last)
{
	for (;;) {
		struct gm_gpa at = gm_gpa_add_wrapping(log->window.at, first / BYTE_BITS);
		/* By words where one stands there as a whole, in memory and in the log. */
		bool word = at.value % 8 == 0 && first / BYTE_BITS + 8 <= log->window.bytes;
		uint64_t bits = word ? WORD_BITS : BYTE_BITS, from = first % BYTE_BITS, to = bits - 1,
			 left = last - first;
		int r;

		if (left < to - from)
			to = from + left;
		r = set_bits(&log->view, at, ones(from, to), word);
		if (r != 0 || to - from == left)
			return r;
		first += to - from + 1;
	}
}

/* Guest addresses from @first to @last. */
static int mark(struct gm_vu *vu, uint64_t first, uint64_t last)
{
	struct vu_log *log = &vu->log;
	uint64_t first_page = first / VU_PAGE_BYTES, last_page = last / VU_PAGE_BYTES, pages;

	/* So many bits are more than there are pages. */
	pages = log->window.bytes > UINT64_MAX / BYTE_BITS ? UINT64_MAX : log->window.bytes * BYTE_BITS;
	if (last_page >= pages) {
		log->dropped += last_page - (first_page < pages ? pages - 1 : first_page - 1);
		if (first_page >= pages)
			return 0;
		last_page = pages - 1;
	}
	return set_pages(log, first_page, last_page);
}

/* What of [first, last] is a used ring that is to be logged elsewhere. */
static int mark_used(struct gm_vu *vu, uint64_t first, uint64_t last)
{
	for (unsigned i = 0; i < vu->device.queues; i++) {
		const struct vu_queue *queue = &vu->queues[i];
		uint64_t used = queue->ring.used.value, used_last = used + 6 + UINT64_C(8) * queue->ring.size - 1;
		uint64_t from, to;
		int r;

		if (!queue->logs_used || queue->ring.size == 0 || used > last || used_last < first)
			continue;
		from = (first > used ? first : used) - used;
		to = (last < used_last ? last : used_last) - used;
		/* A front-end that wants it logged beyond all addresses gets nothing. */
		if (to > UINT64_MAX - queue->log_gpa)
			continue;
		r = mark(vu, queue->log_gpa + from, queue->log_gpa + to);
		if (r != 0)
			return r;
	}
	return 0;
}

/* Return: 0, or 1 when something was marked; or why the log can't be written. */
static int collect(struct gm_vu *vu, struct vu_ram *ram)
{
	struct gm_dirty_range ranges[RANGES_MAX];
	struct gm_offset at = gm_offset(0);
	int more, r, any = 0;
	size_t count;

	do {
		more = gm_dirty_collect(ram->reader, at, UINT64_MAX, ranges, RANGES_MAX, &count, &at);
		if (more < 0)
			return more;
		/*
		 * What was written goes before the look at the log, where a bit that is set is left at that: else the front-end
		 * could clear it and copy the page as it was. Pairs with the front-end's barrier between its clearing and its copying.
		 */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		for (size_t i = 0; i < count; i++) {
			uint64_t first = ram->gpa + ranges[i].first.value, last = ram->gpa + ranges[i].last.value;

			r = mark(vu, first, last);
			if (r == 0)
				r = mark_used(vu, first, last);
			if (r != 0)
				return r;
			any = 1;
		}
	} while (more == 1);
	return any;
}

/* Nobody collects any more. */
static void switch_off(struct gm_vu *vu)
{
	for (uint32_t i = 0; i < vu->table.count; i++) {
		struct vu_ram *ram = vu->table.entries[i].ram;

		gm_dirty_reader_free(ram->reader);
		ram->reader = NULL;
	}
	for (struct vu_ram *ram = vu->leaving; ram != NULL; ram = ram->next) {
		gm_dirty_reader_free(ram->reader);
		ram->reader = NULL;
	}
	vu->log.is_on = false;
}

static void close_window(struct vu_log *log)
{
	if (log->window.memory != NULL)
		(void)gm_view_fini(&log->view);
	vu_window_close(&log->window);
}

void vu_log_fini(struct gm_vu *vu)
{
	switch_off(vu);
	close_window(&vu->log);
	if (vu->log.fd >= 0)
		close(vu->log.fd);
	vu->log.fd = -1;
}

/* The log itself can't be written: there is none any more. */
static int lose_log(struct gm_vu *vu, int code)
{
	switch_off(vu);
	close_window(&vu->log);
	return code;
}

VU_PUBLIC int gm_vu_log_sync(struct gm_vu *vu)
{
	int r = 0, any = 0;

	if (!vu->log.is_on)
		return 0;
	gm_view_enter(&vu->log.view);
	for (uint32_t i = 0; i < vu->table.count && r >= 0; i++) {
		r = collect(vu, vu->table.entries[i].ram);
		any |= r > 0;
	}
	gm_view_leave(&vu->log.view);
	if (any)
		vu_signal(vu->log.fd);
	return r < 0 ? lose_log(vu, r) : 0;
}

int vu_log_drain(struct gm_vu *vu, struct vu_ram *ram)
{
	int r;

	if (!vu->log.is_on || ram->reader == NULL)
		return 0;
	gm_view_enter(&vu->log.view);
	r = collect(vu, ram);
	gm_view_leave(&vu->log.view);
	if (r > 0)
		vu_signal(vu->log.fd);
	return r < 0 ? lose_log(vu, r) : 0;
}

int vu_log_add(struct gm_vu *vu, struct vu_ram *ram)
{
	return vu->log.is_on ? gm_dirty_reader_new(gm_region_dirty(ram->region), &ram->reader) : 0;
}

static int switch_on(struct gm_vu *vu)
{
	int r = 0;

	vu->log.is_on = true;
	for (uint32_t i = 0; i < vu->table.count && r == 0; i++)
		r = vu_log_add(vu, vu->table.entries[i].ram);
	if (r != 0)
		switch_off(vu);
	return r;
}

int vu_log_update(struct gm_vu *vu)
{
	bool wanted = vu->log.window.memory != NULL && (vu->features & GM_VU_F_LOG_ALL);

	if (wanted && !vu->log.is_on)
		return switch_on(vu);
	if (!wanted && vu->log.is_on) {
		(void)gm_vu_log_sync(vu);
		switch_off(vu);
	}
	return 0;
}

int vu_log_set(struct gm_vu *vu)
{
	const struct vu_message *message = &vu->message;
	struct vu_window window;
	int r = vu_window_open(&window, "log", vu->wire.fds[0], message->log.offset, message->log.bytes);

	if (r != 0)
		return vu_refuse(vu, r, "the log can't be mapped");
	/* What was written so far belongs into the old one, which the front-end reads a last time. */
	(void)gm_vu_log_sync(vu);
	close_window(&vu->log);
	r = gm_view_init(&vu->log.view, window.memory, "vhost-user log", 0);
	if (r != 0) {
		vu_window_close(&window);
		switch_off(vu);
		return vu_refuse(vu, r, "the log can't be looked at");
	}
	vu->log.window = window;
	r = vu_log_update(vu);
	return r != 0 ? vu_refuse(vu, r, "no memory for logging") : 0;
}

VU_PUBLIC uint64_t gm_vu_log_dropped(const struct gm_vu *vu)
{
	return vu->log.dropped;
}

VU_PUBLIC bool gm_vu_is_logging(const struct gm_vu *vu)
{
	return vu->log.is_on;
}

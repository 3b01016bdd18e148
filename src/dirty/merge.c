/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Merging foreign bitmaps: those of a hypervisor or of another process. They are hostile input: of any size, for other pages
 * than ours, and changing while we read, so each byte is read once. Owns nothing; marks as any other thread does (mark.c).
 *
 * Set bits become runs of pages of the log, joined while they touch. Runs inside one word of the log are gathered
 * and marked together, so that a bitmap of scattered bits costs one locked operation for each word and not for each bit.
 */
#include <endian.h>
#include <string.h>

#include "base/base.h"
#include "dirty/dirty.h"

#define FOREIGN_PAGE_BYTES_MIN 512

struct merge {
	const struct gmi_dirty_head *head;
	uint64_t offset;     /* of bit 0 */
	uint64_t bytes;      /* the log's */
	uint32_t page_shift; /* of the foreign bitmap */
	bool open;           /* there is a run */
	uint64_t first;      /* the run, in the log's pages */
	uint64_t last;
	uint64_t word; /* gathered bits, and the word they are of */
	uint64_t bits;
};

/* The 64 bits from bit @index on; what lies behind @pages reads as zeros, and its bytes are not touched. */
static uint64_t load_bits(const void *bitmap, uint64_t index, uint64_t pages)
{
	const unsigned char *bytes = (const unsigned char *)bitmap + index / 8;
	uint64_t left = pages - index, bits = 0;

	if (left >= 64)
		memcpy(&bits, bytes, sizeof(bits));
	else
		memcpy(&bits, bytes, (left + 7) / 8);
	/* It may change under us: the compiler must keep this copy and not read again. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	bits = le64toh(bits);
	return left >= 64 ? bits : bits & ((UINT64_C(1) << left) - 1);
}

static void flush_bits(struct merge *merge)
{
	if (merge->bits != 0)
		gmi_dirty_mark_bits(merge->head, merge->word, merge->bits);
	merge->bits = 0;
}

static void flush_run(struct merge *merge)
{
	uint64_t word = merge->first / 64;

	if (!merge->open)
		return;
	merge->open = false;
	if (word != merge->last / 64) {
		gmi_dirty_mark_pages(merge->head, merge->first, merge->last);
		return;
	}
	if (word != merge->word)
		flush_bits(merge);
	merge->word = word;
	merge->bits |= gmi_dirty_mask(word, merge->first, merge->last);
}

/* Foreign bits from @from to @to, which stand inside the log. */
static void add_run(struct merge *merge, uint64_t from, uint64_t to)
{
	uint64_t at = merge->offset + (from << merge->page_shift);
	uint64_t room = merge->bytes - at, length = (to - from + 1) << merge->page_shift;
	uint64_t first = at >> merge->head->page_shift;
	uint64_t last = (at + GMI_MIN(length, room) - 1) >> merge->head->page_shift;

	if (merge->open && first <= merge->last + 1) {
		merge->last = last;
		return;
	}
	flush_run(merge);
	merge->open = true;
	merge->first = first;
	merge->last = last;
}

/* The runs of one foreign word; its first bit is bit @index. */
static void add_bits(struct merge *merge, uint64_t index, uint64_t bits)
{
	uint64_t low, count;

	while (bits != 0) {
		low = (unsigned)__builtin_ctzll(bits);
		bits >>= low;
		count = bits == UINT64_MAX ? 64 : (unsigned)__builtin_ctzll(~bits);
		index += low;
		add_run(merge, index, index + count - 1);
		index += count;
		bits = count == 64 ? 0 : bits >> count;
	}
}

GMI_PUBLIC int gm_dirty_merge(struct gm_dirty *dirty, struct gm_offset offset, const void *bitmap, uint64_t pages,
			      uint64_t page_bytes)
{
	struct merge merge = { .head = &dirty->head, .offset = offset.value, .bytes = gm_dirty_bytes(dirty) };
	uint64_t word, index, bits, inside, room = 0;
	int r = 0;

	if (!gm_is_power_of_2(page_bytes) || page_bytes < FOREIGN_PAGE_BYTES_MIN ||
	    page_bytes > GM_DIRTY_PAGE_BYTES_MAX || !gm_offset_is_aligned(offset, page_bytes))
		return -EINVAL;
	merge.page_shift = (uint32_t)__builtin_ctzll(page_bytes);
	/* Foreign pages that begin inside the log. Below it no product and no sum can wrap: the log ends before 2^62. */
	if (offset.value < merge.bytes)
		room = ((merge.bytes - offset.value - 1) >> merge.page_shift) + 1;

	for (word = 0; word < pages / 64 + (pages % 64 != 0) && r == 0; word++) {
		index = word * 64;
		bits = load_bits(bitmap, index, pages);
		if (bits == 0)
			continue;
		if (index >= room || room - index < 64) {
			inside = index < room ? (UINT64_C(1) << (room - index)) - 1 : 0;
			if ((bits & ~inside) != 0)
				r = -ERANGE; /* and nothing behind can be inside */
			bits &= inside;
		}
		add_bits(&merge, index, bits);
	}
	flush_run(&merge);
	flush_bits(&merge);
	return r;
}

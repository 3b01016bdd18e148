/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * One guarded mapping: what of it was replaced, and whether an access met that. Written in the handler under the guard's lock, read by
 * accesses without one.
 *
 * Invariant: bytes are replaced only after it is said that they are lost, and after a membarrier: so whoever was given a byte
 * of a replaced page finds `hit` set afterwards, by a plain load.
 */
#include "guard/guard.h"

#include <sys/mman.h>

#include "sys/membarrier.h"
#include "sys/mmap.h"

/* Publishes what was said before, to all threads, before any of them can be given a byte of what takes its place. */
static void say_hit(struct gmi_guarded *guarded)
{
	__atomic_store_n(&guarded->head.hit, 1, __ATOMIC_SEQ_CST);
	gmi_membarrier();
}

static bool replace(const struct gmi_guarded *guarded, uint64_t first, uint64_t bytes)
{
	unsigned char *at = guarded->hva + first;

	if (gmi_mmap_over(at, bytes, guarded->prot) != 0)
		return false;
	/* As the rest of the mapping; a child that has it nevertheless has a page too many. */
	if (!guarded->forked)
		(void)gmi_madvise(at, bytes, MADV_DONTFORK);
	return true;
}

bool gmi_guarded_replace_page(struct gmi_guarded *guarded, struct gmi_lost *lost, uint64_t first, uint64_t bytes)
{
	lost->first = first;
	lost->bytes = bytes;
	lost->next = guarded->lost;
	/* Pairs with the load in gmi_guarded_good(). */
	__atomic_store_n(&guarded->lost, lost, __ATOMIC_RELEASE);
	guarded->lost_count++;
	say_hit(guarded);
	return replace(guarded, first, bytes);
}

bool gmi_guarded_replace_all(struct gmi_guarded *guarded)
{
	if (!guarded->whole) {
		__atomic_store_n(&guarded->whole, 1, __ATOMIC_RELEASE);
		say_hit(guarded);
	}
	return replace(guarded, 0, guarded->bytes);
}

bool gmi_guarded_replace_again(const struct gmi_guarded *guarded, uint64_t first, uint64_t bytes)
{
	return replace(guarded, first, bytes);
}

const struct gmi_lost *gmi_guarded_lost_at(const struct gmi_guarded *guarded, uint64_t offset)
{
	const struct gmi_lost *lost = guarded->lost;

	while (lost != NULL && offset - lost->first >= lost->bytes)
		lost = lost->next;
	return lost;
}

uint64_t gmi_guarded_good(const struct gmi_guarded *guarded, const unsigned char *hva, uint64_t bytes)
{
	uint64_t first = (uint64_t)(hva - guarded->hva);

	if (__atomic_load_n(&guarded->whole, __ATOMIC_ACQUIRE))
		return 0;
	for (const struct gmi_lost *lost = __atomic_load_n(&guarded->lost, __ATOMIC_ACQUIRE); lost != NULL;
	     lost = lost->next) {
		if (first >= lost->first && first - lost->first < lost->bytes)
			return 0;
		if (first < lost->first && lost->first - first < bytes)
			bytes = lost->first - first;
	}
	return bytes;
}

int gmi_guarded_verdict(const struct gmi_guarded *guarded, const unsigned char *hva, uint64_t bytes)
{
	return gmi_guarded_good(guarded, hva, bytes) < bytes ? -GM_EFAULTED : 0;
}

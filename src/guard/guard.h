/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Memory that faults: what is guarded, and what became of it. One struct gmi_guarded per guarded region, which the handler of SIGBUS
 * finds by host address and accesses ask when their region was hit. Why asking after the access, without a fence, is enough:
 * docs/concurrency.md, "Memory that faults".
 */
#ifndef GMI_GUARD_H
#define GMI_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guestmem/guard.h>
#include <guestmem/inline.h>
#include <guestmem/view.h>

/* A page that was replaced. */
struct gmi_lost {
	uint64_t first, bytes; /* offsets in the mapping */
	struct gmi_lost *next;
};

struct gmi_guarded {
	/*
	 * What accesses read, without a lock: atomic; written by the handler, in the order of whole or lost first and hit last. None
	 * goes back before the region does.
	 */
	struct gmi_guard_head head; /* must be first: views point at it */
	uint32_t whole;             /* all of it is lost */
	struct gmi_lost *lost;
	uint64_t faults;

	/* Immutable. Of what is mapped, the region's bytes may be a part. */
	unsigned char *hva;
	uint64_t bytes;
	uint64_t lead;         /* mapped bytes before the region's first */
	uint64_t region_bytes; /* of the region */
	uint64_t page_bytes;   /* of its source */
	int prot;              /* of mmap(2) */
	bool forked;           /* a child of fork() has the mapping too */
	uint64_t first;        /* guest physical address */
	uint64_t tag;
	const char *name; /* the region's */

	/* The guard's lock. */
	unsigned lost_count;
	uint32_t priority;
	bool linked; /* in the index */
	struct gmi_guarded *left, *right;
};

/* What is to be guarded: the immutable part above. */
struct gmi_guarded_opts {
	unsigned char *hva;
	uint64_t bytes;
	uint64_t lead;
	uint64_t region_bytes;
	uint64_t page_bytes;
	unsigned prot; /* GM_READ, GM_WRITE */
	bool forked;
	uint64_t first;
	uint64_t tag;
	const char *name;
};

/* Guards a mapping from here on, if the guard is installed; else *ret_guarded is NULL. Return: 0; -ENOMEM. */
int gmi_guard_add(const struct gmi_guarded_opts *opts, struct gmi_guarded **ret_guarded);
/* Before it is unmapped. Accepts NULL. */
void gmi_guard_remove(struct gmi_guarded *guarded);

/*
 * After the kernel has refused an access of its own at @hva, for which it raises no signal: if the page there is gone, that is known
 * from here on, as after a signal. Needs no handler; kernels before 5.14 don't say.
 */
void gmi_guard_probe(struct gmi_guarded *guarded, unsigned char *hva);

/*
 * Whether any of these bytes were replaced. To be asked after the access. Return: 0; -GM_EFAULTED. @bytes at least 1, all of it inside.
 */
int gmi_guarded_verdict(const struct gmi_guarded *guarded, const unsigned char *hva, uint64_t bytes);
/* How many of them there are before the first one that was. */
uint64_t gmi_guarded_good(const struct gmi_guarded *guarded, const unsigned char *hva, uint64_t bytes);

static inline int gmi_guarded_check(const struct gmi_guarded *guarded, const unsigned char *hva, uint64_t bytes)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (GM_LIKELY(guarded == NULL || __atomic_load_n(&guarded->head.hit, __ATOMIC_RELAXED) == 0))
		return 0;
	return gmi_guarded_verdict(guarded, hva, bytes);
}

/* guarded.c, for the handler, under the guard's lock. Takes @lost for the page. Return: whether it is replaced. */
bool gmi_guarded_replace_page(struct gmi_guarded *guarded, struct gmi_lost *lost, uint64_t first, uint64_t bytes);
bool gmi_guarded_replace_all(struct gmi_guarded *guarded);
/* What was replaced before. */
bool gmi_guarded_replace_again(const struct gmi_guarded *guarded, uint64_t first, uint64_t bytes);
/* The page that is already lost and holds @offset, or NULL. */
const struct gmi_lost *gmi_guarded_lost_at(const struct gmi_guarded *guarded, uint64_t offset);

/* index.c: guarded mappings by host address. The guard's lock. Removing what is not in it does nothing. */
void gmi_guarded_index_add(struct gmi_guarded **root, struct gmi_guarded *guarded);
void gmi_guarded_index_remove(struct gmi_guarded **root, struct gmi_guarded *guarded);
/* The one that holds @hva, or NULL. O(log n). */
struct gmi_guarded *gmi_guarded_index_find(struct gmi_guarded *root, const unsigned char *hva);

#endif

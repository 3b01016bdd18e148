/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Views (consumer side): what a device works with. A view is opened on a memory, lives in the caller's storage, and belongs to
 * one thread at a time (usually one per queue). Between enter and leave it holds a snapshot: everything read and written
 * through it is of one map, and nothing of that map goes away. The calls that move data are in <guestmem/access.h>.
 *
 *	gm_view_init(&view, memory, "disk0/queue1", 0);
 *	for each request:
 *		gm_view_enter(&view);
 *		... gm_load_le16(), gm_read(), gm_write() ...
 *		gm_view_leave(&view);
 *	gm_view_fini(&view);
 *
 * Enter and leave cost about a nanosecond: no lock, no locked instruction, no system call. Keep sections short (a request, not a
 * day): a region that is unplugged stays mapped until those who entered before have left. For asynchronous work, pin.
 */
#ifndef GUESTMEM_VIEW_H
#define GUESTMEM_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guestmem/address.h>
#include <guestmem/dirty.h>
#include <guestmem/error.h>
#include <guestmem/inline.h>
#include <guestmem/memory.h>

GM_BEGIN_DECLS

struct gm_map;
struct gm_region;

/* Private: what accesses ask of a region that is guarded against memory that faults (<guestmem/guard.h>). */
struct gmi_guard_head {
	uint32_t hit; /* atomic: not 0 once a part of it was lost */
};

/* gm_view_init() flags */
/* Accesses to device regions call their registers; without, they fail with -GM_ENOTRAM. The memory has to have GM_DEVICE in its kinds. */
#define GM_VIEW_DISPATCH 1u

/* Longest name of a view, its terminating zero included. */
#define GM_VIEW_NAME_MAX 64

/*
 * The fields are private. They are here so that a view can live in the caller's storage and its hot path be inlined.
 *
 * Two regions are remembered, so that a ring and a buffer in different regions do not push each other out. The hot one is that of
 * most objects, if there is such a region. hot_room is the count of offsets at which an object of up to 8 bytes fits, and 0 outside a
 * section: so a single compare refuses what is out of bounds and what is out of its section. Where the hot region is guarded, hot_room is 0 and
 * guarded_room, which counts while slot is set, in its place: what is not guarded does not pay for what is. The near one is that of the
 * last copy, span or list of iovecs that was in neither; it counts while slot is set.
 */
struct gm_view {
	uint64_t hot_first;                     /* guest physical address of the hot region */
	uint64_t hot_room;                      /* see above */
	unsigned char *hot_hva;                 /* where it is mapped */
	const struct gmi_dirty_head *hot_dirty; /* its dirty log, or NULL */
	uint32_t hot_writable;                  /* it may be written */
	uint32_t fence;                         /* no membarrier on this machine: enter with a full fence */
	uint64_t room;                          /* hot_room while inside a section */
	uint64_t generation;                    /* of the map that the hot region is from */
	const struct gm_map *slot; /* hazard slot: the map that this view may be reading; NULL outside a section */
	const struct gm_map *const *current; /* where the memory publishes its map */
	struct gm_memory *memory;
	struct gm_view *next, *previous; /* of the same space; its mutex */
	struct gm_pin *pins;             /* pins_lock */
	uint32_t pins_lock;
	uint64_t near_first;
	uint64_t near_bytes; /* 0: none */
	unsigned char *near_hva;
	const struct gmi_dirty_head *near_dirty;
	uint32_t near_access; /* GM_READ, GM_WRITE */
	uint32_t kinds;       /* regions of these kinds are reached */
	uint64_t owner;
	uint32_t owned;
	uint32_t flags;
	uint64_t guarded_room;                   /* see above */
	const struct gmi_guard_head *hot_guard;  /* the hot region's guard, where guarded_room is not 0 */
	const struct gmi_guard_head *near_guard; /* the near region's; NULL: none */
	char name[GM_VIEW_NAME_MAX];
	/* How the hot region is chosen; away from what each object reads. */
	int64_t cool;                      /* objects to miss the hot region before that is looked at again */
	const struct gm_region *candidate; /* whose turn it is, or was last; NULL: none yet in this map */
	uint32_t stride;                   /* each so manieth object is looked at, while there is no hot region */
	uint32_t samples, matches;         /* those that were, and those of them in the candidate */
	uint32_t period;                   /* objects to miss it, once it is the hot one */
};

/* A snapshot kept beyond its section. In the caller's storage, usually inside a request. Fields are private. */
struct gm_pin {
	const struct gm_map *map;
	struct gm_view *view;
	struct gm_pin *next, *previous;
};

/* Private: what every map begins with. */
struct gmi_map_head {
	uint64_t generation;
};

/**
 * gm_view_init - open a view on a memory
 * @view: the caller's storage; not to be moved or copied until gm_view_fini()
 * @memory: a reference is taken
 * @name: who is reading, for gm_space_holders(): 1 to GM_VIEW_NAME_MAX-1 characters, copied
 * @flags: 0 or GM_VIEW_DISPATCH
 *
 * Context: any thread; takes the space's mutex. Return: 0; -EINVAL; -EDEADLK from a listener of the same space. After a failure
 * the view is all zeros, which gm_view_fini() accepts.
 */
GM_CHECKED int gm_view_init(struct gm_view *view, struct gm_memory *memory, const char *name, unsigned flags);

/**
 * gm_view_fini - close a view
 *
 * Context: outside a section; takes the space's mutex, may take down the space. A view of zeros is left alone.
 * Return: 0; -EBUSY, and the view stays open, while it is inside a section or has pins; -EDEADLK from a listener.
 */
int gm_view_fini(struct gm_view *view);

/**
 * gm_view_set_owner - say which registers belong to the device that uses this view
 * @tag: the tag of its device regions
 *
 * A view with GM_VIEW_DISPATCH then never reaches device regions of that tag, in whatever context the device runs: -GM_EREENTRY.
 * (Without it too, an access that would call registers on a thread that is inside a call of the same registers is refused.)
 */
void gm_view_set_owner(struct gm_view *view, uint64_t tag);

void gmi_view_moved(struct gm_view *view, const struct gm_map *map);

/**
 * gm_view_enter - begin a section: take a snapshot of the current map
 *
 * A section sees what was published before it began. Who learns of work inside a section, from an index in guest memory, enters
 * again before following it: the work may lie in memory that was plugged, and the guest told of it, after the section began.
 * Does not nest: entering again moves to the map that is current now. Spans and iovecs from before are void then.
 * Context: the view's thread; wait-free but for a repeat when a map is published at that very moment.
 */
GM_INLINE void gm_view_enter(struct gm_view *view)
{
	/* Pairs with publish_map() of the space. The second look is what makes the slot's claim good. */
	const struct gm_map *map = __atomic_load_n(view->current, __ATOMIC_ACQUIRE), *again;

	for (;;) {
		if (GM_UNLIKELY(view->fence)) {
			(void)__atomic_exchange_n(&view->slot, map, __ATOMIC_SEQ_CST);
			again = __atomic_load_n(view->current, __ATOMIC_SEQ_CST);
		} else {
			/* Release: whatever the section before read, was read before the slot stops naming its map. */
			__atomic_store_n(&view->slot, map, __ATOMIC_RELEASE);
			__atomic_signal_fence(__ATOMIC_SEQ_CST);
			again = __atomic_load_n(view->current, __ATOMIC_ACQUIRE);
		}
		if (GM_LIKELY(again == map))
			break;
		map = again;
	}
	if (GM_LIKELY(((const struct gmi_map_head *)map)->generation == view->generation))
		view->hot_room = view->room;
	else
		gmi_view_moved(view, map);
}

/**
 * gm_view_leave - end the section
 *
 * Nothing that was handed out in it may be used any more, unless pinned. Outside a section it does nothing.
 */
GM_INLINE void gm_view_leave(struct gm_view *view)
{
	view->hot_room = 0;
	/* Pairs with the load of the slots in gmi_space_collect(). */
	__atomic_store_n(&view->slot, (const struct gm_map *)0, __ATOMIC_RELEASE);
}

/* The generation of the snapshot: whatever a consumer derived from the map is good while it stays the same. 0 outside a section. */
GM_INLINE uint64_t gm_view_generation(const struct gm_view *view)
{
	return view->slot ? ((const struct gmi_map_head *)view->slot)->generation : 0;
}

/**
 * gm_view_pin - keep the snapshot beyond the section, for work that goes on elsewhere
 * @pin: the caller's storage; not to be moved until gm_view_unpin()
 *
 * Spans and iovecs of this section stay good until the pin is gone, on any thread.
 * Context: inside a section. No system call; the view's own short lock. Return: 0; -EINVAL outside a section.
 */
GM_CHECKED int gm_view_pin(struct gm_view *view, struct gm_pin *pin);
/* Context: any thread; never blocks. A pin of zeros is left alone. */
void gm_view_unpin(struct gm_pin *pin);

/* Mark as written what was written through a span or an iovec under a pin, before it goes. Any thread. As gm_written(). */
void gm_pin_written(struct gm_pin *pin, struct gm_gpa at, uint64_t bytes);
/* Whether what a span or an iovec under a pin reached was lost meanwhile. Any thread. As gm_span_check(). */
GM_CHECKED int gm_pin_check(const struct gm_pin *pin, struct gm_gpa at, uint64_t bytes);

GM_END_DECLS

#endif

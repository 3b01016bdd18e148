/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Spaces (provider side): the mutable holder of the current map. One writer at a time, any number of readers, who never
 * wait for it. Changes come as updates, all of it or none of it:
 *
 *	begin, insert/remove/replace ..., commit:
 *	    validate, build the new map, listeners prepare (each may refuse: then those before abort, in reverse order,
 *	    and nothing has happened), publish, listeners commit
 *	later, when no reader and no pin holds a map any more in which a removed region stands:
 *	    listeners are told "released", the space drops its reference (usually the last: unmap, close), completion
 *
 * "Later" is the next update, gm_space_reclaim(), gm_space_wait(), or a reclaimer thread that the user asked for.
 *
 * Locking: one mutex per space, taken by commit, reclaim, and the calls that say so; never held while waiting for
 * readers. Listeners are called with it held: a call from a listener that needs it returns -EDEADLK. Completion
 * callbacks are called without it, and may do everything. Two spaces never affect each other.
 *
 * System calls: commit, reclaim and wait make membarrier(2), where the kernel has it when the space is made. A filter of system
 * calls that is put up later has to permit it; a process in which it fails then is stopped at once, for nobody could know any
 * more which readers are gone.
 */
#ifndef GUESTMEM_SPACE_H
#define GUESTMEM_SPACE_H

#include <stddef.h>
#include <stdint.h>

#include <guestmem/address.h>
#include <guestmem/error.h>
#include <guestmem/layout.h>
#include <guestmem/map.h>
#include <guestmem/memory.h>
#include <guestmem/region.h>

GM_BEGIN_DECLS

struct gm_space;
struct gm_update;

/* Operations of one update: a whole machine in one, with room. */
#define GM_UPDATE_OPS_MAX 524288
/* Listeners of one space: a hypervisor, some vhost and VFIO back-ends; each is called on every update. */
#define GM_LISTENERS_MAX 64

/**
 * gm_space_new - an empty space
 * @layout: rules for all regions, copied; NULL for none
 *
 * Context: allocates; one system call (membarrier registration).
 * Return: 0 and one reference; -EINVAL when the layout contradicts itself; -ENOMEM.
 */
GM_CHECKED int gm_space_new(const struct gm_layout *layout, struct gm_space **ret_space, struct gm_error *error);

/**
 * gm_space_ref, gm_space_unref - take and drop a reference
 *
 * Memories, maps and views on a space hold one too: it goes down with the last of them, and removes its listeners
 * and drops its regions then. A last reference that a completion callback drops takes it down when the call that called back
 * is over. Context: any thread; the last unref may block; not from a listener. unref accepts NULL.
 */
struct gm_space *gm_space_ref(struct gm_space *space);
void gm_space_unref(struct gm_space *space);

/* A memory for devices, on whatever map is current when they enter. As gm_map_memory(). */
GM_CHECKED int gm_space_memory(struct gm_space *space, unsigned kinds, struct gm_memory **ret_memory);

/**
 * gm_space_map - the current map, with a reference
 * @holder: who holds it, for gm_space_holders(): at most GM_NAME_MAX-1 characters, copied
 *
 * Regions that it has are not released before gm_map_unref(). Context: takes the space's mutex. A listener may call it.
 * Return: 0; -EINVAL for @holder; -ENOMEM.
 */
GM_CHECKED int gm_space_map(struct gm_space *space, const char *holder, const struct gm_map **ret_map);

/* The region of that name in the current map with a reference, or NULL. O(log n). Context: takes the mutex. */
struct gm_region *gm_space_find(struct gm_space *space, const char *name);

/*
 * Updates. An update belongs to one thread and touches nothing before its commit. What is recorded is checked at commit;
 * the calls here fail only for want of memory, which commit then reports too: it is fine to look at commit's result only.
 */

/**
 * gm_update_begin - start an update
 *
 * Context: any thread, several at once; allocates; takes no lock.
 * Return: the update, to be ended by gm_update_commit() or gm_update_abort(); NULL without memory, which all calls below accept.
 */
struct gm_update *gm_update_begin(struct gm_space *space);

/*
 * The update takes a reference of its own. A region that was removed and released can be inserted again, with what it has in its
 * memory and log.
 * Return: 0; -ENOMEM; -E2BIG past GM_UPDATE_OPS_MAX; -EINVAL for NULL. */
int gm_update_insert(struct gm_update *update, struct gm_region *region);
int gm_update_remove(struct gm_update *update, struct gm_region *region);
/* The same as removing @old and inserting @new_. */
int gm_update_replace(struct gm_update *update, struct gm_region *old, struct gm_region *new_);

/**
 * gm_update_on_released - ask to be told once, when all regions that this update removes have been released
 *
 * The regions are unmapped by then, unless somebody has a reference of their own.
 * Context: @released is called without locks, on the thread that reclaims, after the regions' references were dropped;
 * at the end of commit when nothing had to be waited for. It is not called for an update that failed.
 */
int gm_update_on_released(struct gm_update *update, void (*released)(void *opaque), void *opaque);

/**
 * gm_update_commit - do it, all or nothing; ends the update either way
 *
 * Removals are applied before insertions, whatever the order they were recorded in. An update without operations does nothing.
 * Context: takes the space's mutex; calls listeners; does not wait for readers. O(k log n) for k operations.
 * Return: 0, or with nothing changed
 *	-EEXIST		overlap, or the same name, or the same bytes of a file without GM_REGION_ALIAS
 *	-ERANGE		the layout forbids it
 *	-ENOENT		a region to be removed does not stand in the space
 *	-EBUSY		a region to be inserted stands in a space already, or was not released yet
 *	-E2BIG		more than GM_REGIONS_MAX
 *	-ENOMEM, -EDEADLK
 *	and what a listener's prepare refused with.
 */
GM_CHECKED int gm_update_commit(struct gm_update *update, struct gm_error *error);
/* Forget it. Accepts NULL. */
void gm_update_abort(struct gm_update *update);

/**
 * struct gm_change - what an update does, as listeners see it
 * @space: where
 * @before, @after: the maps. Valid during the call; gm_map_ref() to keep one. What prepare keeps of @after, abort has to drop
 * @removed, @removed_count: in descending order of addresses
 * @inserted, @inserted_count: in ascending order
 */
struct gm_change {
	struct gm_space *space;
	const struct gm_map *before;
	const struct gm_map *after;
	struct gm_region *const *removed;
	size_t removed_count;
	struct gm_region *const *inserted;
	size_t inserted_count;
};

/**
 * struct gm_listener - told of each update
 * @size: sizeof(struct gm_listener) as the caller was compiled
 * @name: for messages; copied, 1 to GM_NAME_MAX-1 characters
 * @opaque: given to the calls
 * @prepare: returns 0, or refuses with a negative error number, which commit returns, and a sentence in @error (never NULL
 *	here; the text is enough). Called in the order the listeners were added. Get everything ready that can fail. What
 *	@removed frees may be counted on for @inserted
 * @abort: take back what prepare did; called in reverse order, only for those whose prepare returned 0
 * @commit: the new map is current: let go what was removed, and put in place what was inserted (a hypervisor deletes and
 *	sets its memory slots here: the guest must not reach removed memory any more). Can't fail
 * @released: no reader, pin or map has the removed region any more: after this call the space drops its reference, which
 *	unmaps it if nobody else has one. A listener that is being removed is told so of all regions, which stay
 *
 * Each may be NULL. Context: the thread that commits or reclaims, the space's mutex held; one at a time.
 */
struct gm_listener {
	size_t size;
	const char *name;
	void *opaque;
	int (*prepare)(void *opaque, const struct gm_change *change, struct gm_error *error);
	void (*abort)(void *opaque, const struct gm_change *change);
	void (*commit)(void *opaque, const struct gm_change *change);
	void (*released)(void *opaque, struct gm_region *region);
};

/**
 * gm_space_add_listener - add one; it is told of all that stands there now, as one change from an empty map
 *
 * Return: 0; -EINVAL; -EEXIST for a name that is there; -ENOSPC at GM_LISTENERS_MAX; -ENOMEM; -EDEADLK; or its own refusal.
 */
GM_CHECKED int gm_space_add_listener(struct gm_space *space, const struct gm_listener *listener,
				     struct gm_error *error);
/**
 * gm_space_remove_listener - remove it; it is told of the removal of all that stands there, and then of its release
 *
 * Return: 0; -ENOENT; -ENOMEM; -EDEADLK.
 */
GM_CHECKED int gm_space_remove_listener(struct gm_space *space, const char *name);

/**
 * gm_space_reclaim - release what no reader and no pin holds any more
 *
 * Context: takes the mutex; does not wait. Return: how many removed regions are still held; -EDEADLK.
 */
int64_t gm_space_reclaim(struct gm_space *space);

/**
 * gm_space_wait - wait until every region that was removed before this call is released
 * @timeout_ms: at most that long; negative: as long as it takes
 *
 * Context: blocks; must not be called inside a read section of a view of this space (it would wait for itself).
 * Return: 0; -ETIMEDOUT (gm_space_holders() says who); -EDEADLK from a listener.
 */
GM_CHECKED int gm_space_wait(struct gm_space *space, int timeout_ms);

/**
 * gm_space_start_reclaimer - a thread of the library's own that releases soon after the last reader left
 *
 * It sleeps while nothing is to be released, and looks again every millisecond while something is.
 * Return: 0; -EALREADY; -ENOMEM; -EDEADLK from a listener; the error number of pthread_create.
 */
GM_CHECKED int gm_space_start_reclaimer(struct gm_space *space);
/* Ends it and waits for its end. Does nothing without one, on its own thread (a completion callback), or from a listener. */
void gm_space_stop_reclaimer(struct gm_space *space);

/* Why somebody holds a region. */
enum gm_hold {
	GM_HOLD_READ = 0, /* a view inside its read section */
	GM_HOLD_PIN = 1,  /* a pin */
	GM_HOLD_MAP = 2,  /* gm_space_map() */
};

/**
 * gm_space_holders - who holds @region (NULL: any map that is not current) by name
 * @region: compared only, never looked into, so it may be gone already
 * @visit: called for each; a holder may come several times. Names that gm_space_map() was given for one map come once each,
 *	and until the last reference on that map is dropped
 *
 * What it says of read sections may be over when it returns. Context: takes the mutex, @visit must not come back to the space.
 * Return: how many were visited; -ENOENT when @region is not of this space; -EDEADLK.
 */
int64_t gm_space_holders(struct gm_space *space, const struct gm_region *region,
			 void (*visit)(void *opaque, const char *holder, enum gm_hold hold), void *opaque);

GM_END_DECLS

#endif

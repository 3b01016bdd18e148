/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Inside of a space. All fields are guarded by domain.mutex, but for `current` (written under it, read by anybody) and
 * `references`.
 *
 * Where what happens: update.c records, commit.c checks and publishes, reclaim.c finds out what nobody holds and lets it go,
 * listener.c and holders.c talk, index.c finds names and file ranges.
 */
#ifndef GMI_SPACE_H
#define GMI_SPACE_H

#include <pthread.h>

#include <guestmem/space.h>

#include "base/base.h"
#include "map/map.h"
#include "space/index.h"

struct gmi_listener {
	struct gm_listener calls;
	char name[GM_NAME_MAX];
	uint64_t since; /* generation of the map it was added on: it knows of no region that died before */
};

/* The removals of one update: who is told when all of them are done. */
struct gm_removal {
	uint32_t left; /* atomic: regions not released yet, and 1 while being set up */
	struct gmi_completion *completions;
	struct gm_removal *next; /* while waiting for its completions to be called */
};

struct gmi_completion {
	void (*released)(void *opaque);
	void *opaque;
	struct gmi_completion *next;
};

/* A name given to gm_space_map(). */
struct gmi_holder {
	struct gmi_holder *next;
	char name[GM_NAME_MAX];
};

struct gmi_reclaimer;

struct gm_space {
	struct gmi_domain domain;
	const struct gm_map *current; /* atomic; gmi_publish() writes it */
	uint32_t references;          /* atomic */
	bool has_layout;
	struct gm_layout layout;
	/* Living maps, in the order of their generations; the newest is current. */
	struct gm_map *newest, *oldest;
	struct gm_map *empty; /* fixed, without regions: where a listener comes from and goes to */
	size_t pending;       /* regions removed and still in some living map */
	uint32_t releasing;   /* atomic: regions taken out of the last map, whose reference is not dropped yet */
	struct gmi_index names, files;
	struct gmi_listener *listeners[GM_LISTENERS_MAX];
	size_t listeners_count;
	struct gmi_reclaimer *reclaimer;
};

/* What gmi_space_collect() found that nobody holds; to be let go by gmi_garbage_release() after the mutex is unlocked. */
struct gmi_garbage {
	struct gm_region *regions; /* chained by dead_next */
};

/*
 * Frees the maps that nobody holds, and moves the regions that stood in none but those into *garbage, their listeners told.
 * Mutex held. One system call when there is any map but the current one.
 */
void gmi_space_collect(struct gm_space *space, struct gmi_garbage *garbage);
/* Drops the regions' references and calls completions. Mutex not held: completions may do everything. */
void gmi_garbage_release(struct gm_space *space, struct gmi_garbage *garbage);
/* Drops one of removal->left; the last one calls and frees the completions. Mutex not held. */
void gmi_removal_put(struct gm_removal *removal);
void gmi_completions_free(struct gmi_completion *completions);

/* Asks one listener; a refusal always comes with a sentence. */
int gmi_listener_prepare(const struct gmi_listener *listener, const struct gm_change *change, struct gm_error *error);
/* Removes them all, as gm_space_remove_listener() does. Mutex held. The space goes down: no other thread knows it any more. */
void gmi_listeners_fini(struct gm_space *space);

/* gm_space_reclaim() without a reference of its own: for the reclaimer, which must not keep a space alive. */
int64_t gmi_space_reclaim(struct gm_space *space);

/* Wakes the reclaimer thread, if there is one. Mutex held. */
void gmi_reclaimer_wake(struct gm_space *space);
/*
 * The last reference is gone. True on the reclaimer's own thread, inside a callback: it is not through with the space yet, and calls
 * gmi_space_destroy() when it is.
 */
bool gmi_reclaimer_inherits(struct gm_space *space);
/* Takes the space down, unless a listener keeps a map of it beyond its removal: then that map's last reference does. */
void gmi_space_destroy(struct gm_space *space);

extern const struct gmi_map_owner gmi_space_owns_map;

#endif

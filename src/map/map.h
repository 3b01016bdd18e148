/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Inside of maps, memories, and of what connects views with the space that publishes for them. A map is immutable but for
 * its counts and, under its space's mutex, its place among the space's living maps.
 */
#ifndef GMI_MAP_H
#define GMI_MAP_H

#include <pthread.h>

#include <guestmem/map.h>
#include <guestmem/view.h>

#include "map/search.h"
#include "map/tree.h"

struct gmi_holder;

struct gm_map {
	struct gmi_map_head head; /* generation: the inlined enter reads it */
	struct gmi_node *root;
	size_t count;
	/*
	 * Atomic. A fixed map lives while references are left. A map of a space is reclaimed by the space when it is not
	 * current, no hazard slot names it, and both counts are 0.
	 */
	uint32_t references;
	uint32_t pins;
	/* NULL for a fixed map. Called when references of a space's map go from 0 to 1, and from 1 to 0. */
	const struct gmi_map_owner *owner;
	struct gm_space *space;

	/* The space's mutex. */
	struct gm_map *older, *newer;
	struct gmi_node *dead_nodes;    /* nodes whose last living map this is */
	struct gm_region *dead_regions; /* regions likewise */
	struct gmi_holder *holders;     /* names given to gm_space_map() */
};

struct gmi_map_owner {
	void (*held)(struct gm_map *map);
	void (*dropped)(struct gm_map *map);
};

/* A number no other map of the process has or had. */
uint64_t gmi_next_generation(void);

/*
 * Where views of one space are registered, and its mutex. The mutex knows its owner: a second lock by the same thread (a
 * call from a listener) fails with -EDEADLK instead of hanging.
 */
struct gmi_domain {
	pthread_mutex_t mutex;
	struct gm_view *views; /* mutex */
	bool fence;            /* readers fence for themselves: no membarrier here */
};

int gmi_domain_init(struct gmi_domain *domain);
void gmi_domain_fini(struct gmi_domain *domain);
/* Return: 0; -EDEADLK. */
int gmi_domain_lock(struct gmi_domain *domain);
void gmi_domain_unlock(struct gmi_domain *domain);

struct gm_memory {
	uint32_t references;                 /* atomic */
	uint32_t kinds;                      /* GM_KIND_BIT()s that views reach */
	const struct gm_map *const *current; /* atomic: the publisher's pointer, or &fixed */
	const struct gm_map *fixed;
	struct gmi_domain *domain; /* NULL for a fixed map */
	void (*owner_unref)(void *owner);
	void *owner; /* a reference: the space, or the fixed map */
};

/* Takes over one reference on @owner when it succeeds. Return: 0; -EINVAL for @kinds; -ENOMEM. */
int gmi_memory_new(unsigned kinds, const struct gm_map *const *current, const struct gm_map *fixed,
		   struct gmi_domain *domain, void *owner, void (*owner_unref)(void *owner),
		   struct gm_memory **ret_memory);

/* The region that holds @address, or NULL. */
struct gm_region *gmi_map_region(const struct gm_map *map, uint64_t address);

#endif

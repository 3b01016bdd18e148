/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The mutex of a space that knows its owner, and the process-wide numbering of maps. */
#include <assert.h>

#include "map/map.h"
#include "sys/membarrier.h"

uint64_t gmi_next_generation(void)
{
	/* From 1: a view that was never entered has 0. The one global of the library; 2^64 is never reached. */
	static uint64_t last;

	return __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
}

int gmi_domain_init(struct gmi_domain *domain)
{
	pthread_mutexattr_t attributes;
	int r;

	if (pthread_mutexattr_init(&attributes) != 0)
		return -ENOMEM;
	(void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
	r = pthread_mutex_init(&domain->mutex, &attributes);
	pthread_mutexattr_destroy(&attributes);
	domain->views = NULL;
	domain->fence = !gmi_membarrier_init();
	return -r;
}

void gmi_domain_fini(struct gmi_domain *domain)
{
	assert(domain->views == NULL);
	pthread_mutex_destroy(&domain->mutex);
}

int gmi_domain_lock(struct gmi_domain *domain)
{
	return -pthread_mutex_lock(&domain->mutex);
}

void gmi_domain_unlock(struct gmi_domain *domain)
{
	int r = pthread_mutex_unlock(&domain->mutex);

	assert(r == 0);
	(void)r;
}

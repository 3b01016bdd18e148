/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The reclaimer: a thread, on request, that lets go what was removed soon after its last reader left. Readers wake nobody (they make no
 * system call), so while something is held it looks again every millisecond; else it sleeps.
 */
#include <pthread.h>

#include "space/space.h"
#include "sys/clock.h"
#include "sys/memory.h"
#include "sys/thread.h"

#define LOOK_AGAIN_US 1000

/* Guarded by its own mutex, which is taken inside the space's; never the other way round. */
struct gmi_reclaimer {
	pthread_t thread;
	struct gm_space *space; /* borrowed: the thread ends before the space goes */
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	bool woken, stop;
	bool inherits; /* its own thread's: the space is to be taken down, and the thread to end, by itself */
};

/* Sleeps until woken. Returns false when it is time to end. */
static bool wait_for_work(struct gmi_reclaimer *reclaimer)
{
	bool stop;

	pthread_mutex_lock(&reclaimer->mutex);
	while (!reclaimer->woken && !reclaimer->stop)
		pthread_cond_wait(&reclaimer->wake, &reclaimer->mutex);
	reclaimer->woken = false;
	stop = reclaimer->stop;
	pthread_mutex_unlock(&reclaimer->mutex);
	return !stop;
}

static bool is_stopped(struct gmi_reclaimer *reclaimer)
{
	bool stop;

	pthread_mutex_lock(&reclaimer->mutex);
	stop = reclaimer->stop;
	pthread_mutex_unlock(&reclaimer->mutex);
	return stop;
}

static void reclaimer_free(struct gmi_reclaimer *reclaimer)
{
	pthread_cond_destroy(&reclaimer->wake);
	pthread_mutex_destroy(&reclaimer->mutex);
	gmi_free(reclaimer);
}

static void *run(void *opaque)
{
	struct gmi_reclaimer *reclaimer = opaque;

	while (!reclaimer->inherits && wait_for_work(reclaimer)) {
		while (gmi_space_reclaim(reclaimer->space) > 0 && !reclaimer->inherits && !is_stopped(reclaimer))
			gmi_sleep_us(LOOK_AGAIN_US);
	}
	if (reclaimer->inherits) {
		gmi_thread_detach(reclaimer->thread);
		reclaimer->space->reclaimer = NULL;
		gmi_space_destroy(reclaimer->space);
		reclaimer_free(reclaimer);
	}
	return NULL;
}

static bool is_own_thread(const struct gmi_reclaimer *reclaimer)
{
	return pthread_equal(reclaimer->thread, pthread_self());
}

bool gmi_reclaimer_inherits(struct gm_space *space)
{
	if (space->reclaimer == NULL || !is_own_thread(space->reclaimer))
		return false;
	space->reclaimer->inherits = true;
	return true;
}

static int new_reclaimer(struct gm_space *space, struct gmi_reclaimer **ret_reclaimer)
{
	struct gmi_reclaimer *reclaimer = gmi_alloc(sizeof(*reclaimer));
	int r;

	if (reclaimer == NULL)
		return -ENOMEM;
	reclaimer->space = space;
	reclaimer->woken = true;
	pthread_mutex_init(&reclaimer->mutex, NULL);
	pthread_cond_init(&reclaimer->wake, NULL);
	r = gmi_thread_start(&reclaimer->thread, run, reclaimer);
	if (r == 0) {
		*ret_reclaimer = reclaimer;
		return 0;
	}
	reclaimer_free(reclaimer);
	return r;
}

GMI_PUBLIC int gm_space_start_reclaimer(struct gm_space *space)
{
	int r = gmi_domain_lock(&space->domain);

	if (r < 0)
		return r;
	r = space->reclaimer ? -EALREADY : new_reclaimer(space, &space->reclaimer);
	gmi_domain_unlock(&space->domain);
	return r;
}

static void wake(struct gmi_reclaimer *reclaimer, bool stop)
{
	pthread_mutex_lock(&reclaimer->mutex);
	reclaimer->woken = true;
	reclaimer->stop = stop;
	pthread_cond_signal(&reclaimer->wake);
	pthread_mutex_unlock(&reclaimer->mutex);
}

void gmi_reclaimer_wake(struct gm_space *space)
{
	if (space->reclaimer != NULL && space->oldest != space->newest)
		wake(space->reclaimer, false);
}

GMI_PUBLIC void gm_space_stop_reclaimer(struct gm_space *space)
{
	struct gmi_reclaimer *reclaimer;

	if (gmi_domain_lock(&space->domain) < 0)
		return;
	reclaimer = space->reclaimer;
	if (reclaimer != NULL && is_own_thread(reclaimer))
		reclaimer = NULL;
	else
		space->reclaimer = NULL;
	gmi_domain_unlock(&space->domain);
	if (reclaimer == NULL)
		return;
	wake(reclaimer, true);
	gmi_thread_join(reclaimer->thread);
	reclaimer_free(reclaimer);
}

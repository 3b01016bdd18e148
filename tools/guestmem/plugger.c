/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The plugging thread: fills all slots, and then goes round: waits until a slot is in use, pulls its memory out, has the
 * slot's dirty log judged, and plugs new memory. A cycle is one such unplug and the plug before it.
 */
#include <time.h>

#include "run.h"

/* How long to wait for somebody to use a slot before it is pulled all the same. */
#define BUSY_TRIES 200
#define NAP_NS     (50 * 1000)
/* Between two cycles once there were enough of them, while bytes are still missing. */
#define IDLE_NS (5 * 1000 * 1000)

static void nap(long nanoseconds)
{
	const struct timespec pause = { .tv_nsec = nanoseconds };

	nanosleep(&pause, NULL);
}

static int cycle(struct run *run, struct plot *plot, struct failure *failure)
{
	bool in_use = false;

	for (unsigned i = 0; i < BUSY_TRIES && !run_is_stopping(run); i++) {
		if (__atomic_load_n(&plot->users, __ATOMIC_RELAXED))
			break;
		nap(NAP_NS);
	}
	if (plot_unplug(&run->ground, plot, &in_use, failure) < 0)
		return -1;
	run_count(&run->counts.cycles, 1);
	run_count(&run->counts.cycles_in_use, in_use);
	return 0;
}

static int work(struct run *run, struct failure *failure)
{
	struct ground *ground = &run->ground;

	for (size_t i = 0; i < ground->plots_count; i++)
		if (ground->plots[i].is_slot && plot_plug(ground, &ground->plots[i], failure) < 0)
			return -1;
	for (;;) {
		for (size_t i = 0; i < ground->plots_count; i++) {
			if (!ground->plots[i].is_slot)
				continue;
			if (run_is_stopping(run))
				return 0;
			if (cycle(run, &ground->plots[i], failure) < 0 ||
			    plot_plug(ground, &ground->plots[i], failure) < 0)
				return -1;
			if (run_counted(&run->counts.cycles) >= run->options->cycles)
				nap(IDLE_NS);
		}
	}
}

/* The slots that are still plugged at the end are judged like all the others. They count as cycles too: they are. */
static int end(struct run *run, struct failure *failure)
{
	for (size_t i = 0; i < run->ground.plots_count; i++)
		if (run->ground.plots[i].is_slot && cycle(run, &run->ground.plots[i], failure) < 0)
			return -1;
	return 0;
}

void *plugger_main(void *opaque)
{
	struct run *run = opaque;
	struct failure failure = { 0 };

	if (work(run, &failure) < 0 || run_has_failed(run) || end(run, &failure) < 0)
		run_fail(run, &failure);
	return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Time of single sections, which last about as long as a system's clock takes to be read: the processor's counter on x86-64, which
 * every processor of this century's second decade counts at one rate on all cores; the system's monotonic clock elsewhere.
 */
#include "scale.h"

#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#define PAIRS          100000
#define CALIBRATE_SECS 0.1

double clock_seconds(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

uint64_t clock_ticks(void)
{
#if defined(__x86_64__)
	uint64_t ticks;

	/* Neither before what stands before it, nor after what stands behind. */
	_mm_lfence();
	ticks = __rdtsc();
	_mm_lfence();
	return ticks;
#else
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
#endif
}

void clock_calibrate(struct clock *ret_clock)
{
	double began = clock_seconds(), now;
	uint64_t ticks = clock_ticks(), before, apart;
	unsigned i;

	do {
		now = clock_seconds();
	} while (now - began < CALIBRATE_SECS);
	ret_clock->ns_per_tick = (now - began) * 1e9 / (double)(clock_ticks() - ticks);
	ret_clock->cost = UINT64_MAX;
	for (i = 0; i < PAIRS; i++) {
		before = clock_ticks();
		apart = clock_ticks() - before;
		if (apart < ret_clock->cost)
			ret_clock->cost = apart;
	}
#if defined(__x86_64__)
	ret_clock->name = "the processor's counter";
#else
	ret_clock->name = "CLOCK_MONOTONIC";
#endif
}

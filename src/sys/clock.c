/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "sys/clock.h"

#include <time.h>

uint64_t gmi_clock_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void gmi_sleep_us(uint64_t us)
{
	struct timespec time = { .tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000 };

	/* Cut short by a signal: whoever sleeps here looks again anyway. */
	(void)nanosleep(&time, NULL);
}

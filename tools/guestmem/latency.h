/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Latencies: a histogram with 32 steps per power of two, so a percentile is off by 3 % at most; least and largest are exact.
 * Of one thread; histograms are merged when the threads are done.
 */
#ifndef TOOL_LATENCY_H
#define TOOL_LATENCY_H

#include <stdint.h>

#define LATENCY_STEPS 32
#define LATENCY_SLOTS (64 * LATENCY_STEPS)

struct latency {
	uint64_t slots[LATENCY_SLOTS];
	uint64_t count, min, max; /* nanoseconds */
};

void latency_add(struct latency *latency, uint64_t nanoseconds);
void latency_merge(struct latency *into, const struct latency *from);
/* @per_mille: 500 is the median. 0 when there is nothing. */
uint64_t latency_percentile(const struct latency *latency, unsigned per_mille);

#define LATENCY_TEXT_MAX 24
/* "870 ns", "21.4 us", "1.35 ms", "2.10 s". */
const char *format_time(char text[LATENCY_TEXT_MAX], uint64_t nanoseconds);
/* Of the monotonic clock. */
uint64_t now_ns(void);

#endif

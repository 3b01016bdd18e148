/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Latencies. No state. */
#include "latency.h"

#include <stdio.h>
#include <time.h>

/* Up to LATENCY_STEPS each number has a slot; from there on each power of two has LATENCY_STEPS of them. */
static unsigned slot_of(uint64_t ns)
{
	unsigned log = ns < LATENCY_STEPS ? 0 : 63 - (unsigned)__builtin_clzll(ns) - 4;

	return log == 0 ? (unsigned)ns : log * LATENCY_STEPS + (unsigned)(ns >> (log - 1)) - LATENCY_STEPS;
}

static uint64_t slot_value(unsigned slot)
{
	unsigned log = slot / LATENCY_STEPS;

	return log == 0 ? slot : (uint64_t)(slot % LATENCY_STEPS + LATENCY_STEPS) << (log - 1);
}

void latency_add(struct latency *latency, uint64_t nanoseconds)
{
	latency->slots[slot_of(nanoseconds)]++;
	if (latency->count++ == 0 || nanoseconds < latency->min)
		latency->min = nanoseconds;
	if (nanoseconds > latency->max)
		latency->max = nanoseconds;
}

void latency_merge(struct latency *into, const struct latency *from)
{
	if (from->count == 0)
		return;
	for (unsigned i = 0; i < LATENCY_SLOTS; i++)
		into->slots[i] += from->slots[i];
	if (into->count == 0 || from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
	into->count += from->count;
}

uint64_t latency_percentile(const struct latency *latency, unsigned per_mille)
{
	uint64_t rank = latency->count * per_mille / 1000, seen = 0;

	for (unsigned i = 0; i < LATENCY_SLOTS; i++) {
		seen += latency->slots[i];
		if (seen > rank)
			return slot_value(i) < latency->min ? latency->min : slot_value(i);
	}
	return latency->max;
}

const char *format_time(char text[LATENCY_TEXT_MAX], uint64_t ns)
{
	if (ns < 1000)
		snprintf(text, LATENCY_TEXT_MAX, "%u ns", (unsigned)ns);
	else if (ns < 1000000)
		snprintf(text, LATENCY_TEXT_MAX, "%.3g us", (double)ns / 1e3);
	else if (ns < 1000000000)
		snprintf(text, LATENCY_TEXT_MAX, "%.3g ms", (double)ns / 1e6);
	else
		snprintf(text, LATENCY_TEXT_MAX, "%.2f s", (double)ns / 1e9);
	return text;
}

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Random numbers that a seed repeats: SplitMix64, whose state is one number and whose output depends on all of it. */
#ifndef TOOL_RANDOM_H
#define TOOL_RANDOM_H

#include <stdint.h>

struct random {
	uint64_t state;
};

/* Also a hash: neighbouring inputs give unrelated outputs. */
static inline uint64_t random_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static inline uint64_t random_next(struct random *random)
{
	random->state += UINT64_C(0x9e3779b97f4a7c15);
	return random_mix(random->state);
}

/* 0 to @limit-1, for limits that are small against 2^64: the bias is far below what matters here. */
static inline uint64_t random_below(struct random *random, uint64_t limit)
{
	return random_next(random) % limit;
}

#endif

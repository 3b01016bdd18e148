/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * When to notify a driver. One that keeps many requests going hands them over one by one, and where we are done with each before the
 * next comes, or soon after, each would have an interrupt of its own: which costs such a driver more than the request, and makes it slower
 * with a fast disk than with a slow one. So a notification is held back for as long as requests keep coming, until BLK_HOLD_MAX are done.
 *
 * Whether they do can't be seen but by trying: who waits for this very request waits in vain then, for a few times what a request takes.
 * Nor is it held back for longer than twice that after the last one that was done: some may be slow, and those that are done not wait for
 * them. So it is tried seldom, the more so the more often it was in vain, and always where it was good the last time. How many are in flight says
 * nothing about it: with a disk that is quicker than the driver, it is one or none, however many the driver has to give. A pure value: time
 * and counts are the caller's.
 */
#ifndef TOOL_BLK_HOLD_H
#define TOOL_BLK_HOLD_H

#include <stdbool.h>
#include <stdint.h>

/* Requests that are told of together at most, but for what is done in one turn. */
#define BLK_HOLD_MAX 8
/* How long the next one is waited for: so many times what a request took lately, within limits. */
#define BLK_HOLD_TIMES  4
#define BLK_HOLD_NS_MIN UINT64_C(5000)
#define BLK_HOLD_NS_MAX UINT64_C(500000)
/* Requests that pass after one that was in vain: twice as many each time, up to a limit. */
#define BLK_HOLD_PAUSE_MIN 64
#define BLK_HOLD_PAUSE_MAX 8192

/* Zeros are a new one. */
struct blk_hold {
	uint64_t until_ns;      /* held back until then at most; 0: it is not */
	uint64_t seen;          /* requests, when it was looked at last */
	uint64_t seen_done;     /* how many were done, when that changed last; or when holding back began */
	uint64_t limit_ns;      /* until then more may come without one being done */
	uint64_t told, told_ns; /* requests, and when, at the last notification */
	uint64_t request_ns;    /* what one takes: a mean that forgets */
	uint64_t resume;        /* requests at which it is tried again */
	uint64_t pause;
};

/**
 * blk_hold_back - whether to hold back a notification that is due
 * @requests: taken so far
 * @done: of those, given back; at least one more than at the last notification
 *
 * Return: true: look again when something came, and at @until_ns; false: notify now.
 */
bool blk_hold_back(struct blk_hold *hold, uint64_t requests, uint64_t done, uint64_t now_ns);
/* The driver was notified. */
void blk_hold_told(struct blk_hold *hold, uint64_t done, uint64_t now_ns);

#endif

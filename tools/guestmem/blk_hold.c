/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* When to notify a driver: a pure value. */
#include "blk_hold.h"

/* A pause between requests that is longer is nobody's speed. */
#define REQUEST_NS_MAX UINT64_C(1000000)

static uint64_t patience(const struct blk_hold *hold)
{
	const uint64_t ns = hold->request_ns * BLK_HOLD_TIMES;

	return ns < BLK_HOLD_NS_MIN ? BLK_HOLD_NS_MIN : ns > BLK_HOLD_NS_MAX ? BLK_HOLD_NS_MAX : ns;
}

bool blk_hold_back(struct blk_hold *hold, uint64_t requests, uint64_t done, uint64_t now_ns)
{
	const bool begins = hold->until_ns == 0;

	if (done - hold->told >= BLK_HOLD_MAX) {
		if (!begins)
			hold->pause = 0;
		return false;
	}
	if (begins && requests < hold->resume)
		return false;
	/* Those that only come, to a disk that is busy with others, are not waited for without end. */
	if (begins || done != hold->seen_done) {
		hold->seen_done = done;
		hold->limit_ns = now_ns + 2 * patience(hold);
	}
	if (!begins && now_ns >= hold->until_ns) {
		/* Some came: whoever gave them was only late. */
		if (hold->pause == 0 || done - hold->told > BLK_HOLD_MAX / 2)
			hold->pause = BLK_HOLD_PAUSE_MIN;
		else if (hold->pause < BLK_HOLD_PAUSE_MAX)
			hold->pause *= 2;
		hold->resume = requests + hold->pause;
		return false;
	}
	if (!begins && requests == hold->seen)
		return true;
	hold->seen = requests;
	hold->until_ns = now_ns + patience(hold);
	if (hold->until_ns > hold->limit_ns)
		hold->until_ns = hold->limit_ns;
	return true;
}

void blk_hold_told(struct blk_hold *hold, uint64_t done, uint64_t now_ns)
{
	if (done > hold->told) {
		const uint64_t ns = (now_ns - hold->told_ns) / (done - hold->told);

		if (ns <= REQUEST_NS_MAX)
			hold->request_ns = (3 * hold->request_ns + ns) / 4;
	}
	hold->told = done;
	hold->told_ns = now_ns;
	hold->until_ns = 0;
}

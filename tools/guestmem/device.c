/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* A queue's device side: sleeps until the driver notifies, and then works off the queue. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "run.h"

static int drain(struct queue *queue, struct failure *failure)
{
	struct vblk *vblk = queue->run->vblk;
	int r, code = 0;

	do {
		r = vblk_queue_run(vblk, queue->index);
	} while (r >= RUN_QUEUE_SIZE);
	if (r >= 0)
		return 0;
	if (r == -EBADMSG) {
		unsigned fault = vblk_queue_fault(vblk, queue->index, &code);

		return fail(failure, STATUS_WRONG, "queue %u broke: fault %u%s%s", queue->index, fault,
			    code ? ", " : "", code ? strerror(-code) : "");
	}
	return fail(failure, STATUS_WRONG, "queue %u: %s", queue->index, strerror(-r));
}

void *device_main(void *opaque)
{
	struct queue *queue = opaque;
	struct failure failure = { 0 };
	uint64_t count;

	while (!__atomic_load_n(&queue->run->device_stop, __ATOMIC_ACQUIRE)) {
		if (drain(queue, &failure) < 0) {
			run_fail(queue->run, &failure);
			return NULL;
		}
		/* Interrupted or not: to look once more than needed is harmless. */
		if (read(queue->kick, &count, sizeof(count)) < 0 && errno != EINTR)
			return NULL;
	}
	return NULL;
}

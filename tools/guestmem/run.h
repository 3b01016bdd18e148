/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A run: a block device over a real image, drivers that keep it busy from guest memory, a thread that plugs and unplugs memory under
 * them, and the proofs. Threads:
 *	main     progress, signals, the image's file, collecting dirty logs
 *	driver   one per queue: makes requests, compares what was read
 *	device   one per queue: the device's side of it
 *	plugger  slots
 * They share struct run. What changes while they run is atomic or, the failure, under @lock. The first failure stops all.
 */
#ifndef TOOL_RUN_H
#define TOOL_RUN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <virtio_blk.h>

#include "cells.h"
#include "ground.h"
#include "image.h"
#include "latency.h"
#include "text.h"

/* Requests of one queue in flight. The queue has room for more, so that a full queue is not what is measured. */
#define RUN_DEPTH_MAX      64
#define RUN_QUEUE_SIZE     128
#define RUN_SEGMENTS_MAX   8
#define RUN_QUEUES_MAX     VBLK_QUEUES_MAX
#define RUN_BYTES_DEFAULT  (2 * GM_GIB)
#define RUN_CYCLES_DEFAULT 200
#define RUN_SPREAD_DEFAULT GM_GIB

struct run_options {
	const char *machine;
	const char *disk;
	const char *svg;
	uint64_t bytes, cycles, seed, spread;
	unsigned queues, depth;
	bool cycles_given;
	enum image_mode mode;
	enum when color;
};

struct run;

struct queue {
	struct run *run;
	unsigned index;
	pthread_t driver, device;
	bool driver_runs, device_runs; /* the threads were started */
	int kick, done;                /* eventfds: driver to device, device to driver */
	struct gblk *gblk;
	struct latency latency;
};

/* All atomic, relaxed: each is a count of its own. */
struct counts {
	uint64_t read_bytes, written_bytes, requests, crossings, refused, flushes, zeroes;
	uint64_t cycles, cycles_in_use;
};

struct run {
	const struct run_options *options;
	struct machine *machine;
	struct ground ground;
	struct image image;
	struct cells cells;
	struct file_disk *file;
	struct vblk *vblk;
	struct queue *queues;
	unsigned queues_count;
	pthread_t plugger;
	bool plugger_runs;
	bool stop;        /* drivers and plugger: finish what is in flight, and end */
	bool device_stop; /* devices: end */
	struct counts counts;
	uint64_t started_ns, ended_ns;
	pthread_mutex_t lock;
	struct failure failure; /* under @lock; the first one */
};

static inline void run_count(uint64_t *count, uint64_t more)
{
	__atomic_fetch_add(count, more, __ATOMIC_RELAXED);
}

static inline uint64_t run_counted(const uint64_t *count)
{
	return __atomic_load_n(count, __ATOMIC_RELAXED);
}

static inline bool run_is_stopping(const struct run *run)
{
	return __atomic_load_n(&run->stop, __ATOMIC_ACQUIRE);
}

/* Takes over a thread's failure and stops the run. */
void run_fail(struct run *run, const struct failure *failure);
bool run_has_failed(struct run *run);

/* The threads. */
void *driver_main(void *queue);
void *device_main(void *queue);
void *plugger_main(void *run);

/* One line that says how far it is. */
struct progress {
	struct terminal terminal;
	uint64_t printed_ns;
	bool line; /* an unfinished line stands there */
};
void progress_show(struct progress *progress, const struct run *run, const char *phase);
/* Take the line away, before something else is printed. */
void progress_clear(struct progress *progress);
void run_report(const struct run *run, bool verified);

#endif

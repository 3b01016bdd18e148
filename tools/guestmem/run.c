/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * "guestmem run": makes machine, disk, device and threads, watches over them, has everything proven, and takes all down again in
 * reverse order whatever happened. Start reading at run().
 */
#include "run.h"

#include <errno.h>
#include <file_disk.h>
#include <guest_blk.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "run_options.h"
#include "show.h"

#define FEATURES                                                                                                       \
	(VBLK_F_VERSION_1 | VBLK_F_FLUSH | VBLK_F_WRITE_ZEROES | VBLK_F_MQ | VBLK_F_INDIRECT_DESC | VBLK_F_EVENT_IDX)

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	(void)number;
	interrupted = 1;
}

static bool is_interrupted(void)
{
	return interrupted;
}

void run_fail(struct run *run, const struct failure *failure)
{
	pthread_mutex_lock(&run->lock);
	if (!run->failure.status)
		run->failure = *failure;
	pthread_mutex_unlock(&run->lock);
	__atomic_store_n(&run->stop, true, __ATOMIC_RELEASE);
}

bool run_has_failed(struct run *run)
{
	bool failed;

	pthread_mutex_lock(&run->lock);
	failed = run->failure.status != 0;
	pthread_mutex_unlock(&run->lock);
	return failed;
}

static void interrupt(void *opaque, unsigned index)
{
	struct run *run = opaque;
	uint64_t one = 1;

	/* An eventfd takes 2^64-1 of them before it fails. */
	if (write(run->queues[index].done, &one, sizeof(one)) < 0)
		return;
}

static int make_device(struct run *run, struct failure *failure)
{
	struct vblk_disk disk;
	struct vblk_opts opts = {
		.name = "disk0",
		.disk = &disk,
		.queues = run->queues_count,
		.queue_size_max = RUN_QUEUE_SIZE,
		.read_only = run->options->mode == IMAGE_READ_ONLY,
		.interrupt = interrupt,
		.opaque = run,
	};
	int r = file_disk_new(run->image.working_path, opts.read_only, &run->file, &disk);

	if (r < 0)
		return fail(failure, status_of(r), "disk image %s can't be opened: %s", run->image.path, strerror(-r));
	r = vblk_new(run->ground.memory, &opts, &run->vblk);
	if (r == 0)
		r = vblk_set_features(run->vblk, vblk_features(run->vblk) & FEATURES);
	return r < 0 ? fail(failure, status_of(r), "the device can't be made: %s", strerror(-r)) : 0;
}

/* A queue's rings stand in a cell of their own, somewhere in it; the driver clears them, so all their pages are written. */
static int make_queue(struct run *run, unsigned index, struct random *random, struct failure *failure)
{
	uint64_t bytes = gblk_bytes(RUN_QUEUE_SIZE, RUN_SEGMENTS_MAX), features = vblk_features(run->vblk) & FEATURES;
	const struct cell *cell = cells_reserve(&run->cells, bytes + 16);
	struct queue *queue = &run->queues[index];
	struct gblk_opts opts = {
		.memory = run->ground.memory,
		.size = RUN_QUEUE_SIZE,
		.segments_max = RUN_SEGMENTS_MAX,
		.indirect = features & VBLK_F_INDIRECT_DESC,
		.event_index = features & VBLK_F_EVENT_IDX,
	};
	struct virtq_ring ring;
	int r;

	if (!cell)
		return fail(failure, STATUS_INPUT,
			    "the machine has too little fixed memory within --spread for %u queues", run->queues_count);
	opts.at = gm_gpa(cell->first.value + (random_below(random, cell->bytes - bytes) & ~UINT64_C(15)));
	queue->kick = eventfd(0, EFD_CLOEXEC);
	queue->done = eventfd(0, EFD_CLOEXEC);
	if (queue->kick < 0 || queue->done < 0)
		return fail(failure, STATUS_MISSING, "no eventfd for a queue: %s", strerror(errno));
	r = gblk_new(&opts, &queue->gblk);
	if (r < 0)
		return fail(failure, status_of(r), "a driver can't be made: %s", strerror(-r));
	ground_record(&run->ground, opts.at, bytes);
	ring = gblk_ring(queue->gblk);
	r = vblk_queue_set(run->vblk, index, &ring);
	return r < 0 ? fail(failure, status_of(r), "queue %u can't be made: %s", index, strerror(-r)) : 0;
}

static int make_queues(struct run *run, struct random *random, struct failure *failure)
{
	struct cell *cell;

	for (unsigned i = 0; i < run->queues_count; i++)
		if (make_queue(run, i, random, failure) < 0)
			return -1;
	/* Some requests need fixed memory: without any they would wait for ever. */
	cell = cells_lease(&run->cells, random, true);
	if (!cell)
		return fail(failure, STATUS_INPUT,
			    "the machine has too little fixed memory within --spread for %u queues and requests",
			    run->queues_count);
	cells_release(&run->cells, cell);
	return 0;
}

static int make(struct run *run, struct random *random, struct failure *failure)
{
	const struct run_options *options = run->options;

	if (image_open(options->disk, options->mode, options->seed, (uint64_t)options->queues * options->depth,
		       is_interrupted, &run->image, failure) < 0 ||
	    ground_new(run->machine, &run->ground, failure) < 0)
		return -1;
	run->queues_count = options->queues;
	if (options->cycles && run->ground.slots_count == 0)
		return fail(failure, STATUS_INPUT, "%s has no hotplug slots: --cycles has to be 0", options->machine);
	if (cells_new(&run->ground, options->spread, random, &run->cells, failure) < 0)
		return -1;
	run->queues = calloc(run->queues_count, sizeof(*run->queues));
	if (!run->queues)
		return fail(failure, STATUS_MISSING, "no memory for %u queues", run->queues_count);
	for (unsigned i = 0; i < run->queues_count; i++)
		run->queues[i] = (struct queue){ .run = run, .index = i, .kick = -1, .done = -1 };
	return make_device(run, failure) < 0 ? -1 : make_queues(run, random, failure);
}

/* After the threads. */
static void unmake(struct run *run)
{
	vblk_free(run->vblk);
	file_disk_free(run->file);
	for (unsigned i = 0; run->queues && i < run->queues_count; i++) {
		gblk_free(run->queues[i].gblk);
		if (run->queues[i].kick >= 0)
			close(run->queues[i].kick);
		if (run->queues[i].done >= 0)
			close(run->queues[i].done);
	}
	free(run->queues);
	cells_fini(&run->cells);
	ground_fini(&run->ground);
	image_close(&run->image);
}

static int start_thread(pthread_t *thread, bool *started, void *(*main_)(void *), void *opaque, struct failure *failure)
{
	int r = pthread_create(thread, NULL, main_, opaque);

	*started = r == 0;
	return r ? fail(failure, STATUS_MISSING, "no thread: %s", strerror(r)) : 0;
}

static int start(struct run *run, struct failure *failure)
{
	int r = 0;

	run->started_ns = now_ns();
	if (run->ground.slots_count)
		r = start_thread(&run->plugger, &run->plugger_runs, plugger_main, run, failure);
	for (unsigned i = 0; i < run->queues_count && r == 0; i++) {
		struct queue *queue = &run->queues[i];

		r = start_thread(&queue->device, &queue->device_runs, device_main, queue, failure);
		if (r == 0)
			r = start_thread(&queue->driver, &queue->driver_runs, driver_main, queue, failure);
	}
	return r;
}

/* Drivers first, for they wait for devices; the plugger, which waits for drivers; devices last. */
static void join(struct run *run)
{
	uint64_t one = 1;

	__atomic_store_n(&run->stop, true, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < run->queues_count; i++)
		if (run->queues[i].driver_runs)
			pthread_join(run->queues[i].driver, NULL);
	if (run->plugger_runs)
		pthread_join(run->plugger, NULL);
	__atomic_store_n(&run->device_stop, true, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < run->queues_count; i++) {
		if (!run->queues[i].device_runs)
			continue;
		if (write(run->queues[i].kick, &one, sizeof(one)) == sizeof(one))
			pthread_join(run->queues[i].device, NULL);
	}
	run->ended_ns = now_ns();
}

static bool is_done(const struct run *run)
{
	const struct counts *counts = &run->counts;

	return run_counted(&counts->read_bytes) + run_counted(&counts->written_bytes) >= run->options->bytes &&
	       run_counted(&counts->cycles) >= run->options->cycles;
}

static void watch(struct run *run, struct progress *progress)
{
	const struct timespec tick = { .tv_nsec = 20 * 1000 * 1000 };
	struct failure failure = { 0 };

	while (!interrupted && !is_done(run) && !run_is_stopping(run)) {
		progress_show(progress, run, "running");
		nanosleep(&tick, NULL);
		/* While they are written: nothing may get lost between two collects. */
		if (image_watch(&run->image, &failure) < 0 || ground_collect(&run->ground, &failure) < 0)
			run_fail(run, &failure);
	}
}

struct proof {
	struct run *run;
	struct progress *progress;
};

static bool tick(void *opaque)
{
	struct proof *proof = opaque;

	progress_show(proof->progress, proof->run, "comparing the disk");
	return interrupted;
}

static int prove(struct run *run, struct progress *progress, struct failure *failure)
{
	struct proof proof = { run, progress };

	if (ground_judge(&run->ground, failure) < 0)
		return -1;
	if (run->options->mode != IMAGE_READ_ONLY && image_verify(&run->image, tick, &proof, failure) < 0)
		return -1;
	return image_watch(&run->image, failure);
}

static int work(struct run *run, struct failure *failure)
{
	struct progress progress = { .terminal = terminal_of(STDERR_FILENO, run->options->color) };
	int r;

	if (start(run, failure) == 0)
		watch(run, &progress);
	join(run);
	r = failure->status ? -1 : 0;
	if (r == 0 && run->failure.status) {
		*failure = run->failure;
		r = -1;
	}
	if (r == 0 && !interrupted)
		r = prove(run, &progress, failure);
	progress_clear(&progress);
	if (r == 0)
		run_report(run, !interrupted);
	if (r == 0 && interrupted)
		r = fail(failure, STATUS_INTERRUPTED, "interrupted before all was verified");
	return r;
}

int command_run(int argc, char **argv, struct failure *failure)
{
	/* Once: whoever asks twice does not want to wait for what is in flight. */
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };
	struct run_options options;
	struct run run = { .options = &options, .lock = PTHREAD_MUTEX_INITIALIZER };
	struct terminal terminal;
	struct random random;
	int r = run_options_parse(argc, argv, &options, failure);

	if (r != 0)
		return r < 0 ? -1 : 0;
	run.image.pristine = run.image.working = -1;
	random.state = random_mix(options.seed);
	if (machine_load(options.machine, &run.machine, failure) < 0)
		return -1;
	/* Not before: a description that comes from a terminal or a pipe may be waited for, and nothing is to be undone. */
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (run.machine->slots_count == 0 && !options.cycles_given)
		options.cycles = 0;
	terminal = terminal_of(STDOUT_FILENO, options.color);
	r = make(&run, &random, failure);
	if (r == 0)
		r = show_picture(run.machine, stdout, &terminal, failure);
	if (r == 0) {
		putchar('\n');
		fflush(stdout);
		r = work(&run, failure);
	}
	if (r == 0 && options.svg)
		r = show_svg(run.machine, options.svg, failure);
	unmake(&run);
	machine_free(run.machine);
	return r;
}

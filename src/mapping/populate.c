/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Populating all pages of a mapping, by several threads, chunk by chunk: each takes the next chunk that nobody has
 * taken. The calling thread is one of them, and between its chunks calls @progress. The kernel is asked to populate
 * (MADV_POPULATE_*, Linux 5.14), since touching a page that cannot be had is a SIGBUS, which a library cannot turn into
 * an error number.
 *
 * Locking: none. The job's counters are atomic; joining the threads is what makes their last values known.
 */
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "base/base.h"
#include "mapping/mapping.h"
#include "sys/mmap.h"
#include "sys/thread.h"
#include "sys/uapi.h"

/* Large enough to make its two atomic additions and its system call not count, small enough to cancel at once. */
#define CHUNK_MAX (32 * GM_MIB)
#define CHUNK_MIN (2 * GM_MIB)
/* Chunks per thread, when there are bytes enough: the slowest one's last is what all wait for. */
#define CHUNKS_PER_THREAD 4

struct job {
	const struct gmi_mapping *mapping;
	const struct gm_region_opts *opts;
	uint64_t chunk;
	int advice;
	_Atomic uint64_t next, done;
	_Atomic int result; /* the first failure; makes everybody stop */
};

/* For a kernel before 5.14: a shared file's pages can be had through its descriptor. */
static int populate_file(const struct job *job, uint64_t first, uint64_t bytes)
{
	const struct gmi_mapping *mapping = job->mapping;
	int r;

	if (mapping->fd < 0 || !mapping->shared || !(job->opts->prot & GM_WRITE))
		return -EOPNOTSUPP;
	/* The mapping's last page may reach beyond the file. */
	bytes = GMI_MIN(bytes, mapping->lead + mapping->bytes - first);
	r = gmi_allocate(mapping->fd, mapping->fd_offset - mapping->lead + first, bytes);
	return r == -ENODEV || r == -EINVAL ? -EOPNOTSUPP : r;
}

static int populate_chunk(const struct job *job, uint64_t first, uint64_t bytes)
{
	int r;

	do {
		r = gmi_madvise(job->mapping->hva + first, bytes, job->advice);
	} while (r == -EINTR);
	return r == -EINVAL ? populate_file(job, first, bytes) : r;
}

/* Return: whether there was one to do. */
static bool take_chunk(struct job *job)
{
	uint64_t total = job->mapping->mapped_bytes, first, bytes;
	int r, none = 0;

	if (atomic_load_explicit(&job->result, memory_order_relaxed) != 0)
		return false;
	first = atomic_fetch_add_explicit(&job->next, job->chunk, memory_order_relaxed);
	if (first >= total)
		return false;
	bytes = GMI_MIN(job->chunk, total - first);
	r = populate_chunk(job, first, bytes);
	if (r == 0)
		atomic_fetch_add_explicit(&job->done, bytes, memory_order_relaxed);
	else
		atomic_compare_exchange_strong_explicit(&job->result, &none, r, memory_order_relaxed,
							memory_order_relaxed);
	return true;
}

static void *worker(void *opaque)
{
	while (take_chunk(opaque))
		;
	return NULL;
}

/* Only ever called on the calling thread, so what it says never goes down. */
static void report(struct job *job)
{
	uint64_t done = atomic_load_explicit(&job->done, memory_order_relaxed);
	int none = 0;

	if (job->opts->progress == NULL)
		return;
	done = GMI_MIN(done, job->opts->bytes);
	if (job->opts->progress(job->opts->progress_opaque, done, job->opts->bytes) != 0)
		atomic_compare_exchange_strong_explicit(&job->result, &none, -ECANCELED, memory_order_relaxed,
							memory_order_relaxed);
}

static unsigned choose_threads(const struct gm_region_opts *opts)
{
	unsigned threads = opts->prealloc_threads ? opts->prealloc_threads : (gmi_cpus() + 1) / 2;

	return GMI_MIN(threads, GM_PREALLOC_THREADS_MAX);
}

static uint64_t choose_chunk(const struct gmi_mapping *mapping, unsigned threads)
{
	uint64_t least = GMI_MAX(CHUNK_MIN, mapping->page_bytes), most = GMI_MAX(CHUNK_MAX, mapping->page_bytes);
	uint64_t fair = mapping->mapped_bytes / ((uint64_t)threads * CHUNKS_PER_THREAD) / least * least;

	return fair < least ? least : GMI_MIN(fair, most);
}

/* Runs the job on this thread and @helpers more. Return: 0, or why a thread could not be started. */
static int run(struct job *job, unsigned helpers)
{
	pthread_t threads[GM_PREALLOC_THREADS_MAX];
	unsigned started = 0;
	int r = 0, none = 0;

	report(job);
	while (started < helpers && r == 0) {
		r = gmi_thread_start(&threads[started], worker, job);
		if (r == 0)
			started++;
	}
	if (r != 0)
		atomic_compare_exchange_strong_explicit(&job->result, &none, r, memory_order_relaxed,
							memory_order_relaxed);
	while (take_chunk(job)) {
		if (atomic_load_explicit(&job->done, memory_order_relaxed) < job->mapping->mapped_bytes)
			report(job);
	}
	while (started > 0)
		gmi_thread_join(threads[--started]);
	if (atomic_load_explicit(&job->result, memory_order_relaxed) == 0)
		report(job);
	return r;
}

static int say_why(const struct job *job, int code, struct gm_error *error)
{
	const struct gmi_mapping *mapping = job->mapping;
	const struct gm_region_opts *opts = job->opts;
	unsigned long long done = atomic_load_explicit(&job->done, memory_order_relaxed), total = mapping->mapped_bytes;
	int r;

	if (code == -ECANCELED)
		return gmi_region_error(opts, error, code, "canceled when %llu of %llu bytes were populated", done,
					total);
	if (code == -EOPNOTSUPP)
		return gmi_region_error(opts, error, code,
					"this kernel cannot populate such a mapping with failures reported");
	if (code == -EFAULT && mapping->fd >= 0) {
		/* Someone made the file shorter since it was looked at. */
		r = gmi_file_has_bytes(mapping, opts, error);
		if (r != 0)
			return r;
	}
	if (mapping->hugetlb && (code == -EFAULT || code == -ENOMEM))
		return gmi_hugepages_short(mapping, opts, error);
	if (code == -EFAULT)
		return gmi_region_error(
			opts, error, -GM_EFAULTED,
			"populating, after %llu of %llu bytes: the file's pages cannot be had (no room in its "
			"file system, or a read error)",
			done, total);
	return gmi_region_error(opts, error, code, "populating, after %llu of %llu bytes: %s", done, total,
				strerror(-code));
}

int gmi_populate(const struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error)
{
	struct job job = { .mapping = mapping, .opts = opts };
	unsigned threads = choose_threads(opts);
	uint64_t chunks;
	int r;

	job.advice = opts->prot & GM_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
	job.chunk = choose_chunk(mapping, threads);
	chunks = (mapping->mapped_bytes - 1) / job.chunk + 1;
	r = run(&job, (unsigned)GMI_MIN(chunks, threads) - 1);
	if (r != 0)
		return gmi_region_error(opts, error, r, "starting threads to populate it: %s", strerror(-r));
	r = atomic_load_explicit(&job.result, memory_order_relaxed);
	return r != 0 ? say_why(&job, r, error) : 0;
}

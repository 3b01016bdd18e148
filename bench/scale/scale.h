/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What scale's files share. The program shows what no average does: how long single sections take while many spaces change under
 * many readers, and what all that takes of memory.
 *
 *	histogram.c	times of sections, at a resolution of 1/64
 *	clock.c		the processor's own clock where it has one, and what reading it costs
 *	sections.c	runs: readers and a writer on many spaces
 *	memory.c	heap and resident memory
 *	report.c, picture.c	for people and for programs
 */
#ifndef BENCH_SCALE_H
#define BENCH_SCALE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SPACES_MAX  1024
#define THREADS_MAX 256
#define REGIONS_MAX 256
#define LOADS       8 /* of one section */
#define RUNS        4

struct scale_options {
	unsigned spaces, threads, regions;
	double seconds;
	uint64_t sections_min; /* of one run, whatever the time */
	unsigned memory_regions;
	uint64_t log_bytes;
	const char *json, *svg; /* files, or NULL */
	bool sections, memory;
};

/* Values up to 2^64-1, in buckets of 1/64 of themselves. */
#define HISTOGRAM_SHIFT   6
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_SHIFT + 1) << HISTOGRAM_SHIFT)

struct histogram {
	uint64_t count, min, max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_init(struct histogram *histogram);
void histogram_record(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The value that a share of @share (0 to 1) does not exceed; the smallest and largest ones are exact. */
uint64_t histogram_quantile(const struct histogram *histogram, double share);
/* How many are larger. */
uint64_t histogram_above(const struct histogram *histogram, uint64_t value);
/* counts[i] becomes how many lie in [2^i, 2^(i+1)) when multiplied by @scale; what is below 1 counts for i = 0. */
void histogram_octaves(const struct histogram *histogram, double scale, uint64_t counts[64]);

struct clock {
	const char *name;
	double ns_per_tick;
	uint64_t cost; /* ticks that two readings in a row are apart, at least */
};

uint64_t clock_ticks(void);
void clock_calibrate(struct clock *ret_clock);
double clock_seconds(void);

/* What came of one run. */
struct run {
	const char *name;
	bool done; /* false: this machine can't, and @name says what was left out */
	bool busy;
	unsigned readers;
	struct histogram times; /* ticks, the clock's cost taken off */
	double seconds;
	uint64_t loads, holes;
	uint64_t moved;   /* sections that found a new map */
	uint64_t updates; /* of the writer */
	uint64_t
		refused; /* its updates that had to be left for later: a section still held what it wanted to insert again */
	uint64_t taken_off; /* times that the system took a reader off its CPU */
};

/* Return: 0; a negative error number, with a sentence on stderr. */
int sections_run(const struct scale_options *options, const struct clock *clock, struct run runs[RUNS]);

struct memory_use {
	double region_bytes; /* heap of a region */
	double in_map_bytes; /* what it takes more in a space */
	double update_bytes; /* heap of one more map that somebody holds */
	double space_bytes;  /* of an empty space */
	int64_t log_untouched_kib, log_sparse_kib, log_full_kib;
};

int memory_measure(const struct scale_options *options, struct memory_use *ret_use);

void report_sections(FILE *out, const struct scale_options *options, const struct clock *clock,
		     const struct run runs[RUNS]);
void report_memory(FILE *out, const struct scale_options *options, const struct memory_use *use);
/* @runs or @use may be NULL. */
void report_json(FILE *out, const struct scale_options *options, const struct clock *clock, const struct run *runs,
		 const struct memory_use *use);
void picture_sections(FILE *out, const struct scale_options *options, const struct clock *clock,
		      const struct run runs[RUNS]);

#endif

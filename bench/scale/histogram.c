/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Log-linear buckets: values below 64 have one each, and every octave above has 64. Nothing is allocated or locked. */
#include "scale.h"

#include <string.h>

#define PER_OCTAVE (1u << HISTOGRAM_SHIFT)

static unsigned bucket_of(uint64_t value)
{
	unsigned shift;

	if (value < PER_OCTAVE)
		return (unsigned)value;
	shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_SHIFT;
	return ((shift + 1) << HISTOGRAM_SHIFT) + (unsigned)(value >> shift & (PER_OCTAVE - 1));
}

/* The largest value of a bucket. */
static uint64_t bucket_last(unsigned bucket)
{
	unsigned shift = bucket >> HISTOGRAM_SHIFT;
	uint64_t low = bucket & (PER_OCTAVE - 1);

	if (shift == 0)
		return low;
	shift--;
	return ((PER_OCTAVE + low) << shift) + ((UINT64_C(1) << shift) - 1);
}

void histogram_init(struct histogram *histogram)
{
	memset(histogram, 0, sizeof(*histogram));
	histogram->min = UINT64_MAX;
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
	histogram->count++;
	histogram->buckets[bucket_of(value)]++;
	if (value < histogram->min)
		histogram->min = value;
	if (value > histogram->max)
		histogram->max = value;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	unsigned i;

	into->count += from->count;
	for (i = 0; i < HISTOGRAM_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
	if (from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
}

uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
	uint64_t wanted = (uint64_t)(share * (double)histogram->count), seen = 0, value;
	unsigned i;

	if (histogram->count == 0)
		return 0;
	for (i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen > wanted)
			break;
	}
	value = i < HISTOGRAM_BUCKETS ? bucket_last(i) : histogram->max;
	if (value < histogram->min)
		return histogram->min;
	return value < histogram->max ? value : histogram->max;
}

uint64_t histogram_above(const struct histogram *histogram, uint64_t value)
{
	uint64_t above = 0;
	unsigned i;

	for (i = bucket_of(value) + 1; i < HISTOGRAM_BUCKETS; i++)
		above += histogram->buckets[i];
	return above;
}

void histogram_octaves(const struct histogram *histogram, double scale, uint64_t counts[64])
{
	unsigned i, octave;
	double value;

	memset(counts, 0, 64 * sizeof(*counts));
	for (i = 0; i < HISTOGRAM_BUCKETS; i++) {
		if (histogram->buckets[i] == 0)
			continue;
		value = (double)bucket_last(i) * scale;
		octave = value < 1 ? 0 : 63 - (unsigned)__builtin_clzll((uint64_t)value);
		counts[octave] += histogram->buckets[i];
	}
}

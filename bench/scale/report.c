/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What was found, as text for people, runs side by side, and as JSON for programs. Nothing is computed twice: both use figures(). */
#include "scale.h"

#define LONG_NS 100000.0 /* longer than any section takes by itself: its thread did not run, or the machine did not */
#define BAR     14       /* characters of the longest bar */

/* Of one run, in nanoseconds. */
struct figures {
	double min, median, p99, p999, p9999, max;
	uint64_t long_ones;
	uint64_t octaves[64];
};

static void figures(const struct run *run, const struct clock *clock, struct figures *ret)
{
	const struct histogram *times = &run->times;
	double ns = clock->ns_per_tick;

	ret->min = times->count ? (double)times->min * ns : 0;
	ret->median = (double)histogram_quantile(times, 0.5) * ns;
	ret->p99 = (double)histogram_quantile(times, 0.99) * ns;
	ret->p999 = (double)histogram_quantile(times, 0.999) * ns;
	ret->p9999 = (double)histogram_quantile(times, 0.9999) * ns;
	ret->max = (double)times->max * ns;
	ret->long_ones = histogram_above(times, (uint64_t)(LONG_NS / ns));
	histogram_octaves(times, ns, ret->octaves);
}

static void row(FILE *out, const char *what, const struct run runs[RUNS], const double values[RUNS], int digits)
{
	unsigned i;

	fprintf(out, "  %-26s", what);
	for (i = 0; i < RUNS; i++) {
		if (runs[i].done)
			fprintf(out, " %14.*f", digits, values[i]);
		else
			fprintf(out, " %14s", "-");
	}
	fputc('\n', out);
}

static void row_of(FILE *out, const char *what, const struct run runs[RUNS], const struct figures all[RUNS],
		   size_t member)
{
	double values[RUNS];
	unsigned i;

	for (i = 0; i < RUNS; i++)
		values[i] = *(const double *)((const char *)&all[i] + member);
	row(out, what, runs, values, 1);
}

static void counts(FILE *out, const struct run runs[RUNS])
{
	double sections[RUNS], rate[RUNS], moved[RUNS], updates[RUNS], refused[RUNS], holes[RUNS];
	unsigned i;

	for (i = 0; i < RUNS; i++) {
		double seconds = runs[i].seconds > 0 ? runs[i].seconds : 1;

		sections[i] = (double)runs[i].times.count;
		rate[i] = sections[i] / seconds / 1e6;
		moved[i] = (double)runs[i].moved;
		updates[i] = (double)runs[i].updates / seconds;
		refused[i] = (double)runs[i].refused / seconds;
		holes[i] = (double)runs[i].holes;
	}
	row(out, "sections", runs, sections, 0);
	row(out, "millions of them a second", runs, rate, 2);
	row(out, "on a map new to the view", runs, moved, 0);
	row(out, "loads that met a hole", runs, holes, 0);
	row(out, "updates a second", runs, updates, 0);
	row(out, "put off, region still held", runs, refused, 0);
}

static void octaves(FILE *out, const struct figures all[RUNS])
{
	unsigned octave, i, first = 64, last = 0, bar;

	for (octave = 0; octave < 64; octave++) {
		for (i = 0; i < RUNS; i++) {
			if (all[i].octaves[octave] == 0)
				continue;
			first = octave < first ? octave : first;
			last = octave;
		}
	}
	fprintf(out, "\n  %-26s  sections, a line of # for each factor of ten\n", "ns");
	for (octave = first; octave <= last; octave++) {
		fprintf(out, "  %10llu to %-12llu", 1ULL << octave, (2ULL << octave) - 1);
		for (i = 0; i < RUNS; i++) {
			uint64_t count = all[i].octaves[octave], left;

			bar = 0;
			for (left = count; left > 0 && bar < BAR; left /= 10)
				bar++;
			fprintf(out, " %14.*s", (int)bar, "##############");
		}
		fputc('\n', out);
	}
}

void report_sections(FILE *out, const struct scale_options *options, const struct clock *clock,
		     const struct run runs[RUNS])
{
	struct figures all[RUNS];
	double values[RUNS], taken_off[RUNS];
	char many[32];
	unsigned i;

	for (i = 0; i < RUNS; i++) {
		figures(&runs[i], clock, &all[i]);
		values[i] = (double)all[i].long_ones;
		taken_off[i] = (double)runs[i].taken_off;
	}
	snprintf(many, sizeof(many), "%u readers", options->threads);
	fprintf(out, "Sections: enter, %u loads, leave, in a random one of %u spaces of %u regions.\n", LOADS,
		options->spaces, options->regions);
	fprintf(out, "Timed by %s, whose own %.1f ns are taken off.\n\n", clock->name,
		(double)clock->cost * clock->ns_per_tick);
	fprintf(out, "  %-26s %29s %29s\n", "", many, "1 reader, a CPU of its own");
	fprintf(out, "  %-26s %14s %14s %14s %14s\n", "writer", "idle", "busy", "idle", "busy");
	counts(out, runs);
	fprintf(out, "\n  ns\n");
	row_of(out, "shortest", runs, all, offsetof(struct figures, min));
	row_of(out, "median", runs, all, offsetof(struct figures, median));
	row_of(out, "99 %", runs, all, offsetof(struct figures, p99));
	row_of(out, "99.9 %", runs, all, offsetof(struct figures, p999));
	row_of(out, "99.99 %", runs, all, offsetof(struct figures, p9999));
	row_of(out, "longest", runs, all, offsetof(struct figures, max));
	row(out, "longer than 100 us", runs, values, 0);
	row(out, "readers taken off a CPU", runs, taken_off, 0);
	octaves(out, all);
	fprintf(out, "\n"
		     "  No section waits for the writer; what is longer was taken off its CPU: by the scheduler, or "
		     "for the\n"
		     "  moment of the barrier that each update has all CPUs of the process pass (membarrier).\n\n");
}

void report_memory(FILE *out, const struct scale_options *options, const struct memory_use *use)
{
	fprintf(out, "Memory, with %u regions:\n\n", options->memory_regions);
	fprintf(out, "  %-44s %10.0f bytes\n", "a region", use->region_bytes);
	fprintf(out, "  %-44s %10.0f bytes\n", "more for it while it stands in a space", use->in_map_bytes);
	fprintf(out, "  %-44s %10.0f bytes\n", "an empty space", use->space_bytes);
	fprintf(out, "  %-44s %10.0f bytes\n\n", "an old map that somebody holds", use->update_bytes);
	fprintf(out, "Resident memory of a dirty log of %.2f TiB in 4 KiB pages:\n\n",
		(double)options->log_bytes / (double)(UINT64_C(1) << 40));
	fprintf(out, "  %-44s %10.2f MiB\n", "untouched", (double)use->log_untouched_kib / 1024);
	fprintf(out, "  %-44s %10.2f MiB\n", "1 % dirty, at random", (double)use->log_sparse_kib / 1024);
	fprintf(out, "  %-44s %10.2f MiB\n\n", "all dirty", (double)use->log_full_kib / 1024);
}

static void json_run(FILE *out, const struct run *run, const struct clock *clock)
{
	const char *comma = "";
	struct figures all;
	unsigned i;

	figures(run, clock, &all);
	fprintf(out, "\t\t\"%s\": {\"readers\": %u, \"writer\": \"%s\", \"seconds\": %.3f, ", run->name, run->readers,
		run->busy ? "busy" : "idle", run->seconds);
	fprintf(out, "\"sections\": %llu, \"loads\": %llu, \"moved\": %llu, \"holes\": %llu, ",
		(unsigned long long)run->times.count, (unsigned long long)run->loads, (unsigned long long)run->moved,
		(unsigned long long)run->holes);
	fprintf(out, "\"updates\": %llu, \"refused\": %llu, \"taken_off\": %llu, \"longer_than_100_us\": %llu,\n",
		(unsigned long long)run->updates, (unsigned long long)run->refused, (unsigned long long)run->taken_off,
		(unsigned long long)all.long_ones);
	fprintf(out, "\t\t\t\"min_ns\": %.1f, \"median_ns\": %.1f, \"p99_ns\": %.1f, \"p99_9_ns\": %.1f, ", all.min,
		all.median, all.p99, all.p999);
	fprintf(out, "\"p99_99_ns\": %.1f, \"max_ns\": %.1f,\n\t\t\t\"octaves\": {", all.p9999, all.max);
	for (i = 0; i < 64; i++) {
		if (all.octaves[i] == 0)
			continue;
		fprintf(out, "%s\"%llu\": %llu", comma, 1ULL << i, (unsigned long long)all.octaves[i]);
		comma = ", ";
	}
	fputs("}}", out);
}

static void json_memory(FILE *out, const struct scale_options *options, const struct memory_use *use)
{
	fprintf(out, "\t\"memory\": {\"regions\": %u, \"region_bytes\": %.1f, \"in_map_bytes\": %.1f, ",
		options->memory_regions, use->region_bytes, use->in_map_bytes);
	fprintf(out, "\"space_bytes\": %.1f, \"old_map_bytes\": %.1f,\n\t\t\"log_bytes\": %llu, ", use->space_bytes,
		use->update_bytes, (unsigned long long)options->log_bytes);
	fprintf(out, "\"log_untouched_kib\": %lld, \"log_1_percent_kib\": %lld, \"log_full_kib\": %lld}",
		(long long)use->log_untouched_kib, (long long)use->log_sparse_kib, (long long)use->log_full_kib);
}

void report_json(FILE *out, const struct scale_options *options, const struct clock *clock, const struct run *runs,
		 const struct memory_use *use)
{
	const char *comma = "";
	unsigned i;

	fputs("{\n", out);
	if (runs != NULL) {
		fprintf(out, "\t\"spaces\": %u,\n\t\"regions\": %u,\n\t\"clock_cost_ns\": %.1f,\n\t\"sections\": {\n",
			options->spaces, options->regions, (double)clock->cost * clock->ns_per_tick);
		for (i = 0; i < RUNS; i++) {
			if (!runs[i].done)
				continue;
			fputs(comma, out);
			json_run(out, &runs[i], clock);
			comma = ",\n";
		}
		fprintf(out, "\n\t}%s\n", use ? "," : "");
	}
	if (use != NULL) {
		json_memory(out, options, use);
		fputc('\n', out);
	}
	fputs("}\n", out);
}

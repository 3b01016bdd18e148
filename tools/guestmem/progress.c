/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What a run says of itself: a line while it goes on, drawn over again on a terminal and once a second elsewhere; a report. */
#include <stdio.h>
#include <string.h>

#include "bands.h"
#include "run.h"

#define BAR_WIDTH  24
#define LIVE_NS    100000000u
#define PRINTED_NS 1000000000u

/* How far, in per mille: both goals have to be reached, so the one that is behind says it. */
static unsigned done_per_mille(const struct run *run)
{
	uint64_t moved = run_counted(&run->counts.read_bytes) + run_counted(&run->counts.written_bytes);
	uint64_t cycles = run_counted(&run->counts.cycles);
	double bytes = run->options->bytes ? (double)moved / (double)run->options->bytes : 1;
	double turns = run->options->cycles ? (double)cycles / (double)run->options->cycles : 1;
	double least = bytes < turns ? bytes : turns;

	return least < 1 ? (unsigned)(least * 1000) : 1000;
}

static void put_bar(const struct terminal *terminal, unsigned per_mille)
{
	/* Eighths of a block, so that the bar moves smoothly. */
	static const char *const parts[] = { " ", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
	unsigned eighths = per_mille * BAR_WIDTH * 8 / 1000;

	fputs(terminal->color ? "\033[38;5;33m\033[48;5;237m" : terminal->utf8 ? "" : "[", stderr);
	for (unsigned i = 0; i < BAR_WIDTH; i++) {
		unsigned here = eighths > i * 8 ? eighths - i * 8 : 0;

		if (terminal->utf8)
			fputs(here >= 8 ? "█" : here ? parts[here] : terminal->color ? " " : "░", stderr);
		else
			fputs(here >= 4 ? "#" : ".", stderr);
	}
	fputs(terminal->color ? "\033[0m" : terminal->utf8 ? "" : "]", stderr);
}

void progress_show(struct progress *progress, const struct run *run, const char *phase)
{
	uint64_t now = now_ns(), read_bytes = run_counted(&run->counts.read_bytes),
		 written_bytes = run_counted(&run->counts.written_bytes);
	uint64_t elapsed = (run->ended_ns ? run->ended_ns : now) - run->started_ns;
	char moved[BYTES_TEXT_MAX], rate[BYTES_TEXT_MAX], line[256];
	int length;

	if (progress->printed_ns == 0 && !progress->terminal.live)
		progress->printed_ns = now; /* a run that takes less than a second says nothing on its way */
	if (now - progress->printed_ns < (progress->terminal.live ? LIVE_NS : PRINTED_NS))
		return;
	progress->printed_ns = now;
	format_bytes(moved, read_bytes + written_bytes);
	format_bytes(rate, (uint64_t)((double)(read_bytes + written_bytes) * 1e9 / (double)(elapsed ? elapsed : 1)));
	length = snprintf(line, sizeof(line), "%s %3u%%  %s, %s/s, %llu cycles, %llu refused", phase,
			  done_per_mille(run) / 10, moved, rate, (unsigned long long)run_counted(&run->counts.cycles),
			  (unsigned long long)run_counted(&run->counts.refused));
	if (!progress->terminal.live) {
		fprintf(stderr, "%s\n", line);
		return;
	}
	fputs("\r\033[K", stderr);
	if (progress->terminal.columns > (unsigned)length + BAR_WIDTH + 3) {
		put_bar(&progress->terminal, done_per_mille(run));
		fputs("  ", stderr);
	}
	fprintf(stderr, "%.*s", (int)progress->terminal.columns - 1, line);
	fflush(stderr);
	progress->line = true;
}

void progress_clear(struct progress *progress)
{
	if (progress->line)
		fputs("\r\033[K", stderr);
	fflush(stderr);
	progress->line = false;
}

static void report_io(const struct run *run)
{
	const struct counts *counts = &run->counts;
	uint64_t elapsed = run->ended_ns - run->started_ns, moved = counts->read_bytes + counts->written_bytes;
	char all[BYTES_TEXT_MAX], in[BYTES_TEXT_MAX], out[BYTES_TEXT_MAX], rate[BYTES_TEXT_MAX];
	char times[4][LATENCY_TEXT_MAX];
	static struct latency latency;

	memset(&latency, 0, sizeof(latency));
	for (unsigned i = 0; i < run->queues_count; i++)
		latency_merge(&latency, &run->queues[i].latency);
	printf("  moved       %s: %s read, %s written; %llu requests, %llu buffers across region borders\n",
	       format_bytes(all, moved), format_bytes(in, counts->read_bytes), format_bytes(out, counts->written_bytes),
	       (unsigned long long)counts->requests, (unsigned long long)counts->crossings);
	printf("  throughput  %s/s, with every byte made and compared; %u queue%s, %u requests each\n",
	       format_bytes(rate, (uint64_t)((double)moved * 1e9 / (double)(elapsed ? elapsed : 1))), run->queues_count,
	       run->queues_count == 1 ? "" : "s", run->options->depth);
	printf("  latency     min %s, median %s, p99 %s, max %s\n", format_time(times[0], latency.min),
	       format_time(times[1], latency_percentile(&latency, 500)),
	       format_time(times[2], latency_percentile(&latency, 990)), format_time(times[3], latency.max));
	printf("  hot-plug    %llu cycles, %llu of them under requests in flight; %llu requests met a hole and were "
	       "sent "
	       "again\n",
	       (unsigned long long)counts->cycles, (unsigned long long)counts->cycles_in_use,
	       (unsigned long long)counts->refused);
}

void run_report(const struct run *run, bool verified)
{
	const struct image *image = &run->image;
	char bytes[BYTES_TEXT_MAX], written[BYTES_TEXT_MAX], elapsed[LATENCY_TEXT_MAX];

	printf("%s in %s, seed %llu\n", verified ? "verified" : "stopped",
	       format_time(elapsed, run->ended_ns - run->started_ns), (unsigned long long)run->options->seed);
	report_io(run);
	if (!verified)
		return;
	puts("  reads       every byte that was read equals the image");
	if (image->mode == IMAGE_READ_ONLY)
		puts("  writes      none: --read-only");
	else
		printf("  writes      the disk holds what was written and nothing else: %s compared, %s of it "
		       "written\n",
		       format_bytes(bytes, image->bytes), format_bytes(written, image->written_sectors * SECTOR_BYTES));
	printf("  dirty log   names exactly the %llu pages written, and the %llu pages in %llu unplugged regions\n",
	       (unsigned long long)run->ground.judged_pages, (unsigned long long)run->ground.judged_slot_pages,
	       (unsigned long long)run->ground.judged_slots);
}

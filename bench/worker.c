/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "worker.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Long enough for the clock, short enough for the programs to take turns. */
#define REPETITION_NS UINT64_C(20000000)
/* Of bench_beside(): parts of a repetition, each shorter than a scheduler's slice; how long it tries; what share is enough. */
#define BESIDE_PARTS   16
#define BESIDE_MOST_NS (5 * REPETITION_NS)
#define BESIDE_SHARE   0.95
#define AREA_BORDER    UINT64_C(0x200000)

/* The one name whose state is kept. */
static struct {
	char text[128];
	const struct bench_row *row;
	uint64_t count; /* operations of a repetition */
} current;

static bool is_short;

void bench_fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("error ", stdout);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	fflush(stdout);
	exit(1);
}

void bench_must(int64_t r, const char *what)
{
	if (r < 0)
		bench_fail("%s: %s", what, strerror((int)-r));
	if (r > 0)
		bench_fail("%s: unexpected %" PRId64, what, r);
}

uint64_t bench_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t bench_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

unsigned char *bench_area(uint64_t bytes)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	unsigned char *mapped = mmap(NULL, bytes + AREA_BORDER, PROT_READ | PROT_WRITE, flags, -1, 0), *area;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), before;

	if (mapped == MAP_FAILED)
		bench_fail("no %" PRIu64 " bytes of memory: %s", bytes, strerror(errno));
	before = -(uintptr_t)mapped % AREA_BORDER;
	area = mapped + before;
	bytes = (bytes + page - 1) / page * page;
	if (before > 0)
		munmap(mapped, before);
	if (before < AREA_BORDER)
		munmap(area + bytes, AREA_BORDER - before);
	/* Refused by a kernel that has no huge pages. */
	(void)madvise(area, bytes, MADV_NOHUGEPAGE);
	return area;
}

void bench_area_free(unsigned char *area, uint64_t bytes)
{
	munmap(area, bytes);
}

void bench_leave_cpu(int cpu)
{
	cpu_set_t cpus;
	int other;

	CPU_ZERO(&cpus);
	for (other = 0; other < CPU_SETSIZE; other++) {
		if (other != cpu)
			CPU_SET(other, &cpus);
	}
	/* Refused where there is no other: then they share one. */
	(void)sched_setaffinity(0, sizeof(cpus), &cpus);
}

static uint64_t work_of(pthread_t thread)
{
	struct timespec now;
	clockid_t clock;

	if (pthread_getcpuclockid(thread, &clock) != 0 || clock_gettime(clock, &now) != 0)
		bench_fail("no clock of a thread");
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t bench_beside(pthread_t other, void (*run)(uint64_t count), uint64_t count)
{
	uint64_t part = count > BESIDE_PARTS ? count / BESIDE_PARTS : 1, worked, start, took, sum = 0, good = 0;
	uint64_t begun = bench_clock();

	while (good * part < count && bench_clock() - begun < BESIDE_MOST_NS) {
		worked = work_of(other);
		start = bench_clock();
		run(part);
		took = bench_clock() - start;
		if (is_short || (double)(work_of(other) - worked) >= BESIDE_SHARE * (double)took) {
			sum += took;
			good++;
		}
	}
	return good > 0 ? (uint64_t)((double)sum * (double)count / (double)(good * part)) : BENCH_ALONE;
}

static uint64_t repeat(const struct bench_row *row, uint64_t count)
{
	uint64_t start;

	if (row->run_apart)
		return row->run_apart(count);
	start = bench_clock();
	row->run(count);
	return bench_clock() - start;
}

/* Warms up, and finds how many operations a repetition has; fewer where what each needs beforehand takes much longer than itself. */
static uint64_t calibrate(const struct bench_row *row)
{
	uint64_t count, start, took, whole, each, by_whole;

	if (is_short)
		return 1;
	for (count = 1;; count *= 2) {
		start = bench_clock();
		took = repeat(row, count);
		whole = bench_clock() - start;
		/* Found all the same, where another thread has no CPU of its own. */
		if (took == BENCH_ALONE)
			took = REPETITION_NS;
		if (took >= REPETITION_NS / 4 || whole >= 4 * REPETITION_NS)
			break;
	}
	each = took / count;
	by_whole = 10 * REPETITION_NS * count / whole;
	count = REPETITION_NS / (each ? each : 1);
	if (count > by_whole)
		count = by_whole;
	return count ? count : 1;
}

/* BASE, BASE/NUMBER, BASE/NUMBER/VARIANT. */
static bool parse_name(const char *text, struct bench_name *ret_name)
{
	const char *number = strchr(text, '/'), *variant = NULL;
	size_t bytes = number ? (size_t)(number - text) : strlen(text);
	char *end;

	memset(ret_name, 0, sizeof(*ret_name));
	if (bytes == 0 || bytes >= sizeof(ret_name->base))
		return false;
	memcpy(ret_name->base, text, bytes);
	ret_name->number = 1;
	if (!number)
		return true;
	if (number[1] < '0' || number[1] > '9')
		return false;
	ret_name->number = strtoull(number + 1, &end, 10);
	if (*end == '/')
		variant = end + 1;
	else if (*end != '\0')
		return false;
	if (variant && (*variant == '\0' || strlen(variant) >= sizeof(ret_name->variant)))
		return false;
	if (variant)
		strcpy(ret_name->variant, variant);
	return true;
}

static const struct bench_row *find_row(const struct bench_row *const *tables, const char *base)
{
	const struct bench_row *row;

	for (; *tables; tables++) {
		for (row = *tables; row->base; row++) {
			if (strcmp(row->base, base) == 0)
				return row;
		}
	}
	return NULL;
}

static void take_down(void)
{
	if (current.row && current.row->tear_down)
		current.row->tear_down();
	current.row = NULL;
}

static void answer_time(const struct bench_row *const *tables, const char *text)
{
	const struct bench_row *row;
	struct bench_name name;
	uint64_t took;

	if (!current.row || strcmp(current.text, text) != 0) {
		row = parse_name(text, &name) ? find_row(tables, name.base) : NULL;
		if (!row || strlen(text) >= sizeof(current.text)) {
			puts("error unknown name");
			return;
		}
		take_down();
		row->set_up(&name);
		current.row = row;
		strcpy(current.text, text);
		current.count = calibrate(row);
	}
	took = repeat(current.row, current.count);
	if (took == BENCH_ALONE)
		puts("nan");
	else
		printf("%.4f\n", (double)took / (double)current.count);
}

static void answer_list(const struct bench_row *const *tables)
{
	const char *separator = "", *suffix;
	const struct bench_row *row;
	size_t bytes;

	for (; *tables; tables++) {
		for (row = *tables; row->base; row++) {
			suffix = row->listed;
			do {
				bytes = strcspn(suffix, " ");
				printf("%s%s%.*s", separator, row->base, (int)bytes, suffix);
				separator = " ";
				suffix += bytes;
			} while (*suffix++ == ' ');
		}
	}
	putchar('\n');
}

int bench_main(int argc, char **argv, const struct bench_row *const *tables)
{
	char line[256];

	if (argc == 2 && strcmp(argv[1], "--short") == 0) {
		is_short = true;
	} else if (argc != 1) {
		fprintf(stderr, "usage: %s [--short], and requests on standard input: list, time NAME\n", argv[0]);
		return 2;
	}
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (strcmp(line, "list") == 0)
			answer_list(tables);
		else if (strncmp(line, "time ", 5) == 0)
			answer_time(tables, line + 5);
		else
			puts("error unknown request");
		fflush(stdout);
	}
	take_down();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A worker: a program that times operations when it is asked to, one line in, one line out.
 *
 *	list		the names that it knows
 *	time NAME	nanoseconds per operation, of one repetition of about 20 ms; "nan" for a repetition that does not count;
 *			or "error TEXT"
 *
 * A name is a row's base, and behind it, where the row has such, a number and a variant: load_scattered/512/irregular. The
 * first "time" of a name takes down what the one before had set up, sets up its own, warms up, and finds how many operations
 * a repetition has. All workers speak so, in whatever language they are, and bench.py asks them in turn.
 */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include <pthread.h>
#include <stdint.h>

/* Entries of a table of random addresses. The same in all workers, like the generator and its seed. */
#define BENCH_TABLE 65536
#define BENCH_SEED  UINT64_C(88172645463325252)

struct bench_name {
	char base[64];
	uint64_t number; /* 1 where there is none */
	char variant[32];
};

/**
 * struct bench_row - one kind of operation
 * @base: the first part of its names; NULL ends an array of rows
 * @listed: what stands behind it in the names that are listed, separated by single blanks; "" for nothing
 * @set_up: for a name; ends the program by bench_fail() when it can't
 * @run: so many operations, timed from outside
 * @run_apart: in place of @run: so many operations, each timed apart; returns nanoseconds. For what has to be prepared each time
 * @tear_down: all that @set_up made
 */
struct bench_row {
	const char *base;
	const char *listed;
	void (*set_up)(const struct bench_name *name);
	void (*run)(uint64_t count);
	uint64_t (*run_apart)(uint64_t count);
	void (*tear_down)(void);
};

/* Numbers of regions for the curves. */
#define BENCH_CURVE "/1 /2 /4 /8 /16 /32 /64 /128 /256 /512 /1024 /2048 /4096 /8192 /16384 /32768"

/* Answers on standard input and output until it ends. @tables ends with NULL. Option --short: repetitions of one operation. */
int bench_main(int argc, char **argv, const struct bench_row *const *tables);

/* Answers "error TEXT" and ends the program: the figure would be worth nothing. */
void bench_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* @r: 0, or a negative error number that @what gave. */
void bench_must(int64_t r, const char *what);

uint64_t bench_clock(void);
/* xorshift64. */
uint64_t bench_random(uint64_t *state);
/*
 * Private anonymous memory, not touched yet. Always from a border of 2 MiB on, and always of small pages: so what is copied from
 * and what is copied to stand alike in all workers, wherever the kernel has room.
 */
unsigned char *bench_area(uint64_t bytes);
void bench_area_free(unsigned char *area, uint64_t bytes);
#define BENCH_ALONE UINT64_MAX
/* For a thread that shall not disturb the one that is timed on @cpu: keep off it, where there are others. */
void bench_leave_cpu(int cpu);
/*
 * Nanoseconds of @run, so many operations, while the thread @other works. In parts, of which those count where that had its CPU,
 * or the least of all repetitions would be one without it. BENCH_ALONE: there was none.
 */
uint64_t bench_beside(pthread_t other, void (*run)(uint64_t count), uint64_t count);

/* The same number, of which the compiler knows nothing. */
static inline uint64_t bench_hide(uint64_t value)
{
	__asm__("" : "+r"(value));
	return value;
}

/* What the compiler may not drop, and memory that it has to take for read and written. */
static inline void bench_keep(uint64_t value)
{
	__asm__ volatile("" : : "r"(value));
}

static inline void bench_keep_memory(const void *memory)
{
	__asm__ volatile("" : : "r"(memory) : "memory");
}

/* Each of @count entries of a table, which is gone through from its beginning over and over. */
#define BENCH_OVER(table, count, entry)                                                                                \
	for (uint64_t left_ = (count), now_; left_ > 0 && (now_ = left_ < BENCH_TABLE ? left_ : BENCH_TABLE);          \
	     left_ -= now_)                                                                                            \
		for (const uint64_t *at_ = (table), *end_ = at_ + now_; at_ < end_ && ((entry) = *at_, 1); at_++)

#endif

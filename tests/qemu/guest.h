/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What the parts of the program inside the guest share: sectors that say what they are, reads and writes that are in flight
 * side by side, and what is said to the test outside (lines that begin with "GM:", on the serial line).
 *
 * The program is the guest's only one, process 1. It has no threads; a workload that wants two of them forks.
 */
#ifndef TESTS_QEMU_GUEST_H
#define TESTS_QEMU_GUEST_H

#include <linux/aio_abi.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISK        "/dev/vda"
#define SECOND_DISK "/dev/vdb"
#define SECTOR      512u
#define MIB         (UINT64_C(1) << 20)
#define DEPTH_MAX   64

/* Reads and writes in flight, in slots: the slot's number comes back with what is done. */
struct queue {
	aio_context_t context;
	struct iocb iocbs[DEPTH_MAX];
};

/* What is written: each sector has its number, a generation and words that follow from both. */
void tag_fill(void *buffer, uint64_t sector, uint64_t generation, uint64_t bytes);
/* How many of the sectors in @buffer are not those. The first one of a run of the program is described. */
uint64_t tag_check(const void *buffer, uint64_t sector, uint64_t generation, uint64_t bytes);

void queue_open(struct queue *queue);
void queue_close(struct queue *queue);
void queue_start(struct queue *queue, unsigned int slot, int fd, bool is_write, void *buffer, uint64_t bytes,
		 uint64_t at);
/* Waits for one; returns its slot. A transfer that failed or was short ends the program: nothing here may fail. */
unsigned int queue_wait(struct queue *queue);

/* Memory that is there, at an address that is @odd bytes behind that of a page. Ends the program where there is none. */
void *buffer_new(uint64_t bytes, unsigned int odd);
void buffer_free(void *buffer, uint64_t bytes, unsigned int odd);

uint64_t random_below(uint64_t bound);
uint64_t now_us(void);

/* The value of gm.NAME=VALUE on the kernel's command line. Sizes have K, M or G behind them. */
bool option_text(const char *name, char *ret_value, size_t size);
uint64_t option_size(const char *name, uint64_t otherwise);

__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
/* Says so, and is the end of the guest. */
__attribute__((format(printf, 1, 2), noreturn)) void fail(const char *format, ...);
/* Whether the test said "stop". Never blocks. */
bool told_to_stop(void);

/* Opens a disk, past the guest's page cache. */
int disk_open(const char *path, uint64_t *ret_bytes);

void run_verify(void);
void run_load(void);
void run_reader(void);
void run_ext4(void);
void run_bench(void);
void run_exec(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The workload on an ext4 file system, for a disk whose server is killed again and again: one process overwrites a file in
 * place, with many writes in flight; another makes, renames and reads files through the page cache. Both know what must be there
 * and check it. Neither may see an error: a guest does not notice that its disk was gone.
 */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK      4096u
#define BLOCKS     8192u
#define DEPTH      32u
#define FILES      16u
#define FILE_BYTES (256u << 10)

/* Shared by the processes. */
struct progress {
	volatile bool is_stopping;
	volatile uint64_t writes;
	volatile uint64_t reads;
	volatile uint64_t files;
	volatile uint64_t bad;
};

static void open_big_file(int *ret_fd, char *buffer)
{
	unsigned int block;
	int fd = open("/disk/big", O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0644);

	if (fd < 0)
		fail("a file can not be made: %s", strerror(errno));
	for (block = 0; block < BLOCKS; block += DEPTH) {
		tag_fill(buffer, (uint64_t)block * (BLOCK / SECTOR), 0, DEPTH * BLOCK);
		if (pwrite(fd, buffer, DEPTH * BLOCK, (off_t)block * BLOCK) != (ssize_t)DEPTH * BLOCK)
			fail("a file can not be filled: %s", strerror(errno));
	}
	if (fsync(fd))
		fail("a file can not be flushed: %s", strerror(errno));
	*ret_fd = fd;
}

/* Each block has a generation of its own; a write that was done once more, after a newer one, is found as well as a lost one. */
static void overwrite(struct progress *progress)
{
	static uint64_t generations[BLOCKS];
	static bool is_busy[BLOCKS];
	unsigned int block_of[DEPTH], slot, running = 0, block;
	bool is_write[DEPTH];
	struct queue queue;
	char *buffer = buffer_new((uint64_t)DEPTH * BLOCK, 0), *data;
	int fd;

	open_big_file(&fd, buffer);
	queue_open(&queue);
	while (!progress->is_stopping || running) {
		if (running == DEPTH || progress->is_stopping) {
			slot = queue_wait(&queue);
			data = buffer + slot * BLOCK;
			block = block_of[slot];
			is_busy[block] = false;
			if (is_write[slot])
				progress->writes++;
			else
				progress->bad += tag_check(data, (uint64_t)block * (BLOCK / SECTOR), generations[block],
							   BLOCK);
			progress->reads += !is_write[slot];
			if (progress->is_stopping) {
				running--;
				continue;
			}
		} else {
			slot = running++;
			data = buffer + slot * BLOCK;
		}
		do
			block = (unsigned int)random_below(BLOCKS);
		while (is_busy[block]);
		is_busy[block] = true;
		block_of[slot] = block;
		is_write[slot] = random_below(4) != 0;
		if (is_write[slot])
			tag_fill(data, (uint64_t)block * (BLOCK / SECTOR), ++generations[block], BLOCK);
		queue_start(&queue, slot, fd, is_write[slot], data, BLOCK, (uint64_t)block * BLOCK);
	}
	for (block = 0; block < BLOCKS; block++) {
		if (pread(fd, buffer, BLOCK, (off_t)block * BLOCK) != (ssize_t)BLOCK)
			fail("a file can not be read: %s", strerror(errno));
		progress->bad += tag_check(buffer, (uint64_t)block * (BLOCK / SECTOR), generations[block], BLOCK);
	}
}

static void write_file(unsigned int number, uint64_t generation, char *buffer)
{
	char path[64];
	int fd = open("/disk/new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	tag_fill(buffer, number, generation, FILE_BYTES);
	snprintf(path, sizeof(path), "/disk/file%u", number);
	if (fd < 0 || write(fd, buffer, FILE_BYTES) != (ssize_t)FILE_BYTES || fsync(fd) || close(fd) ||
	    rename("/disk/new", path))
		fail("%s can not be written: %s", path, strerror(errno));
}

static uint64_t check_file(unsigned int number, uint64_t generation, char *buffer)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/disk/file%u", number);
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0 || read(fd, buffer, FILE_BYTES) != (ssize_t)FILE_BYTES)
		fail("%s can not be read: %s", path, strerror(errno));
	close(fd);
	return tag_check(buffer, number, generation, FILE_BYTES);
}

static void rewrite_files(struct progress *progress)
{
	char *buffer = buffer_new(FILE_BYTES, 0);
	uint64_t generations[FILES] = { 0 };
	unsigned int number;

	while (!progress->is_stopping) {
		number = (unsigned int)random_below(FILES);
		write_file(number, ++generations[number], buffer);
		progress->files++;
		number = (unsigned int)random_below(FILES);
		if (generations[number])
			progress->bad += check_file(number, generations[number], buffer);
	}
	for (number = 0; number < FILES; number++)
		if (generations[number])
			progress->bad += check_file(number, generations[number], buffer);
}

static void say_progress(const char *word, const struct progress *progress)
{
	say("%s writes=%llu reads=%llu files=%llu bad=%llu", word, (unsigned long long)progress->writes,
	    (unsigned long long)progress->reads, (unsigned long long)progress->files,
	    (unsigned long long)progress->bad);
}

void run_ext4(void)
{
	struct progress *progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
					 -1, 0);
	void (*const parts[])(struct progress *) = { overwrite, rewrite_files };
	unsigned int i;
	int status;
	pid_t pid;

	if (progress == MAP_FAILED || mount(DISK, "/disk", "ext4", 0, NULL))
		fail("the file system can not be mounted: %s", strerror(errno));
	for (i = 0; i < 2; i++) {
		pid = fork();
		if (pid < 0)
			fail("fork: %s", strerror(errno));
		if (!pid) {
			parts[i](progress);
			_exit(0);
		}
	}
	while (!told_to_stop()) {
		usleep(200000);
		say_progress("PROGRESS", progress);
	}
	progress->is_stopping = true;
	for (i = 0; i < 2; i++)
		if (wait(&status) < 0 || status)
			fail("a part of the workload died: status %x", (unsigned int)status);
	if (umount("/disk"))
		fail("the file system can not be unmounted: %s", strerror(errno));
	say_progress("VERIFIED", progress);
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Process 1 of the guest: mounts what it needs, loads the kernel modules that came with it, runs the workload that the
 * kernel's command line names (gm.mode=...), and ends the machine. Start reading at main().
 *
 * Whatever goes wrong is said and ends the machine at once: the test outside waits for the line "GM: DONE" and finds another.
 */
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static char command_line[4096];
static uint64_t random_state = UINT64_C(0x9e3779b97f4a7c15);

void say(const char *format, ...)
{
	char line[512];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(line, sizeof(line) - 8, format, arguments);
	va_end(arguments);
	/* One write, so that the lines of two processes stay apart. A line feed in front: the kernel may have left half a line. */
	dprintf(STDOUT_FILENO, "\nGM: %.*s\n", length, line);
}

static __attribute__((noreturn)) void power_off(void)
{
	sync();
	/* QEMU runs with -no-reboot. */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

void fail(const char *format, ...)
{
	char line[400];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	say("FAILED: %s", line);
	/* Without a sync: it would wait for a disk that may be what failed. */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

bool told_to_stop(void)
{
	static bool is_told;
	char text[64];

	if (!is_told && read(STDIN_FILENO, text, sizeof(text)) > 0)
		is_told = true;
	return is_told;
}

bool option_text(const char *name, char *ret_value, size_t size)
{
	char key[64];
	const char *found;
	size_t length;

	snprintf(key, sizeof(key), "gm.%s=", name);
	found = strstr(command_line, key);
	if (!found)
		return false;
	found += strlen(key);
	length = strcspn(found, " \n");
	if (length >= size)
		fail("the option %s is too long", name);
	memcpy(ret_value, found, length);
	ret_value[length] = 0;
	return true;
}

uint64_t option_size(const char *name, uint64_t otherwise)
{
	char text[64], *rest;
	uint64_t value;

	if (!option_text(name, text, sizeof(text)))
		return otherwise;
	value = strtoull(text, &rest, 0);
	switch (*rest) {
	case 'G':
		return value << 30;
	case 'M':
		return value << 20;
	case 'K':
		return value << 10;
	default:
		return value;
	}
}

uint64_t random_below(uint64_t bound)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % bound;
}

uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Each word of a sector but its first two. */
static uint64_t tag_word(uint64_t sector, uint64_t generation, unsigned int index)
{
	return (sector + (generation << 40)) * UINT64_C(0x9e3779b97f4a7c15) + index;
}

void tag_fill(void *buffer, uint64_t sector, uint64_t generation, uint64_t bytes)
{
	uint64_t *word = buffer;
	unsigned int i;

	for (; bytes; bytes -= SECTOR, sector++, word += SECTOR / 8) {
		word[0] = sector;
		word[1] = generation;
		for (i = 2; i < SECTOR / 8; i++)
			word[i] = tag_word(sector, generation, i);
	}
}

uint64_t tag_check(const void *buffer, uint64_t sector, uint64_t generation, uint64_t bytes)
{
	static bool is_described;
	const uint64_t *word = buffer;
	uint64_t bad = 0, difference;
	unsigned int i;

	for (; bytes; bytes -= SECTOR, sector++, word += SECTOR / 8) {
		difference = (word[0] ^ sector) | (word[1] ^ generation);
		for (i = 2; i < SECTOR / 8; i++)
			difference |= word[i] ^ tag_word(sector, generation, i);
		if (!difference)
			continue;
		bad++;
		if (!is_described)
			say("wrong: sector %llu generation %llu, found sector %llu generation %llu word 2 %llx",
			    (unsigned long long)sector, (unsigned long long)generation, (unsigned long long)word[0],
			    (unsigned long long)word[1], (unsigned long long)word[2]);
		is_described = true;
	}
	return bad;
}

void queue_open(struct queue *queue)
{
	memset(queue, 0, sizeof(*queue));
	if (syscall(SYS_io_setup, DEPTH_MAX, &queue->context))
		fail("io_setup: %s", strerror(errno));
}

void queue_close(struct queue *queue)
{
	syscall(SYS_io_destroy, queue->context);
}

void queue_start(struct queue *queue, unsigned int slot, int fd, bool is_write, void *buffer, uint64_t bytes,
		 uint64_t at)
{
	struct iocb *iocb = &queue->iocbs[slot];

	memset(iocb, 0, sizeof(*iocb));
	iocb->aio_data = slot;
	iocb->aio_lio_opcode = is_write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
	iocb->aio_fildes = (uint32_t)fd;
	iocb->aio_buf = (uintptr_t)buffer;
	iocb->aio_nbytes = bytes;
	iocb->aio_offset = (int64_t)at;
	if (syscall(SYS_io_submit, queue->context, 1L, &iocb) != 1)
		fail("io_submit: %s", strerror(errno));
}

unsigned int queue_wait(struct queue *queue)
{
	struct io_event event;
	struct iocb *iocb;
	long count;

	do
		count = syscall(SYS_io_getevents, queue->context, 1L, 1L, &event, NULL);
	while (count < 0 && errno == EINTR);
	if (count != 1)
		fail("io_getevents: %s", strerror(errno));
	iocb = &queue->iocbs[event.data];
	if (event.res != (int64_t)iocb->aio_nbytes)
		fail("%s of %llu bytes at %lld: %lld", iocb->aio_lio_opcode == IOCB_CMD_PWRITE ? "a write" : "a read",
		     (unsigned long long)iocb->aio_nbytes, (long long)iocb->aio_offset, (long long)event.res);
	return (unsigned int)event.data;
}

void *buffer_new(uint64_t bytes, unsigned int odd)
{
	char *buffer = mmap(NULL, bytes + odd, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
			    0);

	if (buffer == MAP_FAILED)
		fail("no %llu bytes of memory: %s", (unsigned long long)bytes, strerror(errno));
	return buffer + odd;
}

void buffer_free(void *buffer, uint64_t bytes, unsigned int odd)
{
	munmap((char *)buffer - odd, bytes + odd);
}

int disk_open(const char *path, uint64_t *ret_bytes)
{
	struct stat status;
	int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);

	/* A plain file would do as well as a disk, and prove nothing. */
	if (fd < 0 || fstat(fd, &status) || !S_ISBLK(status.st_mode))
		fail("there is no disk %s: %s", path, strerror(errno));
	if (ioctl(fd, BLKGETSIZE64, ret_bytes))
		fail("the disk has no size: %s", strerror(errno));
	return fd;
}

/* In the order of their names: whoever packed them saw to that. */
static void load_modules(void)
{
	struct dirent **names;
	int count = scandir("/modules", &names, NULL, alphasort), i, fd;
	char path[300];

	for (i = 0; i < count; i++) {
		if (names[i]->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/modules/%s", names[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
			fail("%s can not be loaded: %s", path, strerror(errno));
		close(fd);
	}
}

static void mount_all(void)
{
	ssize_t length;
	int fd;

	mkdir("/proc", 0755);
	mkdir("/dev", 0755);
	mkdir("/disk", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL))
		fail("/proc can not be mounted: %s", strerror(errno));
	fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	length = fd < 0 ? -1 : read(fd, command_line, sizeof(command_line) - 1);
	if (length < 0)
		fail("there is no command line: %s", strerror(errno));
	close(fd);
	if (mount("dev", "/dev", "devtmpfs", 0, NULL) && errno != EBUSY)
		fail("/dev can not be mounted: %s", strerror(errno));
}

int main(void)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} modes[] = {
		{ "verify", run_verify }, { "load", run_load },   { "reader", run_reader },
		{ "ext4", run_ext4 },     { "bench", run_bench }, { "exec", run_exec },
	};
	char mode[32];
	size_t i;

	mount_all();
	fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
	load_modules();
	if (!option_text("mode", mode, sizeof(mode)))
		fail("nothing to do: gm.mode= is missing");
	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(modes[i].name, mode))
			continue;
		say("BEGIN %s", mode);
		modes[i].run();
		say("DONE");
		power_off();
	}
	fail("there is no workload called %s", mode);
}

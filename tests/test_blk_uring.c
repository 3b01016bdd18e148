/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The block device on an image by io_uring: that the bytes get there, whatever their alignment and whether the page cache is used
 * or not; that transfers which stop midway go on; that what fails says why; and that a ring without room delays, and loses nothing.
 */
#include "blk_fixture.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "resources.h"
#include "uring_disk.h"

/* What the next completions say in place of what happened: so many times. */
static int32_t lie;
static unsigned lies;

/* In place of the library's: what a kernel may answer can't be had by asking. */
unsigned io_uring_peek_batch_cqe(struct io_uring *ring, struct io_uring_cqe **cqes, unsigned count)
{
	static unsigned (*real)(struct io_uring *, struct io_uring_cqe **, unsigned);
	unsigned i;

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "io_uring_peek_batch_cqe");
	count = real(ring, cqes, count);
	for (i = 0; i < count && lies > 0; i++, lies--)
		cqes[i]->res = lie;
	return count;
}

static unsigned copies;
static int copy_error; /* what they fail with */
static unsigned copy_us;

/* In place of the C library's: a page cache without room, and one that makes writers wait. */
ssize_t pwritev(int fd, const struct iovec *iovecs, int count, off_t offset)
{
	copies++;
	if (copy_us > 0)
		usleep(copy_us);
	if (copy_error != 0) {
		errno = copy_error;
		return -1;
	}
	return pwrite(fd, iovecs->iov_base, count > 0 ? iovecs->iov_len : 0, offset);
}

static unsigned looks;
static bool is_cold; /* nothing is in the page cache */

/* Likewise. */
ssize_t preadv2(int fd, const struct iovec *iovecs, int count, off_t offset, int flags)
{
	looks++;
	if (!is_cold)
		return preadv(fd, iovecs, count, offset);
	assert_int_equal(flags, RWF_NOWAIT);
	errno = EAGAIN;
	return -1;
}

struct ringed {
	struct blk_machine machine;
	struct uring uring;
	struct uring_disk *disk;
	struct vblk_disk vblk_disk;
	char path[64];
	int fd; /* the test's own */
};

static void turn(struct ringed *ringed)
{
	uring_disk_push(ringed->disk);
	assert_int_equal(uring_turn(&ringed->uring, -1), 0);
}

/* The fixture expects a transfer to be over when its submit returns. */
static void submit_and_wait(void *opaque, struct vblk_io *io)
{
	struct ringed *ringed = opaque;

	ringed->vblk_disk.submit(ringed->vblk_disk.opaque, io);
	while (uring_disk_in_flight(ringed->disk) > 0)
		turn(ringed);
}

static void use_disk(struct ringed *ringed, const struct vblk_disk *disk)
{
	struct vblk_opts opts = { .name = "disk0", .disk = disk };
	struct virtq_ring ring = gblk_ring(ringed->machine.gblk);

	vblk_free(ringed->machine.vblk);
	assert_int_equal(vblk_new(ringed->machine.memory, &opts, &ringed->machine.vblk), 0);
	assert_int_equal(vblk_set_features(ringed->machine.vblk, vblk_features(ringed->machine.vblk)), 0);
	assert_int_equal(vblk_queue_set(ringed->machine.vblk, 0, &ring), 0);
}

/* @path: NULL for a new file of @bytes. */
static void ringed_init(struct ringed *ringed, const char *path, off_t bytes, bool read_only, bool direct,
			unsigned entries)
{
	struct vblk_disk waiting;

	memset(ringed, 0, sizeof(*ringed));
	ringed->fd = -1;
	if (path == NULL) {
		strcpy(ringed->path, "test_blk_uring.XXXXXX");
		ringed->fd = mkstemp(ringed->path);
		assert_true(ringed->fd >= 0);
		assert_int_equal(ftruncate(ringed->fd, bytes), 0);
		path = ringed->path;
	}
	blk_machine_init(&ringed->machine, &(struct blk_opts){ .world = BLK_SPACE });
	assert_int_equal(uring_init(&ringed->uring, entries), 0);
	assert_int_equal(uring_disk_new(&ringed->uring, path, read_only, direct, &ringed->disk, &ringed->vblk_disk), 0);
	waiting = ringed->vblk_disk;
	waiting.submit = submit_and_wait;
	waiting.opaque = ringed;
	use_disk(ringed, &waiting);
}

static void ringed_fini(struct ringed *ringed)
{
	blk_machine_fini(&ringed->machine);
	uring_disk_free(ringed->disk);
	uring_fini(&ringed->uring);
	if (ringed->fd >= 0) {
		close(ringed->fd);
		unlink(ringed->path);
	}
}

/* Neither the place in memory nor its pieces are aligned to anything: O_DIRECT has to have a buffer. */
static void to_and_fro_at(struct ringed *ringed, uint64_t at)
{
	const size_t bytes = 300 * 512;
	unsigned char *data = malloc(bytes), *seen = malloc(bytes);

	assert_true(data != NULL && seen != NULL);
	blk_pattern(data, bytes, 7);
	blk_put(&ringed->machine, at, data, bytes);
	assert_int_equal(blk_one(&ringed->machine, VBLK_T_OUT, 702, at, (uint32_t)bytes), VBLK_S_IOERR);
	assert_int_equal(blk_one(&ringed->machine, VBLK_T_OUT, 700, at, (uint32_t)bytes), VBLK_S_OK);
	assert_int_equal(blk_one(&ringed->machine, VBLK_T_FLUSH, 0, 0, 0), VBLK_S_OK);
	assert_int_equal(pread(ringed->fd, seen, bytes, 700 * 512), bytes);
	assert_memory_equal(seen, data, bytes);
	blk_pattern(data, bytes, 8);
	assert_int_equal(pwrite(ringed->fd, data, bytes, 1024), bytes);
	assert_int_equal(blk_one(&ringed->machine, VBLK_T_IN, 2, at, (uint32_t)bytes), VBLK_S_OK);
	blk_get(&ringed->machine, at, seen, bytes);
	assert_memory_equal(seen, data, bytes);
	free(data);
	free(seen);
}

static void to_and_fro(void **state)
{
	static const uint64_t places[] = { BLK_DATA, BLK_DATA + BLK_REGION_BYTES - 1000, BLK_DATA + 7 };
	struct ringed ringed;
	unsigned direct, i;

	(void)state;
	for (direct = 0; direct < 2; direct++) {
		ringed_init(&ringed, NULL, 1000 * 512, false, direct, 64);
		for (i = 0; i < 3; i++)
			to_and_fro_at(&ringed, places[i]);
		assert_int_equal(ringed.vblk_disk.bytes, 1000 * 512);
		ringed_fini(&ringed);
	}
}

/* A buffer of ours has a size: longer transfers take it several times. */
static void long_and_unaligned(void **state)
{
	const uint32_t bytes = 5 << 19;
	unsigned char *data = malloc(bytes), *seen = malloc(bytes);
	struct ringed ringed;

	(void)state;
	assert_true(data != NULL && seen != NULL);
	blk_pattern(data, bytes, 3);
	ringed_init(&ringed, NULL, bytes, false, true, 64);
	blk_put(&ringed.machine, BLK_DATA + 1, data, bytes);
	assert_int_equal(blk_one(&ringed.machine, VBLK_T_OUT, 0, BLK_DATA + 1, bytes), VBLK_S_OK);
	assert_int_equal(pread(ringed.fd, seen, bytes, 0), bytes);
	assert_memory_equal(seen, data, bytes);
	assert_int_equal(blk_one(&ringed.machine, VBLK_T_IN, 0, BLK_DATA + 3, bytes), VBLK_S_OK);
	blk_get(&ringed.machine, BLK_DATA + 3, seen, bytes);
	assert_memory_equal(seen, data, bytes);
	ringed_fini(&ringed);
	free(data);
	free(seen);
}

static uint8_t one_range(struct blk_machine *machine, uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	struct vblk_range range = { gm_le64(sector), gm_le32(sectors), gm_le32(flags) };

	return blk_do(machine, &(struct gblk_request){ .type = type, .ranges = &range, .ranges_count = 1 }).status;
}

/*
 * In a file; and in a memfd, where zeros have to be written unless they may be a hole. Up to the end of an image that has half a
 * sector there, and keeps its size.
 */
static void discard_and_zero(void **state)
{
	static const uint32_t types[] = { VBLK_T_WRITE_ZEROES, VBLK_T_WRITE_ZEROES, VBLK_T_DISCARD };
	static const uint32_t flags[] = { 0, VBLK_RANGE_F_UNMAP, 0 };
	const uint32_t sectors = 20000;
	const off_t bytes = (off_t)sectors * 512 - 256;
	unsigned char *data = malloc((size_t)bytes), *seen = malloc((size_t)bytes), *zeros = calloc((size_t)bytes, 1);
	struct ringed ringed;
	char path[64];
	unsigned i, file;

	(void)state;
	assert_true(data != NULL && seen != NULL && zeros != NULL);
	for (file = 0; file < 2; file++) {
		const int memfd = memfd_create("image", 0);
		struct stat status;
		int fd = memfd;

		assert_int_equal(ftruncate(memfd, bytes), 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
		ringed_init(&ringed, file ? NULL : path, bytes, false, false, 64);
		if (file)
			fd = ringed.fd;
		for (i = 0; i < 3; i++) {
			blk_pattern(data, (size_t)bytes, i);
			assert_int_equal(pwrite(fd, data, (size_t)bytes, 0), bytes);
			assert_int_equal(one_range(&ringed.machine, types[i], 9, sectors - 9, flags[i]), VBLK_S_OK);
			assert_int_equal(pread(fd, seen, (size_t)bytes, 0), bytes);
			assert_memory_equal(seen, data, 9 * 512);
			/* What a discard leaves behind is undefined. */
			if (types[i] == VBLK_T_WRITE_ZEROES)
				assert_memory_equal(seen + 9 * 512, zeros, (size_t)bytes - 9 * 512);
			assert_int_equal(fstat(fd, &status), 0);
			assert_int_equal(status.st_size, bytes);
		}
		ringed_fini(&ringed);
		close(memfd);
	}
	free(data);
	free(seen);
	free(zeros);
}

/* Who can't discard has done enough; other failures are the guest's to know. */
static void no_allocation(void **state)
{
	struct ringed ringed;

	(void)state;
	ringed_init(&ringed, NULL, 100 * 512, false, false, 64);
	lie = -EOPNOTSUPP;
	lies = 1;
	assert_int_equal(one_range(&ringed.machine, VBLK_T_DISCARD, 3, 5, 0), VBLK_S_OK);
	lie = -EIO;
	lies = 1;
	assert_int_equal(one_range(&ringed.machine, VBLK_T_DISCARD, 3, 5, 0), VBLK_S_IOERR);
	lies = 1;
	assert_int_equal(one_range(&ringed.machine, VBLK_T_WRITE_ZEROES, 3, 5, 0), VBLK_S_IOERR);
	lies = 1;
	assert_int_equal(blk_one(&ringed.machine, VBLK_T_FLUSH, 0, 0, 0), VBLK_S_IOERR);
	ringed_fini(&ringed);
}

/* A transfer that is interrupted, that the device has no room for, or that moves a part is gone on with. */
static void goes_on(void **state)
{
	static const int32_t answers[] = { -EINTR, -EAGAIN, 512, 1000 };
	unsigned char data[8192], seen[8192];
	struct ringed ringed;
	unsigned direct, i;

	(void)state;
	for (direct = 0; direct < 2; direct++) {
		ringed_init(&ringed, NULL, 100 * 512, false, direct, 64);
		is_cold = true;
		for (i = 0; i < 4; i++) {
			blk_pattern(data, sizeof(data), i + 1);
			blk_put(&ringed.machine, BLK_DATA + 512, data, sizeof(data));
			lie = answers[i];
			lies = 3;
			assert_int_equal(blk_one(&ringed.machine, VBLK_T_OUT, 9, BLK_DATA + 512, sizeof(data)),
					 VBLK_S_OK);
			assert_int_equal(pread(ringed.fd, seen, sizeof(seen), 9 * 512), sizeof(seen));
			assert_memory_equal(seen, data, sizeof(data));
			assert_int_equal(lies, 0);
			lies = 3;
			assert_int_equal(blk_one(&ringed.machine, VBLK_T_IN, 9, BLK_DATA + 65536, sizeof(data)),
					 VBLK_S_OK);
			blk_get(&ringed.machine, BLK_DATA + 65536, seen, sizeof(seen));
			assert_memory_equal(seen, data, sizeof(data));
		}
		/* But not for ever. */
		lie = -EAGAIN;
		lies = 1000;
		assert_int_equal(blk_one(&ringed.machine, VBLK_T_IN, 8, BLK_DATA, 4096), VBLK_S_IOERR);
		assert_int_equal(lies, 0);
		is_cold = false;
		ringed_fini(&ringed);
	}
}

/* Reads of what is in the page cache are done at once; one that was not lets others go by the ring for a while. */
static void reads_at_once(void **state)
{
	unsigned char data[8192], seen[8192] = { 0 };
	struct ringed ringed;
	unsigned i;

	(void)state;
	ringed_init(&ringed, NULL, 1000 * 512, false, false, 64);
	blk_pattern(data, sizeof(data), 5);
	assert_int_equal(pwrite(ringed.fd, data, sizeof(data), 9 * 512), sizeof(data));
	for (i = 0; i < 100; i++) {
		is_cold = i == 10;
		looks = 0;
		blk_put(&ringed.machine, BLK_DATA, seen, sizeof(seen));
		assert_int_equal(blk_one(&ringed.machine, VBLK_T_IN, 9, BLK_DATA, sizeof(data)), VBLK_S_OK);
		blk_get(&ringed.machine, BLK_DATA, seen, sizeof(seen));
		assert_memory_equal(seen, data, sizeof(data));
		memset(seen, 0, sizeof(seen));
		assert_int_equal(looks, i <= 10 || i > 42);
	}
	looks = 0;
	assert_int_equal(blk_one(&ringed.machine, VBLK_T_IN, 9, BLK_DATA, 135168), VBLK_S_OK);
	assert_int_equal(looks, 0);
	ringed_fini(&ringed);
	ringed_init(&ringed, NULL, 1000 * 512, false, true, 64);
	assert_int_equal(blk_one(&ringed.machine, VBLK_T_IN, 9, BLK_DATA, 4096), VBLK_S_OK);
	assert_int_equal(looks, 0);
	ringed_fini(&ringed);
}

/* Short writes of whole pages into the page cache are done at once; what can't be, or has to wait, goes by the ring. */
static void copies_at_once(void **state)
{
	static const struct {
		bool direct;
		int error;
		unsigned us, sector, bytes;
		unsigned copies;
	} cases[] = {
		{ false, 0, 0, 8, 8192, 1 },    { false, 0, 0, 8, 4096 + 512, 0 }, { false, 0, 0, 9, 4096, 0 },
		{ false, 0, 0, 0, 135168, 0 },  { true, 0, 0, 8, 8192, 0 },        { false, EAGAIN, 0, 8, 8192, 1 },
		{ false, 0, 2000, 8, 8192, 1 },
	};
	unsigned char *data = malloc(135168), *seen = malloc(135168);
	struct ringed ringed;
	unsigned i;

	(void)state;
	assert_true(data != NULL && seen != NULL);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ringed_init(&ringed, NULL, 1000 * 512, false, cases[i].direct, 64);
		blk_pattern(data, cases[i].bytes, i);
		blk_put(&ringed.machine, BLK_DATA, data, cases[i].bytes);
		copies = 0;
		copy_error = cases[i].error;
		copy_us = cases[i].us;
		assert_int_equal(blk_one(&ringed.machine, VBLK_T_OUT, cases[i].sector, BLK_DATA, cases[i].bytes),
				 VBLK_S_OK);
		assert_int_equal(copies, cases[i].copies);
		assert_int_equal(pread(ringed.fd, seen, cases[i].bytes, cases[i].sector * 512), cases[i].bytes);
		assert_memory_equal(seen, data, cases[i].bytes);
		/* Who had to wait once, does not again soon. */
		assert_int_equal(blk_one(&ringed.machine, VBLK_T_OUT, 8, BLK_DATA, 4096), VBLK_S_OK);
		assert_int_equal(copies - cases[i].copies, cases[i].us == 0 && !cases[i].direct);
		copy_error = 0;
		copy_us = 0;
		ringed_fini(&ringed);
	}
	free(data);
	free(seen);
}

static void image_shrinks(void **state)
{
	struct vblk_error error;
	struct ringed ringed;
	unsigned direct;

	(void)state;
	for (direct = 0; direct < 2; direct++) {
		ringed_init(&ringed, NULL, 100 * 512, true, direct, 64);
		assert_int_equal(blk_one(&ringed.machine, VBLK_T_IN, 90, BLK_DATA, 4096), VBLK_S_OK);
		assert_int_equal(ftruncate(ringed.fd, 92 * 512 + 3), 0);
		assert_int_equal(blk_one(&ringed.machine, VBLK_T_IN, 90, BLK_DATA, 4096), VBLK_S_IOERR);
		vblk_queue_error(ringed.machine.vblk, 0, &error);
		assert_int_equal(error.code, -ENODATA);
		assert_int_equal(error.offset, 90 * 512);
		assert_int_equal(blk_one(&ringed.machine, VBLK_T_IN, 84, BLK_DATA, 4096), VBLK_S_OK);
		ringed_fini(&ringed);
	}
}

/* A limit in the middle of a write: the first call stops short there, the second says why. */
static void write_stops_short(void **state)
{
	struct rlimit old, limit;
	struct vblk_error error;
	struct ringed ringed;

	(void)state;
	ringed_init(&ringed, NULL, 100 * 512, false, false, 64);
	assert_int_equal(ftruncate(ringed.fd, 90 * 512), 0);
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = 92 * 512;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(blk_one(&ringed.machine, VBLK_T_OUT, 90, BLK_DATA, 4096), VBLK_S_IOERR);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	vblk_queue_error(ringed.machine.vblk, 0, &error);
	assert_int_equal(error.code, -EFBIG);
	ringed_fini(&ringed);
}

/* The guest's memory is there no more, though its map says so: an error, and the disk lives. */
static void memory_gone(void **state)
{
	struct vblk_error error;
	struct ringed ringed;
	struct gm_span span;
	unsigned direct;

	(void)state;
	for (direct = 0; direct < 2; direct++) {
		/* The second time in the middle of a page, which takes a buffer. */
		const uint64_t at = BLK_DATA + BLK_REGION_BYTES + (direct ? 100 : 0);

		ringed_init(&ringed, NULL, 100 * 512, false, direct, 64);
		gm_view_enter(&ringed.machine.view);
		assert_int_equal(
			gm_span(&ringed.machine.view, gm_gpa(BLK_DATA + BLK_REGION_BYTES), 8192, GM_READ, &span), 0);
		gm_view_leave(&ringed.machine.view);
		assert_int_equal(mprotect(span.hva, 8192, PROT_NONE), 0);
		assert_int_equal(blk_one(&ringed.machine, VBLK_T_IN, 8, at, 4096), VBLK_S_IOERR);
		vblk_queue_error(ringed.machine.vblk, 0, &error);
		assert_int_equal(error.code, -EFAULT);
		assert_int_equal(blk_one(&ringed.machine, VBLK_T_OUT, 8, at, 4096), VBLK_S_IOERR);
		assert_int_equal(mprotect(span.hva, 8192, PROT_READ | PROT_WRITE), 0);
		assert_int_equal(blk_one(&ringed.machine, VBLK_T_OUT, 8, at, 4096), VBLK_S_OK);
		ringed_fini(&ringed);
	}
}

/* A ring of one entry, and fifty requests at once. */
/* A guest that has much in flight which O_DIRECT does not take does not get buffers for all of it at once. */
static void bounded_buffers(void **state)
{
	const uint32_t bytes = 1 << 20;
	const struct gblk_segment segment = { gm_gpa(BLK_DATA + 3), bytes };
	unsigned char *data = malloc(bytes), *seen = malloc(bytes);
	struct gblk_result result;
	struct ringed ringed;
	unsigned i, reaped = 0;
	uint64_t most = 0;

	(void)state;
	assert_true(data != NULL && seen != NULL);
	ringed_init(&ringed, NULL, bytes, false, true, 64);
	use_disk(&ringed, &ringed.vblk_disk);
	blk_pattern(data, bytes, 5);
	assert_int_equal(pwrite(ringed.fd, data, bytes, 0), bytes);
	for (i = 0; i < 50; i++)
		assert_int_equal(gblk_add(ringed.machine.gblk, &(struct gblk_request){ .type = VBLK_T_IN,
										       .segments = &segment,
										       .segments_count = 1 }),
				 0);
	assert_true(gblk_kick(ringed.machine.gblk) >= 0);
	assert_int_equal(vblk_queue_run(ringed.machine.vblk, 0), 50);
	while (uring_disk_in_flight(ringed.disk) > 0) {
		if (uring_disk_bounces_bytes(ringed.disk) > most)
			most = uring_disk_bounces_bytes(ringed.disk);
		turn(&ringed);
	}
	assert_int_equal(most, URING_DISK_BOUNCES_BYTES_MAX);
	assert_int_equal(uring_disk_bounces_bytes(ringed.disk), 0);
	while (gblk_reap(ringed.machine.gblk, &result) == 1) {
		assert_int_equal(result.status, VBLK_S_OK);
		reaped++;
	}
	assert_int_equal(reaped, 50);
	blk_get(&ringed.machine, BLK_DATA + 3, seen, bytes);
	assert_memory_equal(seen, data, bytes);
	ringed_fini(&ringed);
	free(data);
	free(seen);
}

static void no_room(void **state)
{
	unsigned char data[512], seen[512];
	struct gblk_result result;
	struct ringed ringed;
	unsigned i, reaped = 0;

	(void)state;
	ringed_init(&ringed, NULL, 100 * 512, false, false, 1);
	use_disk(&ringed, &ringed.vblk_disk);
	for (i = 0; i < 20; i++) {
		const struct gblk_segment segment = { gm_gpa(BLK_DATA + i * 512), 512 };

		blk_pattern(data, sizeof(data), i);
		blk_put(&ringed.machine, BLK_DATA + i * 512, data, sizeof(data));
		assert_int_equal(gblk_add(ringed.machine.gblk, &(struct gblk_request){ .type = VBLK_T_OUT,
										       .sector = i,
										       .segments = &segment,
										       .segments_count = 1 }),
				 0);
	}
	assert_true(gblk_kick(ringed.machine.gblk) >= 0);
	assert_int_equal(vblk_queue_run(ringed.machine.vblk, 0), 20);
	while (uring_disk_in_flight(ringed.disk) > 0)
		turn(&ringed);
	while (gblk_reap(ringed.machine.gblk, &result) == 1) {
		assert_int_equal(result.status, VBLK_S_OK);
		reaped++;
	}
	assert_int_equal(reaped, 20);
	for (i = 0; i < 20; i++) {
		blk_pattern(data, sizeof(data), i);
		assert_int_equal(pread(ringed.fd, seen, sizeof(seen), i * 512), sizeof(seen));
		assert_memory_equal(seen, data, sizeof(data));
	}
	ringed_fini(&ringed);
}

static void no_image(void **state)
{
	const int fds = (int)test_count(NULL).fds;
	struct uring_disk *disk = NULL;
	struct vblk_disk vblk_disk;
	struct uring uring;
	char path[] = "test_blk_uring.XXXXXX";
	int fd;

	(void)state;
	assert_int_equal(uring_init(&uring, 4), 0);
	assert_int_equal(uring_disk_new(&uring, "/nonexistent/image", true, false, &disk, &vblk_disk), -ENOENT);
	assert_int_equal(uring_disk_new(&uring, "/dev/null", true, false, &disk, &vblk_disk), -EMEDIUMTYPE);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1000), 0);
	assert_int_equal(uring_disk_new(&uring, path, true, true, &disk, &vblk_disk), -ENODATA);
	close(fd);
	unlink(path);
	assert_null(disk);
	uring_fini(&uring);
	assert_int_equal((int)test_count(NULL).fds, fds);
	uring_disk_free(NULL);
}

static void count_up(void *opaque)
{
	++*(unsigned *)opaque;
}

/* An eventfd that nobody reads: each write is told of. One that is watched once is told of once, until it is armed again. */
static void watches(void **state)
{
	const int edges_fd = eventfd(0, EFD_NONBLOCK), once_fd = eventfd(0, EFD_NONBLOCK);
	struct uring_watch *edges, *once;
	unsigned edges_count = 0, once_count = 0, i;
	struct uring uring;
	uint64_t one = 1;

	(void)state;
	assert_int_equal(uring_init(&uring, 4), 0);
	edges = uring_watch_new(&uring, edges_fd, true, count_up, &edges_count);
	once = uring_watch_new(&uring, once_fd, false, count_up, &once_count);
	assert_true(edges != NULL && once != NULL);
	uring_watch_arm(once);
	for (i = 1; i < 10; i++) {
		uring_watch_arm(edges);
		assert_int_equal(write(edges_fd, &one, sizeof(one)), sizeof(one));
		assert_int_equal(write(once_fd, &one, sizeof(one)), sizeof(one));
		while (edges_count < i)
			assert_int_equal(uring_turn(&uring, -1), 0);
		assert_int_equal(uring_turn(&uring, 0), 0);
		assert_int_equal(edges_count, i);
		assert_int_equal(once_count, 1);
	}
	uring_watch_arm(once);
	while (once_count < 2)
		assert_int_equal(uring_turn(&uring, -1), 0);
	/* Nothing comes: a wait ends by its time. */
	assert_int_equal(uring_turn(&uring, 1000000), 0);
	/* Ended while it waits, and one after the other's end. */
	uring_watch_free(edges);
	assert_int_equal(write(edges_fd, &one, sizeof(one)), sizeof(one));
	assert_int_equal(uring_turn(&uring, 0), 0);
	uring_watch_free(once);
	uring_watch_free(NULL);
	uring_watch_arm(NULL);
	assert_int_equal(uring_turn(&uring, 0), 0);
	assert_int_equal(edges_count, 9);
	uring_fini(&uring);
	close(edges_fd);
	close(once_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(to_and_fro),       cmocka_unit_test(long_and_unaligned),
		cmocka_unit_test(discard_and_zero), cmocka_unit_test(no_allocation),
		cmocka_unit_test(goes_on),          cmocka_unit_test(image_shrinks),
		cmocka_unit_test(memory_gone),      cmocka_unit_test(write_stops_short),
		cmocka_unit_test(bounded_buffers),  cmocka_unit_test(no_room),
		cmocka_unit_test(no_image),         cmocka_unit_test(watches),
		cmocka_unit_test(copies_at_once),   cmocka_unit_test(reads_at_once),
	};
	struct uring uring;
	const int r = uring_init(&uring, 1);

	if (r == -ENOSYS || r == -EPERM) {
		fprintf(stderr, "skipped: no io_uring here: %s\n", strerror(-r));
		return 77;
	}
	if (r == 0)
		uring_fini(&uring);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

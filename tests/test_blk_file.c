/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The block device on an image in a file: that the bytes get there, that an image which fails says why, and that what
 * can't be an image is refused.
 */
#include "blk_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "file_disk.h"
#include "resources.h"

/* What fallocate(2) fails with; 0: it is the system's. */
static int allocate_error;

/* In place of the C library's: filesystems and block devices that can't allocate are not to be had everywhere. */
int fallocate(int fd, int mode, off_t offset, off_t bytes)
{
	if (allocate_error == 0)
		return (int)syscall(SYS_fallocate, fd, mode, offset, bytes);
	errno = allocate_error;
	return -1;
}

/* A machine whose device has a file in place of the memory disk. */
struct filed {
	struct blk_machine machine;
	struct file_disk *file;
	char path[64];
	int fd; /* the test's own */
};

static void make_image(struct filed *filed, off_t bytes)
{
	strcpy(filed->path, "/tmp/test_blk_file.XXXXXX");
	filed->fd = mkstemp(filed->path);
	assert_true(filed->fd >= 0);
	assert_int_equal(ftruncate(filed->fd, bytes), 0);
}

static void filed_init(struct filed *filed, off_t bytes, bool read_only)
{
	struct vblk_disk disk;
	struct vblk_opts opts = { .name = "disk0", .disk = &disk };
	struct virtq_ring ring;

	blk_machine_init(&filed->machine, &(struct blk_opts){ .world = BLK_SPACE });
	make_image(filed, bytes);
	assert_int_equal(file_disk_new(filed->path, read_only, &filed->file, &disk), 0);
	assert_int_equal(disk.bytes, bytes);
	vblk_free(filed->machine.vblk);
	assert_int_equal(vblk_new(filed->machine.memory, &opts, &filed->machine.vblk), 0);
	assert_int_equal(vblk_set_features(filed->machine.vblk, vblk_features(filed->machine.vblk)), 0);
	ring = gblk_ring(filed->machine.gblk);
	assert_int_equal(vblk_queue_set(filed->machine.vblk, 0, &ring), 0);
}

static void filed_fini(struct filed *filed)
{
	blk_machine_fini(&filed->machine);
	file_disk_free(filed->file);
	close(filed->fd);
	unlink(filed->path);
}

static void to_and_fro(void **state)
{
	const uint64_t at = BLK_DATA + BLK_REGION_BYTES - 1000;
	const size_t bytes = 300 * 512;
	unsigned char *data = malloc(bytes), *seen = malloc(bytes);
	struct filed filed;

	(void)state;
	assert_true(data != NULL && seen != NULL);
	filed_init(&filed, 1000 * 512 + 10, false);
	blk_pattern(data, bytes, 7);
	blk_put(&filed.machine, at, data, bytes);
	assert_int_equal(blk_one(&filed.machine, VBLK_T_OUT, 702, at, (uint32_t)bytes), VBLK_S_IOERR);
	assert_int_equal(blk_one(&filed.machine, VBLK_T_OUT, 700, at, (uint32_t)bytes), VBLK_S_OK);
	assert_int_equal(pread(filed.fd, seen, bytes, 700 * 512), bytes);
	assert_memory_equal(seen, data, bytes);
	assert_int_equal(blk_one(&filed.machine, VBLK_T_FLUSH, 0, 0, 0), VBLK_S_OK);
	blk_pattern(data, bytes, 8);
	assert_int_equal(pwrite(filed.fd, data, bytes, 0), bytes);
	assert_int_equal(blk_one(&filed.machine, VBLK_T_IN, 0, at, (uint32_t)bytes), VBLK_S_OK);
	blk_get(&filed.machine, at, seen, bytes);
	assert_memory_equal(seen, data, bytes);
	filed_fini(&filed);
	free(data);
	free(seen);
}

static uint8_t one_range(struct blk_machine *machine, uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	struct vblk_range range = { gm_le64(sector), gm_le32(sectors), gm_le32(flags) };

	return blk_do(machine, &(struct gblk_request){ .type = type, .ranges = &range, .ranges_count = 1 }).status;
}

/* Up to the end of an image that has half a sector there; the image keeps its size. */
static void discard_and_zero(void **state)
{
	static const uint32_t types[] = { VBLK_T_WRITE_ZEROES, VBLK_T_WRITE_ZEROES, VBLK_T_DISCARD };
	static const uint32_t flags[] = { 0, VBLK_RANGE_F_UNMAP, 0 };
	static const unsigned char zeros[200 * 512];
	static unsigned char data[200 * 512], seen[200 * 512];
	const off_t bytes = 199 * 512 + 256;
	struct filed filed;
	struct stat status;
	unsigned i;

	(void)state;
	filed_init(&filed, bytes, false);
	for (i = 0; i < 3; i++) {
		blk_pattern(data, sizeof(data), i);
		assert_int_equal(pwrite(filed.fd, data, (size_t)bytes, 0), bytes);
		assert_int_equal(one_range(&filed.machine, types[i], 10, 190, flags[i]), VBLK_S_OK);
		assert_int_equal(pread(filed.fd, seen, (size_t)bytes, 0), bytes);
		assert_memory_equal(seen, data, 10 * 512);
		/* What a discard leaves behind is undefined. */
		if (types[i] == VBLK_T_WRITE_ZEROES)
			assert_memory_equal(seen + 10 * 512, zeros, (size_t)bytes - 10 * 512);
		assert_int_equal(fstat(filed.fd, &status), 0);
		assert_int_equal(status.st_size, bytes);
	}
	filed_fini(&filed);
}

/*
 * A filesystem that can't do it, and a block device of larger blocks than sectors, which takes whole ones only: zeros are written
 * then, and a discard is left out. Other failures are the guest's to know.
 */
static void no_allocation(void **state)
{
	static const int errors[] = { EOPNOTSUPP, EINVAL };
	static unsigned char data[20 * 512], seen[20 * 512];
	struct filed filed;
	unsigned i;

	(void)state;
	filed_init(&filed, sizeof(data), false);
	for (i = 0; i < 2; i++) {
		blk_pattern(data, sizeof(data), i);
		assert_int_equal(pwrite(filed.fd, data, sizeof(data), 0), sizeof(data));
		memset(data + 3 * 512, 0, 9 * 512);
		allocate_error = errors[i];
		assert_int_equal(one_range(&filed.machine, VBLK_T_WRITE_ZEROES, 3, 5, 0), VBLK_S_OK);
		assert_int_equal(one_range(&filed.machine, VBLK_T_WRITE_ZEROES, 8, 4, VBLK_RANGE_F_UNMAP), VBLK_S_OK);
		assert_int_equal(one_range(&filed.machine, VBLK_T_DISCARD, 15, 5, 0), VBLK_S_OK);
		assert_int_equal(pread(filed.fd, seen, sizeof(seen), 0), sizeof(seen));
		assert_memory_equal(seen, data, sizeof(data));
	}
	allocate_error = EIO;
	assert_int_equal(one_range(&filed.machine, VBLK_T_WRITE_ZEROES, 3, 5, 0), VBLK_S_IOERR);
	assert_int_equal(one_range(&filed.machine, VBLK_T_DISCARD, 3, 5, 0), VBLK_S_IOERR);
	allocate_error = 0;
	filed_fini(&filed);
}

/* Somebody cuts the image off: the guest has an error, the user a reason, and the rest goes on. */
static void image_shrinks(void **state)
{
	struct vblk_error error;
	struct filed filed;

	(void)state;
	filed_init(&filed, 100 * 512, true);
	assert_int_equal(blk_one(&filed.machine, VBLK_T_IN, 90, BLK_DATA, 4096), VBLK_S_OK);
	assert_int_equal(ftruncate(filed.fd, 92 * 512 + 3), 0);
	assert_int_equal(blk_one(&filed.machine, VBLK_T_IN, 90, BLK_DATA, 4096), VBLK_S_IOERR);
	vblk_queue_error(filed.machine.vblk, 0, &error);
	assert_int_equal(error.code, -ENODATA);
	assert_int_equal(error.op, VBLK_READ);
	assert_int_equal(error.offset, 90 * 512);
	assert_int_equal(blk_one(&filed.machine, VBLK_T_IN, 84, BLK_DATA, 4096), VBLK_S_OK);
	filed_fini(&filed);
}

/* A limit in the middle of a write: the first call stops short there, the second says why. */
static void write_stops_short(void **state)
{
	struct rlimit old, limit;
	struct vblk_error error;
	unsigned char byte = 0;
	struct filed filed;

	(void)state;
	filed_init(&filed, 100 * 512, false);
	assert_int_equal(ftruncate(filed.fd, 90 * 512), 0);
	blk_put(&filed.machine, BLK_DATA + 1000, "x", 1);
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = 92 * 512;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(blk_one(&filed.machine, VBLK_T_OUT, 90, BLK_DATA, 4096), VBLK_S_IOERR);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	vblk_queue_error(filed.machine.vblk, 0, &error);
	assert_int_equal(error.code, -EFBIG);
	assert_int_equal(error.op, VBLK_WRITE);
	assert_int_equal(pread(filed.fd, &byte, 1, 90 * 512 + 1000), 1);
	assert_int_equal(byte, 'x');
	filed_fini(&filed);
}

/*
 * One preadv(2) moves 4 KiB less than 2 GiB at most, so a transfer of 2 GiB takes two, the second of which has to go on where the
 * first ended. The memory is one buffer many times over, but for the last piece; the file is a hole but for its last bytes.
 */
#define PIECE_BYTES (UINT64_C(64) << 20)
#define PIECES      32
#define RINGS_AT    (UINT64_C(4) << 30)
#define RINGS_BYTES (UINT64_C(1) << 20)
#define TOGETHER    (PIECE_BYTES * PIECES)

static void more_than_one_call_takes(void **state)
{
	const struct gblk_segment segment = { gm_gpa(0), (uint32_t)TOGETHER };
	unsigned char *many = test_pages(PIECE_BYTES), *last = test_pages(PIECE_BYTES),
		      *rings = test_pages(RINGS_BYTES);
	struct gm_region *regions[PIECES + 1];
	unsigned char data[8192];
	struct gblk_result result;
	struct gm_memory *memory;
	struct gm_error error;
	struct file_disk *file;
	struct vblk_disk disk;
	struct virtq_ring ring;
	struct gm_map *map;
	struct vblk *vblk;
	struct gblk *gblk;
	char path[64];
	unsigned i;
	int fd;

	(void)state;
	for (i = 0; i < PIECES; i++) {
		snprintf(path, sizeof(path), "piece%u", i);
		regions[i] = test_ram(path, i * PIECE_BYTES, PIECE_BYTES, i + 1 < PIECES ? many : last);
	}
	regions[PIECES] = test_ram("rings", RINGS_AT, RINGS_BYTES, rings);
	assert_int_equal(gm_map_new(NULL, regions, PIECES + 1, &map, &error), 0);
	assert_int_equal(gm_map_memory(map, GM_ONLY_RAM, &memory), 0);
	fd = memfd_create("image", MFD_CLOEXEC);
	assert_true(fd >= 0);
	blk_pattern(data, sizeof(data), 3);
	assert_int_equal(pwrite(fd, data, sizeof(data), (off_t)(TOGETHER - sizeof(data))), sizeof(data));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_int_equal(file_disk_new(path, true, &file, &disk), 0);
	assert_int_equal(vblk_new(memory, &(struct vblk_opts){ .name = "disk0", .disk = &disk }, &vblk), 0);
	assert_int_equal(vblk_set_features(vblk, VBLK_F_VERSION_1), 0);
	assert_int_equal(
		gblk_new(&(struct gblk_opts){ .memory = memory, .at = gm_gpa(RINGS_AT), .size = 16, .segments_max = 1 },
			 &gblk),
		0);
	ring = gblk_ring(gblk);
	assert_int_equal(vblk_queue_set(vblk, 0, &ring), 0);
	assert_int_equal(gblk_add(gblk, &(struct gblk_request){ .segments = &segment, .segments_count = 1 }), 0);
	assert_int_equal(gblk_kick(gblk), 1);
	assert_int_equal(vblk_queue_run(vblk, 0), 1);
	assert_int_equal(gblk_reap(gblk, &result), 1);
	assert_int_equal(result.status, VBLK_S_OK);
	assert_int_equal(result.bytes, TOGETHER + 1);
	assert_memory_equal(last + PIECE_BYTES - sizeof(data), data, sizeof(data));

	vblk_free(vblk);
	gblk_free(gblk);
	file_disk_free(file);
	close(fd);
	gm_memory_unref(memory);
	gm_map_unref(map);
	for (i = 0; i < PIECES + 1; i++)
		gm_region_unref(regions[i]);
	munmap(many, PIECE_BYTES);
	munmap(last, PIECE_BYTES);
	munmap(rings, RINGS_BYTES);
}

static void read_only(void **state)
{
	struct filed filed;

	(void)state;
	filed_init(&filed, 100 * 512, true);
	assert_true(vblk_features(filed.machine.vblk) & VBLK_F_RO);
	assert_false(vblk_features(filed.machine.vblk) & (VBLK_F_DISCARD | VBLK_F_WRITE_ZEROES));
	assert_int_equal(blk_one(&filed.machine, VBLK_T_OUT, 0, BLK_DATA, 512), VBLK_S_IOERR);
	filed_fini(&filed);
}

static void no_image(void **state)
{
	const int fds = (int)test_count(NULL).fds;
	struct file_disk *file = NULL;
	struct vblk_disk disk;
	char path[64];

	(void)state;
	assert_int_equal(file_disk_new("/nonexistent/image", true, &file, &disk), -ENOENT);
	assert_int_equal(file_disk_new("/tmp", true, &file, &disk), -EMEDIUMTYPE);
	assert_int_equal(file_disk_new("/tmp", false, &file, &disk), -EISDIR);
	assert_int_equal(file_disk_new("/dev/null", true, &file, &disk), -EMEDIUMTYPE);
	/* Opening a FIFO must not wait for its other side. */
	snprintf(path, sizeof(path), "/tmp/test_blk_file.%d.fifo", (int)getpid());
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(file_disk_new(path, true, &file, &disk), -EMEDIUMTYPE);
	assert_int_equal(unlink(path), 0);
	assert_null(file);
	assert_int_equal((int)test_count(NULL).fds, fds);
	file_disk_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(to_and_fro),        cmocka_unit_test(discard_and_zero),
		cmocka_unit_test(image_shrinks),     cmocka_unit_test(more_than_one_call_takes),
		cmocka_unit_test(write_stops_short), cmocka_unit_test(read_only),
		cmocka_unit_test(no_allocation),     cmocka_unit_test(no_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

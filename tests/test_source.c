/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Sources of ordinary pages: each makes what it says (looked at through the kernel's eyes), and refuses what it must
 * with a code of its own.
 */
#include "sources.h"

#include <linux/loop.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static void anonymous(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_ANON, 3 * 4096);
	struct test_resources before = test_count(NULL);
	struct gm_region *region = make(&opts);
	unsigned char *hva = gm_region_hva(region);

	(void)state;
	assert_int_equal(gm_region_fd(region), -1);
	assert_int_equal(gm_region_mmap_flags(region), MAP_PRIVATE | MAP_ANONYMOUS);
	assert_int_equal(gm_region_page_bytes(region), sysconf(_SC_PAGESIZE));
	assert_false(gm_region_is_shareable(region));
	assert_false(region->file_known);
	memset(hva, 0x5a, 3 * 4096);
	assert_int_equal(hva[3 * 4096 - 1], 0x5a);
	gm_region_unref(region);
	assert_nothing_left(before, NULL);
}

static void memfd(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_MEMFD, 8192);
	struct test_resources before = test_count(NULL);
	struct gm_region *region = make(&opts);
	int fd = gm_region_fd(region), seals = fcntl(fd, F_GET_SEALS);
	struct stat status;
	char link[64], target[64] = "";

	(void)state;
	assert_int_equal(seals & (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
			 F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW);
	assert_int_equal(ftruncate(fd, 4096), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, 16384), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_size, 8192);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	assert_true(readlink(link, target, sizeof(target) - 1) > 0);
	assert_string_equal(target, "/memfd:s (deleted)");
	assert_true(gm_region_is_shareable(region));
	assert_true(region->file_known);
	assert_int_equal(region->file_device, status.st_dev);
	assert_int_equal(region->file_inode, status.st_ino);
	assert_int_equal(region->file_offset, 0);
	strcpy(gm_region_hva(region), "shared");
	assert_int_equal(pread(fd, target, 7, 0), 7);
	assert_string_equal(target, "shared");
	gm_region_unref(region);
	assert_nothing_left(before, NULL);
}

static void too_large(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_ANON, 1ull << 62);

	(void)state;
	refuse(&opts, -ENOMEM, "mapping");
	opts.bytes = UINT64_MAX & ~4095ull;
	refuse(&opts, -ENOMEM, "mapping");
	opts.source = GM_SOURCE_MEMFD;
	refuse(&opts, -EFBIG, "sizing");
	opts.bytes = 1ull << 62;
	refuse(&opts, -ENOMEM, "mapping");
}

static void files_shared_and_not(void **state)
{
	const char *path = in_directory("f");
	int fd = make_file(path, 4 * 4096);
	struct gm_region_opts opts = options(GM_SOURCE_FILE, 2 * 4096);
	struct gm_region *region;
	struct stat status;
	uint64_t word = 0;

	(void)state;
	opts.path = path;
	opts.fd_offset = 4096;
	region = make(&opts);
	assert_int_equal(fstat(fd, &status), 0);
	assert_true(gm_region_is_shareable(region));
	assert_int_equal(gm_region_fd_offset(region), 4096);
	assert_string_equal(gm_region_path(region), path);
	assert_true(gm_region_path(region) != path);
	assert_int_equal(gm_region_mmap_flags(region), MAP_SHARED);
	assert_true(region->file_known);
	assert_int_equal(region->file_device, status.st_dev);
	assert_int_equal(region->file_inode, status.st_ino);
	assert_int_equal(region->file_offset, 4096);
	assert_int_equal(*(uint64_t *)gm_region_hva(region), 4096);
	*(uint64_t *)gm_region_hva(region) = 77;
	assert_int_equal(pread(fd, &word, 8, 4096), 8);
	assert_int_equal(word, 77);
	gm_region_unref(region);

	opts.flags = GM_REGION_COW;
	region = make(&opts);
	assert_false(gm_region_is_shareable(region));
	assert_false(region->file_known);
	assert_int_equal(gm_region_mmap_flags(region), MAP_PRIVATE);
	*(uint64_t *)gm_region_hva(region) = 88;
	assert_int_equal(pread(fd, &word, 8, 4096), 8);
	assert_int_equal(word, 77);
	gm_region_unref(region);
	close(fd);
	unlink(path);
}

/* The last page may be the file's in part, for who says so: the rest is zeros, and no other page comes with it. */
static void files_with_a_tail(void **state)
{
	const char *path = in_directory("tail");
	int fd = make_file(path, 2 * 4096);
	struct gm_region_opts opts = options(GM_SOURCE_FD, 2 * 4096);
	struct gm_region *region;
	unsigned char *hva, byte = 0;

	(void)state;
	opts.fd = fd;
	opts.flags = GM_REGION_TAIL;
	assert_int_equal(ftruncate(fd, 4097), 0);
	region = make(&opts);
	hva = gm_region_hva(region);
	hva[4096] = 7;
	assert_int_equal(hva[8191], 0);
	assert_int_equal(pread(fd, &byte, 1, 4096), 1);
	assert_int_equal(byte, 7);
	gm_region_unref(region);
	assert_int_equal(ftruncate(fd, 4096), 0);
	refuse(&opts, -ENODATA, "4096 bytes");
	opts.fd_offset = 4096;
	opts.bytes = 4096;
	refuse(&opts, -ENODATA, "4096 bytes");
	opts = options(GM_SOURCE_MEMFD, 4096);
	opts.flags = GM_REGION_TAIL;
	refuse(&opts, -EINVAL, "GM_REGION_TAIL");
	close(fd);
	unlink(path);
}

static void files_too_short(void **state)
{
	const char *path = in_directory("f");
	int fd = make_file(path, 2 * 4096);
	struct gm_region_opts opts = options(GM_SOURCE_FILE, 2 * 4096);

	(void)state;
	opts.path = path;
	gm_region_unref(make(&opts));
	opts.fd_offset = 4096;
	refuse(&opts, -ENODATA, "8192 bytes");
	opts.fd_offset = 4 * 4096;
	refuse(&opts, -ENODATA, "8192 bytes");
	/* Sums that pass the largest file offset, and almost 2^64. */
	opts.fd_offset = UINT64_C(1) << 63;
	refuse(&opts, -ENODATA, "8192 bytes");
	opts.fd_offset = UINT64_MAX - 8191;
	refuse(&opts, -ENODATA, "8192 bytes");
	opts.fd_offset = UINT64_MAX - 4095;
	refuse(&opts, -GM_EWRAP, "2^64");
	opts.fd_offset = 0;
	assert_int_equal(ftruncate(fd, 8191), 0);
	refuse(&opts, -ENODATA, "8191 bytes");
	opts.flags = GM_REGION_COW;
	refuse(&opts, -ENODATA, "8191 bytes");
	close(fd);
	opts.flags = 0;
	opts.path = "/proc/self/maps"; /* says it has no bytes */
	opts.prot = GM_READ;
	refuse(&opts, -ENODATA, "0 bytes");
	unlink(path);
}

static void paths_that_do_not_open(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_FILE, 4096);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int socket_fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	opts.path = in_directory("absent");
	refuse(&opts, -ENOENT, "absent");
	opts.path = "/dev/null/x";
	refuse(&opts, -ENOTDIR, "/dev/null/x");
	opts.path = directory;
	refuse(&opts, -EMEDIUMTYPE, "not a file");
	opts.prot = GM_READ;
	refuse(&opts, -EMEDIUMTYPE, "cannot be mapped");
	opts.path = in_directory("fifo");
	assert_int_equal(mkfifo(opts.path, 0600), 0);
	/* Nobody writes into it, and we don't wait for anybody. */
	refuse(&opts, -EMEDIUMTYPE, "cannot be mapped");
	opts.prot = 0;
	refuse(&opts, -EMEDIUMTYPE, "cannot be mapped");
	unlink(opts.path);
	opts.path = in_directory("socket");
	strcpy(address.sun_path, opts.path);
	assert_int_equal(bind(socket_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	refuse(&opts, -EMEDIUMTYPE, "not a file");
	close(socket_fd);
	unlink(opts.path);
	opts.path = "/dev/null";
	refuse(&opts, -EMEDIUMTYPE, "cannot be mapped");
}

static void permission_to_open(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_FILE, 4096);

	(void)state;
	if (geteuid() != 0)
		test_skip("only root can try as somebody else");
	opts.path = in_directory("secret");
	close(make_file(opts.path, 4096));
	assert_int_equal(chmod(directory, 0755), 0);
	assert_int_equal(seteuid(65534), 0);
	refuse(&opts, -EACCES, "secret");
	assert_int_equal(seteuid(0), 0);
	unlink(opts.path);
}

static void descriptors(void **state)
{
	int fd = memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING), own;
	struct gm_region_opts opts = options(GM_SOURCE_FD, 4096);
	struct gm_region *first, *second;

	(void)state;
	assert_int_equal(ftruncate(fd, 3 * 4096), 0);
	opts.fd = fd;
	first = make(&opts);
	opts.fd_offset = 8192;
	second = make(&opts);
	own = gm_region_fd(first);
	assert_true(own != fd && own >= 0);
	assert_int_equal(fcntl(own, F_GETFD), FD_CLOEXEC);
	close(fd);
	strcpy(gm_region_hva(second), "tail");
	assert_int_equal(pwrite(own, "head", 5, 0), 5);
	assert_string_equal(gm_region_hva(first), "head");
	/* What finds aliases: the same file, different places. */
	assert_true(first->file_known && second->file_known);
	assert_int_equal(first->file_device, second->file_device);
	assert_int_equal(first->file_inode, second->file_inode);
	assert_int_equal(first->file_offset, 0);
	assert_int_equal(second->file_offset, 8192);
	assert_null(gm_region_path(first));
	gm_region_unref(first);
	gm_region_unref(second);
}

static void descriptors_that_are_no_memory(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_FD, 4096);
	int fds[10], count = 0, i;

	(void)state;
	opts.fd = -1;
	refuse(&opts, -EBADF, "file descriptor -1");
	opts.fd = 1000000;
	refuse(&opts, -EBADF, "file descriptor 1000000");
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds + 2), 0);
	count = 4;
	fds[count++] = eventfd(0, EFD_CLOEXEC);
	fds[count++] = epoll_create1(EPOLL_CLOEXEC);
	fds[count++] = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds[count++] = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (i = 0; i < count; i++) {
		opts.fd = fds[i];
		opts.prot = GM_READ;
		assert_true(opts.fd >= 0);
		refuse(&opts, -EMEDIUMTYPE, "cannot be mapped as memory");
		close(opts.fd);
	}
}

static void open_modes(void **state)
{
	const char *path = in_directory("f");
	struct gm_region_opts opts = options(GM_SOURCE_FD, 4096);
	int fd = make_file(path, 4096);

	(void)state;
	close(fd);
	opts.fd = open(path, O_WRONLY | O_CLOEXEC);
	refuse(&opts, -EPERM, "reading");
	opts.flags = GM_REGION_COW;
	refuse(&opts, -EPERM, "reading");
	close(opts.fd);
	opts.fd = open(path, O_PATH | O_CLOEXEC);
	refuse(&opts, -EPERM, "reading");
	close(opts.fd);
	opts.fd = open(path, O_RDONLY | O_CLOEXEC);
	opts.flags = 0;
	refuse(&opts, -EPERM, "open for writing");
	opts.prot = GM_READ;
	gm_region_unref(make(&opts));
	opts.prot = 0;
	opts.flags = GM_REGION_COW;
	gm_region_unref(make(&opts));
	close(opts.fd);
	unlink(path);
}

static void seals_of_others(void **state)
{
	static const int seals[] = { F_SEAL_WRITE, F_SEAL_FUTURE_WRITE };
	struct gm_region_opts opts = options(GM_SOURCE_FD, 4096);
	char path[64];
	size_t i;

	(void)state;
	for (i = 0; i < 2; i++) {
		opts.fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		assert_int_equal(ftruncate(opts.fd, 4096), 0);
		assert_int_equal(fcntl(opts.fd, F_ADD_SEALS, seals[i]), 0);
		opts.prot = GM_READ | GM_WRITE;
		opts.flags = 0;
		refuse(&opts, -EPERM, "sealed");
		opts.flags = GM_REGION_COW;
		gm_region_unref(make(&opts));
		opts.flags = 0;
		opts.prot = GM_READ;
		gm_region_unref(make(&opts));
		/* Opened anew, by a path that leads to it. */
		snprintf(path, sizeof(path), "/proc/self/fd/%d", opts.fd);
		{
			struct gm_region_opts by_path = options(GM_SOURCE_FILE, 4096);

			by_path.path = path;
			refuse(&by_path, -EPERM, "sealed");
		}
		close(opts.fd);
	}
}

static void devices(void **state)
{
	struct gm_region_opts opts = options(GM_SOURCE_FILE, 4096);
	struct gm_region *region;

	(void)state;
	/* A character device has no size to check, and /dev/zero's mappings share nothing with each other. */
	opts.path = "/dev/zero";
	region = make(&opts);
	assert_false(region->file_known);
	*(char *)gm_region_hva(region) = 1;
	gm_region_unref(region);
}

static void block_devices(void **state)
{
	const char *path = in_directory("disk");
	struct gm_region_opts opts = options(GM_SOURCE_FILE, 8 * 4096);
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), loop = -1, number, file;
	/* Given back with its last descriptor, whatever becomes of this test. */
	struct loop_info64 info = { .lo_flags = LO_FLAGS_AUTOCLEAR };
	char device[64];
	struct gm_region *region;
	struct stat status;

	(void)state;
	number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	snprintf(device, sizeof(device), "/dev/loop%d", number);
	file = make_file(path, 8 * 4096);
	unlink(path);
	if (number >= 0)
		loop = open(device, O_RDWR | O_CLOEXEC);
	if (loop < 0 || ioctl(loop, LOOP_SET_FD, file) != 0) {
		close(loop);
		close(file);
		test_skip("no loop device to be had");
	}
	assert_int_equal(ioctl(loop, LOOP_SET_STATUS64, &info), 0);
	opts.path = device;
	region = make(&opts);
	assert_int_equal(((uint64_t *)gm_region_hva(region))[7 * 512], 7 * 4096);
	assert_int_equal(fstat(loop, &status), 0);
	assert_true(region->file_known);
	assert_int_equal(region->file_device, status.st_rdev);
	gm_region_unref(region);
	opts.fd_offset = 4096;
	refuse(&opts, -ENODATA, "32768 bytes");
	close(loop);
	close(file);
}

static void file_offsets(void **state)
{
	const char *path = in_directory("f");
	struct gm_region_opts opts = options(GM_SOURCE_FILE, 4096);

	(void)state;
	close(make_file(path, 4 * 4096));
	opts.path = path;
	opts.fd_offset = 2048;
	refuse(&opts, -EINVAL, "file offset");
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(anonymous),
		cmocka_unit_test(memfd),
		cmocka_unit_test(too_large),
		cmocka_unit_test(files_shared_and_not),
		cmocka_unit_test(files_with_a_tail),
		cmocka_unit_test(files_too_short),
		cmocka_unit_test(paths_that_do_not_open),
		cmocka_unit_test(permission_to_open),
		cmocka_unit_test(descriptors),
		cmocka_unit_test(descriptors_that_are_no_memory),
		cmocka_unit_test(open_modes),
		cmocka_unit_test(seals_of_others),
		cmocka_unit_test(devices),
		cmocka_unit_test(block_devices),
		cmocka_unit_test(file_offsets),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}

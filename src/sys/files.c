/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* System calls on files, one function per call. Keeps no state. */
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "sys/fault.h"
#include "sys/uapi.h"

int gmi_open(const char *path, int flags, mode_t mode)
{
	int fault = GMI_FAULT(), fd;

	if (fault)
		return -fault;
	fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode);
	return fd < 0 ? -errno : fd;
}

int gmi_dup(int fd)
{
	int fault = GMI_FAULT(), copy;

	if (fault)
		return -fault;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return copy < 0 ? -errno : copy;
}

void gmi_close(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

int gmi_memfd_new(const char *name, uint64_t huge_bytes)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fault = GMI_FAULT(), fd;

	if (fault)
		return -fault;
	if (huge_bytes != 0)
		flags |= MFD_HUGETLB | (unsigned)__builtin_ctzll(huge_bytes) << MAP_HUGE_SHIFT;
	/*
	 * Some systems refuse a memfd that could be executed (vm.memfd_noexec); kernels before 6.3 don't know the flag.
	 */
	fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, flags);
	return fd < 0 ? -errno : fd;
}

int gmi_truncate(int fd, uint64_t bytes)
{
	int fault = GMI_FAULT();

	if (fault)
		return -fault;
	if (bytes > INT64_MAX)
		return -EFBIG;
	return ftruncate(fd, (off_t)bytes) ? -errno : 0;
}

int gmi_allocate(int fd, uint64_t offset, uint64_t bytes)
{
	int fault = GMI_FAULT();

	if (fault)
		return -fault;
	return fallocate(fd, 0, (off_t)offset, (off_t)bytes) ? -errno : 0;
}

int gmi_seals_add(int fd, int seals)
{
	int fault = GMI_FAULT();

	if (fault)
		return -fault;
	return fcntl(fd, F_ADD_SEALS, seals) ? -errno : 0;
}

int gmi_seals(int fd)
{
	int fault = GMI_FAULT(), seals;

	if (fault)
		return -fault;
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0)
		return errno == EINVAL ? 0 : -errno;
	return seals;
}

int gmi_open_mode(int fd)
{
	int fault = GMI_FAULT(), flags;

	if (fault)
		return -fault;
	flags = fcntl(fd, F_GETFL);
	return flags < 0 ? -errno : flags & (O_ACCMODE | O_PATH);
}

int gmi_stat(const char *path, struct stat *ret_status)
{
	int fault = GMI_FAULT();

	if (fault)
		return -fault;
	return stat(path, ret_status) ? -errno : 0;
}

int gmi_fstat(int fd, struct stat *ret_status)
{
	int fault = GMI_FAULT();

	if (fault)
		return -fault;
	return fstat(fd, ret_status) ? -errno : 0;
}

int gmi_filesystem(int fd, uint64_t *ret_type, uint64_t *ret_block_bytes)
{
	int fault = GMI_FAULT();
	struct statfs status;

	if (fault)
		return -fault;
	if (fstatfs(fd, &status))
		return -errno;
	/* The magic numbers have 32 bits; f_type may be a signed word of them. */
	*ret_type = (uint32_t)status.f_type;
	*ret_block_bytes = (uint64_t)status.f_bsize;
	return 0;
}

int gmi_block_device_bytes(int fd, uint64_t *ret_bytes)
{
	int fault = GMI_FAULT();

	if (fault)
		return -fault;
	return ioctl(fd, BLKGETSIZE64, ret_bytes) ? -errno : 0;
}

int gmi_mkdir(const char *path)
{
	int fault = GMI_FAULT();

	if (fault)
		return -fault;
	return mkdir(path, 0777) ? -errno : 0;
}

void gmi_rmdir(const char *path)
{
	(void)rmdir(path);
}

int gmi_unlink(const char *path)
{
	int fault = GMI_FAULT();

	if (fault)
		return -fault;
	return unlink(path) ? -errno : 0;
}

int gmi_read_text(const char *path, char *text, size_t text_max)
{
	int fd = gmi_open(path, O_RDONLY, 0);
	ssize_t length;

	if (fd < 0)
		return fd;
	length = read(fd, text, text_max - 1);
	if (length < 0)
		length = -errno;
	else
		text[length] = '\0';
	gmi_close(fd);
	return (int)length;
}

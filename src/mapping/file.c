/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Sources that exist already: a file by its path, or an open one by its descriptor. Whoever handed it over may be
 * hostile or mistaken, so what it is, how long it is, how it was opened and how it is sealed are all looked at before
 * it is mapped.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/base.h"
#include "mapping/mapping.h"
#include "sys/uapi.h"

/* Major number of /dev/zero and its like: mappings of those share nothing with each other. */
#define MEMORY_DEVICES_MAJOR 1
/* Inode number under which a device's own bytes go; devices are told apart by their number. */
#define DEVICE_INODE 0

/* A block device holds the bytes of the file system on it, whose files have the same device number but no inode 0. */
void gmi_file_identify(struct gmi_mapping *mapping, const struct stat *status)
{
	bool device = S_ISBLK(status->st_mode) || S_ISCHR(status->st_mode);

	if (!mapping->shared || (S_ISCHR(status->st_mode) && major(status->st_rdev) == MEMORY_DEVICES_MAJOR))
		return;
	mapping->file_known = true;
	mapping->file_device = device ? status->st_rdev : status->st_dev;
	mapping->file_inode = device ? DEVICE_INODE : status->st_ino;
}

/*
 * Size of the file. Return: 1 and the size; 0 for a character device, which has none and refuses by itself what it has
 * not.
 */
static int file_size(int fd, const struct stat *status, uint64_t *ret_bytes)
{
	int r;

	if (S_ISCHR(status->st_mode))
		return 0;
	if (!S_ISBLK(status->st_mode)) {
		*ret_bytes = (uint64_t)status->st_size;
		return 1;
	}
	r = gmi_block_device_bytes(fd, ret_bytes);
	return r != 0 ? r : 1;
}

int gmi_file_has_bytes(const struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error)
{
	struct stat status;
	uint64_t size;
	uint64_t room;
	int r;

	r = gmi_fstat(mapping->fd, &status);
	if (r == 0)
		r = file_size(mapping->fd, &status, &size);
	if (r < 0)
		return gmi_region_error(opts, error, r, "the file's size: %s", strerror(-r));
	/* A file's last page is mapped as a whole; no file is so long that this wraps. */
	room = size;
	if (r == 1 && (opts->flags & GM_REGION_TAIL))
		room = (size + mapping->page_bytes - 1) & ~(mapping->page_bytes - 1);
	if (r == 1 && (mapping->fd_offset > room || opts->bytes > room - mapping->fd_offset))
		return gmi_region_error(opts, error, -ENODATA,
					"the file has %llu bytes, fewer than offset 0x%llx and size 0x%llx need",
					(unsigned long long)size, (unsigned long long)mapping->fd_offset,
					(unsigned long long)opts->bytes);
	return 0;
}

static int get_fd(struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error)
{
	bool writable = mapping->shared && (opts->prot & GM_WRITE);
	int r;

	if (opts->source == GM_SOURCE_FD) {
		r = gmi_dup(opts->fd);
		if (r < 0)
			return gmi_region_error(opts, error, r, "file descriptor %d: %s", opts->fd, strerror(-r));
	} else {
		r = gmi_open(opts->path, writable ? O_RDWR : O_RDONLY, 0);
		/* A directory opened for writing; a socket. */
		if (r == -EISDIR || r == -ENXIO)
			return gmi_region_error(opts, error, -EMEDIUMTYPE, "'%s' is not a file with bytes", opts->path);
		if (r < 0)
			return gmi_region_error(opts, error, r, "opening '%s': %s", opts->path, strerror(-r));
	}
	mapping->fd = r;
	return 0;
}

/*
 * Files, block and character devices. What lies behind an anonymous inode has no type on many kernels: those with a
 * size (dma-buf, guest_memfd) may be memory; those without (eventfd, epoll, a KVM descriptor) are not, even where they
 * can be mapped.
 */
static bool is_mappable(const struct stat *status)
{
	switch (status->st_mode & S_IFMT) {
	case S_IFREG:
	case S_IFBLK:
	case S_IFCHR:
		return true;
	case 0:
		return status->st_size > 0;
	default:
		return false;
	}
}

static int check_mode(const struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error)
{
	bool writable = mapping->shared && (opts->prot & GM_WRITE);
	int mode = gmi_open_mode(mapping->fd), seals;

	if (mode < 0)
		return gmi_region_error(opts, error, mode, "the file's open mode: %s", strerror(-mode));
	if ((mode & O_PATH) || (mode & O_ACCMODE) == O_WRONLY)
		return gmi_region_error(opts, error, -EPERM, "the file is not open for reading, which a mapping needs");
	if (writable && (mode & O_ACCMODE) != O_RDWR)
		return gmi_region_error(opts, error, -EPERM,
					"a shared mapping that can be written needs a file open for writing");
	seals = gmi_seals(mapping->fd);
	if (seals < 0)
		return gmi_region_error(opts, error, seals, "the file's seals: %s", strerror(-seals));
	if (writable && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
		return gmi_region_error(opts, error, -EPERM, "the file is sealed against writing");
	return 0;
}

/* Finds out what pages the file is made of. */
static int check_pages(struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error)
{
	uint64_t type, block_bytes;
	int r;

	r = gmi_filesystem(mapping->fd, &type, &block_bytes);
	if (r != 0)
		return gmi_region_error(opts, error, r, "the file's file system: %s", strerror(-r));
	mapping->policed = !mapping->shared || type == GMI_TMPFS_TYPE || type == GMI_HUGETLBFS_TYPE;
	if (type == GMI_HUGETLBFS_TYPE) {
		mapping->hugetlb = true;
		mapping->page_bytes = block_bytes;
		/* Other mappings of the file were placed by others: whole huge pages are mapped, whatever part of them is wanted. */
		mapping->lead = mapping->fd_offset % block_bytes;
		if (opts->huge != GM_HUGE_DEFAULT)
			return gmi_region_error(opts, error, -EINVAL,
						"the file is from the huge-page pool: not transparent huge pages");
	}
	if ((mapping->fd_offset - mapping->lead) % mapping->page_bytes != 0)
		return gmi_region_error(
			opts, error, -EINVAL, "file offset 0x%llx is not a multiple of the page size 0x%llx",
			(unsigned long long)mapping->fd_offset, (unsigned long long)mapping->page_bytes);
	return 0;
}

int gmi_file_open(struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error)
{
	struct stat status;
	int r;

	mapping->shared = !(opts->flags & GM_REGION_COW);
	mapping->fd_offset = opts->fd_offset;
	r = get_fd(mapping, opts, error);
	if (r != 0)
		return r;
	r = gmi_fstat(mapping->fd, &status);
	if (r != 0)
		return gmi_region_error(opts, error, r, "fstat: %s", strerror(-r));
	if (!is_mappable(&status))
		return gmi_region_error(opts, error, -EMEDIUMTYPE, "the file cannot be mapped as memory");
	r = check_mode(mapping, opts, error);
	if (r == 0)
		r = check_pages(mapping, opts, error);
	if (r == 0)
		r = gmi_file_has_bytes(mapping, opts, error);
	if (r == 0)
		gmi_file_identify(mapping, &status);
	return r;
}

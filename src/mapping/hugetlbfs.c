/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A new file on a mounted hugetlbfs. Its parent folders are made as needed; the file itself is ours alone (O_EXCL) and
 * unlinked at once, so that its pages go back to the pool whatever becomes of this process. Folders stay when all went
 * well: other regions' files may be about to be made in them.
 */
#include <fcntl.h>
#include <string.h>

#include "base/base.h"
#include "mapping/mapping.h"
#include "sys/memory.h"

int gmi_folders_make(struct gmi_folders *folders, const char *path)
{
	size_t length = strlen(path), i;
	int r;

	folders->path = gmi_strdup(path);
	folders->made = gmi_alloc(length + 1);
	if (folders->path == NULL || folders->made == NULL)
		return -ENOMEM;
	/* From 1: the root is there. */
	for (i = 1; i < length; i++) {
		if (path[i] != '/')
			continue;
		folders->path[i] = '\0';
		r = gmi_mkdir(folders->path);
		folders->path[i] = '/';
		if (r == 0)
			folders->made[i] = 1;
		else if (r != -EEXIST)
			return r;
	}
	return 0;
}

void gmi_folders_end(struct gmi_folders *folders, bool undo)
{
	if (undo && folders->path != NULL && folders->made != NULL) {
		for (size_t i = strlen(folders->path); i-- > 0;) {
			if (!folders->made[i])
				continue;
			/* Only the deeper ones' paths need what is behind, and they are gone. */
			folders->path[i] = '\0';
			gmi_rmdir(folders->path);
		}
	}
	gmi_free(folders->path);
	gmi_free(folders->made);
	folders->path = NULL;
	folders->made = NULL;
}

/* It is on a hugetlbfs, with the pages asked for, and the size is a multiple of them. */
static int check_mount(struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gm_error *error)
{
	uint64_t type, block_bytes;
	int r;

	r = gmi_filesystem(mapping->fd, &type, &block_bytes);
	if (r != 0)
		return gmi_region_error(opts, error, r, "the file system of '%s': %s", opts->path, strerror(-r));
	if (type != GMI_HUGETLBFS_TYPE)
		return gmi_region_error(opts, error, -EMEDIUMTYPE, "'%s' is not on a hugetlbfs", opts->path);
	if (opts->huge_bytes != 0 && opts->huge_bytes != block_bytes)
		return gmi_region_error(opts, error, -EINVAL, "'%s' is on a hugetlbfs of %llu KiB pages, not %llu",
					opts->path, (unsigned long long)block_bytes / 1024,
					(unsigned long long)opts->huge_bytes / 1024);
	mapping->page_bytes = block_bytes;
	mapping->hugetlb = true;
	return gmi_hugepages_are_multiple(mapping, opts, error);
}

int gmi_hugetlbfs_open(struct gmi_mapping *mapping, const struct gm_region_opts *opts, struct gmi_folders *folders,
		       struct gm_error *error)
{
	struct stat status;
	int r;

	r = gmi_folders_make(folders, opts->path);
	if (r != 0)
		return gmi_region_error(opts, error, r, "making the folders of '%s': %s", opts->path, strerror(-r));
	r = gmi_open(opts->path, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (r < 0)
		return gmi_region_error(opts, error, r, "making '%s': %s", opts->path, strerror(-r));
	mapping->fd = r;
	mapping->shared = true;
	r = gmi_unlink(opts->path);
	if (r != 0) {
		/* Nothing is to be left behind, so once more. */
		(void)gmi_unlink(opts->path);
		return gmi_region_error(opts, error, r, "unlinking '%s': %s", opts->path, strerror(-r));
	}
	r = check_mount(mapping, opts, error);
	if (r != 0)
		return r;
	r = gmi_truncate(mapping->fd, opts->bytes);
	if (r != 0)
		return gmi_region_error(opts, error, r, "sizing '%s': %s", opts->path, strerror(-r));
	r = gmi_fstat(mapping->fd, &status);
	if (r != 0)
		return gmi_region_error(opts, error, r, "fstat: %s", strerror(-r));
	gmi_file_identify(mapping, &status);
	return 0;
}

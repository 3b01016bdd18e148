/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The disk image: leases, contents, the final look at all of it. Opening and copying are in copy.c. */
#include "image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEASE_TRIES 30
/* What the final look reads at once. */
#define VERIFY_SECTORS 2048u

int64_t image_lease(struct image *image, struct random *random)
{
	for (unsigned i = 0; i < LEASE_TRIES; i++) {
		uint64_t extent = random_below(random, image->extents);

		/* Acquire, and release below: the versions of an extent pass from one leaseholder to the next. */
		if (!__atomic_exchange_n(&image->busy[extent], true, __ATOMIC_ACQUIRE))
			return (int64_t)extent;
	}
	return -1;
}

void image_release(struct image *image, uint64_t extent)
{
	__atomic_store_n(&image->busy[extent], false, __ATOMIC_RELEASE);
}

uint32_t image_new_version(struct image *image)
{
	uint32_t version;

	do {
		version = __atomic_add_fetch(&image->next_version, 1, __ATOMIC_RELAXED);
	} while (version == VERSION_PRISTINE || version == VERSION_ZEROED);
	return version;
}

void image_pattern(const struct image *image, uint64_t sector, uint32_t version, unsigned char data[SECTOR_BYTES])
{
	struct random random = { random_mix(image->seed ^ random_mix(sector)) ^ version };

	for (unsigned i = 0; i < SECTOR_BYTES; i += 8) {
		uint64_t word = random_next(&random);

		memcpy(data + i, &word, 8);
	}
}

/* @bytes of a file from @offset on: all of them, or a failure that says so. */
static int read_all(int fd, uint64_t offset, unsigned char *data, uint64_t bytes, const char *path,
		    struct failure *failure)
{
	while (bytes) {
		ssize_t got = pread(fd, data, bytes, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail(failure, STATUS_WRONG, "%s: reading at 0x%llx: %s", path,
				    (unsigned long long)offset, strerror(errno));
		if (got == 0)
			return fail(failure, STATUS_WRONG, "%s: ends at 0x%llx, it became shorter during the run", path,
				    (unsigned long long)offset);
		data += got;
		offset += (uint64_t)got;
		bytes -= (uint64_t)got;
	}
	return 0;
}

int image_expect(const struct image *image, uint64_t sector, uint32_t count, unsigned char *data,
		 struct failure *failure)
{
	uint64_t offset = sector * SECTOR_BYTES, bytes = (uint64_t)count * SECTOR_BYTES;
	uint64_t inside = bytes < image->bytes - offset ? bytes : image->bytes - offset;

	if (read_all(image->pristine, offset, data, inside, image->path, failure) < 0)
		return -1;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t version = image->versions[sector + i];

		if (version == VERSION_ZEROED)
			memset(data + i * SECTOR_BYTES, 0, SECTOR_BYTES);
		else if (version != VERSION_PRISTINE)
			image_pattern(image, sector + i, version, data + i * SECTOR_BYTES);
	}
	memset(data + inside, 0, bytes - inside);
	return 0;
}

int image_watch(const struct image *image, struct failure *failure)
{
	struct stat now;

	if (stat(image->path, &now) < 0)
		return fail(failure, STATUS_WRONG, "disk image %s vanished during the run: %s", image->path,
			    strerror(errno));
	if (now.st_dev != image->device || now.st_ino != image->inode)
		return fail(failure, STATUS_WRONG, "disk image %s was replaced by another file during the run",
			    image->path);
	if (image->is_file && (uint64_t)now.st_size != image->bytes)
		return fail(failure, STATUS_WRONG,
			    "disk image %s had %llu bytes and has %llu now: it %s during the run", image->path,
			    (unsigned long long)image->bytes, (unsigned long long)now.st_size,
			    (uint64_t)now.st_size < image->bytes ? "shrank" : "grew");
	return 0;
}

static int differ(const struct image *image, uint64_t offset, const unsigned char *wanted, const unsigned char *got,
		  struct failure *failure)
{
	uint64_t i = 0;

	while (wanted[i] == got[i])
		i++;
	return fail(failure, STATUS_WRONG, "byte 0x%llx of the disk is 0x%02x and should be 0x%02x: %s",
		    (unsigned long long)(offset + i), got[i], wanted[i],
		    image->versions[(offset + i) / SECTOR_BYTES] == VERSION_PRISTINE
			    ? "it was never written"
			    : "a write did not arrive, or was overwritten");
}

int image_verify(struct image *image, bool (*tick)(void *opaque), void *opaque, struct failure *failure)
{
	unsigned char *wanted = malloc((size_t)VERIFY_SECTORS * SECTOR_BYTES),
		      *got = malloc((size_t)VERIFY_SECTORS * SECTOR_BYTES);
	int r = wanted && got ? 0 : fail(failure, STATUS_MISSING, "no memory to read the disk");

	for (uint64_t sector = 0; r == 0 && sector < image->sectors; sector += VERIFY_SECTORS) {
		uint64_t left = image->sectors - sector, offset = sector * SECTOR_BYTES;
		uint32_t count = left < VERIFY_SECTORS ? (uint32_t)left : VERIFY_SECTORS;
		uint64_t bytes = (uint64_t)count * SECTOR_BYTES;

		if (bytes > image->bytes - offset)
			bytes = image->bytes - offset;
		r = image_expect(image, sector, count, wanted, failure);
		if (r == 0)
			r = read_all(image->working, offset, got, bytes, "the working copy", failure);
		if (r == 0 && memcmp(wanted, got, bytes) != 0)
			r = differ(image, offset, wanted, got, failure);
		for (uint32_t i = 0; i < count; i++)
			image->written_sectors += image->versions[sector + i] != VERSION_PRISTINE;
		if (r == 0 && tick(opaque))
			break;
	}
	free(wanted);
	free(got);
	return r;
}

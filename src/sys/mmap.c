/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* mmap(2) and its relatives, one function per call. Keeps no state. */
#include "sys/mmap.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/fault.h"
#include "sys/uapi.h"

size_t gmi_page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

int gmi_mmap_reserve(size_t bytes, void **ret_start)
{
	int fault = GMI_FAULT();
	void *start;

	if (fault)
		return -fault;
	start = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (start == MAP_FAILED)
		return -errno;
	*ret_start = start;
	return 0;
}

int gmi_mmap_at(void *at, size_t bytes, int prot, int flags, int fd, uint64_t offset)
{
	int fault = GMI_FAULT();
	void *start;

	if (fault)
		return -fault;
	start = mmap(at, bytes, prot, flags | MAP_FIXED_NOREPLACE, fd, (off_t)offset);
	if (start == MAP_FAILED)
		return -errno;
	if (start != at) {
		/* A kernel before 4.17 takes the address for a hint. */
		(void)munmap(start, bytes);
		return -EEXIST;
	}
	return 0;
}

/* ThreadSanitizer's mmap(2) is a write to each byte, which would race with whoever touches a page that another thread replaces. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(THREAD_SANITIZED)
#define mmap(at, bytes, prot, flags, fd, offset) ((void *)syscall(SYS_mmap, at, bytes, prot, flags, fd, offset))
#endif

int gmi_mmap_over(void *at, size_t bytes, int prot)
{
	int fault = GMI_FAULT();

	if (fault)
		return -fault;
	if (mmap(at, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -errno;
	return 0;
}

void gmi_munmap(void *start, size_t bytes)
{
	if (bytes != 0)
		(void)munmap(start, bytes);
}

int gmi_madvise(void *start, size_t bytes, int advice)
{
	int fault = GMI_FAULT();

	if (fault)
		return -fault;
	return madvise(start, bytes, advice) ? -errno : 0;
}

int gmi_mlock(void *start, size_t bytes)
{
	int fault = GMI_FAULT();

	if (fault)
		return -fault;
	return mlock(start, bytes) ? -errno : 0;
}

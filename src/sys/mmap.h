/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Host virtual memory. Calls return 0 or -errno; sizes and addresses are multiples of gmi_page_bytes(). */
#ifndef GMI_SYS_MMAP_H
#define GMI_SYS_MMAP_H

#include <stddef.h>
#include <stdint.h>

/* The host's page. */
size_t gmi_page_bytes(void);

/* Address space that nothing can be read from or written to. */
int gmi_mmap_reserve(size_t bytes, void **ret_start);
/*
 * Maps at exactly @at, where nothing may be mapped yet: -EEXIST. Unlike MAP_FIXED it replaces nothing, even when it
 * fails.
 */
int gmi_mmap_at(void *at, size_t bytes, int prot, int flags, int fd, uint64_t offset);
/*
 * Puts private memory of zeros, taken when touched only, in the place of what is mapped at @at, which stays as it is when this
 * fails. Async-signal-safe.
 */
int gmi_mmap_over(void *at, size_t bytes, int prot);
void gmi_munmap(void *start, size_t bytes);

int gmi_madvise(void *start, size_t bytes, int advice);
int gmi_mlock(void *start, size_t bytes);

#endif

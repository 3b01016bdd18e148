/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The library's own memory: every allocation goes through here. */
#ifndef GMI_SYS_MEMORY_H
#define GMI_SYS_MEMORY_H

#include <stddef.h>

/* Zeroed; NULL without memory or when count * size passes SIZE_MAX. Freed with gmi_free(), which accepts NULL. */
void *gmi_alloc(size_t size);
/* The same, at the beginning of a cache line. Freed with gmi_free_line(), which accepts NULL. */
void *gmi_alloc_line(size_t size);
void gmi_free_line(void *memory);
void *gmi_alloc_array(size_t count, size_t size);
/* Grows an array to @count elements; the new part is not zeroed. NULL: the old one is as it was. */
void *gmi_realloc_array(void *array, size_t count, size_t size);
char *gmi_strdup(const char *text);
void gmi_free(void *memory);

/* Zeroed pages that take memory when touched only; NULL without address space. */
void *gmi_reserve_pages(size_t size);
void gmi_release_pages(void *pages, size_t size);

#endif

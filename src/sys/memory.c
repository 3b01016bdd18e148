/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "sys/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sys/fault.h"

void *gmi_alloc(size_t size)
{
	return GMI_FAULT() ? NULL : calloc(1, size);
}

void *gmi_alloc_line(size_t size)
{
	void *memory;

	/* No processor that we run on has longer lines than this, or suffers from shorter ones. */
	if (GMI_FAULT() || posix_memalign(&memory, 64, size) != 0)
		return NULL;
	return memset(memory, 0, size);
}

void *gmi_alloc_array(size_t count, size_t size)
{
	return GMI_FAULT() ? NULL : calloc(count ? count : 1, size);
}

void *gmi_realloc_array(void *array, size_t count, size_t size)
{
	return GMI_FAULT() ? NULL : reallocarray(array, count, size);
}

char *gmi_strdup(const char *text)
{
	return GMI_FAULT() ? NULL : strdup(text);
}

void gmi_free(void *memory)
{
	free(memory);
}

void *gmi_reserve_pages(size_t size)
{
	void *pages;

	if (GMI_FAULT())
		return NULL;
	pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return pages == MAP_FAILED ? NULL : pages;
}

void gmi_release_pages(void *pages, size_t size)
{
	if (pages != NULL)
		(void)munmap(pages, size);
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "sys/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sys/fault.h"

void *gmi_alloc(size_t size)
{
	return GMI_FAULT() ? NULL : calloc(1, size);
}

/* No processor that we run on has longer ones, or suffers from shorter ones. */
#define LINE_BYTES 64

/* By hand: posix_memalign() takes several times as long as this, and what a map's update allocates comes from here. */
void *gmi_alloc_line(size_t size)
{
	/* calloc() gives multiples of 16, so there is room for a pointer in front. */
	char *memory = GMI_FAULT() ? NULL : calloc(1, size + LINE_BYTES), *line;

	if (memory == NULL)
		return NULL;
	line = memory + (LINE_BYTES - (uintptr_t)memory % LINE_BYTES);
	memcpy(line - sizeof(memory), &memory, sizeof(memory));
	return line;
}

void gmi_free_line(void *line)
{
	void *memory;

	if (line == NULL)
		return;
	memcpy(&memory, (char *)line - sizeof(memory), sizeof(memory));
	free(memory);
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

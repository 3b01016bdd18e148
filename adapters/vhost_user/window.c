/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* A window: some bytes of a file, as the one region of a map of its own, which begins at 0 with the page that the bytes begin in. */
#include <errno.h>

#include "vu.h"

int vu_window_open(struct vu_window *window, const char *name, int fd, uint64_t offset, uint64_t bytes)
{
	uint64_t skip = offset % VU_PAGE_BYTES;
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.kind = GM_RAM,
		.source = GM_SOURCE_FD,
		.fd = fd,
		.fd_offset = offset - skip,
		/* A log is as long as the guest needs it, not as pages are. */
		.flags = GM_REGION_DONTDUMP | GM_REGION_TAIL,
	};
	struct gm_region *region;
	struct gm_map *map;
	int r;

	if (bytes > UINT64_MAX - skip - (VU_PAGE_BYTES - 1))
		return -EFBIG;
	opts.bytes = (skip + bytes + VU_PAGE_BYTES - 1) / VU_PAGE_BYTES * VU_PAGE_BYTES;
	r = gm_region_new(&opts, &region, NULL);
	if (r != 0)
		return r;
	r = gm_map_new(NULL, &region, 1, &map, NULL);
	gm_region_unref(region);
	if (r != 0)
		return r;
	r = gm_map_memory(map, GM_ONLY_RAM, &window->memory);
	gm_map_unref(map);
	if (r != 0)
		return r;
	window->at = gm_gpa(skip);
	window->bytes = bytes;
	return 0;
}

void vu_window_close(struct vu_window *window)
{
	gm_memory_unref(window->memory);
	*window = (struct vu_window){ 0 };
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Ready-made regions: options that machines use again and again. */
#include <string.h>
#include <sys/mman.h>

#include "base/base.h"
#include "region/region.h"
#include "sys/files.h"

/* Below, no transparent huge page fits; asking for them would only cost the kernel's time. */
#define HUGE_FROM (2 * GM_MIB)

GMI_PUBLIC int gm_region_new_memory(const char *name, struct gm_gpa first, uint64_t bytes,
				    struct gm_region **ret_region, struct gm_error *error)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.kind = GM_RAM,
		.source = GM_SOURCE_MEMFD,
		.first = first,
		.bytes = bytes,
		.huge = bytes >= HUGE_FROM ? GM_HUGE_TRANSPARENT : GM_HUGE_DEFAULT,
		.mmap_flags = MAP_NORESERVE,
	};

	return gm_region_new(&opts, ret_region, error);
}

GMI_PUBLIC int gm_region_new_firmware(const char *name, struct gm_gpa first, const char *path,
				      struct gm_region **ret_region, struct gm_error *error)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.kind = GM_FIRMWARE,
		.source = GM_SOURCE_FILE,
		.first = first,
		.path = path,
		.flags = GM_REGION_COW,
	};
	struct stat status;
	int r;

	if (path == NULL || path[0] == '\0')
		return gmi_error(error, -EINVAL, "firmware region '%s' at 0x%llx: it needs a path", name ? name : "",
				 (unsigned long long)first.value);
	r = gmi_stat(path, &status);
	if (r != 0)
		return gmi_error(error, r, "firmware region '%s' at 0x%llx: '%s': %s", name ? name : "",
				 (unsigned long long)first.value, path, strerror(-r));
	if (!S_ISREG(status.st_mode))
		return gmi_error(error, -EMEDIUMTYPE, "firmware region '%s' at 0x%llx: '%s' is not a regular file",
				 name ? name : "", (unsigned long long)first.value, path);
	opts.bytes = (uint64_t)status.st_size;
	return gm_region_new(&opts, ret_region, error);
}

GMI_PUBLIC int gm_region_new_device(const char *name, struct gm_gpa first, uint64_t bytes,
				    const struct gm_region_io *io, void *opaque, struct gm_region **ret_region,
				    struct gm_error *error)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.kind = GM_DEVICE,
		.first = first,
		.bytes = bytes,
		.io = io,
		.opaque = opaque,
	};

	return gm_region_new(&opts, ret_region, error);
}

GMI_PUBLIC int gm_region_new_dax(const char *name, struct gm_gpa first, uint64_t bytes, struct gm_region **ret_region,
				 struct gm_error *error)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.kind = GM_DAX,
		.source = GM_SOURCE_ANON,
		.first = first,
		.bytes = bytes,
		.mmap_flags = MAP_NORESERVE,
	};

	return gm_region_new(&opts, ret_region, error);
}

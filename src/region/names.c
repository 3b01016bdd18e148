/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Names of kinds and sources, both ways. Tables only. */
#include <string.h>

#include "base/base.h"
#include "region/region.h"

struct source_name {
	const char *name;
	enum gm_source source;
};

static const char *const kinds[GM_KINDS] = {
	[GM_RAM] = "ram", [GM_FIRMWARE] = "firmware", [GM_DEVICE] = "device",
	[GM_DAX] = "dax", [GM_RESERVED] = "reserved",
};

/* The first name of a source is the one that it is called by. */
static const struct source_name sources[] = {
	{ "none", GM_SOURCE_NONE },           { "anon", GM_SOURCE_ANON },
	{ "mmap", GM_SOURCE_ANON },           { "hugeanon", GM_SOURCE_HUGEANON },
	{ "hugemmap", GM_SOURCE_HUGEANON },   { "memfd", GM_SOURCE_MEMFD },
	{ "shmem", GM_SOURCE_MEMFD },         { "hugememfd", GM_SOURCE_HUGEMEMFD },
	{ "hugeshmem", GM_SOURCE_HUGEMEMFD }, { "hugetlbfs", GM_SOURCE_HUGETLBFS },
	{ "file", GM_SOURCE_FILE },           { "fd", GM_SOURCE_FD },
	{ "pointer", GM_SOURCE_POINTER },     { "callbacks", GM_SOURCE_CALLBACKS },
};

GMI_PUBLIC const char *gm_kind_name(enum gm_kind kind)
{
	return (unsigned)kind < GM_KINDS ? kinds[kind] : NULL;
}

GMI_PUBLIC const char *gm_source_name(enum gm_source source)
{
	for (size_t i = 0; i < GMI_COUNT(sources); i++) {
		if (sources[i].source == source)
			return sources[i].name;
	}
	return NULL;
}

GMI_PUBLIC int gm_kind_from_name(const char *name, enum gm_kind *ret_kind)
{
	if (name == NULL)
		return -EINVAL;
	for (unsigned i = 0; i < GM_KINDS; i++) {
		if (strcmp(kinds[i], name) == 0) {
			*ret_kind = (enum gm_kind)i;
			return 0;
		}
	}
	return -EINVAL;
}

GMI_PUBLIC int gm_source_from_name(const char *name, enum gm_source *ret_source)
{
	if (name == NULL)
		return -EINVAL;
	for (size_t i = 0; i < GMI_COUNT(sources); i++) {
		if (strcmp(sources[i].name, name) == 0) {
			*ret_source = sources[i].source;
			return 0;
		}
	}
	return -EINVAL;
}

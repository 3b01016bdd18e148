/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The width of the host's physical addresses, and the ready-made layouts, which depend on it. No state, no locks.
 *
 * The kernel's word in /proc/cpuinfo is taken before the processor's own (CPUID), for the kernel has subtracted the bits that
 * memory encryption takes from the addresses.
 */
#include <string.h>

#include <guestmem/layout.h>

#include "base/base.h"
#include "layout/layout.h"
#include "sys/host.h"

#define BITS_UNKNOWN 36
#define BITS_MIN     32
#define BITS_MAX     52

/* The part of /proc/cpuinfo that is looked at: the first processor's entry, most of which is its list of flags. */
#define CPUINFO_MAX 8192

unsigned gmi_parse_physical_bits(const char *cpuinfo)
{
	static const char key[] = "address sizes";
	const char *at = cpuinfo;
	unsigned bits = 0;
	int digits;

	while (strncmp(at, key, sizeof(key) - 1) != 0) {
		at = strchr(at, '\n');
		if (at == NULL)
			return 0;
		at++;
	}
	at += sizeof(key) - 1;
	at += strspn(at, " \t:");
	/* Three digits at most: a longer number is none that could be meant. */
	for (digits = 0; digits < 3 && *at >= '0' && *at <= '9'; digits++)
		bits = bits * 10 + (unsigned)(*at++ - '0');
	if (strncmp(at, " bits physical", 14) != 0 || bits < BITS_MIN || bits > 64)
		return 0;
	return bits;
}

GMI_PUBLIC unsigned gm_host_physical_bits(void)
{
	char cpuinfo[CPUINFO_MAX];
	unsigned bits = gmi_host_register_bits();

	if (bits == 0 && gmi_host_cpuinfo(cpuinfo, sizeof(cpuinfo)) == 0)
		bits = gmi_parse_physical_bits(cpuinfo);
	if (bits == 0)
		return BITS_UNKNOWN;
	return GMI_MIN(bits, BITS_MAX);
}

static struct gm_range range_of(uint64_t first, uint64_t last)
{
	struct gm_range range = { gm_gpa(first), gm_gpa(last) };

	return range;
}

/* Memory in the lower half, devices in the upper one, and one hole in the lower half. */
static int halves(unsigned physical_bits, struct gm_range hole, const char *name, struct gm_layout *ret_layout)
{
	unsigned host_bits = gm_host_physical_bits();
	uint64_t last, half;

	if (physical_bits == 0)
		physical_bits = host_bits;
	if (physical_bits < BITS_MIN || physical_bits > BITS_MAX)
		return -EINVAL;
	last = (UINT64_C(1) << physical_bits) - 1;
	half = UINT64_C(1) << (physical_bits - 1);
	memset(ret_layout, 0, sizeof(*ret_layout));
	ret_layout->physical = range_of(0, last);
	ret_layout->memory = range_of(0, half - 1);
	ret_layout->device = range_of(half, last);
	ret_layout->usable_last = gm_gpa((UINT64_C(1) << host_bits) - 1);
	ret_layout->holes[0].range = hole;
	ret_layout->holes[0].name = name;
	ret_layout->holes_count = 1;
	return 0;
}

GMI_PUBLIC int gm_layout_x86_64_pc(unsigned physical_bits, struct gm_layout *ret_layout)
{
	struct gm_range hole = range_of(3 * GM_GIB, 4 * GM_GIB - 1);
	int r = halves(physical_bits, hole, "pci", ret_layout);

	if (r == 0 && !gm_range_covers(ret_layout->memory, hole)) {
		/* 32 bits: the hole is the top of all there is. Memory below it is more than half, and none is lost. */
		ret_layout->memory.last = gm_gpa(hole.first.value - 1);
		ret_layout->device = hole;
		memset(&ret_layout->holes[0], 0, sizeof(ret_layout->holes[0]));
		ret_layout->holes_count = 0;
	}
	return r;
}

GMI_PUBLIC int gm_layout_aarch64_virt(unsigned physical_bits, struct gm_layout *ret_layout)
{
	return halves(physical_bits, range_of(0, GM_GIB - 1), "devices", ret_layout);
}

GMI_PUBLIC void gm_layout_open(struct gm_layout *ret_layout)
{
	struct gm_range all = range_of(0, UINT64_MAX);

	memset(ret_layout, 0, sizeof(*ret_layout));
	ret_layout->physical = all;
	ret_layout->memory = all;
	ret_layout->device = all;
	ret_layout->usable_last = all.last;
}

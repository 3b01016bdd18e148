/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Layouts: each contradiction, each rule and each of its boundaries one to either side, and the ready-made ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <guestmem/layout.h>

#include "base/base.h"
#include "layout/layout.h"
#include "sys/fault.h"
#include "sys/host.h"

#define TOP UINT64_MAX

static struct gm_range range_of(uint64_t first, uint64_t last)
{
	struct gm_range range = { gm_gpa(first), gm_gpa(last) };

	return range;
}

/* Physical [0x1000, 0xffff], memory [0x2000, 0x9fff], devices [0x9000, 0xdfff], one hole [0x4000, 0x5fff], host to 0xbfff. */
static struct gm_layout small(void)
{
	struct gm_layout layout;

	memset(&layout, 0, sizeof(layout));
	layout.physical = range_of(0x1000, 0xffff);
	layout.memory = range_of(0x2000, 0x9fff);
	layout.device = range_of(0x9000, 0xdfff);
	layout.usable_last = gm_gpa(0xbfff);
	layout.holes[0].range = range_of(0x4000, 0x5fff);
	layout.holes[0].name = "gap";
	layout.holes_count = 1;
	return layout;
}

static void assert_contradicts(const struct gm_layout *layout, const char *part)
{
	struct gm_error error;

	memset(&error, 0, sizeof(error));
	assert_int_equal(gm_layout_check(layout, &error), -EINVAL);
	assert_int_equal(error.code, -EINVAL);
	if (strstr(error.text, part) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", error.text, part);
	assert_int_equal(gm_layout_check(layout, NULL), -EINVAL);
}

static void assert_sound(const struct gm_layout *layout)
{
	struct gm_error error;
	int r = gm_layout_check(layout, &error);

	if (r != 0)
		fail_msg("%d: %s", r, error.text);
}

static void test_check_bounds(void **state)
{
	struct gm_layout layout = small();

	(void)state;
	assert_sound(&layout);
	layout.physical = range_of(0x10000, 0xffff);
	assert_contradicts(&layout, "physical bounds [0x10000, 0xffff] end before they begin");
	layout = small();
	layout.memory = range_of(0x6000, 0x5fff);
	assert_contradicts(&layout, "memory bounds [0x6000, 0x5fff] end before they begin");
	layout = small();
	layout.device = range_of(0xe000, 0xdfff);
	assert_contradicts(&layout, "device bounds [0xe000, 0xdfff] end before they begin");

	layout = small();
	layout.memory.first.value = 0x1000;
	assert_sound(&layout);
	layout.memory.first.value = 0xfff;
	assert_contradicts(&layout, "memory bounds [0xfff, 0x9fff] reach outside of the physical ones");
	layout = small();
	layout.memory.last.value = 0xffff;
	assert_sound(&layout);
	layout.memory.last.value = 0x10000;
	assert_contradicts(&layout, "memory bounds [0x2000, 0x10000] reach outside");
	layout = small();
	layout.device = range_of(0x1000, 0xffff);
	assert_sound(&layout);
	layout.device.first.value = 0xfff;
	assert_contradicts(&layout, "device bounds [0xfff, 0xffff] reach outside");
	layout.device = range_of(0x1000, 0x10000);
	assert_contradicts(&layout, "device bounds [0x1000, 0x10000] reach outside");
}

static void test_check_usable(void **state)
{
	struct gm_layout layout = small();

	(void)state;
	layout.usable_last = gm_gpa(TOP);
	assert_sound(&layout);
	layout.usable_last = layout.memory.first;
	assert_sound(&layout);
	layout.usable_last.value--;
	assert_contradicts(&layout, "last usable address 0x1fff stands before the memory bounds");
}

static void test_check_holes(void **state)
{
	struct gm_layout layout = small();

	(void)state;
	layout.holes[0].range = layout.memory;
	assert_sound(&layout);
	layout.holes[0].range.first.value--;
	assert_contradicts(&layout, "hole 'gap' [0x1fff, 0x9fff] reaches outside of the memory bounds");
	layout.holes[0].range = layout.memory;
	layout.holes[0].range.last.value++;
	assert_contradicts(&layout, "hole 'gap' [0x2000, 0xa000] reaches outside of the memory bounds");
	layout.holes[0].range = range_of(0x5000, 0x4fff);
	layout.holes[0].name = NULL;
	assert_contradicts(&layout, "hole 'unnamed' [0x5000, 0x4fff] ends before it begins");

	layout = small();
	layout.holes[1].range = range_of(0x6000, 0x6000);
	layout.holes[1].name = "next";
	layout.holes_count = 2;
	assert_sound(&layout);
	layout.holes[1].range.first.value = 0x5fff;
	assert_contradicts(&layout, "hole 'next' [0x5fff, 0x6000] does not stand behind hole 'gap' [0x4000, 0x5fff]");
	layout.holes[1].range = range_of(0x2000, 0x2fff);
	assert_contradicts(&layout, "hole 'next' [0x2000, 0x2fff] does not stand behind");
}

static void test_check_hole_count(void **state)
{
	struct gm_layout layout = small();
	struct gm_error error;
	size_t i;

	(void)state;
	for (i = 0; i < GM_HOLES_MAX; i++)
		layout.holes[i].range = range_of(0x2000 + i * 0x10, 0x2000 + i * 0x10);
	layout.holes_count = GM_HOLES_MAX;
	assert_sound(&layout);
	assert_int_equal(gm_layout_admits(&layout, GM_RAM, range_of(0x20f0, 0x20f0), "x", NULL), -ERANGE);
	layout.holes_count = GM_HOLES_MAX + 1;
	assert_contradicts(&layout, "17 holes, which is more than 16");
	layout.holes_count = SIZE_MAX;
	assert_contradicts(&layout, "which is more than 16");
	/* Nor does admits() read past them. */
	assert_int_equal(gm_layout_admits(&layout, GM_RAM, range_of(0x8000, 0x8fff), "x", &error), -EINVAL);
	assert_non_null(strstr(error.text, "which is more than 16"));
}

/* Asks for [first, last]; NULL for "admitted", else what the sentence must end with. */
struct case_ {
	enum gm_kind kind;
	uint64_t first, last;
	const char *forbidden;
};

static void run_cases(const struct gm_layout *layout, const struct case_ *cases, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		const struct case_ *c = &cases[i];
		struct gm_range range = range_of(c->first, c->last);
		struct gm_error error = { 0, "" };
		char expected[GM_ERROR_TEXT_MAX];
		int r = gm_layout_admits(layout, c->kind, range, "it", &error);

		assert_int_equal(gm_layout_admits(layout, c->kind, range, "it", NULL), r);
		if (c->forbidden == NULL) {
			if (r != 0)
				fail_msg("case %zu: %d: %s", i, r, error.text);
			assert_int_equal(error.code, 0);
			continue;
		}
		snprintf(expected, sizeof(expected), "%s region 'it' " GMI_RANGE_FORMAT " %s", gm_kind_name(c->kind),
			 GMI_RANGE_ARGS(range), c->forbidden);
		if (r != -ERANGE)
			fail_msg("case %zu: %d instead of -ERANGE", i, r);
		assert_int_equal(error.code, -ERANGE);
		assert_string_equal(error.text, expected);
	}
}

#define RAM_OUTSIDE    "reaches outside of the memory bounds [0x2000, 0x9fff]"
#define RAM_HOLE       "reaches into hole 'gap' [0x4000, 0x5fff]"
#define DEVICE_OUTSIDE "lies neither inside of the device bounds [0x9000, 0xdfff] nor inside of one hole"
#define DAX_OUTSIDE                                                                                                    \
	"lies neither inside of the memory bounds [0x2000, 0x9fff], nor of the device bounds [0x9000, 0xdfff], nor "   \
	"of "                                                                                                          \
	"one hole"
#define ABOVE_HOST       "reaches above 0xbfff, the last address that the host can back"
#define PHYSICAL_OUTSIDE "reaches outside of the physical bounds [0x1000, 0xffff]"

static void test_ram(void **state)
{
	struct gm_layout layout = small();
	const struct case_ cases[] = {
		{ GM_RAM, 0x2000, 0x3fff, NULL },     { GM_RAM, 0x1fff, 0x3fff, RAM_OUTSIDE },
		{ GM_RAM, 0x2000, 0x4000, RAM_HOLE }, { GM_RAM, 0x5fff, 0x9fff, RAM_HOLE },
		{ GM_RAM, 0x2000, 0x9fff, RAM_HOLE }, { GM_RAM, 0x4800, 0x4fff, RAM_HOLE },
		{ GM_RAM, 0x6000, 0x9fff, NULL },     { GM_RAM, 0x6000, 0xa000, RAM_OUTSIDE },
		{ GM_RAM, 0, TOP, RAM_OUTSIDE },
	};
	const struct case_ low_host[] = {
		{ GM_RAM, 0x6000, 0x7fff, NULL },
		{ GM_RAM, 0x6000, 0x8000, "reaches above 0x7fff, the last address that the host can back" },
	};

	(void)state;
	run_cases(&layout, cases, GMI_COUNT(cases));
	layout.usable_last = gm_gpa(0x7fff);
	run_cases(&layout, low_host, GMI_COUNT(low_host));
}

static void test_device(void **state)
{
	struct gm_layout layout = small();
	const struct case_ cases[] = {
		{ GM_DEVICE, 0x9000, 0xdfff, NULL }, /* above what the host backs, and where memory may stand, too */
		{ GM_DEVICE, 0x8fff, 0xdfff, DEVICE_OUTSIDE }, { GM_DEVICE, 0x9000, 0xe000, DEVICE_OUTSIDE },
		{ GM_DEVICE, 0x4000, 0x5fff, NULL },           { GM_DEVICE, 0x3fff, 0x5fff, DEVICE_OUTSIDE },
		{ GM_DEVICE, 0x4000, 0x6000, DEVICE_OUTSIDE }, { GM_DEVICE, 0x2000, 0x2fff, DEVICE_OUTSIDE },
		{ GM_DEVICE, 0x4000, 0xdfff, DEVICE_OUTSIDE }, { GM_DEVICE, 0, TOP, DEVICE_OUTSIDE },
	};

	(void)state;
	run_cases(&layout, cases, GMI_COUNT(cases));
	/* Two holes side by side are two. */
	layout.holes[1].range = range_of(0x6000, 0x6fff);
	layout.holes_count = 2;
	assert_int_equal(gm_layout_admits(&layout, GM_DEVICE, range_of(0x6000, 0x6fff), "x", NULL), 0);
	assert_int_equal(gm_layout_admits(&layout, GM_DEVICE, range_of(0x5000, 0x6fff), "x", NULL), -ERANGE);
}

static void test_dax(void **state)
{
	struct gm_layout layout = small();
	const struct case_ cases[] = {
		{ GM_DAX, 0x2000, 0x3fff, NULL },        { GM_DAX, 0x2000, 0x4000, RAM_HOLE },
		{ GM_DAX, 0x1fff, 0x3fff, DAX_OUTSIDE }, { GM_DAX, 0x4000, 0x5fff, NULL },
		{ GM_DAX, 0x4000, 0x6000, RAM_HOLE },    { GM_DAX, 0x6000, 0x9fff, NULL },
		{ GM_DAX, 0x8fff, 0xa000, DAX_OUTSIDE }, { GM_DAX, 0x9000, 0xbfff, NULL },
		{ GM_DAX, 0x9000, 0xc000, ABOVE_HOST },  { GM_DAX, 0xd000, 0xe000, DAX_OUTSIDE },
	};
	const struct case_ low_host[] = {
		{ GM_DAX, 0x6000, 0x6fff, NULL },
		{ GM_DAX, 0x6000, 0x7000, "reaches above 0x6fff, the last address that the host can back" },
	};

	(void)state;
	run_cases(&layout, cases, GMI_COUNT(cases));
	layout.usable_last = gm_gpa(0x6fff);
	run_cases(&layout, low_host, GMI_COUNT(low_host));
}

static void test_firmware_and_reserved(void **state)
{
	struct gm_layout layout = small();
	const struct case_ cases[] = {
		{ GM_FIRMWARE, 0x1000, 0xffff, NULL },
		{ GM_FIRMWARE, 0xfff, 0xffff, PHYSICAL_OUTSIDE },
		{ GM_FIRMWARE, 0x1000, 0x10000, PHYSICAL_OUTSIDE },
		{ GM_RESERVED, 0x1000, 0xffff, NULL },
		{ GM_RESERVED, 0xfff, 0xffff, PHYSICAL_OUTSIDE },
		{ GM_RESERVED, 0x1000, 0x10000, PHYSICAL_OUTSIDE },
	};

	(void)state;
	run_cases(&layout, cases, GMI_COUNT(cases));
}

static void test_bad_question(void **state)
{
	struct gm_layout layout = small();
	struct gm_error error;

	(void)state;
	assert_int_equal(gm_layout_admits(&layout, GM_RAM, range_of(0x3000, 0x2fff), "it", &error), -EINVAL);
	assert_string_equal(error.text, "region 'it' [0x3000, 0x2fff] ends before it begins");
	assert_int_equal(gm_layout_admits(&layout, GM_KINDS, range_of(0x2000, 0x2fff), NULL, &error), -EINVAL);
	assert_string_equal(error.text, "region 'unnamed' [0x2000, 0x2fff] is of kind 5, which is none");
	assert_int_equal(gm_layout_admits(&layout, (enum gm_kind)99, range_of(0x2000, 0x2fff), "it", NULL), -EINVAL);
	assert_int_equal(gm_layout_admits(&layout, GM_RAM, range_of(0, 0), NULL, &error), -ERANGE);
	assert_non_null(strstr(error.text, "ram region 'unnamed' [0x0, 0x0] "));
}

static void test_open(void **state)
{
	struct gm_layout layout;
	int kind;

	(void)state;
	memset(&layout, 0x5a, sizeof(layout));
	gm_layout_open(&layout);
	assert_sound(&layout);
	for (kind = 0; kind < GM_KINDS; kind++) {
		assert_int_equal(gm_layout_admits(&layout, (enum gm_kind)kind, range_of(0, TOP), "x", NULL), 0);
		assert_int_equal(gm_layout_admits(&layout, (enum gm_kind)kind, range_of(TOP, TOP), "x", NULL), 0);
	}
}

static int admits(const struct gm_layout *layout, enum gm_kind kind, uint64_t first, uint64_t last)
{
	return gm_layout_admits(layout, kind, range_of(first, last), "x", NULL);
}

static void test_pc(void **state)
{
	const uint64_t half = UINT64_C(1) << 39, top = 2 * half - 1;
	struct gm_layout layout;

	(void)state;
	memset(&layout, 0x5a, sizeof(layout));
	assert_int_equal(gm_layout_x86_64_pc(40, &layout), 0);
	assert_sound(&layout);
	assert_true(layout.physical.first.value == 0 && layout.physical.last.value == top);
	assert_true(layout.usable_last.value == (UINT64_C(1) << gm_host_physical_bits()) - 1);
	/* Whatever this host is: the rules are what is looked at from here on. */
	layout.usable_last = gm_gpa(top);
	assert_int_equal(admits(&layout, GM_RAM, 0, 3 * GM_GIB - 1), 0);
	assert_int_equal(admits(&layout, GM_RAM, 0, 3 * GM_GIB), -ERANGE);
	assert_int_equal(admits(&layout, GM_RAM, 4 * GM_GIB - 1, 5 * GM_GIB), -ERANGE);
	assert_int_equal(admits(&layout, GM_RAM, 4 * GM_GIB, half - 1), 0);
	assert_int_equal(admits(&layout, GM_RAM, 4 * GM_GIB, half), -ERANGE);
	assert_int_equal(admits(&layout, GM_DEVICE, 3 * GM_GIB, 4 * GM_GIB - 1), 0);
	assert_int_equal(admits(&layout, GM_DEVICE, 3 * GM_GIB - 1, 4 * GM_GIB - 1), -ERANGE);
	assert_int_equal(admits(&layout, GM_DEVICE, 3 * GM_GIB, 4 * GM_GIB), -ERANGE);
	assert_int_equal(admits(&layout, GM_DEVICE, 8 * GM_GIB, 9 * GM_GIB), -ERANGE);
	assert_int_equal(admits(&layout, GM_DEVICE, half, top), 0);
	assert_int_equal(admits(&layout, GM_DEVICE, half - 1, top), -ERANGE);
	assert_int_equal(admits(&layout, GM_DEVICE, half, top + 1), -ERANGE);
	assert_int_equal(admits(&layout, GM_DAX, half, top), 0);
	assert_int_equal(admits(&layout, GM_FIRMWARE, 4 * GM_GIB - GM_MIB, 4 * GM_GIB - 1), 0);
	assert_int_equal(admits(&layout, GM_RESERVED, top, top + 1), -ERANGE);
	/* The legacy display of a PC: below the hole, hence refused until a hole is made for it. */
	assert_int_equal(admits(&layout, GM_DEVICE, 0xa0000, 0xbffff), -ERANGE);
	layout.holes[1] = layout.holes[0];
	layout.holes[0].range = range_of(0xa0000, 0xbffff);
	layout.holes_count = 2;
	assert_sound(&layout);
	assert_int_equal(admits(&layout, GM_DEVICE, 0xa0000, 0xbffff), 0);
}

static void test_aarch64(void **state)
{
	const uint64_t half = UINT64_C(1) << 39, top = 2 * half - 1;
	struct gm_layout layout;

	(void)state;
	memset(&layout, 0x5a, sizeof(layout));
	assert_int_equal(gm_layout_aarch64_virt(40, &layout), 0);
	assert_sound(&layout);
	layout.usable_last = gm_gpa(top);
	assert_int_equal(admits(&layout, GM_RAM, GM_GIB, half - 1), 0);
	assert_int_equal(admits(&layout, GM_RAM, GM_GIB - 1, half - 1), -ERANGE);
	assert_int_equal(admits(&layout, GM_RAM, GM_GIB, half), -ERANGE);
	assert_int_equal(admits(&layout, GM_DEVICE, 0, GM_GIB - 1), 0);
	assert_int_equal(admits(&layout, GM_DEVICE, 0, GM_GIB), -ERANGE);
	assert_int_equal(admits(&layout, GM_DEVICE, half, top), 0);
	assert_int_equal(admits(&layout, GM_DEVICE, half - 1, top), -ERANGE);
}

/* 31 to 53 bits: which ones make a layout, and that each of those is sound. */
static void test_physical_bits(void **state)
{
	struct gm_layout layout, before;
	unsigned bits;

	(void)state;
	memset(&layout, 0x5a, sizeof(layout));
	before = layout;
	assert_int_equal(gm_layout_x86_64_pc(31, &layout), -EINVAL);
	assert_int_equal(gm_layout_x86_64_pc(53, &layout), -EINVAL);
	assert_int_equal(gm_layout_x86_64_pc(UINT32_MAX, &layout), -EINVAL);
	assert_int_equal(gm_layout_aarch64_virt(31, &layout), -EINVAL);
	assert_int_equal(gm_layout_aarch64_virt(53, &layout), -EINVAL);
	assert_memory_equal(&layout, &before, sizeof(layout));
	for (bits = 32; bits <= 52; bits++) {
		assert_int_equal(gm_layout_x86_64_pc(bits, &layout), 0);
		assert_sound(&layout);
		assert_true(layout.physical.last.value == (UINT64_C(1) << bits) - 1);
		assert_int_equal(admits(&layout, GM_RAM, 0, 2 * GM_GIB - 1), 0);
		assert_int_equal(admits(&layout, GM_DEVICE, 3 * GM_GIB, 4 * GM_GIB - 1), 0);
		assert_int_equal(gm_layout_aarch64_virt(bits, &layout), 0);
		assert_sound(&layout);
		assert_int_equal(admits(&layout, GM_RAM, GM_GIB, 2 * GM_GIB - 1), 0);
	}
	/* A PC of 32 bits: all of [0, 3 GiB) is memory's, the hole's place is the devices'. */
	assert_int_equal(gm_layout_x86_64_pc(32, &layout), 0);
	assert_int_equal(layout.holes_count, 0);
	assert_int_equal(admits(&layout, GM_RAM, 0, 3 * GM_GIB - 1), 0);
	assert_int_equal(admits(&layout, GM_RAM, 0, 3 * GM_GIB), -ERANGE);
	assert_int_equal(admits(&layout, GM_DEVICE, 3 * GM_GIB - 1, 3 * GM_GIB), -ERANGE);
	/* 0 is the host's own width. */
	assert_int_equal(gm_layout_x86_64_pc(0, &layout), 0);
	assert_true(layout.physical.last.value == (UINT64_C(1) << gm_host_physical_bits()) - 1);
}

static void test_parse(void **state)
{
	(void)state;
	assert_int_equal(gmi_parse_physical_bits("address sizes\t: 48 bits physical, 57 bits virtual\n"), 48);
	assert_int_equal(gmi_parse_physical_bits("a: 1\naddress sizes\t: 39 bits physical"), 39);
	assert_int_equal(gmi_parse_physical_bits("address sizes: 32 bits physical\naddress sizes: 48 bits physical\n"),
			 32);
	assert_int_equal(gmi_parse_physical_bits("address sizes: 31 bits physical"), 0);
	assert_int_equal(gmi_parse_physical_bits("address sizes: 64 bits physical"), 64);
	assert_int_equal(gmi_parse_physical_bits("address sizes: 65 bits physical"), 0);
	assert_int_equal(gmi_parse_physical_bits("address sizes: 4294967344 bits physical"), 0);
	assert_int_equal(gmi_parse_physical_bits("address sizes: -48 bits physical"), 0);
	assert_int_equal(gmi_parse_physical_bits("address sizes: bits physical"), 0);
	assert_int_equal(gmi_parse_physical_bits("address sizes: 48 bits virtual"), 0);
	assert_int_equal(gmi_parse_physical_bits("address sizes: 4"), 0);
	assert_int_equal(gmi_parse_physical_bits("my address sizes: 48 bits physical"), 0);
	assert_int_equal(gmi_parse_physical_bits("address size"), 0);
	assert_int_equal(gmi_parse_physical_bits("\n"), 0);
	assert_int_equal(gmi_parse_physical_bits(""), 0);
}

static void test_host_bits(void **state)
{
	unsigned bits = gm_host_physical_bits();
	char text[64];
	int before = dup(STDOUT_FILENO), after;
	long n;

	(void)state;
	close(before);
	assert_in_range(bits, 32, 52);
	assert_int_equal(gmi_host_cpuinfo(text, sizeof(text)), 0);
	assert_int_equal(strlen(text), sizeof(text) - 1);
	/* Each system call refused: the code comes out, and the width is the one of "unknown". */
	for (n = 1; n <= 2; n++) {
		gmi_fault_arm(n, EMFILE);
		assert_int_equal(gmi_host_cpuinfo(text, sizeof(text)), -EMFILE);
		assert_true(gmi_fault_fired());
	}
	if (gmi_host_register_bits() == 0) {
		gmi_fault_arm(1, EACCES);
		assert_int_equal(gm_host_physical_bits(), 36);
		assert_true(gmi_fault_fired());
	}
	gmi_fault_arm(0, 0);
	/* The file is closed again, whether or not it could be read: the lowest free number is the one of before. */
	after = dup(STDOUT_FILENO);
	assert_int_equal(after, before);
	close(after);
}

static void assert_gaps(const struct gm_layout *layout, const struct gm_range *expected, size_t count)
{
	struct gm_range gaps[GM_HOLES_MAX + 1];
	size_t i;

	assert_int_equal(gmi_layout_gaps(layout, gaps), count);
	for (i = 0; i < count; i++) {
		assert_true(gaps[i].first.value == expected[i].first.value);
		assert_true(gaps[i].last.value == expected[i].last.value);
	}
}

static void test_gaps(void **state)
{
	struct gm_layout layout = small();
	const struct gm_range both[] = { { { 0x2000 }, { 0x3fff } }, { { 0x6000 }, { 0x9fff } } };
	const struct gm_range high[] = { { { 0x3000 }, { 0x3fff } }, { { 0x7000 }, { 0x8fff } } };
	const struct gm_range all = { { 0 }, { TOP } }, last_page = { { TOP - 4095 }, { TOP } };

	(void)state;
	assert_gaps(&layout, both, 2);
	/* Bounds in the midst of pages: only whole pages count. */
	layout.memory = range_of(0x2001, 0x9ffe);
	layout.holes[0].range = range_of(0x4fff, 0x6000);
	assert_gaps(&layout, (struct gm_range[]){ { { 0x3000 }, { 0x3fff } }, { { 0x7000 }, { 0x8fff } } }, 2);
	layout.holes[0].range = range_of(0x4000, 0x6000);
	assert_gaps(&layout, high, 2);
	/* The host ends inside of the hole, at its first address, and one before it. */
	layout = small();
	layout.usable_last = gm_gpa(0x5000);
	assert_gaps(&layout, both, 1);
	layout.usable_last = gm_gpa(0x4000);
	assert_gaps(&layout, both, 1);
	layout.usable_last = gm_gpa(0x3fff);
	assert_gaps(&layout, both, 1);
	layout.usable_last = gm_gpa(0x3ffe);
	assert_gaps(&layout, (struct gm_range[]){ { { 0x2000 }, { 0x2fff } } }, 1);
	layout.usable_last = gm_gpa(0x2fff - 1);
	assert_gaps(&layout, NULL, 0);
	/* All of it is a hole; all of it is not. */
	layout = small();
	layout.holes[0].range = layout.memory;
	assert_gaps(&layout, NULL, 0);
	gm_layout_open(&layout);
	assert_gaps(&layout, &all, 1);
	layout.holes[0].range = range_of(0, TOP - 4096);
	layout.holes_count = 1;
	assert_gaps(&layout, &last_page, 1);
	layout.holes[0].range.last.value++;
	assert_gaps(&layout, NULL, 0);
	layout.holes[0].range.last.value = TOP;
	assert_gaps(&layout, NULL, 0);
	layout.holes_count = 0;
	layout.memory = range_of(0, 4094);
	assert_gaps(&layout, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check_bounds),
		cmocka_unit_test(test_check_usable),
		cmocka_unit_test(test_check_holes),
		cmocka_unit_test(test_check_hole_count),
		cmocka_unit_test(test_ram),
		cmocka_unit_test(test_device),
		cmocka_unit_test(test_dax),
		cmocka_unit_test(test_firmware_and_reserved),
		cmocka_unit_test(test_bad_question),
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_pc),
		cmocka_unit_test(test_aarch64),
		cmocka_unit_test(test_physical_bits),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_host_bits),
		cmocka_unit_test(test_gaps),
	};

	return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Regions as objects: what options are refused and how that is said, attributes read back, names, references. */
#include "resources.h"

static int io_read(void *opaque, struct gm_offset offset, void *data, size_t bytes)
{
	(void)opaque;
	(void)offset;
	memset(data, 0, bytes);
	return 0;
}

static int io_write(void *opaque, struct gm_offset offset, const void *data, size_t bytes)
{
	(void)opaque;
	(void)offset;
	(void)data;
	(void)bytes;
	return 0;
}

static const struct gm_region_io io_both = { io_read, io_write };
static const struct gm_region_io io_reading = { io_read, NULL };
static const struct gm_region_io io_writing = { NULL, io_write };
static const struct gm_region_io io_none = { NULL, NULL };

static int progress(void *opaque, uint64_t done, uint64_t total)
{
	(void)opaque;
	(void)done;
	(void)total;
	return 0;
}

static void release(void *opaque, void *hva, uint64_t bytes)
{
	(void)hva;
	(void)bytes;
	++*(int *)opaque;
}

static uint64_t words[1024];
static const int nodes[] = { 0, 1 }, node_negative = -1, node_high = GM_NODES_MAX;
static int nodes_many[GM_NODES_MAX + 1];

#define LONGEST             "123456789012345678901234567890123456789012345678901234567890123" /* 63 */
#define OPTS(title, length) .size = sizeof(struct gm_region_opts), .name = (title), .bytes = (length)
#define PAGE                OPTS("x", 4096)

struct refusal {
	int code;
	const char *says; /* the sentence contains this */
	struct gm_region_opts opts;
};

static const struct refusal refusals[] = {
	/* identity */
	{ -EINVAL, "name is missing", { OPTS(NULL, 4096) } },
	{ -EINVAL, "name is missing", { OPTS("", 4096) } },
	{ -EINVAL, "name is missing", { OPTS("a\nb", 4096) } },
	{ -ENAMETOOLONG, "longer than 63", { OPTS(LONGEST "4", 4096) } },
	{ -EINVAL, "no kind", { PAGE, .kind = GM_KINDS } },
	{ -EINVAL, "no kind", { PAGE, .kind = (enum gm_kind)0x80000000u } },
	{ -EINVAL, "source is none", { PAGE, .source = GM_SOURCES } },
	{ -EINVAL, "no bytes", { OPTS("x", 0) } },
	{ -GM_EWRAP, "pass 2^64", { OPTS("x", 8192), .first = { UINT64_MAX - 4095 } } },
	{ -GM_EWRAP, "pass 2^64", { OPTS("x", UINT64_MAX & ~4095ull), .first = { 8192 } } },
	/* kind against source */
	{ -EINVAL, "reserved", { PAGE, .kind = GM_RESERVED, .source = GM_SOURCE_ANON } },
	{ -EINVAL, "reserved", { PAGE, .kind = GM_RESERVED, .source = GM_SOURCE_CALLBACKS, .io = &io_both } },
	{ -EINVAL, "registers", { PAGE, .kind = GM_DEVICE, .source = GM_SOURCE_MEMFD } },
	{ -EINVAL, "somewhere", { PAGE, .kind = GM_RAM, .source = GM_SOURCE_NONE } },
	{ -EINVAL, "somewhere", { PAGE, .kind = GM_FIRMWARE, .source = GM_SOURCE_NONE } },
	{ -EINVAL, "somewhere", { PAGE, .kind = GM_DAX, .source = GM_SOURCE_NONE } },
	/* bits and choices */
	{ -EINVAL, "protection", { PAGE, .prot = 8 } },
	{ -EINVAL, "flags", { PAGE, .flags = GM_REGION_FLAGS_ALL + 1 } },
	{ -EINVAL, "MAP_NORESERVE", { PAGE, .mmap_flags = MAP_FIXED } },
	{ -EINVAL, "transparent", { PAGE, .huge = (enum gm_huge)3 } },
	{ -EINVAL, "huge-page size", { PAGE, .source = GM_SOURCE_HUGEANON, .huge_bytes = 3 * GM_MIB } },
	{ -EINVAL, "huge-page size", { PAGE, .source = GM_SOURCE_HUGEANON, .huge_bytes = 4096 } },
	/* alignment */
	{ -EINVAL, "first address", { PAGE, .first = { 1 } } },
	{ -EINVAL, "size is not", { OPTS("x", 4097) } },
	{ -EINVAL, "huge pages", { PAGE, .source = GM_SOURCE_HUGEANON, .huge_bytes = 2 * GM_MIB } },
	{ -EINVAL, "file offset", { PAGE, .source = GM_SOURCE_FILE, .path = "/dev/null", .fd_offset = 8 } },
	{ -GM_EWRAP, "file offset", { OPTS("x", 8192), .source = GM_SOURCE_FD, .fd_offset = UINT64_MAX & ~4095ull } },
	{ -EINVAL, "host address", { PAGE, .source = GM_SOURCE_POINTER, .hva = NULL } },
	{ -EINVAL, "host address", { PAGE, .source = GM_SOURCE_POINTER, .hva = (char *)words + 4 } },
	{ -EINVAL, "host address plus", { OPTS("x", 8192), .source = GM_SOURCE_POINTER, .hva = (void *)-8 } },
	/* what is missing */
	{ -EINVAL, "path", { PAGE, .source = GM_SOURCE_FILE } },
	{ -EINVAL, "path", { PAGE, .source = GM_SOURCE_HUGETLBFS, .path = "" } },
	{ -EINVAL, "callbacks", { PAGE, .source = GM_SOURCE_CALLBACKS } },
	{ -EINVAL, "callbacks", { PAGE, .source = GM_SOURCE_CALLBACKS, .io = &io_none } },
	{ -EINVAL, "permits reading", { PAGE, .source = GM_SOURCE_CALLBACKS, .io = &io_writing } },
	{ -EINVAL, "permits writing", { PAGE, .source = GM_SOURCE_CALLBACKS, .io = &io_reading } },
	/* what the source does not use */
	{ -EINVAL, "use path", { PAGE, .source = GM_SOURCE_MEMFD, .path = "/x" } },
	{ -EINVAL, "use fd", { PAGE, .source = GM_SOURCE_ANON, .fd = -2 } },
	{ -EINVAL, "use fd_offset", { PAGE, .source = GM_SOURCE_MEMFD, .fd_offset = 4096 } },
	{ -EINVAL, "use hva", { PAGE, .hva = words } },
	{ -EINVAL, "use release", { PAGE, .release = release } },
	{ -EINVAL, "use io", { PAGE, .io = &io_both } },
	{ -EINVAL, "use io", { PAGE, .kind = GM_DEVICE, .source = GM_SOURCE_NONE, .io = &io_both } },
	{ -EINVAL, "use opaque", { PAGE, .opaque = words } },
	{ -EINVAL, "use huge", { PAGE, .source = GM_SOURCE_HUGEMEMFD, .huge = GM_HUGE_TRANSPARENT } },
	{ -EINVAL, "use huge_bytes", { PAGE, .source = GM_SOURCE_MEMFD, .huge_bytes = 2 * GM_MIB } },
	{ -EINVAL, "use mmap_flags", { PAGE, .source = GM_SOURCE_POINTER, .hva = words, .mmap_flags = MAP_LOCKED } },
	{ -EINVAL, "use numa_policy", { PAGE, .kind = GM_DEVICE, .numa_policy = GM_NUMA_BIND } },
	{ -EINVAL, "use prealloc_threads", { PAGE, .kind = GM_DEVICE, .prealloc_threads = 1 } },
	{ -EINVAL, "use progress", { PAGE, .kind = GM_DEVICE, .progress = progress } },
	{ -EINVAL, "use progress_opaque", { PAGE, .kind = GM_DEVICE, .progress_opaque = words } },
	{ -EINVAL, "GM_REGION_PREALLOC", { PAGE, .kind = GM_DEVICE, .flags = GM_REGION_PREALLOC } },
	{ -EINVAL, "GM_REGION_DONTDUMP", { PAGE, .kind = GM_DEVICE, .flags = GM_REGION_DONTDUMP } },
	{ -EINVAL, "GM_REGION_FORK", { PAGE, .kind = GM_DEVICE, .flags = GM_REGION_FORK } },
	{ -EINVAL, "GM_REGION_NUMA_STRICT", { PAGE, .kind = GM_DEVICE, .flags = GM_REGION_NUMA_STRICT } },
	{ -EINVAL, "GM_REGION_COW", { PAGE, .source = GM_SOURCE_MEMFD, .flags = GM_REGION_COW } },
	{ -EINVAL, "GM_REGION_ALIAS", { PAGE, .source = GM_SOURCE_ANON, .flags = GM_REGION_ALIAS } },
	{ -EINVAL, "dirty_page_bytes", { PAGE, .kind = GM_DEVICE, .io = &io_both, .dirty_page_bytes = 4096 } },
	{ -EINVAL, "numa_nodes", { PAGE, .kind = GM_RESERVED, .numa_nodes = nodes, .numa_nodes_count = 1 } },
	/* NUMA */
	{ -EINVAL, "NUMA policy", { PAGE, .numa_policy = (enum gm_numa_policy)9 } },
	{ -EINVAL, "fit together", { PAGE, .numa_nodes_count = 1 } },
	{ -EINVAL, "fit together", { PAGE, .numa_nodes = nodes } },
	{ -EINVAL,
	  "fit together",
	  { PAGE, .numa_policy = GM_NUMA_BIND, .numa_nodes = nodes_many, .numa_nodes_count = GM_NODES_MAX + 1 } },
	{ -EINVAL, "from 0 to 1023", { PAGE, .numa_nodes = &node_negative, .numa_nodes_count = 1 } },
	{ -EINVAL, "from 0 to 1023", { PAGE, .numa_nodes = &node_high, .numa_nodes_count = 1 } },
	{ -EINVAL, "number of host nodes", { PAGE, .numa_nodes = nodes, .numa_nodes_count = 2 } },
	{ -EINVAL, "number of host nodes", { PAGE, .numa_policy = GM_NUMA_BIND } },
	{ -EINVAL,
	  "preferred",
	  { PAGE, .numa_policy = GM_NUMA_PREFERRED, .numa_nodes = nodes, .numa_nodes_count = 2 } },
	/* populating and dirty logs */
	{ -EINVAL,
	  "65 threads",
	  { PAGE, .flags = GM_REGION_PREALLOC, .prealloc_threads = GM_PREALLOC_THREADS_MAX + 1 } },
	{ -EINVAL, "GM_REGION_PREALLOC", { PAGE, .prealloc_threads = 1 } },
	{ -EINVAL, "GM_REGION_PREALLOC", { PAGE, .progress = progress } },
	{ -EINVAL, "progress_opaque", { PAGE, .flags = GM_REGION_PREALLOC, .progress_opaque = words } },
	{ -EINVAL, "dirty log", { PAGE, .dirty_page_bytes = 4097 } },
	{ -EINVAL, "dirty log", { PAGE, .dirty_page_bytes = 2048 } },
	{ -EINVAL, "dirty log", { PAGE, .dirty_page_bytes = 2 * GM_GIB } },
	{ -EINVAL,
	  "too many pages",
	  { OPTS("x", (1ull << 44) + 4096), .source = GM_SOURCE_CALLBACKS, .io = &io_both, .dirty_page_bytes = 4096 } },
};

static void contradictions_are_refused(void **state)
{
	struct test_resources before;
	struct gm_error error;
	struct gm_region *region;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		memset(&error, 0, sizeof(error));
		region = (struct gm_region *)words;
		before = test_count(NULL);
		if (gm_region_new(&refusals[i].opts, &region, &error) != refusals[i].code)
			fail_msg("refusal %zu: code %d, '%s'", i, error.code, error.text);
		assert_int_equal(error.code, refusals[i].code);
		if (strstr(error.text, refusals[i].says) == NULL)
			fail_msg("refusal %zu: '%s' does not say '%s'", i, error.text, refusals[i].says);
		assert_ptr_equal(region, words);
		/* An error object is optional. */
		assert_int_equal(gm_region_new(&refusals[i].opts, &region, NULL), refusals[i].code);
		assert_nothing_left(before, NULL);
	}
}

static void sentences_say_what_and_where(void **state)
{
	struct gm_region_opts opts = { OPTS("ram0", 4096), .first = gm_gpa(0x1000), .prot = 8 };
	struct gm_region *region;
	struct gm_error error;

	(void)state;
	assert_int_equal(gm_region_new(&opts, &region, &error), -EINVAL);
	assert_ptr_equal(strstr(error.text, "ram region 'ram0' [0x1000, 0x1fff]: "), error.text);
}

static void sizes_of_options(void **state)
{
	struct {
		struct gm_region_opts opts;
		char more[16];
	} newer = { .opts = { PAGE }, .more = { 0 } };
	struct gm_region *region = NULL;
	struct gm_error error;

	(void)state;
	assert_int_equal(gm_region_new(NULL, &region, &error), -EINVAL);
	assert_int_equal(gm_region_new(&newer.opts, NULL, &error), -EINVAL);
	newer.opts.size = sizeof(size_t) - 1;
	assert_int_equal(gm_region_new(&newer.opts, &region, &error), -EINVAL);
	newer.opts.size = sizeof(newer);
	newer.more[15] = 1;
	assert_int_equal(gm_region_new(&newer.opts, &region, &error), -E2BIG);
	newer.more[15] = 0;
	assert_int_equal(gm_region_new(&newer.opts, &region, &error), 0);
	gm_region_unref(region);
	/* An older caller's struct ends earlier; the rest is zero whatever stands there. */
	newer.opts.size = offsetof(struct gm_region_opts, path);
	newer.opts.path = "/not/looked/at";
	assert_int_equal(gm_region_new(&newer.opts, &region, &error), 0);
	assert_null(gm_region_path(region));
	gm_region_unref(region);
}

static void a_success_leaves_the_sentence_alone(void **state)
{
	struct gm_region_opts opts = { PAGE };
	struct gm_error error = { 77, "as it was" };
	struct gm_region *region;

	(void)state;
	assert_int_equal(gm_region_new(&opts, &region, &error), 0);
	assert_int_equal(error.code, 77);
	assert_string_equal(error.text, "as it was");
	gm_region_unref(region);
}

static void attributes_are_read_back(void **state)
{
	static const int node = 700;
	struct gm_region_opts opts = {
		OPTS(LONGEST, 1),
		.kind = GM_DAX,
		.source = GM_SOURCE_CALLBACKS,
		.first = gm_gpa(UINT64_MAX),
		.prot = GM_READ,
		.flags = GM_REGION_HOTPLUG | GM_REGION_ANON_HINT,
		.io = &io_reading,
		.dirty_page_bytes = 8192,
		.numa_nodes = &node,
		.numa_nodes_count = 1,
		.tag = UINT64_MAX,
	};
	struct gm_region *region;

	(void)state;
	assert_int_equal(gm_region_new(&opts, &region, NULL), 0);
	assert_string_equal(gm_region_name(region), LONGEST);
	assert_int_equal(gm_region_kind(region), GM_DAX);
	assert_int_equal(gm_region_source(region), GM_SOURCE_CALLBACKS);
	assert_int_equal(gm_region_first(region).value, UINT64_MAX);
	assert_int_equal(gm_region_last(region).value, UINT64_MAX);
	assert_int_equal(gm_region_range(region).first.value, UINT64_MAX);
	assert_int_equal(gm_region_range(region).last.value, UINT64_MAX);
	assert_int_equal(gm_region_bytes(region), 1);
	assert_int_equal(gm_region_prot(region), GM_READ);
	assert_int_equal(gm_region_flags(region), opts.flags);
	assert_true(gm_region_is_hotplug(region));
	assert_true(gm_region_is_dax(region));
	assert_int_equal(gm_region_tag(region), UINT64_MAX);
	assert_null(gm_region_hva(region));
	assert_int_equal(gm_region_fd(region), -1);
	assert_int_equal(gm_region_fd_offset(region), 0);
	assert_null(gm_region_path(region));
	assert_int_equal(gm_region_mmap_flags(region), 0);
	assert_false(gm_region_is_shareable(region));
	assert_int_equal(gm_region_huge(region), GM_HUGE_DEFAULT);
	assert_int_equal(gm_region_page_bytes(region), 0);
	assert_int_equal(gm_region_numa_policy(region), GM_NUMA_DEFAULT);
	assert_int_equal(gm_region_numa_node(region), 700);
	assert_true(gm_region_has_numa_node(region, 700));
	assert_false(gm_region_has_numa_node(region, 0));
	assert_false(gm_region_has_numa_node(region, -1));
	assert_false(gm_region_has_numa_node(region, INT32_MAX));
	assert_int_equal(gm_region_numa_result(region), 0);
	assert_non_null(gm_region_dirty(region));
	assert_int_equal(gm_dirty_bytes(gm_region_dirty(region)), 1);
	assert_int_equal(gm_dirty_page_bytes(gm_region_dirty(region)), 8192);
	gm_region_unref(region);
}

static void defaults_of_kinds(void **state)
{
	static const struct {
		enum gm_kind kind;
		enum gm_source source;
		unsigned prot;
	} defaults[] = {
		{ GM_RAM, GM_SOURCE_MEMFD, GM_READ | GM_WRITE },
		{ GM_FIRMWARE, GM_SOURCE_MEMFD, GM_READ },
		{ GM_DEVICE, GM_SOURCE_NONE, GM_READ | GM_WRITE },
		{ GM_DAX, GM_SOURCE_ANON, GM_READ | GM_WRITE },
		{ GM_RESERVED, GM_SOURCE_NONE, 0 },
	};
	struct gm_region *region;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++) {
		struct gm_region_opts opts = { PAGE, .kind = defaults[i].kind };

		assert_int_equal(gm_region_new(&opts, &region, NULL), 0);
		assert_int_equal(gm_region_source(region), defaults[i].source);
		assert_int_equal(gm_region_prot(region), defaults[i].prot);
		assert_int_equal(gm_region_hva(region) != NULL, defaults[i].source != GM_SOURCE_NONE);
		assert_int_equal(gm_region_is_dax(region), defaults[i].kind == GM_DAX);
		assert_int_equal(gm_region_numa_node(region), -1);
		assert_false(gm_region_has_numa_node(region, 0));
		assert_null(gm_region_dirty(region));
		assert_false(gm_region_is_hotplug(region));
		gm_region_unref(region);
	}
}

static void names_both_ways(void **state)
{
	static const char *const kinds[] = { "ram", "firmware", "device", "dax", "reserved" };
	static const struct {
		const char *name;
		enum gm_source source;
	} sources[] = {
		{ "none", GM_SOURCE_NONE },           { "anon", GM_SOURCE_ANON },
		{ "mmap", GM_SOURCE_ANON },           { "hugeanon", GM_SOURCE_HUGEANON },
		{ "hugemmap", GM_SOURCE_HUGEANON },   { "memfd", GM_SOURCE_MEMFD },
		{ "shmem", GM_SOURCE_MEMFD },         { "hugememfd", GM_SOURCE_HUGEMEMFD },
		{ "hugeshmem", GM_SOURCE_HUGEMEMFD }, { "hugetlbfs", GM_SOURCE_HUGETLBFS },
		{ "file", GM_SOURCE_FILE },           { "fd", GM_SOURCE_FD },
		{ "pointer", GM_SOURCE_POINTER },     { "callbacks", GM_SOURCE_CALLBACKS },
	};
	enum gm_source source;
	enum gm_kind kind;
	unsigned i;

	(void)state;
	for (i = 0; i < GM_KINDS; i++) {
		assert_string_equal(gm_kind_name((enum gm_kind)i), kinds[i]);
		assert_int_equal(gm_kind_from_name(kinds[i], &kind), 0);
		assert_int_equal(kind, i);
	}
	for (i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		assert_int_equal(gm_source_from_name(sources[i].name, &source), 0);
		assert_int_equal(source, sources[i].source);
		assert_int_equal(gm_source_from_name(gm_source_name(source), &source), 0);
		assert_int_equal(source, sources[i].source);
	}
	assert_null(gm_kind_name(GM_KINDS));
	assert_null(gm_kind_name((enum gm_kind) - 1));
	assert_null(gm_source_name(GM_SOURCES));
	assert_null(gm_source_name(GM_SOURCE_DEFAULT));
	kind = GM_DAX;
	source = GM_SOURCE_FD;
	assert_int_equal(gm_kind_from_name("RAM", &kind), -EINVAL);
	assert_int_equal(gm_kind_from_name(NULL, &kind), -EINVAL);
	assert_int_equal(gm_source_from_name("memfd ", &source), -EINVAL);
	assert_int_equal(gm_source_from_name(NULL, &source), -EINVAL);
	assert_int_equal(kind, GM_DAX);
	assert_int_equal(source, GM_SOURCE_FD);
}

static void the_last_reference_releases(void **state)
{
	int released = 0, survived = 0;
	struct gm_region_opts opts = {
		OPTS("x", sizeof(words)), .source = GM_SOURCE_POINTER, .hva = words,
		.release = release,       .opaque = &released,         .dirty_page_bytes = 4096,
	};
	struct gm_region *region;
	long n = 1;
	int r;

	(void)state;
	assert_int_equal(gm_region_new(&opts, &region, NULL), 0);
	assert_ptr_equal(gm_region_hva(region), words);
	assert_int_equal(gm_region_page_bytes(region), sysconf(_SC_PAGESIZE));
	assert_int_equal(gm_region_fd(region), -1);
	assert_false(gm_region_is_shareable(region));
	assert_ptr_equal(gm_region_ref(region), region);
	gm_region_unref(region);
	assert_int_equal(released, 0);
	gm_region_unref(region);
	assert_int_equal(released, 1);
	gm_region_unref(NULL);
	/* A constructor that fails does not release what it never had. */
	for (n = 1;; n++) {
		gmi_fault_arm(n, ENOMEM);
		r = gm_region_new(&opts, &region, NULL);
		if (!gmi_fault_fired())
			break;
		/* The dirty log has one step that it can do without: it fences when the kernel won't. */
		if (r == 0) {
			gm_region_unref(region);
			released--;
			survived++;
		} else {
			assert_int_equal(r, -ENOMEM);
		}
		assert_int_equal(released, 1);
	}
	gmi_fault_arm(0, 0);
	assert_true(n > 4);
	assert_int_equal(survived, 1);
	assert_int_equal(r, 0);
	gm_region_unref(region);
	assert_int_equal(released, 2);
}

static void ready_made(void **state)
{
	struct gm_region *region;
	struct gm_error error;
	char path[] = "/tmp/guestmem-firmware-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(gm_region_new_memory("m", gm_gpa(GM_GIB), 4 * GM_MIB, &region, NULL), 0);
	assert_int_equal(gm_region_kind(region), GM_RAM);
	assert_int_equal(gm_region_source(region), GM_SOURCE_MEMFD);
	assert_int_equal(gm_region_huge(region), GM_HUGE_TRANSPARENT);
	assert_int_equal(gm_region_mmap_flags(region), MAP_SHARED | MAP_NORESERVE);
	gm_region_unref(region);

	assert_int_equal(gm_region_new_memory("m", gm_gpa(GM_GIB), GM_MIB, &region, NULL), 0);
	assert_int_equal(gm_region_huge(region), GM_HUGE_DEFAULT);
	gm_region_unref(region);

	assert_int_equal(gm_region_new_firmware("f", gm_gpa(0), path, &region, &error), -EINVAL);
	assert_non_null(strstr(error.text, "no bytes"));
	assert_int_equal(ftruncate(fd, 8191), 0);
	assert_int_equal(gm_region_new_firmware("f", gm_gpa(0), path, &region, &error), -EINVAL);
	assert_non_null(strstr(error.text, "4 KiB"));
	assert_int_equal(pwrite(fd, "boot", 4, 8188), 4);
	assert_int_equal(gm_region_new_firmware("f", gm_gpa(0xffffe000), path, &region, &error), 0);
	assert_int_equal(gm_region_kind(region), GM_FIRMWARE);
	assert_int_equal(gm_region_source(region), GM_SOURCE_FILE);
	assert_int_equal(gm_region_prot(region), GM_READ);
	assert_int_equal(gm_region_last(region).value, 0xffffffff);
	assert_memory_equal((char *)gm_region_hva(region) + 8188, "boot", 4);
	assert_string_equal(gm_region_path(region), path);
	assert_false(gm_region_is_shareable(region));
	gm_region_unref(region);
	close(fd);
	unlink(path);
	assert_int_equal(gm_region_new_firmware("f", gm_gpa(0), path, &region, &error), -ENOENT);
	assert_int_equal(gm_region_new_firmware("f", gm_gpa(0), "/tmp", &region, &error), -EMEDIUMTYPE);
	assert_int_equal(gm_region_new_firmware("f", gm_gpa(0), NULL, &region, &error), -EINVAL);
	assert_int_equal(gm_region_new_firmware("f", gm_gpa(0), "", &region, &error), -EINVAL);

	assert_int_equal(gm_region_new_device("d", gm_gpa(0x3f8), 8, &io_both, words, &region, NULL), 0);
	assert_int_equal(gm_region_kind(region), GM_DEVICE);
	assert_int_equal(gm_region_source(region), GM_SOURCE_CALLBACKS);
	gm_region_unref(region);
	assert_int_equal(gm_region_new_device("d", gm_gpa(0x3f8), 8, NULL, NULL, &region, NULL), 0);
	assert_int_equal(gm_region_source(region), GM_SOURCE_NONE);
	gm_region_unref(region);

	assert_int_equal(gm_region_new_dax("w", gm_gpa(GM_TIB), 4 * GM_GIB, &region, NULL), 0);
	assert_int_equal(gm_region_source(region), GM_SOURCE_ANON);
	assert_int_equal(gm_region_mmap_flags(region), MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
	assert_true(gm_region_is_dax(region));
	gm_region_unref(region);
}

static void ranges_of_regions(void **state)
{
	struct gm_region *low, *high, *over;

	(void)state;
	assert_int_equal(gm_region_new_device("l", gm_gpa(0), 16, NULL, NULL, &low, NULL), 0);
	assert_int_equal(gm_region_new_device("h", gm_gpa(16), 16, NULL, NULL, &high, NULL), 0);
	assert_int_equal(gm_region_new_device("o", gm_gpa(15), 2, NULL, NULL, &over, NULL), 0);
	assert_false(gm_region_intersects(low, high));
	assert_true(gm_region_intersects(low, over));
	assert_true(gm_region_intersects(over, high));
	assert_true(gm_region_contains(low, gm_gpa(15)));
	assert_false(gm_region_contains(low, gm_gpa(16)));
	assert_false(gm_region_contains(high, gm_gpa(15)));
	gm_region_unref(low);
	gm_region_unref(high);
	gm_region_unref(over);
}

static int read_nothing(void *opaque, struct gm_offset offset, void *data, size_t bytes)
{
	(void)opaque;
	(void)offset;
	memset(data, 0, bytes);
	return 0;
}

static void note_release(void *opaque, void *hva, uint64_t bytes)
{
	assert_null(hva);
	*(uint64_t *)opaque += bytes;
}

/* What callbacks hang on may go when the region does, and not when its constructor fails. */
static void callbacks_are_released(void **state)
{
	const struct gm_region_io io = { .read = read_nothing };
	uint64_t released = 0;
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = "registers",
		.kind = GM_DEVICE,
		.bytes = 256,
		.prot = GM_READ,
		.fd = -1, /* as good as 0 where none is used */
		.io = &io,
		.opaque = &released,
		.release = note_release,
	};
	struct gm_region *region;

	(void)state;
	gmi_fault_arm(1, ENOMEM);
	assert_int_equal(gm_region_new(&opts, &region, NULL), -ENOMEM);
	gmi_fault_arm(0, 0);
	assert_int_equal(released, 0);
	assert_int_equal(gm_region_new(&opts, &region, NULL), 0);
	gm_region_unref(gm_region_ref(region));
	assert_int_equal(released, 0);
	gm_region_unref(region);
	assert_int_equal(released, 256);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(contradictions_are_refused),
		cmocka_unit_test(sentences_say_what_and_where),
		cmocka_unit_test(sizes_of_options),
		cmocka_unit_test(a_success_leaves_the_sentence_alone),
		cmocka_unit_test(attributes_are_read_back),
		cmocka_unit_test(defaults_of_kinds),
		cmocka_unit_test(names_both_ways),
		cmocka_unit_test(the_last_reference_releases),
		cmocka_unit_test(ready_made),
		cmocka_unit_test(ranges_of_regions),
		cmocka_unit_test(callbacks_are_released),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

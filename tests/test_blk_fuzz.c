/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The block device against drivers that mean it ill: rings of random content, and a thread that changes descriptors while the
 * device reads them. Whatever comes, the device ends each run, and writes nothing but what a chain offered it for writing.
 *
 * Canaries: memory that is not granted (firmware, a window, registers), memory that is read-only, and a page of granted memory
 * that no descriptor speaks of. The runs are the same on every machine.
 */
#include <pthread.h>
#include <unistd.h>

#include "blk_fixture.h"

#define PAGE        UINT64_C(4096)
#define SIZE        8
#define ROUNDS      100000 /* per kind of memory */
#define SECONDS_MAX 250    /* a device that hangs is killed */

/*
 * Granted memory: the rings, then what buffers and tables are made of. One more page stands before it in this process, but
 * at an address that does not come about by chance, not even from tables that a chain wrote itself.
 */
#define SILENT    UINT64_C(0x1e5d3c2b1a000)
#define RAM       UINT64_C(0x10000)
#define RAM_PAGES 8
#define DESC      (RAM + PAGE)
#define AVAIL     (DESC + 512)
#define USED      (DESC + 1024)
#define FIELD     (RAM + 2 * PAGE)
/* Canaries behind it, side by side, then a hole. */
#define READ_ONLY (RAM + RAM_PAGES * PAGE)
#define FIRMWARE  (READ_ONLY + PAGE)
#define WINDOW    (FIRMWARE + PAGE)
#define REGISTERS (WINDOW + PAGE)
#define HOLE      (REGISTERS + PAGE)
#define CANARIES  3

static const unsigned char canary_byte = 0xc5;

struct fuzz {
	struct gm_map *map;
	struct gm_memory *memory;
	unsigned char *ram;
	unsigned char *canaries; /* pages */
	struct blk_disk disk;
	struct vblk *vblk;
	struct test_random random;
	unsigned faults[VIRTQ_FAULTS];
	unsigned register_calls;
};

static int ram_read(void *opaque, struct gm_offset offset, void *data, size_t bytes)
{
	memcpy(data, (unsigned char *)opaque + offset.value, bytes);
	return 0;
}

static int ram_write(void *opaque, struct gm_offset offset, const void *data, size_t bytes)
{
	memcpy((unsigned char *)opaque + offset.value, data, bytes);
	return 0;
}

static int register_read(void *opaque, struct gm_offset offset, void *data, size_t bytes)
{
	(void)offset;
	memset(data, 0, bytes);
	++*(unsigned *)opaque;
	return 0;
}

static int register_write(void *opaque, struct gm_offset offset, const void *data, size_t bytes)
{
	(void)offset, (void)data, (void)bytes;
	++*(unsigned *)opaque;
	return 0;
}

static const struct gm_region_io ram_io = { ram_read, ram_write }, register_io = { register_read, register_write };

static struct gm_region *make_region(struct gm_region_opts opts)
{
	struct gm_region *region;
	struct gm_error error = { 0, "" };

	opts.size = sizeof(opts);
	if (gm_region_new(&opts, &region, &error) != 0)
		fail_msg("%s", error.text);
	return region;
}

static void make_memory(struct fuzz *fuzz, bool is_mapped)
{
	struct gm_region_opts ram = { .name = "ram", .first = gm_gpa(RAM + PAGE), .bytes = (RAM_PAGES - 1) * PAGE };
	struct gm_region *regions[6];
	struct gm_error error;
	unsigned i;

	if (is_mapped) {
		ram.source = GM_SOURCE_POINTER;
		ram.hva = fuzz->ram + PAGE;
	} else {
		ram.source = GM_SOURCE_CALLBACKS;
		ram.io = &ram_io;
		ram.opaque = fuzz->ram + PAGE;
	}
	regions[0] = make_region(ram);
	regions[1] = make_region((struct gm_region_opts){ .name = "read-only",
							  .first = gm_gpa(READ_ONLY),
							  .bytes = PAGE,
							  .source = GM_SOURCE_POINTER,
							  .prot = GM_READ,
							  .hva = fuzz->canaries });
	regions[2] = make_region((struct gm_region_opts){ .name = "firmware",
							  .kind = GM_FIRMWARE,
							  .first = gm_gpa(FIRMWARE),
							  .bytes = PAGE,
							  .source = GM_SOURCE_POINTER,
							  .prot = GM_READ | GM_WRITE,
							  .hva = fuzz->canaries + PAGE });
	regions[3] = make_region((struct gm_region_opts){ .name = "window",
							  .kind = GM_DAX,
							  .first = gm_gpa(WINDOW),
							  .bytes = PAGE,
							  .source = GM_SOURCE_POINTER,
							  .hva = fuzz->canaries + 2 * PAGE });
	regions[4] = make_region((struct gm_region_opts){ .name = "registers",
							  .kind = GM_DEVICE,
							  .first = gm_gpa(REGISTERS),
							  .bytes = PAGE,
							  .io = &register_io,
							  .opaque = &fuzz->register_calls });
	regions[5] = make_region((struct gm_region_opts){ .name = "silent",
							  .first = gm_gpa(SILENT),
							  .bytes = PAGE,
							  .source = GM_SOURCE_POINTER,
							  .hva = fuzz->ram });
	assert_int_equal(gm_map_new(NULL, regions, 6, &fuzz->map, &error), 0);
	assert_int_equal(gm_map_memory(fuzz->map, GM_ONLY_RAM, &fuzz->memory), 0);
	for (i = 0; i < 6; i++)
		gm_region_unref(regions[i]);
}

static void fuzz_init(struct fuzz *fuzz, bool is_mapped, uint64_t seed)
{
	struct vblk_disk disk = { .can_discard = true, .can_zero = true, .submit = blk_disk_submit };
	struct vblk_opts opts = { .name = "fuzzed", .disk = &disk };

	memset(fuzz, 0, sizeof(*fuzz));
	fuzz->random.state = seed;
	fuzz->ram = test_pages(RAM_PAGES * PAGE);
	fuzz->canaries = test_pages(CANARIES * PAGE);
	memset(fuzz->ram, canary_byte, PAGE);
	memset(fuzz->canaries, canary_byte, CANARIES * PAGE);
	make_memory(fuzz, is_mapped);
	fuzz->disk.size = 16 * 512 + 77;
	fuzz->disk.bytes = calloc(1, fuzz->disk.size);
	assert_non_null(fuzz->disk.bytes);
	disk.bytes = fuzz->disk.size;
	disk.opaque = &fuzz->disk;
	assert_int_equal(vblk_new(fuzz->memory, &opts, &fuzz->vblk), 0);
	assert_int_equal(vblk_set_features(fuzz->vblk, vblk_features(fuzz->vblk)), 0);
}

static void fuzz_fini(struct fuzz *fuzz)
{
	vblk_free(fuzz->vblk);
	gm_memory_unref(fuzz->memory);
	gm_map_unref(fuzz->map);
	free(fuzz->disk.bytes);
	munmap(fuzz->ram, RAM_PAGES * PAGE);
	munmap(fuzz->canaries, CANARIES * PAGE);
}

static void check_canaries(const struct fuzz *fuzz)
{
	/* A page of one byte equals itself moved by one. */
	assert_int_equal(fuzz->ram[0], canary_byte);
	assert_memory_equal(fuzz->ram, fuzz->ram + 1, PAGE - 1);
	assert_int_equal(fuzz->canaries[0], canary_byte);
	assert_memory_equal(fuzz->canaries, fuzz->canaries + 1, CANARIES * PAGE - 1);
	assert_int_equal(fuzz->register_calls, 0);
}

/* Good more often than not, or no chain would get past its first descriptor. */
static uint64_t random_address(struct test_random *random)
{
	switch (test_below(random, 32)) {
	case 0:
		return READ_ONLY - 1 + test_below(random, 4 * PAGE);
	case 1:
		return HOLE + test_below(random, PAGE);
	case 2:
		return UINT64_MAX - test_below(random, 1024);
	case 3:
		return DESC + test_below(random, 1200);
	case 4:
		return DESC + 1200 + test_below(random, PAGE - 1200); /* runs into FIELD */
	default:
		return FIELD + test_below(random, 5 * PAGE / 64) * 64;
	}
}

static uint32_t random_bytes(struct test_random *random)
{
	static const uint32_t usual[] = { 16, 16, 1, 1, 512, 512, 1024, 32, 48, 128, 20, 513 };

	switch (test_below(random, 40)) {
	case 0:
		return (uint32_t)test_random(random);
	case 1:
		return 0;
	case 2:
		return UINT32_MAX - (uint32_t)test_below(random, 32);
	default:
		return usual[test_below(random, sizeof(usual) / sizeof(usual[0]))];
	}
}

/* A table of descriptors that mostly makes chains: readable ones first, then writable ones, each to the next. */
static void random_table(struct test_random *random, unsigned char *table, unsigned count, bool is_indirect)
{
	struct virtq_desc desc;
	uint16_t flags;
	unsigned i;

	for (i = 0; i < count; i++) {
		flags = i % 4 >= 2 || test_below(random, 8) == 0 ? VIRTQ_DESC_F_WRITE : 0;
		if (i % 4 != 3 || test_below(random, 8) == 0)
			flags |= VIRTQ_DESC_F_NEXT;
		if (test_below(random, is_indirect ? 64 : 10) == 0) {
			flags |= VIRTQ_DESC_F_INDIRECT;
			flags &= test_below(random, 6) == 0 ? 0xffff : (uint16_t)~VIRTQ_DESC_F_NEXT;
		}
		desc.address = gm_le64(random_address(random));
		desc.bytes = gm_le32(random_bytes(random));
		desc.flags = gm_le16(flags);
		desc.next = gm_le16((uint16_t)(test_below(random, 12)  ? i + 1
					       : test_below(random, 2) ? test_below(random, SIZE)
								       : 0xff00));
		memcpy(table + i * sizeof(desc), &desc, sizeof(desc));
	}
}

/* Headers and tables stand where buffers are likely to point. */
static void random_field(struct fuzz *fuzz)
{
	static const uint32_t types[] = { VBLK_T_IN, VBLK_T_OUT,     VBLK_T_FLUSH,        VBLK_T_GET_ID,
					  VBLK_T_IN, VBLK_T_DISCARD, VBLK_T_WRITE_ZEROES, 99 };
	struct test_random *random = &fuzz->random;
	unsigned char *field = fuzz->ram + (FIELD - RAM);
	struct vblk_header header;
	unsigned i;

	for (i = 0; i < 5 * PAGE / 64; i++) {
		unsigned char *at = field + (size_t)i * 64;

		if (test_below(random, 16) == 0) {
			random_table(random, at, 4, true);
			continue;
		}
		header.type = gm_le32(types[test_below(random, 8)]);
		header.reserved = gm_le32(0);
		header.sector = gm_le64(test_below(random, 8) ? test_below(random, 17) : test_random(random));
		memcpy(at, &header, sizeof(header));
	}
}

static void random_rings(struct fuzz *fuzz)
{
	struct test_random *random = &fuzz->random;
	unsigned char *avail = fuzz->ram + (AVAIL - RAM);
	struct gm_le16 number;
	unsigned i, count;

	random_table(random, fuzz->ram + (DESC - RAM), SIZE, false);
	for (i = 0; i < SIZE; i++) {
		number = gm_le16(
			(uint16_t)(test_below(random, 20) ? 4 * test_below(random, 2) : test_below(random, 10)));
		memcpy(avail + VIRTQ_AVAIL_ENTRY(i), &number, sizeof(number));
	}
	count = (unsigned)test_below(random, 40);
	number = gm_le16((uint16_t)(count == 0 ? test_random(random) : 1 + count % SIZE));
	memcpy(avail + VIRTQ_INDEX, &number, sizeof(number));
	number = gm_le16((uint16_t)test_below(random, SIZE));
	memcpy(avail + VIRTQ_USED_EVENT(SIZE), &number, sizeof(number));
}

static void run_rings(struct fuzz *fuzz)
{
	const struct virtq_ring ring = {
		.desc = gm_gpa(DESC), .avail = gm_gpa(AVAIL), .used = gm_gpa(USED), .size = SIZE
	};
	int r;

	assert_int_equal(vblk_queue_set(fuzz->vblk, 0, &ring), 0);
	fuzz->disk.is_held = test_below(&fuzz->random, 4) == 0;
	r = vblk_queue_run(fuzz->vblk, 0);
	assert_true(r == -EBADMSG || (r >= 0 && r <= SIZE));
	fuzz->faults[vblk_queue_fault(fuzz->vblk, 0, NULL)]++;
	blk_disk_release(&fuzz->disk);
	assert_int_equal(vblk_queue_in_flight(fuzz->vblk, 0), 0);
	assert_int_equal(vblk_queue_unset(fuzz->vblk, 0, NULL), 0);
}

static void random_content(bool is_mapped, uint64_t seed)
{
	struct vblk_stats stats;
	struct fuzz fuzz;
	unsigned i;

	alarm(SECONDS_MAX);
	fuzz_init(&fuzz, is_mapped, seed);
	for (i = 0; i < ROUNDS; i++) {
		if (i % 16 == 0)
			random_field(&fuzz);
		random_rings(&fuzz);
		run_rings(&fuzz);
		check_canaries(&fuzz);
	}
	/* It got everywhere: a fuzzer that is refused at the door proves nothing. */
	for (i = 0; i < VIRTQ_FAULTS; i++) {
		print_message("%s: %u\n", virtq_fault_text(i), fuzz.faults[i]);
		assert_true(i == VIRTQ_NOT_NEGOTIATED || i == VIRTQ_BAD_RECORD || fuzz.faults[i] > 0);
	}
	vblk_queue_stats(fuzz.vblk, 0, &stats);
	print_message(
		"%llu requests: %llu bytes read, %llu written, bad %llu, unsupported %llu, memory %llu, lost %llu\n",
		(unsigned long long)stats.requests, (unsigned long long)stats.bytes_read,
		(unsigned long long)stats.bytes_written, (unsigned long long)stats.failed_request,
		(unsigned long long)stats.failed_unsupported, (unsigned long long)stats.failed_memory,
		(unsigned long long)stats.failed_lost);
	assert_true(stats.bytes_read > 100000 && stats.bytes_written > 100000 && stats.flushes > 100);
	assert_true(stats.failed_request > 100 && stats.failed_unsupported > 100 && stats.failed_memory > 100 &&
		    stats.failed_lost > 100);
	assert_true(fuzz.disk.ops[VBLK_DISCARD] > 0 && fuzz.disk.ops[VBLK_ZERO] > 0);
	fuzz_fini(&fuzz);
	alarm(0);
}

static void random_content_mapped(void **state)
{
	(void)state;
	random_content(true, UINT64_C(0x9e3779b97f4a7c15));
}

static void random_content_by_calls(void **state)
{
	(void)state;
	random_content(false, UINT64_C(0xd1b54a32d192ed03));
}

/*
 * Double fetches: a descriptor is good at one moment and bad at the next
 */

struct flipper {
	unsigned char *desc; /* descriptors in host memory */
	bool stop;           /* atomic */
};

static void flip64(unsigned char *at, uint64_t a, uint64_t b, unsigned turn)
{
	__atomic_store_n((uint64_t *)at, gm_le64(turn & 1 ? a : b).raw, __ATOMIC_RELAXED);
}

/* Addresses flip between data and the rings, sizes between one sector and far too much, directions between the two. */
static void *flip(void *opaque)
{
	struct flipper *flipper = opaque;
	const uint64_t data = VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE, next = UINT64_C(2) << 48;
	unsigned turn = 0;

	while (!__atomic_load_n(&flipper->stop, __ATOMIC_RELAXED)) {
		flip64(flipper->desc + 16, FIELD + PAGE, DESC + 16 * 7, turn);
		flip64(flipper->desc + 24, next | data << 32 | 512, next | data << 32 | (3 * PAGE), turn >> 1);
		flip64(flipper->desc + 32, FIELD, DESC + 16 * 7, turn >> 2);
		turn++;
	}
	return NULL;
}

static void set_desc(struct fuzz *fuzz, unsigned index, uint64_t at, uint32_t bytes, uint16_t flags, uint16_t next)
{
	const struct virtq_desc desc = { gm_le64(at), gm_le32(bytes), gm_le16(flags), gm_le16(next) };

	memcpy(fuzz->ram + (DESC - RAM) + index * 16, &desc, sizeof(desc));
}

/* What is refused is not written to, and what is written was accepted: the last descriptor never changes. */
static void changed_while_read(void **state)
{
	const struct vblk_header header = { .type = gm_le32(VBLK_T_IN) };
	struct gm_le16 one = gm_le16(1);
	unsigned char last[16];
	struct flipper flipper;
	struct fuzz fuzz;
	pthread_t thread;
	unsigned i;

	(void)state;
	/* The copy of a descriptor races with the guest: that is what is tested, and what it would report. */
	if (TEST_THREAD_SANITIZED)
		test_skip("ThreadSanitizer is right about this one");
	alarm(SECONDS_MAX);
	fuzz_init(&fuzz, true, 1);
	memset(fuzz.disk.bytes, 0xd5, fuzz.disk.size);
	memset(last, 0x11, sizeof(last));
	memcpy(fuzz.ram + (DESC - RAM) + 16 * 7, last, sizeof(last));
	memcpy(fuzz.ram + (AVAIL - RAM) + VIRTQ_INDEX, &one, sizeof(one));
	set_desc(&fuzz, 0, FIELD + 2048, 16, VIRTQ_DESC_F_NEXT, 1);
	set_desc(&fuzz, 1, FIELD + PAGE, 512, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE, 2);
	set_desc(&fuzz, 2, FIELD, 1, VIRTQ_DESC_F_WRITE, 0);
	memcpy(fuzz.ram + (FIELD - RAM) + 2048, &header, sizeof(header));
	flipper = (struct flipper){ .desc = fuzz.ram + (DESC - RAM) };
	assert_int_equal(pthread_create(&thread, NULL, flip, &flipper), 0);
	for (i = 0; i < 100000; i++) {
		run_rings(&fuzz);
		assert_memory_equal(fuzz.ram + (DESC - RAM) + 16 * 7, last, sizeof(last));
		check_canaries(&fuzz);
	}
	__atomic_store_n(&flipper.stop, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	print_message("%u accepted, %u refused\n", fuzz.faults[VIRTQ_GOOD], fuzz.faults[VIRTQ_BUFFER_IN_RINGS]);
	assert_true(fuzz.faults[VIRTQ_GOOD] > 0 && fuzz.faults[VIRTQ_BUFFER_IN_RINGS] > 0);
	fuzz_fini(&fuzz);
	alarm(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_content_mapped),
		cmocka_unit_test(random_content_by_calls),
		cmocka_unit_test(changed_while_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

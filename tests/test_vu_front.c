/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The front-end's side of vhost-user against a back-end that nobody here wrote: qemu-storage-daemon serves a disk over the memory of a
 * space, through rings of devices/guest_blk.h. Skipped where it is not installed.
 *
 * usage: test_vu_front [TOOL]: with "TOOL blk", the tool's own server, in its place
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <guestmem/vhost_user_front.h>

#include "guest_blk.h"

#define MIB         UINT64_C(0x100000)
#define RAM_BYTES   (8 * MIB)
#define EXTRA_FIRST UINT64_C(0x100000000)
#define DISK_BYTES  (16 * MIB)
#define QUEUE_SIZE  64
#define FEATURES    (VBLK_F_VERSION_1 | VBLK_F_INDIRECT_DESC | VBLK_F_FLUSH)
#define DAEMON      "/usr/bin/qemu-storage-daemon"

static const char *tool;

/* A daemon, a machine of two regions of one file (as an emulator makes them), and a queue. */
struct world {
	char folder[64], image[96], socket[96];
	pid_t daemon;
	struct gm_space *space;
	struct gm_memory *memory;
	struct gm_region *low, *high;
	struct gm_view view;
	struct gm_vu_front *front;
	struct gblk *gblk;
	int kick, call;
	uint16_t requests;
};

static struct gm_region *make_part(const char *name, uint64_t first, uint64_t bytes, int fd, uint64_t offset)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.kind = GM_RAM,
		.source = GM_SOURCE_FD,
		.first = gm_gpa(first),
		.bytes = bytes,
		.fd = fd,
		.fd_offset = offset,
		.dirty_page_bytes = 4096,
	};
	struct gm_region *region;

	assert_int_equal(gm_region_new(&opts, &region, NULL), 0);
	return region;
}

static void update(struct world *world, struct gm_region *out, struct gm_region *in)
{
	struct gm_update *update = gm_update_begin(world->space);
	struct gm_error error = { 0 };

	if (out != NULL)
		gm_update_remove(update, out);
	if (in != NULL)
		gm_update_insert(update, in);
	if (gm_update_commit(update, &error) != 0)
		fail_msg("%s", error.text);
}

static void start_daemon(struct world *world)
{
	char export[256], block[192];
	int fd;

	strcpy(world->folder, "/tmp/guestmem-front-XXXXXX");
	assert_non_null(mkdtemp(world->folder));
	snprintf(world->image, sizeof(world->image), "%s/image", world->folder);
	snprintf(world->socket, sizeof(world->socket), "%s/socket", world->folder);
	fd = open(world->image, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)DISK_BYTES), 0);
	close(fd);
	snprintf(block, sizeof(block), "driver=file,node-name=d,filename=%s", world->image);
	snprintf(export, sizeof(export), "type=vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path=%s,writable=on",
		 world->socket);
	world->daemon = fork();
	assert_true(world->daemon >= 0);
	if (world->daemon == 0) {
		/* A test that fails leaves nothing running. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (tool != NULL)
			execl(tool, tool, "blk", "--socket", world->socket, world->image, (char *)NULL);
		execl(DAEMON, DAEMON, "--blockdev", block, "--export", export, (char *)NULL);
		_exit(127);
	}
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timespec pause = { .tv_nsec = 10000000 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), tries;

	assert_true(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	for (tries = 0; connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0; tries++) {
		assert_true(tries < 1000);
		nanosleep(&pause, NULL);
	}
	return fd;
}

static void start_queue(struct world *world)
{
	struct gblk_opts opts = {
		.memory = world->memory,
		.at = gm_gpa(MIB),
		.size = QUEUE_SIZE,
		.segments_max = 16,
		.indirect = true,
	};
	struct gm_vu_front_ring ring = { .err_fd = -1 };
	struct virtq_ring where;
	struct gm_error error;

	assert_int_equal(gblk_new(&opts, &world->gblk), 0);
	where = gblk_ring(world->gblk);
	ring.desc = where.desc;
	ring.avail = where.avail;
	ring.used = where.used;
	ring.size = where.size;
	ring.kick_fd = world->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ring.call_fd = world->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (gm_vu_front_ring_start(world->front, 0, &ring, &error) != 0)
		fail_msg("%s", error.text);
}

static void set_up(struct world *world, uint64_t without)
{
	struct gm_vu_front_opts opts = { .size = sizeof(opts), .without = without };
	struct gm_error error;
	int fd;

	memset(world, 0, sizeof(*world));
	start_daemon(world);
	assert_int_equal(gm_space_new(NULL, &world->space, NULL), 0);
	assert_int_equal(gm_space_memory(world->space, GM_ONLY_RAM, &world->memory), 0);
	assert_int_equal(gm_view_init(&world->view, world->memory, "test", 0), 0);
	/* The hole below 1 MiB, as in a PC: two regions of one file. */
	fd = memfd_create("ram", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)RAM_BYTES), 0);
	world->low = make_part("low", 0, 0xa0000, fd, 0);
	world->high = make_part("high", 0xc0000, RAM_BYTES - 0xc0000, fd, 0xc0000);
	close(fd);
	update(world, NULL, world->low);
	update(world, NULL, world->high);
	if (gm_vu_front_new(connect_to(world->socket), &opts, &world->front, &error) != 0 ||
	    gm_vu_front_set_features(world->front, FEATURES, &error) != 0 ||
	    gm_vu_front_attach(world->front, world->space, &error) != 0)
		fail_msg("%s", error.text);
	start_queue(world);
}

static void tear_down(struct world *world)
{
	uint16_t next;

	assert_int_equal(gm_vu_front_ring_stop(world->front, 0, &next, NULL), 0);
	/* It has taken what was there, and nothing else. */
	assert_int_equal(next, world->requests);
	gblk_free(world->gblk);
	gm_vu_front_free(world->front);
	gm_view_fini(&world->view);
	gm_memory_unref(world->memory);
	gm_region_unref(world->low);
	gm_region_unref(world->high);
	gm_space_unref(world->space);
	close(world->kick);
	close(world->call);
	kill(world->daemon, SIGTERM);
	waitpid(world->daemon, NULL, 0);
	unlink(world->image);
	unlink(world->socket);
	rmdir(world->folder);
}

/* One request, waited for. Return: its status. */
static uint8_t transfer(struct world *world, uint32_t type, uint64_t sector, struct gblk_segment *segments,
			uint32_t count)
{
	struct gblk_request request = {
		.type = type, .sector = sector, .segments = segments, .segments_count = count, .cookie = 7
	};
	struct pollfd call = { .fd = world->call, .events = POLLIN };
	struct gblk_result result = { 0 };
	uint64_t one = 1;
	int r;

	assert_int_equal(gblk_add(world->gblk, &request), 0);
	world->requests++;
	r = gblk_kick(world->gblk);
	assert_true(r >= 0);
	if (r > 0)
		assert_int_equal(write(world->kick, &one, sizeof(one)), sizeof(one));
	/* Not before it is called: until then, what was written need not be in the log. */
	do {
		assert_int_equal(poll(&call, 1, 20000), 1);
		assert_int_equal(read(world->call, &one, sizeof(one)), sizeof(one));
	} while ((r = gblk_reap(world->gblk, &result)) == 0);
	assert_int_equal(r, 1);
	assert_int_equal(result.cookie, 7);
	return result.status;
}

static void put(struct world *world, uint64_t at, unsigned char byte, uint64_t bytes)
{
	gm_view_enter(&world->view);
	assert_int_equal(gm_fill(&world->view, gm_gpa(at), byte, bytes), 0);
	gm_view_leave(&world->view);
}

static void expect(struct world *world, uint64_t at, unsigned char byte, uint64_t bytes)
{
	unsigned char *data = malloc(bytes);
	uint64_t i;

	assert_non_null(data);
	gm_view_enter(&world->view);
	assert_int_equal(gm_read(&world->view, gm_gpa(at), data, bytes), 0);
	gm_view_leave(&world->view);
	for (i = 0; i < bytes; i++)
		assert_int_equal(data[i], byte);
	free(data);
}

static bool has_daemon(void)
{
	return access(tool != NULL ? tool : DAEMON, X_OK) == 0;
}

/* A write from @from, and a read of the same to @to. */
static void copy_by_disk(struct world *world, uint64_t from, uint64_t to, unsigned char byte, uint32_t bytes)
{
	struct gblk_segment source = { gm_gpa(from), bytes }, target = { gm_gpa(to), bytes };

	put(world, from, byte, bytes);
	put(world, to, (unsigned char)~byte, bytes);
	assert_int_equal(transfer(world, VBLK_T_OUT, 8, &source, 1), VBLK_S_OK);
	assert_int_equal(transfer(world, VBLK_T_IN, 8, &target, 1), VBLK_S_OK);
	expect(world, to, byte, bytes);
}

static void plug_and_unplug(uint64_t without)
{
	struct vblk_config config;
	struct gm_region *extra;
	struct world world;
	int fd, round;

	if (!has_daemon())
		test_skip("no " DAEMON);
	set_up(&world, without);
	assert_int_equal(gm_vu_front_config_read(world.front, 0, &config, VBLK_CONFIG_BYTES, NULL), 0);
	assert_int_equal(gm_le64_get(config.capacity), DISK_BYTES / 512);
	/* Both parts of the one file, the low one at an address of its own. */
	copy_by_disk(&world, 4 * MIB, 0x10000, 0x11, 0x8000);
	for (round = 0; round < 8; round++) {
		fd = memfd_create("extra", MFD_CLOEXEC);
		assert_int_equal(ftruncate(fd, (off_t)MIB), 0);
		extra = make_part("extra", EXTRA_FIRST, MIB, fd, 0);
		close(fd);
		update(&world, NULL, extra);
		copy_by_disk(&world, EXTRA_FIRST, 4 * MIB, (unsigned char)(round + 1), 0x20000);
		copy_by_disk(&world, 5 * MIB, EXTRA_FIRST + 0x40000, (unsigned char)(round + 100), 0x20000);
		update(&world, extra, NULL);
		gm_region_unref(extra);
	}
	tear_down(&world);
}

static void one_by_one(void **state)
{
	(void)state;
	plug_and_unplug(0);
}

static void whole_tables(void **state)
{
	(void)state;
	plug_and_unplug(GM_VU_FRONT_MEM_SLOTS);
}

static void unacknowledged(void **state)
{
	(void)state;
	plug_and_unplug(GM_VU_FRONT_REPLY_ACK);
}

static uint64_t collect(struct gm_dirty_reader *reader, struct gm_dirty_range *ranges, size_t room)
{
	struct gm_offset next;
	size_t count;

	assert_int_equal(gm_dirty_collect(reader, gm_offset(0), UINT64_MAX, ranges, room, &count, &next), 0);
	return count;
}

/* Pages that the back-end writes are in the regions' logs; those of a region that goes, when it has gone. */
static void logs_writes(void **state)
{
	struct gblk_segment target = { gm_gpa(6 * MIB), 0x3000 }, far = { gm_gpa(EXTRA_FIRST + 0x5000), 0x1000 };
	struct gm_dirty_reader *reader, *extra_reader;
	struct gm_dirty_range ranges[16];
	struct gm_region *extra;
	struct world world;
	int fd;

	(void)state;
	if (!has_daemon())
		test_skip("no " DAEMON);
	set_up(&world, 0);
	assert_int_equal(gm_vu_front_log_sync(world.front), -EINVAL);
	assert_int_equal(gm_vu_front_log(world.front, true, NULL), 0);
	assert_int_equal(gm_dirty_reader_new(gm_region_dirty(world.high), &reader), 0);
	assert_int_equal(transfer(&world, VBLK_T_IN, 0, &target, 1), VBLK_S_OK);
	assert_int_equal(gm_vu_front_log_sync(world.front), 0);
	/* The queue's own pages, and the three of the data. */
	assert_true(collect(reader, ranges, 16) >= 2);
	assert_true(gm_region_first(world.high).value + ranges[1].first.value >= MIB);
	while (collect(reader, ranges, 16) > 0)
		;
	assert_int_equal(transfer(&world, VBLK_T_IN, 0, &target, 1), VBLK_S_OK);
	assert_int_equal(gm_vu_front_log_sync(world.front), 0);
	assert_true(gm_dirty_is_marked(reader, gm_offset(6 * MIB - 0xc0000)));
	assert_true(gm_dirty_is_marked(reader, gm_offset(6 * MIB - 0xc0000 + 0x2000)));
	assert_false(gm_dirty_is_marked(reader, gm_offset(6 * MIB - 0xc0000 + 0x3000)));
	assert_false(gm_dirty_is_marked(reader, gm_offset(6 * MIB - 0xc0000 - 0x1000)));

	/* Far above the log that there is. */
	fd = memfd_create("extra", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)MIB), 0);
	extra = make_part("extra", EXTRA_FIRST, MIB, fd, 0);
	close(fd);
	assert_int_equal(gm_dirty_reader_new(gm_region_dirty(extra), &extra_reader), 0);
	update(&world, NULL, extra);
	assert_int_equal(transfer(&world, VBLK_T_IN, 0, &far, 1), VBLK_S_OK);
	update(&world, extra, NULL);
	assert_int_equal(collect(extra_reader, ranges, 16), 1);
	assert_int_equal(ranges[0].first.value, 0x5000);
	assert_int_equal(ranges[0].last.value, 0x5fff);
	gm_dirty_reader_free(extra_reader);
	gm_region_unref(extra);

	while (collect(reader, ranges, 16) > 0)
		;
	assert_int_equal(gm_vu_front_log(world.front, false, NULL), 0);
	gm_dirty_reader_free(reader);
	tear_down(&world);
}

/* What can't be shared is refused before anything has happened; so is the memory under a ring. */
static void refuses(void **state)
{
	unsigned char *pages = test_pages(MIB);
	struct gm_region *private;
	struct gm_update *update;
	struct gm_error error;
	struct world world;

	(void)state;
	if (!has_daemon())
		test_skip("no " DAEMON);
	set_up(&world, 0);
	private = test_ram("private", EXTRA_FIRST, MIB, pages);
	update = gm_update_begin(world.space);
	gm_update_insert(update, private);
	assert_int_equal(gm_update_commit(update, &error), -EPERM);
	assert_non_null(strstr(error.text, "'private'"));
	update = gm_update_begin(world.space);
	gm_update_remove(update, world.high);
	assert_int_equal(gm_update_commit(update, &error), -EBUSY);
	assert_int_equal(gm_vu_front_detach(world.front), -EBUSY);
	assert_int_equal(gm_vu_front_attach(world.front, world.space, &error), -EALREADY);
	assert_int_equal(gm_vu_front_set_features(world.front, FEATURES, &error), -EBUSY);
	assert_int_equal(gm_vu_front_set_features(world.front, UINT64_C(1) << 63, &error), -EINVAL);
	copy_by_disk(&world, 4 * MIB, 5 * MIB, 0x77, 0x1000);
	tear_down(&world);
	gm_region_unref(private);
	munmap(pages, MIB);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_by_one),  cmocka_unit_test(whole_tables), cmocka_unit_test(unacknowledged),
		cmocka_unit_test(logs_writes), cmocka_unit_test(refuses),
	};

	tool = argc > 1 ? argv[1] : NULL;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

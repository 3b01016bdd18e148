/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* See blk_fixture.h. Owns all that a machine is made of. */
#include "blk_fixture.h"

#include <sys/uio.h>

/* In the space, each region's bytes stand apart, so that nothing is joined behind our back. */
#define HOST_STRIDE (2 * BLK_REGION_BYTES)

static int host_read(void *opaque, struct gm_offset offset, void *data, size_t bytes)
{
	const struct blk_machine *machine = opaque;

	memcpy(data, machine->host + offset.value, bytes);
	return 0;
}

static int host_write(void *opaque, struct gm_offset offset, const void *data, size_t bytes)
{
	struct blk_machine *machine = opaque;

	memcpy(machine->host + offset.value, data, bytes);
	if (machine->on_write != NULL)
		machine->on_write(machine, BLK_BASE + offset.value, bytes);
	return 0;
}

static const struct gm_region_io host_io = { .read = host_read, .write = host_write };

static void make_space(struct blk_machine *machine, const struct blk_opts *opts)
{
	struct gm_error error = { 0, "" };
	struct gm_update *update;
	char name[32];
	unsigned i;

	assert_int_equal(gm_space_new(NULL, &machine->space, &error), 0);
	update = gm_update_begin(machine->space);
	for (i = 0; i < BLK_REGIONS; i++) {
		snprintf(name, sizeof(name), "ram%u", i);
		assert_int_equal(
			gm_region_new(&(struct gm_region_opts){ .size = sizeof(struct gm_region_opts),
								.name = name,
								.kind = GM_RAM,
								.first = gm_gpa(BLK_BASE + i * BLK_REGION_BYTES),
								.bytes = BLK_REGION_BYTES,
								.source = GM_SOURCE_POINTER,
								.hva = machine->host + i * HOST_STRIDE,
								.dirty_page_bytes = opts->dirty_page_bytes },
				      &machine->regions[i], &error),
			0);
		assert_int_equal(gm_update_insert(update, machine->regions[i]), 0);
	}
	assert_int_equal(gm_update_commit(update, &error), 0);
	assert_int_equal(gm_space_memory(machine->space, GM_ONLY_RAM, &machine->memory), 0);
}

static void make_map(struct blk_machine *machine, const struct blk_opts *opts)
{
	struct gm_region_opts region = {
		.size = sizeof(region),
		.name = "ram",
		.kind = GM_RAM,
		.first = gm_gpa(BLK_BASE),
		.bytes = BLK_BYTES,
		.dirty_page_bytes = opts->dirty_page_bytes,
	};
	struct gm_error error = { 0, "" };

	if (opts->world == BLK_CALLBACKS) {
		region.source = GM_SOURCE_CALLBACKS;
		region.io = &host_io;
		region.opaque = machine;
	} else if (opts->shared) {
		machine->shared_fd = memfd_create("shared", MFD_CLOEXEC);
		assert_int_equal(ftruncate(machine->shared_fd, BLK_BYTES), 0);
		region.source = GM_SOURCE_FD;
		region.fd = machine->shared_fd;
	} else {
		region.source = GM_SOURCE_POINTER;
		region.hva = machine->host;
	}
	if (gm_region_new(&region, &machine->regions[0], &error) != 0)
		fail_msg("%s", error.text);
	assert_int_equal(gm_map_new(NULL, machine->regions, 1, &machine->map, &error), 0);
	assert_int_equal(gm_map_memory(machine->map, GM_ONLY_RAM, &machine->memory), 0);
}

static void on_interrupt(void *opaque, unsigned queue)
{
	assert_int_equal(queue, 0);
	((struct blk_machine *)opaque)->interrupts++;
}

static void on_broken(void *opaque, unsigned queue)
{
	assert_int_equal(queue, 0);
	((struct blk_machine *)opaque)->breaks++;
}

static void make_device(struct blk_machine *machine, const struct blk_opts *opts)
{
	struct vblk_disk disk = {
		.bytes = machine->disk.size,
		.id = "a disk in memory",
		.can_discard = true,
		.can_zero = true,
		.submit = blk_disk_submit,
		.opaque = &machine->disk,
	};
	struct vblk_opts device = {
		.name = "disk0",
		.disk = &disk,
		.read_only = opts->read_only,
		.interrupt = on_interrupt,
		.broken = on_broken,
		.opaque = machine,
	};
	uint64_t features;
	struct virtq_ring ring;

	assert_int_equal(vblk_new(machine->memory, &device, &machine->vblk), 0);
	features = vblk_features(machine->vblk) & ~opts->refuse;
	assert_int_equal(vblk_set_features(machine->vblk, features), 0);
	assert_int_equal(gblk_new(&(struct gblk_opts){ .memory = machine->memory,
						       .at = gm_gpa(BLK_DRIVER),
						       .size = opts->size ? opts->size : 64,
						       .segments_max = opts->segments_max ? opts->segments_max : 16,
						       .indirect = features & VBLK_F_INDIRECT_DESC,
						       .event_index = features & VBLK_F_EVENT_IDX },
				  &machine->gblk),
			 0);
	ring = gblk_ring(machine->gblk);
	assert_int_equal(vblk_queue_set(machine->vblk, 0, &ring), 0);
}

void blk_machine_init(struct blk_machine *machine, const struct blk_opts *opts)
{
	memset(machine, 0, sizeof(*machine));
	machine->world = opts->world;
	machine->shared_fd = -1;
	machine->host = test_pages(BLK_REGIONS * HOST_STRIDE);
	if (opts->world == BLK_SPACE)
		make_space(machine, opts);
	else
		make_map(machine, opts);
	assert_int_equal(gm_view_init(&machine->view, machine->memory, "test", 0), 0);
	machine->disk.size = opts->disk_bytes ? opts->disk_bytes : 1024 * 1024;
	machine->disk.bytes = calloc(1, machine->disk.size);
	assert_non_null(machine->disk.bytes);
	blk_pattern(machine->disk.bytes, machine->disk.size, 1);
	make_device(machine, opts);
}

void blk_machine_fini(struct blk_machine *machine)
{
	unsigned i;

	vblk_free(machine->vblk);
	gblk_free(machine->gblk);
	assert_int_equal(gm_view_fini(&machine->view), 0);
	gm_memory_unref(machine->memory);
	gm_map_unref(machine->map);
	gm_space_unref(machine->space);
	for (i = 0; i < BLK_REGIONS; i++)
		gm_region_unref(machine->regions[i]);
	if (machine->shared_fd >= 0)
		close(machine->shared_fd);
	free(machine->disk.bytes);
	munmap(machine->host, BLK_REGIONS * HOST_STRIDE);
}

void blk_put(struct blk_machine *machine, uint64_t at, const void *data, size_t bytes)
{
	gm_view_enter(&machine->view);
	assert_int_equal(gm_write(&machine->view, gm_gpa(at), data, bytes), 0);
	gm_view_leave(&machine->view);
}

void blk_get(struct blk_machine *machine, uint64_t at, void *data, size_t bytes)
{
	gm_view_enter(&machine->view);
	assert_int_equal(gm_read(&machine->view, gm_gpa(at), data, bytes), 0);
	gm_view_leave(&machine->view);
}

/* Short where the disk ends, as a file is. */
static int64_t move(struct blk_disk *disk, struct vblk_io *io)
{
	uint64_t at = io->offset, done = 0, total = 0;
	unsigned i;

	for (i = 0; i < io->iovecs_count; i++)
		total += io->iovecs[i].iov_len;
	assert_int_equal(total, io->bytes);
	for (i = 0; i < io->iovecs_count; i++) {
		uint64_t room = at < disk->size ? disk->size - at : 0;
		size_t bytes = io->iovecs[i].iov_len < room ? io->iovecs[i].iov_len : room;

		if (io->op == VBLK_READ)
			memcpy(io->iovecs[i].iov_base, disk->bytes + at, bytes);
		else
			memcpy(disk->bytes + at, io->iovecs[i].iov_base, bytes);
		at += bytes;
		done += bytes;
	}
	return (int64_t)done;
}

static void execute(struct blk_disk *disk, struct vblk_io *io)
{
	int64_t result = 0;

	if (disk->on_transfer != NULL)
		disk->on_transfer(disk->opaque);
	disk->ops[io->op]++;
	disk->may_unmap = io->may_unmap;
	if (io->iovecs_count > disk->iovecs_max && (io->op == VBLK_READ || io->op == VBLK_WRITE))
		disk->iovecs_max = io->iovecs_count;
	if (disk->fail != 0) {
		result = -disk->fail;
	} else if (io->op == VBLK_READ || io->op == VBLK_WRITE) {
		result = move(disk, io);
	} else if (io->op != VBLK_FLUSH) {
		assert_true(io->bytes > 0 && io->offset < disk->size && io->bytes <= disk->size - io->offset);
		memset(disk->bytes + io->offset, 0, io->bytes);
	}
	vblk_io_done(io, result);
}

void blk_disk_submit(void *opaque, struct vblk_io *io)
{
	struct blk_disk *disk = opaque;

	if (!disk->is_held) {
		execute(disk, io);
		return;
	}
	assert_true(disk->pending_count < BLK_PENDING_MAX);
	disk->pending[disk->pending_count++] = io;
}

void blk_disk_release(struct blk_disk *disk)
{
	unsigned i;

	disk->is_held = false;
	for (i = 0; i < disk->pending_count; i++)
		execute(disk, disk->pending[i]);
	disk->pending_count = 0;
}

void blk_submit(struct blk_machine *machine, const struct gblk_request *request)
{
	assert_int_equal(gblk_add(machine->gblk, request), 0);
	assert_true(gblk_kick(machine->gblk) >= 0);
	assert_int_equal(vblk_queue_run(machine->vblk, 0), 1);
}

struct gblk_result blk_do(struct blk_machine *machine, const struct gblk_request *request)
{
	struct gblk_result result;

	blk_submit(machine, request);
	assert_int_equal(gblk_reap(machine->gblk, &result), 1);
	assert_int_equal(result.cookie, request->cookie);
	return result;
}

uint8_t blk_one(struct blk_machine *machine, uint32_t type, uint64_t sector, uint64_t at, uint32_t bytes)
{
	struct gblk_segment segment = { gm_gpa(at), bytes };

	return blk_do(machine, &(struct gblk_request){ .type = type,
						       .sector = sector,
						       .segments = &segment,
						       .segments_count = bytes > 0,
						       .cookie = at })
		.status;
}

void blk_pattern(unsigned char *data, size_t bytes, uint32_t seed)
{
	size_t i;

	for (i = 0; i < bytes; i++)
		data[i] = (unsigned char)((i * 2654435761u + seed * 40503u) >> 13 ^ i >> 9);
}

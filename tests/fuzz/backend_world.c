/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "backend_world.h"
#include "left.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* Turns after which everything has stopped that was asked to. */
#define TURNS_MAX 4

/* Before the input. */
static struct left before;
static int disk = -1;

/* Once per process: what stays. */
static bool prepare(void)
{
	static bool is_prepared;

	if (is_prepared)
		return true;
	disk = memfd_create("disk", MFD_CLOEXEC);
	if (disk < 0 || ftruncate(disk, DISK_BYTES) != 0 || gm_fault_guard_install(NULL) != 0)
		return false;
	is_prepared = true;
	return true;
}

static int new_file(const char *name, off_t bytes)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	fuzz_check(fd >= 0 && ftruncate(fd, bytes) == 0);
	return fd;
}

static int make_special(struct world *world, enum world_file which)
{
	char path[64];
	int fd;

	switch (which) {
	case FILE_SEALED:
		fd = new_file("sealed", 4 * FUZZ_PAGE);
		fuzz_check(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) == 0);
		return fd;
	case FILE_READ_ONLY:
		snprintf(path, sizeof(path), "/proc/self/fd/%d", world_file(world, FILE_RAM));
		return open(path, O_RDONLY | O_CLOEXEC);
	case FILE_EVENT:
		return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	case FILE_EVENT_BLOCKING:
		/* A write to it would block for ever. */
		fd = eventfd(0, EFD_CLOEXEC);
		fuzz_check(eventfd_write(fd, UINT64_MAX - 1) == 0);
		return fd;
	case FILE_NULL:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case FILE_FOLDER:
		return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	default:
		return dup(world->socket);
	}
}

int world_file(struct world *world, enum world_file which)
{
	static const off_t sizes[] = { 16 * FUZZ_PAGE, 16 * FUZZ_PAGE, 3 * FUZZ_PAGE + 100, 0, 2 * FUZZ_PAGE };
	int *fd = &world->files[which];

	if (*fd >= 0)
		return *fd;
	if (which <= FILE_LOG)
		*fd = new_file("ram", sizes[which]);
	else if (which == FILE_PIPE || which == FILE_PIPE_WRITE)
		fuzz_check(pipe2(&world->files[FILE_PIPE], O_CLOEXEC) == 0);
	else
		*fd = make_special(world, which);
	fuzz_check(*fd >= 0);
	return *fd;
}

/*
 * The disk: by the kernel, as io_uring does it, so that memory that has gone is its business
 */

static void transfer(struct vblk_io *io)
{
	int64_t result = 0;

	fuzz_check(io->offset <= DISK_BYTES && io->bytes <= DISK_BYTES - io->offset);
	if (io->op == VBLK_READ)
		result = preadv(disk, io->iovecs, (int)io->iovecs_count, (off_t)io->offset);
	else if (io->op == VBLK_WRITE)
		result = pwritev(disk, io->iovecs, (int)io->iovecs_count, (off_t)io->offset);
	vblk_io_done(io, result < 0 ? -errno : result);
}

static void submit(void *opaque, struct vblk_io *io)
{
	struct world *world = opaque;

	if (world->is_disk_held && world->pending_count < WORLD_PENDING)
		world->pending[world->pending_count++] = io;
	else
		transfer(io);
}

void world_let_go(struct world *world)
{
	world->is_disk_held = false;
	for (unsigned i = 0; i < world->pending_count; i++)
		transfer(world->pending[i]);
	world->pending_count = 0;
	gm_map_unref(world->held);
	world->held = NULL;
}

void world_hold(struct world *world)
{
	if (world->held == NULL && gm_space_map(world->space, "somebody", &world->held) != 0)
		world->held = NULL;
}

/*
 * The device, as a server has it
 */

static void on_interrupt(void *opaque, unsigned index)
{
	struct world *world = opaque;

	world->queues[index].is_interrupt = true;
}

static void on_broken(void *opaque, unsigned index)
{
	struct world *world = opaque;

	gm_vu_queue_broken(world->vu, index);
}

static int set_features(void *opaque, uint64_t features)
{
	struct world *world = opaque;

	for (unsigned i = 0; i < WORLD_QUEUES; i++)
		fuzz_check(!world->queues[i].is_set);
	fuzz_check((features & ~vblk_features(world->vblk)) == 0);
	world->is_legacy = !(features & VBLK_F_VERSION_1);
	return world->is_legacy ? 0 : vblk_set_features(world->vblk, features);
}

static int config_read(void *opaque, uint32_t offset, void *data, uint32_t bytes)
{
	struct world *world = opaque;

	fuzz_check(offset <= VBLK_CONFIG_BYTES && bytes <= VBLK_CONFIG_BYTES - offset);
	return vblk_config_read(world->vblk, offset, data, bytes);
}

static int config_write(void *opaque, uint32_t offset, const void *data, uint32_t bytes)
{
	unsigned char copy[VBLK_CONFIG_BYTES];

	(void)opaque;
	fuzz_check(offset <= VBLK_CONFIG_BYTES && bytes <= VBLK_CONFIG_BYTES - offset);
	memcpy(copy, data, bytes);
	/* One way or the other, as the driver chose. */
	return bytes > 0 && copy[0] == 1 ? -EIO : 0;
}

/* What the adapter promises of a ring: all of it stands in memory, contiguous, as of now. */
static void check_ring(struct world *world, const struct gm_vu_ring *ring)
{
	struct gm_view view;

	fuzz_check(ring->size > 0 && (ring->size & (ring->size - 1)) == 0);
	fuzz_check(ring->desc.value % 16 == 0 && ring->avail.value % 2 == 0 && ring->used.value % 4 == 0);
	fuzz_check(ring->kick_fd < 0 || fcntl(ring->kick_fd, F_GETFD) >= 0);
	if (gm_view_init(&view, world->memory, "check", 0) != 0)
		return;
	gm_view_enter(&view);
	fuzz_check(gm_check(&view, ring->desc, VIRTQ_DESC_TABLE_BYTES(ring->size), GM_READ | GM_WRITE) == 0);
	fuzz_check(gm_check(&view, ring->avail, VIRTQ_AVAIL_BYTES(ring->size), GM_READ | GM_WRITE) == 0);
	fuzz_check(gm_check(&view, ring->used, VIRTQ_USED_BYTES(ring->size), GM_READ | GM_WRITE) == 0);
	gm_view_leave(&view);
	fuzz_check(gm_view_fini(&view) == 0);
}

static int queue_start(void *opaque, unsigned index, const struct gm_vu_ring *ring)
{
	struct world *world = opaque;
	const struct virtq_ring place = {
		.desc = ring->desc,
		.avail = ring->avail,
		.used = ring->used,
		.size = ring->size,
		.next = ring->next,
		.record = ring->inflight,
		.record_at = ring->inflight_at,
		.record_bytes = ring->inflight_bytes,
	};
	int r;

	fuzz_check(index < WORLD_QUEUES && !world->queues[index].is_set);
	check_ring(world, ring);
	if (world->is_legacy)
		return -EINVAL;
	r = vblk_queue_set(world->vblk, index, &place);
	if (r < 0)
		return r;
	world->queues[index] = (struct world_queue){ .is_set = true };
	return 0;
}

static void queue_stop(void *opaque, unsigned index)
{
	struct world *world = opaque;

	fuzz_check(index < WORLD_QUEUES && world->queues[index].is_set && !world->queues[index].is_stopping);
	world->queues[index].is_stopping = true;
}

void world_turn(struct world *world)
{
	for (unsigned i = 0; i < WORLD_QUEUES; i++) {
		struct world_queue *queue = &world->queues[i];
		uint16_t next = 0;

		if (queue->is_set && !queue->is_stopping)
			(void)!vblk_queue_run(world->vblk, i);
		if (queue->is_stopping && vblk_queue_in_flight(world->vblk, i) == 0 &&
		    vblk_queue_unset(world->vblk, i, &next) == 0) {
			queue->is_set = queue->is_stopping = false;
			gm_vu_queue_stopped(world->vu, i, next);
		}
		if (queue->is_interrupt)
			(void)gm_vu_notify(world->vu, i);
		queue->is_interrupt = false;
	}
}

static int new_device(struct world *world, int socket)
{
	struct vblk_disk description = {
		.bytes = DISK_BYTES, .can_discard = true, .can_zero = true, .submit = submit, .opaque = world
	};
	struct vblk_opts opts = {
		.name = "disk",
		.disk = &description,
		.queues = WORLD_QUEUES,
		.interrupt = on_interrupt,
		.broken = on_broken,
		.opaque = world,
	};
	struct gm_vu_device device = {
		.size = sizeof(device),
		.opaque = world,
		.queues = WORLD_QUEUES,
		.queue_size_max = VBLK_QUEUE_SIZE_DEFAULT,
		.config_bytes = VBLK_CONFIG_BYTES,
		.set_features = set_features,
		.config_read = config_read,
		.config_write = config_write,
		.queue_start = queue_start,
		.queue_stop = queue_stop,
	};
	int r = vblk_new(world->memory, &opts, &world->vblk);

	if (r != 0)
		return r;
	device.features = vblk_features(world->vblk);
	return gm_vu_new(socket, world->space, &device, &world->vu, NULL);
}

bool world_open(struct world *world)
{
	int sockets[2];

	memset(world, 0, sizeof(*world));
	for (unsigned i = 0; i < FILES; i++)
		world->files[i] = -1;
	if (!prepare())
		return false;
	left_look(&before);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets) != 0)
		return false;
	world->socket = sockets[0];
	fuzz_check(gm_space_new(NULL, &world->space, NULL) == 0);
	fuzz_check(gm_space_memory(world->space, GM_ONLY_RAM, &world->memory) == 0);
	fuzz_check(new_device(world, sockets[1]) == 0);
	return true;
}

void world_close(struct world *world)
{
	gm_vu_close(world->vu);
	world_let_go(world);
	for (unsigned i = 0; i < TURNS_MAX && !gm_vu_is_idle(world->vu); i++)
		world_turn(world);
	fuzz_check(gm_vu_is_idle(world->vu));
	gm_vu_free(world->vu);
	vblk_free(world->vblk);
	gm_memory_unref(world->memory);
	gm_space_unref(world->space);
	if (world->socket >= 0)
		close(world->socket);
	for (unsigned i = 0; i < FILES; i++) {
		if (world->files[i] >= 0)
			close(world->files[i]);
	}
	left_check(&before);
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * 06: a device in another process, by vhost-user. The parent is the machine: it hands the memory of its space over, and what it plugs
 * later too. The child is the device: it has a space that follows, and works through a view as any device does. What stands in the
 * queue is one buffer, whose letters the device makes large.
 *
 * Prints:
 *	the device takes 509 regions
 *	in a module that was plugged later: HELLO FROM ANOTHER PROCESS
 *	the module is unplugged: the device has let it go
 *	the queue would go on at 1
 */
#include <ctype.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <guestmem/guestmem.h>
#include <guestmem/vhost_user.h>
#include <guestmem/vhost_user_front.h>

#define VERSION_1 (UINT64_C(1) << 32)
#define MODULE    gm_gpa(4 * GM_GIB)
/* A split ring: VIRTIO 1.2, section 2.7. */
#define DESC  gm_gpa(0x0000)
#define AVAIL gm_gpa(0x1000)
#define USED  gm_gpa(0x2000)

struct descriptor {
	struct gm_le64 at;
	struct gm_le32 bytes;
	struct gm_le16 flags, next;
};

/*
 * The device's process
 */

struct device {
	struct gm_vu *vu;
	struct gm_view view;
	struct gm_vu_ring ring;
	uint16_t next;
	bool runs;
};

static int accept_features(void *opaque, uint64_t features)
{
	(void)opaque;
	return features & VERSION_1 ? 0 : -EINVAL;
}

static int start_queue(void *opaque, unsigned queue, const struct gm_vu_ring *ring)
{
	struct device *device = opaque;

	(void)queue;
	device->ring = *ring;
	device->next = ring->next;
	device->runs = true;
	return 0;
}

static void stop_queue(void *opaque, unsigned queue)
{
	struct device *device = opaque;

	/* Nothing is in flight between two kicks. */
	device->runs = false;
	gm_vu_queue_stopped(device->vu, queue, device->next);
}

/* One buffer. The descriptor is fetched once; the copy is checked, and used. */
static int serve(struct device *device)
{
	struct gm_view *view = &device->view;
	struct descriptor descriptor;
	unsigned char text[64];
	uint32_t bytes, i;
	int r;

	r = gm_read(view, device->ring.desc, &descriptor, sizeof(descriptor));
	bytes = gm_le32_get(descriptor.bytes);
	if (r < 0 || bytes > sizeof(text))
		return r < 0 ? r : -EINVAL;
	r = gm_read(view, gm_gpa_from_le64(descriptor.at), text, bytes);
	for (i = 0; i < bytes; i++)
		text[i] = (unsigned char)toupper(text[i]);
	r = r ? r : gm_write(view, gm_gpa_from_le64(descriptor.at), text, bytes);
	r = r ? r : gm_store_le16(view, gm_gpa_add_wrapping(device->ring.used, 2), GM_RELEASE, ++device->next);
	return r;
}

static int run_device(int fd)
{
	struct device device = { .runs = false };
	const struct gm_vu_device what = {
		.size = sizeof(what),
		.opaque = &device,
		.features = VERSION_1,
		.queues = 1,
		.queue_size_max = 256,
		.set_features = accept_features,
		.queue_start = start_queue,
		.queue_stop = stop_queue,
	};
	struct gm_memory *memory;
	struct gm_space *space;
	struct gm_error error;
	uint64_t kicks;

	if (gm_space_new(NULL, &space, &error) || gm_space_memory(space, GM_ONLY_RAM, &memory) ||
	    gm_view_init(&device.view, memory, "device", 0) || gm_vu_new(fd, space, &what, &device.vu, &error))
		return 1;
	while (gm_vu_run(device.vu, &error) == 0) {
		struct pollfd fds[2] = { { .fd = gm_vu_fd(device.vu), .events = POLLIN },
					 { .fd = device.runs ? device.ring.kick_fd : -1, .events = POLLIN } };

		if (gm_vu_is_waiting(device.vu) || poll(fds, 2, -1) < 0 || !(fds[1].revents & POLLIN))
			continue;
		if (read(device.ring.kick_fd, &kicks, sizeof(kicks)) != sizeof(kicks))
			continue;
		gm_view_enter(&device.view);
		if (serve(&device) < 0)
			gm_vu_queue_broken(device.vu, 0);
		gm_view_leave(&device.view);
		/* First into the machine's log, if it keeps one: then it is told. */
		(void)!gm_vu_log_sync(device.vu);
		(void)!gm_vu_notify(device.vu, 0);
	}
	gm_vu_close(device.vu);
	gm_vu_free(device.vu);
	gm_memory_unref(memory);
	gm_space_unref(space);
	return gm_view_fini(&device.view);
}

/*
 * The machine's process
 */

static int plug(struct gm_space *space, const char *name, struct gm_gpa first, struct gm_error *error)
{
	struct gm_region *region;
	struct gm_update *update;
	int r = gm_region_new_memory(name, first, 4 * GM_MIB, &region, error);

	if (r < 0)
		return r;
	update = gm_update_begin(space);
	gm_update_insert(update, region);
	gm_region_unref(region);
	return gm_update_commit(update, error);
}

static int unplug(struct gm_space *space, const char *name, struct gm_error *error)
{
	struct gm_region *region = gm_space_find(space, name);
	struct gm_update *update = gm_update_begin(space);

	gm_update_remove(update, region);
	gm_region_unref(region);
	return gm_update_commit(update, error);
}

/* The driver's part: a buffer in the module, in a queue of one. Return: 0, and its text when the device has done its work. */
static int ask_device(struct gm_view *view, int kick, int call, char *text, size_t bytes)
{
	const struct descriptor descriptor = { gm_le64(MODULE.value), gm_le32((uint32_t)bytes), gm_le16(2),
					       gm_le16(0) };
	uint64_t one = 1;
	int r;

	gm_view_enter(view);
	r = gm_write(view, MODULE, text, bytes);
	r = r ? r : gm_write(view, DESC, &descriptor, sizeof(descriptor));
	r = r ? r : gm_store_le16(view, gm_gpa_add_wrapping(AVAIL, 2), GM_RELEASE, 1);
	gm_view_leave(view);
	if (r < 0 || write(kick, &one, sizeof(one)) != sizeof(one) || read(call, &one, sizeof(one)) != sizeof(one))
		return r < 0 ? r : -EIO;
	gm_view_enter(view);
	r = gm_read(view, MODULE, text, bytes);
	gm_view_leave(view);
	return r;
}

static int run_machine(int fd, struct gm_error *error)
{
	const int kick = eventfd(0, EFD_CLOEXEC), call = eventfd(0, EFD_CLOEXEC);
	const struct gm_vu_front_ring ring = { DESC, AVAIL, USED, 256, 0, kick, call, -1 };
	char text[] = "hello from another process";
	struct gm_vu_front *front;
	struct gm_memory *memory;
	struct gm_space *space;
	struct gm_view view;
	uint16_t next;
	int r;

	if (gm_space_new(NULL, &space, error) || plug(space, "ram", gm_gpa(0), error) ||
	    gm_vu_front_new(fd, NULL, &front, error) || gm_vu_front_set_features(front, VERSION_1, error) ||
	    gm_vu_front_attach(front, space, error) || gm_vu_front_ring_start(front, 0, &ring, error))
		return error->code;
	printf("the device takes %u regions\n", gm_vu_front_slots(front));
	if (gm_space_memory(space, GM_ONLY_RAM, &memory) || gm_view_init(&view, memory, "driver", 0))
		return -ENOMEM;
	r = plug(space, "module", MODULE, error);
	r = r ? r : ask_device(&view, kick, call, text, sizeof(text));
	if (r < 0)
		return r;
	printf("in a module that was plugged later: %s\n", text);
	r = unplug(space, "module", error);
	if (r < 0)
		return r;
	printf("the module is unplugged: the device has let it go\n");
	r = gm_vu_front_ring_stop(front, 0, &next, error);
	if (r < 0)
		return r;
	printf("the queue would go on at %u\n", next);
	gm_vu_front_free(front);
	r = gm_view_fini(&view);
	gm_memory_unref(memory);
	gm_space_unref(space);
	close(kick);
	close(call);
	return r;
}

int main(void)
{
	struct gm_error error = { .text = "" };
	int ends[2], status = 1, r;
	pid_t device;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return 1;
	device = fork();
	if (device == 0) {
		close(ends[0]);
		_exit(run_device(ends[1]) == 0 ? 0 : 1);
	}
	close(ends[1]);
	r = run_machine(ends[0], &error);
	if (r < 0)
		fprintf(stderr, "%s: %s\n", gm_code_text(r), error.text);
	/* The end of the connection is the end of the device. */
	waitpid(device, &status, 0);
	return r < 0 || status != 0;
}

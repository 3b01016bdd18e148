/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The vhost-user back-end as a front-end that behaves sees it: negotiation, memory, queues, configuration. */
#include "vu_front.h"

#define UVA UINT64_C(0x7f0000000000)
#define MEM (4 * GM_MIB)

static int open_front(void **state)
{
	*state = calloc(1, sizeof(struct front));
	front_open(*state);
	return 0;
}

static int close_front(void **state)
{
	front_close(*state);
	free(*state);
	return 0;
}

static void test_negotiation(void **state)
{
	struct front *front = *state;
	uint64_t features = front_ask(front, VU_GET_FEATURES), protocol;

	assert_int_equal(features, FRONT_FEATURES | GM_VU_F_LOG_ALL | GM_VU_F_PROTOCOL_FEATURES);
	protocol = front_ask(front, VU_GET_PROTOCOL_FEATURES);
	assert_int_equal(protocol, VU_P_MQ | VU_P_LOG_SHMFD | VU_P_REPLY_ACK | VU_P_CONFIG | VU_P_INFLIGHT_SHMFD |
					   VU_P_CONFIGURE_MEM_SLOTS);
	front_tell_u64(front, VU_SET_PROTOCOL_FEATURES, protocol, -1);
	assert_int_equal(gm_vu_protocol_features(front->vu), protocol);
	assert_int_equal(front_ask(front, VU_GET_QUEUE_NUM), FRONT_QUEUES);
	assert_int_equal(front_ask(front, VU_GET_MAX_MEM_SLOTS), 509);
	assert_int_equal(front_request(front, VU_SET_OWNER, NULL, 0, NULL, 0), 0);
	assert_int_equal(front->device.features_calls, 0);
	front_tell_u64(front, VU_SET_FEATURES, features & ~GM_VU_F_LOG_ALL, -1);
	assert_int_equal(front->device.features_calls, 1);
	assert_int_equal(front->device.features, FRONT_FEATURES);
	assert_int_equal(gm_vu_features(front->vu), features & ~GM_VU_F_LOG_ALL);
	/* The logging bit is none of the device's business. */
	front_tell_u64(front, VU_SET_FEATURES, features, -1);
	assert_int_equal(front->device.features_calls, 1);
}

static size_t regions_in(struct front *front)
{
	const struct gm_map *map;
	size_t count;

	assert_int_equal(gm_space_map(front->space, "test", &map), 0);
	count = gm_map_count(map);
	gm_map_unref(map);
	return count;
}

static void check_byte(struct front *front, uint64_t gpa, int fd, uint64_t offset)
{
	unsigned char written = (unsigned char)(gpa >> 12), found = 0;
	struct gm_view view;

	assert_int_equal(gm_view_init(&view, front->memory, "test", 0), 0);
	gm_view_enter(&view);
	assert_int_equal(gm_store_u8(&view, gm_gpa(gpa), GM_RELAXED, written), 0);
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
	assert_int_equal(pread(fd, &found, 1, (off_t)offset), 1);
	assert_int_equal(found, written);
}

static void test_memory(void **state)
{
	struct front *front = *state;
	int fd = front_memfd(MEM);

	front_negotiate(front);
	/* One file in two places, as a PC's memory below 1 MiB is. */
	assert_int_equal(front_add(front, 0, 0xa0000, UVA, 0, fd), 0);
	assert_int_equal(front_add(front, 0xc0000, MEM - 0xc0000, UVA + 0xc0000, 0xc0000, fd), 0);
	assert_int_equal(regions_in(front), 2);
	check_byte(front, 0x9f123, fd, 0x9f123);
	check_byte(front, 0xc1000, fd, 0xc1000);
	check_byte(front, MEM - 1, fd, MEM - 1);
	/* The place in the file does not matter for who goes. */
	assert_int_equal(front_remove(front, 0xc0000, MEM - 0xc0000, UVA + 0xc0000), 0);
	assert_int_equal(regions_in(front), 1);
	assert_int_equal(front_remove(front, 0xc0000, MEM - 0xc0000, UVA + 0xc0000), 1);
	assert_int_equal(front_remove(front, 0, 0xa0000, UVA), 0);
	assert_int_equal(regions_in(front), 0);
	close(fd);
}

static void test_table(void **state)
{
	struct front *front = *state;
	struct vu_region regions[3] = {
		{ 0, MEM, UVA, 0 },
		{ 4 * GM_GIB, MEM, UVA + MEM, 0 },
		{ 5 * GM_GIB, MEM, UVA + 2 * MEM, 0 },
	};
	int fds[3] = { front_memfd(MEM), front_memfd(MEM), front_memfd(MEM) };
	const struct gm_map *before, *after;

	front_negotiate(front);
	assert_int_equal(front_table(front, regions, 2, fds), 0);
	assert_int_equal(gm_space_map(front->space, "test", &before), 0);
	/* The same again changes nothing; more, and less, leave the rest as it is. */
	assert_int_equal(front_table(front, regions, 2, fds), 0);
	assert_int_equal(gm_space_map(front->space, "test", &after), 0);
	assert_int_equal(gm_map_generation(before), gm_map_generation(after));
	gm_map_unref(after);
	assert_int_equal(front_table(front, regions, 3, fds), 0);
	assert_int_equal(gm_space_map(front->space, "test", &after), 0);
	assert_int_equal(gm_map_count(after), 3);
	assert_ptr_equal(gm_map_find(before, gm_gpa(0)), gm_map_find(after, gm_gpa(0)));
	assert_ptr_equal(gm_map_find(before, gm_gpa(4 * GM_GIB)), gm_map_find(after, gm_gpa(4 * GM_GIB)));
	gm_map_unref(before);
	gm_map_unref(after);
	/* The same place with another file is another region. */
	fds[1] = fds[2];
	assert_int_equal(front_table(front, regions, 2, fds), 0);
	check_byte(front, 4 * GM_GIB + 0x5000, fds[2], 0x5000);
	assert_int_equal(front_table(front, regions, 0, fds), 0);
	assert_int_equal(regions_in(front), 0);
	close(fds[0]);
	close(fds[2]);
}

static void test_seals(void **state)
{
	struct front *front = *state;
	int plain = front_memfd(MEM), sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	front_negotiate(front);
	assert_int_equal(ftruncate(sealed, MEM), 0);
	assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_false(gm_vu_may_shrink(front->vu));
	assert_int_equal(front_add(front, 0, MEM, UVA, 0, sealed), 0);
	assert_false(gm_vu_may_shrink(front->vu));
	assert_int_equal(front_add(front, GM_GIB, MEM, UVA + MEM, 0, plain), 0);
	assert_true(gm_vu_may_shrink(front->vu));
	assert_int_equal(front_remove(front, GM_GIB, MEM, UVA + MEM), 0);
	assert_false(gm_vu_may_shrink(front->vu));
	close(plain);
	close(sealed);
}

static void test_queue(void **state)
{
	struct front *front = *state;
	int fd = front_memfd(MEM), kick = front_eventfd(), call = front_eventfd(), err = front_eventfd();
	const struct gm_vu_ring *ring = &front->device.rings[1];

	front_negotiate(front);
	assert_int_equal(front_add(front, GM_GIB, MEM, UVA, 0, fd), 0);
	front_tell_state(front, VU_SET_VRING_NUM, 1, 128);
	front_tell_state(front, VU_SET_VRING_BASE, 1, 65530);
	front_tell_rings(front, 1, 0, UVA, UVA + 0x2000, UVA + 0x1000, 0);
	front_tell_u64(front, VU_SET_VRING_CALL, 1, call);
	front_tell_u64(front, VU_SET_VRING_ERR, 1, err);
	front_tell_u64(front, VU_SET_VRING_KICK, 1, kick);
	assert_int_equal(front->device.starts[1], 0);
	assert_int_equal(gm_vu_notify(front->vu, 1), -EINVAL);
	front_tell_state(front, VU_SET_VRING_ENABLE, 1, 1);
	assert_int_equal(front->device.starts[1], 1);
	assert_int_equal(ring->desc.value, GM_GIB);
	assert_int_equal(ring->avail.value, GM_GIB + 0x1000);
	assert_int_equal(ring->used.value, GM_GIB + 0x2000);
	assert_int_equal(ring->size, 128);
	assert_int_equal(ring->next, 65530);
	assert_null(ring->inflight);
	assert_int_equal(eventfd_write(kick, 3), 0);
	assert_int_equal(front_count(ring->kick_fd), 3);
	assert_int_equal(gm_vu_notify(front->vu, 1), 0);
	assert_int_equal(front_count(call), 1);
	gm_vu_queue_broken(front->vu, 1);
	assert_int_equal(front_count(err), 1);
	front->device.next[1] = 7;
	assert_int_equal(front_stop_queue(front, 1), 7);
	assert_int_equal(front->device.stops[1], 1);
	assert_true(gm_vu_is_idle(front->vu));
	/* Again, without a descriptor to kick: it is to poll. */
	front_tell_u64(front, VU_SET_VRING_KICK, 1 | 0x100, -1);
	assert_int_equal(front->device.starts[1], 2);
	assert_int_equal(ring->kick_fd, -1);
	assert_int_equal(ring->next, 7);
	front_tell_state(front, VU_SET_VRING_ENABLE, 1, 0);
	assert_int_equal(front->device.stops[1], 2);
	close(fd);
	close(kick);
	close(call);
	close(err);
}

/* The answer waits for what is in flight; nothing else is read meanwhile. */
static void test_queue_stops_later(void **state)
{
	struct front *front = *state;
	int fd = front_memfd(MEM), kick = front_eventfd();
	uint32_t base[2] = { 0, 0 };

	front_negotiate(front);
	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fd), 0);
	front_start_queue(front, 0, UVA, 5, kick, kick);
	front->device.stops_later = true;
	front_send(front, VU_GET_VRING_BASE, 0, base, sizeof(base), NULL, 0);
	front_send(front, VU_GET_FEATURES, 0, NULL, 0, NULL, 0);
	assert_int_equal(front_run(front), 0);
	assert_true(gm_vu_is_waiting(front->vu));
	assert_int_equal(front->device.stops[0], 1);
	assert_int_equal(front_run(front), 0);
	front_no_answer(front);
	/* What is done of it is still notified of. */
	assert_int_equal(gm_vu_notify(front->vu, 0), 0);
	gm_vu_queue_stopped(front->vu, 0, 9);
	assert_int_equal(front_run(front), 0);
	assert_false(gm_vu_is_waiting(front->vu));
	assert_int_equal(front_answer(front, VU_GET_VRING_BASE, base, sizeof(base)), sizeof(base));
	assert_int_equal(base[1], 9);
	(void)front_answer_u64(front, VU_GET_FEATURES);
	close(fd);
	close(kick);
}

static void test_config(void **state)
{
	struct front *front = *state;
	struct {
		uint32_t offset, bytes, flags;
		unsigned char data[256];
	} config = { 4, 8, 0, { 0 } };

	front_negotiate(front);
	front_send(front, VU_GET_CONFIG, 0, &config, 12 + 8, NULL, 0);
	assert_int_equal(front_run(front), 0);
	assert_int_equal(front_answer(front, VU_GET_CONFIG, &config, sizeof(config)), 12 + 8);
	assert_int_equal(config.offset, 4);
	assert_int_equal(config.bytes, 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(config.data[i], 5 + i);
	/* All that can be asked for: the device's bytes, then zeros. */
	config.offset = 0;
	config.bytes = 256;
	front_send(front, VU_GET_CONFIG, 0, &config, 12 + 256, NULL, 0);
	assert_int_equal(front_run(front), 0);
	assert_int_equal(front_answer(front, VU_GET_CONFIG, &config, sizeof(config)), 12 + 256);
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(config.data[i], i < FRONT_CONFIG_BYTES ? i + 1 : 0);
	config.offset = FRONT_CONFIG_BYTES - 1;
	config.bytes = 1;
	config.data[0] = 200;
	assert_int_equal(front_request(front, VU_SET_CONFIG, &config, 12 + 1, NULL, 0), 0);
	assert_int_equal(front->device.config[FRONT_CONFIG_BYTES - 1], 200);
	config.bytes = 2;
	assert_int_equal(front_request(front, VU_SET_CONFIG, &config, 12 + 2, NULL, 0), 1);
	/* A device that can't say answers with nothing. */
	front->device.config_result = -EIO;
	front_send(front, VU_GET_CONFIG, 0, &config, 12 + 2, NULL, 0);
	assert_int_equal(front_run(front), 0);
	assert_int_equal(front_answer(front, VU_GET_CONFIG, &config, sizeof(config)), 0);
}

static void test_end(void **state)
{
	struct front *front = *state;

	front_negotiate(front);
	close(front->socket);
	front->socket = -1;
	assert_int_equal(front_run(front), 1);
}

/* It is gone before it has its answer: that is no error either. */
static void test_end_before_the_answer(void **state)
{
	struct front *front = *state;

	front_negotiate(front);
	front_send(front, VU_GET_FEATURES, 0, NULL, 0, NULL, 0);
	close(front->socket);
	front->socket = -1;
	assert_int_equal(front_run(front), 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_negotiation, open_front, close_front),
		cmocka_unit_test_setup_teardown(test_memory, open_front, close_front),
		cmocka_unit_test_setup_teardown(test_table, open_front, close_front),
		cmocka_unit_test_setup_teardown(test_seals, open_front, close_front),
		cmocka_unit_test_setup_teardown(test_queue, open_front, close_front),
		cmocka_unit_test_setup_teardown(test_queue_stops_later, open_front, close_front),
		cmocka_unit_test_setup_teardown(test_config, open_front, close_front),
		cmocka_unit_test_setup_teardown(test_end, open_front, close_front),
		cmocka_unit_test_setup_teardown(test_end_before_the_answer, open_front, close_front),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

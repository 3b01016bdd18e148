/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Queues of the vhost-user back-end with a front-end that is mistaken, means harm, or is of another age: rings that are nowhere, that move, or
 * whose memory goes; descriptors that are none; changes under a queue that runs.
 */
#include "vu_hostile.h"

static void test_descriptors_of_queues(void **state)
{
	struct fixture *fixture = *state;
	struct front *front = &fixture->front;
	static const uint32_t requests[] = { VU_SET_VRING_KICK, VU_SET_VRING_CALL, VU_SET_VRING_ERR };
	uint64_t index = 0;

	for (size_t i = 0; i < 3; i++) {
		refused(front, requests[i], &index, 8, &fixture->pipe[0], 1);
		refused(front, requests[i], &index, 8, &fixture->pipe[1], 1);
		refused(front, requests[i], &index, 8, &fixture->memory, 1);
		refused(front, requests[i], &index, 8, NULL, 0);
	}
	refused(front, VU_SET_LOG_FD, NULL, 0, &fixture->pipe[1], 1);
	/* Full: whoever writes there blocks, and we have told often enough. */
	int call = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fixture->memory), 0);
	front_start_queue(front, 0, UVA, 0, fixture->kick, call);
	assert_int_equal(eventfd_write(call, UINT64_MAX - 1), 0);
	assert_int_equal(gm_vu_notify(front->vu, 0), 0);
	assert_int_equal(front_count(call), UINT64_MAX - 1);
	assert_int_equal(gm_vu_notify(front->vu, 0), 0);
	assert_int_equal(front_count(call), 1);
	close(call);
}

/* Rings that are not in memory as a whole, not aligned, or pass the end of addresses: the queue does not start, and says so once. */
static void test_bad_rings(void **state)
{
	static const uint64_t rings[][3] = {
		/* descriptors, used, available; 2048, 1030 and 262 bytes of them */
		{ 0, UVA + 0x2000, UVA + 0x1000 },
		{ UVA, 0, UVA + 0x1000 },
		{ UVA, UVA + 0x2000, 0 },
		{ UVA + MEM - 2047, UVA + 0x2000, UVA + 0x1000 },
		{ UVA + MEM - 2032, UVA + 0x2000, UVA + 0x1000 },
		{ UVA, UVA + MEM - 1028, UVA + 0x1000 },
		{ UVA, UVA + 0x2000, UVA + MEM - 260 },
		{ UVA + 8, UVA + 0x2000, UVA + 0x1000 },
		{ UVA, UVA + 0x2002, UVA + 0x1000 },
		{ UVA, UVA + 0x2000, UVA + 0x1001 },
		{ UINT64_MAX - 15, UVA + 0x2000, UVA + 0x1000 },
		{ UVA - 16, UVA + 0x2000, UVA + 0x1000 },
	};
	struct fixture *fixture = *state;
	struct front *front = &fixture->front;
	int err = front_eventfd();

	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fixture->memory), 0);
	front_tell_u64(front, VU_SET_VRING_ERR, 0, err);
	front_tell_u64(front, VU_SET_VRING_KICK, 0, fixture->kick);
	front_tell_state(front, VU_SET_VRING_NUM, 0, 128);
	front_tell_state(front, VU_SET_VRING_ENABLE, 0, 1);
	assert_int_equal(front_count(err), 0);
	for (size_t i = 0; i < sizeof(rings) / sizeof(rings[0]); i++) {
		front_tell_rings(front, 0, 0, rings[i][0], rings[i][1], rings[i][2], 0);
		assert_int_equal(front_count(err), 1);
		(void)front_ask(front, VU_GET_FEATURES);
		assert_int_equal(front_count(err), 0);
		assert_int_equal(front->device.starts[0], 0);
	}
	/* To the last byte. */
	front_tell_rings(front, 0, 0, UVA + MEM - 2048, UVA, UVA + 0x1000, 0);
	assert_int_equal(front->device.starts[0], 1);
	front_tell_rings(front, 0, 0, UVA, UVA + MEM - 1032, UVA + 0x1000, 0);
	assert_int_equal(front->device.starts[0], 2);
	front_tell_rings(front, 0, 0, UVA, UVA + 0x2000, UVA + MEM - 262, 0);
	assert_int_equal(front->device.starts[0], 3);
	assert_int_equal(front_count(err), 0);
	close(err);
}

/* What must not change under a queue that runs. */
static void test_running_queue(void **state)
{
	struct fixture *fixture = *state;
	struct front *front = &fixture->front;
	uint32_t number[2] = { 0, 64 };
	uint64_t features = GM_VU_F_PROTOCOL_FEATURES;

	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fixture->memory), 0);
	front_start_queue(front, 0, UVA, 0, fixture->kick, fixture->kick);
	refused(front, VU_SET_VRING_NUM, number, 8, NULL, 0);
	refused(front, VU_SET_VRING_BASE, number, 8, NULL, 0);
	refused(front, VU_SET_FEATURES, &features, 8, NULL, 0);
	features = FRONT_FEATURES;
	refused(front, VU_SET_FEATURES, &features, 8, NULL, 0);
	features = FRONT_FEATURES | GM_VU_F_PROTOCOL_FEATURES | 1;
	refused(front, VU_SET_FEATURES, &features, 8, NULL, 0);
	assert_int_equal(front->device.features_calls, 1);
	assert_int_equal(front->device.starts[0], 1);
	assert_int_equal(front->device.stops[0], 0);
	(void)front_stop_queue(front, 0);
	assert_int_equal(front_request(front, VU_SET_VRING_NUM, number, 8, NULL, 0), 0);
}

/* Memory goes, comes back elsewhere, or is other memory, under rings: stopped before it happens, started when it can be. */
static void test_memory_under_rings(void **state)
{
	struct fixture *fixture = *state;
	struct front *front = &fixture->front;
	struct front_device *device = &front->device;
	struct vu_region regions[2] = { { 0, MEM, UVA, 0 }, { GM_GIB, MEM, UVA + MEM, 0 } };
	int other = front_memfd(MEM), fds[2] = { fixture->memory, other };
	struct gm_region *region;

	assert_int_equal(front_table(front, regions, 2, fds), 0);
	front_start_queue(front, 0, UVA, 3, fixture->kick, fixture->kick);
	front_start_queue(front, 1, UVA + MEM, 4, fixture->kick, fixture->kick);
	device->next[1] = 11;
	/* The second one goes: the first queue does not even notice. */
	assert_int_equal(front_table(front, regions, 1, fds), 0);
	assert_true(device->runs[0] && !device->runs[1]);
	assert_int_equal(device->stops[0], 0);
	assert_int_equal(gm_vu_notify(front->vu, 1), -EINVAL);
	assert_int_equal(front_table(front, regions, 2, fds), 0);
	assert_true(device->runs[0] && device->runs[1]);
	assert_int_equal(device->rings[1].next, 11);
	/* It moves in guest addresses. */
	regions[1].gpa = 2 * GM_GIB;
	assert_int_equal(front_table(front, regions, 2, fds), 0);
	assert_int_equal(device->rings[1].desc.value, 2 * GM_GIB);
	assert_int_equal(device->rings[1].used.value, 2 * GM_GIB + 0x2000);
	assert_int_equal(device->starts[1], 3);
	/* The same place, other bytes. */
	fds[1] = fixture->memory;
	assert_int_equal(front_table(front, regions, 2, fds), 0);
	assert_int_equal(device->starts[1], 4);
	assert_int_equal(device->starts[0], 1);
	/* Two refusals on the way: who had to stop goes on. */
	fds[1] = fixture->pipe[0];
	assert_int_equal(front_table(front, regions, 2, fds), 1);
	assert_int_equal(device->starts[1], 5);
	assert_true(device->runs[0] && device->runs[1]);
	device->stops_later = true;
	assert_int_equal(front_remove(front, 2 * GM_GIB, MEM, UVA), 1);
	front_send(front, VU_REM_MEM_REG, VU_FLAG_NEED_REPLY, (uint64_t[5]){ 0, 0, MEM, UVA, 0 }, 40, NULL, 0);
	assert_int_equal(front_run(front), 0);
	/* Not before the queue has stopped: what it has in flight still reaches its rings. */
	region = gm_space_find(front->space, "vu0");
	assert_non_null(region);
	gm_region_unref(region);
	front_no_answer(front);
	gm_vu_queue_stopped(front->vu, 0, 8);
	assert_int_equal(front_run(front), 0);
	assert_int_equal(front_answer_u64(front, VU_REM_MEM_REG), 0);
	assert_null(gm_space_find(front->space, "vu0"));
	assert_true(!device->runs[0] && device->runs[1]);
	close(other);
}

/* Each part of a ring in a region of its own: whichever moves, or becomes other memory, the queue is set up anew. */
static void test_parts_of_a_ring(void **state)
{
	struct fixture *fixture = *state;
	struct front *front = &fixture->front;
	struct front_device *device = &front->device;
	struct vu_region regions[3] = { { 0, MEM, UVA, 0 },
					{ GM_GIB, MEM, UVA + 0x1000000, 0 },
					{ 2 * GM_GIB, MEM, UVA + 0x2000000, 0 } };
	int other = front_memfd(MEM), fds[3] = { fixture->memory, fixture->memory, fixture->memory };
	unsigned starts = 1;

	assert_int_equal(front_table(front, regions, 3, fds), 0);
	front_tell_state(front, VU_SET_VRING_NUM, 0, 128);
	front_tell_rings(front, 0, 0, UVA, UVA + 0x1000000, UVA + 0x2000000, 0);
	front_tell_u64(front, VU_SET_VRING_KICK, 0, fixture->kick);
	front_tell_state(front, VU_SET_VRING_ENABLE, 0, 1);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(device->starts[0], starts);
		regions[i].gpa += 16 * GM_GIB;
		assert_int_equal(front_table(front, regions, 3, fds), 0);
		assert_int_equal(device->starts[0], ++starts);
		fds[i] = other;
		assert_int_equal(front_table(front, regions, 3, fds), 0);
		assert_int_equal(device->starts[0], ++starts);
		/* Of a queue that was not asked to stop nobody can say that it has. */
		gm_vu_queue_stopped(front->vu, 0, 99);
		assert_int_equal(gm_vu_notify(front->vu, 0), 0);
	}
	assert_int_equal(device->rings[0].desc.value, 16 * GM_GIB);
	assert_int_equal(device->rings[0].used.value, 17 * GM_GIB);
	assert_int_equal(device->rings[0].avail.value, 18 * GM_GIB);
	assert_int_equal(device->rings[0].next, 0);
	close(other);
}

/* A queue is not started before the device knows what was agreed on. */
static void test_too_early(void **state)
{
	struct fixture *fixture = *state;
	struct test_resources before = test_count(NULL);
	struct front front;

	front_open(&front);
	front_tell_u64(&front, VU_SET_PROTOCOL_FEATURES, front_ask(&front, VU_GET_PROTOCOL_FEATURES), -1);
	assert_int_equal(front_add(&front, 0, MEM, UVA, 0, fixture->memory), 0);
	front_start_queue(&front, 0, UVA, 0, fixture->kick, fixture->kick);
	assert_int_equal(front.device.starts[0], 0);
	front_tell_u64(&front, VU_SET_FEATURES, FRONT_FEATURES | GM_VU_F_PROTOCOL_FEATURES, -1);
	assert_int_equal(front.device.starts[0], 1);
	front_close(&front);
	assert_nothing_left(before, NULL);
}

/* A front-end of before protocol features: a ring is on as soon as it is started. */
static void test_old_front_end(void **state)
{
	struct fixture *fixture = *state;
	struct test_resources before = test_count(NULL);
	struct {
		uint32_t count, padding;
		struct vu_region region;
	} table = { 1, 0, { 0, MEM, UVA, 0 } };
	struct front front;

	front_open(&front);
	front_tell_u64(&front, VU_SET_FEATURES, FRONT_FEATURES, -1);
	front_tell(&front, VU_SET_MEM_TABLE, &table, sizeof(table), fixture->memory);
	front_tell_state(&front, VU_SET_VRING_NUM, 0, 128);
	front_tell_rings(&front, 0, 0, UVA, UVA + 0x2000, UVA + 0x1000, 0);
	assert_int_equal(front.device.starts[0], 0);
	front_tell_u64(&front, VU_SET_VRING_KICK, 0, fixture->kick);
	assert_int_equal(front.device.starts[0], 1);
	/* Nobody agreed on answers, so there is none, and the connection is over. */
	front_send(&front, VU_SET_VRING_NUM, VU_FLAG_NEED_REPLY, &table, 8, NULL, 0);
	ended(&front, "SET_VRING_NUM");
	front_no_answer(&front);
	front_close(&front);
	assert_nothing_left(before, NULL);
}

static void test_device_refuses(void **state)
{
	struct fixture *fixture = *state;
	struct front *front = &fixture->front;
	uint64_t features = GM_VU_F_PROTOCOL_FEATURES;
	int err = front_eventfd();

	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fixture->memory), 0);
	front->device.start_result = -ENOMEM;
	front_tell_u64(front, VU_SET_VRING_ERR, 0, err);
	front_start_queue(front, 0, UVA, 0, fixture->kick, fixture->kick);
	assert_int_equal(front->device.starts[0], 1);
	assert_int_equal(front_count(err), 1);
	assert_true(gm_vu_is_idle(front->vu));
	/* It is not asked over and over, but when something was changed. */
	(void)front_ask(front, VU_GET_FEATURES);
	assert_int_equal(front->device.starts[0], 1);
	front->device.start_result = 0;
	front_tell_state(front, VU_SET_VRING_ENABLE, 0, 1);
	assert_int_equal(front->device.starts[0], 2);
	(void)front_stop_queue(front, 0);
	front->device.features_result = -EPROTO;
	front_send(front, VU_SET_FEATURES, VU_FLAG_NEED_REPLY, &features, 8, NULL, 0);
	ended(front, "the device refuses the features");
	close(err);
}

/* The device ends the connection in one of its calls: each descriptor is closed once, and no queue runs afterwards. */
static void test_closed_from_within(void **state)
{
	struct fixture *fixture = *state;
	struct front *front = &fixture->front;
	uint64_t number = 0;
	int kick, mine[4];

	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fixture->memory), 0);
	front_start_queue(front, 0, UVA, 0, fixture->kick, fixture->kick);
	front->device.closes = true;
	kick = front_eventfd();
	front_send(front, VU_SET_VRING_KICK, 0, &number, sizeof(number), &kick, 1);
	assert_int_equal(front_run(front), 0);
	assert_true(gm_vu_is_idle(front->vu));
	/* Whoever is given the number of a descriptor that was closed keeps it. */
	for (int i = 0; i < 4; i++)
		mine[i] = front_eventfd();
	front_close(front);
	for (int i = 0; i < 4; i++)
		assert_int_equal(close(mine[i]), 0);
	front_open(front);
	front_negotiate(front);
	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fixture->memory), 0);
	front->device.closes = true;
	front_start_queue(front, 0, UVA, 0, kick, kick);
	assert_int_equal(front->device.starts[0], 1);
	assert_int_equal(front->device.stops[0], 1);
	assert_true(gm_vu_is_idle(front->vu));
	close(kick);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_descriptors_of_queues, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_bad_rings, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_running_queue, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_closed_from_within, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_memory_under_rings, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_parts_of_a_ring, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_too_early, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_old_front_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_device_refuses, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

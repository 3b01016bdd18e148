/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The vhost-user back-end against a front-end that is mistaken or means harm: each time an error answer or the end of the connection,
 * memory and queues as they were, and in the end not one descriptor or byte of mapping more than before.
 */
#include "vu_hostile.h"

#include <sys/stat.h>

static void test_nonsense(void **state)
{
	struct front *front = &((struct fixture *)*state)->front;
	uint64_t zeros[40] = { 0 };

	for (uint32_t request = 0; request < 50; request++) {
		/* No message has 7 bytes, but for one whose payload nobody looks at. */
		bool answers = request == VU_GET_FEATURES || request == VU_GET_PROTOCOL_FEATURES ||
			       request == VU_GET_QUEUE_NUM || request == VU_GET_MAX_MEM_SLOTS ||
			       request == VU_GET_VRING_BASE || request == VU_GET_CONFIG ||
			       request == VU_GET_INFLIGHT_FD || request == VU_SET_LOG_BASE;

		if (!answers)
			refused(front, request, zeros, 7, NULL, 0);
	}
	front_send(front, VU_GET_CONFIG, 0, zeros, 7, NULL, 0);
	assert_int_equal(front_run(front), 0);
	assert_int_equal(front_answer(front, VU_GET_CONFIG, zeros, 8), 0);
	/* What has an answer of its own has none that says no. */
	front_send(front, VU_GET_VRING_BASE, VU_FLAG_NEED_REPLY, zeros, 7, NULL, 0);
	ended(front, "GET_VRING_BASE (11) of the front-end: its payload is not of its size");
}

static void test_nobody_listens(void **state)
{
	struct front *front = &((struct fixture *)*state)->front;
	uint64_t number = 77;

	front_send(front, VU_SET_VRING_CALL, 0, &number, 8, &((struct fixture *)*state)->kick, 1);
	ended(front, "no such queue");
}

static void test_headers(void **state)
{
	static const struct {
		uint32_t flags, bytes;
		const char *says;
	} headers[] = {
		{ 2, 0, "another version" },
		{ 5, 0, "flags" },
		{ 1, 269, "longer than any message" },
		{ 1, UINT32_MAX, "longer than any message" },
	};

	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		uint32_t head[3] = { VU_GET_FEATURES, headers[i].flags, headers[i].bytes };
		struct test_resources before = test_count(NULL);
		struct front front;

		front_open(&front);
		front_send_raw(&front, head, sizeof(head), &((struct fixture *)*state)->memory, 1);
		ended(&front, headers[i].says);
		front_close(&front);
		assert_nothing_left(before, NULL);
	}
}

static void test_surplus_descriptors(void **state)
{
	static const size_t counts[] = { 2, 8, 9, 10, 64 };
	struct fixture *fixture = *state;
	int fds[64];

	for (size_t i = 0; i < 64; i++)
		fds[i] = fixture->memory;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct test_resources before = test_count(NULL);
		struct front front;

		front_open(&front);
		front_send(&front, VU_GET_FEATURES, 0, NULL, 0, fds, counts[i]);
		ended(&front, counts[i] <= 8 ? "surplus descriptors" : "more descriptors");
		front_close(&front);
		assert_nothing_left(before, NULL);
	}
	/* A few with each byte: the sum counts. */
	for (unsigned i = 0; i < 4; i++) {
		static const unsigned char head[12] = { 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0 };

		front_send_raw(&fixture->front, head + i, 1, fds, 3);
	}
	ended(&fixture->front, "more descriptors");
}

/* A message in pieces is a message; one that ends before it is whole is none. */
static void test_pieces(void **state)
{
	struct fixture *fixture = *state;
	struct front *front = &fixture->front;
	uint64_t region[5] = { 0, 0, MEM, UVA, 0 };
	uint32_t head[3] = { VU_ADD_MEM_REG, 9, sizeof(region) };
	unsigned char message[sizeof(head) + sizeof(region)];

	memcpy(message, head, sizeof(head));
	memcpy(message + sizeof(head), region, sizeof(region));
	for (size_t i = 0; i < sizeof(message); i++) {
		front_send_raw(front, message + i, 1, &fixture->memory, i == 0 ? 1 : 0);
		assert_int_equal(front_run(front), 0);
		if (i < sizeof(message) - 1)
			front_no_answer(front);
	}
	assert_int_equal(front_answer_u64(front, VU_ADD_MEM_REG), 0);
	front_send_raw(front, message, sizeof(message) - 1, &fixture->memory, 1);
	assert_int_equal(front_run(front), 0);
	close(front->socket);
	front->socket = -1;
	ended(front, "ended within a message");
}

static void test_not_memory(void **state)
{
	struct fixture *fixture = *state;
	struct front *front = &fixture->front;
	uint64_t region[5] = { 0, 0, MEM, UVA, 0 };
	char path[64];
	int fds[10], count = 0;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fixture->memory);
	fds[count++] = dup(fixture->pipe[0]);
	fds[count++] = dup(fixture->kick);
	fds[count++] = dup(front->socket);
	fds[count++] = open("/", O_RDONLY | O_CLOEXEC);
	fds[count++] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fds[count++] = open(path, O_RDONLY | O_CLOEXEC);
	fds[count++] = open(path, O_PATH | O_CLOEXEC);
	fds[count++] = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	fds[count++] = front_memfd(MEM - 1);
	fds[count++] = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(fds[9], MEM), 0);
	assert_int_equal(fcntl(fds[9], F_ADD_SEALS, F_SEAL_WRITE), 0);
	for (int i = 0; i < count; i++) {
		assert_true(fds[i] >= 0);
		refused(front, VU_ADD_MEM_REG, region, sizeof(region), &fds[i], 1);
		close(fds[i]);
	}
	/* Good memory, and a place that is none. */
	static const uint64_t regions[][5] = {
		{ 0, 0, MEM, UVA, 4096 },
		{ 0, 0, MEM + 4096, UVA, 0 },
		{ 0, 1, 4096, UVA, 0 },
		{ 0, 0, 4096, UVA, 1 },
		{ 0, 0, 4095, UVA, 0 },
		{ 0, 0, 0, UVA, 0 },
		{ 0, 0, UINT64_C(1) << 63, UVA, 0 },
		{ 0, UINT64_MAX, 4096, UVA, 0 },
		{ 0, 0, 4096, UVA, UINT64_MAX - 4095 },
	};

	for (size_t i = 0; i < sizeof(regions) / sizeof(regions[0]); i++)
		refused(front, VU_ADD_MEM_REG, regions[i], 40, &fixture->memory, 1);
}

/* One bad region of eight: not one of them comes, and not one of those that are there goes. */
static void test_whole_tables(void **state)
{
	struct fixture *fixture = *state;
	struct front *front = &fixture->front;
	struct {
		uint32_t count, padding;
		struct vu_region regions[8];
	} table = { .count = 8 };
	int fds[8];

	assert_int_equal(front_add(front, 64 * GM_GIB, MEM, UVA - MEM, 0, fixture->memory), 0);
	for (unsigned i = 0; i < 8; i++) {
		table.regions[i] = (struct vu_region){ i * GM_GIB, MEM, UVA + i * GM_GIB, 0 };
		fds[i] = fixture->memory;
	}
	for (unsigned i = 0; i < 8; i++) {
		struct vu_region good = table.regions[i];

		fds[i] = fixture->pipe[1];
		refused(front, VU_SET_MEM_TABLE, &table, sizeof(table), fds, 8);
		fds[i] = fixture->memory;
		table.regions[i].offset = 4096;
		refused(front, VU_SET_MEM_TABLE, &table, sizeof(table), fds, 8);
		table.regions[i] = table.regions[(i + 1) % 8];
		refused(front, VU_SET_MEM_TABLE, &table, sizeof(table), fds, 8);
		table.regions[i] = good;
	}
	refused(front, VU_SET_MEM_TABLE, &table, sizeof(table), fds, 7);
	table.count = 9;
	refused(front, VU_SET_MEM_TABLE, &table, sizeof(table), fds, 8);
	table.count = 8;
	assert_int_equal(front_request(front, VU_SET_MEM_TABLE, &table, sizeof(table), fds, 8), 0);
	/* Overlap with what is there. */
	uint64_t region[5] = { 0, 3 * GM_GIB + 4096, 4096, 1, 0 };

	refused(front, VU_ADD_MEM_REG, region, sizeof(region), fds, 1);
	region[1] = 60 * GM_GIB;
	region[3] = UVA + 1;
	refused(front, VU_ADD_MEM_REG, region, sizeof(region), fds, 1);
}

/* A front-end that asks and never listens is not waited for. */
static void test_deaf(void **state)
{
	struct front *front = &((struct fixture *)*state)->front;
	unsigned rounds = 0;

	do {
		front_send(front, VU_GET_FEATURES, 0, NULL, 0, NULL, 0);
		assert_true(rounds++ < 100000);
	} while (front_run(front) == 0);
	assert_int_equal(front->result, -EAGAIN);
	assert_true(strstr(front->error.text, "can't be answered") != NULL);
}

/* Bounded: others have their turn, however much was sent. */
static void test_bounded(void **state)
{
	struct front *front = &((struct fixture *)*state)->front;
	unsigned answers = 0;
	char bytes[20];

	for (unsigned i = 0; i < 100; i++)
		front_send(front, VU_GET_FEATURES, 0, NULL, 0, NULL, 0);
	assert_int_equal(front_run(front), 0);
	while (recv(front->socket, bytes, sizeof(bytes), MSG_DONTWAIT) == sizeof(bytes))
		answers++;
	assert_true(answers > 0 && answers < 50);
}

static void test_bad_log(void **state)
{
	static const struct {
		uint64_t bytes, offset;
	} logs[] = { { MEM + 4097, 0 }, { 4096, MEM }, { 1, UINT64_MAX }, { UINT64_MAX, 0 }, { UINT64_C(1) << 62, 0 } };
	struct fixture *fixture = *state;

	for (size_t i = 0; i < 2 * sizeof(logs) / sizeof(logs[0]); i++) {
		struct test_resources before = test_count(NULL);
		struct front front;

		front_open(&front);
		front_negotiate(&front);
		front_send(&front, VU_SET_LOG_BASE, 0, &logs[i / 2], 16, i % 2 ? &fixture->memory : &fixture->pipe[1],
			   1);
		/* A front-end would not look at an answer that says no, and migrate without the pages. */
		ended(&front, "the log can't be mapped");
		front_close(&front);
		assert_nothing_left(before, NULL);
	}
}

/* Regions that somebody else holds outlive the connection, and are released afterwards. */
static void test_held_for_longer(void **state)
{
	struct fixture *fixture = *state;
	struct test_resources before = test_count(NULL);
	const struct gm_map *map, *second;
	struct gm_space *space;
	struct front front;

	front_open(&front);
	front_negotiate(&front);
	assert_int_equal(front_add(&front, 0, MEM, UVA, 0, fixture->memory), 0);
	assert_int_equal(front_add(&front, GM_GIB, MEM, UVA + MEM, 0, fixture->memory), 0);
	assert_int_equal(gm_space_map(front.space, "picture", &map), 0);
	front_send(&front, VU_REM_MEM_REG, VU_FLAG_NEED_REPLY, (uint64_t[5]){ 0, 0, MEM, UVA, 0 }, 40, NULL, 0);
	assert_int_equal(front_run(&front), 0);
	assert_true(gm_vu_is_waiting(front.vu));
	assert_int_equal(gm_space_map(front.space, "picture", &second), 0);
	space = gm_space_ref(front.space);
	front_close(&front);
	assert_int_equal(gm_space_reclaim(space), 2);
	gm_map_unref(map);
	gm_map_unref(second);
	assert_int_equal(gm_space_reclaim(space), 0);
	gm_space_unref(space);
	assert_nothing_left(before, NULL);
}

static void test_arguments(void **state)
{
	struct fixture *fixture = *state;
	struct gm_vu_device good = front_describe(&fixture->front.device), device;
	struct gm_error error;
	struct gm_space *space;
	struct gm_vu *vu = NULL;
	struct gm_region *region = test_bare("r", GM_RESERVED, 0, 4096);
	struct gm_update *update;
	int sockets[2], datagram;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	datagram = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(gm_space_new(NULL, &space, NULL), 0);
#define REFUSED(change, expected)                                                                                      \
	do {                                                                                                           \
		device = good;                                                                                         \
		change;                                                                                                \
		assert_int_equal(gm_vu_new(sockets[0], space, &device, &vu, &error), expected);                        \
		assert_int_equal(error.code, expected);                                                                \
		assert_null(vu);                                                                                       \
	} while (0)
	REFUSED(device.size = 0, -EINVAL);
	REFUSED(device.size--, -EINVAL);
	REFUSED(device.queues = 0, -EINVAL);
	REFUSED(device.queues = GM_VU_QUEUES_MAX + 1, -EINVAL);
	REFUSED(device.queue_size_max = 0, -EINVAL);
	REFUSED(device.queue_size_max = 100, -EINVAL);
	REFUSED(device.queue_size_max = 65536, -EINVAL);
	REFUSED(device.config_bytes = GM_VU_CONFIG_MAX + 1, -EINVAL);
	REFUSED(device.config_read = NULL, -EINVAL);
	REFUSED(device.set_features = NULL, -EINVAL);
	REFUSED(device.queue_start = NULL, -EINVAL);
	REFUSED(device.queue_stop = NULL, -EINVAL);
	REFUSED(device.features |= UINT64_C(1) << 33, -EINVAL);
	REFUSED(device.features |= UINT64_C(1) << 34, -EINVAL);
	assert_int_equal(gm_vu_new(datagram, space, &good, &vu, &error), -ENOTSOCK);
	assert_int_equal(gm_vu_new(fixture->memory, space, &good, &vu, &error), -ENOTSOCK);
	assert_int_equal(gm_vu_new(-1, space, &good, &vu, &error), -EBADF);
	assert_int_equal(gm_vu_new(sockets[0], NULL, &good, &vu, &error), -EINVAL);
	update = gm_update_begin(space);
	assert_int_equal(gm_update_insert(update, region), 0);
	assert_int_equal(gm_update_commit(update, NULL), 0);
	REFUSED((void)0, -EBUSY);
	gm_region_unref(region);
	gm_space_unref(space);
	gm_vu_free(NULL);
	close(sockets[0]);
	close(sockets[1]);
	close(datagram);
}

/* Random messages, most of them of the right size, with whatever descriptors: it survives all of them, and leaves nothing. */
static void test_noise(void **state)
{
	static const uint32_t sizes[] = { 0, 8, 8, 8, 16, 20, 24, 40, 40, 72 };
	struct fixture *fixture = *state;
	struct test_resources before = test_count(NULL);
	struct test_random random = { 31337 };
	unsigned connections = 0, taken = 0;

	for (unsigned left = 20000; left > 0; connections++) {
		struct front front;

		front_open(&front);
		front_negotiate(&front);
		do {
			uint64_t payload[9];
			char answers[4096];
			int fds[9];
			uint32_t count = (uint32_t)test_below(&random, test_below(&random, 4) ? 2 : 9);

			left--;
			for (unsigned i = 0; i < 9; i++) {
				int choice[] = { fixture->memory, fixture->memory, fixture->kick, fixture->pipe[1] };

				fds[i] = choice[test_below(&random, 4)];
				payload[i] = test_below(&random, 4)
						     ? test_below(&random, 4) << 12 * test_below(&random, 3)
						     : test_random(&random);
				if (test_below(&random, 3) == 0)
					payload[i] = UVA + test_below(&random, 4) * 0x1000;
			}
			front_send(&front, (uint32_t)test_below(&random, 40),
				   test_below(&random, 8) ? VU_FLAG_NEED_REPLY : 0, payload,
				   sizes[test_below(&random, 10)], fds, count);
			(void)front_run(&front);
			taken += front.result == 0;
			for (ssize_t got = 1; got > 0;) {
				char control[CMSG_SPACE(sizeof(int))];
				struct iovec iovec = { answers, sizeof(answers) };
				struct msghdr message = { .msg_iov = &iovec,
							  .msg_iovlen = 1,
							  .msg_control = control,
							  .msg_controllen = sizeof(control) };

				got = recvmsg(front.socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
				if (got > 0 && CMSG_FIRSTHDR(&message) != NULL)
					close(*(int *)(void *)CMSG_DATA(CMSG_FIRSTHDR(&message)));
			}
			assert_int_equal(gm_vu_log_sync(front.vu), 0);
		} while (front.result == 0 && left > 0);
		front_close(&front);
		if (connections % 64 == 0)
			assert_nothing_left(before, NULL);
	}
	assert_nothing_left(before, NULL);
	assert_true(connections > 100 && taken > 1000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nonsense, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nobody_listens, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_headers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_surplus_descriptors, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pieces, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_memory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_whole_tables, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_deaf, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_bad_log, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_held_for_longer, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_arguments, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_noise, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

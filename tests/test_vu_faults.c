/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The vhost-user back-end when the library below it fails: each message with the n-th allocation or system call failing, for all n. It is
 * taken, or it is refused and nothing has happened, or it ends the connection; and it works the next time.
 */
#include "vu_front.h"

#define UVA UINT64_C(0x7f0000000000)
#define MEM (4 * GM_MIB)

struct world {
	struct front front;
	int memory, other, log, kick;
};

struct step {
	const char *name;
	void (*prepare)(struct world *world);
	/* Sends the message, with NEED_REPLY where it has no answer of its own. */
	void (*send)(struct world *world);
	void (*check)(struct world *world);
};

static void send_region(struct world *world, uint32_t request, uint64_t gpa, uint64_t uva)
{
	uint64_t payload[5] = { 0, gpa, MEM, uva, 0 };

	front_send(&world->front, request, VU_FLAG_NEED_REPLY, payload, sizeof(payload), &world->memory,
		   request == VU_ADD_MEM_REG ? 1 : 0);
}

static void prepare_nothing(struct world *world)
{
	(void)world;
}

static void prepare_memory(struct world *world)
{
	assert_int_equal(front_add(&world->front, 0, MEM, UVA, 0, world->memory), 0);
	assert_int_equal(front_add(&world->front, GM_GIB, MEM, UVA + MEM, 0, world->memory), 0);
	front_start_queue(&world->front, 0, UVA, 7, world->kick, world->kick);
}

static void send_log(struct world *world)
{
	uint64_t log[2] = { 4096, 100 };

	front_send(&world->front, VU_SET_LOG_BASE, 0, log, sizeof(log), &world->log, 1);
}

static void prepare_log(struct world *world)
{
	prepare_memory(world);
	send_log(world);
	assert_int_equal(front_run(&world->front), 0);
	assert_int_equal(front_answer_u64(&world->front, VU_SET_LOG_BASE), 0);
}

static void send_log_features(struct world *world)
{
	uint64_t features = FRONT_FEATURES | GM_VU_F_PROTOCOL_FEATURES | GM_VU_F_LOG_ALL;

	front_send(&world->front, VU_SET_FEATURES, VU_FLAG_NEED_REPLY, &features, sizeof(features), NULL, 0);
}

static void prepare_logging(struct world *world)
{
	prepare_log(world);
	send_log_features(world);
	assert_int_equal(front_run(&world->front), 0);
	assert_int_equal(front_answer_u64(&world->front, VU_SET_FEATURES), 0);
}

static void send_add(struct world *world)
{
	send_region(world, VU_ADD_MEM_REG, 2 * GM_GIB, UVA + 2 * MEM);
}

static void check_three(struct world *world)
{
	assert_int_equal(world->front.vu->table.count, 3);
}

static void send_remove(struct world *world)
{
	send_region(world, VU_REM_MEM_REG, 0, UVA);
}

static void check_one(struct world *world)
{
	assert_int_equal(world->front.vu->table.count, 1);
	assert_false(world->front.device.runs[0]);
}

/* One stays, one goes, two come. */
static void send_table(struct world *world)
{
	struct {
		uint32_t count, padding;
		struct vu_region regions[3];
	} table = { 3,
		    0,
		    { { 0, MEM, UVA, 0 }, { 3 * GM_GIB, MEM, UVA + MEM, 0 }, { 4 * GM_GIB, MEM, UVA + 2 * MEM, 0 } } };
	int fds[3] = { world->memory, world->other, world->other };

	front_send(&world->front, VU_SET_MEM_TABLE, VU_FLAG_NEED_REPLY, &table, sizeof(table), fds, 3);
}

static void check_logging(struct world *world)
{
	assert_true(gm_vu_is_logging(world->front.vu));
}

static void check_log(struct world *world)
{
	assert_non_null(world->front.vu->log.window.memory);
}

static void send_record(struct world *world)
{
	struct {
		uint64_t bytes, offset;
		uint16_t queues, queue_size, padding[2];
	} record = { 2 * (64 + 16 * 128), 64, 2, 128, { 0 } };

	front_send(&world->front, VU_SET_INFLIGHT_FD, VU_FLAG_NEED_REPLY, &record, sizeof(record), &world->memory, 1);
}

static void check_record(struct world *world)
{
	assert_non_null(world->front.vu->inflight.memory);
}

static const struct step steps[] = {
	{ "add", prepare_memory, send_add, check_three },
	{ "remove", prepare_memory, send_remove, check_one },
	{ "table", prepare_memory, send_table, check_three },
	{ "log", prepare_memory, send_log, check_log },
	{ "log while logging", prepare_logging, send_log, check_logging },
	{ "begin to log", prepare_log, send_log_features, check_logging },
	{ "add while logging", prepare_logging, send_add, check_three },
	{ "table while logging", prepare_logging, send_table, check_three },
	{ "record", prepare_nothing, send_record, check_record },
};

static uint64_t generation(struct front *front)
{
	const struct gm_map *map;
	uint64_t generation;

	assert_int_equal(gm_space_map(front->space, "test", &map), 0);
	generation = gm_map_generation(map);
	gm_map_unref(map);
	return generation;
}

/* Return: whether a fault was met. */
static bool run_step(const struct step *step, long n)
{
	struct world world = {
		.memory = front_memfd(MEM), .other = front_memfd(MEM), .log = front_memfd(8192), .kick = front_eventfd()
	};
	struct test_resources before = test_count(NULL), ready;
	struct front *front = &world.front;
	unsigned char answer[64];
	uint64_t map, features;
	bool fired;

	front_open(front);
	front_negotiate(front);
	step->prepare(&world);
	map = generation(front);
	features = gm_vu_features(front->vu);
	ready = test_count(NULL);
	step->send(&world);
	gmi_fault_arm(n, ENOMEM);
	(void)front_run(front);
	fired = gmi_fault_fired();
	gmi_fault_arm(0, 0);
	if (front->result == 0) {
		uint64_t result = 1;

		assert_true(recv(front->socket, answer, sizeof(answer), MSG_DONTWAIT) >= 20);
		memcpy(&result, answer + 12, sizeof(result));
		if (result != 0) {
			assert_true(fired);
			assert_int_equal(generation(front), map);
			assert_int_equal(gm_vu_features(front->vu), features);
			assert_nothing_left(ready, NULL);
			assert_int_equal(front->device.starts[0] > 0, front->device.runs[0]);
			/* Nothing is in the way of another try. */
			step->send(&world);
			assert_int_equal(front_run(front), 0);
			assert_true(recv(front->socket, answer, sizeof(answer), MSG_DONTWAIT) >= 20);
			memcpy(&result, answer + 12, sizeof(result));
		}
		assert_int_equal(result, 0);
		step->check(&world);
	} else {
		assert_true(fired);
		assert_int_equal(front->error.code, front->result);
	}
	front_close(front);
	assert_nothing_left(before, NULL);
	close(world.memory);
	close(world.other);
	close(world.log);
	close(world.kick);
	return fired;
}

static void test_steps(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		long n = 1;

		while (run_step(&steps[i], n))
			n++;
		print_message("%s: %ld places to fail at\n", steps[i].name, n - 1);
		assert_true(n > 3);
	}
}

/* The constructor leaves nothing behind either. */
static void test_new(void **state)
{
	struct test_resources before = test_count(NULL);
	struct front_device stub = { 0 };
	struct gm_vu_device device = front_describe(&stub);
	struct gm_space *space;
	int sockets[2], r;
	long n = 1;

	(void)state;
	assert_int_equal(gm_space_new(NULL, &space, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	do {
		struct gm_vu *vu = NULL;
		struct gm_error error;

		gmi_fault_arm(n++, ENOMEM);
		r = gm_vu_new(sockets[0], space, &device, &vu, &error);
		gmi_fault_arm(0, 0);
		if (r == 0)
			gm_vu_free(vu);
		else
			assert_true(r == -ENOMEM && error.code == r && vu == NULL);
	} while (r != 0);
	gm_space_unref(space);
	close(sockets[1]);
	assert_nothing_left(before, NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(test_steps), cmocka_unit_test(test_new) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

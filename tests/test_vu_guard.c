/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A front-end that takes back the memory it shared, with the guard installed: guest memory, its log, the record of requests in flight. Each
 * time an error where it was touched, and everything else goes on.
 */
#include "vu_front.h"

#include <guestmem/guard.h>

#define UVA UINT64_C(0x7f0000000000)
#define MEM (4 * GM_MIB)

/* Inside of each test: cmocka puts its own handlers back when a fixture is over. */
static struct front *begin(void)
{
	struct front *front = calloc(1, sizeof(*front));
	struct gm_error error;

	assert_non_null(front);
	if (gm_fault_guard_install(&error) != 0)
		test_skip("no guard to be had: %s", error.text);
	front_open(front);
	front_negotiate(front);
	return front;
}

static void end(struct front *front)
{
	front_close(front);
	free(front);
	assert_int_equal(gm_fault_guard_remove(), 0);
}

static int load(struct front *front, struct gm_memory *memory, uint64_t gpa)
{
	struct gm_view view;
	uint64_t number;
	int r;

	assert_int_equal(gm_view_init(&view, memory ? memory : front->memory, "test", 0), 0);
	gm_view_enter(&view);
	r = gm_load_u64(&view, gm_gpa(gpa), GM_RELAXED, &number);
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
	return r;
}

static int store(struct front *front, uint64_t gpa)
{
	struct gm_view view;
	int r;

	assert_int_equal(gm_view_init(&view, front->memory, "test", 0), 0);
	gm_view_enter(&view);
	r = gm_store_u8(&view, gm_gpa(gpa), GM_RELAXED, 1);
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
	return r;
}

static void test_memory(void **state)
{
	struct front *front = begin();
	int fd = front_memfd(MEM), other = front_memfd(MEM);
	struct gm_fault fault;

	(void)state;
	assert_int_equal(front_add(front, GM_GIB, MEM, UVA, 0, fd), 0);
	assert_int_equal(front_add(front, 2 * GM_GIB, MEM, UVA + MEM, 0, other), 0);
	assert_int_equal(load(front, NULL, GM_GIB + 0x5008), 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(load(front, NULL, GM_GIB + 0x5008), -GM_EFAULTED);
	assert_int_equal(load(front, NULL, GM_GIB), 0);
	assert_int_equal(load(front, NULL, 2 * GM_GIB + 0x5008), 0);
	assert_int_equal(gm_fault_guard_next(&fault, NULL), 0);
	assert_string_equal(fault.region, "vu0");
	assert_int_equal(fault.at.value, GM_GIB + 0x5008);
	/* The connection lives: it takes that memory out, and other memory in. */
	assert_int_equal(front_remove(front, GM_GIB, MEM, UVA), 0);
	assert_int_equal(front_add(front, GM_GIB, MEM, UVA, 0, other), 0);
	assert_int_equal(load(front, NULL, GM_GIB + 0x5008), 0);
	close(fd);
	close(other);
	end(front);
}

static void begin_to_log(struct front *front, int log)
{
	uint64_t base[2] = { 4096, 0 };

	front_send(front, VU_SET_LOG_BASE, 0, base, sizeof(base), &log, 1);
	assert_int_equal(front_run(front), 0);
	(void)front_answer_u64(front, VU_SET_LOG_BASE);
	front_tell_u64(front, VU_SET_FEATURES, FRONT_FEATURES | GM_VU_F_PROTOCOL_FEATURES | GM_VU_F_LOG_ALL, -1);
	assert_true(gm_vu_is_logging(front->vu));
}

static void test_log(void **state)
{
	struct front *front = begin();
	int fd = front_memfd(MEM), log = front_memfd(4096);

	(void)state;
	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fd), 0);
	begin_to_log(front, log);
	assert_int_equal(ftruncate(log, 0), 0);
	assert_int_equal(gm_vu_log_sync(front->vu), 0);
	assert_int_equal(store(front, 0x1000), 0);
	assert_int_equal(gm_vu_log_sync(front->vu), -GM_EFAULTED);
	/* There is none any more; guest memory is as it was. */
	assert_false(gm_vu_is_logging(front->vu));
	assert_int_equal(gm_vu_log_sync(front->vu), 0);
	assert_int_equal(store(front, 0x2000), 0);
	(void)front_ask(front, VU_GET_FEATURES);
	close(fd);
	close(log);
	end(front);
}

/* What the adapter itself has to put there: a log that takes nothing more ends the connection. */
static void test_log_at_an_answer(void **state)
{
	struct front *front = begin();
	int fd = front_memfd(MEM), log = front_memfd(4096);

	(void)state;
	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fd), 0);
	begin_to_log(front, log);
	assert_int_equal(ftruncate(log, 0), 0);
	assert_int_equal(store(front, 0x1000), 0);
	front_send(front, VU_REM_MEM_REG, VU_FLAG_NEED_REPLY, (uint64_t[5]){ 0, 0, MEM, UVA, 0 }, 40, NULL, 0);
	assert_int_equal(front_run(front), -GM_EFAULTED);
	assert_non_null(strstr(front->error.text, "log can't be written"));
	front_no_answer(front);
	close(fd);
	close(log);
	end(front);
}

static void test_record(void **state)
{
	struct front *front = begin();
	struct {
		uint64_t bytes, offset;
		uint16_t queues, queue_size, padding[2];
	} record = { 8192, 0, 2, 128, { 0 } };
	int fd = front_memfd(MEM), file = front_memfd(8192), kick = front_eventfd();

	(void)state;
	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fd), 0);
	assert_int_equal(front_request(front, VU_SET_INFLIGHT_FD, &record, sizeof(record), &file, 1), 0);
	front_start_queue(front, 0, UVA, 0, kick, kick);
	assert_int_equal(load(front, front->device.rings[0].inflight, front->device.rings[0].inflight_at.value), 0);
	assert_int_equal(ftruncate(file, 0), 0);
	assert_int_equal(load(front, front->device.rings[0].inflight, front->device.rings[0].inflight_at.value),
			 -GM_EFAULTED);
	assert_int_equal(load(front, NULL, 0), 0);
	close(fd);
	close(file);
	close(kick);
	end(front);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_log_at_an_answer),
		cmocka_unit_test(test_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The front-end's dirty log: exactly what was written while it was on, wherever in its file it stands and however it ends; and the record
 * of requests in flight, which is memory of the same kind.
 */
#include "vu_front.h"

#include <sys/stat.h>

#define UVA UINT64_C(0x7f0000000000)
#define MEM (4 * GM_MIB)
/* Bytes of a log for that. */
#define LOG (MEM / 4096 / 8)

static int open_front(void **state)
{
	*state = calloc(1, sizeof(struct front));
	front_open(*state);
	front_negotiate(*state);
	return 0;
}

static int close_front(void **state)
{
	front_close(*state);
	free(*state);
	return 0;
}

static void tell_log(struct front *front, int fd, uint64_t bytes, uint64_t offset)
{
	uint64_t log[2] = { bytes, offset };

	front_send(front, VU_SET_LOG_BASE, 0, log, sizeof(log), &fd, 1);
	if (front_run(front) != 0)
		fail_msg("%s", front->error.text);
	(void)front_answer_u64(front, VU_SET_LOG_BASE);
}

static void tell_logging(struct front *front, bool on)
{
	uint64_t features = FRONT_FEATURES | GM_VU_F_PROTOCOL_FEATURES | (on ? GM_VU_F_LOG_ALL : 0);

	front_tell_u64(front, VU_SET_FEATURES, features, -1);
	assert_int_equal(gm_vu_is_logging(front->vu), on);
}

static void write_byte(struct front *front, uint64_t gpa)
{
	struct gm_view view;

	assert_int_equal(gm_view_init(&view, front->memory, "test", 0), 0);
	gm_view_enter(&view);
	assert_int_equal(gm_store_u8(&view, gm_gpa(gpa), GM_RELAXED, 1), 0);
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
}

static bool is_logged(int fd, uint64_t offset, uint64_t gpa)
{
	unsigned char byte = 0;

	assert_int_equal(pread(fd, &byte, 1, (off_t)(offset + gpa / 4096 / 8)), 1);
	return byte >> gpa / 4096 % 8 & 1;
}

/* Bits in the whole file, what is before and behind the log as well. */
static unsigned count_bits(int fd)
{
	static unsigned char bytes[1 << 20];
	unsigned bits = 0;
	ssize_t got = pread(fd, bytes, sizeof(bytes), 0);

	assert_true(got >= 0 && got < (ssize_t)sizeof(bytes));
	for (ssize_t i = 0; i < got; i++)
		bits += (unsigned)__builtin_popcount(bytes[i]);
	return bits;
}

static void test_on_and_off(void **state)
{
	struct front *front = *state;
	int fd = front_memfd(MEM), log = front_memfd(LOG), told = front_eventfd();

	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fd), 0);
	write_byte(front, 0x1000);
	tell_log(front, log, LOG, 0);
	assert_false(gm_vu_is_logging(front->vu));
	front_tell(front, VU_SET_LOG_FD, NULL, 0, told);
	write_byte(front, 0x2000);
	assert_int_equal(gm_vu_log_sync(front->vu), 0);
	tell_logging(front, true);
	/* What was written before is none of the log's. */
	assert_int_equal(count_bits(log), 0);
	write_byte(front, 0x3fff);
	write_byte(front, MEM - 1);
	assert_int_equal(count_bits(log), 0);
	assert_int_equal(front_count(told), 0);
	assert_int_equal(gm_vu_log_sync(front->vu), 0);
	assert_int_equal(front_count(told), 1);
	assert_true(is_logged(log, 0, 0x3000) && is_logged(log, 0, MEM - 1));
	assert_int_equal(count_bits(log), 2);
	assert_int_equal(gm_vu_log_sync(front->vu), 0);
	assert_int_equal(front_count(told), 0);
	/* Switched off, the last of it still arrives; then nothing more. */
	write_byte(front, 0x5000);
	tell_logging(front, false);
	assert_int_equal(count_bits(log), 3);
	write_byte(front, 0x6000);
	assert_int_equal(gm_vu_log_sync(front->vu), 0);
	assert_int_equal(count_bits(log), 3);
	tell_logging(front, true);
	write_byte(front, 0x7000);
	assert_int_equal(gm_vu_log_sync(front->vu), 0);
	assert_int_equal(count_bits(log), 4);
	assert_true(is_logged(log, 0, 0x7000));
	close(fd);
	close(log);
	close(told);
}

/* All places where a log may stand in its file, and all ways to end: random pages against the plainest of models. */
static void test_places(void **state)
{
	static const uint64_t places[][2] = { { 0, LOG },      { 4096, LOG }, { 1, LOG }, { 8, LOG - 8 }, { 4095, LOG },
					      { 0x1003, 100 }, { 8191, 77 },  { 3, 1 },   { 12, 9 },      { 7, 16 } };
	struct front *front = *state;
	struct test_random random = { 4711 };
	int fd = front_memfd(MEM);
	uint64_t dropped = 0;

	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fd), 0);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint64_t offset = places[i][0], bytes = places[i][1];
		/* Not a byte longer than it has to be. */
		int log = front_memfd(offset + bytes);
		unsigned char model[2 * 4096 + LOG] = { 0 }, found[sizeof(model)];

		tell_log(front, log, bytes, offset);
		tell_logging(front, true);
		for (unsigned n = 0; n < 60; n++) {
			uint64_t first = test_below(&random, MEM / 4096),
				 count = 1 + test_below(&random, n % 7 ? 3 : 200);

			for (uint64_t page = first; page < first + count && page < MEM / 4096; page++) {
				write_byte(front, page * 4096 + test_below(&random, 4096));
				if (page / 8 < bytes)
					model[offset + page / 8] |= (unsigned char)(1 << page % 8);
				else
					dropped++;
			}
			if (n % 4 == 3) {
				assert_int_equal(gm_vu_log_sync(front->vu), 0);
				assert_int_equal(pread(log, found, sizeof(found), 0), offset + bytes);
				assert_memory_equal(found, model, offset + bytes);
			}
		}
		/* A page that is written twice between two syncs counts once. */
		assert_true(gm_vu_log_dropped(front->vu) <= dropped);
		assert_true(bytes == LOG || gm_vu_log_dropped(front->vu) > 0);
		close(log);
	}
	close(fd);
}

static void test_replaced(void **state)
{
	struct front *front = *state;
	int fd = front_memfd(MEM), old = front_memfd(LOG), new_ = front_memfd(2 * LOG);

	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fd), 0);
	tell_logging(front, false);
	tell_log(front, old, LOG, 0);
	tell_logging(front, true);
	write_byte(front, 0x1000);
	tell_log(front, new_, 2 * LOG, 0);
	assert_true(gm_vu_is_logging(front->vu));
	assert_true(is_logged(old, 0, 0x1000));
	assert_int_equal(count_bits(old), 1);
	write_byte(front, 0x2000);
	assert_int_equal(gm_vu_log_sync(front->vu), 0);
	assert_int_equal(count_bits(old), 1);
	assert_true(is_logged(new_, 0, 0x2000));
	assert_int_equal(count_bits(new_), 1);
	close(fd);
	close(old);
	close(new_);
}

/* The connection ends while something is in flight: it is written later, and the log has it. Who is held then has been logged, too. */
static void test_closed(void **state)
{
	struct front *front = *state;
	int fd = front_memfd(MEM), log = front_memfd(2 * LOG);
	uint64_t gone[5] = { 0, MEM, MEM, UVA + MEM, 0 };
	struct gm_view view;
	struct gm_pin pin;

	tell_log(front, log, 2 * LOG, 0);
	tell_logging(front, true);
	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fd), 0);
	assert_int_equal(front_add(front, MEM, MEM, UVA + MEM, 0, fd), 0);
	assert_int_equal(gm_view_init(&view, front->memory, "test", 0), 0);
	gm_view_enter(&view);
	assert_int_equal(gm_view_pin(&view, &pin), 0);
	gm_view_leave(&view);
	front_send(front, VU_REM_MEM_REG, 0, gone, sizeof(gone), NULL, 0);
	assert_int_equal(front_run(front), 0);
	assert_true(gm_vu_is_waiting(front->vu));
	gm_vu_close(front->vu);
	write_byte(front, 0x1000);
	gm_pin_written(&pin, gm_gpa(MEM + 0x3000), 1);
	gm_view_unpin(&pin);
	assert_int_equal(gm_view_fini(&view), 0);
	front_close(front);
	assert_true(is_logged(log, 0, 0x1000));
	assert_true(is_logged(log, 0, MEM + 0x3000));
	assert_int_equal(count_bits(log), 2);
	front_open(front);
	close(fd);
	close(log);
}

/* Memory comes and goes: who comes is logged, and what was written last in who goes is not lost, though somebody still has it. */
static void test_memory_changes(void **state)
{
	struct front *front = *state;
	int fd = front_memfd(MEM), log = front_memfd(2 * LOG);
	uint64_t gone[5] = { 0, MEM, MEM, UVA + MEM, 0 };
	struct gm_view view;
	struct gm_pin pin;

	tell_log(front, log, 2 * LOG, 0);
	tell_logging(front, true);
	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fd), 0);
	assert_int_equal(front_add(front, MEM, MEM, UVA + MEM, 0, fd), 0);
	write_byte(front, MEM + 0x1000);
	assert_int_equal(gm_view_init(&view, front->memory, "test", 0), 0);
	gm_view_enter(&view);
	assert_int_equal(gm_view_pin(&view, &pin), 0);
	gm_view_leave(&view);
	front_send(front, VU_REM_MEM_REG, VU_FLAG_NEED_REPLY, gone, sizeof(gone), NULL, 0);
	assert_int_equal(front_run(front), 0);
	assert_true(gm_vu_is_waiting(front->vu));
	front_no_answer(front);
	/* A transfer that ends now. */
	gm_pin_written(&pin, gm_gpa(MEM + 0x5000), 4096);
	assert_int_equal(front_run(front), 0);
	assert_true(gm_vu_is_waiting(front->vu));
	gm_view_unpin(&pin);
	assert_int_equal(front_run(front), 0);
	assert_int_equal(front_answer_u64(front, VU_REM_MEM_REG), 0);
	assert_true(is_logged(log, 0, MEM + 0x1000) && is_logged(log, 0, MEM + 0x5000));
	assert_int_equal(count_bits(log), 2);
	assert_int_equal(gm_view_fini(&view), 0);
	close(fd);
	close(log);
}

/* The used ring is logged where the front-end says, besides where it stands; and before the answer that ends the queue. */
static void test_used_ring(void **state)
{
	struct front *front = *state;
	int fd = front_memfd(MEM), log = front_memfd(4 * LOG), kick = front_eventfd();

	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fd), 0);
	tell_log(front, log, 4 * LOG, 0);
	tell_logging(front, true);
	front_start_queue(front, 0, UVA, 0, kick, kick);
	/* The ring's last bytes stand in the second page. */
	assert_int_equal(front_stop_queue(front, 0), 0);
	front_tell_rings(front, 0, 1, UVA, UVA + 0x2f00, UVA + 0x1000, 3 * MEM + 0xf00);
	front_tell_u64(front, VU_SET_VRING_KICK, 0, kick);
	assert_int_equal(front->device.starts[0], 2);
	write_byte(front, 0x2e00);
	assert_int_equal(gm_vu_log_sync(front->vu), 0);
	/* The first page of the ring as a whole: nobody can tell which of its bytes it was. */
	assert_true(is_logged(log, 0, 0x2000) && is_logged(log, 0, 3 * MEM));
	assert_false(is_logged(log, 0, 3 * MEM + 4096));
	assert_int_equal(count_bits(log), 2);
	/* What is before and behind it stands for itself. */
	write_byte(front, 0x1000);
	write_byte(front, 0x9000);
	assert_int_equal(gm_vu_log_sync(front->vu), 0);
	assert_int_equal(count_bits(log), 4);
	write_byte(front, 0x3010);
	assert_int_equal(front_stop_queue(front, 0), 0);
	assert_true(is_logged(log, 0, 0x3000) && is_logged(log, 0, 3 * MEM + 4096));
	assert_int_equal(count_bits(log), 6);
	/* The same addresses without the flag, while it runs: nobody is disturbed. */
	front_tell_u64(front, VU_SET_VRING_KICK, 0, kick);
	front_tell_rings(front, 0, 0, UVA, UVA + 0x2f00, UVA + 0x1000, 0);
	assert_int_equal(front->device.starts[0], 3);
	assert_int_equal(front->device.stops[0], 2);
	/* A place beyond all addresses is none. */
	front_tell_rings(front, 0, 1, UVA, UVA + 0x2f00, UVA + 0x1000, UINT64_MAX - 3);
	write_byte(front, 0x3010);
	assert_int_equal(gm_vu_log_sync(front->vu), 0);
	assert_int_equal(count_bits(log), 6);
	close(fd);
	close(log);
	close(kick);
}

struct inflight {
	uint64_t bytes, offset;
	uint16_t queues, queue_size, padding[2];
};

static void test_inflight(void **state)
{
	struct front *front = *state;
	struct inflight wanted = { 0, 0, 2, 128, { 0 } }, got = { 0 };
	int record = -1, fd = front_memfd(MEM), kick = front_eventfd();
	uint64_t one = 1, parts[2];
	struct gm_view view;
	struct stat status;

	front_send(front, VU_GET_INFLIGHT_FD, 0, &wanted, sizeof(wanted), NULL, 0);
	assert_int_equal(front_run(front), 0);
	assert_int_equal(front_answer_fd(front, VU_GET_INFLIGHT_FD, &got, sizeof(got), &record), sizeof(got));
	assert_int_equal(got.queues, 2);
	assert_int_equal(got.queue_size, 128);
	assert_true(got.bytes >= 2 * (16 + 16 * 128));
	assert_int_equal(fstat(record, &status), 0);
	assert_true((uint64_t)status.st_size >= got.offset + got.bytes);
	assert_int_equal(ftruncate(record, 0), -1);
	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fd), 0);
	assert_int_equal(front_request(front, VU_SET_INFLIGHT_FD, &got, sizeof(got), &record, 1), 0);
	front_start_queue(front, 0, UVA, 0, kick, kick);
	front_start_queue(front, 1, UVA + 0x10000, 0, kick, kick);
	for (unsigned i = 0; i < 2; i++) {
		const struct gm_vu_ring *ring = &front->device.rings[i];

		assert_true(ring->inflight_bytes >= 16 + 16 * 128);
		parts[i] = ring->inflight_at.value;
		assert_int_equal(parts[i] % 64, 0);
		assert_int_equal(gm_view_init(&view, ring->inflight, "test", 0), 0);
		gm_view_enter(&view);
		assert_int_equal(gm_store_u64(&view, ring->inflight_at, GM_RELAXED, i + 1), 0);
		assert_int_equal(gm_check(&view, ring->inflight_at, ring->inflight_bytes, GM_READ | GM_WRITE), 0);
		gm_view_leave(&view);
		assert_int_equal(gm_view_fini(&view), 0);
	}
	assert_true(parts[1] >= parts[0] + front->device.rings[0].inflight_bytes);
	assert_int_equal(pread(record, &one, sizeof(one), (off_t)parts[1]), sizeof(one));
	assert_int_equal(one, 2);
	/* Not while queues have it. */
	assert_int_equal(front_request(front, VU_SET_INFLIGHT_FD, &got, sizeof(got), &record, 1), 1);
	(void)front_stop_queue(front, 0);
	(void)front_stop_queue(front, 1);
	/* Too short for what it says. */
	got.bytes = parts[1] - parts[0] + front->device.rings[1].inflight_bytes - 1;
	assert_int_equal(front_request(front, VU_SET_INFLIGHT_FD, &got, sizeof(got), &record, 1), 1);
	close(record);
	close(fd);
	close(kick);
}

/* A queue that the record has no place for is not started: its requests would be lost where the front-end believes them safe. */
static void test_inflight_too_small(void **state)
{
	struct front *front = *state;
	struct inflight record = { 16 + 16 * 64 + 64, 4096 + 40, 1, 64, { 0 } };
	int file = front_memfd(4096 + 40 + 16 + 16 * 64 + 64), fd = front_memfd(MEM), kick = front_eventfd(),
	    err = front_eventfd();

	assert_int_equal(front_add(front, 0, MEM, UVA, 0, fd), 0);
	assert_int_equal(front_request(front, VU_SET_INFLIGHT_FD, &record, 20, &file, 1), 0);
	front_tell_u64(front, VU_SET_VRING_ERR, 0, err);
	front_tell_u64(front, VU_SET_VRING_ERR, 1, err);
	front_start_queue(front, 0, UVA, 0, kick, kick);
	assert_int_equal(front->device.starts[0], 0);
	assert_int_equal(front_count(err), 1);
	front_start_queue(front, 1, UVA, 0, kick, kick);
	(void)front_count(err);
	/* It would fit, if it were for this queue. */
	front_tell_state(front, VU_SET_VRING_NUM, 1, 64);
	assert_int_equal(front->device.starts[1], 0);
	assert_int_equal(front_count(err), 1);
	front_tell_state(front, VU_SET_VRING_NUM, 0, 64);
	assert_int_equal(front->device.starts[0], 1);
	assert_int_equal(front->device.rings[0].inflight_at.value, 40);
	close(file);
	close(fd);
	close(kick);
	close(err);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_on_and_off, open_front, close_front),
		cmocka_unit_test_setup_teardown(test_places, open_front, close_front),
		cmocka_unit_test_setup_teardown(test_replaced, open_front, close_front),
		cmocka_unit_test_setup_teardown(test_closed, open_front, close_front),
		cmocka_unit_test_setup_teardown(test_memory_changes, open_front, close_front),
		cmocka_unit_test_setup_teardown(test_used_ring, open_front, close_front),
		cmocka_unit_test_setup_teardown(test_inflight, open_front, close_front),
		cmocka_unit_test_setup_teardown(test_inflight_too_small, open_front, close_front),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The parser of vhost-user messages: every field at its limits, every size and count of descriptors, and noise. Pure, so without a socket. */
#include "support.h"

#include <errno.h>

#include "message.h"

#define ALL_EXTENSIONS                                                                                                 \
	(VU_P_MQ | VU_P_LOG_SHMFD | VU_P_REPLY_ACK | VU_P_CONFIG | VU_P_INFLIGHT_SHMFD | VU_P_CONFIGURE_MEM_SLOTS)

static const struct vu_terms terms = {
	.offered = 0x17,
	.protocol_offered = ALL_EXTENSIONS,
	.protocol = ALL_EXTENSIONS,
	.queues = 3,
	.queue_size_max = 256,
	.config_bytes = 60,
};

static struct vu_message message;
static const char *reason;

static int parse(uint32_t request, const void *payload, uint32_t bytes, uint32_t fds)
{
	struct vu_header header = { request, 1, bytes };
	/* Exactly as long as it says, so that a sanitizer sees who reads behind it. */
	unsigned char *copy = malloc(bytes ? bytes : 1);
	int r;

	assert_non_null(copy);
	if (bytes != 0)
		memcpy(copy, payload, bytes);
	reason = "unset";
	r = vu_message_parse(&terms, &header, copy, fds, &message, &reason);
	free(copy);
	assert_int_equal(message.request, request);
	assert_int_equal(message.fds_count, fds);
	if (r != 0)
		assert_true(reason != NULL && strlen(reason) > 10);
	return r;
}

static void test_headers(void **state)
{
	static const struct {
		uint32_t flags, bytes;
		bool good;
	} headers[] = {
		{ 1, 0, true },
		{ 9, VU_PAYLOAD_MAX, true },
		{ 1, VU_PAYLOAD_MAX + 1, false },
		{ 1, UINT32_MAX, false },
		{ 0, 0, false },
		{ 2, 0, false },
		{ 3, 0, false },
		{ 5, 0, false },
		{ 0x11, 0, false },
		{ 0x80000001, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		struct vu_header header = { 1, headers[i].flags, headers[i].bytes };

		assert_int_equal(vu_header_check(&header) == NULL, headers[i].good);
	}
}

/* What each request may have: sizes of payloads (all others are refused), and counts of descriptors. */
static void test_shapes(void **state)
{
	static const struct {
		uint32_t request, bytes_min, bytes_max, fds_min, fds_max;
	} shapes[] = {
		{ VU_GET_FEATURES, 0, 0, 0, 0 },
		{ VU_SET_FEATURES, 8, 8, 0, 0 },
		{ VU_SET_OWNER, 0, 0, 0, 0 },
		{ VU_RESET_OWNER, 0, 0, 0, 0 },
		{ VU_SET_MEM_TABLE, 8, 264, 0, 0 }, /* of no region, as the zeros say */
		{ VU_SET_LOG_FD, 0, 8, 1, 1 },
		{ VU_SET_VRING_ADDR, 40, 40, 0, 0 },
		{ VU_SET_VRING_BASE, 8, 8, 0, 0 },
		{ VU_GET_VRING_BASE, 8, 8, 0, 0 },
		{ VU_SET_VRING_KICK, 8, 8, 1, 1 },
		{ VU_SET_VRING_CALL, 8, 8, 1, 1 },
		{ VU_SET_VRING_ERR, 8, 8, 1, 1 },
		{ VU_GET_PROTOCOL_FEATURES, 0, 0, 0, 0 },
		{ VU_SET_PROTOCOL_FEATURES, 8, 8, 0, 0 },
		{ VU_GET_QUEUE_NUM, 0, 0, 0, 0 },
		{ VU_SET_VRING_ENABLE, 8, 8, 0, 0 },
		{ VU_GET_CONFIG, 12, 12, 0, 0 },
		{ VU_SET_CONFIG, 12, 12, 0, 0 },
		{ VU_GET_MAX_MEM_SLOTS, 0, 0, 0, 0 },
	};
	unsigned char zeros[VU_PAYLOAD_MAX] = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		for (uint32_t bytes = 0; bytes <= VU_PAYLOAD_MAX; bytes++) {
			for (uint32_t fds = 0; fds <= VU_FDS_MAX; fds++) {
				bool good = bytes >= shapes[i].bytes_min && bytes <= shapes[i].bytes_max &&
					    fds >= shapes[i].fds_min && fds <= shapes[i].fds_max;

				if (parse(shapes[i].request, zeros, bytes, fds) != (good ? 0 : -EINVAL))
					fail_msg("%s, %u bytes, %u descriptors: %s", vu_request_name(shapes[i].request),
						 bytes, fds, reason);
			}
		}
	}
}

static void test_unknown(void **state)
{
	static const uint32_t unknown[] = { 0,  19, 20, 21, 22, 23, 26, 27,   28,
					    29, 30, 33, 34, 35, 39, 40, 1000, UINT32_MAX };
	static const uint32_t extensions[] = { VU_SET_LOG_BASE,    VU_GET_CONFIG,      VU_SET_CONFIG,
					       VU_GET_INFLIGHT_FD, VU_SET_INFLIGHT_FD, VU_GET_MAX_MEM_SLOTS,
					       VU_ADD_MEM_REG,     VU_REM_MEM_REG };
	unsigned char zeros[VU_PAYLOAD_MAX] = { 0 };
	struct vu_terms plain = terms;

	(void)state;
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_int_equal(parse(unknown[i], zeros, 8, 0), -EOPNOTSUPP);
	plain.protocol = 0;
	for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++) {
		struct vu_header header = { extensions[i], 9, 40 };

		assert_int_equal(vu_message_parse(&plain, &header, zeros, 1, &message, &reason), -EOPNOTSUPP);
		/* Nobody promised an answer. */
		assert_false(message.need_reply);
		assert_int_equal(vu_message_parse(&terms, &header, zeros, 9, &message, &reason), -EINVAL);
		assert_true(message.need_reply);
	}
}

static void test_features(void **state)
{
	uint64_t features = 0x17;

	(void)state;
	assert_int_equal(parse(VU_SET_FEATURES, &features, 8, 0), 0);
	assert_int_equal(message.u64, 0x17);
	for (unsigned bit = 0; bit < 64; bit++) {
		features = UINT64_C(1) << bit;
		assert_int_equal(parse(VU_SET_FEATURES, &features, 8, 0), terms.offered & features ? 0 : -EINVAL);
		assert_int_equal(parse(VU_SET_PROTOCOL_FEATURES, &features, 8, 0),
				 terms.protocol_offered & features ? 0 : -EINVAL);
	}
}

/* Regions: fields and whether they make sense. */
static const struct {
	struct vu_region region;
	bool good;
} regions[] = {
	{ { 0, 4096, 0, 0 }, true },
	{ { 0, 0, 0, 0 }, false },
	{ { 0, 1, 0, 0 }, true }, /* that it is no page, the table finds out */
	{ { UINT64_MAX - 4095, 4096, 0, 0 }, true },
	{ { UINT64_MAX - 4094, 4096, 0, 0 }, false },
	{ { 0, 4096, UINT64_MAX - 4095, 0 }, true },
	{ { 0, 4096, UINT64_MAX - 4094, 0 }, false },
	{ { 0, 4096, 0, UINT64_MAX - 4095 }, true },
	{ { 0, 4096, 0, UINT64_MAX - 4094 }, false },
	{ { 0, UINT64_MAX, 1, 1 }, true },
	{ { 2, UINT64_MAX, 0, 0 }, false },
};

static void test_regions(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(regions) / sizeof(regions[0]); i++) {
		uint64_t single[5] = { 77, regions[i].region.gpa, regions[i].region.bytes, regions[i].region.uva,
				       regions[i].region.offset };
		int expected = regions[i].good ? 0 : -EINVAL;
		uint32_t table[2 + 8 * 8] = { 0 };

		assert_int_equal(parse(VU_ADD_MEM_REG, single, sizeof(single), 1), expected);
		assert_int_equal(message.table.count, 1);
		assert_memory_equal(&message.table.regions[0], &regions[i].region, sizeof(struct vu_region));
		/* Anywhere among others. */
		for (uint32_t at = 0; at < 8; at++) {
			table[0] = 8;
			for (uint32_t n = 0; n < 8; n++)
				memcpy(&table[2 + 8 * n], n == at ? &regions[i].region : &regions[0].region, 32);
			assert_int_equal(parse(VU_SET_MEM_TABLE, table, sizeof(table), 8), expected);
		}
	}
	for (uint32_t fds = 0; fds <= 2; fds++) {
		uint64_t single[5] = { 0, 0, 4096, 0, 1234567 };

		assert_int_equal(parse(VU_ADD_MEM_REG, single, sizeof(single), fds), fds == 1 ? 0 : -EINVAL);
		assert_int_equal(parse(VU_REM_MEM_REG, single, sizeof(single), fds), fds <= 1 ? 0 : -EINVAL);
	}
}

static void test_tables(void **state)
{
	uint32_t table[2 + 8 * 8] = { 0 };

	(void)state;
	for (uint32_t n = 0; n < 8; n++)
		memcpy(&table[2 + 8 * n], &regions[0].region, 32);
	for (uint32_t count = 0; count < 12; count++) {
		for (uint32_t sent = 0; sent <= 8; sent++) {
			for (uint32_t fds = 0; fds <= 8; fds++) {
				bool good = count <= 8 && sent >= count && fds == count;

				table[0] = count;
				assert_int_equal(parse(VU_SET_MEM_TABLE, table, 8 + 32 * sent, fds),
						 good ? 0 : -EINVAL);
				if (good)
					assert_int_equal(message.table.count, count);
			}
		}
	}
	table[0] = UINT32_MAX;
	assert_int_equal(parse(VU_SET_MEM_TABLE, table, sizeof(table), 8), -EINVAL);
	/* 8 + 32 * this is 8 in 32 bits. */
	table[0] = UINT32_C(1) << 27;
	assert_int_equal(parse(VU_SET_MEM_TABLE, table, 8, 0), -EINVAL);
}

static void test_queues(void **state)
{
	static const uint32_t on_queue[] = { VU_SET_VRING_NUM, VU_SET_VRING_BASE, VU_GET_VRING_BASE,
					     VU_SET_VRING_ENABLE };
	static const uint32_t with_fd[] = { VU_SET_VRING_KICK, VU_SET_VRING_CALL, VU_SET_VRING_ERR };
	uint32_t state_[2] = { 0, 1 };
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} rings = { 2, 1, 10, 20, 30, 40 };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		static const uint32_t indexes[] = { 0, 2, 3, 255, 256, UINT32_MAX };

		for (size_t n = 0; n < 6; n++) {
			state_[0] = indexes[n];
			assert_int_equal(parse(on_queue[i], state_, 8, 0), indexes[n] < 3 ? 0 : -EINVAL);
		}
	}
	state_[0] = 1;
	for (uint64_t size = 0; size <= 1024; size++) {
		state_[1] = (uint32_t)size;
		assert_int_equal(parse(VU_SET_VRING_NUM, state_, 8, 0),
				 size <= 256 && gm_is_power_of_2(size) ? 0 : -EINVAL);
	}
	state_[1] = UINT32_C(1) << 31;
	assert_int_equal(parse(VU_SET_VRING_NUM, state_, 8, 0), -EINVAL);
	state_[1] = 65535;
	assert_int_equal(parse(VU_SET_VRING_BASE, state_, 8, 0), 0);
	state_[1] = 65536;
	assert_int_equal(parse(VU_SET_VRING_BASE, state_, 8, 0), -EINVAL);
	state_[1] = 2;
	assert_int_equal(parse(VU_SET_VRING_ENABLE, state_, 8, 0), -EINVAL);
	for (size_t i = 0; i < 3; i++) {
		for (uint64_t number = 0; number < 0x400; number++) {
			for (uint32_t fds = 0; fds <= 2; fds++) {
				bool good = (number & 0xff) < 3 && number < 0x200 && fds == (number & 0x100 ? 0 : 1);

				assert_int_equal(parse(with_fd[i], &number, 8, fds), good ? 0 : -EINVAL);
				if (good)
					assert_int_equal(message.index, number & 0xff);
			}
		}
	}
	assert_int_equal(parse(VU_SET_VRING_ADDR, &rings, sizeof(rings), 0), 0);
	assert_true(message.rings.log && message.rings.desc == 10 && message.rings.used == 20 &&
		    message.rings.avail == 30 && message.rings.log_gpa == 40 && message.index == 2);
	rings.flags = 2;
	assert_int_equal(parse(VU_SET_VRING_ADDR, &rings, sizeof(rings), 0), -EINVAL);
	rings.flags = 0;
	rings.index = 3;
	assert_int_equal(parse(VU_SET_VRING_ADDR, &rings, sizeof(rings), 0), -EINVAL);
}

static void test_config(void **state)
{
	static const uint32_t numbers[] = { 0, 1, 59, 60, 61, 196, 255, 256, 257, UINT32_MAX - 1, UINT32_MAX };
	uint32_t config[3 + 64] = { 0 };

	(void)state;
	for (size_t i = 0; i < 11; i++) {
		for (size_t n = 0; n < 11; n++) {
			uint64_t offset = numbers[i], bytes = numbers[n];
			uint32_t sent = bytes <= 256 ? 12 + (uint32_t)bytes : 12 + 256;

			config[0] = (uint32_t)offset;
			config[1] = (uint32_t)bytes;
			assert_int_equal(parse(VU_GET_CONFIG, config, sent, 0), offset + bytes <= 256 ? 0 : -EINVAL);
			assert_int_equal(parse(VU_SET_CONFIG, config, sent, 0), offset + bytes <= 60 ? 0 : -EINVAL);
			if (sent < 12 + 256)
				assert_int_equal(parse(VU_GET_CONFIG, config, sent + 1, 0), -EINVAL);
			if (sent > 12 && bytes <= 256)
				assert_int_equal(parse(VU_GET_CONFIG, config, sent - 1, 0), -EINVAL);
		}
	}
	config[0] = 0;
	config[1] = 4;
	for (config[2] = 0; config[2] < 5; config[2]++)
		assert_int_equal(parse(VU_SET_CONFIG, config, 16, 0), config[2] <= 1 ? 0 : -EINVAL);
}

static void test_log_and_record(void **state)
{
	uint64_t log[2] = { 1, UINT64_MAX };
	struct {
		uint64_t bytes, offset;
		uint16_t queues, size, padding[2];
	} record = { 1, UINT64_MAX, 3, 256, { 0 } };

	(void)state;
	assert_int_equal(parse(VU_SET_LOG_BASE, log, 16, 1), 0);
	assert_int_equal(parse(VU_SET_LOG_BASE, log, 16, 0), -EINVAL);
	assert_int_equal(parse(VU_SET_LOG_BASE, log, 16, 2), -EINVAL);
	assert_int_equal(parse(VU_SET_LOG_BASE, log, 8, 1), -EINVAL);
	log[0] = 2;
	assert_int_equal(parse(VU_SET_LOG_BASE, log, 16, 1), -EINVAL);
	log[0] = 0;
	assert_int_equal(parse(VU_SET_LOG_BASE, log, 16, 1), -EINVAL);
	for (uint32_t bytes = 19; bytes <= 25; bytes++) {
		int expected = bytes >= 20 && bytes <= 24 ? 0 : -EINVAL;
		unsigned char padded[32] = { 0 };

		memcpy(padded, &record, sizeof(record));
		assert_int_equal(parse(VU_SET_INFLIGHT_FD, padded, bytes, 1), expected);
		assert_int_equal(parse(VU_GET_INFLIGHT_FD, padded, bytes, 0), expected);
	}
	assert_int_equal(parse(VU_SET_INFLIGHT_FD, &record, 24, 0), -EINVAL);
	assert_int_equal(parse(VU_GET_INFLIGHT_FD, &record, 24, 1), -EINVAL);
	record.bytes = 2;
	assert_int_equal(parse(VU_SET_INFLIGHT_FD, &record, 24, 1), -EINVAL);
	record.bytes = 0;
	assert_int_equal(parse(VU_SET_INFLIGHT_FD, &record, 24, 1), -EINVAL);
	assert_int_equal(parse(VU_GET_INFLIGHT_FD, &record, 24, 0), 0);
	record.queues = 4;
	assert_int_equal(parse(VU_GET_INFLIGHT_FD, &record, 24, 0), -EINVAL);
	record.queues = 0;
	assert_int_equal(parse(VU_GET_INFLIGHT_FD, &record, 24, 0), -EINVAL);
	record.queues = 1;
	record.size = 0;
	assert_int_equal(parse(VU_GET_INFLIGHT_FD, &record, 24, 0), -EINVAL);
	record.size = 257;
	assert_int_equal(parse(VU_GET_INFLIGHT_FD, &record, 24, 0), -EINVAL);
}

/* Noise never brings a message that breaks what those who apply it rely on. */
static void test_noise(void **state)
{
	static const uint32_t sizes[] = { 0, 8, 12, 16, 20, 24, 40, 72, 264 };
	struct test_random random = { 99 };
	unsigned good = 0;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		uint32_t request = (uint32_t)test_below(&random, 42), bytes;
		uint64_t payload[VU_PAYLOAD_MAX / 8 + 1];

		/* Mostly of sizes that some message has. */
		if (i % 8 != 0)
			bytes = sizes[test_below(&random, sizeof(sizes) / sizeof(sizes[0]))];
		else
			bytes = (uint32_t)test_below(&random, VU_PAYLOAD_MAX + 1);
		for (size_t n = 0; n < sizeof(payload) / 8; n++)
			payload[n] = test_random(&random) >> test_below(&random, 64);
		if (parse(request, payload, bytes, (uint32_t)test_below(&random, i % 4 ? 2 : 9)) != 0)
			continue;
		good++;
		assert_true(message.index < terms.queues);
		if (request == VU_SET_MEM_TABLE || request == VU_ADD_MEM_REG || request == VU_REM_MEM_REG)
			assert_true(message.table.count <= VU_TABLE_REGIONS_MAX);
		if (request == VU_SET_MEM_TABLE || request == VU_ADD_MEM_REG)
			assert_true(message.table.count == message.fds_count);
		if (request == VU_GET_CONFIG || request == VU_SET_CONFIG)
			assert_true((uint64_t)message.config.offset + message.config.bytes <= VU_CONFIG_MAX);
	}
	assert_true(good > 1000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers),  cmocka_unit_test(test_shapes),  cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_features), cmocka_unit_test(test_regions), cmocka_unit_test(test_tables),
		cmocka_unit_test(test_queues),   cmocka_unit_test(test_config),  cmocka_unit_test(test_log_and_record),
		cmocka_unit_test(test_noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * For tests of the vhost-user back-end against front-ends that mean harm: a front-end that has agreed on everything, what it may send, and
 * that nothing is left of it in the end.
 */
#ifndef TEST_VU_HOSTILE_H
#define TEST_VU_HOSTILE_H

#include "vu_front.h"

#define UVA UINT64_C(0x7f0000000000)
#define MEM (4 * GM_MIB)

/* A front-end that has agreed on everything, and the resources of before. */
struct fixture {
	struct front front;
	struct test_resources before;
	int memory, kick, pipe[2];
};

static inline int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	*state = fixture;
	fixture->memory = front_memfd(MEM);
	fixture->kick = front_eventfd();
	assert_int_equal(pipe2(fixture->pipe, O_CLOEXEC), 0);
	fixture->before = test_count(NULL);
	front_open(&fixture->front);
	front_negotiate(&fixture->front);
	return 0;
}

static inline int tear_down(void **state)
{
	struct fixture *fixture = *state;

	front_close(&fixture->front);
	assert_nothing_left(fixture->before, NULL);
	close(fixture->memory);
	close(fixture->kick);
	close(fixture->pipe[0]);
	close(fixture->pipe[1]);
	free(fixture);
	return 0;
}

static inline uint64_t generation(struct front *front)
{
	const struct gm_map *map;
	uint64_t generation;

	assert_int_equal(gm_space_map(front->space, "test", &map), 0);
	generation = gm_map_generation(map);
	gm_map_unref(map);
	return generation;
}

/* Refused with an answer; nothing has changed, nothing is kept, and the connection goes on. */
static inline void refused(struct front *front, uint32_t request, const void *payload, uint32_t bytes, const int *fds,
			   size_t fds_count)
{
	uint64_t map = generation(front);
	struct test_resources before = test_count(NULL);

	if (front_request(front, request, payload, bytes, fds, fds_count) == 0)
		fail_msg("%s was taken", vu_request_name(request));
	assert_nothing_left(before, NULL);
	assert_int_equal(generation(front), map);
	(void)front_ask(front, VU_GET_FEATURES);
}

/* The connection is over, and says why. */
static inline void ended(struct front *front, const char *says)
{
	if (front_run(front) >= 0)
		fail_msg("it goes on");
	if (strstr(front->error.text, says) == NULL)
		fail_msg("'%s' does not say '%s'", front->error.text, says);
	assert_int_equal(front->error.code, front->result);
}

#endif

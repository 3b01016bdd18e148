/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Messages to the fuzzed back-end, made of an input's numbers: right but for some detail, most of the time. And what it answers. */
#ifndef FUZZ_BACKEND_MESSAGE_H
#define FUZZ_BACKEND_MESSAGE_H

#include "backend_world.h"

#include "message.h"

#define SENT_FDS_MAX 12

/* A message, and what of it matters later. */
struct sent {
	uint32_t request, flags, bytes;
	unsigned char payload[VU_PAYLOAD_MAX + 64];
	int fds[SENT_FDS_MAX]; /* the world's */
	unsigned fds_count;
	bool is_broken; /* its header ends the connection, or is followed by something else than it says */
	struct vu_region regions[VU_TABLE_REGIONS_MAX];
	unsigned regions_count;
	uint64_t log_bytes, log_offset;
};

/* Regions that were sent, so that they can be sent again. */
struct builder {
	struct vu_region regions[8];
	enum world_file files[8];
	unsigned count;
};

struct answer {
	bool is_there;
	uint64_t number; /* of one with 8 bytes */
};

void builder_read(struct builder *builder, struct world *world, struct fuzz_input *input, struct sent *ret_sent);
/* Return: false when the other side has closed, or does not read. */
bool sent_send(const struct sent *sent, int socket);
/* @agreed: protocol features. */
bool sent_wants_answer(const struct sent *sent, uint64_t agreed);

/* At most one, which has to be a good one to that request; more are a failure. */
void answer_receive(struct answer *answer, int socket, uint32_t request);
/* Whatever there is: each a good one to some request. */
void answers_drain(int socket);

#endif

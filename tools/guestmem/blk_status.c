/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What "guestmem blk" says of itself each second. No state but the caller's. */
#include <stdio.h>

#include "blk.h"

static uint64_t per_second(uint64_t now, uint64_t last, uint64_t elapsed_ns)
{
	return elapsed_ns ? (uint64_t)((double)(now - last) * 1e9 / (double)elapsed_ns) : 0;
}

static void count_memory(struct gm_space *space, size_t *ret_regions, uint64_t *ret_bytes)
{
	const struct gm_region *region = NULL;
	const struct gm_map *map;

	*ret_regions = 0;
	*ret_bytes = 0;
	if (gm_space_map(space, "status", &map) < 0)
		return;
	while ((region = gm_map_next(map, region)) != NULL) {
		++*ret_regions;
		*ret_bytes += gm_region_bytes(region);
	}
	gm_map_unref(map);
}

void blk_status_show(const struct blk_server *server, struct blk_counts *last, uint64_t elapsed_ns)
{
	char in[BYTES_TEXT_MAX], out[BYTES_TEXT_MAX], memory[BYTES_TEXT_MAX];
	struct blk_counts now = server->past;
	struct blk_state state = { 0 };
	uint64_t bytes = 0;
	size_t regions = 0;

	if (server->connection != NULL) {
		blk_connection_state(server->connection, &state);
		count_memory(blk_connection_space(server->connection), &regions, &bytes);
	}
	now.requests += state.counts.requests;
	now.bytes_read += state.counts.bytes_read;
	now.bytes_written += state.counts.bytes_written;
	now.failed += state.counts.failed;
	printf("%llu requests/s, read %s/s, written %s/s, %u in flight, %u queue%s, %zu region%s of %s%s, %llu "
	       "failed%s\n",
	       (unsigned long long)per_second(now.requests, last->requests, elapsed_ns),
	       format_bytes(in, per_second(now.bytes_read, last->bytes_read, elapsed_ns)),
	       format_bytes(out, per_second(now.bytes_written, last->bytes_written, elapsed_ns)), state.in_flight,
	       state.queues, state.queues == 1 ? "" : "s", regions, regions == 1 ? "" : "s",
	       format_bytes(memory, bytes), state.is_logging ? ", logging" : "", (unsigned long long)now.failed,
	       server->connection ? "" : "; no front-end is connected");
	fflush(stdout);
	*last = now;
}

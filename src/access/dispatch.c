/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* See dispatch.h. Start reading at call(). */
#include "access/dispatch.h"

#include <stdbool.h>

/* One link per call that this thread is inside of, on its stack. */
struct call {
	const struct gm_region *region;
	const struct call *outer;
};

static __thread const struct call *innermost;

int gmi_call_check(const struct gm_region *region)
{
	for (const struct call *call = innermost; call != NULL; call = call->outer) {
		if (call->region == region)
			return -GM_EREENTRY;
	}
	return 0;
}

/* One callback. @to for a read, @from for a write. */
static int call(const struct gm_region *region, uint64_t offset, void *to, const void *from, uint64_t bytes)
{
	struct call link = { .region = region, .outer = innermost };
	int r;

	innermost = &link;
	if (to != NULL)
		r = region->io.read(region->opaque, gm_offset(offset), to, bytes);
	else
		r = region->io.write(region->opaque, gm_offset(offset), from, bytes);
	innermost = link.outer;
	return r == 0 ? 0 : -GM_EFAULTED;
}

/* The largest register access at @address that is not longer than @bytes. */
static uint64_t register_bytes(uint64_t address, uint64_t bytes)
{
	uint64_t size = 8;

	while (size > bytes || (address & (size - 1)) != 0)
		size /= 2;
	return size;
}

/* As the guest's bus would: what counts is the alignment of the address, not that of the place in the region. */
static int call_registers(const struct gmi_piece *piece, unsigned char *to, const unsigned char *from)
{
	const struct gm_region *region = piece->region;
	uint64_t done = 0;

	while (done < piece->bytes) {
		uint64_t offset = piece->offset + done;
		uint64_t bytes = register_bytes(region->range.first.value + offset, piece->bytes - done);
		int r = call(region, offset, to ? to + done : NULL, from ? from + done : NULL, bytes);

		if (r)
			return r;
		done += bytes;
	}
	return 0;
}

int gmi_call_read(const struct gmi_piece *piece, void *data)
{
	if (piece->region->kind == GM_DEVICE)
		return call_registers(piece, data, NULL);
	return call(piece->region, piece->offset, data, NULL, piece->bytes);
}

int gmi_call_write(const struct gmi_piece *piece, const void *data)
{
	if (piece->region->kind == GM_DEVICE)
		return call_registers(piece, NULL, data);
	return call(piece->region, piece->offset, NULL, data, piece->bytes);
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * 03, the device: a consumer. It includes <guestmem/access.h> and nothing else of the library, and can't tell one region from
 * a hundred, fixed memory from hot-plugged, mapped from not mapped. Everything it reads was written by the guest: it is
 * read once, checked, and the copy that was checked is what is used.
 *
 * Locking: none; an engine belongs to one thread at a time, as its view does.
 */
#include "03-device.h"

#include <stddef.h>

int copy_engine_init(struct copy_engine *engine, struct gm_memory *memory, struct gm_gpa ring)
{
	engine->ring = ring;
	engine->consumed = 0;
	return gm_view_init(&engine->view, memory, "copy-engine", 0);
}

int copy_engine_fini(struct copy_engine *engine)
{
	return gm_view_fini(&engine->view);
}

/* Wraps if the guest put its ring at the very end: each access is checked, so that is no worse than any other bad address. */
static struct gm_gpa in_ring(const struct copy_engine *engine, size_t offset)
{
	return gm_gpa_add_wrapping(engine->ring, offset);
}

static int serve(struct copy_engine *engine, uint32_t index)
{
	size_t offset = offsetof(struct copy_ring, requests) + index % COPY_REQUESTS * sizeof(struct copy_request);
	struct copy_request request;
	uint32_t status;
	int r;

	r = gm_read(&engine->view, in_ring(engine, offset), &request, sizeof(request));
	if (r < 0)
		return r;
	/* A bad address in a request is the guest's business: it is told, and the engine goes on. */
	r = gm_copy(&engine->view, gm_gpa_from_le64(request.to), gm_gpa_from_le64(request.from),
		    gm_le32_get(request.bytes));
	status = r == 0 ? COPY_DONE : COPY_BAD_ADDRESS;
	return gm_store_le32(&engine->view, in_ring(engine, offset + offsetof(struct copy_request, status)), GM_RELAXED,
			     status);
}

int copy_engine_run(struct copy_engine *engine)
{
	uint32_t produced = 0;
	int r, served = 0;

	gm_view_enter(&engine->view);
	/* Acquire: the requests that the guest wrote before it moved the number are seen after it. */
	r = gm_load_le32(&engine->view, in_ring(engine, offsetof(struct copy_ring, produced)), GM_ACQUIRE, &produced);
	if (r == 0 && produced - engine->consumed > COPY_REQUESTS)
		r = -EPROTO;
	/*
	 * Again, now that we know of requests: they may use memory that was plugged since. One snapshot for all of them: memory
	 * that is unplugged meanwhile stays until we leave.
	 */
	gm_view_enter(&engine->view);
	while (r == 0 && engine->consumed != produced) {
		r = serve(engine, engine->consumed);
		if (r == 0) {
			engine->consumed++;
			served++;
		}
	}
	/* Release: who sees the number moved sees the data and the statuses. */
	if (r == 0)
		r = gm_store_le32(&engine->view, in_ring(engine, offsetof(struct copy_ring, consumed)), GM_RELEASE,
				  engine->consumed);
	gm_view_leave(&engine->view);
	return r < 0 ? r : served;
}

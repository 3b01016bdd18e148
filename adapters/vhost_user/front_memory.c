/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A space's memory, handed over, and its updates followed. @table is what the back-end has; @after, while an update is being prepared, what
 * it will have. All that can fail is done in prepare:
 *
 *	usually		prepare adds what comes; commit takes away what goes; abort takes away what came
 *	remove first	where what comes stands at the place of what goes, or there is no room for both: prepare takes away, then adds;
 *			abort does the reverse. The guest misses the memory that goes for the moment of an update that is refused
 *
 * Without VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS each of these steps is one message with the whole table. What the back-end refuses
 * where it must not (taking away, or giving back what it had) ends the connection.
 */
#include "front.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct slot_message {
	uint64_t padding;
	struct vu_region region;
};

struct table_message {
	uint32_t count, padding;
	struct vu_region region[FRONT_TABLE_MAX];
};

static struct vu_region wire_of(const struct gm_region *region)
{
	return (struct vu_region){
		.gpa = gm_region_first(region).value,
		.bytes = gm_region_bytes(region),
		.uva = (uintptr_t)gm_region_hva(region),
		.offset = gm_region_fd_offset(region),
	};
}

static bool is_handed_over(const struct gm_region *region)
{
	return gm_region_kind(region) == GM_RAM && (gm_region_prot(region) & GM_WRITE) != 0;
}

static bool is_among(struct gm_region *const *regions, size_t count, const struct gm_region *region)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (regions[i] == region)
			return true;
	}
	return false;
}

static bool is_in(const struct front_entry *table, size_t count, const struct gm_region *region)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (table[i].region == region)
			return true;
	}
	return false;
}

int front_translate(const struct gm_vu_front *front, struct gm_gpa at, uint64_t bytes, uint64_t *ret_hva)
{
	size_t i;

	for (i = 0; i < front->count; i++) {
		const struct vu_region *wire = &front->table[i].wire;
		uint64_t offset = at.value - wire->gpa;

		if (at.value >= wire->gpa && offset < wire->bytes && bytes <= wire->bytes - offset) {
			/* It was looked at already whether a ring stands in what goes. */
			if (front->after != NULL && !is_in(front->after, front->after_count, front->table[i].region))
				break;
			*ret_hva = wire->uva + offset;
			return 0;
		}
	}
	return -GM_EHOLE;
}

static int send_slot(struct gm_vu_front *front, enum vu_request request, const struct gm_region *region)
{
	struct slot_message message = { .region = wire_of(region) };
	int fd = gm_region_fd(region);

	return front_tell(front, request, &message, sizeof(message), &fd, request == VU_ADD_MEM_REG ? 1 : 0);
}

/* The table with @more, which are not in it, at its end: a back-end does not mind the order. */
static int send_table(struct gm_vu_front *front, const struct front_entry *table, size_t count,
		      struct gm_region *const *more, size_t more_count)
{
	struct table_message message = { 0 };
	int fds[FRONT_TABLE_MAX];
	size_t i;

	for (i = 0; i < count; i++) {
		fds[message.count] = gm_region_fd(table[i].region);
		message.region[message.count++] = table[i].wire;
	}
	for (i = 0; i < more_count; i++) {
		if (!is_handed_over(more[i]))
			continue;
		fds[message.count] = gm_region_fd(more[i]);
		message.region[message.count++] = wire_of(more[i]);
	}
	return front_tell(front, VU_SET_MEM_TABLE, &message,
			  offsetof(struct table_message, region) + message.count * sizeof(message.region[0]), fds,
			  message.count);
}

static bool has_slots(const struct gm_vu_front *front)
{
	return (front->protocol & GM_VU_FRONT_MEM_SLOTS) != 0;
}

/* One after the other, as far as it goes: *@ret_done of them. */
static int send_slots(struct gm_vu_front *front, enum vu_request request, struct gm_region *const *regions,
		      size_t count, size_t *ret_done)
{
	size_t i;
	int r = 0;

	for (i = 0; i < count && r == 0; i++) {
		if (is_handed_over(regions[i]))
			r = send_slot(front, request, regions[i]);
	}
	*ret_done = r ? i - 1 : i;
	return r;
}

static size_t handed_over(struct gm_region *const *regions, size_t count)
{
	size_t i, found = 0;

	for (i = 0; i < count; i++)
		found += is_handed_over(regions[i]);
	return found;
}

/* Whether a started ring has a part in the region. */
static bool has_ring(const struct gm_vu_front *front, const struct gm_region *region)
{
	uint64_t first = (uintptr_t)gm_region_hva(region), bytes = gm_region_bytes(region);
	unsigned queue;

	for (queue = 0; queue < front->queues; queue++) {
		const struct front_queue *one = &front->queue[queue];

		if (one->is_started &&
		    (one->desc - first < bytes || one->avail - first < bytes || one->used - first < bytes))
			return true;
	}
	return false;
}

static int check(const struct gm_vu_front *front, const struct gm_change *change, struct gm_error *error)
{
	size_t i, after;

	for (i = 0; i < change->inserted_count; i++) {
		const struct gm_region *region = change->inserted[i];

		if (is_handed_over(region) && (!gm_region_is_shareable(region) || gm_region_hva(region) == NULL))
			return front_say(error, -EPERM,
					 "ram region '%s' can't be handed to the back-end of '%s': its bytes are "
					 "private to this process",
					 gm_region_name(region), front->name);
	}
	for (i = 0; i < change->removed_count; i++) {
		if (is_handed_over(change->removed[i]) && has_ring(front, change->removed[i]))
			return front_say(error, -EBUSY, "a ring of '%s' that is started stands in region '%s'",
					 front->name, gm_region_name(change->removed[i]));
	}
	after = front->count + handed_over(change->inserted, change->inserted_count) -
		handed_over(change->removed, change->removed_count);
	if (after > front->slots)
		return front_say(error, -ENOSPC, "the back-end of '%s' takes %u memory regions; these are %zu",
				 front->name, front->slots, after);
	return 0;
}

static bool must_remove_first(const struct gm_vu_front *front, const struct gm_change *change)
{
	size_t i, j;

	if (front->count + handed_over(change->inserted, change->inserted_count) > front->slots)
		return true;
	/* The two lists run against each other; both are short, or the space is being filled or emptied. */
	for (i = 0, j = change->removed_count; i < change->inserted_count && j > 0;) {
		const struct gm_region *came = change->inserted[i], *went = change->removed[j - 1];

		if (gm_region_intersects(came, went))
			return true;
		if (gm_region_last(came).value < gm_region_first(went).value)
			i++;
		else
			j--;
	}
	return false;
}

static int compare_entries(const void *a, const void *b)
{
	const struct front_entry *one = a, *other = b;

	return one->wire.gpa < other->wire.gpa ? -1 : one->wire.gpa > other->wire.gpa;
}

static int make_after(struct gm_vu_front *front, const struct gm_change *change)
{
	size_t i, count = 0;

	front->after = calloc(front->count + change->inserted_count + 1, sizeof(*front->after));
	if (front->after == NULL)
		return -ENOMEM;
	for (i = 0; i < front->count; i++) {
		if (!is_among(change->removed, change->removed_count, front->table[i].region))
			front->after[count++] = front->table[i];
	}
	for (i = 0; i < change->inserted_count; i++) {
		if (is_handed_over(change->inserted[i]))
			front->after[count++] = (struct front_entry){ change->inserted[i],
								      wire_of(change->inserted[i]) };
	}
	qsort(front->after, count, sizeof(*front->after), compare_entries);
	front->after_count = count;
	return 0;
}

/* What must not be refused. */
static void insist(struct gm_vu_front *front, int r, const char *what)
{
	if (r != 0)
		front_break(front, -ECONNABORTED, "the back-end refused %s", what);
}

static int add(struct gm_vu_front *front, const struct gm_change *change)
{
	size_t done, undone;
	int r;

	if (!has_slots(front))
		return front->removes_first ? send_table(front, front->after, front->after_count, NULL, 0)
					    : send_table(front, front->table, front->count, change->inserted,
							 change->inserted_count);
	if (front->removes_first) {
		r = send_slots(front, VU_REM_MEM_REG, change->removed, change->removed_count, &done);
		if (r) {
			insist(front, send_slots(front, VU_ADD_MEM_REG, change->removed, done, &undone),
			       "memory that it had");
			return r;
		}
	}
	r = send_slots(front, VU_ADD_MEM_REG, change->inserted, change->inserted_count, &done);
	if (r == 0)
		return 0;
	insist(front, send_slots(front, VU_REM_MEM_REG, change->inserted, done, &undone), "to give up memory");
	if (front->removes_first)
		insist(front, send_slots(front, VU_ADD_MEM_REG, change->removed, change->removed_count, &undone),
		       "memory that it had");
	return r;
}

static int prepare(void *opaque, const struct gm_change *change, struct gm_error *error)
{
	struct gm_vu_front *front = opaque;
	int r = 0;

	pthread_mutex_lock(&front->mutex);
	/* Of a back-end that is gone the machine's memory does not depend. */
	if (front->failure.code == 0) {
		front->removes_first = must_remove_first(front, change);
		r = check(front, change, error);
		if (r == 0 && make_after(front, change) != 0)
			r = front_say(error, -ENOMEM, "no memory for the table of '%s'", front->name);
		if (r == 0)
			r = front_log_fit(front, front->after, front->after_count, error);
		if (r == 0 && handed_over(change->inserted, change->inserted_count) > 0) {
			r = add(front, change);
			if (r == -EREMOTEIO)
				front_say(error, r, "the back-end of '%s' refused memory", front->name);
			else if (r)
				front_failed(front, error);
		}
		if (r) {
			free(front->after);
			front->after = NULL;
		}
	}
	pthread_mutex_unlock(&front->mutex);
	return r;
}

static void abort_change(void *opaque, const struct gm_change *change)
{
	struct gm_vu_front *front = opaque;
	size_t done;

	pthread_mutex_lock(&front->mutex);
	if (front->after != NULL && handed_over(change->inserted, change->inserted_count) > 0) {
		if (!has_slots(front)) {
			insist(front, send_table(front, front->table, front->count, NULL, 0), "the table that it had");
		} else {
			insist(front,
			       send_slots(front, VU_REM_MEM_REG, change->inserted, change->inserted_count, &done),
			       "to give up memory");
			if (front->removes_first)
				insist(front,
				       send_slots(front, VU_ADD_MEM_REG, change->removed, change->removed_count, &done),
				       "memory that it had");
		}
	}
	free(front->after);
	front->after = NULL;
	pthread_mutex_unlock(&front->mutex);
}

/* The table without what went, whose log is taken: what the back-end wrote until it gave them up, or as long as it lived. */
static void drop_removed(struct gm_vu_front *front, const struct gm_change *change)
{
	size_t i, kept = 0;

	for (i = 0; i < front->count; i++) {
		if (!is_among(change->removed, change->removed_count, front->table[i].region))
			front->table[kept++] = front->table[i];
		else if (front->is_logging)
			front_log_take(front, &front->table[i]);
	}
	front->count = kept;
}

/*
 * Without a prepare before it when the listener goes: all of the table goes then; and when the connection is over: what comes is not
 * handed over, but what stays has a log still, which nobody has looked at yet.
 */
static void commit(void *opaque, const struct gm_change *change)
{
	struct gm_vu_front *front = opaque;
	bool came, went;
	size_t done;

	pthread_mutex_lock(&front->mutex);
	came = handed_over(change->inserted, change->inserted_count) > 0;
	went = handed_over(change->removed, change->removed_count) > 0;
	if (front->after == NULL)
		front->after_count = 0;
	if (front->failure.code == 0 && went && !(came && front->removes_first)) {
		insist(front,
		       has_slots(front)
			       ? send_slots(front, VU_REM_MEM_REG, change->removed, change->removed_count, &done)
			       : send_table(front, front->after, front->after_count, NULL, 0),
		       "to give up memory");
	}
	drop_removed(front, change);
	if (front->after != NULL) {
		free(front->table);
		front->table = front->after;
		front->count = front->after_count;
		front->after = NULL;
		front->after_count = 0;
	}
	pthread_mutex_unlock(&front->mutex);
}

FRONT_PUBLIC int gm_vu_front_attach(struct gm_vu_front *front, struct gm_space *space, struct gm_error *error)
{
	struct gm_listener listener = {
		.size = sizeof(listener),
		.name = front->name,
		.opaque = front,
		.prepare = prepare,
		.abort = abort_change,
		.commit = commit,
	};
	int r;

	pthread_mutex_lock(&front->mutex);
	r = front_failed(front, error);
	if (r == 0 && front->space != NULL)
		r = front_say(error, -EALREADY, "'%s' has the memory of a space already", front->name);
	pthread_mutex_unlock(&front->mutex);
	if (r)
		return r;
	/* Without the mutex: it comes after that of the space. */
	r = gm_space_add_listener(space, &listener, error);
	if (r == 0)
		front->space = gm_space_ref(space);
	return r;
}

FRONT_PUBLIC int gm_vu_front_detach(struct gm_vu_front *front)
{
	unsigned queue;
	int r = 0;

	pthread_mutex_lock(&front->mutex);
	if (front->space == NULL)
		r = -ENOENT;
	for (queue = 0; r == 0 && front->failure.code == 0 && queue < front->queues; queue++) {
		if (front->queue[queue].is_started)
			r = -EBUSY;
	}
	pthread_mutex_unlock(&front->mutex);
	if (r)
		return r;
	r = gm_space_remove_listener(front->space, front->name);
	if (r)
		return r;
	gm_space_unref(front->space);
	front->space = NULL;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The front-end's memory in the space: a plan of table.c carried out by one update, all of it or none. A region that goes
 * stays mapped while somebody is in it; the message that took it away is finished when it is released.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vu.h"

/* Which files came with the message. Only told apart here: whether they are memory is for gm_region_new() to find out. */
static int identify_files(struct gm_vu *vu, struct vu_file *files)
{
	for (uint32_t i = 0; i < vu->message.table.count; i++) {
		struct stat status;

		if (fstat(vu->wire.fds[i], &status) != 0)
			return -errno;
		files[i].device = status.st_dev;
		files[i].inode = status.st_ino;
	}
	return 0;
}

static int make_plan(struct gm_vu *vu)
{
	const struct vu_region *regions = vu->message.table.regions;
	struct vu_file files[VU_TABLE_REGIONS_MAX] = { { 0, 0 } };
	int r;

	if (vu->message.request == VU_REM_MEM_REG)
		return vu_plan_remove(&vu->table, &regions[0], &vu->plan, &vu->reason);
	r = identify_files(vu, files);
	if (r != 0)
		return vu_refuse(vu, r, "a descriptor can't be looked at");
	if (vu->message.request == VU_ADD_MEM_REG)
		return vu_plan_add(&vu->table, &regions[0], &files[0], &vu->plan, &vu->reason);
	return vu_plan_set(&vu->table, regions, files, vu->message.table.count, &vu->plan, &vu->reason);
}

int vu_memory_begin(struct gm_vu *vu)
{
	int r = make_plan(vu);

	if (r == 0)
		vu_queues_stop_moved(vu, &vu->plan.next);
	return r;
}

static void free_ram(struct vu_ram *ram)
{
	if (ram == NULL)
		return;
	gm_dirty_reader_free(ram->reader);
	free(ram);
}

/* Files of kinds that have no seals can be made shorter. */
static bool is_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & F_SEAL_SHRINK);
}

static int new_ram(struct gm_vu *vu, const struct vu_entry *entry, struct vu_ram **ret_ram)
{
	char name[GM_NAME_MAX];
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = name,
		.kind = GM_RAM,
		.source = GM_SOURCE_FD,
		.first = gm_gpa(entry->region.gpa),
		.bytes = entry->region.bytes,
		.fd = vu->wire.fds[entry->fd],
		.fd_offset = entry->region.offset,
		/* Front-ends show one file in several places. */
		.flags = GM_REGION_ALIAS | GM_REGION_DONTDUMP,
		.dirty_page_bytes = VU_PAGE_BYTES,
	};
	struct vu_ram *ram = calloc(1, sizeof(*ram));
	int r;

	if (ram == NULL)
		return vu_refuse(vu, -ENOMEM, "no memory");
	snprintf(name, sizeof(name), "vu%llu", (unsigned long long)vu->regions_made);
	ram->gpa = entry->region.gpa;
	ram->bytes = entry->region.bytes;
	ram->may_shrink = !is_sealed(opts.fd);
	r = gm_region_new(&opts, &ram->region, NULL);
	if (r != 0) {
		free_ram(ram);
		return vu_refuse(vu, r, "a region can't be mapped");
	}
	r = vu_log_add(vu, ram);
	if (r != 0) {
		gm_region_unref(ram->region);
		free_ram(ram);
		return vu_refuse(vu, r, "no memory for a region's log");
	}
	vu->regions_made++;
	*ret_ram = ram;
	return 0;
}

/*
 * Between an update and the connection, whichever is over first: regions may be held by others longer than the connection lives, and
 * be released on whatever thread. Who comes second frees it.
 */
struct vu_release {
	int state; /* atomic, enum release_state */
};

enum release_state {
	HELD,
	RELEASED,
	LEFT, /* nobody waits for it any more */
};

static void on_released(void *opaque)
{
	struct vu_release *release = opaque;

	/* Release: pairs with vu_memory_is_held(), after which the region's log is read. */
	if (__atomic_exchange_n(&release->state, RELEASED, __ATOMIC_ACQ_REL) == LEFT)
		free(release);
}

static void leave_release(struct gm_vu *vu)
{
	if (vu->release != NULL && __atomic_exchange_n(&vu->release->state, LEFT, __ATOMIC_ACQ_REL) == RELEASED)
		free(vu->release);
	vu->release = NULL;
}

bool vu_memory_is_held(struct gm_vu *vu)
{
	if (vu->release == NULL)
		return false;
	(void)gm_space_reclaim(vu->space);
	return __atomic_load_n(&vu->release->state, __ATOMIC_ACQUIRE) == HELD;
}

/* Which entries of the plan are new: their ram, mapped, with a reference that is ours. */
struct insertions {
	uint32_t count;
	uint32_t entries[VU_TABLE_REGIONS_MAX];
	struct vu_ram *rams[VU_TABLE_REGIONS_MAX];
};

static int map_new(struct gm_vu *vu, struct insertions *insertions)
{
	for (uint32_t i = 0; i < vu->plan.next.count; i++) {
		uint32_t n = insertions->count;
		int r;

		if (vu->plan.next.entries[i].ram != NULL)
			continue;
		r = new_ram(vu, &vu->plan.next.entries[i], &insertions->rams[n]);
		if (r != 0)
			return r;
		insertions->entries[n] = i;
		insertions->count++;
	}
	return 0;
}

static int commit(struct gm_vu *vu, const struct insertions *insertions)
{
	struct gm_update *update;
	int r;

	/* The same table again: readers do not even notice. */
	if (vu->plan.removed_count == 0 && insertions->count == 0)
		return 0;
	if (vu->plan.removed_count != 0) {
		vu->release = calloc(1, sizeof(*vu->release));
		if (vu->release == NULL)
			return vu_refuse(vu, -ENOMEM, "no memory");
	}
	update = gm_update_begin(vu->space);
	/* What an operation fails with, commit reports. */
	for (uint32_t i = 0; i < vu->plan.removed_count; i++)
		(void)gm_update_remove(update, ((struct vu_ram *)vu->plan.removed[i])->region);
	for (uint32_t i = 0; i < insertions->count; i++)
		(void)gm_update_insert(update, insertions->rams[i]->region);
	if (vu->release != NULL)
		(void)gm_update_on_released(update, on_released, vu->release);
	r = gm_update_commit(update, NULL);
	if (r != 0) {
		free(vu->release);
		vu->release = NULL;
		return vu_refuse(vu, r, "the regions can't be put in place");
	}
	return 0;
}

int vu_memory_apply(struct gm_vu *vu)
{
	struct insertions insertions = { .count = 0 };
	int r = map_new(vu, &insertions);

	if (r == 0)
		r = commit(vu, &insertions);
	/* The space has references of its own now; or there is to be nothing left. */
	for (uint32_t i = 0; i < insertions.count; i++) {
		gm_region_unref(insertions.rams[i]->region);
		if (r != 0)
			free_ram(insertions.rams[i]);
		else
			vu->plan.next.entries[insertions.entries[i]].ram = insertions.rams[i];
	}
	if (r != 0)
		return r;
	for (uint32_t i = 0; i < vu->plan.removed_count; i++) {
		struct vu_ram *ram = vu->plan.removed[i];

		ram->region = NULL;
		ram->next = vu->leaving;
		vu->leaving = ram;
	}
	vu->table = vu->plan.next;
	return 0;
}

int vu_memory_released(struct gm_vu *vu)
{
	int r = 0, lost;

	while (vu->leaving != NULL) {
		struct vu_ram *ram = vu->leaving;

		vu->leaving = ram->next;
		lost = vu_log_drain(vu, ram);
		r = r != 0 ? r : lost;
		free_ram(ram);
	}
	leave_release(vu);
	return r;
}

VU_PUBLIC bool gm_vu_may_shrink(const struct gm_vu *vu)
{
	for (uint32_t i = 0; i < vu->table.count; i++) {
		if (((const struct vu_ram *)vu->table.entries[i].ram)->may_shrink)
			return true;
	}
	return false;
}

void vu_memory_clear(struct gm_vu *vu)
{
	struct gm_update *update = gm_update_begin(vu->space);

	for (uint32_t i = 0; i < vu->table.count; i++)
		(void)gm_update_remove(update, ((struct vu_ram *)vu->table.entries[i].ram)->region);
	/* Without memory for that they stay: the space itself takes them down. */
	(void)!gm_update_commit(update, NULL);
	(void)gm_space_reclaim(vu->space);
	for (uint32_t i = 0; i < vu->table.count; i++)
		free_ram(vu->table.entries[i].ram);
	vu->table.count = 0;
	(void)vu_memory_released(vu);
}

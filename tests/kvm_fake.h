/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A KVM of slots and dirty logs only, which the adapter is given instead of ioctl(2): it refuses what the kernel refuses, and, the n-th
 * time, what the kernel might. With a real VM behind it (real_fd), each call goes there too, and has to have the same result: so
 * the model is the kernel's, not ours.
 */
#ifndef TEST_KVM_FAKE_H
#define TEST_KVM_FAKE_H

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/ioctl.h>

#include <guestmem/kvm.h>

#include "uapi.h"

#define FAKE_SLOTS 4096
/* Real ones, on hosts with pages of 4 KiB; what is beyond them is not logged here. */
#define FAKE_LOG_PAGES 1024
#define FAKE_PAGE      4096

struct fake_slot {
	uint64_t first, bytes, hva; /* bytes 0: there is none */
	uint32_t flags;
	uint64_t dirty[FAKE_LOG_PAGES / 64];
};

struct fake_kvm {
	struct fake_slot slots[FAKE_SLOTS];
	unsigned slots_max; /* KVM_CAP_NR_MEMSLOTS; 0: FAKE_SLOTS */
	unsigned high;      /* above all slots in use */
	int real_fd;        /* -1: none */
	bool no_manual, no_readonly, no_move;
	bool manual;
	uint64_t address_bits;            /* slots end below; 0: 52 */
	unsigned long calls;              /* that change slots */
	unsigned long fail_from, fail_to; /* these of them fail, from 1; 0: none */
	int fail_code;
	unsigned long fail_gets, fail_clears; /* so many of the next fail */
	/* A vCPU's ring, as the kernel keeps it: filled at head, emptied from tail on. */
	struct kvm_dirty_gfn *ring;
	uint32_t ring_entries, ring_head, ring_tail;
	unsigned long resets;
	/* Called before KVM clears or resets its log. */
	void (*before_clear)(struct fake_kvm *fake);
	/* Called before each change of a slot, as the guest and other threads would do something just then. */
	void (*before)(struct fake_kvm *fake, const struct kvm_userspace_memory_region *change);
};

static inline bool fake_overlaps(const struct fake_kvm *fake, uint64_t first, uint64_t bytes, uint32_t but)
{
	for (unsigned i = 0; i < fake->high; i++) {
		const struct fake_slot *slot = &fake->slots[i];

		if (i != but && slot->bytes != 0 && slot->first < first + bytes && first < slot->first + slot->bytes)
			return true;
	}
	return false;
}

static inline int fake_change(struct fake_kvm *fake, const struct kvm_userspace_memory_region *change)
{
	struct fake_slot *slot;
	uint64_t limit = UINT64_C(1) << (fake->address_bits ? fake->address_bits : 52);

	if (change->slot >= (fake->slots_max ? fake->slots_max : FAKE_SLOTS))
		return -EINVAL;
	slot = &fake->slots[change->slot];
	if (change->memory_size == 0) {
		if (slot->bytes == 0)
			return -EINVAL;
		memset(slot, 0, sizeof(*slot));
		return 0;
	}
	if (change->guest_phys_addr % FAKE_PAGE || change->memory_size % FAKE_PAGE ||
	    change->userspace_addr % FAKE_PAGE ||
	    change->guest_phys_addr + change->memory_size < change->guest_phys_addr)
		return -EINVAL;
	if (slot->bytes != 0 && (slot->bytes != change->memory_size || slot->hva != change->userspace_addr ||
				 ((slot->flags ^ change->flags) & KVM_MEM_READONLY) ||
				 (fake->no_move && slot->first != change->guest_phys_addr)))
		return -EINVAL;
	if (slot->first != change->guest_phys_addr || slot->bytes == 0) {
		if (fake_overlaps(fake, change->guest_phys_addr, change->memory_size, change->slot))
			return -EEXIST;
		if (change->guest_phys_addr + change->memory_size > limit)
			return -EINVAL;
	}
	if (!(change->flags & slot->flags & KVM_MEM_LOG_DIRTY_PAGES))
		memset(slot->dirty, 0, sizeof(slot->dirty));
	slot->first = change->guest_phys_addr;
	slot->bytes = change->memory_size;
	slot->hva = change->userspace_addr;
	slot->flags = change->flags;
	if (change->slot >= fake->high)
		fake->high = change->slot + 1;
	return 0;
}

static inline int fake_set(struct fake_kvm *fake, const struct kvm_userspace_memory_region *change)
{
	int r, real;

	if (fake->before != NULL)
		fake->before(fake, change);
	fake->calls++;
	if (fake->fail_from <= fake->calls && fake->calls <= fake->fail_to)
		return fake->fail_code;
	r = fake_change(fake, change);
	if (fake->real_fd >= 0) {
		real = ioctl(fake->real_fd, KVM_SET_USER_MEMORY_REGION, change) < 0 ? -errno : 0;
		if (real != r)
			fail_msg("slot %u [%llx +%llx] flags %x: the kernel says %d, the model %d", change->slot,
				 (unsigned long long)change->guest_phys_addr, (unsigned long long)change->memory_size,
				 change->flags, real, r);
	}
	return r;
}

static inline uint64_t fake_log_words(const struct fake_slot *slot)
{
	uint64_t pages = slot->bytes / FAKE_PAGE;

	assert_true(pages <= FAKE_LOG_PAGES);
	return (pages + 63) / 64;
}

static inline int fake_get_log(struct fake_kvm *fake, const struct kvm_dirty_log *log)
{
	struct fake_slot *slot = &fake->slots[log->slot];

	if (fake->fail_gets > 0) {
		fake->fail_gets--;
		return -ENOMEM;
	}
	if (!(slot->flags & KVM_MEM_LOG_DIRTY_PAGES))
		return -ENOENT;
	memcpy(log->dirty_bitmap, slot->dirty, fake_log_words(slot) * 8);
	if (!fake->manual)
		memset(slot->dirty, 0, sizeof(slot->dirty));
	return 0;
}

static inline int fake_clear_log(struct fake_kvm *fake, const struct kvm_clear_dirty_log *log)
{
	struct fake_slot *slot = &fake->slots[log->slot];
	const uint64_t *bits = log->dirty_bitmap;
	uint64_t pages = slot->bytes / FAKE_PAGE;

	if (fake->before_clear != NULL)
		fake->before_clear(fake);
	if (fake->fail_clears > 0) {
		fake->fail_clears--;
		return -ENOMEM;
	}
	if (!(slot->flags & KVM_MEM_LOG_DIRTY_PAGES))
		return -ENOENT;
	if (log->first_page % 64 != 0 || log->first_page > pages || log->num_pages > pages - log->first_page ||
	    (log->num_pages % 64 != 0 && log->first_page + log->num_pages != pages))
		return -EINVAL;
	for (uint64_t i = 0; i < (log->num_pages + 63) / 64; i++)
		slot->dirty[log->first_page / 64 + i] &= ~bits[i];
	return 0;
}

static inline int fake_reset_rings(struct fake_kvm *fake)
{
	int count = 0;

	fake->resets++;
	if (fake->before_clear != NULL)
		fake->before_clear(fake);
	if (fake->fail_clears > 0) {
		fake->fail_clears--;
		return -ENOMEM;
	}
	for (; fake->ring_tail != fake->ring_head; fake->ring_tail++, count++) {
		struct kvm_dirty_gfn *entry = &fake->ring[fake->ring_tail % fake->ring_entries];

		if (!(entry->flags & KVM_DIRTY_GFN_F_RESET))
			break;
		fake->slots[entry->slot].dirty[entry->offset / 64] &= ~(UINT64_C(1) << (entry->offset % 64));
		entry->flags = 0;
	}
	return count;
}

static inline int fake_has(const struct fake_kvm *fake, unsigned long capability)
{
	switch (capability) {
	case KVM_CAP_USER_MEMORY:
		return 1;
	case KVM_CAP_NR_MEMSLOTS:
		return (int)(fake->slots_max ? fake->slots_max : FAKE_SLOTS);
	case KVM_CAP_READONLY_MEM:
		return !fake->no_readonly;
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		return fake->no_manual ? 0 : 3;
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
		return 1 << 20;
	default:
		return 0;
	}
}

static inline int fake_ioctl(void *opaque, int fd, unsigned long request, void *argument)
{
	struct fake_kvm *fake = opaque;

	(void)fd;
	switch (request) {
	case KVM_CHECK_EXTENSION:
		return fake_has(fake, (uintptr_t)argument);
	case KVM_ENABLE_CAP:
		fake->manual |= ((struct kvm_enable_cap *)argument)->cap == KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
		return 0;
	case KVM_SET_USER_MEMORY_REGION:
		return fake_set(fake, argument);
	case KVM_GET_DIRTY_LOG:
		return fake_get_log(fake, argument);
	case KVM_CLEAR_DIRTY_LOG:
		return fake_clear_log(fake, argument);
	case KVM_RESET_DIRTY_RINGS:
		return fake_reset_rings(fake);
	default:
		return -ENOTTY;
	}
}

/* The guest writes: true where there is a slot that it may write to. */
static inline bool fake_write(struct fake_kvm *fake, uint64_t address)
{
	for (unsigned i = 0; i < fake->high; i++) {
		struct fake_slot *slot = &fake->slots[i];
		uint64_t page = (address - slot->first) / FAKE_PAGE;

		if (slot->bytes == 0 || address < slot->first || address - slot->first >= slot->bytes)
			continue;
		if (slot->flags & KVM_MEM_READONLY)
			return false;
		if (!(slot->flags & KVM_MEM_LOG_DIRTY_PAGES) || slot->dirty[page / 64] >> (page % 64) & 1)
			return true;
		slot->dirty[page / 64] |= UINT64_C(1) << (page % 64);
		if (fake->ring != NULL) {
			assert_true(fake->ring_head - fake->ring_tail < fake->ring_entries);
			fake->ring[fake->ring_head++ % fake->ring_entries] =
				(struct kvm_dirty_gfn){ .flags = KVM_DIRTY_GFN_F_DIRTY, .slot = i, .offset = page };
		}
		return true;
	}
	return false;
}

static inline unsigned fake_count(const struct fake_kvm *fake)
{
	unsigned count = 0;

	for (unsigned i = 0; i < fake->high; i++)
		count += fake->slots[i].bytes != 0;
	return count;
}

/* The slots are those of the regions of a map, neither more nor less, and look as they have to. */
static inline void fake_equals(const struct fake_kvm *fake, struct gm_space *space, unsigned others)
{
	const struct gm_region *region = NULL;
	const struct gm_map *map;
	unsigned count = others;

	assert_int_equal(gm_space_map(space, "test", &map), 0);
	while ((region = gm_map_next(map, region)) != NULL) {
		bool found = false;

		if (gm_region_hva(region) == NULL)
			continue;
		count++;
		for (unsigned i = 0; i < fake->high && !found; i++) {
			const struct fake_slot *slot = &fake->slots[i];

			found = slot->bytes == gm_region_bytes(region) &&
				slot->first == gm_region_first(region).value &&
				slot->hva == (uintptr_t)gm_region_hva(region) &&
				!(slot->flags & KVM_MEM_READONLY) == !!(gm_region_prot(region) & GM_WRITE);
		}
		if (!found)
			fail_msg("region '%s' has no slot", gm_region_name(region));
	}
	assert_int_equal(fake_count(fake), count);
	gm_map_unref(map);
}

/* A fake one needs a descriptor to keep; nothing is done with it. */
static inline struct gm_kvm *fake_open(struct fake_kvm *fake, struct gm_kvm_opts opts)
{
	struct gm_error error = { 0, "" };
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct gm_kvm *kvm;

	assert_true(fd >= 0);
	opts.size = sizeof(opts);
	opts.ioctl = fake_ioctl;
	opts.opaque = fake;
	if (gm_kvm_new(fd, &opts, &kvm, &error) != 0)
		fail_msg("%s", error.text);
	close(fd);
	return kvm;
}

static inline struct fake_kvm *fake_new(void)
{
	struct fake_kvm *fake = calloc(1, sizeof(*fake));

	assert_non_null(fake);
	fake->real_fd = -1;
	return fake;
}

#endif

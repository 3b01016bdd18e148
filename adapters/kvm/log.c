/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Dirty logging of slots: switched on and off, and KVM's bitmaps taken over into the regions' own logs. Rings are ring.c's.
 *
 * The order is always: KVM clears and protects, then we mark. A page that the guest writes in between is logged again. The other
 * way round, a collector could take the mark, copy the page and miss what is written before it is protected.
 */
#include <errno.h>
#include <string.h>

#include <guestmem/dirty.h>

#include "vm.h"

/* Pages that are protected by one call: 1 GiB in 4 KiB. KVM holds its lock meanwhile, which vCPUs wait for. */
#define CLEAR_WORDS ((size_t)1 << 12)

/* Addresses of KVM on x86: 52 bits, or what the processor has. */
#define PARKING_BITS_MAX 52
#define PARKING_BITS_MIN 32

static uint64_t slot_pages(const struct gm_kvm *kvm, const struct slot *slot)
{
	return gm_region_bytes(slot->region) / kvm->page_bytes;
}

static size_t slot_words(const struct gm_kvm *kvm, const struct slot *slot)
{
	return (size_t)((slot_pages(kvm, slot) + 63) / 64);
}

bool gmi_kvm_is_logged(const struct slot *slot)
{
	return slot->set && (slot->flags & KVM_MEM_LOG_DIRTY_PAGES);
}

int gmi_kvm_bitmap_reserve(struct gm_kvm *kvm, const struct slot *slot)
{
	uint64_t *bitmap;

	if (kvm->log == GM_KVM_LOG_RING)
		return 0;
	bitmap = gmi_kvm_reserve(kvm->bitmap, &kvm->bitmap_words, slot_words(kvm, slot), sizeof(*bitmap));
	if (bitmap == NULL)
		return -ENOMEM;
	kvm->bitmap = bitmap;
	return 0;
}

static int get(struct gm_kvm *kvm, const struct slot *slot)
{
	struct kvm_dirty_log log = { .slot = slot->number };
	int r = gmi_kvm_bitmap_reserve(kvm, slot);

	if (r < 0)
		return r;
	log.dirty_bitmap = kvm->bitmap;
	r = gmi_kvm_call(kvm, kvm->vm_fd, KVM_GET_DIRTY_LOG, &log);
	return r < 0 ? r : 0;
}

/* Pages in @words words from the @first on; the last word may be cut short by the slot's end. */
static uint64_t pages_in(const struct gm_kvm *kvm, const struct slot *slot, size_t first, size_t words)
{
	uint64_t pages = slot_pages(kvm, slot) - (uint64_t)first * 64;

	return pages < (uint64_t)words * 64 ? pages : (uint64_t)words * 64;
}

static void merge(struct gm_kvm *kvm, const struct slot *slot, size_t first, size_t words)
{
	struct gm_dirty *dirty = gm_region_dirty(slot->region);

	if (dirty == NULL)
		return;
	/* The log is as long as the region, so nothing stands outside of it. */
	(void)!gm_dirty_merge(dirty, gm_offset((uint64_t)first * 64 * kvm->page_bytes), kvm->bitmap + first,
			      pages_in(kvm, slot, first, words), kvm->page_bytes);
}

static int clear(struct gm_kvm *kvm, const struct slot *slot, size_t first, size_t words)
{
	struct kvm_clear_dirty_log log = {
		.slot = slot->number,
		.num_pages = (uint32_t)pages_in(kvm, slot, first, words),
		.first_page = (uint64_t)first * 64,
		.dirty_bitmap = kvm->bitmap + first,
	};
	int r = gmi_kvm_call(kvm, kvm->vm_fd, KVM_CLEAR_DIRTY_LOG, &log);

	return r < 0 ? r : 0;
}

/* Clears and marks, in portions, what is dirty. What KVM would not clear is marked as well: it comes again. */
static int clear_and_merge(struct gm_kvm *kvm, const struct slot *slot)
{
	size_t words = slot_words(kvm, slot), at, first, last;
	int r, result = 0;

	for (at = 0; at < words; at += CLEAR_WORDS) {
		first = at;
		last = words - at < CLEAR_WORDS ? words : at + CLEAR_WORDS;
		while (first < last && kvm->bitmap[first] == 0)
			first++;
		while (last > first && kvm->bitmap[last - 1] == 0)
			last--;
		if (first == last)
			continue;
		r = clear(kvm, slot, first, last - first);
		if (r < 0 && result == 0)
			result = r;
		merge(kvm, slot, first, last - first);
	}
	return result;
}

int gmi_kvm_bitmap_sync(struct gm_kvm *kvm, struct slot *slot)
{
	int r;

	if (kvm->log == GM_KVM_LOG_RING || !gmi_kvm_is_logged(slot))
		return 0;
	r = get(kvm, slot);
	if (r < 0)
		return r;
	if (kvm->log == GM_KVM_LOG_MANUAL)
		return clear_and_merge(kvm, slot);
	merge(kvm, slot, 0, slot_words(kvm, slot));
	return 0;
}

static int move(struct gm_kvm *kvm, const struct slot *slot, unsigned bits)
{
	uint64_t top = UINT64_C(1) << bits, bytes = gm_region_bytes(slot->region);
	struct kvm_userspace_memory_region region = {
		.slot = slot->number,
		.flags = slot->flags,
		.guest_phys_addr = top - bytes,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)gm_region_hva(slot->region),
	};

	return bytes > top ? -EINVAL : gmi_kvm_call(kvm, kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

/*
 * Moves a slot that is to be deleted to the top of what KVM can address: a slot that moves keeps its bitmap, one that is deleted does not, and
 * where it is now the guest does not write. It need not work: then writes between the log's taking and the deletion are not seen.
 */
static void park(struct gm_kvm *kvm, struct slot *slot)
{
	unsigned bits = kvm->parking_bits ? kvm->parking_bits : PARKING_BITS_MAX;
	int r = move(kvm, slot, bits);

	/* x86 says EINVAL of an address beyond what it has, arm64 EFAULT. */
	while ((r == -EINVAL || r == -EFAULT) && kvm->parking_bits == 0 && bits > PARKING_BITS_MIN)
		r = move(kvm, slot, --bits);
	if (r >= 0) {
		kvm->parking_bits = bits;
		slot->parked = true;
	}
}

/* Takes what is there without clearing: KVM's log goes, or stays another region's. */
static void take(struct gm_kvm *kvm, const struct slot *slot)
{
	struct gm_dirty *dirty = gm_region_dirty(slot->region);

	if (get(kvm, slot) == 0)
		merge(kvm, slot, 0, slot_words(kvm, slot));
	else if (dirty != NULL)
		gm_dirty_mark(dirty, gm_offset(0), gm_region_bytes(slot->region));
}

void gmi_kvm_log_take_last(struct gm_kvm *kvm, struct slot *slot)
{
	/* Rings keep what was written to a slot that is deleted: they are emptied afterwards. */
	if (kvm->log == GM_KVM_LOG_RING)
		return;
	park(kvm, slot);
	take(kvm, slot);
}

void gmi_kvm_log_hand_over(struct gm_kvm *kvm, struct slot *slot)
{
	if (gmi_kvm_is_logged(slot) && kvm->log != GM_KVM_LOG_RING)
		take(kvm, slot);
}

static bool may_be_logged(const struct slot *slot)
{
	return gm_region_dirty(slot->region) != NULL && !(slot->flags & (KVM_MEM_READONLY | KVM_MEM_GUEST_MEMFD));
}

/* Switches logging of a slot to what is asked for now. */
static int follow(struct gm_kvm *kvm, struct slot *slot)
{
	uint32_t before = slot->flags;
	bool wanted = may_be_logged(slot) && (slot->asked || kvm->log_all);
	int r = wanted ? gmi_kvm_bitmap_reserve(kvm, slot) : 0;

	if (r < 0)
		return r;
	slot->flags &= ~(uint32_t)KVM_MEM_LOG_DIRTY_PAGES;
	slot->flags |= wanted ? KVM_MEM_LOG_DIRTY_PAGES : 0;
	/* What made way, or takes over later, is set with these flags then. */
	if (slot->flags == before || !slot->set)
		return 0;
	r = gmi_kvm_slot_set(kvm, slot);
	if (r < 0)
		slot->flags = before;
	return r;
}

/* All slots that there are, those of an update that is under way too. */
static struct slot *slot_at(const struct gm_kvm *kvm, size_t index)
{
	if (index < kvm->count)
		return kvm->sorted[index];
	return index - kvm->count < kvm->staged_count ? kvm->staged[index - kvm->count] : NULL;
}

static int follow_all(struct gm_kvm *kvm, bool log_all, const struct slot **ret_slot)
{
	bool before = kvm->log_all;
	struct slot *slot;
	size_t i;
	int r = 0;

	kvm->log_all = log_all;
	for (i = 0; r == 0 && (slot = slot_at(kvm, i)) != NULL; i++) {
		r = follow(kvm, slot);
		*ret_slot = slot;
	}
	if (r == 0)
		return 0;
	kvm->log_all = before;
	/* What stays switched on because KVM refuses is logged for nobody: no harm. What stays off was never on, or is tried again. */
	for (i = 0; (slot = slot_at(kvm, i)) != NULL; i++)
		(void)follow(kvm, slot);
	return r;
}

static int start_all(struct gm_kvm *kvm, struct gm_error *error)
{
	const struct slot *slot;
	size_t i;
	int r;

	for (i = 0; (slot = slot_at(kvm, i)) != NULL; i++) {
		if ((slot->flags & KVM_MEM_GUEST_MEMFD) && gm_region_dirty(slot->region) != NULL)
			return gmi_kvm_error(error, -EOPNOTSUPP, "KVM can't log region '%s', which is of guest_memfd",
					     gm_region_name(slot->region));
	}
	r = follow_all(kvm, true, &slot);
	return r < 0 ? gmi_kvm_error(error, r, "switching on the log of region '%s': %s", gm_region_name(slot->region),
				     strerror(-r))
		     : 0;
}

static int start_one(struct gm_kvm *kvm, const struct gm_region *region, struct gm_error *error)
{
	struct slot *slot = gmi_kvm_slot_of(kvm, region);
	const char *name = gm_region_name(region);
	int r;

	if (slot == NULL)
		return gmi_kvm_error(error, -ENOENT, "region '%s' has no slot of KVM", name);
	if (slot->flags & KVM_MEM_GUEST_MEMFD)
		return gmi_kvm_error(error, -EOPNOTSUPP, "KVM can't log region '%s', which is of guest_memfd", name);
	if (!may_be_logged(slot))
		return gmi_kvm_error(error, -EINVAL, "region '%s' has no dirty log, or may not be written", name);
	slot->asked = true;
	r = follow(kvm, slot);
	if (r == 0)
		return 0;
	slot->asked = false;
	return gmi_kvm_error(error, r, "switching on the log of region '%s': %s", name, strerror(-r));
}

KVM_PUBLIC int gm_kvm_log_start(struct gm_kvm *kvm, const struct gm_region *region, struct gm_error *error)
{
	int r;

	pthread_mutex_lock(&kvm->mutex);
	r = region != NULL ? start_one(kvm, region, error) : start_all(kvm, error);
	pthread_mutex_unlock(&kvm->mutex);
	return r;
}

static int sync_all(struct gm_kvm *kvm, struct gm_error *error)
{
	struct slot *slot;
	size_t i;
	int r, result = gmi_kvm_rings_sync(kvm);

	if (result < 0)
		gmi_kvm_error(error, result, "KVM's dirty rings: %s", strerror(-result));
	for (i = 0; (slot = slot_at(kvm, i)) != NULL; i++) {
		r = gmi_kvm_bitmap_sync(kvm, slot);
		if (r < 0 && result == 0)
			result = gmi_kvm_error(error, r, "KVM's dirty log of region '%s': %s",
					       gm_region_name(slot->region), strerror(-r));
	}
	return result;
}

static int stop_all(struct gm_kvm *kvm, struct gm_error *error)
{
	const struct slot *slot = NULL;
	int r = sync_all(kvm, error);

	if (r < 0)
		return r;
	r = follow_all(kvm, false, &slot);
	return r < 0 ? gmi_kvm_error(error, r, "switching off the log of region '%s': %s", gm_region_name(slot->region),
				     strerror(-r))
		     : 0;
}

static int stop_one(struct gm_kvm *kvm, const struct gm_region *region, struct gm_error *error)
{
	struct slot *slot = gmi_kvm_slot_of(kvm, region);
	const char *name = gm_region_name(region);
	int r;

	if (slot == NULL)
		return gmi_kvm_error(error, -ENOENT, "region '%s' has no slot of KVM", name);
	r = gmi_kvm_bitmap_sync(kvm, slot);
	if (r < 0)
		return gmi_kvm_error(error, r, "KVM's dirty log of region '%s': %s", name, strerror(-r));
	slot->asked = false;
	r = follow(kvm, slot);
	if (r == 0)
		r = gmi_kvm_rings_sync(kvm);
	if (r == 0)
		return 0;
	slot->asked = true;
	return gmi_kvm_error(error, r, "switching off the log of region '%s': %s", name, strerror(-r));
}

KVM_PUBLIC int gm_kvm_log_stop(struct gm_kvm *kvm, const struct gm_region *region, struct gm_error *error)
{
	int r;

	pthread_mutex_lock(&kvm->mutex);
	r = region != NULL ? stop_one(kvm, region, error) : stop_all(kvm, error);
	pthread_mutex_unlock(&kvm->mutex);
	return r;
}

KVM_PUBLIC int gm_kvm_dirty_sync(struct gm_kvm *kvm, struct gm_error *error)
{
	int r;

	pthread_mutex_lock(&kvm->mutex);
	r = sync_all(kvm, error);
	pthread_mutex_unlock(&kvm->mutex);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Slots: which region gets one and how it looks, their numbers, their order, and the two calls that set and delete them. What the kernel
 * refused where nothing may fail is kept, and tried again, here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vm.h"

bool gmi_kvm_wants_slot(const struct gm_region *region)
{
	return gm_region_hva(region) != NULL && (gm_region_prot(region) & GM_READ);
}

static bool is_guest_memfd(const struct gm_kvm *kvm, const struct gm_region *region)
{
	struct stat status;

	return kvm->guest_memfd && gm_region_source(region) == GM_SOURCE_FD &&
	       fstat(gm_region_fd(region), &status) == 0 && status.st_dev == kvm->guest_memfd_device;
}

int gmi_kvm_slot_flags(const struct gm_kvm *kvm, const struct gm_region *region, uint32_t *ret_flags,
		       struct gm_error *error)
{
	bool writable = gm_region_prot(region) & GM_WRITE, guest_memfd = is_guest_memfd(kvm, region);
	const char *name = gm_region_name(region);
	uint32_t flags = 0;

	if (gm_region_bytes(region) / kvm->page_bytes > GM_KVM_SLOT_PAGES_MAX)
		return gmi_kvm_error(
			error, -E2BIG, "region '%s' " RANGE_FORMAT " has more than the %llu pages of one slot of KVM",
			name, RANGE_ARGS(gm_region_range(region)), (unsigned long long)GM_KVM_SLOT_PAGES_MAX);
	if (!writable && guest_memfd)
		return gmi_kvm_error(error, -EOPNOTSUPP,
				     "region '%s' may not be written, but KVM has no read-only slots of guest_memfd",
				     name);
	if (!writable && !kvm->readonly)
		return gmi_kvm_error(error, -EOPNOTSUPP,
				     "region '%s' may not be written, but this KVM has no read-only slots", name);
	if (guest_memfd && kvm->log_all && gm_region_dirty(region) != NULL)
		return gmi_kvm_error(
			error, -EOPNOTSUPP,
			"all memory is being logged, but KVM can't log region '%s', which is of guest_memfd", name);
	if (guest_memfd)
		flags |= KVM_MEM_GUEST_MEMFD;
	else if (!writable)
		flags |= KVM_MEM_READONLY;
	else if (kvm->log_all && gm_region_dirty(region) != NULL)
		flags |= KVM_MEM_LOG_DIRTY_PAGES;
	*ret_flags = flags;
	return 0;
}

int gmi_kvm_slot_new(struct gm_kvm *kvm, struct gm_region *region, struct slot **ret_slot, struct gm_error *error)
{
	struct slot *slot;
	uint32_t flags;
	int r = gmi_kvm_slot_flags(kvm, region, &flags, error);

	if (r < 0)
		return r;
	slot = calloc(1, sizeof(*slot));
	if (slot == NULL)
		return gmi_kvm_error(error, -ENOMEM, "no memory for the slot of region '%s'", gm_region_name(region));
	slot->region = gm_region_ref(region);
	slot->number = NO_NUMBER;
	slot->flags = flags;
	*ret_slot = slot;
	return 0;
}

void gmi_kvm_slot_free(struct slot *slot)
{
	if (slot == NULL)
		return;
	gm_region_unref(slot->region);
	free(slot);
}

size_t gmi_kvm_slot_index(const struct gm_kvm *kvm, uint64_t address)
{
	size_t low = 0, high = kvm->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (gm_region_last(kvm->sorted[middle]->region).value < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct slot *gmi_kvm_slot_of(const struct gm_kvm *kvm, const struct gm_region *region)
{
	size_t index = gmi_kvm_slot_index(kvm, gm_region_first(region).value);

	return index < kvm->count && kvm->sorted[index]->region == region ? kvm->sorted[index] : NULL;
}

/* by_number has room: gmi_kvm_prepare() saw to it. */
void gmi_kvm_number_take(struct gm_kvm *kvm, struct slot *slot)
{
	uint32_t number = kvm->number_hint;

	while (kvm->by_number[number] != NULL)
		number++;
	kvm->by_number[number] = slot;
	kvm->number_hint = number + 1;
	kvm->numbered++;
	slot->number = kvm->opts.slot_first + number;
}

void gmi_kvm_number_give(struct gm_kvm *kvm, struct slot *slot)
{
	uint32_t number = slot->number - kvm->opts.slot_first;

	gmi_kvm_rings_pass_on(kvm, slot, NULL);
	kvm->by_number[number] = NULL;
	kvm->numbered--;
	if (number < kvm->number_hint)
		kvm->number_hint = number;
	slot->number = NO_NUMBER;
}

int gmi_kvm_slot_set(struct gm_kvm *kvm, struct slot *slot)
{
	const struct gm_region *region = slot->region;
	struct kvm_userspace_memory_region old = {
		.slot = slot->number,
		.flags = slot->flags,
		.guest_phys_addr = gm_region_first(region).value,
		.memory_size = gm_region_bytes(region),
		.userspace_addr = (uintptr_t)gm_region_hva(region),
	};
	struct uapi_memory_region2 region2 = {
		.slot = slot->number,
		.flags = slot->flags,
		.guest_phys_addr = old.guest_phys_addr,
		.memory_size = old.memory_size,
		.userspace_addr = old.userspace_addr,
	};
	int r;

	if (slot->flags & KVM_MEM_GUEST_MEMFD) {
		region2.guest_memfd = (uint32_t)gm_region_fd(region);
		region2.guest_memfd_offset = gm_region_fd_offset(region);
		r = gmi_kvm_call(kvm, kvm->vm_fd, UAPI_SET_USER_MEMORY_REGION2, &region2);
	} else {
		r = gmi_kvm_call(kvm, kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &old);
	}
	if (r < 0)
		return r;
	slot->set = true;
	slot->parked = false;
	return 0;
}

int gmi_kvm_slot_delete(struct gm_kvm *kvm, struct slot *slot)
{
	struct kvm_userspace_memory_region none = { .slot = slot->number };
	int r;

	if (gmi_kvm_is_logged(slot))
		gmi_kvm_log_take_last(kvm, slot);
	r = gmi_kvm_call(kvm, kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &none);
	if (r < 0)
		return r;
	slot->set = false;
	slot->parked = false;
	return 0;
}

void gmi_kvm_slot_is_stale(struct gm_kvm *kvm, struct slot *slot, int code)
{
	slot->next = kvm->stale;
	kvm->stale = slot;
	gmi_kvm_error(&kvm->trouble, code, "KVM would not delete slot %u of region '%s' " RANGE_FORMAT ": %s",
		      slot->number, gm_region_name(slot->region), RANGE_ARGS(gm_region_range(slot->region)),
		      strerror(-code));
}

void gmi_kvm_slot_is_missing(struct gm_kvm *kvm, struct slot *slot, int code)
{
	if (slot->missing != (code < 0)) {
		slot->missing = code < 0;
		kvm->missing = slot->missing ? kvm->missing + 1 : kvm->missing - 1;
	}
	if (code < 0)
		gmi_kvm_error(&kvm->trouble, code,
			      "KVM would not set the slot of region '%s' " RANGE_FORMAT " again: %s",
			      gm_region_name(slot->region), RANGE_ARGS(gm_region_range(slot->region)), strerror(-code));
}

static int mend_stale(struct gm_kvm *kvm)
{
	struct slot *slot;
	int r;

	while ((slot = kvm->stale) != NULL) {
		r = gmi_kvm_slot_delete(kvm, slot);
		if (r < 0)
			return r;
		(void)gmi_kvm_rings_sync(kvm);
		kvm->stale = slot->next;
		gmi_kvm_number_give(kvm, slot);
		gmi_kvm_slot_free(slot);
	}
	return 0;
}

static int mend_missing(struct gm_kvm *kvm)
{
	struct slot *slot;
	size_t i;
	int r;

	for (i = 0; i < kvm->count && kvm->missing > 0; i++) {
		slot = kvm->sorted[i];
		if (!slot->missing)
			continue;
		/* Each slot in sorted is counted in what gmi_kvm_prepare() compares with the limit, so there is a number. */
		if (slot->number == NO_NUMBER)
			gmi_kvm_number_take(kvm, slot);
		r = gmi_kvm_slot_set(kvm, slot);
		if (r < 0)
			return r;
		gmi_kvm_slot_is_missing(kvm, slot, 0);
	}
	return 0;
}

int gmi_kvm_mend(struct gm_kvm *kvm, struct gm_error *error)
{
	int r = mend_stale(kvm);

	if (r == 0)
		r = mend_missing(kvm);
	if (r < 0)
		kvm->trouble.code = r;
	if (r < 0 && error != NULL)
		*error = kvm->trouble;
	return r;
}

KVM_PUBLIC size_t gm_kvm_slots(struct gm_kvm *kvm, struct gm_kvm_slot *slots, size_t max)
{
	size_t i, count = 0;

	pthread_mutex_lock(&kvm->mutex);
	for (i = 0; i < kvm->count; i++) {
		const struct slot *slot = kvm->sorted[i];

		if (!slot->set || slot->parked)
			continue;
		if (count++ >= max)
			continue;
		slots[count - 1] = (struct gm_kvm_slot){
			.number = slot->number,
			.flags = slot->flags,
			.range = gm_region_range(slot->region),
			.hva = gm_region_hva(slot->region),
			.region = slot->region,
		};
	}
	pthread_mutex_unlock(&kvm->mutex);
	return count;
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Dirty rings: one per vCPU, which KVM fills with slot numbers and pages. Entries are taken out in order, given back, KVM is told to
 * protect their pages again, and then they are marked (log.c says why not before).
 *
 * An entry names a slot by its number. So after a slot was deleted, the rings are emptied before the number becomes another's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <guestmem/dirty.h>

#include "vm.h"

/* An entry's slot has the number of an address space above: that of system management mode on x86, which has no slots of ours. */
#define NUMBER_BITS 16

static size_t ring_bytes(const struct gm_kvm *kvm)
{
	return kvm->ring_entries * sizeof(struct kvm_dirty_gfn);
}

static struct ring *find_ring(struct gm_kvm *kvm, int vcpu_fd)
{
	size_t i;

	for (i = 0; i < kvm->rings_count; i++) {
		if (kvm->rings[i].vcpu_fd == vcpu_fd)
			return &kvm->rings[i];
	}
	return NULL;
}

static struct slot *find_slot(const struct gm_kvm *kvm, uint32_t entry_slot)
{
	uint32_t number = entry_slot & ((UINT32_C(1) << NUMBER_BITS) - 1);

	if (entry_slot >> NUMBER_BITS != 0 || number < kvm->opts.slot_first)
		return NULL;
	number -= kvm->opts.slot_first;
	return number < kvm->numbers_room ? kvm->by_number[number] : NULL;
}

/* Takes what KVM has filled, at most once around, and keeps in written what is ours. */
static void harvest(struct gm_kvm *kvm, struct ring *ring)
{
	struct kvm_dirty_gfn *entry;
	struct slot *slot;
	uint32_t looked;

	for (looked = 0; looked < kvm->ring_entries; looked++) {
		entry = &ring->entries[ring->next & (kvm->ring_entries - 1)];
		/* Pairs with KVM's release, behind slot and page. */
		if (!(__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY))
			break;
		slot = find_slot(kvm, entry->slot);
		if (slot != NULL)
			kvm->written[kvm->written_count++] = (struct written){ .slot = slot, .page = entry->offset };
		/* KVM may use it again once reset: by then it was read. */
		__atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		ring->next++;
		kvm->reset_due = true;
	}
}

static void mark(const struct gm_kvm *kvm, const struct written *written)
{
	const struct gm_region *region = written->slot->region;
	struct gm_dirty *dirty = gm_region_dirty(region);

	if (dirty != NULL && written->page < gm_region_bytes(region) / kvm->page_bytes)
		gm_dirty_mark(dirty, gm_offset(written->page * kvm->page_bytes), kvm->page_bytes);
}

int gmi_kvm_rings_sync(struct gm_kvm *kvm)
{
	size_t i;
	int r;

	for (i = 0; i < kvm->rings_count; i++)
		harvest(kvm, &kvm->rings[i]);
	if (!kvm->reset_due)
		return 0;
	r = gmi_kvm_call(kvm, kvm->vm_fd, KVM_RESET_DIRTY_RINGS, NULL);
	for (i = 0; i < kvm->written_count; i++) {
		if (kvm->written[i].slot != NULL)
			mark(kvm, &kvm->written[i]);
	}
	/*
	 * Without a reset the pages are not protected, and are to be marked again when they are. There is room: KVM fills no entry
	 * that was not reset.
	 */
	if (r < 0)
		return r;
	kvm->written_count = 0;
	kvm->reset_due = false;
	return 0;
}

void gmi_kvm_rings_pass_on(struct gm_kvm *kvm, const struct slot *slot, struct slot *heir)
{
	size_t i;

	for (i = 0; i < kvm->written_count; i++) {
		if (kvm->written[i].slot == slot)
			kvm->written[i].slot = heir;
	}
}

static int add(struct gm_kvm *kvm, int vcpu_fd, struct gm_error *error)
{
	struct ring *rings;
	struct written *written;
	void *entries;

	if (find_ring(kvm, vcpu_fd) != NULL)
		return gmi_kvm_error(error, -EEXIST, "vCPU of descriptor %d was added already", vcpu_fd);
	if (kvm->rings_count == GM_KVM_VCPUS_MAX)
		return gmi_kvm_error(error, -ENOSPC, "more than %u vCPUs", GM_KVM_VCPUS_MAX);
	rings = gmi_kvm_reserve(kvm->rings, &kvm->rings_room, kvm->rings_count + 1, sizeof(*rings));
	if (rings == NULL)
		return gmi_kvm_error(error, -ENOMEM, "no memory for a vCPU's dirty ring");
	kvm->rings = rings;
	written = gmi_kvm_reserve(kvm->written, &kvm->written_room,
				  kvm->written_count + (kvm->rings_count + 1) * kvm->ring_entries, sizeof(*written));
	if (written == NULL)
		return gmi_kvm_error(error, -ENOMEM, "no memory for a vCPU's dirty ring");
	kvm->written = written;
	entries = mmap(NULL, ring_bytes(kvm), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd,
		       (off_t)(KVM_DIRTY_LOG_PAGE_OFFSET * kvm->page_bytes));
	if (entries == MAP_FAILED)
		return gmi_kvm_error(error, -errno, "mapping the dirty ring of the vCPU of descriptor %d: %s", vcpu_fd,
				     strerror(errno));
	rings[kvm->rings_count++] = (struct ring){ .vcpu_fd = vcpu_fd, .entries = entries };
	return 0;
}

KVM_PUBLIC int gm_kvm_add_vcpu(struct gm_kvm *kvm, int vcpu_fd, struct gm_error *error)
{
	int r;

	if (kvm->log != GM_KVM_LOG_RING)
		return 0;
	pthread_mutex_lock(&kvm->mutex);
	r = add(kvm, vcpu_fd, error);
	pthread_mutex_unlock(&kvm->mutex);
	return r;
}

KVM_PUBLIC int gm_kvm_remove_vcpu(struct gm_kvm *kvm, int vcpu_fd)
{
	struct ring *ring;
	int r = 0;

	if (kvm->log != GM_KVM_LOG_RING)
		return 0;
	pthread_mutex_lock(&kvm->mutex);
	ring = find_ring(kvm, vcpu_fd);
	if (ring == NULL) {
		r = -ENOENT;
	} else {
		/* What KVM would not reset is marked, and this vCPU writes no more. */
		(void)gmi_kvm_rings_sync(kvm);
		munmap(ring->entries, ring_bytes(kvm));
		*ring = kvm->rings[--kvm->rings_count];
	}
	pthread_mutex_unlock(&kvm->mutex);
	return r;
}

void gmi_kvm_rings_free(struct gm_kvm *kvm)
{
	while (kvm->rings_count > 0)
		munmap(kvm->rings[--kvm->rings_count].entries, ring_bytes(kvm));
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * KVM: a VM's memory slots, kept equal to a space, and KVM's dirty log, merged into the regions' own. A library of its own,
 * guestmem-kvm, built from public headers only.
 *
 *	gm_kvm_new(vm_fd, NULL, &kvm, &error);
 *	gm_kvm_attach(kvm, space, &error);	from here on every update of the space sets and deletes slots
 *	... for each vCPU: gm_kvm_add_vcpu(kvm, vcpu_fd, &error); on KVM_EXIT_MMIO: gm_kvm_mmio(&view, run) ...
 *	gm_kvm_log_start(kvm, NULL, &error);	migration begins
 *	gm_kvm_dirty_sync(kvm, &error);		what the guest wrote is in the regions' dirty logs now, with what devices wrote
 *	gm_kvm_detach(kvm);
 *	gm_kvm_free(kvm);
 *
 * Slots. One per region that is mapped here and that may be read, whatever its kind; a region that may not be written gets a
 * read-only slot (guest writes are MMIO exits). Regions without a mapping (registers, callbacks, reserved) get none: accesses are
 * MMIO exits. The lowest free number is taken.
 *
 * Order. KVM knows no transactions; this is how an update is all or nothing:
 *	prepare	what can fail. New slots are set. KVM refuses a slot that overlaps another, and has so many numbers: so slots that make way
 *		for new ones, or whose numbers are needed, are deleted first. When anything is refused, the new ones are deleted and the
 *		old ones set again
 *	commit	the slots of removed regions are deleted: when gm_update_commit() returns, the guest can't reach them any more
 * A region that takes another's place over the same bytes (address, size, host address, protection) takes its slot too, and KVM
 * is not called. Otherwise the guest has no memory at that place between the two calls of KVM: an instruction that reads or writes
 * data there exits for MMIO, and gm_kvm_mmio() does it on the region that stands in the space; one that is fetched from there makes KVM
 * fail. The guest may reach new memory a little before the update is published.
 *
 * What the kernel does against that contract (it is out of memory where it deletes a slot or sets an old one again) can't undo an
 * update. It is kept in mind: gm_kvm_error() tells, the memory of a slot that could not be deleted is kept, each later update, and
 * gm_kvm_mend(), tries again first, and an update is refused while that fails.
 *
 * Locking: one mutex per struct gm_kvm, taken inside of the space's. Any thread may call anything at any time, but
 * where it is said.
 */
#ifndef GUESTMEM_KVM_H
#define GUESTMEM_KVM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guestmem/region.h>
#include <guestmem/space.h>
#include <guestmem/view.h>

GM_BEGIN_DECLS

struct gm_kvm;
struct kvm_run; /* <linux/kvm.h> */

/* Pages of one slot: the kernel's KVM_MEM_MAX_NR_PAGES, 8 TiB less a page of 4 KiB. A larger region is refused: make it of several. */
#define GM_KVM_SLOT_PAGES_MAX ((UINT64_C(1) << 31) - 1)
/* vCPUs with a dirty ring: KVM's own limit on x86 is 4096. */
#define GM_KVM_VCPUS_MAX 4096
/* Entries of a ring that is not given a size: 64 KiB, which a vCPU that dirties a page a microsecond fills in 4 ms. */
#define GM_KVM_RING_ENTRIES 4096

/* How KVM says what the guest wrote. */
enum gm_kvm_log {
	GM_KVM_LOG_BEST = 0,   /* MANUAL where the kernel has it, else BITMAP */
	GM_KVM_LOG_BITMAP = 1, /* KVM_GET_DIRTY_LOG, which protects all pages it reports at once, under KVM's lock */
	GM_KVM_LOG_MANUAL = 2, /* KVM_CLEAR_DIRTY_LOG protects them again, in portions: vCPUs wait less */
	GM_KVM_LOG_RING = 3,   /* KVM_CAP_DIRTY_LOG_RING_ACQ_REL: a ring per vCPU, which costs what is dirty */
};

/**
 * struct gm_kvm_opts - how to use KVM. Zero everywhere but @size is the default
 * @size: sizeof(struct gm_kvm_opts) as the caller was compiled
 * @log: how the guest's writes are logged
 * @ring_entries: RING only: entries per vCPU, a power of two; 0 for GM_KVM_RING_ENTRIES
 * @slot_first: the lowest slot number to use; those below are the caller's own
 * @slots_max: how many numbers to use from there; 0 for all that KVM has
 * @ioctl: how KVM is called, for processes that may not do so themselves, and for tests: 0 or more, or a negative error
 *	number. NULL for ioctl(2)
 * @opaque: given to it
 */
struct gm_kvm_opts {
	size_t size;
	enum gm_kvm_log log;
	uint32_t ring_entries;
	uint32_t slot_first;
	uint32_t slots_max;
	int (*ioctl)(void *opaque, int fd, unsigned long request, void *argument);
	void *opaque;
};

/* What a struct gm_kvm works with. */
struct gm_kvm_info {
	enum gm_kvm_log log;   /* never BEST */
	uint32_t ring_entries; /* RING only; else 0 */
	uint32_t slots_max;    /* how many it may use */
	uint32_t slots;        /* how many it uses */
	bool readonly;         /* KVM has read-only slots */
	bool guest_memfd;      /* KVM has guest_memfd that can be mapped */
};

/**
 * gm_kvm_new - look what KVM has, and choose
 * @vm_fd: of KVM_CREATE_VM. A duplicate is kept; the caller's stays the caller's. KVM takes RING only before the first vCPU is made
 * @opts: may be NULL
 *
 * Context: may block. Switches on the VM's capability of @opts.log.
 * Return: 0; -EINVAL for an option, or for @slot_first beyond what KVM has; -E2BIG for options of a newer library; -EOPNOTSUPP: KVM
 * has no such log; -EBADF; -ENOTTY for a descriptor that is no VM; -ENOMEM; or KVM's error number.
 */
GM_CHECKED int gm_kvm_new(int vm_fd, const struct gm_kvm_opts *opts, struct gm_kvm **ret_kvm, struct gm_error *error);

/*
 * Detaches, gives back rings, closes. Slots whose deletion failed until then stay with the VM, and their memory stays mapped.
 * Where gm_kvm_detach() fails (it says why) it is not freed: call that first. Accepts NULL.
 */
void gm_kvm_free(struct gm_kvm *kvm);

void gm_kvm_info(struct gm_kvm *kvm, struct gm_kvm_info *ret_info);

/**
 * gm_kvm_attach - make the slots equal to a space, and keep them so
 *
 * Sets a slot for each region that stands there, or none. Takes a reference on the space. Adds a listener to it, so a space may have several VMs.
 * An update of the space (and this call) is refused, with a sentence, with
 *	-ENOSPC		KVM has no number left
 *	-E2BIG		a region has more than GM_KVM_SLOT_PAGES_MAX pages
 *	-EOPNOTSUPP	a region may not be written, and KVM has no read-only slots, or it is of guest_memfd; or it
 *			could not be logged while everything is
 *	-ENOMEM
 *	and KVM's error number: -EEXIST when a slot of the caller's own stands in the way, -EINVAL for an address that is not a multiple
 *	of the host's page or beyond what KVM can map
 * Context: takes the space's mutex. Attaching, detaching and freeing: one thread at a time. Return: 0; -EBUSY when attached already; as
 * gm_space_add_listener().
 */
GM_CHECKED int gm_kvm_attach(struct gm_kvm *kvm, struct gm_space *space, struct gm_error *error);

/* Deletes all slots. Return: 0, also when not attached; -ENOMEM, -EDEADLK of gm_space_remove_listener(), and all is as before. */
GM_CHECKED int gm_kvm_detach(struct gm_kvm *kvm);

/**
 * gm_kvm_error - what went wrong where nothing may
 *
 * Return: 0 while slots equal the map; or what KVM said when it last failed to delete a slot or to restore one, and the sentence.
 */
GM_CHECKED int gm_kvm_error(struct gm_kvm *kvm, struct gm_error *error);
/* Try it again. Return: 0 when slots equal the map now; or what KVM said. */
GM_CHECKED int gm_kvm_mend(struct gm_kvm *kvm, struct gm_error *error);

/* One slot, as the kernel has it. */
struct gm_kvm_slot {
	uint32_t number;
	uint32_t flags; /* KVM_MEM_... */
	struct gm_range range;
	const void *hva;
	const struct gm_region *region; /* while it stands in the space */
};

/* Stores up to @max slots in ascending order of addresses, and returns how many there are. */
size_t gm_kvm_slots(struct gm_kvm *kvm, struct gm_kvm_slot *slots, size_t max);

/**
 * gm_kvm_add_vcpu, gm_kvm_remove_vcpu - a vCPU comes and goes
 * @vcpu_fd: borrowed until removed
 *
 * RING needs it, before the vCPU first runs while anything is logged, and once it does not run any more; otherwise they do nothing.
 * Return: 0; -EEXIST, -ENOENT: it is there, or not there; -ENOSPC past GM_KVM_VCPUS_MAX; -ENOMEM; what mmap(2) said.
 */
GM_CHECKED int gm_kvm_add_vcpu(struct gm_kvm *kvm, int vcpu_fd, struct gm_error *error);
int gm_kvm_remove_vcpu(struct gm_kvm *kvm, int vcpu_fd);

/**
 * gm_kvm_log_start, gm_kvm_log_stop - have the guest's writes logged, or not
 * @region: one region that stands in the space; NULL for all, those that come later too
 *
 * A region is logged while it was asked for, or all were. For all: a region without a dirty log of its own is left out, for its
 * writes would have nowhere to go; so is one that may not be written. Stopping collects what was written before.
 * All or none of it. Return: 0; -ENOENT when @region has no slot; -EINVAL when it has no dirty log, or may not be written;
 * -EOPNOTSUPP for guest_memfd, whose writes KVM can't log; or KVM's error number.
 */
GM_CHECKED int gm_kvm_log_start(struct gm_kvm *kvm, const struct gm_region *region, struct gm_error *error);
GM_CHECKED int gm_kvm_log_stop(struct gm_kvm *kvm, const struct gm_region *region, struct gm_error *error);

/**
 * gm_kvm_dirty_sync - mark what the guest wrote in the regions' dirty logs
 *
 * All that it wrote before this call, to slots that are logged. vCPUs may run; with RING, what a running vCPU wrote
 * last may wait in the processor until its next exit (Intel's PML), so the last call is made when they have stopped. KVM may report more
 * than was written, never less. The writes of a region that is removed while logged are marked when the update's commit returns: the
 * slot is moved out of the guest's reach, then its log is taken, then it is deleted. (A kernel that moves no slots: the log is taken
 * before it is deleted, and writes between the two, by vCPUs that run, are not seen.)
 * With RING: call it on KVM_EXIT_DIRTY_RING_FULL, too.
 *
 * Pages are protected again before they are marked: so whoever collects the region's log and reads the page then, has what was written
 * before, or is told of it again.
 * Return: 0; or the first error number of KVM, and what it did not tell it tells next time.
 */
GM_CHECKED int gm_kvm_dirty_sync(struct gm_kvm *kvm, struct gm_error *error);

/**
 * gm_kvm_mmio - do the access of a KVM_EXIT_MMIO
 * @view: the vCPU thread's own, with GM_VIEW_DISPATCH, on a memory with GM_DEVICE (and RAM, firmware) in its kinds; outside a section
 * @run: the vCPU's; what was read is placed in it. Where nothing can be read it is all ones; what can't be written is dropped
 *
 * A read-only slot's writes arrive here, and so do accesses to memory whose slot is just being replaced, or whose bytes KVM can't get.
 * Context: the vCPU's thread. Blocks as the region's callbacks do.
 * Return: 0; -EINVAL when @run is at no such exit; otherwise, for information, a code of <guestmem/access.h>.
 */
int gm_kvm_mmio(struct gm_view *view, struct kvm_run *run);

/**
 * gm_kvm_region_new_guest_memfd - a region over memory that belongs to this VM (guest_memfd), shared with us
 * @opts: as for gm_region_new(), without a source. KVM has no read-only slots of such memory, and does not log writes to it: @prot has
 *	to permit writing, and @dirty_page_bytes be 0. It can't be COW
 *
 * It stands in a space that this struct gm_kvm, or none, is attached to; any other VM refuses it. KVM punches holes in it
 * where asked by fallocate(2) on gm_region_fd(). Return: 0; -EOPNOTSUPP: the kernel has none that can be mapped, or one of the above;
 * -EINVAL for a source; or as gm_region_new(); or KVM's error number.
 */
GM_CHECKED int gm_kvm_region_new_guest_memfd(struct gm_kvm *kvm, const struct gm_region_opts *opts,
					     struct gm_region **ret_region, struct gm_error *error);

GM_END_DECLS

#endif

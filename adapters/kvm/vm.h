/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What the files of the KVM adapter share: struct gm_kvm, its slots, and how KVM is called.
 *
 * Invariants, whenever the mutex is free and no update is between prepare and commit:
 *	- sorted has one slot for each region of the space that gets one, in ascending order
 *	- each of them is set in the kernel, but for those that the kernel refused to restore (missing counts them)
 *	- what is set in the kernel and not in sorted is in stale: the kernel refused to delete it
 *	- a slot has a number, which is in numbers, from before it is set until after it is deleted and the rings were emptied of it
 * Between prepare and commit: staged has the slots of the regions to come, all set or about to take another's place; slots in sorted
 * that made way are not set.
 *
 * Locking: the mutex for all of it, but for what stays as gm_kvm_new() made it. The space's mutex comes first.
 */
#ifndef GM_KVM_VM_H
#define GM_KVM_VM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guestmem/kvm.h>

#include "uapi.h"

/* A public function's definition. Everything else is hidden; guestmem-kvm.map lists the same. */
#define KVM_PUBLIC __attribute__((visibility("default")))

#define RANGE_FORMAT      "[0x%llx, 0x%llx]"
#define RANGE_ARGS(range) (unsigned long long)(range).first.value, (unsigned long long)(range).last.value

/* A slot without a number. */
#define NO_NUMBER UINT32_MAX

/* What an update does to a slot in sorted. */
enum fate {
	STAYS = 0,
	GOES,      /* in commit */
	MAKES_WAY, /* in prepare already: something else needs its place or its number */
};

struct slot {
	struct gm_region *region; /* with a reference: so memory that the kernel may reach stays mapped */
	uint32_t number;
	uint32_t flags;      /* KVM_MEM_...: as the kernel has them, or is to have them */
	bool set;            /* the kernel has it */
	bool parked;         /* but out of the guest's reach: it was to be deleted */
	bool missing;        /* the kernel would not set it again, or where it belongs */
	bool asked;          /* gm_kvm_log_start() for this region */
	enum fate fate;      /* in an update */
	struct slot *heir;   /* in an update: takes over this slot, as the kernel has it */
	struct slot *leaver; /* the reverse, in staged */
	struct slot *next;   /* in stale */
};

/* A vCPU's dirty ring. */
struct ring {
	int vcpu_fd;
	struct kvm_dirty_gfn *entries;
	uint32_t next; /* to be looked at next */
};

/* What was found in a ring. */
struct written {
	struct slot *slot;
	uint64_t page;
};

struct gm_kvm {
	/* As gm_kvm_new() made it. */
	struct gm_kvm_opts opts;
	int vm_fd;
	uint64_t page_bytes;
	enum gm_kvm_log log;
	uint32_t ring_entries;
	uint32_t slots_max; /* numbers from opts.slot_first on */
	bool readonly;
	bool guest_memfd;
	uint64_t guest_memfd_device; /* st_dev of all guest_memfd */

	pthread_mutex_t mutex;
	struct gm_space *space; /* NULL: not attached */
	bool log_all;

	struct slot **sorted;
	size_t count, room;
	struct slot **by_number; /* less opts.slot_first; NULL: free */
	size_t numbers_room;
	uint32_t numbered;    /* how many are taken */
	uint32_t number_hint; /* none below is free */

	struct slot **staged;
	size_t staged_count, staged_room;

	struct slot *stale;
	size_t missing;
	struct gm_error trouble; /* why a slot is stale or missing */

	uint64_t *bitmap;
	size_t bitmap_words;
	unsigned parking_bits; /* slots are moved out of the guest's reach, to below 1 << this; 0: not known yet */

	struct ring *rings;
	size_t rings_count, rings_room;
	struct written *written; /* taken out of rings, and not reset yet; room for all entries of all of them */
	size_t written_count, written_room;
	bool reset_due;
};

/* Fills *error (unless NULL) with a sentence, and returns @code. */
int gmi_kvm_error(struct gm_error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Calls KVM by whatever way was chosen; again after EINTR. Return: 0 or more, or a negative error number. */
int gmi_kvm_call(const struct gm_kvm *kvm, int fd, unsigned long request, void *argument);

/* @items with room for @count items of @bytes each; *room is what it has. NULL without memory, and @items as it was. */
void *gmi_kvm_reserve(void *items, size_t *room, size_t count, size_t bytes);

/*
 * Copies a caller's options, which begin with their size, over *ours: what a shorter struct lacks is zero; a longer one is good while the
 * surplus is zero. Return: 0; -EINVAL; -E2BIG.
 */
int gmi_kvm_copy_options(void *ours, size_t known, const void *theirs);

/* slots.c */
bool gmi_kvm_wants_slot(const struct gm_region *region);
int gmi_kvm_slot_flags(const struct gm_kvm *kvm, const struct gm_region *region, uint32_t *ret_flags,
		       struct gm_error *error);
int gmi_kvm_slot_new(struct gm_kvm *kvm, struct gm_region *region, struct slot **ret_slot, struct gm_error *error);
/* It has no number any more. Drops its reference on the region. Accepts NULL. */
void gmi_kvm_slot_free(struct slot *slot);
/* The first slot in sorted that reaches to @address or beyond. */
size_t gmi_kvm_slot_index(const struct gm_kvm *kvm, uint64_t address);
struct slot *gmi_kvm_slot_of(const struct gm_kvm *kvm, const struct gm_region *region);
/* There is one: slots_max was looked at before. */
void gmi_kvm_number_take(struct gm_kvm *kvm, struct slot *slot);
void gmi_kvm_number_give(struct gm_kvm *kvm, struct slot *slot);
/* Sets what @slot says; its flags or its place when it is set already. */
int gmi_kvm_slot_set(struct gm_kvm *kvm, struct slot *slot);
/* Takes its log, then deletes it. It keeps its number until the rings were emptied. */
int gmi_kvm_slot_delete(struct gm_kvm *kvm, struct slot *slot);
/* The kernel would not delete it: it is kept, with its region. */
void gmi_kvm_slot_is_stale(struct gm_kvm *kvm, struct slot *slot, int code);
/* The kernel would not set it again (@code), or it did, or it is wanted no more (0). */
void gmi_kvm_slot_is_missing(struct gm_kvm *kvm, struct slot *slot, int code);
int gmi_kvm_mend(struct gm_kvm *kvm, struct gm_error *error);

/* log.c */
bool gmi_kvm_is_logged(const struct slot *slot);
/* Has room for one slot's bitmap ready, so that taking it can't fail for want of it. Return: 0; -ENOMEM. */
int gmi_kvm_bitmap_reserve(struct gm_kvm *kvm, const struct slot *slot);
/* Marks what KVM's bitmap says of one slot, and clears it. Nothing with rings. */
int gmi_kvm_bitmap_sync(struct gm_kvm *kvm, struct slot *slot);
/* The last time before it is deleted, or somebody else's: whatever fails, nothing is lost. */
void gmi_kvm_log_take_last(struct gm_kvm *kvm, struct slot *slot);
void gmi_kvm_log_hand_over(struct gm_kvm *kvm, struct slot *slot);

/* ring.c: marks what is in the rings. Nothing without rings. */
int gmi_kvm_rings_sync(struct gm_kvm *kvm);
/* The slot goes: what KVM has not reset of it is its heir's, or, with NULL, is not marked any more. */
void gmi_kvm_rings_pass_on(struct gm_kvm *kvm, const struct slot *slot, struct slot *heir);
void gmi_kvm_rings_free(struct gm_kvm *kvm);

/* listener.c */
int gmi_kvm_prepare(void *opaque, const struct gm_change *change, struct gm_error *error);
void gmi_kvm_abort(void *opaque, const struct gm_change *change);
void gmi_kvm_commit(void *opaque, const struct gm_change *change);

#endif

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Updates of the space, done to the slots: all that can fail in prepare, in an order that can be taken back; deletions in commit. Start
 * reading at gmi_kvm_prepare().
 */
#include <errno.h>
#include <string.h>

#include "vm.h"

/* Room for all that this update may need, so that nothing later is short of memory. */
static int reserve(struct gm_kvm *kvm, size_t inserted, struct gm_error *error)
{
	size_t count = kvm->count + inserted;
	struct slot **staged = gmi_kvm_reserve(kvm->staged, &kvm->staged_room, inserted, sizeof(*staged));
	struct slot **sorted, **by_number;

	if (staged != NULL)
		kvm->staged = staged;
	sorted = gmi_kvm_reserve(kvm->sorted, &kvm->room, count, sizeof(*sorted));
	if (sorted != NULL)
		kvm->sorted = sorted;
	by_number = gmi_kvm_reserve(kvm->by_number, &kvm->numbers_room, count, sizeof(*by_number));
	if (by_number != NULL)
		kvm->by_number = by_number;
	if (staged == NULL || sorted == NULL || by_number == NULL)
		return gmi_kvm_error(error, -ENOMEM, "no memory for %zu slots of KVM", count);
	return 0;
}

/* Whether the kernel's slot is good for another region: it would look the same, and its log would go on. */
static bool can_inherit(const struct slot *heir, const struct slot *leaver)
{
	const struct gm_region *to = heir->region, *from = leaver->region;

	return gm_region_first(to).value == gm_region_first(from).value &&
	       gm_region_last(to).value == gm_region_last(from).value && gm_region_hva(to) == gm_region_hva(from) &&
	       heir->flags == leaver->flags && !(heir->flags & KVM_MEM_GUEST_MEMFD) &&
	       (gm_region_dirty(to) != NULL) == (gm_region_dirty(from) != NULL);
}

/* Finds what stands where @slot is to stand, and goes: it is inherited, or makes way. */
static void find_place(struct gm_kvm *kvm, struct slot *slot)
{
	uint64_t last = gm_region_last(slot->region).value;
	size_t i;

	for (i = gmi_kvm_slot_index(kvm, gm_region_first(slot->region).value);
	     i < kvm->count && gm_region_first(kvm->sorted[i]->region).value <= last; i++) {
		struct slot *there = kvm->sorted[i];

		if (can_inherit(slot, there)) {
			there->heir = slot;
			slot->leaver = there;
		} else {
			there->fate = MAKES_WAY;
		}
	}
}

static int stage(struct gm_kvm *kvm, const struct gm_change *change, struct gm_error *error)
{
	struct slot *slot;
	size_t i;
	int r = reserve(kvm, change->inserted_count, error);

	for (i = 0; r == 0 && i < change->removed_count; i++) {
		slot = gmi_kvm_slot_of(kvm, change->removed[i]);
		if (slot != NULL)
			slot->fate = GOES;
	}
	for (i = 0; r == 0 && i < change->inserted_count; i++) {
		if (!gmi_kvm_wants_slot(change->inserted[i]))
			continue;
		r = gmi_kvm_slot_new(kvm, change->inserted[i], &slot, error);
		if (r < 0)
			return r;
		kvm->staged[kvm->staged_count++] = slot;
		if (slot->flags & KVM_MEM_LOG_DIRTY_PAGES)
			r = gmi_kvm_bitmap_reserve(kvm, slot);
		if (r < 0)
			return gmi_kvm_error(error, r, "no memory for the log of region '%s'",
					     gm_region_name(slot->region));
		find_place(kvm, slot);
	}
	return r;
}

/*
 * Whether there are numbers for all. Slots that go anyway make way as far as their numbers are needed, no further: what makes way is
 * missing until another listener's refusal has been taken back.
 */
static int find_numbers(struct gm_kvm *kvm, const struct gm_change *change, struct gm_error *error)
{
	size_t needed = 0, free_numbers = kvm->slots_max - kvm->numbered, i;
	struct slot *slot;

	for (i = 0; i < kvm->staged_count; i++)
		needed += kvm->staged[i]->leaver == NULL;
	for (i = 0; i < change->removed_count; i++) {
		slot = gmi_kvm_slot_of(kvm, change->removed[i]);
		free_numbers += slot != NULL && slot->fate == MAKES_WAY;
	}
	for (i = 0; i < change->removed_count && free_numbers < needed; i++) {
		slot = gmi_kvm_slot_of(kvm, change->removed[i]);
		if (slot == NULL || slot->fate != GOES || slot->heir != NULL)
			continue;
		slot->fate = MAKES_WAY;
		free_numbers++;
	}
	if (free_numbers < needed)
		return gmi_kvm_error(
			error, -ENOSPC,
			"%zu more slots of KVM are needed, from region '%s' on, but of its %u only %zu are free",
			needed, gm_region_name(kvm->staged[0]->region), kvm->slots_max, free_numbers);
	return 0;
}

/* Descending, as all deletions. */
static int make_way(struct gm_kvm *kvm, const struct gm_change *change, struct gm_error *error)
{
	struct slot *slot;
	size_t i;
	int r;

	for (i = 0; i < change->removed_count; i++) {
		slot = gmi_kvm_slot_of(kvm, change->removed[i]);
		if (slot == NULL || slot->fate != MAKES_WAY)
			continue;
		r = gmi_kvm_slot_delete(kvm, slot);
		if (r < 0)
			return gmi_kvm_error(error, r,
					     "KVM would not delete slot %u of region '%s', which has to make way: %s",
					     slot->number, gm_region_name(slot->region), strerror(-r));
	}
	(void)gmi_kvm_rings_sync(kvm);
	for (i = 0; i < change->removed_count; i++) {
		slot = gmi_kvm_slot_of(kvm, change->removed[i]);
		if (slot != NULL && slot->fate == MAKES_WAY)
			gmi_kvm_number_give(kvm, slot);
	}
	return 0;
}

static int set_staged(struct gm_kvm *kvm, struct gm_error *error)
{
	size_t i;
	int r;

	for (i = 0; i < kvm->staged_count; i++) {
		struct slot *slot = kvm->staged[i];

		if (slot->leaver != NULL)
			continue;
		gmi_kvm_number_take(kvm, slot);
		r = gmi_kvm_slot_set(kvm, slot);
		if (r < 0)
			return gmi_kvm_error(error, r, "KVM refused slot %u for %s region '%s' " RANGE_FORMAT ": %s",
					     slot->number, gm_kind_name(gm_region_kind(slot->region)),
					     gm_region_name(slot->region), RANGE_ARGS(gm_region_range(slot->region)),
					     strerror(-r));
	}
	return 0;
}

static void unset_staged(struct gm_kvm *kvm)
{
	struct slot *slot;
	size_t i;
	int r;

	for (i = kvm->staged_count; i-- > 0;) {
		slot = kvm->staged[i];
		if (!slot->set)
			continue;
		r = gmi_kvm_slot_delete(kvm, slot);
		if (r < 0)
			gmi_kvm_slot_is_stale(kvm, slot, r);
	}
	(void)gmi_kvm_rings_sync(kvm);
	while (kvm->staged_count > 0) {
		slot = kvm->staged[--kvm->staged_count];
		if (slot->set)
			continue;
		if (slot->number != NO_NUMBER)
			gmi_kvm_number_give(kvm, slot);
		gmi_kvm_slot_free(slot);
	}
}

static void restore(struct gm_kvm *kvm, struct slot *slot)
{
	int r = -ENOSPC;

	/* All are taken only if the kernel kept a new one. */
	if (slot->number == NO_NUMBER && kvm->numbered < kvm->slots_max)
		gmi_kvm_number_take(kvm, slot);
	if (slot->number != NO_NUMBER)
		r = gmi_kvm_slot_set(kvm, slot);
	gmi_kvm_slot_is_missing(kvm, slot, r < 0 ? r : 0);
}

static void undo(struct gm_kvm *kvm, const struct gm_change *change)
{
	struct slot *slot;
	size_t i;

	unset_staged(kvm);
	for (i = change->removed_count; i-- > 0;) {
		slot = gmi_kvm_slot_of(kvm, change->removed[i]);
		if (slot == NULL)
			continue;
		if (slot->fate == MAKES_WAY && (!slot->set || slot->parked))
			restore(kvm, slot);
		slot->fate = STAYS;
		slot->heir = NULL;
	}
}

int gmi_kvm_prepare(void *opaque, const struct gm_change *change, struct gm_error *error)
{
	struct gm_kvm *kvm = opaque;
	int r;

	pthread_mutex_lock(&kvm->mutex);
	r = gmi_kvm_mend(kvm, error);
	if (r == 0) {
		r = stage(kvm, change, error);
		if (r == 0)
			r = find_numbers(kvm, change, error);
		if (r == 0)
			r = make_way(kvm, change, error);
		if (r == 0)
			r = set_staged(kvm, error);
		if (r < 0)
			undo(kvm, change);
	}
	pthread_mutex_unlock(&kvm->mutex);
	return r;
}

void gmi_kvm_abort(void *opaque, const struct gm_change *change)
{
	struct gm_kvm *kvm = opaque;

	pthread_mutex_lock(&kvm->mutex);
	undo(kvm, change);
	pthread_mutex_unlock(&kvm->mutex);
}

static void inherit(struct gm_kvm *kvm, struct slot *leaver)
{
	struct slot *heir = leaver->heir;

	gmi_kvm_log_hand_over(kvm, leaver);
	heir->number = leaver->number;
	heir->flags = leaver->flags;
	heir->asked = leaver->asked;
	heir->set = true;
	heir->leaver = NULL;
	kvm->by_number[heir->number - kvm->opts.slot_first] = heir;
	/* Their pages are not protected again yet: what is written to them until then is the heir's. */
	gmi_kvm_rings_pass_on(kvm, leaver, heir);
	leaver->number = NO_NUMBER;
	leaver->set = false;
}

/* Takes a slot out of sorted, and lets it go unless the kernel has kept it. */
static void forget(struct gm_kvm *kvm, struct slot *slot)
{
	size_t index = gmi_kvm_slot_index(kvm, gm_region_first(slot->region).value);

	kvm->count--;
	memmove(&kvm->sorted[index], &kvm->sorted[index + 1], (kvm->count - index) * sizeof(*kvm->sorted));
	if (slot->set)
		return;
	if (slot->number != NO_NUMBER)
		gmi_kvm_number_give(kvm, slot);
	gmi_kvm_slot_free(slot);
}

static void delete_removed(struct gm_kvm *kvm, const struct gm_change *change)
{
	struct slot *slot;
	size_t i;
	int r;

	for (i = 0; i < change->removed_count; i++) {
		slot = gmi_kvm_slot_of(kvm, change->removed[i]);
		if (slot == NULL || slot->heir != NULL)
			continue;
		gmi_kvm_slot_is_missing(kvm, slot, 0);
		/* Not set: it made way, or was missing. */
		r = slot->set ? gmi_kvm_slot_delete(kvm, slot) : 0;
		if (r < 0)
			gmi_kvm_slot_is_stale(kvm, slot, r);
	}
	(void)gmi_kvm_rings_sync(kvm);
	for (i = 0; i < change->removed_count; i++) {
		slot = gmi_kvm_slot_of(kvm, change->removed[i]);
		if (slot == NULL)
			continue;
		if (slot->heir != NULL)
			inherit(kvm, slot);
		forget(kvm, slot);
	}
}

static void join_staged(struct gm_kvm *kvm)
{
	size_t i, index;

	for (i = 0; i < kvm->staged_count; i++) {
		index = gmi_kvm_slot_index(kvm, gm_region_first(kvm->staged[i]->region).value);
		memmove(&kvm->sorted[index + 1], &kvm->sorted[index], (kvm->count - index) * sizeof(*kvm->sorted));
		kvm->sorted[index] = kvm->staged[i];
		kvm->count++;
	}
	kvm->staged_count = 0;
}

/* Also called without prepare, with removals only, when the listener is taken out of the space. */
void gmi_kvm_commit(void *opaque, const struct gm_change *change)
{
	struct gm_kvm *kvm = opaque;

	pthread_mutex_lock(&kvm->mutex);
	delete_removed(kvm, change);
	join_staged(kvm);
	pthread_mutex_unlock(&kvm->mutex);
}

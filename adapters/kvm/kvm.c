/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The life of a struct gm_kvm: what KVM has is looked at, what it is to do is chosen; attached to a space, detached, freed.
 * vm.h has the invariants and the locking.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vm.h"

#define LISTENER_NAME "kvm"
/* Slots of a KVM that does not say how many it has: its documentation. */
#define SLOTS_DEFAULT 32
/* KVM keeps that many entries of a ring for itself (KVM_DIRTY_RING_RSVD_ENTRIES), so a ring has to be larger. */
#define RING_ENTRIES_MIN 256

int gmi_kvm_error(struct gm_error *error, int code, const char *format, ...)
{
	va_list args;
	int length;

	if (error == NULL)
		return code;
	error->code = code;
	va_start(args, format);
	length = vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	if (length < 0)
		error->text[0] = '\0';
	else if ((size_t)length >= sizeof(error->text))
		memcpy(error->text + sizeof(error->text) - 4, "...", 4);
	return code;
}

int gmi_kvm_call(const struct gm_kvm *kvm, int fd, unsigned long request, void *argument)
{
	int r;

	do {
		if (kvm->opts.ioctl != NULL) {
			r = kvm->opts.ioctl(kvm->opts.opaque, fd, request, argument);
		} else {
			r = ioctl(fd, request, argument);
			r = r < 0 ? -errno : r;
		}
	} while (r == -EINTR);
	return r;
}

void *gmi_kvm_reserve(void *items, size_t *room, size_t count, size_t bytes)
{
	size_t wanted = *room ? *room : 16;
	char *grown;

	if (items != NULL && count <= *room)
		return items;
	while (wanted < count)
		wanted *= 2;
	grown = reallocarray(items, wanted, bytes);
	if (grown == NULL)
		return NULL;
	memset(grown + *room * bytes, 0, (wanted - *room) * bytes);
	*room = wanted;
	return grown;
}

static int has(const struct gm_kvm *kvm, unsigned long capability)
{
	return gmi_kvm_call(kvm, kvm->vm_fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)capability);
}

static int enable(const struct gm_kvm *kvm, uint32_t capability, uint64_t argument)
{
	struct kvm_enable_cap enable = { .cap = capability, .args = { argument } };

	return gmi_kvm_call(kvm, kvm->vm_fd, KVM_ENABLE_CAP, &enable);
}

int gmi_kvm_copy_options(void *ours, size_t known, const void *theirs)
{
	size_t size, i;

	memcpy(&size, theirs, sizeof(size));
	if (size < sizeof(size))
		return -EINVAL;
	for (i = known; i < size; i++) {
		if (((const unsigned char *)theirs)[i] != 0)
			return -E2BIG;
	}
	memset(ours, 0, known);
	memcpy(ours, theirs, size < known ? size : known);
	return 0;
}

static int take_options(struct gm_kvm_opts *ours, const struct gm_kvm_opts *theirs, struct gm_error *error)
{
	int r = theirs == NULL ? 0 : gmi_kvm_copy_options(ours, sizeof(*ours), theirs);

	if (r < 0)
		return gmi_kvm_error(error, r,
				     r == -E2BIG ? "KVM options of a newer library" : "KVM options without their size");
	if ((unsigned)ours->log > GM_KVM_LOG_RING)
		return gmi_kvm_error(error, -EINVAL, "KVM option log: %u is no kind of log", (unsigned)ours->log);
	if (ours->ring_entries != 0 && ours->log != GM_KVM_LOG_RING)
		return gmi_kvm_error(error, -EINVAL, "KVM option ring_entries is for a log by rings only");
	if (ours->ring_entries != 0 && (ours->ring_entries < RING_ENTRIES_MIN || !gm_is_power_of_2(ours->ring_entries)))
		return gmi_kvm_error(error, -EINVAL, "KVM option ring_entries: %u is not a power of two from %u on",
				     ours->ring_entries, RING_ENTRIES_MIN);
	return 0;
}

/* The caller's descriptor may go; and a duplicate of /dev/kvm itself answers most questions, but has no memory. */
static int take_vm(struct gm_kvm *kvm, int vm_fd, struct gm_error *error)
{
	int r;

	kvm->vm_fd = fcntl(vm_fd, F_DUPFD_CLOEXEC, 0);
	if (kvm->vm_fd < 0)
		return gmi_kvm_error(error, -errno, "descriptor %d of a VM: %s", vm_fd, strerror(errno));
	r = gmi_kvm_call(kvm, kvm->vm_fd, KVM_GET_API_VERSION, NULL);
	if (r >= 0)
		return gmi_kvm_error(error, -ENOTTY, "descriptor %d is that of KVM, not of a VM", vm_fd);
	r = has(kvm, KVM_CAP_USER_MEMORY);
	if (r < 0)
		return gmi_kvm_error(error, r, "descriptor %d is not that of a VM: %s", vm_fd, strerror(-r));
	if (r == 0)
		return gmi_kvm_error(error, -EOPNOTSUPP, "this KVM has no memory slots of the user's");
	return 0;
}

static int find_slots(struct gm_kvm *kvm, struct gm_error *error)
{
	int r = has(kvm, KVM_CAP_NR_MEMSLOTS);
	uint32_t slots = r > 0 ? (uint32_t)r : SLOTS_DEFAULT;

	if (kvm->opts.slot_first >= slots)
		return gmi_kvm_error(error, -EINVAL, "KVM option slot_first: %u is beyond the %u slots of KVM",
				     kvm->opts.slot_first, slots);
	slots -= kvm->opts.slot_first;
	kvm->slots_max = kvm->opts.slots_max != 0 && kvm->opts.slots_max < slots ? kvm->opts.slots_max : slots;
	kvm->readonly = has(kvm, KVM_CAP_READONLY_MEM) > 0;
	return 0;
}

/* All guest_memfd are files of one device: so one is known whoever made it. */
static void find_guest_memfd(struct gm_kvm *kvm)
{
	struct uapi_create_guest_memfd create = {
		.size = kvm->page_bytes,
		.flags = UAPI_GUEST_MEMFD_MMAP | UAPI_GUEST_MEMFD_INIT_SHARED,
	};
	struct stat status;
	int fd;

	if (has(kvm, KVM_CAP_GUEST_MEMFD) <= 0)
		return;
	fd = gmi_kvm_call(kvm, kvm->vm_fd, UAPI_CREATE_GUEST_MEMFD, &create);
	if (fd < 0)
		return;
	if (fstat(fd, &status) == 0) {
		kvm->guest_memfd = true;
		kvm->guest_memfd_device = status.st_dev;
	}
	close(fd);
}

static int choose_ring(struct gm_kvm *kvm, struct gm_error *error)
{
	uint32_t entries = kvm->opts.ring_entries ? kvm->opts.ring_entries : GM_KVM_RING_ENTRIES;
	int most = has(kvm, KVM_CAP_DIRTY_LOG_RING_ACQ_REL), r;

	if (most <= 0)
		return gmi_kvm_error(error, -EOPNOTSUPP, "this KVM has no dirty rings");
	if (entries > (uint32_t)most / sizeof(struct kvm_dirty_gfn))
		return gmi_kvm_error(error, -EINVAL, "KVM option ring_entries: %u are more than the %zu of KVM",
				     entries, (size_t)most / sizeof(struct kvm_dirty_gfn));
	r = enable(kvm, KVM_CAP_DIRTY_LOG_RING_ACQ_REL, entries * sizeof(struct kvm_dirty_gfn));
	if (r < 0)
		return gmi_kvm_error(
			error, r, "switching on dirty rings of %u entries, which has to come before the first vCPU: %s",
			entries, strerror(-r));
	kvm->ring_entries = entries;
	return 0;
}

static int choose_log(struct gm_kvm *kvm, struct gm_error *error)
{
	int r;

	kvm->log = kvm->opts.log;
	if (kvm->log == GM_KVM_LOG_RING)
		return choose_ring(kvm, error);
	r = has(kvm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
	if (kvm->log == GM_KVM_LOG_BEST)
		kvm->log = r > 0 && (r & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) ? GM_KVM_LOG_MANUAL : GM_KVM_LOG_BITMAP;
	if (kvm->log == GM_KVM_LOG_BITMAP)
		return 0;
	if (r <= 0 || !(r & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE))
		return gmi_kvm_error(error, -EOPNOTSUPP, "this KVM has no manual clearing of its dirty log");
	/* Not INITIALLY_SET: that reports pages that nobody wrote. */
	r = enable(kvm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
	return r < 0 ? gmi_kvm_error(error, r, "switching on manual clearing of the dirty log: %s", strerror(-r)) : 0;
}

static void destroy(struct gm_kvm *kvm)
{
	struct slot *slot;

	/* The kernel may reach the memory of these for as long as the VM lives, which may be longer: it stays. */
	while ((slot = kvm->stale) != NULL) {
		kvm->stale = slot->next;
		free(slot);
	}
	gmi_kvm_rings_free(kvm);
	free(kvm->rings);
	free(kvm->written);
	free(kvm->bitmap);
	free(kvm->staged);
	free(kvm->by_number);
	free(kvm->sorted);
	if (kvm->vm_fd >= 0)
		close(kvm->vm_fd);
	pthread_mutex_destroy(&kvm->mutex);
	free(kvm);
}

KVM_PUBLIC int gm_kvm_new(int vm_fd, const struct gm_kvm_opts *opts, struct gm_kvm **ret_kvm, struct gm_error *error)
{
	struct gm_kvm *kvm;
	int r;

	if (ret_kvm == NULL)
		return gmi_kvm_error(error, -EINVAL, "KVM without a place for the result");
	kvm = calloc(1, sizeof(*kvm));
	if (kvm == NULL)
		return gmi_kvm_error(error, -ENOMEM, "no memory for KVM's slots");
	kvm->vm_fd = -1;
	kvm->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	pthread_mutex_init(&kvm->mutex, NULL);
	r = take_options(&kvm->opts, opts, error);
	if (r == 0)
		r = take_vm(kvm, vm_fd, error);
	if (r == 0)
		r = find_slots(kvm, error);
	if (r == 0) {
		find_guest_memfd(kvm);
		r = choose_log(kvm, error);
	}
	if (r < 0) {
		destroy(kvm);
		return r;
	}
	*ret_kvm = kvm;
	return 0;
}

KVM_PUBLIC void gm_kvm_free(struct gm_kvm *kvm)
{
	/* A listener that stays would be called: rather lose memory than that. */
	if (kvm == NULL || gm_kvm_detach(kvm) < 0)
		return;
	/* Nobody is told: what can't be deleted now stays, see destroy(). */
	pthread_mutex_lock(&kvm->mutex);
	(void)gmi_kvm_mend(kvm, NULL);
	pthread_mutex_unlock(&kvm->mutex);
	destroy(kvm);
}

KVM_PUBLIC void gm_kvm_info(struct gm_kvm *kvm, struct gm_kvm_info *ret_info)
{
	pthread_mutex_lock(&kvm->mutex);
	*ret_info = (struct gm_kvm_info){
		.log = kvm->log,
		.ring_entries = kvm->ring_entries,
		.slots_max = kvm->slots_max,
		.slots = kvm->numbered,
		.readonly = kvm->readonly,
		.guest_memfd = kvm->guest_memfd,
	};
	pthread_mutex_unlock(&kvm->mutex);
}

/* Each VM has a descriptor of its own, so a space may have several. */
static void listener_name(const struct gm_kvm *kvm, char name[GM_NAME_MAX])
{
	snprintf(name, GM_NAME_MAX, LISTENER_NAME "%d", kvm->vm_fd);
}

KVM_PUBLIC int gm_kvm_attach(struct gm_kvm *kvm, struct gm_space *space, struct gm_error *error)
{
	char name[GM_NAME_MAX];
	struct gm_listener listener = {
		.size = sizeof(listener),
		.name = name,
		.opaque = kvm,
		.prepare = gmi_kvm_prepare,
		.abort = gmi_kvm_abort,
		.commit = gmi_kvm_commit,
	};
	int r;

	if (kvm->space != NULL)
		return gmi_kvm_error(error, -EBUSY, "this KVM is attached to a space already");
	listener_name(kvm, name);
	r = gm_space_add_listener(space, &listener, error);
	if (r == 0)
		kvm->space = gm_space_ref(space);
	return r;
}

KVM_PUBLIC int gm_kvm_detach(struct gm_kvm *kvm)
{
	struct gm_space *space = kvm->space;
	char name[GM_NAME_MAX];
	int r;

	if (space == NULL)
		return 0;
	listener_name(kvm, name);
	r = gm_space_remove_listener(space, name);
	if (r < 0)
		return r;
	kvm->space = NULL;
	gm_space_unref(space);
	return 0;
}

KVM_PUBLIC int gm_kvm_error(struct gm_kvm *kvm, struct gm_error *error)
{
	int r;

	pthread_mutex_lock(&kvm->mutex);
	r = kvm->stale != NULL || kvm->missing != 0 ? kvm->trouble.code : 0;
	if (r < 0 && error != NULL)
		*error = kvm->trouble;
	pthread_mutex_unlock(&kvm->mutex);
	return r;
}

KVM_PUBLIC int gm_kvm_mend(struct gm_kvm *kvm, struct gm_error *error)
{
	int r;

	pthread_mutex_lock(&kvm->mutex);
	r = gmi_kvm_mend(kvm, error);
	pthread_mutex_unlock(&kvm->mutex);
	return r;
}

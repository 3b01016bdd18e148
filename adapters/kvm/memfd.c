/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Regions over guest_memfd: memory that belongs to a VM, and that we may map as well. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "vm.h"

static int check(const struct gm_kvm *kvm, const struct gm_region_opts *opts, struct gm_error *error)
{
	const char *name = opts->name ? opts->name : "";

	if (!kvm->guest_memfd)
		return gmi_kvm_error(error, -EOPNOTSUPP, "this KVM has no guest_memfd that can be mapped");
	if (opts->source != GM_SOURCE_DEFAULT || (opts->fd != 0 && opts->fd != -1) || opts->fd_offset != 0)
		return gmi_kvm_error(error, -EINVAL, "region '%s' of guest_memfd: its source is not to be chosen",
				     name);
	if (opts->flags & GM_REGION_COW)
		return gmi_kvm_error(error, -EOPNOTSUPP, "region '%s': guest_memfd can't be copied on write", name);
	if (opts->prot != 0 ? !(opts->prot & GM_WRITE) : opts->kind == GM_FIRMWARE)
		return gmi_kvm_error(error, -EOPNOTSUPP, "region '%s': KVM has no read-only slots of guest_memfd",
				     name);
	if (opts->dirty_page_bytes != 0)
		return gmi_kvm_error(error, -EOPNOTSUPP, "region '%s': KVM does not log what is written to guest_memfd",
				     name);
	return 0;
}

KVM_PUBLIC int gm_kvm_region_new_guest_memfd(struct gm_kvm *kvm, const struct gm_region_opts *caller_opts,
					     struct gm_region **ret_region, struct gm_error *error)
{
	struct uapi_create_guest_memfd create = {
		.flags = UAPI_GUEST_MEMFD_MMAP | UAPI_GUEST_MEMFD_INIT_SHARED,
	};
	struct gm_region_opts opts;
	int r;

	if (caller_opts == NULL)
		return gmi_kvm_error(error, -EINVAL, "region of guest_memfd without options");
	r = gmi_kvm_copy_options(&opts, sizeof(opts), caller_opts);
	if (r < 0)
		return gmi_kvm_error(error, r,
				     r == -E2BIG ? "region options of a newer library"
						 : "region options without their size");
	opts.size = sizeof(opts);
	r = check(kvm, &opts, error);
	if (r < 0)
		return r;
	create.size = opts.bytes;
	r = gmi_kvm_call(kvm, kvm->vm_fd, UAPI_CREATE_GUEST_MEMFD, &create);
	if (r < 0)
		return gmi_kvm_error(error, r, "guest_memfd of 0x%llx bytes for region '%s': %s",
				     (unsigned long long)opts.bytes, opts.name ? opts.name : "", strerror(-r));
	opts.source = GM_SOURCE_FD;
	opts.fd = r;
	r = gm_region_new(&opts, ret_region, error);
	/* The region has a duplicate. */
	close(opts.fd);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Exits for MMIO, done through a view: registers, and whatever else stands at the address. */
#include <errno.h>
#include <string.h>

#include <guestmem/access.h>

#include "vm.h"

KVM_PUBLIC int gm_kvm_mmio(struct gm_view *view, struct kvm_run *run)
{
	struct gm_gpa at;
	uint32_t bytes;
	int r;

	if (run->exit_reason != KVM_EXIT_MMIO)
		return -EINVAL;
	at = gm_gpa(run->mmio.phys_addr);
	bytes = run->mmio.len;
	if (bytes == 0 || bytes > sizeof(run->mmio.data))
		return -EINVAL;
	gm_view_enter(view);
	if (run->mmio.is_write) {
		r = gm_write(view, at, run->mmio.data, bytes);
	} else {
		r = gm_read(view, at, run->mmio.data, bytes);
		if (r < 0)
			memset(run->mmio.data, 0xff, bytes);
	}
	gm_view_leave(view);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * KVM's interface, and of it what the oldest supported kernel headers (6.1) lack. Whether the kernel knows it is found out at
 * run time. Own structs under own names: a newer header has its own.
 */
#ifndef GM_KVM_UAPI_H
#define GM_KVM_UAPI_H

#include <linux/kvm.h>

#ifndef KVM_CAP_GUEST_MEMFD /* Linux 6.8 */
#define KVM_CAP_GUEST_MEMFD 234
#endif

#ifndef KVM_MEM_GUEST_MEMFD
#define KVM_MEM_GUEST_MEMFD (1UL << 2)
#endif

/* KVM_CREATE_GUEST_MEMFD's flags: it can be mapped, and all of it is shared with us from the first (Linux 6.18). */
#define UAPI_GUEST_MEMFD_MMAP        (UINT64_C(1) << 0)
#define UAPI_GUEST_MEMFD_INIT_SHARED (UINT64_C(1) << 1)

struct uapi_create_guest_memfd {
	__u64 size;
	__u64 flags;
	__u64 reserved[6];
};

struct uapi_memory_region2 {
	__u32 slot;
	__u32 flags;
	__u64 guest_phys_addr;
	__u64 memory_size;
	__u64 userspace_addr;
	__u64 guest_memfd_offset;
	__u32 guest_memfd;
	__u32 pad1;
	__u64 pad2[14];
};

#define UAPI_SET_USER_MEMORY_REGION2 _IOW(KVMIO, 0x49, struct uapi_memory_region2)
#define UAPI_CREATE_GUEST_MEMFD      _IOWR(KVMIO, 0xd4, struct uapi_create_guest_memfd)

#endif

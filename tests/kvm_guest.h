/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A guest on /dev/kvm for tests: one vCPU in 64-bit user mode, the fastest there is on hosts without hardware for virtual machines,
 * with 8 GiB mapped one to one. Its own megabyte (code, page tables, lists) is slot 0, set here; the adapter under test uses the
 * slots from 1 on. It runs one of a few short programs at a time, each of which ends in OUT.
 */
#ifndef TEST_KVM_GUEST_H
#define TEST_KVM_GUEST_H

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>

#include <guestmem/kvm.h>

#include "uapi.h"

#define GUEST_BOOT_BYTES 0x100000
#define GUEST_CODE       0x1000
#define GUEST_TABLES     0x2000
/* 64-bit numbers: addresses to write to, or what was read. */
#define GUEST_LIST     0x10000
#define GUEST_LIST_MAX ((GUEST_BOOT_BYTES - GUEST_LIST) / 8)
#define GUEST_GIB      8

struct guest {
	int kvm, vm, vcpu;
	size_t run_bytes;
	struct kvm_run *run;
	unsigned char *boot;
	struct gm_view *view;   /* where MMIO exits go; NULL: nowhere */
	struct gm_kvm *adapter; /* told of full rings */
	unsigned long mmio, full;
	int mmio_code; /* of the last one */
};

#ifdef __x86_64__

/* rdi: first address, rdx: step, rcx: count, rsi: what to write, rbx: list. */
__asm__(".pushsection .rodata\n"
	".globl guest_code, guest_scan, guest_touch, guest_poke, guest_spin, guest_wide, guest_code_end\n"
	"guest_code:\n"
	"guest_scan:\n" /* reads 8 bytes at each step into the list */
	"	mov (%rdi), %rax\n"
	"	mov %rax, (%rbx)\n"
	"	add $8, %rbx\n"
	"	add %rdx, %rdi\n"
	"	dec %rcx\n"
	"	jnz guest_scan\n"
	"	out %al, $0x10\n"
	"guest_touch:\n" /* writes 8 bytes at each step */
	"	mov %rsi, (%rdi)\n"
	"	add %rdx, %rdi\n"
	"	dec %rcx\n"
	"	jnz guest_touch\n"
	"	out %al, $0x10\n"
	"guest_poke:\n" /* writes 8 bytes at each address of the list */
	"	mov (%rbx), %rdi\n"
	"	mov %rsi, (%rdi)\n"
	"	add $8, %rbx\n"
	"	dec %rcx\n"
	"	jnz guest_poke\n"
	"	out %al, $0x10\n"
	"guest_spin:\n" /* writes ever larger numbers at each step, around and around, until rbx points to what is not 0 */
	"	mov %rdi, %r8\n"
	"	mov %rcx, %r9\n"
	"1:	inc %rsi\n"
	"	mov %rsi, (%r8)\n"
	"	add %rdx, %r8\n"
	"	dec %r9\n"
	"	jnz 1b\n"
	"	cmpq $0, (%rbx)\n"
	"	je guest_spin\n"
	"	out %al, $0x10\n"
	"guest_wide:\n" /* one access of each width */
	"	mov %sil, (%rdi)\n"
	"	mov %si, 2(%rdi)\n"
	"	mov %esi, 4(%rdi)\n"
	"	mov %rsi, 8(%rdi)\n"
	"	movzbl (%rdi), %eax\n"
	"	mov 8(%rdi), %rdx\n"
	"	mov %rax, (%rbx)\n"
	"	mov %rdx, 8(%rbx)\n"
	"	out %al, $0x10\n"
	"guest_code_end:\n"
	".popsection\n");
#else
__asm__(".globl guest_code, guest_scan, guest_touch, guest_poke, guest_spin, guest_wide, guest_code_end\n"
	"guest_code: guest_scan: guest_touch: guest_poke: guest_spin: guest_wide: guest_code_end:\n");
#endif
extern const unsigned char guest_code[], guest_scan[], guest_touch[], guest_poke[], guest_spin[], guest_wide[],
	guest_code_end[];

/* What the guest runs before it has a vCPU: NULL; or why it can't. */
static inline const char *guest_open(struct guest *guest)
{
	struct kvm_userspace_memory_region boot = { .memory_size = GUEST_BOOT_BYTES };

	memset(guest, 0, sizeof(*guest));
	guest->kvm = guest->vm = guest->vcpu = -1;
#ifndef __x86_64__
	return "the guest's programs are for x86-64";
#endif
	guest->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (guest->kvm < 0)
		return "no /dev/kvm";
	guest->vm = ioctl(guest->kvm, KVM_CREATE_VM, 0);
	if (guest->vm < 0)
		return "KVM makes no VM";
	guest->boot = mmap(NULL, GUEST_BOOT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(guest->boot, MAP_FAILED);
	boot.userspace_addr = (uintptr_t)guest->boot;
	assert_int_equal(ioctl(guest->vm, KVM_SET_USER_MEMORY_REGION, &boot), 0);
	return NULL;
}

static inline void guest_close(struct guest *guest)
{
	if (guest->run != NULL)
		munmap(guest->run, guest->run_bytes);
	if (guest->boot != NULL)
		munmap(guest->boot, GUEST_BOOT_BYTES);
	if (guest->vcpu >= 0)
		close(guest->vcpu);
	if (guest->vm >= 0)
		close(guest->vm);
	if (guest->kvm >= 0)
		close(guest->kvm);
	memset(guest, 0, sizeof(*guest));
	guest->kvm = guest->vm = guest->vcpu = -1;
}

/* One to one in pages of 2 MiB, user pages, accessed and dirty from the first: the tables are never written by the processor. */
static inline void guest_make_tables(struct guest *guest)
{
	uint64_t *level4 = (uint64_t *)(guest->boot + GUEST_TABLES), *level3 = level4 + 512, *level2 = level3 + 512;

	level4[0] = (GUEST_TABLES + 0x1000) | 0x67;
	for (uint64_t i = 0; i < GUEST_GIB; i++) {
		level3[i] = (GUEST_TABLES + 0x2000 + i * 0x1000) | 0x67;
		for (uint64_t j = 0; j < 512; j++)
			level2[i * 512 + j] = i << 30 | j << 21 | 0xe7;
	}
}

static inline void guest_set_mode(struct guest *guest)
{
	struct kvm_segment code = {
		.limit = UINT32_MAX, .selector = 0x1b, .type = 11, .present = 1, .dpl = 3, .s = 1, .l = 1, .g = 1
	};
	struct kvm_segment data = code;
	struct kvm_sregs special;

	data.type = 3;
	data.selector = 0x23;
	data.l = 0;
	data.db = 1;
	assert_int_equal(ioctl(guest->vcpu, KVM_GET_SREGS, &special), 0);
	special.cs = code;
	special.ds = special.es = special.fs = special.gs = special.ss = data;
	special.cr0 = 0x80050033; /* paging, protection, write protection, numeric errors */
	special.cr3 = GUEST_TABLES;
	special.cr4 |= 0x20;   /* physical address extension */
	special.efer |= 0x500; /* long mode, enabled and active */
	assert_int_equal(ioctl(guest->vcpu, KVM_SET_SREGS, &special), 0);
}

static inline void guest_add_vcpu(struct guest *guest)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 128 * sizeof(cpuid->entries[0]));

	assert_non_null(cpuid);
	cpuid->nent = 128;
	guest->vcpu = ioctl(guest->vm, KVM_CREATE_VCPU, 0);
	assert_true(guest->vcpu >= 0);
	guest->run_bytes = (size_t)ioctl(guest->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	guest->run = mmap(NULL, guest->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, guest->vcpu, 0);
	assert_ptr_not_equal(guest->run, MAP_FAILED);
	assert_int_equal(ioctl(guest->kvm, KVM_GET_SUPPORTED_CPUID, cpuid), 0);
	assert_int_equal(ioctl(guest->vcpu, KVM_SET_CPUID2, cpuid), 0);
	free(cpuid);
	memcpy(guest->boot + GUEST_CODE, guest_code, (size_t)(guest_code_end - guest_code));
	guest_make_tables(guest);
	guest_set_mode(guest);
}

static inline uint64_t *guest_list(struct guest *guest)
{
	return (uint64_t *)(guest->boot + GUEST_LIST);
}

/* Lets the vCPU run until the program ends. Return: 0; or the exit that nobody expected, or what KVM_RUN said. */
static inline int guest_continue(struct guest *guest)
{
	struct gm_error error;

	for (;;) {
		if (ioctl(guest->vcpu, KVM_RUN, 0) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		switch (guest->run->exit_reason) {
		case KVM_EXIT_IO:
			return 0;
		case KVM_EXIT_MMIO:
			__atomic_fetch_add(&guest->mmio, 1, __ATOMIC_RELAXED);
			if (guest->view != NULL)
				guest->mmio_code = gm_kvm_mmio(guest->view, guest->run);
			else
				memset(guest->run->mmio.data, 0xff, 8);
			break;
		case KVM_EXIT_DIRTY_RING_FULL:
			guest->full++;
			if (gm_kvm_dirty_sync(guest->adapter, &error) != 0)
				return KVM_EXIT_DIRTY_RING_FULL;
			break;
		default:
			return (int)guest->run->exit_reason;
		}
	}
}

static inline int guest_run(struct guest *guest, const unsigned char *program, uint64_t first, uint64_t step,
			    uint64_t count, uint64_t number)
{
	struct kvm_regs regs = {
		.rip = GUEST_CODE + (uint64_t)(program - guest_code),
		.rdi = first,
		.rdx = step,
		.rcx = count,
		.rsi = number,
		.rbx = GUEST_LIST,
		.rflags = 0x3002, /* privilege for OUT */
	};

	/* The OUT of the program before has to be completed, or it is what goes on. */
	guest->run->immediate_exit = 1;
	(void)ioctl(guest->vcpu, KVM_RUN, 0);
	guest->run->immediate_exit = 0;
	assert_int_equal(ioctl(guest->vcpu, KVM_SET_REGS, &regs), 0);
	return guest_continue(guest);
}

#endif

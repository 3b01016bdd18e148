/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * 05: a small VMM on KVM. Its memory is a space, and KVM's slots follow the space by themselves: while the guest runs, another
 * thread plugs memory modules and pulls them out again. The guest asks a device, by MMIO, where a module is, and writes to it
 * whether or not it is still there. In the end, the dirty logs have every page that was written, by the guest and by the device.
 *
 * The guest is 64-bit user-mode code (privilege level 3): the kind that every KVM runs natively.
 *
 * Prints:
 *	200 modules were plugged and pulled out under it
 *	pages that it wrote to those, missing in their logs: 0
 *	ram: 33 pages written, by the guest and by the device, missing in the log: 0
 *	firmware: the guest could not change it, and read 42
 *	slots of KVM: 3
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <guestmem/guestmem.h>
#include <guestmem/kvm.h>

#define SKIPPED 77

#define PAGE       UINT64_C(4096)
#define CODE       0x1000
#define TABLES     0x2000
#define FIRMWARE   0xc0000
#define RAM        GM_GIB
#define RAM_PAGES  512
#define DEVICE     UINT64_C(0xd0000000)
#define MODULES    (4 * GM_GIB)
#define MODULES_NR 200

/* What the device answers where a module's address is asked for, and there is none; and when it is enough. */
#define NO_MODULE 0
#define STOP      1

#ifdef __x86_64__
__asm__(".pushsection .rodata\n"
	".globl guest, guest_end\n"
	"guest:\n"
	"	mov $0xc0000, %ebx\n"    /* firmware */
	"	mov $0x40000000, %ebp\n" /* ram */
	"	mov $0xd0000000, %esi\n" /* the device */
	"	xor %ecx, %ecx\n"
	"	mov %rcx, (%rbx)\n" /* dropped: firmware can't be changed */
	"	mov (%rbx), %rax\n" /* what it read goes into ram */
	"	mov %rax, 8(%rbp)\n"
	"1:	inc %rcx\n"
	"	mov %ecx, %edx\n"
	"	and $31, %edx\n"
	"	shl $16, %rdx\n" /* every 16th page of ram */
	"	mov %rcx, (%rbp,%rdx)\n"
	"	test $63, %cl\n"
	"	jnz 1b\n"
	"	mov (%rsi), %rdi\n" /* where is a module? */
	"	cmp $1, %rdi\n"
	"	je 2f\n"
	"	test %rdi, %rdi\n"
	"	jz 1b\n"
	"	mov %rcx, %rdx\n"
	"	shr $6, %rdx\n"
	"	and $511, %edx\n"
	"	shl $12, %rdx\n"
	"	mov %rcx, (%rdi,%rdx)\n" /* one of its pages, if it is still there */
	"	mov %rcx, 8(%rsi)\n"     /* tell the device */
	"	jmp 1b\n"
	"2:	out %al, $0x10\n"
	"guest_end:\n"
	".popsection\n");
#else
__asm__(".globl guest, guest_end\nguest: guest_end:\n");
#endif
extern const unsigned char guest[], guest_end[];

struct machine {
	int kvm_fd, vm_fd, vcpu_fd;
	struct kvm_run *run;
	struct gm_kvm *kvm;
	struct gm_space *space;
	struct gm_memory *memory;
	struct gm_region *ram;
	struct gm_view vcpu, device; /* one for each that accesses memory by itself */
	uint64_t module;             /* what the device answers */
	uint64_t told;               /* how often the guest has told the device */
	bool over;                   /* nobody need wait for the guest any more */
	uint64_t missing;            /* pages of modules that were written and are not in their logs */
	int plugger_result;
	struct gm_error error;
};

/*
 * The device: a register to ask where a module is, and one to tell it, whereupon it writes to ram as devices do.
 */

static int device_read(void *opaque, struct gm_offset offset, void *data, size_t bytes)
{
	struct machine *machine = opaque;
	uint64_t module = __atomic_load_n(&machine->module, __ATOMIC_ACQUIRE);

	(void)offset;
	memcpy(data, &module, bytes); /* at most 8: what the guest's instruction reads */
	return 0;
}

static int device_write(void *opaque, struct gm_offset offset, const void *data, size_t bytes)
{
	struct machine *machine = opaque;
	int r;

	if (offset.value != 8)
		return 0;
	gm_view_enter(&machine->device);
	r = gm_write(&machine->device, gm_gpa(RAM + (RAM_PAGES - 1) * PAGE), data, bytes);
	gm_view_leave(&machine->device);
	__atomic_fetch_add(&machine->told, 1, __ATOMIC_RELEASE);
	return r;
}

static int plug(struct machine *machine, const struct gm_region_opts *what, struct gm_region **ret_region)
{
	struct gm_region_opts opts = *what;
	struct gm_update *update;
	struct gm_region *region;
	int r;

	opts.size = sizeof(opts);
	r = gm_region_new(&opts, &region, &machine->error);
	if (r < 0)
		return r;
	update = gm_update_begin(machine->space);
	gm_update_insert(update, region);
	/* KVM has its slot when this returns; or nothing has happened, and the sentence says why. */
	r = gm_update_commit(update, &machine->error);
	if (r == 0 && ret_region != NULL)
		*ret_region = gm_region_ref(region);
	gm_region_unref(region);
	return r;
}

/* Pages of a region that are not zero, and of those the ones that @reader is not told of. */
static void count_pages(const struct gm_region *region, struct gm_dirty_reader *reader, uint64_t *ret_written,
			uint64_t *ret_missing)
{
	const unsigned char *bytes = gm_region_hva(region);
	uint64_t number;

	for (uint64_t at = 0; at < gm_region_bytes(region); at += PAGE) {
		memcpy(&number, bytes + at, sizeof(number));
		if (number == 0)
			continue;
		++*ret_written;
		*ret_missing += !gm_dirty_is_marked(reader, gm_offset(at));
	}
}

static int play_module(struct machine *machine, unsigned number)
{
	char name[GM_NAME_MAX];
	struct gm_region_opts opts = {
		.name = name,
		.first = gm_gpa(MODULES + number % 4 * RAM_PAGES * PAGE),
		.bytes = RAM_PAGES * PAGE,
		.dirty_page_bytes = PAGE,
	};
	uint64_t written = 0, told = __atomic_load_n(&machine->told, __ATOMIC_ACQUIRE);
	struct gm_dirty_reader *reader;
	struct gm_region *module;
	struct gm_update *update;
	int r;

	snprintf(name, sizeof(name), "module%u", number);
	r = plug(machine, &opts, &module);
	if (r < 0)
		return r;
	r = gm_dirty_reader_new(gm_region_dirty(module), &reader);
	if (r < 0)
		goto out;
	__atomic_store_n(&machine->module, opts.first.value, __ATOMIC_RELEASE);
	while (__atomic_load_n(&machine->told, __ATOMIC_ACQUIRE) < told + 4 &&
	       !__atomic_load_n(&machine->over, __ATOMIC_RELAXED))
		usleep(100);
	/* Out, while the guest writes to it: it finds nothing there from here on. */
	update = gm_update_begin(machine->space);
	gm_update_remove(update, module);
	r = gm_update_commit(update, &machine->error);
	__atomic_store_n(&machine->module, NO_MODULE, __ATOMIC_RELEASE);
	if (r == 0)
		count_pages(module, reader, &written, &machine->missing);
	if (r == 0 && written == 0)
		r = -ENODATA;
	gm_dirty_reader_free(reader);
out:
	gm_region_unref(module);
	return r;
}

static void *play_modules(void *opaque)
{
	struct machine *machine = opaque;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < MODULES_NR; i++)
		r = play_module(machine, i);
	__atomic_store_n(&machine->module, STOP, __ATOMIC_RELEASE);
	machine->plugger_result = r;
	return NULL;
}

/*
 * The machine
 */

static int make_memory(struct machine *machine)
{
	static const struct gm_region_io io = { .read = device_read, .write = device_write };
	static uint64_t firmware[512] __attribute__((aligned(4096))) = { 42 };
	const struct gm_region_opts regions[] = {
		{ .name = "ram", .first = gm_gpa(RAM), .bytes = RAM_PAGES * PAGE, .dirty_page_bytes = PAGE },
		{ .name = "low", .bytes = 16 * PAGE },
		{ .name = "firmware",
		  .kind = GM_FIRMWARE,
		  .first = gm_gpa(FIRMWARE),
		  .bytes = PAGE,
		  .source = GM_SOURCE_POINTER,
		  .hva = firmware },
		{ .name = "io", .kind = GM_DEVICE, .first = gm_gpa(DEVICE), .bytes = 16, .io = &io, .opaque = machine },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(regions) / sizeof(regions[0]); i++)
		r = plug(machine, &regions[i], i == 0 ? &machine->ram : NULL);
	if (r == 0)
		r = gm_space_memory(machine->space, GM_ALL_KINDS, &machine->memory);
	if (r == 0)
		r = gm_view_init(&machine->vcpu, machine->memory, "vcpu0", GM_VIEW_DISPATCH);
	if (r == 0)
		r = gm_view_init(&machine->device, machine->memory, "device", 0);
	return r;
}

/* Code, and page tables that map 8 GiB one to one in pages of 2 MiB, for user mode. */
static int load_guest(struct machine *machine)
{
	struct gm_view *view = &machine->vcpu;
	int r;

	gm_view_enter(view);
	r = gm_write(view, gm_gpa(CODE), guest, (size_t)(guest_end - guest));
	if (r == 0)
		r = gm_store_le64(view, gm_gpa(TABLES), GM_RELAXED, (TABLES + 0x1000) | 0x67);
	for (uint64_t i = 0; r == 0 && i < 8; i++)
		r = gm_store_le64(view, gm_gpa(TABLES + 0x1000 + i * 8), GM_RELAXED,
				  (TABLES + 0x2000 + i * 0x1000) | 0x67);
	for (uint64_t i = 0; r == 0 && i < 8 * UINT64_C(512); i++)
		r = gm_store_le64(view, gm_gpa(TABLES + 0x2000 + i * 8), GM_RELAXED, i << 21 | 0xe7);
	gm_view_leave(view);
	return r;
}

static int start_vcpu(struct machine *machine)
{
	struct kvm_segment code = { .limit = UINT32_MAX, .selector = 0x1b, .type = 11, .present = 1 };
	struct kvm_regs regs = { .rip = CODE, .rflags = 0x3002 /* user mode may OUT */ };
	struct kvm_segment data;
	struct kvm_sregs sregs;
	int bytes = ioctl(machine->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	machine->vcpu_fd = ioctl(machine->vm_fd, KVM_CREATE_VCPU, 0);
	if (bytes < 0 || machine->vcpu_fd < 0 || ioctl(machine->vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	machine->run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, machine->vcpu_fd, 0);
	if (machine->run == MAP_FAILED)
		return -errno;
	code.dpl = 3;
	code.s = code.l = code.g = 1;
	data = code;
	data.selector = 0x23;
	data.type = 3;
	data.l = 0;
	data.db = 1;
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.ss = data;
	sregs.cr0 = 0x80050033; /* protected mode, paging */
	sregs.cr3 = TABLES;
	sregs.cr4 |= 0x20;   /* physical address extension */
	sregs.efer |= 0x500; /* long mode */
	if (ioctl(machine->vcpu_fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(machine->vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return gm_kvm_add_vcpu(machine->kvm, machine->vcpu_fd, &machine->error);
}

/* Until the guest is done. An MMIO exit is an access to what stands there: registers, firmware, or nothing any more. */
static int run_vcpu(struct machine *machine)
{
	for (;;) {
		if (ioctl(machine->vcpu_fd, KVM_RUN, 0) < 0 && errno != EINTR)
			return -errno;
		if (machine->run->exit_reason == KVM_EXIT_IO)
			return 0;
		if (machine->run->exit_reason != KVM_EXIT_MMIO)
			return -EPROTO;
		/* Its code is for those who want to know: the guest has its answer in any case. */
		(void)gm_kvm_mmio(&machine->vcpu, machine->run);
	}
}

static int report(struct machine *machine, struct gm_dirty_reader *reader)
{
	uint64_t written = 0, missing = 0, read = 0;
	int r;

	printf("%u modules were plugged and pulled out under it\n", MODULES_NR);
	printf("pages that it wrote to those, missing in their logs: %u\n", (unsigned)machine->missing);
	count_pages(machine->ram, reader, &written, &missing);
	printf("ram: %u pages written, by the guest and by the device, missing in the log: %u\n", (unsigned)written,
	       (unsigned)missing);
	gm_view_enter(&machine->vcpu);
	r = gm_load_le64(&machine->vcpu, gm_gpa(RAM + 8), GM_RELAXED, &read);
	gm_view_leave(&machine->vcpu);
	printf("firmware: the guest could not change it, and read %u\n", (unsigned)read);
	return r;
}

static int play(struct machine *machine)
{
	struct gm_dirty_reader *reader;
	pthread_t plugger;
	int r = gm_kvm_log_start(machine->kvm, NULL, &machine->error);

	if (r == 0)
		r = gm_dirty_reader_new(gm_region_dirty(machine->ram), &reader);
	if (r < 0)
		return r;
	r = -pthread_create(&plugger, NULL, play_modules, machine);
	if (r == 0) {
		r = run_vcpu(machine);
		__atomic_store_n(&machine->over, true, __ATOMIC_RELAXED);
		pthread_join(plugger, NULL);
	}
	if (r == 0)
		r = machine->plugger_result;
	if (r == 0)
		r = gm_kvm_dirty_sync(machine->kvm, &machine->error);
	if (r == 0)
		r = report(machine, reader);
	gm_dirty_reader_free(reader);
	printf("slots of KVM: %zu\n", gm_kvm_slots(machine->kvm, NULL, 0));
	return r;
}

static int run(struct machine *machine)
{
	int r = gm_space_new(NULL, &machine->space, &machine->error);

	if (r == 0)
		r = gm_kvm_new(machine->vm_fd, NULL, &machine->kvm, &machine->error);
	/* From here on, slots come and go with regions. */
	if (r == 0)
		r = gm_kvm_attach(machine->kvm, machine->space, &machine->error);
	if (r == 0)
		r = make_memory(machine);
	if (r == 0)
		r = load_guest(machine);
	if (r == 0)
		r = start_vcpu(machine);
	return r == 0 ? play(machine) : r;
}

int main(void)
{
	static struct machine machine;
	int r;

	machine.kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	machine.vm_fd = machine.kvm_fd < 0 ? -1 : ioctl(machine.kvm_fd, KVM_CREATE_VM, 0);
	if (machine.vm_fd < 0 || &guest[0] == &guest_end[0]) {
		fprintf(stderr, "05-kvm: skipped: no /dev/kvm that makes a VM for x86-64\n");
		return SKIPPED;
	}
	r = run(&machine);
	if (r < 0)
		fprintf(stderr, "05-kvm: %s\n", machine.error.code == r ? machine.error.text : gm_code_text(r));
	if (gm_view_fini(&machine.device) < 0 || gm_view_fini(&machine.vcpu) < 0)
		return 1;
	gm_memory_unref(machine.memory);
	gm_region_unref(machine.ram);
	gm_kvm_free(machine.kvm);
	gm_space_unref(machine.space);
	return r < 0;
}

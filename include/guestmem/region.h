/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Regions (provider side). A region is one contiguous range of guest physical space, what it is for (its kind), and
 * where its bytes come from (its source). Options struct in, immutable and reference counted object out. A region
 * owns its mapping, its file descriptor and its dirty log; the last reference unmaps and closes.
 */
#ifndef GUESTMEM_REGION_H
#define GUESTMEM_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guestmem/address.h>
#include <guestmem/error.h>

GM_BEGIN_DECLS

struct gm_dirty;
struct gm_region;

/* Longest name, its terminating zero included: it has to fit into a migration stream's and a vhost message's fields. */
#define GM_NAME_MAX 64
/* Mapped memory stands on, and is a multiple of, 4 KiB: the smallest page of any hypervisor's memory slot. */
#define GM_PAGE_BYTES 4096
/* Highest host NUMA node: the kernel's largest MAX_NUMNODES is 1024 (CONFIG_NODES_SHIFT 10). */
#define GM_NODES_MAX 1024
/* Threads that populate one region. More do not help: the kernel's page clearing is bound by memory bandwidth. */
#define GM_PREALLOC_THREADS_MAX 64

/* What a region is for. The values are bits' positions: see GM_KIND_BIT. */
enum gm_kind {
	GM_RAM = 0,      /* general memory */
	GM_FIRMWARE = 1, /* boot code and tables; views may read it but not write it unless its protection says so */
	GM_DEVICE = 2,   /* registers: an access is a call */
	GM_DAX = 3,      /* a window onto files (virtio-fs DAX, pmem); does not count as memory */
	GM_RESERVED = 4, /* nothing may be put here, and no view reaches it */
	GM_KINDS
};

#define GM_KIND_BIT(kind) (1u << (kind))
/* Sets of kinds, as gm_space_memory() takes them. */
#define GM_ONLY_RAM         GM_KIND_BIT(GM_RAM)
#define GM_RAM_AND_DAX      (GM_KIND_BIT(GM_RAM) | GM_KIND_BIT(GM_DAX))
#define GM_RAM_AND_FIRMWARE (GM_KIND_BIT(GM_RAM) | GM_KIND_BIT(GM_FIRMWARE))
#define GM_ALL_KINDS        (GM_KIND_BIT(GM_RAM) | GM_KIND_BIT(GM_FIRMWARE) | GM_KIND_BIT(GM_DEVICE) | GM_KIND_BIT(GM_DAX))

/* Where the bytes come from. The names that gm_source_from_name() takes stand behind each. */
enum gm_source {
	GM_SOURCE_DEFAULT =
		0,           /* what is usual for the kind: memfd for RAM and firmware, anon for dax, none for others */
	GM_SOURCE_NONE,      /* "none": no bytes here. Device and reserved regions only */
	GM_SOURCE_ANON,      /* "anon", "mmap": private anonymous memory */
	GM_SOURCE_HUGEANON,  /* "hugeanon", "hugemmap": anonymous memory from the huge-page pool */
	GM_SOURCE_MEMFD,     /* "memfd", "shmem": a new memfd, shareable, sealed against shrinking and growing */
	GM_SOURCE_HUGEMEMFD, /* "hugememfd", "hugeshmem": the same from the huge-page pool (MFD_HUGETLB) */
	GM_SOURCE_HUGETLBFS, /* "hugetlbfs": a new file @path on a mounted hugetlbfs: parents made, sized, unlinked */
	GM_SOURCE_FILE,      /* "file": the existing file @path, shared; copy-on-write with GM_REGION_COW */
	GM_SOURCE_FD,        /* "fd": an open file, @fd; shared, or copy-on-write with GM_REGION_COW */
	GM_SOURCE_POINTER,   /* "pointer": memory that the caller has already, @hva */
	GM_SOURCE_CALLBACKS, /* "callbacks": @io; memory that is not mapped in this process, or registers */
	GM_SOURCES
};

/* Transparent huge pages, for sources that are not from the huge-page pool. */
enum gm_huge {
	GM_HUGE_DEFAULT = 0,     /* as the system is set */
	GM_HUGE_TRANSPARENT = 1, /* MADV_HUGEPAGE, and an address aligned for it */
	GM_HUGE_NEVER = 2,       /* MADV_NOHUGEPAGE */
};

/* NUMA policy of the host memory behind a region: mbind(2). */
enum gm_numa_policy {
	GM_NUMA_DEFAULT = 0, /* the process's own */
	GM_NUMA_BIND,        /* only from @numa_nodes */
	GM_NUMA_PREFERRED,   /* from the one node in @numa_nodes while it has memory */
	GM_NUMA_INTERLEAVE,  /* page by page over @numa_nodes */
};

/* Protection, and the access that a caller of the data path wants. */
#define GM_READ  1u
#define GM_WRITE 2u
#define GM_EXEC  4u

/* struct gm_region_opts.flags */
#define GM_REGION_PREALLOC    (1u << 0) /* populate all pages now; failure is an errno, never a later SIGBUS */
#define GM_REGION_COW         (1u << 1) /* map FILE and FD privately: our writes do not reach the file */
#define GM_REGION_DONTDUMP    (1u << 2) /* leave it out of core dumps: MADV_DONTDUMP */
#define GM_REGION_FORK        (1u << 3) /* for a child of fork() too; without, it must not drop the last reference */
#define GM_REGION_NUMA_STRICT (1u << 4) /* fail when the NUMA policy can't be had; without, see gm_region_numa_result */
#define GM_REGION_ALIAS       (1u << 5) /* may show bytes of a file that another region of the map shows too */
#define GM_REGION_HOTPLUG     (1u << 6) /* hint for the machine: may be unplugged. Kept, not acted upon */
#define GM_REGION_ANON_HINT   (1u << 7) /* hint for the machine: holds anonymous pages. Kept, not acted upon */
#define GM_REGION_TAIL        (1u << 8) /* FILE and FD: the file may end inside the region's last page */
#define GM_REGION_FLAGS_ALL   0x1ffu

/**
 * struct gm_region_io - access by call, for registers and for memory that is not mapped here
 * @read: give @bytes bytes at @offset into the region. For registers @bytes is 1, 2, 4 or 8 where the guest's access was.
 * @write: take them
 *
 * The range was checked: it lies inside the region. Return 0, or a negative error number, which the accessor sees as
 * -GM_EFAULTED. A call of 1, 2, 4 or 8 bytes at a multiple of its size must be done as one access (never torn).
 * Context: called on the accessing thread, inside its read section, several threads at once; must not change the space
 * that the region stands in, nor enter, leave or close the view that the access came through: a device has a view of its own.
 * They return to their caller in the order of a stack: no longjmp(3) out of them, and no switch of coroutines inside.
 */
struct gm_region_io {
	int (*read)(void *opaque, struct gm_offset offset, void *data, size_t bytes);
	int (*write)(void *opaque, struct gm_offset offset, const void *data, size_t bytes);
};

/**
 * struct gm_region_opts - what to make
 *
 * Zero everywhere is the default, but for @size, @name, @first and @bytes. What a source does not use must be zero.
 *
 * @size: sizeof(struct gm_region_opts) as the caller was compiled
 * @name: stable name, unique in a map: 1 to GM_NAME_MAX-1 printable ASCII characters
 * @kind, @source: see there
 * @first: first guest physical address; a multiple of GM_PAGE_BYTES for a region that is mapped
 * @bytes: size, at least 1; for a region that is mapped, a multiple of GM_PAGE_BYTES, and of its huge page where it is the library that
 *	makes the file. A region of a huge-page file that exists already may begin and end inside a huge page
 * @prot: GM_READ, GM_WRITE, GM_EXEC. 0 means the kind's default: read and write; for firmware, read; for
 *	reserved, none
 * @flags: GM_REGION_...
 *
 * @path: for FILE and HUGETLBFS; copied
 * @fd: for FD (otherwise 0 or -1). The region takes a duplicate of its own (close-on-exec); the caller's stays the caller's
 * @fd_offset: place in the file of the region's first byte; a multiple of the page size, not necessarily of the huge page. FILE and FD
 * @hva: for POINTER: @bytes bytes, aligned to 8, that stay mapped until @release
 * @release: for POINTER and CALLBACKS, may be NULL: called once, with @opaque and @hva (CALLBACKS: NULL), when the last
 *	reference is gone, on the thread that dropped it: for a region removed from a space, the one that reclaims. What @opaque
 *	points to may go then. Must not call gm_space_wait(), which waits for it
 * @io: for CALLBACKS, which is the default source of a device region that has it; copied. @opaque is given to it. What
 *	@prot permits needs its callback
 * @opaque: for @release and @io
 *
 * @huge: transparent huge pages
 * @huge_bytes: page size for HUGEANON, HUGEMEMFD and HUGETLBFS: a power of two, 0 for the system's (the mount's) default
 * @mmap_flags: of <sys/mman.h>: MAP_NORESERVE and MAP_LOCKED may be asked for
 *
 * @numa_policy, @numa_nodes, @numa_nodes_count: host nodes; the array is copied. With GM_NUMA_DEFAULT they may name one
 *	node, which is then kept as a description only
 *
 * @prealloc_threads: threads that populate, 0 for one per two CPUs, at most GM_PREALLOC_THREADS_MAX
 * @progress: may be NULL: called on the calling thread now and then with the bytes populated so far and @bytes; anything
 *	but 0 cancels, and the constructor returns -ECANCELED
 * @progress_opaque: given to @progress
 *
 * @dirty_page_bytes: page size of the region's dirty log: a power of two, 4 KiB to 1 GiB; 0 for no log
 * @tag: the user's own number
 */
struct gm_region_opts {
	size_t size;
	const char *name;
	enum gm_kind kind;
	enum gm_source source;
	struct gm_gpa first;
	uint64_t bytes;
	unsigned prot;
	unsigned flags;

	const char *path;
	int fd;
	uint64_t fd_offset;
	void *hva;
	void (*release)(void *opaque, void *hva, uint64_t bytes);
	const struct gm_region_io *io;
	void *opaque;

	enum gm_huge huge;
	uint64_t huge_bytes;
	int mmap_flags;

	enum gm_numa_policy numa_policy;
	const int *numa_nodes;
	size_t numa_nodes_count;

	unsigned prealloc_threads;
	int (*progress)(void *opaque, uint64_t done_bytes, uint64_t total_bytes);
	void *progress_opaque;

	uint64_t dirty_page_bytes;
	uint64_t tag;
};

/**
 * gm_region_new - make a region: open or create its source, map it, advise, bind, populate
 *
 * A constructor that fails leaves nothing behind: no fd, no mapping, no file, and @release is not called.
 *
 * Context: any thread; may block (mapping, populating).
 * Return: 0 and one reference in *@ret_region, or
 *	-EINVAL		an option is out of range, contradicts another, or a size or address is not aligned
 *	-GM_EWRAP	@first plus @bytes, or @fd_offset plus @bytes, passes 2^64
 *	-ENAMETOOLONG	@name
 *	-E2BIG		@size is larger than this library's struct and the surplus is not zero
 *	-ENOENT, -EACCES, ...	@path can't be opened; -EEXIST: HUGETLBFS makes its file, and it is there
 *	-EBADF		@fd is not an open file
 *	-EMEDIUMTYPE	@fd or @path is not something that can be mapped as memory
 *	-ENODATA	the file is shorter than @fd_offset plus @bytes
 *	-EPERM		a seal or the open mode of the file forbids the mapping asked for
 *	-ENOMEM		no memory, or the huge-page pool is empty or too small (the sentence gives its numbers)
 *	-ENODEV		no such NUMA node, or no such huge-page size on this machine
 *	-ENOSYS		strict NUMA policy, and the kernel has none; -EOPNOTSUPP: a shared file of this file system heeds none
 *	-EOPNOTSUPP	GM_REGION_PREALLOC, and the kernel (before 5.14) can't populate such a mapping safely
 *	-GM_EFAULTED	GM_REGION_PREALLOC, and the file's pages can't be had: its file system is full, or a read failed
 *	-EFBIG		no file can be as long as @bytes
 *	-ECANCELED	@progress said so
 *	and the error number of any other system call that failed.
 */
GM_CHECKED int gm_region_new(const struct gm_region_opts *opts, struct gm_region **ret_region, struct gm_error *error);

/*
 * Ready-made regions. Return as gm_region_new().
 *
 * memory: RAM of a new memfd, taken when touched (MAP_NORESERVE), in transparent huge pages when @bytes allow one; no dirty log
 * firmware: the file at @path, copy-on-write, read-only to the guest, as long as the file is (a multiple of 4 KiB)
 * device: registers behind @io (copied; NULL when a hypervisor dispatches elsewhere)
 * dax: an address window that takes no memory until written
 */
GM_CHECKED int gm_region_new_memory(const char *name, struct gm_gpa first, uint64_t bytes,
				    struct gm_region **ret_region, struct gm_error *error);
GM_CHECKED int gm_region_new_firmware(const char *name, struct gm_gpa first, const char *path,
				      struct gm_region **ret_region, struct gm_error *error);
GM_CHECKED int gm_region_new_device(const char *name, struct gm_gpa first, uint64_t bytes,
				    const struct gm_region_io *io, void *opaque, struct gm_region **ret_region,
				    struct gm_error *error);
GM_CHECKED int gm_region_new_dax(const char *name, struct gm_gpa first, uint64_t bytes, struct gm_region **ret_region,
				 struct gm_error *error);

/**
 * gm_region_ref, gm_region_unref - take and drop a reference
 *
 * Context: any thread. ref never blocks; the last unref unmaps and closes, and so may block. unref accepts NULL.
 * A space and a map hold references of their own: dropping yours right after an insert is usual.
 */
struct gm_region *gm_region_ref(const struct gm_region *region);
void gm_region_unref(struct gm_region *region);

/*
 * Attributes, as they came out: @prot and @source hold no "default" any more, @huge_bytes is the page size in use.
 * Context: any thread, never block. Lifetime of what is returned by pointer: that of the region.
 */
const char *gm_region_name(const struct gm_region *region);
enum gm_kind gm_region_kind(const struct gm_region *region);
enum gm_source gm_region_source(const struct gm_region *region);
struct gm_range gm_region_range(const struct gm_region *region);
struct gm_gpa gm_region_first(const struct gm_region *region);
struct gm_gpa gm_region_last(const struct gm_region *region);
uint64_t gm_region_bytes(const struct gm_region *region);
unsigned gm_region_prot(const struct gm_region *region);
unsigned gm_region_flags(const struct gm_region *region);
bool gm_region_is_hotplug(const struct gm_region *region);
bool gm_region_is_dax(const struct gm_region *region);
uint64_t gm_region_tag(const struct gm_region *region);
/* The mapping's first byte; NULL when not mapped here. Writes through it are the caller's to mark: gm_dirty_mark(). */
void *gm_region_hva(const struct gm_region *region);
/* The region's own file descriptor, borrowed; -1 when it has none. Not to be closed, truncated or locked. */
int gm_region_fd(const struct gm_region *region);
uint64_t gm_region_fd_offset(const struct gm_region *region);
/* As given in @path; NULL when there was none. */
const char *gm_region_path(const struct gm_region *region);
/* Flags of mmap(2) that were used; 0 when not mapped by us. */
int gm_region_mmap_flags(const struct gm_region *region);
/* Whether another process that gets gm_region_fd() would see the same bytes (a shared mapping of a file). */
bool gm_region_is_shareable(const struct gm_region *region);
enum gm_huge gm_region_huge(const struct gm_region *region);
/* Size of the pages that the source is made of: the host's page, or a huge page of the pool; 0 when not mapped here. */
uint64_t gm_region_page_bytes(const struct gm_region *region);
enum gm_numa_policy gm_region_numa_policy(const struct gm_region *region);
/* The only, or lowest, host node asked for; -1 when none was. */
int gm_region_numa_node(const struct gm_region *region);
/* Whether @node is among the host nodes asked for. */
bool gm_region_has_numa_node(const struct gm_region *region, int node);
/* 0 when the NUMA policy was applied or none was asked for; else why not (best effort): -ENODEV, -ENOSYS, ... */
int gm_region_numa_result(const struct gm_region *region);
/* The dirty log; NULL when it has none. A reader of it may outlive the region. */
struct gm_dirty *gm_region_dirty(const struct gm_region *region);
/* Whether it is guarded against memory that faults, and how often a part of it was lost: <guestmem/guard.h>. */
bool gm_region_is_guarded(const struct gm_region *region);
uint64_t gm_region_faults(const struct gm_region *region);
/* Whether the two regions' guest ranges have an address in common. */
bool gm_region_intersects(const struct gm_region *a, const struct gm_region *b);
/* Whether @address lies in the region. */
bool gm_region_contains(const struct gm_region *region, struct gm_gpa address);

/* Names of kinds ("ram", "firmware", "device", "dax", "reserved") and sources; NULL for a number that is none. */
const char *gm_kind_name(enum gm_kind kind);
const char *gm_source_name(enum gm_source source);
/* Return: 0, or -EINVAL when @name is none of the names, and ret untouched. */
GM_CHECKED int gm_kind_from_name(const char *name, enum gm_kind *ret_kind);
GM_CHECKED int gm_source_from_name(const char *name, enum gm_source *ret_source);

GM_END_DECLS

#endif

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A raw image as a disk, by io_uring. Owns the image's descriptors, by the ring's registered files, and one struct op for each transfer
 * in flight; those that are free are kept.
 *
 * A transfer is a row of steps: begin() decides what the first is, issue() submits it, op_done() takes its result and either
 * issues the next or finishes. Steps follow after a part, after EINTR and EAGAIN, and where fallocate(2) can't make zeros.
 * Invariant: an op is free, in flight, in @waiting, where the ring had no room, or in @starved. Start at submit().
 */
#include "uring_disk.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "disk_image.h"

/* A buffer for memory that O_DIRECT does not take; more goes in steps. */
#define BOUNCE_BYTES_MAX (1024 * 1024)
/* Zeros for images whose filesystem can't make any by itself: so many iovecs of so many bytes in one step. */
#define ZEROS_BYTES  (64 * 1024)
#define ZEROS_IOVECS 64
/* What one system call moves at most (MAX_RW_COUNT, where pages are 4 KiB or larger), in whole blocks. */
#define STEP_BYTES_MAX UINT64_C(0x7ff00000)
/* A device that is busy says EAGAIN; one that always does is broken. */
#define TRIES_MAX 1000
/*
 * To and from the page cache a transfer is a copy, done sooner than handed over. A write more so: ext4 for one can't tell whether it
 * would have to wait, so io_uring hands all of them to a thread. Done at once is what is no longer than this: reads of what is in
 * the cache, until it was not; then so many go by io_uring. Writes that read nothing before, until one had to wait after all (for
 * room in the cache, or a commit of the file system); then those of a second go by io_uring.
 */
#define COPY_BYTES_MAX   (128 * 1024)
#define COPY_PAGE_BYTES  4096
#define COPY_SLOW_NS     UINT64_C(1000000)
#define COPY_PAUSE_NS    UINT64_C(1000000000)
#define COPY_PAUSE_READS 32
/* Alignment that any device takes, where the kernel can't say. */
#define ALIGNMENT_SAFE 4096

/* How data goes. */
enum way {
	WAY_PLAIN,   /* as it is, by the image's first descriptor */
	WAY_BOUNCED, /* O_DIRECT through @bounce */
	WAY_CACHED,  /* through the page cache, although the image is O_DIRECT */
};

struct op {
	struct uring_event event;
	struct uring_disk *disk;
	struct vblk_io *io;
	struct op *next; /* in a list */
	uint64_t done;   /* bytes */
	uint64_t step_bytes;
	enum way way;
	bool makes_zeros; /* by writing them */
	unsigned tries;
	unsigned char *bounce;
	uint64_t bounce_bytes;
};

struct uring_disk {
	struct uring *uring;
	int plain, cached; /* registered files */
	int fd;            /* of @plain, for what is done at once */
	uint64_t pause_ns; /* until then no write is */
	unsigned pause_reads;
	bool direct;
	uint32_t block_bytes, memory_alignment;
	unsigned in_flight;
	struct op *idle;
	struct op *waiting, **waiting_tail;
	struct op *starved, **starved_tail; /* for room for a buffer: somebody who has one is in flight then */
	uint64_t bounces_bytes;             /* of all buffers */
	unsigned char *zeros;
	struct iovec zero_iovecs[ZEROS_IOVECS];
};

static void op_done(struct uring_event *event, int32_t result, uint32_t flags);

static void finish(struct op *op, int64_t result)
{
	struct vblk_io *io = op->io;

	if (op->bounce != NULL)
		op->disk->bounces_bytes -= op->bounce_bytes;
	free(op->bounce);
	op->bounce = NULL;
	op->next = op->disk->idle;
	op->disk->idle = op;
	op->disk->in_flight--;
	vblk_io_done(io, result);
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * Ways
 */

/* Older kernels want each piece to be of whole blocks, not only their sum. */
static bool memory_is_aligned(const struct uring_disk *disk, const struct vblk_io *io)
{
	uintptr_t places = 0, sizes = 0;
	unsigned i;

	for (i = 0; i < io->iovecs_count; i++) {
		places |= (uintptr_t)io->iovecs[i].iov_base;
		sizes |= (uintptr_t)io->iovecs[i].iov_len;
	}
	return (places & (disk->memory_alignment - 1)) == 0 && (sizes & (disk->block_bytes - 1)) == 0;
}

static enum way way_of(const struct op *op)
{
	const struct uring_disk *disk = op->disk;
	const struct vblk_io *io = op->io;

	if (!disk->direct)
		return WAY_PLAIN;
	/* Anew for each step, for a read may have stopped anywhere. */
	if (((io->offset + op->done) | (io->bytes - op->done)) & (disk->block_bytes - 1))
		return WAY_CACHED;
	if (op->makes_zeros || memory_is_aligned(disk, io))
		return WAY_PLAIN;
	return WAY_BOUNCED;
}

/* Copy between @bounce and the first @bytes of the iovecs, by the kernel: the guest's memory may be gone. Return: 0; -EFAULT, ... */
static int copy_bounced(struct op *op, uint64_t bytes)
{
	const struct iovec ours = { .iov_base = op->bounce, .iov_len = bytes };
	const struct iovec *guest = op->io->iovecs;
	const unsigned count = op->io->iovecs_count;
	ssize_t r;

	if (op->io->op == VBLK_READ)
		r = process_vm_writev(getpid(), &ours, 1, guest, count, 0);
	else
		r = process_vm_readv(getpid(), &ours, 1, guest, count, 0);
	if (r < 0)
		return -errno;
	return (uint64_t)r == bytes ? 0 : -EFAULT;
}

static int prepare_bounce(struct op *op)
{
	struct uring_disk *disk = op->disk;
	void *bounce = NULL;

	op->step_bytes = lesser(op->io->bytes - op->done, BOUNCE_BYTES_MAX);
	if (op->bounce == NULL) {
		if (posix_memalign(&bounce,
				   ALIGNMENT_SAFE > disk->memory_alignment ? ALIGNMENT_SAFE : disk->memory_alignment,
				   op->step_bytes) != 0)
			return -ENOMEM;
		op->bounce = bounce;
		op->bounce_bytes = op->step_bytes;
		disk->bounces_bytes += op->bounce_bytes;
	}
	return op->io->op == VBLK_WRITE ? copy_bounced(op, op->step_bytes) : 0;
}

/*
 * Steps
 */

static void prepare_zeros(struct op *op, struct io_uring_sqe *sqe, int file)
{
	struct uring_disk *disk = op->disk;
	const uint64_t left = op->io->bytes - op->done;

	if (left < ZEROS_BYTES) {
		op->step_bytes = left;
		io_uring_prep_write(sqe, file, disk->zeros, (unsigned)left, op->io->offset + op->done);
	} else {
		const uint64_t count = lesser(left / ZEROS_BYTES, ZEROS_IOVECS);

		op->step_bytes = count * ZEROS_BYTES;
		io_uring_prep_writev(sqe, file, disk->zero_iovecs, (unsigned)count, op->io->offset + op->done);
	}
}

static void prepare_data(struct op *op, struct io_uring_sqe *sqe, int file)
{
	const struct vblk_io *io = op->io;
	const bool is_read = io->op == VBLK_READ;
	const uint64_t at = io->offset + op->done;
	void *memory = op->way == WAY_BOUNCED ? op->bounce : io->iovecs->iov_base;

	if (op->way != WAY_BOUNCED)
		op->step_bytes = io->bytes - op->done;
	if (op->way != WAY_BOUNCED && io->iovecs_count > 1) {
		if (is_read)
			io_uring_prep_readv(sqe, file, io->iovecs, io->iovecs_count, at);
		else
			io_uring_prep_writev(sqe, file, io->iovecs, io->iovecs_count, at);
	} else {
		/* A single piece spares the kernel the list. */
		op->step_bytes = lesser(op->step_bytes, STEP_BYTES_MAX);
		if (is_read)
			io_uring_prep_read(sqe, file, memory, (unsigned)op->step_bytes, at);
		else
			io_uring_prep_write(sqe, file, memory, (unsigned)op->step_bytes, at);
	}
}

static void prepare_allocate(const struct op *op, struct io_uring_sqe *sqe)
{
	const struct vblk_io *io = op->io;
	int mode = FALLOC_FL_KEEP_SIZE;

	mode |= io->op == VBLK_DISCARD || io->may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
	io_uring_prep_fallocate(sqe, op->disk->plain, mode, (off_t)io->offset, (off_t)io->bytes);
}

static void prepare(struct op *op, struct io_uring_sqe *sqe)
{
	const int file = op->way == WAY_CACHED ? op->disk->cached : op->disk->plain;

	switch (op->io->op) {
	case VBLK_READ:
	case VBLK_WRITE:
		prepare_data(op, sqe, file);
		break;
	case VBLK_FLUSH:
		io_uring_prep_fsync(sqe, op->disk->plain, IORING_FSYNC_DATASYNC);
		break;
	case VBLK_DISCARD:
	case VBLK_ZERO:
		if (op->makes_zeros)
			prepare_zeros(op, sqe, file);
		else
			prepare_allocate(op, sqe);
		break;
	}
	sqe->flags |= IOSQE_FIXED_FILE;
	uring_set_event(sqe, &op->event);
}

/* Submit the step, or let it wait for room. */
static void issue(struct op *op)
{
	struct uring_disk *disk = op->disk;
	struct io_uring_sqe *sqe = disk->waiting == NULL ? uring_prepare(disk->uring) : NULL;

	if (sqe != NULL) {
		prepare(op, sqe);
		return;
	}
	op->next = NULL;
	*disk->waiting_tail = op;
	disk->waiting_tail = &op->next;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool write_now(struct uring_disk *disk, const struct vblk_io *io)
{
	uint64_t before, after;
	ssize_t r;

	if ((io->offset | io->bytes) & (COPY_PAGE_BYTES - 1))
		return false;
	before = now_ns();
	if (before < disk->pause_ns)
		return false;
	r = pwritev(disk->fd, io->iovecs, (int)io->iovecs_count, (off_t)io->offset);
	after = now_ns();
	if (after - before > COPY_SLOW_NS)
		disk->pause_ns = after + COPY_PAUSE_NS;
	return r == (ssize_t)io->bytes;
}

static void go_on_by_its_way(struct op *op)
{
	const int r = op->way == WAY_BOUNCED ? prepare_bounce(op) : 0;

	if (r < 0)
		finish(op, r);
	else
		issue(op);
}

static bool has_bounce_room(const struct op *op)
{
	const uint64_t wanted = lesser(op->io->bytes - op->done, BOUNCE_BYTES_MAX);

	return op->bounce != NULL || wanted <= URING_DISK_BOUNCES_BYTES_MAX - op->disk->bounces_bytes;
}

static bool read_now(struct uring_disk *disk, const struct vblk_io *io)
{
	if (disk->pause_reads > 0) {
		disk->pause_reads--;
		return false;
	}
	if (preadv2(disk->fd, io->iovecs, (int)io->iovecs_count, (off_t)io->offset, RWF_NOWAIT) == (ssize_t)io->bytes)
		return true;
	disk->pause_reads = COPY_PAUSE_READS;
	return false;
}

/* Do it now, if it is a copy. What it leaves over, and whatever else it comes to, goes its usual way. Return: whether all is done. */
static bool copy_now(struct op *op)
{
	struct uring_disk *disk = op->disk;
	const struct vblk_io *io = op->io;

	if (disk->direct || op->done > 0 || io->bytes > COPY_BYTES_MAX)
		return false;
	return io->op == VBLK_READ ? read_now(disk, io) : io->op == VBLK_WRITE && write_now(disk, io);
}

/* The next step of what moves data. */
static void go_on(struct op *op)
{
	struct uring_disk *disk = op->disk;

	if (copy_now(op)) {
		finish(op, (int64_t)op->io->bytes);
		return;
	}
	op->way = way_of(op);
	if (op->way == WAY_BOUNCED && op->bounce == NULL && (disk->starved != NULL || !has_bounce_room(op))) {
		op->next = NULL;
		*disk->starved_tail = op;
		disk->starved_tail = &op->next;
		return;
	}
	go_on_by_its_way(op);
}

void uring_disk_push(struct uring_disk *disk)
{
	struct io_uring_sqe *sqe;
	struct op *op;

	while ((op = disk->waiting) != NULL && (sqe = uring_prepare(disk->uring)) != NULL) {
		disk->waiting = op->next;
		if (disk->waiting == NULL)
			disk->waiting_tail = &disk->waiting;
		prepare(op, sqe);
	}
	while ((op = disk->starved) != NULL && has_bounce_room(op)) {
		disk->starved = op->next;
		if (disk->starved == NULL)
			disk->starved_tail = &disk->starved;
		go_on_by_its_way(op);
	}
}

uint64_t uring_disk_bounces_bytes(const struct uring_disk *disk)
{
	return disk->bounces_bytes;
}

unsigned uring_disk_in_flight(const struct uring_disk *disk)
{
	return disk->in_flight;
}

static bool moves_data(const struct op *op)
{
	return op->io->op == VBLK_READ || op->io->op == VBLK_WRITE || op->makes_zeros;
}

/* A part was moved, all of it perhaps. */
static void moved(struct op *op, uint64_t bytes)
{
	int r = 0;

	if (op->way == WAY_BOUNCED && op->io->op == VBLK_READ)
		r = copy_bounced(op, bytes);
	if (r < 0) {
		finish(op, r);
		return;
	}
	op->done += bytes;
	if (op->done == op->io->bytes) {
		finish(op, op->makes_zeros ? 0 : (int64_t)op->done);
		return;
	}
	if (!op->makes_zeros)
		disk_io_skip(op->io, bytes);
	op->tries = 0;
	go_on(op);
}

/* What fallocate(2) can't do. A discard is a hint, and who can't do it has done enough; zeros have to be written. */
static void unable(struct op *op)
{
	if (op->io->op == VBLK_DISCARD) {
		finish(op, 0);
		return;
	}
	op->makes_zeros = true;
	go_on(op);
}

static void op_done(struct uring_event *event, int32_t result, uint32_t flags)
{
	struct op *op = (struct op *)event;

	(void)flags;
	if ((result == -EINTR || result == -EAGAIN) && ++op->tries < TRIES_MAX) {
		issue(op);
		return;
	}
	if (!moves_data(op)) {
		if (op->io->op != VBLK_FLUSH && disk_is_unable(result))
			unable(op);
		else
			finish(op, result);
		return;
	}
	/* Only a read at the file's end moves nothing; a write that stopped midway is tried again, so that the system says why. */
	if (result < 0)
		finish(op, result);
	else if (result == 0)
		finish(op, op->makes_zeros ? -EIO : (int64_t)op->done);
	else
		moved(op, (uint64_t)result);
}

static struct op *take_op(struct uring_disk *disk)
{
	struct op *op = disk->idle;

	if (op == NULL)
		return calloc(1, sizeof(*op));
	disk->idle = op->next;
	return op;
}

static void submit(void *opaque, struct vblk_io *io)
{
	struct uring_disk *disk = opaque;
	struct op *op = take_op(disk);

	if (op == NULL) {
		vblk_io_done(io, -ENOMEM);
		return;
	}
	disk->in_flight++;
	op->event.done = op_done;
	op->disk = disk;
	op->io = io;
	op->done = 0;
	op->tries = 0;
	op->makes_zeros = false;
	op->way = WAY_PLAIN;
	if (moves_data(op))
		go_on(op);
	else
		issue(op);
}

/*
 * Setting up
 */

/* What O_DIRECT wants of a file. */
static void find_alignment(struct uring_disk *disk, int fd)
{
	uint32_t block = ALIGNMENT_SAFE, memory = ALIGNMENT_SAFE;
#ifdef STATX_DIOALIGN
	struct statx status;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 && (status.stx_mask & STATX_DIOALIGN) != 0 &&
	    status.stx_dio_offset_align != 0 && status.stx_dio_mem_align != 0) {
		block = status.stx_dio_offset_align;
		memory = status.stx_dio_mem_align;
	}
#else
	(void)fd;
#endif
	disk->block_bytes = block <= VBLK_SECTOR_BYTES ? VBLK_SECTOR_BYTES
			    : block < ALIGNMENT_SAFE   ? ALIGNMENT_SAFE
						       : block;
	disk->memory_alignment = memory;
}

static int open_file(struct uring_disk *disk, const char *path, bool read_only, bool direct, int *ret_file,
		     uint64_t *ret_bytes)
{
	int fd = disk_image_open(path, read_only, direct ? O_DIRECT : 0, ret_bytes), r;

	if (fd < 0)
		return fd;
	if (direct)
		find_alignment(disk, fd);
	r = uring_add_file(disk->uring, fd);
	if (r >= 0)
		*ret_file = r;
	if (r >= 0 && disk->fd < 0)
		disk->fd = fd;
	else
		(void)close(fd);
	return r < 0 ? r : 0;
}

static int open_files(struct uring_disk *disk, const char *path, bool read_only, uint64_t *ret_bytes)
{
	int r = open_file(disk, path, read_only, disk->direct, &disk->plain, ret_bytes);

	if (r < 0 || !disk->direct)
		return r;
	if (*ret_bytes % VBLK_SECTOR_BYTES != 0)
		return -ENODATA;
	return open_file(disk, path, read_only, false, &disk->cached, ret_bytes);
}

int uring_disk_new(struct uring *uring, const char *path, bool read_only, bool direct, struct uring_disk **ret_disk,
		   struct vblk_disk *ret_vblk_disk)
{
	struct uring_disk *disk = calloc(1, sizeof(*disk));
	uint64_t bytes = 0;
	void *zeros = NULL;
	unsigned i;
	int r;

	if (disk == NULL)
		return -ENOMEM;
	disk->uring = uring;
	disk->direct = direct;
	disk->fd = -1;
	disk->waiting_tail = &disk->waiting;
	disk->starved_tail = &disk->starved;
	r = posix_memalign(&zeros, ALIGNMENT_SAFE, ZEROS_BYTES) != 0 ? -ENOMEM : 0;
	if (r == 0)
		r = open_files(disk, path, read_only, &bytes);
	if (r < 0) {
		if (disk->fd >= 0)
			(void)close(disk->fd);
		free(zeros);
		free(disk);
		return r;
	}
	disk->zeros = memset(zeros, 0, ZEROS_BYTES);
	for (i = 0; i < ZEROS_IOVECS; i++)
		disk->zero_iovecs[i] = (struct iovec){ .iov_base = zeros, .iov_len = ZEROS_BYTES };
	*ret_vblk_disk = (struct vblk_disk){
		.bytes = bytes,
		.read_only = read_only,
		.can_discard = !read_only,
		.can_zero = !read_only,
		.submit = submit,
		.opaque = disk,
	};
	*ret_disk = disk;
	return 0;
}

void uring_disk_free(struct uring_disk *disk)
{
	struct op *op;

	if (disk == NULL)
		return;
	while ((op = disk->idle) != NULL) {
		disk->idle = op->next;
		free(op);
	}
	(void)close(disk->fd);
	free(disk->zeros);
	free(disk);
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Streams between guest memory and files, pipes and sockets: short transfers, signals, ends of files, descriptors that block
 * or fail, system calls that fail one by one. Data, file positions and dirty pages are compared to the byte and page.
 */
#include "access_world.h"
#include "support.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "sys/fault.h"

#define BASE   UINT64_C(0x100000) /* PIECES adjacent regions of a page, two of them behind callbacks */
#define PIECES 150                /* more than go into one system call */
#define SIZE   (PIECES * PAGE)
#define HOLE   (BASE + SIZE)
#define RDONLY (HOLE + PAGE)
#define DEVICE (RDONLY + 2 * PAGE)
#define WRONLY (DEVICE + 2 * PAGE)
#define TOP    (UINT64_MAX - PAGE + 1)

static struct world world;
static unsigned char data[SIZE], got[SIZE];

static int setup(void **state)
{
	struct spec specs[PIECES + 8] = { { 0 } };
	unsigned n = 0;

	(void)state;
	for (; n < PIECES; n++)
		specs[n] = (struct spec){ .first = BASE + n * PAGE, .bytes = PAGE, .callbacks = n == 5 || n == 100 };
	specs[n++] = (struct spec){ .first = RDONLY, .bytes = PAGE, .prot = GM_READ };
	specs[n++] = (struct spec){ .first = RDONLY + PAGE, .bytes = PAGE };
	specs[n++] = (struct spec){ .first = DEVICE, .bytes = PAGE, .kind = GM_DEVICE };
	specs[n++] = (struct spec){ .first = DEVICE + PAGE, .bytes = PAGE };
	specs[n++] = (struct spec){ .first = WRONLY, .bytes = PAGE, .prot = GM_WRITE };
	specs[n++] = (struct spec){ .first = WRONLY + PAGE, .bytes = PAGE };
	specs[n++] = (struct spec){ .first = TOP, .bytes = PAGE };
	world_new(&world, specs, n, GM_ONLY_RAM, 0);
	for (uint64_t i = 0; i < SIZE; i++)
		data[i] = (unsigned char)(i * 13 + i / 509);
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_free(&world);
	return 0;
}

/* A file with the first @bytes of data, at its beginning. */
static int new_file(uint64_t bytes)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, bytes, 0), bytes);
	return fd;
}

/* What the last stream said of its descriptor. */
static int fd_error;

static int64_t from_fd(uint64_t at, uint64_t bytes, int fd, int64_t offset, bool some)
{
	fd_error = 1;
	return some ? gm_write_from_fd_some(&world.view, gm_gpa(at), bytes, fd, offset, &fd_error)
		    : gm_write_from_fd(&world.view, gm_gpa(at), bytes, fd, offset, &fd_error);
}

static int64_t to_fd(uint64_t at, uint64_t bytes, int fd, int64_t offset, bool some)
{
	fd_error = 1;
	return some ? gm_read_to_fd_some(&world.view, gm_gpa(at), bytes, fd, offset, &fd_error)
		    : gm_read_to_fd(&world.view, gm_gpa(at), bytes, fd, offset, &fd_error);
}

static const struct {
	uint64_t at, bytes;
} ranges[] = {
	{ BASE, 1 },
	{ BASE + 17, 100 },
	{ BASE + PAGE - 1, 2 },
	{ BASE + 3 * PAGE + 9, 5 * PAGE }, /* through callbacks */
	{ BASE + 5 * PAGE + 1, 8 },        /* callbacks only */
	{ BASE + 5 * PAGE, PAGE + 1 },
	{ BASE + 11, 16 * PAGE },
	{ BASE, SIZE }, /* several batches */
	{ UINT64_MAX, 1 },
	{ TOP, PAGE },
};
#define RANGES (sizeof(ranges) / sizeof(ranges[0]))

static void file_to_guest(void **state)
{
	int fd = new_file(SIZE);

	(void)state;
	for (unsigned i = 0; i < RANGES; i++)
		for (int some = 0; some < 2; some++) {
			uint64_t at = ranges[i].at, bytes = ranges[i].bytes, offset = SIZE - bytes;

			world_reset(&world, i);
			assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
			assert_int_equal(from_fd(at, bytes, fd, -1, some), bytes);
			assert_int_equal(lseek(fd, 0, SEEK_CUR), bytes);
			expect_written(&world, at, data, bytes);
			assert_int_equal(from_fd(at, bytes, fd, (int64_t)offset, some), bytes);
			assert_int_equal(lseek(fd, 0, SEEK_CUR), bytes);
			expect_written(&world, at, data + offset, bytes);
		}
	close(fd);
}

static void guest_to_file(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RANGES; i++)
		for (int some = 0; some < 2; some++) {
			uint64_t at = ranges[i].at, bytes = ranges[i].bytes;
			int fd = new_file(0);

			world_reset(&world, i);
			assert_int_equal(to_fd(at, bytes, fd, -1, some), bytes);
			assert_int_equal(lseek(fd, 0, SEEK_CUR), bytes);
			assert_int_equal(pread(fd, got, SIZE, 0), bytes);
			expect_equal(&world, at, got, bytes);
			assert_int_equal(ftruncate(fd, 0), 0);
			assert_int_equal(to_fd(at, bytes, fd, 1000, some), bytes);
			assert_int_equal(pread(fd, got, SIZE, 1000), bytes);
			expect_equal(&world, at, got, bytes);
			expect_untouched(&world);
			close(fd);
		}
}

/* A file that ends early: what came is there and marked, and no page more. */
static void end_of_file(void **state)
{
	static const uint64_t ends[] = { 0, 1, PAGE, 4 * PAGE + 5, 5 * PAGE, 5 * PAGE + 7, 6 * PAGE, 70 * PAGE + 1 };

	(void)state;
	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		int fd = new_file(ends[i]);

		world_reset(&world, i);
		assert_int_equal(from_fd(BASE, SIZE, fd, -1, false), ends[i]);
		expect_written(&world, BASE, data, ends[i]);
		assert_int_equal(from_fd(BASE, SIZE, fd, 0, true), ends[i]);
		expect_written(&world, BASE, data, ends[i]);
		assert_int_equal(from_fd(BASE, SIZE, fd, (int64_t)ends[i], false), 0);
		assert_int_equal(from_fd(BASE, SIZE, fd, -1, false), 0);
		expect_untouched(&world);
		close(fd);
	}
}

/*
 * Pipes, with somebody slow on the other end, and signals that interrupt.
 */
static int pipe_fd;
static uint64_t pipe_bytes;
static volatile sig_atomic_t alarms;

static void on_alarm(int number)
{
	(void)number;
	alarms++;
}

static void pause_ns(long ns)
{
	nanosleep(&(struct timespec){ .tv_nsec = ns }, NULL);
}

static void block_alarms(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
}

static void *dribble(void *unused)
{
	uint64_t done = 0;

	block_alarms();
	for (unsigned i = 0; done < pipe_bytes; i++) {
		uint64_t bytes = i * 97 % 6000 + 1;
		ssize_t r = write(pipe_fd, data + done, bytes < pipe_bytes - done ? bytes : pipe_bytes - done);

		if (r <= 0)
			abort();
		done += (uint64_t)r;
		pause_ns(200000);
	}
	close(pipe_fd);
	return unused;
}

static void *swallow(void *unused)
{
	uint64_t done = 0;
	ssize_t r;

	block_alarms();
	for (unsigned i = 0; (r = read(pipe_fd, got + done, i * 131 % 9000 + 1)) > 0; i++) {
		done += (uint64_t)r;
		pause_ns(200000);
	}
	pipe_bytes = done;
	close(pipe_fd);
	return unused;
}

/* SIGALRM every millisecond, without SA_RESTART. */
static void alarms_on(bool on)
{
	struct itimerval timer = { .it_interval = { .tv_usec = on ? 1000 : 0 },
				   .it_value = { .tv_usec = on ? 1000 : 0 } };
	struct sigaction action = { .sa_handler = on_alarm };

	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

static void pipe_to_guest(void **state)
{
	pthread_t thread;
	int fds[2];

	(void)state;
	world_reset(&world, 1);
	assert_int_equal(pipe(fds), 0);
	pipe_fd = fds[1];
	pipe_bytes = SIZE;
	alarms = 0;
	assert_int_equal(pthread_create(&thread, NULL, dribble, NULL), 0);
	alarms_on(true);
	assert_int_equal(from_fd(BASE, SIZE, fds[0], -1, false), SIZE);
	alarms_on(false);
	assert_int_equal(pthread_join(thread, NULL), 0);
	expect_written(&world, BASE, data, SIZE);
	assert_true(alarms > 0);
	close(fds[0]);

	/* The writer goes away in the middle: that is the end of the file. */
	assert_int_equal(pipe(fds), 0);
	pipe_fd = fds[1];
	pipe_bytes = 7 * PAGE + 77;
	world_reset(&world, 2);
	assert_int_equal(pthread_create(&thread, NULL, dribble, NULL), 0);
	assert_int_equal(from_fd(BASE, SIZE, fds[0], -1, false), 7 * PAGE + 77);
	assert_int_equal(pthread_join(thread, NULL), 0);
	expect_written(&world, BASE, data, 7 * PAGE + 77);
	close(fds[0]);
}

static void guest_to_pipe(void **state)
{
	pthread_t thread;
	int fds[2];

	(void)state;
	world_reset(&world, 3);
	assert_int_equal(pipe(fds), 0);
	pipe_fd = fds[0];
	alarms = 0;
	assert_int_equal(pthread_create(&thread, NULL, swallow, NULL), 0);
	alarms_on(true);
	assert_int_equal(to_fd(BASE, SIZE, fds[1], -1, false), SIZE);
	alarms_on(false);
	close(fds[1]);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(pipe_bytes, SIZE);
	expect_equal(&world, BASE, got, SIZE);
	expect_untouched(&world);
	assert_true(alarms > 0);

	/* Nobody reads. */
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	assert_int_equal(to_fd(BASE, 10, fds[1], -1, false), -EPIPE);
	close(fds[1]);
}

static void would_block(void **state)
{
	int fds[2], room = 4096;
	int64_t sent, r;

	(void)state;
	world_reset(&world, 4);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
	assert_int_equal(from_fd(BASE, SIZE, fds[1], -1, false), -EAGAIN);
	expect_untouched(&world);
	assert_int_equal(write(fds[0], data, 700), 700);
	assert_int_equal(from_fd(BASE + PAGE, SIZE - PAGE, fds[1], -1, false), 700);
	expect_written(&world, BASE + PAGE, data, 700);
	sent = to_fd(BASE, SIZE, fds[0], -1, false);
	assert_true(sent > 0 && sent < (int64_t)SIZE);
	assert_int_equal(to_fd(BASE, SIZE, fds[0], -1, false), -EAGAIN);
	for (int64_t done = 0; done < sent; done += r) {
		r = read(fds[1], got + done, SIZE);
		assert_true(r > 0);
	}
	assert_int_equal(read(fds[1], got, 1), -1);
	expect_equal(&world, BASE + 1, got + 1, (uint64_t)sent - 1);
	expect_untouched(&world);
	close(fds[0]);
	close(fds[1]);
}

static void bad_descriptors(void **state)
{
	int file = new_file(100), dir = open("/", O_RDONLY | O_DIRECTORY), fds[2], full = open("/dev/full", O_WRONLY);

	(void)state;
	world_reset(&world, 5);
	assert_int_equal(pipe(fds), 0);
	assert_true(dir >= 0 && full >= 0);
	for (int some = 0; some < 2; some++) {
		for (unsigned k = 0; k < 2; k++) { /* mapped, and behind callbacks */
			uint64_t at = BASE + k * 5 * PAGE;

			assert_int_equal(from_fd(at, 8, -1, -1, some), -EBADF);
			assert_int_equal(to_fd(at, 8, -1, -1, some), -EBADF);
			assert_int_equal(from_fd(at, 8, 100000, 0, some), -EBADF);
			assert_int_equal(from_fd(at, 8, fds[1], -1, some), -EBADF); /* write-only */
			assert_int_equal(to_fd(at, 8, fds[0], -1, some), -EBADF);   /* read-only */
			assert_int_equal(from_fd(at, 8, dir, -1, some), -EISDIR);
			assert_int_equal(from_fd(at, 8, fds[0], 0, some), -ESPIPE);
			assert_int_equal(to_fd(at, 8, fds[1], 0, some), -ESPIPE);
			assert_int_equal(to_fd(at, 8, full, -1, some), -ENOSPC);
			assert_int_equal(fd_error, -ENOSPC);
		}
		/* Sums that pass the largest file offset. */
		assert_int_equal(from_fd(BASE, 8, file, INT64_MAX - 7, some), -EINVAL);
		assert_int_equal(to_fd(BASE, 8, file, INT64_MAX - 7, some), -EINVAL);
		assert_int_equal(from_fd(BASE, SIZE, file, INT64_MAX, some), -EINVAL);
		assert_int_equal(from_fd(BASE, 8, file, INT64_MAX - 8, some), 0);
		/* Only the second system call would find out, and the first one the end of the file. */
		assert_int_equal(from_fd(BASE, SIZE, file, INT64_MAX - 6 * (int64_t)PAGE, some), -EINVAL);
	}
	/* What the result could not say. */
	assert_int_equal(from_fd(0, UINT64_C(1) << 63, file, -1, false), -EINVAL);
	assert_int_equal(to_fd(BASE, UINT64_MAX - BASE + 1, file, -1, false), -EINVAL);
	expect_untouched(&world);
	assert_int_equal(from_fd(BASE, UINT64_MAX, file, -1, true), 100);
	expect_written(&world, BASE, data, 100);
	close(file);
	close(dir);
	close(full);
	close(fds[0]);
	close(fds[1]);
}

static const struct {
	uint64_t at, bytes, before;
	int read, write;
} obstacles[] = {
	{ HOLE, 8, 0, -GM_EHOLE, -GM_EHOLE },
	{ BASE, SIZE + 1, SIZE, -GM_EHOLE, -GM_EHOLE },
	{ HOLE - 3, 8, 3, -GM_EHOLE, -GM_EHOLE },
	{ RDONLY, 2 * PAGE, 0, 0, -GM_EACCESS },
	{ DEVICE - 5, 10, 5, -GM_ENOTRAM, -GM_ENOTRAM },
	{ DEVICE, 1, 0, -GM_ENOTRAM, -GM_ENOTRAM },
	{ WRONLY - 9, PAGE, 9, -GM_EACCESS, 0 },
	{ TOP + 1, PAGE, PAGE - 1, -GM_EWRAP, -GM_EWRAP },
	{ UINT64_MAX, 2, 1, -GM_EWRAP, -GM_EWRAP },
	{ BASE, UINT64_MAX, SIZE, -GM_EWRAP, -GM_EWRAP },
};

static void guest_obstacles(void **state)
{
	int in = new_file(SIZE), out = new_file(0);

	(void)state;
	for (unsigned i = 0; i < sizeof(obstacles) / sizeof(obstacles[0]); i++) {
		uint64_t at = obstacles[i].at, bytes = obstacles[i].bytes, before = obstacles[i].before;
		int64_t some;

		world_reset(&world, i);
		if (obstacles[i].write) {
			assert_int_equal(from_fd(at, bytes, in, -1, false), obstacles[i].write);
			assert_int_equal(lseek(in, 0, SEEK_CUR), 0); /* nothing was taken from the file */
			expect_untouched(&world);
			some = before ? (int64_t)before : obstacles[i].write;
			assert_int_equal(from_fd(at, bytes, in, 0, true), some);
			expect_written(&world, at, data, before);
		}
		if (obstacles[i].read) {
			assert_int_equal(to_fd(at, bytes, out, -1, false), obstacles[i].read);
			assert_int_equal(lseek(out, 0, SEEK_END), 0);
			some = before ? (int64_t)before : obstacles[i].read;
			assert_int_equal(to_fd(at, bytes, out, 0, true), some);
			assert_int_equal(pread(out, got, SIZE, 0), before);
			expect_equal(&world, at, got, before);
			assert_int_equal(ftruncate(out, 0), 0);
			assert_int_equal(lseek(out, 0, SEEK_SET), 0);
		}
		expect_untouched(&world);
	}
	gm_view_leave(&world.view);
	for (int some = 0; some < 2; some++) {
		assert_int_equal(from_fd(BASE, 8, in, -1, some), -EINVAL);
		assert_int_equal(to_fd(BASE, 8, out, -1, some), -EINVAL);
		assert_int_equal(from_fd(BASE, 0, -1, -1, some), 0);
	}
	gm_view_enter(&world.view);
	for (int some = 0; some < 2; some++) {
		assert_int_equal(from_fd(HOLE, 0, -1, -1, some), 0);
		assert_int_equal(to_fd(UINT64_MAX, 0, -1, INT64_MAX, some), 0);
	}
	expect_untouched(&world);
	close(in);
	close(out);
}

/* A callback that fails: what was moved before it counts. */
static void callbacks_fail(void **state)
{
	struct store *store = &world.stores[5];
	int in = new_file(SIZE), out = new_file(0);

	(void)state;
	world_reset(&world, 7);
	store->fail_after = 0;
	assert_int_equal(from_fd(BASE + 4 * PAGE, 3 * PAGE, in, -1, false), PAGE);
	assert_int_equal(to_fd(BASE + 4 * PAGE, 3 * PAGE, out, -1, false), PAGE);
	assert_int_equal(from_fd(BASE + 5 * PAGE, PAGE, in, 0, false), -GM_EFAULTED);
	/* The guest's memory, not the descriptor; while a disk's EIO has the same number. */
	assert_int_equal(fd_error, 0);
	gmi_fault_arm(1, EIO);
	assert_int_equal(from_fd(BASE, PAGE, in, 0, false), -EIO);
	assert_int_equal(fd_error, -EIO);
	gmi_fault_arm(0, 0);
	assert_int_equal(to_fd(BASE + 5 * PAGE, PAGE, out, 0, false), -GM_EFAULTED);
	store->fail_after = UINT32_MAX;
	assert_memory_equal(world_bytes(&world, 5), world.saved[5], PAGE);
	assert_memory_equal(world_bytes(&world, 6), world.saved[6], PAGE);
	close(in);
	close(out);
}

/*
 * A socket with little room, a slow reader, and signals: a write of a buffer stops halfway again and again. All of it
 * arrives, and the callbacks were asked once each time.
 */
static void *sip(void *unused)
{
	uint64_t done = 0;
	ssize_t r;

	block_alarms();
	while ((r = read(pipe_fd, got + done, 1000)) > 0) {
		done += (uint64_t)r;
		pause_ns(3000000);
	}
	pipe_bytes = done;
	return unused;
}

static void interrupted_in_a_buffer(void **state)
{
	struct store *store = &world.stores[5];
	unsigned reads = store->reads;
	pthread_t thread;
	int fds[2], room = 1;

	(void)state;
	world_reset(&world, 9);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
	pipe_fd = fds[1];
	assert_int_equal(pthread_create(&thread, NULL, sip, NULL), 0);
	alarms_on(true);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(to_fd(BASE + 5 * PAGE, PAGE, fds[0], -1, false), PAGE);
	alarms_on(false);
	close(fds[0]);
	assert_int_equal(pthread_join(thread, NULL), 0);
	close(fds[1]);
	assert_int_equal(store->reads, reads + 6);
	assert_int_equal(pipe_bytes, 6 * PAGE);
	for (unsigned i = 0; i < 6; i++)
		expect_equal(&world, BASE + 5 * PAGE, got + i * PAGE, PAGE);
}

/* A file that takes a part of what callbacks gave: the rest goes on from the buffer, nothing is read a second time. */
static void part_of_a_buffer(void **state)
{
	struct store *store = &world.stores[5];
	struct rlimit old, limit;
	unsigned reads = store->reads;
	int out = new_file(0);

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = 1000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(to_fd(BASE + 5 * PAGE, 3000, out, -1, false), 1000);
	assert_int_equal(to_fd(BASE + 5 * PAGE, 3000, out, -1, false), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(store->reads, reads + 2);
	assert_int_equal(pread(out, got, SIZE, 0), 1000);
	expect_equal(&world, BASE + 5 * PAGE, got, 1000);
	close(out);
}

/*
 * Each system call of a stream fails in its turn. A signal is nothing; anything else ends it with what was moved before.
 */
static void injected(void **state)
{
	static const int errors[] = { EINTR, EAGAIN, ENOSPC, EIO, EFAULT };
	uint64_t at = BASE + 2 * PAGE + 100, bytes = 120 * PAGE; /* both callbacks, three batches */
	int in = new_file(SIZE), out = new_file(0);

	(void)state;
	for (unsigned e = 0; e < 5; e++) {
		bool again = errors[e] == EINTR, may_be_written = errors[e] == EIO || errors[e] == EFAULT;
		int code = errors[e] == EFAULT ? -GM_EFAULTED : -errors[e];
		unsigned failed = 0;

		for (long n = 1;; n++) {
			bool fired;
			int64_t r;

			world_reset(&world, (unsigned)n);
			gmi_fault_arm(n, errors[e]);
			r = from_fd(at, bytes, in, 0, false);
			fired = gmi_fault_fired();
			gmi_fault_arm(0, 0);
			if (!fired) {
				assert_int_equal(r, bytes);
				expect_written(&world, at, data, bytes);
				break;
			}
			failed++;
			assert_true(again ? r == (int64_t)bytes : n == 1 ? r == code : r > 0 && r < (int64_t)bytes);
			if (may_be_written) {
				expect_equal(&world, at, data, r > 0 ? (uint64_t)r : 0);
				continue;
			}
			expect_written(&world, at, data, r > 0 ? (uint64_t)r : 0);

			gmi_fault_arm(n, errors[e]);
			assert_int_equal(to_fd(at, bytes, out, 0, false), r);
			gmi_fault_arm(0, 0);
			if (r > 0) {
				assert_int_equal(pread(out, got, SIZE, 0), r);
				expect_equal(&world, at, got, (uint64_t)r);
			}
			assert_int_equal(ftruncate(out, 0), 0);
		}
		/* Batches: up to the first callbacks, those, 64 pieces, up to the second, those, the rest. */
		assert_int_equal(failed, 6);
	}
	close(in);
	close(out);
}

/* Memory whose file was cut: the kernel says EFAULT, which must not look like a hole. */
static void memory_is_gone(void **state)
{
	int fd = new_file(4 * PAGE), in = new_file(SIZE), out = new_file(0);
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = "cut",
		.source = GM_SOURCE_FD,
		.fd = fd,
		.bytes = 4 * PAGE,
		.dirty_page_bytes = PAGE,
	};
	struct gm_region *region;
	struct gm_memory *memory;
	struct gm_view view;
	struct gm_map *map;

	(void)state;
	assert_int_equal(gm_region_new(&opts, &region, NULL), 0);
	assert_int_equal(gm_map_new(NULL, &region, 1, &map, NULL), 0);
	assert_int_equal(gm_map_memory(map, GM_ONLY_RAM, &memory), 0);
	assert_int_equal(gm_view_init(&view, memory, "cut", 0), 0);
	gm_view_enter(&view);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_int_equal(gm_read_to_fd(&view, gm_gpa(PAGE), PAGE, out, -1, NULL), -GM_EFAULTED);
	assert_int_equal(gm_write_from_fd(&view, gm_gpa(PAGE), PAGE, in, -1, NULL), -GM_EFAULTED);
	assert_int_equal(gm_read_to_fd(&view, gm_gpa(0), 2 * PAGE, out, -1, NULL), PAGE);
	assert_int_equal(gm_write_from_fd(&view, gm_gpa(0), 2 * PAGE, in, 0, NULL), PAGE);
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_memory_unref(memory);
	gm_map_unref(map);
	gm_region_unref(region);
	close(fd);
	close(in);
	close(out);
}

/* More than the kernel moves in one call. /dev/null takes it without a look, so no memory is touched. */
static void very_large(void **state)
{
	struct gm_region_opts opts = {
		.size = sizeof(opts),
		.name = "large",
		.source = GM_SOURCE_ANON,
		.bytes = 5 * GM_GIB,
		.mmap_flags = MAP_NORESERVE,
	};
	int null = open("/dev/null", O_WRONLY);
	struct gm_region *region;
	struct gm_memory *memory;
	struct gm_view view;
	struct gm_map *map;

	(void)state;
	if (TEST_SANITIZED)
		test_skip("a sanitizer would look at each of 5 GiB");
	assert_true(null >= 0);
	assert_int_equal(gm_region_new(&opts, &region, NULL), 0);
	assert_int_equal(gm_map_new(NULL, &region, 1, &map, NULL), 0);
	assert_int_equal(gm_map_memory(map, GM_ONLY_RAM, &memory), 0);
	assert_int_equal(gm_view_init(&view, memory, "large", 0), 0);
	gm_view_enter(&view);
	gmi_fault_arm(4, EIO);
	assert_int_equal(gm_read_to_fd(&view, gm_gpa(0), 5 * GM_GIB, null, -1, NULL), 5 * GM_GIB);
	assert_false(gmi_fault_fired());
	gmi_fault_arm(0, 0);
	gm_view_leave(&view);
	assert_int_equal(gm_view_fini(&view), 0);
	gm_memory_unref(memory);
	gm_map_unref(map);
	gm_region_unref(region);
	close(null);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(file_to_guest),
		cmocka_unit_test(guest_to_file),
		cmocka_unit_test(end_of_file),
		cmocka_unit_test(pipe_to_guest),
		cmocka_unit_test(guest_to_pipe),
		cmocka_unit_test(would_block),
		cmocka_unit_test(bad_descriptors),
		cmocka_unit_test(guest_obstacles),
		cmocka_unit_test(callbacks_fail),
		cmocka_unit_test(part_of_a_buffer),
		cmocka_unit_test(interrupted_in_a_buffer),
		cmocka_unit_test(injected),
		cmocka_unit_test(memory_is_gone),
		cmocka_unit_test(very_large),
	};

	return run_unguarded_and_guarded(tests, setup, teardown);
}

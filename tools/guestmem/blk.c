/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* "guestmem blk": sets up what lives as long as the command, and turns until it is to end. Start reading at serve(). */
#include "blk.h"

#include <errno.h>
#include <guestmem/guard.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "blk_picture.h"
#include "commands.h"

/* Submissions of one turn that need no system call of their own. */
#define RING_ENTRIES 1024
/* How long to sleep before looking again at a queue whose driver does not kick. */
#define POLL_NS   50000
#define SECOND_NS UINT64_C(1000000000)

/* What the loop waits for besides a connection. */
struct sources {
	int signals, timer; /* descriptors */
	struct uring_watch *signals_watch, *timer_watch, *listener_watch;
};

void blk_say(const char *format, ...)
{
	char text[FAILURE_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "guestmem: %s\n", printable(text));
}

uint64_t blk_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/*
 * Signals and seconds
 */

static void on_caller(void *opaque)
{
	struct blk_server *server = opaque;

	server->has_caller = true;
}

static struct sources sources = { .signals = -1, .timer = -1 };

static void on_signal(void *opaque)
{
	struct blk_server *server = opaque;
	struct signalfd_siginfo info;

	while (read(sources.signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGUSR1) {
			server->draw = true;
			continue;
		}
		/* Who asks twice does not want to wait for a disk that hangs. */
		if (server->stopping)
			_exit(STATUS_INTERRUPTED);
		server->stopping = true;
	}
}

static void on_second(void *opaque)
{
	struct blk_server *server = opaque;
	uint64_t count;

	if (read(sources.timer, &count, sizeof(count)) == sizeof(count))
		server->tick = true;
}

static int make_sources(struct blk_server *server, struct failure *failure)
{
	const struct itimerspec second = { .it_interval.tv_sec = 1, .it_value.tv_sec = 1 };
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	/* Who reads the status may go; the machine's disk stays. */
	signal(SIGPIPE, SIG_IGN);
	/* Notifications are held back for microseconds: not for 50 more. */
	(void)prctl(PR_SET_TIMERSLACK, 1);
	sources.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	sources.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (sources.signals < 0 || sources.timer < 0 || timerfd_settime(sources.timer, 0, &second, NULL) < 0)
		return fail(failure, STATUS_MISSING, "no signalfd or timerfd: %s", strerror(errno));
	sources.signals_watch = uring_watch_new(&server->uring, sources.signals, false, on_signal, server);
	sources.timer_watch = uring_watch_new(&server->uring, sources.timer, false, on_second, server);
	if (server->listener >= 0)
		sources.listener_watch = uring_watch_new(&server->uring, server->listener, false, on_caller, server);
	if (!sources.signals_watch || !sources.timer_watch || (server->listener >= 0 && !sources.listener_watch))
		return fail(failure, STATUS_MISSING, "no memory");
	return 0;
}

static void unmake_sources(void)
{
	if (sources.signals >= 0)
		close(sources.signals);
	if (sources.timer >= 0)
		close(sources.timer);
}

/*
 * Connections come and go
 */

static void accept_caller(struct blk_server *server)
{
	int fd;

	server->has_caller = false;
	fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			blk_say("a front-end can't be accepted: %s", strerror(errno));
		return;
	}
	server->connection = blk_connection_new(server, fd);
	if (server->connection == NULL)
		close(fd);
	else
		server->connections++;
}

static void draw(struct blk_server *server, bool print)
{
	struct failure failure = { 0 };
	struct blk_picture *picture;

	server->draw = false;
	if (server->connection == NULL) {
		if (print)
			blk_say("no front-end is connected");
		return;
	}
	picture = blk_connection_picture(server->connection);
	if (print) {
		const struct terminal terminal = terminal_of(STDOUT_FILENO, WHEN_AUTO);

		blk_picture_print(picture, stdout, &terminal);
		fflush(stdout);
	}
	if (server->options->map != NULL &&
	    blk_picture_draw(picture, server->options->map, server->options->image, &failure) < 0)
		blk_say("%s", failure.text);
}

static void end_connection(struct blk_server *server)
{
	struct blk_state state;

	blk_connection_state(server->connection, &state);
	server->past.requests += state.counts.requests;
	server->past.bytes_read += state.counts.bytes_read;
	server->past.bytes_written += state.counts.bytes_written;
	server->past.failed += state.counts.failed;
	draw(server, false);
	blk_connection_free(server->connection);
	server->connection = NULL;
	if (server->options->once || server->listener < 0)
		server->stopping = true;
}

/*
 * The loop
 */

static void arm(struct blk_server *server)
{
	uring_watch_arm(sources.signals_watch);
	/* A second without anybody is of no interest, but to who wants a line for each. */
	if (server->connection != NULL || server->options->status)
		uring_watch_arm(sources.timer_watch);
	if (server->connection == NULL && !server->stopping)
		uring_watch_arm(sources.listener_watch);
	if (server->connection != NULL)
		blk_connection_arm(server->connection);
	uring_disk_push(server->disk);
}

static int turn(struct blk_server *server, struct failure *failure)
{
	int r;

	arm(server);
	r = uring_turn(&server->uring, server->connection ? blk_connection_patience(server->connection) : -1);
	return r < 0 ? fail(failure, STATUS_MISSING, "io_uring failed: %s", strerror(-r)) : 0;
}

static void work(struct blk_server *server, struct blk_counts *last, uint64_t *last_ns)
{
	const uint64_t now = server->tick ? blk_now_ns() : 0;

	if (server->connection != NULL) {
		blk_connection_work(server->connection);
		if (server->stopping)
			blk_connection_close(server->connection);
	}
	if (server->tick) {
		server->tick = false;
		if (server->connection != NULL)
			blk_connection_complain(server->connection);
		if (server->options->status)
			blk_status_show(server, last, now - *last_ns);
		*last_ns = now;
	}
	if (server->draw)
		draw(server, true);
	if (server->connection != NULL && blk_connection_is_over(server->connection))
		end_connection(server);
	if (server->has_caller && server->connection == NULL && !server->stopping)
		accept_caller(server);
}

static int serve(struct blk_server *server, struct failure *failure)
{
	struct blk_counts last = { 0 };
	uint64_t last_ns = blk_now_ns();

	while (!server->stopping || server->connection != NULL) {
		if (turn(server, failure) < 0)
			return -1;
		work(server, &last, &last_ns);
	}
	return 0;
}

/*
 * Setting up
 */

static void name_disk(struct blk_server *server)
{
	const char *slash = strrchr(server->options->image, '/'), *name = slash ? slash + 1 : server->options->image;

	strncpy(server->id, name, VBLK_ID_BYTES);
	server->vblk_disk.id = server->id;
}

static int open_disk(struct blk_server *server, struct failure *failure)
{
	const struct blk_options *options = server->options;
	int r = uring_init(&server->uring, RING_ENTRIES);

	if (r < 0)
		return fail(failure, STATUS_MISSING, "this host has no io_uring to offer: %s", strerror(-r));
	r = uring_disk_new(&server->uring, options->image, options->read_only, options->direct, &server->disk,
			   &server->vblk_disk);
	if (r == 0) {
		name_disk(server);
		return 0;
	}
	uring_fini(&server->uring);
	if (r == -EMEDIUMTYPE)
		return fail(failure, STATUS_INPUT, "disk image %s is neither a file nor a block device",
			    options->image);
	if (r == -ENODATA)
		return fail(failure, STATUS_INPUT,
			    "disk image %s: --direct wants a size that is a multiple of 512 bytes", options->image);
	return fail(failure, status_of(r), "disk image %s can't be opened%s: %s", options->image,
		    options->direct ? " with --direct" : "", strerror(-r));
}

/* Return: 0; -1. A socket that was handed to us is listened on, or is a connection already. */
static int open_socket(struct blk_server *server, struct failure *failure)
{
	const struct blk_options *options = server->options;
	int listens = 0;
	socklen_t bytes = sizeof(listens);

	server->listener = -1;
	if (options->socket != NULL) {
		server->listener = blk_listen(options->socket, failure);
		if (server->listener < 0)
			return -1;
		/* As long as the ring is there, so is the socket: see bind_to() of who comes after us. */
		if (uring_add_file(&server->uring, server->listener) >= 0)
			return 0;
		blk_unlisten(options->socket, server->listener);
		return fail(failure, STATUS_MISSING, "io_uring does not take the socket");
	}
	if (getsockopt(options->fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes) < 0)
		return fail(failure, STATUS_INPUT, "--fd %d: %s", options->fd, strerror(errno));
	if (listens) {
		server->listener = options->fd;
		return 0;
	}
	server->connection = blk_connection_new(server, options->fd);
	return server->connection ? 0 : fail(failure, STATUS_INPUT, "--fd %d can't be served", options->fd);
}

/* A front-end may take its memory away. Without the guard, as where a filter forbids it, that is the end of us, but no more. */
static void guard_memory(void)
{
	struct gm_error error;

	if (gm_fault_guard_install(&error) < 0)
		blk_say("going on without protection from memory that goes away: %s", error.text);
}

static void greet(const struct blk_server *server)
{
	const struct blk_options *options = server->options;
	char bytes[BYTES_TEXT_MAX];

	printf("serving %s, %s%s%s, at %s\n", options->image, format_bytes(bytes, server->vblk_disk.bytes),
	       options->read_only ? ", read-only" : "", options->direct ? ", direct" : "",
	       options->socket ? options->socket : "the socket given");
	fflush(stdout);
}

int command_blk(int argc, char **argv, struct failure *failure)
{
	struct blk_options options;
	struct blk_server server = { .options = &options };
	int r = blk_options_parse(argc, argv, &options, failure);

	if (r != 0)
		return r < 0 ? -1 : 0;
	if (open_disk(&server, failure) < 0)
		return -1;
	guard_memory();
	r = open_socket(&server, failure);
	if (r == 0) {
		r = make_sources(&server, failure);
		if (r == 0) {
			greet(&server);
			r = serve(&server, failure);
		}
		if (server.listener >= 0 && options.socket)
			blk_unlisten(options.socket, server.listener);
	}
	uring_fini(&server.uring);
	unmake_sources();
	uring_disk_free(server.disk);
	return r;
}

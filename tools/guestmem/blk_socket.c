/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The socket that "guestmem blk" listens on. A name that is left over from a server that was killed is replaced; one that
 * somebody serves, or that is something else, is not touched.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "blk.h"

/* How long to wait for the end of another server, and how often to look. */
#define DYING_MS  5000
#define MOMENT_MS 10
/* Front-ends that wait for their turn. */
#define BACKLOG 16

/* The name's own identity: a socket's descriptor has another. There is one server per process. */
static dev_t bound_device;
static ino_t bound_inode;

static int new_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/*
 * Whether a socket's name has no socket any more. Asked by one of another kind, which no server notices: to one that serves a single
 * front-end, a connection would be it.
 */
static bool is_gone(const struct sockaddr_un *address)
{
	bool gone;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	gone = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 && errno == ECONNREFUSED;
	close(fd);
	return gone;
}

/*
 * A server that was killed leaves its name, and its socket until the kernel has taken its ring down, which waits for
 * transfers in flight. They would reach the image behind our back, when their requests have been done again and others followed: so
 * wait for their end.
 */
static int bind_to(int fd, const struct sockaddr_un *address)
{
	static const struct timespec moment = { .tv_nsec = MOMENT_MS * 1000000L };
	struct stat status;
	unsigned waited;

	for (waited = 0; waited < DYING_MS; waited += MOMENT_MS) {
		if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
			return 0;
		if (errno != EADDRINUSE)
			return -1;
		if (lstat(address->sun_path, &status) == 0 && !S_ISSOCK(status.st_mode))
			break;
		if (!is_gone(address))
			(void)nanosleep(&moment, NULL);
		else if (unlink(address->sun_path) < 0 && errno != ENOENT)
			return -1;
	}
	errno = EADDRINUSE;
	return -1;
}

int blk_listen(const char *path, struct failure *failure)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat status;
	int fd;

	if (path[0] == '\0' || strlen(path) >= sizeof(address.sun_path))
		return fail(failure, STATUS_INPUT, "--socket %s: a socket's path has 1 to %zu characters", path,
			    sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, path);
	fd = new_socket();
	if (fd < 0)
		return fail(failure, STATUS_MISSING, "no socket: %s", strerror(errno));
	if (bind_to(fd, &address) < 0) {
		fail(failure, STATUS_INPUT, "%s can't be listened on: %s", path,
		     errno == EADDRINUSE ? "somebody does already, or it is not a socket" : strerror(errno));
		close(fd);
		return -1;
	}
	if (lstat(path, &status) == 0) {
		bound_device = status.st_dev;
		bound_inode = status.st_ino;
	}
	if (listen(fd, BACKLOG) < 0) {
		fail(failure, STATUS_MISSING, "%s can't be listened on: %s", path, strerror(errno));
		blk_unlisten(path, fd);
		return -1;
	}
	return fd;
}

void blk_unlisten(const char *path, int fd)
{
	struct stat status;

	if (lstat(path, &status) == 0 && status.st_dev == bound_device && status.st_ino == bound_inode)
		unlink(path);
	close(fd);
}

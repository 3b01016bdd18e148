/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Runs a program of the host's that came along with its libraries, and says how it ended. */
#include "guest.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void run_exec(void)
{
	/* Each call of KVM takes milliseconds here: some programs do less of everything when given an argument. */
	char *const arguments[] = { "/program", "quick", NULL }, *const environment[] = { "PATH=/", "TMPDIR=/tmp",
											  NULL };
	int status;
	pid_t pid;

	mkdir("/tmp", 01777);
	mkdir("/sys", 0755);
	/* Both may be asked for things that a test can do without. */
	if (mount("sys", "/sys", "sysfs", 0, NULL) || mount("tmp", "/tmp", "tmpfs", 0, NULL))
		fail("/sys or /tmp can not be mounted: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		execve(arguments[0], arguments, environment);
		_exit(126);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		fail("the program can not be run: %s", strerror(errno));
	say("VERIFIED status=%d signal=%d bad=%d", WIFEXITED(status) ? WEXITSTATUS(status) : 0,
	    WIFSIGNALED(status) ? WTERMSIG(status) : 0, status != 0);
}

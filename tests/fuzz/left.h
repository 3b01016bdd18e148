/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What an input leaves behind: descriptors, and mapped memory of files. Counted before and after, and it has to be nothing. */
#ifndef FUZZ_LEFT_H
#define FUZZ_LEFT_H

#include <fcntl.h>

#include "fuzz.h"

/* Descriptors of an input are below it. */
#define LEFT_FDS 192

struct left {
	bool fds[LEFT_FDS];
};

/* What is there before an input: libFuzzer has descriptors too, which come and go. */
static inline void left_look(struct left *left)
{
	for (int fd = 0; fd < LEFT_FDS; fd++)
		left->fds[fd] = fcntl(fd, F_GETFD) >= 0;
}

static inline bool left_is_mapped(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	bool found = false;
	char line[1024];

	fuzz_check(maps != NULL);
	while (!found && fgets(line, sizeof(line), maps) != NULL)
		found = strstr(line, "/memfd:") != NULL;
	fclose(maps);
	return found;
}

/* As many as before, in the same places; and nothing of a memfd is mapped. */
static inline void left_check(const struct left *before)
{
	static unsigned calls;
	struct left now;

	left_look(&now);
	fuzz_check(memcmp(&now, before, sizeof(now)) == 0);
	/* Takes as long as some inputs; what was left once is left until then. */
	if (calls++ % 16 == 0)
		fuzz_check(!left_is_mapped());
}

#endif

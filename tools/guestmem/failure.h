/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * How the tool's functions fail: they return -1 and leave in a struct failure of the caller's the exit status and one sentence.
 * Only main() prints it, behind "guestmem: ". The first failure stands: what comes after it is usually its consequence.
 */
#ifndef TOOL_FAILURE_H
#define TOOL_FAILURE_H

/* Exit statuses; --help lists them. */
enum status {
	STATUS_OK = 0,
	STATUS_WRONG = 1,   /* verification failed, or the disk changed under the run */
	STATUS_INPUT = 2,   /* usage, or a description that is not good */
	STATUS_MISSING = 3, /* the machine lacks something: memory, a NUMA node, huge pages, a writable directory */
	STATUS_INTERRUPTED = 130,
};

/* Room for a file name, a place in it and the library's own sentence. */
#define FAILURE_TEXT_MAX 2048

struct failure {
	int status; /* 0: none so far */
	char text[FAILURE_TEXT_MAX];
};

/* Return: -1, always, so that "return fail(...)" reads as one step. */
int fail(struct failure *failure, enum status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The status for an error number of the library: memory, NUMA nodes and huge pages are missing, all else is bad input. */
enum status status_of(int code);

#endif

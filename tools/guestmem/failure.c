/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Failures: a pure value, no state, no locking (each thread of a run has its own). */
#include "failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int fail(struct failure *failure, enum status status, const char *format, ...)
{
	va_list args;

	if (failure->status)
		return -1;
	failure->status = status;
	va_start(args, format);
	vsnprintf(failure->text, sizeof(failure->text), format, args);
	va_end(args);
	return -1;
}

enum status status_of(int code)
{
	switch (-code) {
	case ENOMEM:
	case ENODEV:
	case ENOSPC:
	case ENOSYS:
	case EMFILE:
	case ENFILE:
	case EAGAIN:
		return STATUS_MISSING;
	default:
		return STATUS_INPUT;
	}
}

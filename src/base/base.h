/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What every file of the library shares: export marks, error sentences, small helpers. */
#ifndef GMI_BASE_H
#define GMI_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guestmem/address.h>
#include <guestmem/error.h>

/* A public function's definition. Everything else is hidden; src/guestmem.map lists the same names by version. */
#define GMI_PUBLIC __attribute__((visibility("default")))

#define GMI_COUNT(array)                     (sizeof(array) / sizeof((array)[0]))
#define GMI_CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))
#define GMI_MIN(a, b)                        ((a) < (b) ? (a) : (b))
#define GMI_MAX(a, b)                        ((a) > (b) ? (a) : (b))

/*
 * Fills *error (unless NULL) with the sentence and returns @code, so that "return gmi_error(error, -EINVAL, ...)" reads as one step.
 * A sentence says what, where and why, starts in lower case, and has no final stop.
 */
int gmi_error(struct gm_error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* For sentences: "[0x80000000, 0x9fffffff]". */
#define GMI_RANGE_FORMAT      "[0x%llx, 0x%llx]"
#define GMI_RANGE_ARGS(range) (unsigned long long)(range).first.value, (unsigned long long)(range).last.value

/*
 * Copies a caller's options struct that begins with its size over *ours, which has @known bytes: what a shorter one lacks is
 * zero; a longer one is good while the surplus is zero. Return: 0; -EINVAL when too short for its own size; -E2BIG.
 */
int gmi_copy_options(void *ours, size_t known, const void *theirs);

/* Whether a name is 1 to max-1 printable ASCII characters. Return: 0; -EINVAL; -ENAMETOOLONG. */
int gmi_check_name(const char *name, size_t max);

#endif

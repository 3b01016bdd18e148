/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the kernel says of its pools of huge pages. */
#ifndef GMI_SYS_HUGEPOOL_H
#define GMI_SYS_HUGEPOOL_H

#include <stdint.h>

struct gmi_hugepool {
	uint64_t total, free, reserved; /* pages */
};

/* The page size that is used when none is named. Return: 0; -ENODEV on a machine without huge pages. */
int gmi_hugepool_default(uint64_t *ret_huge_bytes);
/* Return: 0; -ENODEV when there are no such pages on this machine. */
int gmi_hugepool_check(uint64_t huge_bytes);
/* The pool's numbers now, for sentences: they change all the time. */
int gmi_hugepool_numbers(uint64_t huge_bytes, struct gmi_hugepool *ret_pool);

#endif

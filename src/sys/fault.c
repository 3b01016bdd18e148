/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "sys/fault.h"

#ifdef GMI_FAULT_INJECTION

#include <stdatomic.h>

static atomic_long countdown;
static atomic_int error, fired;

void gmi_fault_arm(long n, int error_number)
{
	atomic_store(&countdown, 0);
	atomic_store(&error, error_number);
	atomic_store(&fired, 0);
	atomic_store(&countdown, n);
}

int gmi_fault_fired(void)
{
	return atomic_load(&fired);
}

int gmi_fault_point(void)
{
	if (atomic_load_explicit(&countdown, memory_order_relaxed) <= 0)
		return 0;
	if (atomic_fetch_sub(&countdown, 1) != 1)
		return 0;
	atomic_store(&fired, 1);
	return atomic_load(&error);
}

#else
/* ISO C forbids an empty translation unit. */
typedef int gmi_fault_unused;
#endif

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "sys/membarrier.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sys/fault.h"

bool gmi_membarrier_init(void)
{
	if (GMI_FAULT())
		return false;
	return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void gmi_membarrier(void)
{
	long r = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);

	/* EPERM is the one error left (not registered), and would make readers unsafe: never go on after it. */
	if (r != 0)
		__builtin_trap();
}

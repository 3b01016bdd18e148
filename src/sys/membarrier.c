/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "sys/membarrier.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
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
	long r;

	/* Kernels for very many processors allocate a set of them for it, and say so when they can't. It is freed at once. */
	while ((r = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0)) != 0 && errno == ENOMEM)
		(void)sched_yield();
	/* Not registered, or forbidden since by a filter of system calls. Readers would be unsafe: never go on after it. */
	if (r != 0)
		__builtin_trap();
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The asymmetric fence: gmi_membarrier() makes every running thread of this process execute a full memory barrier, so that
 * the other side needs none (membarrier(2), PRIVATE_EXPEDITED). Where the kernel or a seccomp filter refuses it, the other
 * side must fence for itself; who uses it asks once, when its object is made, and keeps the answer.
 */
#ifndef GMI_MEMBARRIER_H
#define GMI_MEMBARRIER_H

#include <stdbool.h>

/* Registers the process (once). Whether gmi_membarrier() may be used. */
bool gmi_membarrier_init(void);
/* Can't fail after gmi_membarrier_init() returned true. */
void gmi_membarrier(void);

#endif

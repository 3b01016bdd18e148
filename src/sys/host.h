/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the host's processor says of itself. Nothing is kept: each call asks again. */
#ifndef GMI_SYS_HOST_H
#define GMI_SYS_HOST_H

#include <stddef.h>

/*
 * The beginning of /proc/cpuinfo, as a string of at most max-1 characters: the first processor's entry fits into 8 KiB.
 * Return: 0 or the error number of open(2) or read(2), and *text untouched or of no meaning.
 */
int gmi_host_cpuinfo(char *text, size_t max);

/* Width of physical addresses from a register that user space may read (aarch64); 0 where there is none. */
unsigned gmi_host_register_bits(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Fault injection, for the tests' own build of the library only (GMI_FAULT_INJECTION). Every allocation and every system
 * call that can fail begins with GMI_FAULT(): the n-th one after gmi_fault_arm(n, ...) fails with the error number given.
 */
#ifndef GMI_FAULT_H
#define GMI_FAULT_H

#ifdef GMI_FAULT_INJECTION

/* The @n-th (from 1) fault point reached from now on, by any thread, fails once with @error_number. 0 disarms. */
void gmi_fault_arm(long n, int error_number);
/* Whether it was reached. */
int gmi_fault_fired(void);
/* For GMI_FAULT(): 0, or the error number to fail with. */
int gmi_fault_point(void);

#define GMI_FAULT() gmi_fault_point()

#else

#define GMI_FAULT() 0

#endif

#endif

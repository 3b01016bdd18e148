/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * A lock of one word, for sections of a few instructions that are hardly ever contended and whose storage is the caller's:
 * a view's list of pins. Yields the processor when it has to wait.
 */
#ifndef GMI_SPIN_H
#define GMI_SPIN_H

#include <stdint.h>

/* Zero is unlocked. */
void gmi_spin_lock(uint32_t *lock);
void gmi_spin_unlock(uint32_t *lock);

#endif

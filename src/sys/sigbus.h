/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The handler of SIGBUS, and blocking of signals. There is one handler in a process, so there is one here; what it does for
 * memory is the caller's, what came before it is kept and called for all else.
 */
#ifndef GMI_SIGBUS_H
#define GMI_SIGBUS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * An access to @address failed, or the hardware lost the memory there (@poisoned, and then @bytes of it, a power of two; else 0).
 * Return: whether the access may be tried again. Called in the handler, on any thread, all signals blocked.
 */
typedef bool gmi_sigbus_fn(const unsigned char *address, bool poisoned, uint64_t bytes);

/* From here on SIGBUS calls @mend, and what was there before for what is not mended. Once. Return: 0; -errno. */
int gmi_sigbus_install(gmi_sigbus_fn *mend);
/* Puts back what was there before. Return: 0; -EBUSY when somebody else has put a handler on top of ours, which then stays. */
int gmi_sigbus_remove(void);

/* All that can be blocked, for this thread; and back. */
void gmi_signals_block(sigset_t *ret_before);
void gmi_signals_restore(const sigset_t *before);

#endif

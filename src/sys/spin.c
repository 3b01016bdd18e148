/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "sys/spin.h"

#include <sched.h>

void gmi_spin_lock(uint32_t *lock)
{
	while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE) != 0) {
		/* The holder may have lost its processor: give it ours. */
		(void)sched_yield();
	}
}

void gmi_spin_unlock(uint32_t *lock)
{
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

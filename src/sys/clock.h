/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Time that only goes forward, in microseconds since some moment. */
#ifndef GMI_CLOCK_H
#define GMI_CLOCK_H

#include <stdint.h>

uint64_t gmi_clock_us(void);
void gmi_sleep_us(uint64_t us);

#endif

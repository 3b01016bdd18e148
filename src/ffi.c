/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Emits the inlined functions of the public headers as real symbols, for callers that cannot inline C. */
#define GM_INLINE __attribute__((visibility("default")))
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#include <guestmem/guestmem.h>

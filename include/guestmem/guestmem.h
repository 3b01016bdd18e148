/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Everything, for a provider. A consumer includes <guestmem/access.h> only. */
#ifndef GUESTMEM_GUESTMEM_H
#define GUESTMEM_GUESTMEM_H

#include <guestmem/access.h>
#include <guestmem/address.h>
#include <guestmem/byteorder.h>
#include <guestmem/dirty.h>
#include <guestmem/error.h>
#include <guestmem/guard.h>
#include <guestmem/layout.h>
#include <guestmem/map.h>
#include <guestmem/memory.h>
#include <guestmem/region.h>
#include <guestmem/space.h>
#include <guestmem/view.h>

#endif

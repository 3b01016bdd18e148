/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What of this library its users see. */
#ifndef ADAPTERS_VHOST_USER_EXPORT_H
#define ADAPTERS_VHOST_USER_EXPORT_H

#define EXPORT __attribute__((visibility("default")))

#endif

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Kernel constants that the oldest supported C libraries and kernel headers lack. Whether the kernel knows them is
 * found out at run time.
 */
#ifndef GMI_UAPI_H
#define GMI_UAPI_H

#include <fcntl.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_READ /* Linux 5.14 */
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

#ifndef MFD_NOEXEC_SEAL /* Linux 6.3 */
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#ifndef F_SEAL_FUTURE_WRITE /* Linux 5.1 */
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

#endif

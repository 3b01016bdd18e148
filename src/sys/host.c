/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* What the host's processor says of itself: one file of /proc on x86, one register on aarch64. No state, no locks. */
#include "sys/host.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "sys/fault.h"

static int open_for_reading(const char *path)
{
	int r = GMI_FAULT(), fd;

	if (r != 0)
		return r > 0 ? -r : r;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static ssize_t read_once(int fd, void *data, size_t bytes)
{
	int r = GMI_FAULT();
	ssize_t count;

	if (r != 0)
		return r > 0 ? -r : r;
	do {
		count = read(fd, data, bytes);
	} while (count < 0 && errno == EINTR);
	return count < 0 ? -errno : count;
}

int gmi_host_cpuinfo(char *text, size_t max)
{
	size_t length = 0;
	ssize_t count = 0;
	int fd = open_for_reading("/proc/cpuinfo");

	if (fd < 0)
		return fd;
	/* One read gives about a page at most, and less than one processor's entry on some kernels. */
	while (length < max - 1) {
		count = read_once(fd, text + length, max - 1 - length);
		if (count <= 0)
			break;
		length += (size_t)count;
	}
	(void)close(fd);
	if (count < 0)
		return (int)count;
	text[length] = '\0';
	return 0;
}

unsigned gmi_host_register_bits(void)
{
#if defined(__aarch64__)
	/* ID_AA64MMFR0_EL1.PARange. The kernel emulates the read where it sets HWCAP_CPUID. */
	static const unsigned char widths[] = { 32, 36, 40, 42, 44, 48, 52, 56 };
	unsigned long value;

	if (!(getauxval(AT_HWCAP) & HWCAP_CPUID))
		return 0;
	__asm__("mrs %0, ID_AA64MMFR0_EL1" : "=r"(value));
	value &= 15;
	return value < sizeof(widths) ? widths[value] : 0;
#else
	return 0;
#endif
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Copies from, to and inside guest memory, and the indivisible operations on it. See bytes.h for what holds of them.
 *
 * Small objects are a single access; descriptors and headers are copied in place, for the call of a copy would cost more than the
 * copy; all else is the C library's, which is as fast as this machine can, but where it is known not to be. A byte may be fetched twice: only
 * the copy is ever looked at.
 */
#include "access/bytes.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "map/search.h"

#define SHORT_MOST 64

/* Whether a copy is of 16 to SHORT_MOST bytes. */
static inline bool is_short(size_t bytes)
{
	return bytes - 16 <= SHORT_MOST - 16;
}

/* Of one or two pairs of 16 bytes from either end, which overlap unless there are 32 or 64. All are fetched before any is stored. */
static inline void copy_short(void *to, const void *from, size_t bytes)
{
	typedef uint64_t pair __attribute__((vector_size(16)));
	const unsigned char *source = from;
	unsigned char *target = to;
	pair first, last;

	__builtin_memcpy(&first, source, 16);
	__builtin_memcpy(&last, source + bytes - 16, 16);
	if (bytes > 32) {
		pair second, third;

		__builtin_memcpy(&second, source + 16, 16);
		__builtin_memcpy(&third, source + bytes - 32, 16);
		__builtin_memcpy(target + 16, &second, 16);
		__builtin_memcpy(target + bytes - 32, &third, 16);
	}
	__builtin_memcpy(target, &first, 16);
	__builtin_memcpy(target + bytes - 16, &last, 16);
}

#if defined(__x86_64__)
#define LINES_LEAST 2048
#define LINES_MOST  (1u << 20)
#define COLD_MOST   (1u << 14)
/* How far ahead of a copy its target is fetched. */
#define COLD_AHEAD 512

/* By halves of a line: with registers of a whole one, some processors lower their clock. See map/search.h. */
#define LINES __attribute__((target("avx2")))
LINES static inline void copy_line(unsigned char *to, const unsigned char *from)
{
	const __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)from);
	const __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(from + 32));

	_mm256_storeu_si256((__m256i *)(void *)to, low);
	_mm256_storeu_si256((__m256i *)(void *)(to + 32), high);
}

/*
 * More than a line; a line of the target at a time, in order, so that the copy of one piece runs on into the next. The first line and the
 * last may overlap those between. @is_ahead: the target is fetched ahead, as far as @fetched bytes.
 */
LINES static GMI_ALWAYS_INLINE void copy_by_lines(unsigned char *to, const unsigned char *from, size_t bytes,
						  bool is_ahead, size_t fetched)
{
	const size_t skip = -(uintptr_t)to & 63;
	size_t left = bytes;

	if (skip != 0) {
		copy_line(to, from);
		to += skip;
		from += skip;
		left -= skip;
		fetched -= skip;
	}
	for (; !is_ahead && left > 256; left -= 256, to += 256, from += 256) {
		copy_line(to, from);
		copy_line(to + 64, from + 64);
		copy_line(to + 128, from + 128);
		copy_line(to + 192, from + 192);
	}
	for (; left > 64; left -= 64, fetched -= 64, to += 64, from += 64) {
		if (is_ahead && GM_LIKELY(fetched > COLD_AHEAD))
			__builtin_prefetch(to + COLD_AHEAD, 1);
		copy_line(to, from);
	}
	to -= 64 - left;
	from -= 64 - left;
	copy_line(to, from);
}

LINES __attribute__((aligned(64))) void gmi_copy_lines(unsigned char *to, const unsigned char *from, size_t bytes)
{
	copy_by_lines(to, from, bytes, false, 0);
}

__attribute__((target("avx2,prfchw"))) void gmi_copy_cold(unsigned char *to, const unsigned char *from, size_t bytes,
							  size_t more)
{
	copy_by_lines(to, from, bytes, true, bytes + (more < COLD_AHEAD ? more : COLD_AHEAD));
}

/*
 * glibc, before 2.40, copies sizes from 2113 up to that of the second cache by "rep movsb" where the processor says that this is fast. Those of AMD say
 * so from Zen 3 on, but where the target is 1 to 31 bytes behind the source, in whatever pages, they take 25 times as long (glibc's bug 30994):
 * which is for the guest to choose. 4 KiB that are near take a third longer wherever they are. Other C libraries and processors of AMD copy in
 * much the same way as this, and are not told apart.
 */
static inline bool is_for_lines(size_t bytes)
{
	return bytes - LINES_LEAST <= LINES_MOST - LINES_LEAST && __builtin_cpu_is("amd") && GMI_HAS_AVX2();
}

/*
 * Bytes that are not in the nearest cache, of a size for which the C library does not fetch the target ahead. With the copy by lines that is, on some
 * processors, a tenth quicker than memcpy() where both are in the second cache (Ice Lake), on others as quick (Cascade Lake), and no
 * slower where they are in memory; but slower where they are near already.
 */
static inline bool is_cold(size_t bytes)
{
	return bytes - LINES_LEAST <= COLD_MOST - LINES_LEAST && GMI_HAS_AVX512();
}
#else
#define gmi_copy_lines(to, from, bytes)      memcpy(to, from, bytes)
#define gmi_copy_cold(to, from, bytes, more) ((void)(more), memcpy(to, from, bytes))
#define is_for_lines(bytes)                  false
#define is_cold(bytes)                       false
#endif

/*
 * The C library's copy, by a constant that the compiler does not look through: so there is no stub of the linker on the way, and 4 KiB
 * take 46.0 ns in place of 46.6.
 */
typedef void *copy_fn(void *to, const void *from, size_t bytes);
static copy_fn *const volatile copy_by_library = memcpy;

static inline void copy_long(void *to, const void *from, size_t bytes)
{
	if (is_for_lines(bytes))
		gmi_copy_lines(to, from, bytes);
	else
		copy_by_library(to, from, bytes);
}

int gmi_bytes_read_cold(void *to, const unsigned char *guest, size_t bytes, size_t more)
{
	if (!is_cold(bytes))
		return gmi_bytes_read(to, guest, bytes);
	gmi_copy_cold(to, guest, bytes, more);
	gmi_bytes_barrier();
	return 0;
}

int gmi_bytes_write_cold(unsigned char *guest, const void *from, size_t bytes)
{
	if (!is_cold(bytes))
		return gmi_bytes_write(guest, from, bytes);
	gmi_copy_cold(guest, from, bytes, 0);
	gmi_bytes_barrier();
	return 0;
}

/* At the beginning of a cache line, as what searches is (map/search.h): a copy of 4 KiB took 46.1 to 46.6 ns with where it happened to stand. */
__attribute__((aligned(64))) int gmi_bytes_read(void *to, const unsigned char *guest, size_t bytes)
{
	if (bytes > SHORT_MOST)
		copy_long(to, guest, bytes);
	else if (gmi_is_single(guest, bytes))
		return gmi_bytes_load(guest, (unsigned)bytes, GM_RELAXED, to);
	else if (is_short(bytes))
		copy_short(to, guest, bytes);
	else
		memcpy(to, guest, bytes);
	gmi_bytes_barrier();
	return 0;
}

__attribute__((aligned(64))) int gmi_bytes_write(unsigned char *guest, const void *from, size_t bytes)
{
	if (bytes > SHORT_MOST)
		copy_long(guest, from, bytes);
	else if (gmi_is_single(guest, bytes))
		return gmi_bytes_store(guest, (unsigned)bytes, GM_RELAXED, from);
	else if (is_short(bytes))
		copy_short(guest, from, bytes);
	else
		memcpy(guest, from, bytes);
	gmi_bytes_barrier();
	return 0;
}

int gmi_bytes_fill(unsigned char *guest, unsigned char byte, size_t bytes)
{
	if (gmi_is_single(guest, bytes)) {
		uint64_t all = byte * UINT64_C(0x0101010101010101);

		return gmi_bytes_store(guest, (unsigned)bytes, GM_RELAXED, &all);
	}
	memset(guest, byte, bytes);
	gmi_bytes_barrier();
	return 0;
}

/* Whether a copy of a line at a time, in order, reads each line before it writes to it. Not compared as pointers, which may be of different objects. */
static inline bool is_movable_by_lines(const void *to, const void *from, size_t bytes)
{
	return (uintptr_t)to - (uintptr_t)from >= bytes && (uintptr_t)from - (uintptr_t)to >= 64;
}

int gmi_bytes_move(unsigned char *to, const unsigned char *from, size_t bytes)
{
	if (gmi_is_single(to, bytes) && gmi_is_single(from, bytes)) {
		uint64_t object;
		int r = gmi_bytes_load(from, (unsigned)bytes, GM_RELAXED, &object);

		return r ? r : gmi_bytes_store(to, (unsigned)bytes, GM_RELAXED, &object);
	}
	if (is_for_lines(bytes) && is_movable_by_lines(to, from, bytes))
		gmi_copy_lines(to, from, bytes);
	else
		memmove(to, from, bytes);
	gmi_bytes_barrier();
	return 0;
}

/* A compare-exchange that fails stores nothing, so the order of its failure has no release part. */
#define GMI_DEFINE_RMW(bits)                                                                                           \
	static inline uint##bits##_t rmw##bits(void *guest, enum gmi_rmw operation, int order, uint##bits##_t operand, \
					       uint##bits##_t expected)                                                \
	{                                                                                                              \
		uint##bits##_t *object = guest;                                                                        \
		bool relaxed = order == GM_RELAXED;                                                                    \
                                                                                                                       \
		switch (operation) {                                                                                   \
		case GMI_RMW_EXCHANGE:                                                                                 \
			return relaxed ? __atomic_exchange_n(object, operand, __ATOMIC_RELAXED)                        \
				       : __atomic_exchange_n(object, operand, __ATOMIC_SEQ_CST);                       \
		case GMI_RMW_OR:                                                                                       \
			return relaxed ? __atomic_fetch_or(object, operand, __ATOMIC_RELAXED)                          \
				       : __atomic_fetch_or(object, operand, __ATOMIC_SEQ_CST);                         \
		case GMI_RMW_AND:                                                                                      \
			return relaxed ? __atomic_fetch_and(object, operand, __ATOMIC_RELAXED)                         \
				       : __atomic_fetch_and(object, operand, __ATOMIC_SEQ_CST);                        \
		case GMI_RMW_ADD:                                                                                      \
			return relaxed ? __atomic_fetch_add(object, operand, __ATOMIC_RELAXED)                         \
				       : __atomic_fetch_add(object, operand, __ATOMIC_SEQ_CST);                        \
		case GMI_RMW_COMPARE_EXCHANGE:                                                                         \
			break;                                                                                         \
		}                                                                                                      \
		if (relaxed)                                                                                           \
			__atomic_compare_exchange_n(object, &expected, operand, false, __ATOMIC_RELAXED,               \
						    __ATOMIC_RELAXED);                                                 \
		else                                                                                                   \
			__atomic_compare_exchange_n(object, &expected, operand, false, __ATOMIC_SEQ_CST,               \
						    __ATOMIC_SEQ_CST);                                                 \
		return expected;                                                                                       \
	}

GMI_DEFINE_RMW(8)
GMI_DEFINE_RMW(16)
GMI_DEFINE_RMW(32)
GMI_DEFINE_RMW(64)

#undef GMI_DEFINE_RMW

/*
 * Acquire, release and both are done as SEQ_CST: where that costs more than ACQ_REL (nowhere on x86-64, a little on
 * aarch64), it is lost in the look-up before it.
 */
int gmi_bytes_rmw(unsigned char *guest, unsigned bytes, enum gmi_rmw operation, int order, uint64_t operand,
		  uint64_t expected, uint64_t *ret_old)
{
	if (bytes == 8)
		*ret_old = rmw64(guest, operation, order, operand, expected);
	else if (bytes == 4)
		*ret_old = rmw32(guest, operation, order, (uint32_t)operand, (uint32_t)expected);
	else if (bytes == 2)
		*ret_old = rmw16(guest, operation, order, (uint16_t)operand, (uint16_t)expected);
	else
		*ret_old = rmw8(guest, operation, order, (uint8_t)operand, (uint8_t)expected);
	gmi_bytes_barrier();
	return 0;
}

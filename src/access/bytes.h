/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * The bytes of the guest: the routines here and in bytes.c are the only ones out of line that touch them, so that what has
 * to hold of every touch (single accesses, barriers, a guard against stores that fault) is said in one place.
 *
 * Guest memory changes under us at any time. So a routine that reads it ends in a compiler barrier: whatever the caller
 * does with the copy, no later use of it can be turned into a second look at the guest.
 *
 * All return 0 or -GM_EFAULTED, after which an unknown part of the bytes may have been copied. No state, no locks.
 */
#ifndef GMI_BYTES_H
#define GMI_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <guestmem/access.h>

/* A guest pointer where an object of @bytes (1, 2, 4 or 8) is one single access of this processor. */
static inline bool gmi_is_single(const void *guest, uint64_t bytes)
{
	return bytes <= 8 && (bytes & (bytes - 1)) == 0 && bytes != 0 && ((uintptr_t)guest & (bytes - 1)) == 0;
}

static inline void gmi_bytes_barrier(void)
{
	__asm__ volatile("" ::: "memory");
}

/* Copies. 1, 2, 4 or 8 bytes at a multiple of their size are one single access on each guest side. */
int gmi_bytes_read(void *to, const unsigned char *guest, size_t bytes);
int gmi_bytes_write(unsigned char *guest, const void *from, size_t bytes);
int gmi_bytes_fill(unsigned char *guest, unsigned char byte, size_t bytes);
/* The same where the bytes are hardly in the nearest cache: the pieces of a walk. @more: bytes of the target that are written right after. */
int gmi_bytes_read_cold(void *to, const unsigned char *guest, size_t bytes, size_t more);
int gmi_bytes_write_cold(unsigned char *guest, const void *from, size_t bytes);
/* Guest to guest. The two may overlap. */
int gmi_bytes_move(unsigned char *to, const unsigned char *from, size_t bytes);

#if defined(__x86_64__)
/*
 * What those above take for more than a line, where they choose to and the processor has AVX2. The first may move bytes that overlap, from a
 * line or more behind the target on. Here for tests, which can't have each kind of processor.
 */
void gmi_copy_lines(unsigned char *to, const unsigned char *from, size_t bytes);
void gmi_copy_cold(unsigned char *to, const unsigned char *from, size_t bytes, size_t more);
#endif

/* Read-modify-write operations. */
enum gmi_rmw {
	GMI_RMW_EXCHANGE,
	GMI_RMW_COMPARE_EXCHANGE,
	GMI_RMW_OR,
	GMI_RMW_AND,
	GMI_RMW_ADD,
};

/*
 * One indivisible operation on the @bytes (1, 2, 4, 8) at @guest, a multiple of that. @expected is for COMPARE_EXCHANGE
 * only; an @order that is none of C11's is taken for SEQ_CST. *ret_old: what was there.
 */
int gmi_bytes_rmw(unsigned char *guest, unsigned bytes, enum gmi_rmw operation, int order, uint64_t operand,
		  uint64_t expected, uint64_t *ret_old);

/*
 * One single load or store of 1, 2, 4 or 8 bytes at a multiple of that; the other side may stand anywhere. Inlined: they are
 * what an access that misses its view's hot span ends in. An @order that makes no sense is taken for SEQ_CST, the strongest.
 */
#define GMI_BYTES_LOAD(bits, order)                                                                                    \
	do {                                                                                                           \
		uint##bits##_t number = __atomic_load_n((const uint##bits##_t *)(const void *)guest, order);           \
		__builtin_memcpy(ret_raw, &number, sizeof(number));                                                    \
	} while (0)
#define GMI_BYTES_STORE(bits, order)                                                                                   \
	do {                                                                                                           \
		uint##bits##_t number;                                                                                 \
		__builtin_memcpy(&number, raw, sizeof(number));                                                        \
		__atomic_store_n((uint##bits##_t *)(void *)guest, number, order);                                      \
	} while (0)
#define GMI_BYTES_EACH_SIZE(MACRO, order)                                                                              \
	do {                                                                                                           \
		if (bytes == 8)                                                                                        \
			MACRO(64, order);                                                                              \
		else if (bytes == 4)                                                                                   \
			MACRO(32, order);                                                                              \
		else if (bytes == 2)                                                                                   \
			MACRO(16, order);                                                                              \
		else                                                                                                   \
			MACRO(8, order);                                                                               \
	} while (0)

static inline __attribute__((always_inline)) int gmi_bytes_load(const unsigned char *guest, unsigned bytes, int order,
								void *ret_raw)
{
	if (order == GM_RELAXED)
		GMI_BYTES_EACH_SIZE(GMI_BYTES_LOAD, __ATOMIC_RELAXED);
	else if (order == GM_ACQUIRE)
		GMI_BYTES_EACH_SIZE(GMI_BYTES_LOAD, __ATOMIC_ACQUIRE);
	else
		GMI_BYTES_EACH_SIZE(GMI_BYTES_LOAD, __ATOMIC_SEQ_CST);
	gmi_bytes_barrier();
	return 0;
}

static inline __attribute__((always_inline)) int gmi_bytes_store(unsigned char *guest, unsigned bytes, int order,
								 const void *raw)
{
	if (order == GM_RELAXED)
		GMI_BYTES_EACH_SIZE(GMI_BYTES_STORE, __ATOMIC_RELAXED);
	else if (order == GM_RELEASE)
		GMI_BYTES_EACH_SIZE(GMI_BYTES_STORE, __ATOMIC_RELEASE);
	else
		GMI_BYTES_EACH_SIZE(GMI_BYTES_STORE, __ATOMIC_SEQ_CST);
	gmi_bytes_barrier();
	return 0;
}

#undef GMI_BYTES_LOAD
#undef GMI_BYTES_STORE
#undef GMI_BYTES_EACH_SIZE

#endif

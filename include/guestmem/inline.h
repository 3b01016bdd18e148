/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * How the inlined functions of the public headers are emitted: "static inline" for every user; as real symbols once, by
 * src/ffi.c, for languages that cannot inline C.
 */
#ifndef GUESTMEM_INLINE_H
#define GUESTMEM_INLINE_H

#ifndef GM_INLINE
#define GM_INLINE static inline
#endif

#define GM_LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define GM_UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* Called through the dynamic linker's table of addresses at once, not by its PLT: a jump less, for the calls that devices make most. */
#if __has_attribute(noplt)
#define GM_DIRECT __attribute__((noplt))
#else
#define GM_DIRECT
#endif

/* The result must be looked at: dropping it hides a failure. */
#define GM_CHECKED __attribute__((warn_unused_result))

#ifdef __cplusplus
#define GM_BEGIN_DECLS extern "C" {
#define GM_END_DECLS   }
#else
#define GM_BEGIN_DECLS
#define GM_END_DECLS
#endif

#endif

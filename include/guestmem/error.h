/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Errors. Every call returns 0 (or a count) or a negative error number; errno is not the channel. Calls that set
 * things up also take a struct gm_error that the caller owns, may be NULL, and receives one sentence: what, where, why.
 * Calls that move guest data have codes only: the data path formats no text.
 *
 * The codes below are those that a consumer tells apart. They are errno numbers under a name of ours (for people, there is
 * gm_code_text()); every function lists the ones it returns. All other codes are the errno numbers of the system call that failed.
 */
#ifndef GUESTMEM_ERROR_H
#define GUESTMEM_ERROR_H

#include <errno.h>

#include <guestmem/inline.h>

#define GM_EHOLE     EFAULT    /* no region stands at some address of the range */
#define GM_EACCESS   EACCES    /* the region there does not permit this access (a write to firmware, say) */
#define GM_ENOTRAM   ENXIO     /* a region stands there, but it is not RAM, nor of a kind that this view reaches */
#define GM_EWRAP     EOVERFLOW /* first address plus size passes 2^64 */
#define GM_EFAULTED  EIO       /* the bytes' backing store failed; the only code after which a part may be written */
#define GM_EUNMAPPED EREMOTE   /* the bytes are not mapped in this process: no pointer to them, no atomics on them */
#define GM_EREENTRY  ELOOP     /* a device's own access arrived at its own registers */

GM_BEGIN_DECLS

/*
 * What a code (negative, or its errno number) means on the data path, in a few words: "nothing stands there" where strerror()
 * would say "Bad address". strerror()'s words for a number that is none of the above. Context: any thread, never blocks.
 * Lifetime: as strerror()'s at worst; for the codes above, for ever.
 */
const char *gm_code_text(int code);

GM_END_DECLS

/* Room for the longest sentence, its terminating zero included. Longer ones end in "...". */
#define GM_ERROR_TEXT_MAX 512

/**
 * struct gm_error - why a call failed, for people
 * @code: the negative error number that the call returned
 * @text: one sentence without a final newline; valid until the object is used again
 *
 * Lives in the caller's storage. Needs no initialization: a call that fails fills it, a call that succeeds leaves it.
 */
struct gm_error {
	int code;
	char text[GM_ERROR_TEXT_MAX];
};

#endif

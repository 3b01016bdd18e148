/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * What the fuzzed programs share. Each one is a function from bytes to "nothing went wrong": libFuzzer calls it with bytes of its own making
 * (tests/fuzz/run.sh), replay.c with the files of the corpus, as a test. What goes wrong ends the process: fuzz_check(), or a sanitizer.
 *
 * Bytes become what is tried by small readers here. They never fail: when the bytes are used up, all is 0. Numbers come in a short form, in which
 * a changed byte is another plausible number.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_PAGE UINT64_C(4096)
/* Where short user addresses begin: as processes have them. */
#define FUZZ_UVA UINT64_C(0x7f0000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define fuzz_check(what)                                                                                               \
	do {                                                                                                           \
		if (!(what)) {                                                                                         \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);                             \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

static inline void fuzz_bytes(struct fuzz_input *input, void *to, size_t bytes)
{
	size_t got = bytes < input->left ? bytes : input->left;

	memset(to, 0, bytes);
	/* No bytes may stand at no address. */
	if (got == 0)
		return;
	memcpy(to, input->at, got);
	input->at += got;
	input->left -= got;
}

static inline uint8_t fuzz_u8(struct fuzz_input *input)
{
	uint8_t byte;

	fuzz_bytes(input, &byte, 1);
	return byte;
}

static inline uint16_t fuzz_u16(struct fuzz_input *input)
{
	uint8_t low = fuzz_u8(input);

	return (uint16_t)(low | fuzz_u8(input) << 8);
}

static inline uint64_t fuzz_u64(struct fuzz_input *input)
{
	uint64_t number = 0;

	for (unsigned i = 0; i < 64; i += 8)
		number |= (uint64_t)fuzz_u8(input) << i;
	return number;
}

/*
 *	00 - 7f		itself
 *	80 - bf		so many pages
 *	c0 - df		so many pages above FUZZ_UVA
 *	e0 - ef		that page from the last one of all addresses
 *	f0 - f7		two more bytes
 *	f8 - ff		eight more bytes
 */
static inline uint64_t fuzz_number(struct fuzz_input *input)
{
	uint8_t form = fuzz_u8(input);

	if (form < 0x80)
		return form;
	if (form < 0xc0)
		return (form - 0x80) * FUZZ_PAGE;
	if (form < 0xe0)
		return FUZZ_UVA + (form - 0xc0) * FUZZ_PAGE;
	if (form < 0xf0)
		return UINT64_MAX - (form - 0xe0) * FUZZ_PAGE - (FUZZ_PAGE - 1);
	return form < 0xf8 ? fuzz_u16(input) : fuzz_u64(input);
}

#endif

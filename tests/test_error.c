/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Errors (<guestmem/error.h>) and the helpers of src/base: sentences, options structs, names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <guestmem/error.h>

#include "base/base.h"

static void test_codes_are_distinct(void **state)
{
	const int codes[] = { GM_EHOLE, GM_EACCESS, GM_ENOTRAM, GM_EWRAP, GM_EFAULTED, GM_EUNMAPPED, GM_EREENTRY };
	size_t i, j;

	(void)state;
	for (i = 0; i < GMI_COUNT(codes); i++) {
		assert_true(codes[i] > 0);
		/* What every call may return besides must not be mistaken for one of them. */
		assert_int_not_equal(codes[i], EINVAL);
		assert_int_not_equal(codes[i], ENOMEM);
		for (j = 0; j < i; j++)
			assert_int_not_equal(codes[i], codes[j]);
	}
}

static void test_sentence(void **state)
{
	struct gm_range range = { gm_gpa(0x1000), gm_gpa(UINT64_MAX) };
	struct gm_error error;

	(void)state;
	memset(&error, 0x5a, sizeof(error));
	assert_int_equal(gmi_error(&error, -ERANGE, "%s " GMI_RANGE_FORMAT, "ram", GMI_RANGE_ARGS(range)), -ERANGE);
	assert_int_equal(error.code, -ERANGE);
	assert_string_equal(error.text, "ram [0x1000, 0xffffffffffffffff]");
	/* Used again, nothing of the former sentence is left. */
	assert_int_equal(gmi_error(&error, -GM_EWRAP, "short"), -GM_EWRAP);
	assert_int_equal(error.code, -GM_EWRAP);
	assert_string_equal(error.text, "short");
	assert_int_equal(gmi_error(&error, -EINVAL, "%s", ""), -EINVAL);
	assert_string_equal(error.text, "");
}

static void test_no_error_object(void **state)
{
	(void)state;
	assert_int_equal(gmi_error(NULL, -ENOMEM, "%s", "nobody reads this"), -ENOMEM);
}

/* Sentences of 510, 511 (which just fits), 512 and many characters. */
static void test_truncation(void **state)
{
	struct {
		struct gm_error error;
		char guard[16];
	} box;
	char text[2 * GM_ERROR_TEXT_MAX], guard[sizeof(box.guard)];
	const size_t lengths[] = { GM_ERROR_TEXT_MAX - 2, GM_ERROR_TEXT_MAX - 1, GM_ERROR_TEXT_MAX, sizeof(text) - 1 };
	size_t i, j;

	(void)state;
	memset(guard, 0x5a, sizeof(guard));
	for (i = 0; i < GMI_COUNT(lengths); i++) {
		for (j = 0; j < lengths[i]; j++)
			text[j] = (char)('a' + j % 26);
		text[lengths[i]] = '\0';
		memset(&box, 0x5a, sizeof(box));
		assert_int_equal(gmi_error(&box.error, -E2BIG, "%s", text), -E2BIG);
		if (lengths[i] < GM_ERROR_TEXT_MAX) {
			assert_string_equal(box.error.text, text);
		} else {
			assert_int_equal(strlen(box.error.text), GM_ERROR_TEXT_MAX - 1);
			assert_memory_equal(box.error.text, text, GM_ERROR_TEXT_MAX - 4);
			assert_string_equal(box.error.text + GM_ERROR_TEXT_MAX - 4, "...");
		}
		assert_memory_equal(box.guard, guard, sizeof(guard));
	}
}

struct old_opts {
	size_t size;
	uint64_t a;
};

struct our_opts {
	size_t size;
	uint64_t a, b;
};

struct new_opts {
	size_t size;
	uint64_t a, b, c;
};

static void test_options_same(void **state)
{
	struct our_opts theirs = { sizeof(theirs), 1, 2 }, ours;

	(void)state;
	memset(&ours, 0x5a, sizeof(ours));
	assert_int_equal(gmi_copy_options(&ours, sizeof(ours), &theirs), 0);
	assert_int_equal(ours.size, sizeof(theirs));
	assert_int_equal(ours.a, 1);
	assert_int_equal(ours.b, 2);
}

static void test_options_shorter(void **state)
{
	struct old_opts theirs = { sizeof(theirs), 1 };
	struct our_opts ours;
	size_t least = sizeof(least);

	(void)state;
	memset(&ours, 0x5a, sizeof(ours));
	assert_int_equal(gmi_copy_options(&ours, sizeof(ours), &theirs), 0);
	assert_int_equal(ours.a, 1);
	assert_int_equal(ours.b, 0);
	memset(&ours, 0x5a, sizeof(ours));
	assert_int_equal(gmi_copy_options(&ours, sizeof(ours), &least), 0);
	assert_int_equal(ours.a, 0);
	assert_int_equal(ours.b, 0);
}

static void test_options_longer(void **state)
{
	struct new_opts theirs = { sizeof(theirs), 1, 2, 0 };
	struct our_opts ours, before;
	unsigned char *tail = (unsigned char *)&theirs.c;
	size_t i;

	(void)state;
	assert_int_equal(gmi_copy_options(&ours, sizeof(ours), &theirs), 0);
	assert_int_equal(ours.a, 1);
	assert_int_equal(ours.b, 2);
	memset(&ours, 0x5a, sizeof(ours));
	memset(&before, 0x5a, sizeof(before));
	/* Each byte of the surplus counts, the first and the last too. */
	for (i = 0; i < sizeof(theirs.c); i++) {
		tail[i] = 1;
		assert_int_equal(gmi_copy_options(&ours, sizeof(ours), &theirs), -E2BIG);
		assert_memory_equal(&ours, &before, sizeof(ours));
		tail[i] = 0;
	}
	assert_int_equal(gmi_copy_options(&ours, sizeof(ours), &theirs), 0);
}

static void test_options_too_short(void **state)
{
	struct our_opts theirs = { 0, 1, 2 }, ours, before;
	size_t size;

	(void)state;
	memset(&ours, 0x5a, sizeof(ours));
	memset(&before, 0x5a, sizeof(before));
	for (size = 0; size < sizeof(size_t); size++) {
		theirs.size = size;
		assert_int_equal(gmi_copy_options(&ours, sizeof(ours), &theirs), -EINVAL);
	}
	assert_memory_equal(&ours, &before, sizeof(ours));
}

static void test_names(void **state)
{
	(void)state;
	assert_int_equal(gmi_check_name(NULL, 8), -EINVAL);
	assert_int_equal(gmi_check_name("", 8), -EINVAL);
	assert_int_equal(gmi_check_name("a", 8), 0);
	assert_int_equal(gmi_check_name("1234567", 8), 0);
	assert_int_equal(gmi_check_name("12345678", 8), -ENAMETOOLONG);
	assert_int_equal(gmi_check_name("12345678901234567890", 8), -ENAMETOOLONG);
	assert_int_equal(gmi_check_name("a ~", 8), 0);
	assert_int_equal(gmi_check_name("a\x1f", 8), -EINVAL);
	assert_int_equal(gmi_check_name("a\x7f", 8), -EINVAL);
	assert_int_equal(gmi_check_name("a\n", 8), -EINVAL);
	assert_int_equal(gmi_check_name("\xc3\xa4", 8), -EINVAL);
}

static void codes_have_words_of_their_own(void **state)
{
	static const int codes[] = {
		GM_EHOLE, GM_EACCESS, GM_ENOTRAM, GM_EWRAP, GM_EFAULTED, GM_EUNMAPPED, GM_EREENTRY
	};
	size_t i, j;

	(void)state;
	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		assert_string_equal(gm_code_text(codes[i]), gm_code_text(-codes[i]));
		assert_string_not_equal(gm_code_text(codes[i]), strerror(codes[i]));
		for (j = 0; j < i; j++)
			assert_string_not_equal(gm_code_text(codes[i]), gm_code_text(codes[j]));
	}
	assert_string_equal(gm_code_text(-ENOSPC), strerror(ENOSPC));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_codes_are_distinct),
		cmocka_unit_test(test_sentence),
		cmocka_unit_test(test_no_error_object),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_options_same),
		cmocka_unit_test(test_options_shorter),
		cmocka_unit_test(test_options_longer),
		cmocka_unit_test(test_options_too_short),
		cmocka_unit_test(test_names),
		cmocka_unit_test(codes_have_words_of_their_own),
	};

	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}

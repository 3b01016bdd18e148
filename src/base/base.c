/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

int gmi_error(struct gm_error *error, int code, const char *format, ...)
{
	va_list args;
	int length;

	if (error == NULL)
		return code;
	error->code = code;
	va_start(args, format);
	length = vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	if (length < 0)
		error->text[0] = '\0';
	else if ((size_t)length >= sizeof(error->text))
		memcpy(error->text + sizeof(error->text) - 4, "...", 4);
	return code;
}

GMI_PUBLIC const char *gm_code_text(int code)
{
	switch (code < 0 ? -code : code) {
	case GM_EHOLE:
		return "nothing stands there";
	case GM_EACCESS:
		return "the region there does not permit it";
	case GM_ENOTRAM:
		return "a region that is not reached stands there";
	case GM_EWRAP:
		return "the range passes 2^64";
	case GM_EFAULTED:
		return "the backing store failed";
	case GM_EUNMAPPED:
		return "the bytes are not mapped in this process";
	case GM_EREENTRY:
		return "a device reached its own registers";
	default:
		return strerror(code < 0 ? -code : code);
	}
}

int gmi_copy_options(void *ours, size_t known, const void *theirs)
{
	size_t size, i;

	memcpy(&size, theirs, sizeof(size));
	if (size < sizeof(size))
		return -EINVAL;
	for (i = known; i < size; i++) {
		if (((const unsigned char *)theirs)[i] != 0)
			return -E2BIG;
	}
	memset(ours, 0, known);
	memcpy(ours, theirs, GMI_MIN(size, known));
	return 0;
}

int gmi_check_name(const char *name, size_t max)
{
	size_t length;

	if (name == NULL || name[0] == '\0')
		return -EINVAL;
	for (length = 0; name[length] != '\0'; length++) {
		if (length == max - 1)
			return -ENAMETOOLONG;
		if (name[length] < ' ' || name[length] > '~')
			return -EINVAL;
	}
	return 0;
}

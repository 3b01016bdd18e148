/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The four ways to show a machine. They only read it. */
#ifndef TOOL_SHOW_H
#define TOOL_SHOW_H

#include <stdio.h>

#include "machine.h"
#include "text.h"

/* One line of what it is, then the address space as boxes. */
int show_picture(const struct machine *machine, FILE *out, const struct terminal *terminal, struct failure *failure);
/* One line per entry. */
void show_table(const struct machine *machine, FILE *out, const struct terminal *terminal);
/* Everything, for programs: docs/machine.md says what. */
int show_json(const struct machine *machine, FILE *out, struct failure *failure);
/* The picture for a document, into the file @path. A regular file that could not be written as a whole is removed. */
int show_svg(const struct machine *machine, const char *path, struct failure *failure);

#endif

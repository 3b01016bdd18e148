/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The command line of "guestmem run". */
#ifndef TOOL_RUN_OPTIONS_H
#define TOOL_RUN_OPTIONS_H

#include "run.h"

/* Return: 0; 1 when help was printed and nothing is to be done; -1. */
int run_options_parse(int argc, char **argv, struct run_options *ret_options, struct failure *failure);

#endif

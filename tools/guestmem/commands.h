/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The commands, and what their option parsing shares. argv[0] is the command's name. Return: 0; -1 with a failure. */
#ifndef TOOL_COMMANDS_H
#define TOOL_COMMANDS_H

#include "failure.h"
#include "text.h"

int command_blk(int argc, char **argv, struct failure *failure);
int command_plan(int argc, char **argv, struct failure *failure);
int command_run(int argc, char **argv, struct failure *failure);

/* "auto", "always", "never". */
int parse_when(const char *text, enum when *ret_when, struct failure *failure);
/* The sentence for what getopt_long() returned '?' or ':' for. Return: -1. */
int option_fail(char **argv, int option, struct failure *failure);

#endif

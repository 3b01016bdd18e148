/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* guestmem: plan a machine's guest physical memory, and run a disk over it or serve one. Dispatches to the commands, prints their failure. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"

static const char help[] = "Usage: guestmem COMMAND [OPTION]...\n"
			   "Guest physical memory of virtual machines.\n"
			   "\n"
			   "  blk --socket PATH IMAGE     serve a disk to QEMU, by vhost-user\n"
			   "  plan VM.json                check a machine description and show it\n"
			   "  run VM.json --disk IMAGE    build it, and prove a disk over its memory\n"
			   "\n"
			   "  -h, --help                  print this; with a command, its options\n"
			   "      --version               print the version\n"
			   "\n"
			   "Exit status: 0 all is well; 1 a run found something wrong; 2 usage, or a\n"
			   "description that is not good; 3 something is missing on this host; 130 interrupted.\n";

int parse_when(const char *text, enum when *ret_when, struct failure *failure)
{
	static const char *const names[] = { "auto", "always", "never" };

	for (unsigned i = 0; i < 3; i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret_when = (enum when)i;
			return 0;
		}
	}
	return fail(failure, STATUS_INPUT, "--color is auto, always or never, not '%s'", text);
}

int option_fail(char **argv, int option, struct failure *failure)
{
	/* getopt_long() has no better way to name a long option than the word that it stopped at. */
	const char *word = argv[optind - 1], letter[] = { '-', (char)optopt, '\0' };

	/* With several letters in one word it has not got past that word. Long options have numbers, but for --help. */
	if (optopt > ' ' && optopt != 'h')
		word = letter;
	if (option == ':')
		return fail(failure, STATUS_INPUT, "option '%s' needs a value; see guestmem %s --help", word, argv[0]);
	return fail(failure, STATUS_INPUT, "option '%s' is not known or takes no value; see guestmem %s --help", word,
		    argv[0]);
}

static int run_command(int argc, char **argv, struct failure *failure)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv, struct failure *failure);
	} commands[] = {
		{ "blk", command_blk },
		{ "plan", command_plan },
		{ "run", command_run },
	};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[0], commands[i].name) == 0)
			return commands[i].run(argc, argv, failure);
	return fail(failure, STATUS_INPUT, "'%s' is no command; see guestmem --help", argv[0]);
}

/*
 * A descriptor that was closed when we were started would be given to the next file that is opened, and what is said would be
 * written into a disk image. Opened so that writing fails: what can't be said has to show.
 */
static void hold_standard_files(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	struct failure failure = { 0 };

	hold_standard_files();
	/* A file that may not become as large is an error to be told, not the end. */
	signal(SIGXFSZ, SIG_IGN);
	setlocale(LC_CTYPE, "");
	if (argc < 2) {
		fputs(help, stderr);
		return STATUS_INPUT;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		fputs(help, stdout);
	else if (strcmp(argv[1], "--version") == 0)
		puts("guestmem " TOOL_VERSION);
	else
		run_command(argc - 1, argv + 1, &failure);
	/* What could not be written was not said: a full disk or a closed pipe is a failure like any other. */
	if (fflush(stdout) != 0 || ferror(stdout))
		fail(&failure, STATUS_MISSING, "the output can't be written: %s", strerror(errno));
	if (failure.status && failure.text[0])
		fprintf(stderr, "guestmem: %s\n", printable(failure.text));
	return failure.status;
}

/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* "guestmem plan": check a description and show it. Makes no memory. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "machine.h"
#include "show.h"

const char plan_help[] =
	"Usage: guestmem plan VM.json [--json] [--svg FILE] [--color=WHEN]\n"
	"Check a machine description and show its physical address space.\n"
	"\n"
	"      --json         print the plan as JSON, for programs\n"
	"      --svg FILE     draw it for a document\n"
	"      --color=WHEN   auto (the default; heeds NO_COLOR), always, never\n"
	"  -h, --help         print this\n"
	"\n"
	"A description is a JSON object:\n"
	"  layout         \"x86-64-pc\", \"aarch64-virt\" or \"open\"\n"
	"  physical_bits  width of guest physical addresses; this host's if left out\n"
	"  nodes          [{\"guest\": 0, \"host\": 0, \"bytes\": \"2G\", \"vcpus\": [0, 1]}, ...]\n"
	"                 memory by NUMA node, placed by the layout's rules\n"
	"  memory         {\"source\": \"memfd\", \"huge\": \"transparent\", \"dirty_page\": \"4K\", ...}\n"
	"                 what all nodes' memory and all slots are made of\n"
	"  regions        [{\"name\", \"kind\", \"first\", \"bytes\", \"source\", \"path\", ...}, ...]\n"
	"                 what stands at a fixed address; kinds are ram, firmware,\n"
	"                 device, dax, reserved\n"
	"  hotplug        [{\"name\", \"first\", \"bytes\", \"node\"}, ...]\n"
	"                 where memory can be plugged later\n"
	"Sizes and addresses are numbers, or strings such as \"4K\", \"2G\", \"0xc0000000\".\n"
	"Keys that are not known are refused. All keys: docs/machine.md.\n"
	"\n"
	"Exit status: 0 good; 2 usage, or a description that is not good; 3 something\n"
	"is missing on this host.\n";

enum { JSON = 1, SVG, COLOR };

struct plan_options {
	const char *machine;
	const char *svg;
	enum when color;
	bool json;
};

static int plan(const struct plan_options *options, struct failure *failure)
{
	struct terminal terminal = terminal_of(STDOUT_FILENO, options->color);
	struct machine *machine;
	int r = machine_load(options->machine, &machine, failure);

	if (r < 0)
		return r;
	if (options->svg)
		r = show_svg(machine, options->svg, failure);
	if (r == 0 && options->json) {
		r = show_json(machine, stdout, failure);
	} else if (r == 0) {
		r = show_picture(machine, stdout, &terminal, failure);
		if (r == 0) {
			fputc('\n', stdout);
			show_table(machine, stdout, &terminal);
		}
	}
	if (r == 0 && machine->note[0])
		fprintf(stderr, "guestmem: note: %s\n", machine->note);
	machine_free(machine);
	return r;
}

int command_plan(int argc, char **argv, struct failure *failure)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, JSON },
		{ "svg", required_argument, NULL, SVG },
		{ "color", required_argument, NULL, COLOR },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct plan_options options = { .color = WHEN_AUTO };
	int option;

	while ((option = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
		switch (option) {
		case JSON:
			options.json = true;
			break;
		case SVG:
			options.svg = optarg;
			break;
		case COLOR:
			if (parse_when(optarg, &options.color, failure) < 0)
				return -1;
			break;
		case 'h':
			fputs(plan_help, stdout);
			return 0;
		default:
			return option_fail(argv, option, failure);
		}
	}
	if (argc - optind != 1)
		return fail(failure, STATUS_INPUT, "plan takes one machine description; see guestmem plan --help");
	options.machine = argv[optind];
	return plan(&options, failure);
}

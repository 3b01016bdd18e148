/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The command line of "guestmem run". */
#include "run_options.h"

#include <getopt.h>
#include <stdio.h>
#include <sys/random.h>

#include "commands.h"

static const char run_help[] =
	"Usage: guestmem run VM.json --disk IMAGE [OPTION]...\n"
	"Build a machine's memory, run a virtio-blk device over IMAGE in it, and prove that\n"
	"every byte arrives where it belongs while memory is plugged and unplugged.\n"
	"\n"
	"Drivers put requests into guest memory at random addresses, across the borders of\n"
	"regions too. It ends when enough bytes were moved and enough memory was plugged and\n"
	"unplugged, and then shows that all bytes read equal the image, that the disk holds what\n"
	"was written and nothing else, and that dirty logs name exactly the pages written.\n"
	"\n"
	"      --disk IMAGE   the disk: a raw image of any size, or a block device. It is never\n"
	"                     written: writes go to a private copy without a name, unless\n"
	"      --in-place     ... is given: then they go to IMAGE itself, whose contents are\n"
	"                     DESTROYED, and the private copy is what they are compared with\n"
	"      --read-only    make no copy, and do not write at all\n"
	"      --bytes SIZE   how much to move at least (2G)\n"
	"      --cycles N     how often to plug and unplug at least (200; 0 without slots)\n"
	"      --queues N     queues of the device, each with two threads (2)\n"
	"      --depth N      requests in flight per queue (16)\n"
	"      --spread SIZE  how much guest memory requests wander over (1G); about as much\n"
	"                     memory of this host is used\n"
	"      --seed N       what random choices start from (random)\n"
	"      --svg FILE     draw the machine for a document\n"
	"      --color=WHEN   auto (the default; heeds NO_COLOR), always, never\n"
	"  -h, --help         print this\n"
	"\n"
	"Sizes are such as \"64M\", \"2G\". Machine descriptions: guestmem plan --help.\n"
	"\n"
	"Exit status: 0 verified; 1 something was wrong, or the image changed meanwhile; 2\n"
	"usage, or bad input; 3 something is missing on this host; 130 interrupted.\n";

enum { DISK = 1, IN_PLACE, READ_ONLY, BYTES, CYCLES, QUEUES, DEPTH, SPREAD, SEED, SVG, COLOR };

static int number(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *ret_number,
		  struct failure *failure)
{
	uint64_t value;

	if (parse_bytes(text, &value) < 0)
		return fail(failure, STATUS_INPUT, "--%s: '%s' is not a number", option, text);
	if (value < min || value > max)
		return fail(failure, STATUS_INPUT, "--%s: %s is out of range, %llu to %llu", option, text,
			    (unsigned long long)min, (unsigned long long)max);
	*ret_number = value;
	return 0;
}

static int mode(struct run_options *options, enum image_mode which, struct failure *failure)
{
	if (options->mode != IMAGE_COPY && options->mode != which)
		return fail(failure, STATUS_INPUT, "--in-place and --read-only exclude each other");
	options->mode = which;
	return 0;
}

static int set(struct run_options *options, int option, struct failure *failure)
{
	uint64_t value = 0;
	int r = 0;

	switch (option) {
	case DISK:
		options->disk = optarg;
		break;
	case SVG:
		options->svg = optarg;
		break;
	case IN_PLACE:
		return mode(options, IMAGE_IN_PLACE, failure);
	case READ_ONLY:
		return mode(options, IMAGE_READ_ONLY, failure);
	case BYTES:
		return number("bytes", optarg, 0, UINT64_C(1) << 60, &options->bytes, failure);
	case CYCLES:
		options->cycles_given = true;
		return number("cycles", optarg, 0, UINT32_MAX, &options->cycles, failure);
	case QUEUES:
		r = number("queues", optarg, 1, RUN_QUEUES_MAX, &value, failure);
		options->queues = (unsigned)value;
		return r;
	case DEPTH:
		r = number("depth", optarg, 1, RUN_DEPTH_MAX, &value, failure);
		options->depth = (unsigned)value;
		return r;
	case SPREAD:
		return number("spread", optarg, 0, UINT64_C(1) << 60, &options->spread, failure);
	case SEED:
		return number("seed", optarg, 0, UINT64_MAX, &options->seed, failure);
	case COLOR:
		return parse_when(optarg, &options->color, failure);
	}
	return 0;
}

static uint64_t random_seed(void)
{
	uint32_t seed;

	/* Short enough to be typed again. */
	return getrandom(&seed, sizeof(seed), 0) == sizeof(seed) ? seed : now_ns();
}

int run_options_parse(int argc, char **argv, struct run_options *ret_options, struct failure *failure)
{
	static const struct option longs[] = {
		{ "disk", required_argument, NULL, DISK },
		{ "in-place", no_argument, NULL, IN_PLACE },
		{ "read-only", no_argument, NULL, READ_ONLY },
		{ "bytes", required_argument, NULL, BYTES },
		{ "cycles", required_argument, NULL, CYCLES },
		{ "queues", required_argument, NULL, QUEUES },
		{ "threads", required_argument, NULL, QUEUES },
		{ "depth", required_argument, NULL, DEPTH },
		{ "spread", required_argument, NULL, SPREAD },
		{ "seed", required_argument, NULL, SEED },
		{ "svg", required_argument, NULL, SVG },
		{ "color", required_argument, NULL, COLOR },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct run_options options = {
		.bytes = RUN_BYTES_DEFAULT,
		.cycles = RUN_CYCLES_DEFAULT,
		.queues = 2,
		.depth = 16,
		.spread = RUN_SPREAD_DEFAULT,
		.seed = random_seed(),
	};
	int option;

	while ((option = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
		if (option == 'h') {
			fputs(run_help, stdout);
			return 1;
		}
		if (option == '?' || option == ':')
			return option_fail(argv, option, failure);
		if (set(&options, option, failure) < 0)
			return -1;
	}
	if (argc - optind != 1)
		return fail(failure, STATUS_INPUT, "run takes one machine description; see guestmem run --help");
	if (!options.disk)
		return fail(failure, STATUS_INPUT, "run needs --disk IMAGE; see guestmem run --help");
	options.machine = argv[optind];
	*ret_options = options;
	return 0;
}

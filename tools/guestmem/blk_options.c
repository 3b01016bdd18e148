/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* The command line of "guestmem blk". */
#include <getopt.h>
#include <stdio.h>

#include "blk.h"
#include "commands.h"

static const char blk_help[] =
	"Usage: guestmem blk --socket PATH IMAGE [OPTION]...\n"
	"Serve IMAGE, a raw image of any size or a block device, as a disk to a virtual machine:\n"
	"QEMU, or another one that speaks vhost-user, connects to the socket PATH.\n"
	"\n"
	"      --socket PATH    listen there; a socket that nobody serves any more is replaced\n"
	"      --fd N           instead: a socket that was opened already, which listens or is\n"
	"                       connected\n"
	"      --readonly       do not write\n"
	"      --queues N       queues that the machine may use, 1 to 64 (16)\n"
	"      --queue-size N   entries of a queue at most: a power of two up to 1024 (1024). A\n"
	"                       machine's queue should have 128 or more: with fewer, say so here\n"
	"      --direct         do not use this host's page cache\n"
	"      --status         print one line a second\n"
	"      --map FILE.svg   draw the machine's memory, and where the disk wrote to it, when a\n"
	"                       connection ends; on SIGUSR1 too, which prints it besides\n"
	"      --once           end when the first connection does\n"
	"  -h, --help           print this\n"
	"\n"
	"With QEMU, memory has to be shared:\n"
	"  qemu-system-x86_64 -m 1G -object memory-backend-memfd,id=mem,size=1G,share=on \\\n"
	"    -machine q35,memory-backend=mem -chardev socket,id=disk,path=PATH,reconnect=1 \\\n"
	"    -device vhost-user-blk-pci,chardev=disk ...\n"
	"\n"
	"It ends on SIGINT and SIGTERM, after what is in flight. Killed and started again, it loses no\n"
	"request if the machine keeps the record of them, as QEMU does.\n"
	"\n"
	"Exit status: 0 ended when asked to; 2 usage, or bad input; 3 something is missing on this\n"
	"host; 130 interrupted a second time.\n";

enum { SOCKET = 1, FD, READ_ONLY, QUEUES, QUEUE_SIZE, DIRECT, STATUS, MAP, ONCE };

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

static int set_number(struct blk_options *options, int option, struct failure *failure)
{
	uint64_t value = 0;
	int r;

	switch (option) {
	case FD:
		r = number("fd", optarg, 3, INT32_MAX, &value, failure);
		options->fd = (int)value;
		return r;
	case QUEUES:
		r = number("queues", optarg, 1, VBLK_QUEUES_MAX, &value, failure);
		options->queues = (unsigned)value;
		return r;
	default:
		r = number("queue-size", optarg, 2, VBLK_QUEUE_SIZE_MAX, &value, failure);
		if (r == 0 && (value & (value - 1)) != 0)
			return fail(failure, STATUS_INPUT, "--queue-size: %s is not a power of two", optarg);
		options->queue_size = (uint32_t)value;
		return r;
	}
}

static int set(struct blk_options *options, int option, struct failure *failure)
{
	switch (option) {
	case SOCKET:
		options->socket = optarg;
		return 0;
	case MAP:
		options->map = optarg;
		return 0;
	case READ_ONLY:
		options->read_only = true;
		return 0;
	case DIRECT:
		options->direct = true;
		return 0;
	case STATUS:
		options->status = true;
		return 0;
	case ONCE:
		options->once = true;
		return 0;
	default:
		return set_number(options, option, failure);
	}
}

int blk_options_parse(int argc, char **argv, struct blk_options *ret_options, struct failure *failure)
{
	static const struct option longs[] = {
		{ "socket", required_argument, NULL, SOCKET },
		{ "fd", required_argument, NULL, FD },
		{ "readonly", no_argument, NULL, READ_ONLY },
		{ "read-only", no_argument, NULL, READ_ONLY },
		{ "queues", required_argument, NULL, QUEUES },
		{ "queue-size", required_argument, NULL, QUEUE_SIZE },
		{ "direct", no_argument, NULL, DIRECT },
		{ "status", no_argument, NULL, STATUS },
		{ "map", required_argument, NULL, MAP },
		{ "once", no_argument, NULL, ONCE },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct blk_options options = {
		.fd = -1,
		.queues = BLK_QUEUES_DEFAULT,
		.queue_size = BLK_QUEUE_SIZE_DEFAULT,
	};
	int option;

	while ((option = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
		if (option == 'h') {
			fputs(blk_help, stdout);
			return 1;
		}
		if (option == '?' || option == ':')
			return option_fail(argv, option, failure);
		if (set(&options, option, failure) < 0)
			return -1;
	}
	if (argc - optind != 1)
		return fail(failure, STATUS_INPUT, "blk takes one disk image; see guestmem blk --help");
	if ((options.socket == NULL) == (options.fd < 0))
		return fail(failure, STATUS_INPUT, "blk needs either --socket PATH or --fd N; see guestmem blk --help");
	options.image = argv[optind];
	*ret_options = options;
	return 0;
}

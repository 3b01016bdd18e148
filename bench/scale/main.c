/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/* Options of scale, and what is done in which order. See scale.h for what it shows. */
#include "scale.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"usage: scale [OPTION...]\n"
	"\n"
	"How long read sections take while a writer changes all spaces, and what regions, maps and dirty logs take of "
	"memory.\n"
	"\n"
	"  --spaces N          spaces that the readers share (64)\n"
	"  --threads N         readers of the first two runs (16)\n"
	"  --regions N         regions of each space, one of which comes and goes (32)\n"
	"  --seconds S         time of each of the four runs (2)\n"
	"  --sections N        sections of each run at least, whatever the time (1000000)\n"
	"  --memory-regions N  regions to measure memory with (32768)\n"
	"  --log-gib N         size of the dirty log, in GiB (1024)\n"
	"  --only WHAT         sections, or memory\n"
	"  --json FILE         figures as JSON too; - for standard output, in place of the text\n"
	"  --svg FILE          the histogram as a picture\n"
	"  --help\n"
	"\n"
	"Exit code: 0; 1 when something went wrong, a wrong value in a load among it; 2 for options that are none.\n";

static _Noreturn void bad_option(const char *what)
{
	fprintf(stderr, "scale: %s\n\n%s", what, usage);
	exit(2);
}

static uint64_t number(const char *text, uint64_t min, uint64_t max)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || *text == '-' || value < min || value > max) {
		fprintf(stderr, "scale: '%s' is not a number from %llu to %llu\n", text, (unsigned long long)min,
			(unsigned long long)max);
		exit(2);
	}
	return value;
}

static double seconds(const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end != '\0' || !(value >= 0 && value <= 3600))
		bad_option("--seconds takes 0 to 3600");
	return value;
}

static void only(const char *text, struct scale_options *options)
{
	options->sections = strcmp(text, "sections") == 0;
	options->memory = strcmp(text, "memory") == 0;
	if (!options->sections && !options->memory)
		bad_option("--only takes sections or memory");
}

static void parse(int argc, char **argv, struct scale_options *options)
{
	static const struct option known[] = {
		{ "spaces", 1, NULL, 's' },   { "threads", 1, NULL, 't' },        { "regions", 1, NULL, 'r' },
		{ "seconds", 1, NULL, 'd' },  { "memory-regions", 1, NULL, 'm' }, { "log-gib", 1, NULL, 'l' },
		{ "only", 1, NULL, 'o' },     { "json", 1, NULL, 'j' },           { "svg", 1, NULL, 'v' },
		{ "sections", 1, NULL, 'n' }, { "help", 0, NULL, 'h' },           { NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 's':
			options->spaces = (unsigned)number(optarg, 1, SPACES_MAX);
			break;
		case 't':
			options->threads = (unsigned)number(optarg, 1, THREADS_MAX);
			break;
		case 'r':
			options->regions = (unsigned)number(optarg, 1, REGIONS_MAX);
			break;
		case 'd':
			options->seconds = seconds(optarg);
			break;
		case 'n':
			options->sections_min = number(optarg, 1, UINT64_MAX);
			break;
		case 'm':
			options->memory_regions = (unsigned)number(optarg, 64, 262144);
			break;
		case 'l':
			options->log_bytes = number(optarg, 1, 16384) << 30;
			break;
		case 'o':
			only(optarg, options);
			break;
		case 'j':
			options->json = optarg;
			break;
		case 'v':
			options->svg = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			bad_option("no such option");
		}
	}
	if (optind < argc)
		bad_option("takes options only");
}

/* A file that is complete or an error. */
static FILE *open_output(const char *path)
{
	FILE *out = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");

	if (out == NULL) {
		fprintf(stderr, "scale: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	return out;
}

static void close_output(FILE *out, const char *path)
{
	if (fflush(out) != 0 || ferror(out)) {
		fprintf(stderr, "scale: %s: can't be written\n", path);
		exit(1);
	}
	if (out != stdout)
		(void)fclose(out);
}

int main(int argc, char **argv)
{
	static struct run runs[RUNS];
	struct scale_options options = {
		.spaces = 64,
		.threads = 16,
		.regions = 32,
		.seconds = 2,
		.sections_min = 1000000,
		.memory_regions = 32768,
		.log_bytes = UINT64_C(1) << 40,
		.sections = true,
		.memory = true,
	};
	struct memory_use use = { 0 };
	struct clock clock;
	FILE *out;
	bool text;
	int r = 0;

	parse(argc, argv, &options);
	text = options.json == NULL || strcmp(options.json, "-") != 0;
	clock_calibrate(&clock);
	/* First what counts the heap, while nobody has used it. */
	if (options.memory)
		r = memory_measure(&options, &use);
	if (r == 0 && options.sections)
		r = sections_run(&options, &clock, runs);
	if (r < 0) {
		fprintf(stderr, "scale: %s\n", strerror(-r));
		return 1;
	}
	if (options.sections && text)
		report_sections(stdout, &options, &clock, runs);
	if (options.memory && text)
		report_memory(stdout, &options, &use);
	if (options.json != NULL) {
		out = open_output(options.json);
		report_json(out, &options, &clock, options.sections ? runs : NULL, options.memory ? &use : NULL);
		close_output(out, options.json);
	}
	if (options.svg != NULL && options.sections) {
		out = open_output(options.svg);
		picture_sections(out, &options, &clock, runs);
		close_output(out, options.svg);
	}
	return 0;
}

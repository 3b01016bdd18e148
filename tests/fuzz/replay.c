/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * Runs a fuzzed program once over each file of the folders, or each of the files, that it is told of: what was found once stays found. Built by any
 * compiler, without libFuzzer.
 *
 * usage: PROGRAM FOLDER-OR-FILE...
 */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

/* No input is longer: what it takes to try a thing is short. */
#define INPUT_MAX (64 * 1024)
/* For all of them. A program that hangs is killed. */
#define SECONDS_MAX 250
/* How Meson knows a test that could not be run. */
#define SKIPPED 77

static unsigned runs;

static void die(const char *path)
{
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	exit(1);
}

static void replay_file(const char *path)
{
	FILE *file = fopen(path, "rbe");
	unsigned char *data;
	size_t bytes;

	if (file == NULL)
		die(path);
	data = malloc(INPUT_MAX);
	if (data == NULL)
		die(path);
	bytes = fread(data, 1, INPUT_MAX, file);
	if (ferror(file) || !feof(file)) {
		fprintf(stderr, "%s: can't be read, or is longer than any input\n", path);
		exit(1);
	}
	fclose(file);
	/* Of its own size, so that a sanitizer sees who reads behind it. */
	data = realloc(data, bytes > 0 ? bytes : 1);
	if (data == NULL)
		die(path);
	fprintf(stderr, "%s\n", path);
	if (LLVMFuzzerTestOneInput(data, bytes) != 0) {
		printf("this machine lacks what it takes: sockets, or membarrier(2) for the guard\n");
		exit(SKIPPED);
	}
	free(data);
	runs++;
}

static void replay(const char *path)
{
	struct stat status;
	struct dirent **entries;
	int count;

	if (stat(path, &status) != 0)
		die(path);
	if (!S_ISDIR(status.st_mode)) {
		replay_file(path);
		return;
	}
	count = scandir(path, &entries, NULL, alphasort);
	if (count < 0)
		die(path);
	for (int i = 0; i < count; i++) {
		char *whole = NULL;

		if (entries[i]->d_name[0] != '.') {
			if (asprintf(&whole, "%s/%s", path, entries[i]->d_name) < 0)
				die(path);
			replay_file(whole);
			free(whole);
		}
		free(entries[i]);
	}
	free(entries);
}

int main(int count, char **arguments)
{
	alarm(SECONDS_MAX);
	for (int i = 1; i < count; i++)
		replay(arguments[i]);
	fprintf(stderr, "%u inputs\n", runs);
	/* A corpus that is not there proves nothing. */
	return runs > 0 ? 0 : 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - the main() of a fuzz target without a fuzzer: runs each file named, and each file in each
 * directory named, once. Any compiler will do. An input that breaks something ends the program as
 * it would end the fuzzer.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

DEFINE_CLEANUP(DIR *, closedir);

static unsigned int inputs;

static int run_file(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	_cleanup_free_ uint8_t *data = NULL;
	struct stat st;
	size_t size;

	if (!f || fstat(fileno(f), &st) < 0)
		return -errno;
	size = (size_t)st.st_size;
	data = malloc(size ?: 1); /* no larger than the input, so that reading further is found */
	if (!data)
		return -ENOMEM;
	if (fread(data, 1, size, f) != size)
		return -EIO;
	inputs++;
	(void)LLVMFuzzerTestOneInput(data, size);
	return 0;
}

static int run(const char *path)
{
	_cleanup_(closedirp) DIR *dir = opendir(path);
	struct dirent *de;
	int r = 0;

	if (!dir)
		return errno == ENOTDIR ? run_file(path) : -errno;
	while (r == 0 && (de = readdir(dir))) {
		_cleanup_free_ char *file = NULL;

		if (de->d_name[0] == '.')
			continue;
		if (asprintf(&file, "%s/%s", path, de->d_name) < 0) {
			file = NULL;
			return -ENOMEM;
		}
		r = run_file(file);
	}
	return r;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int r = run(argv[i]);

		if (r < 0) {
			fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
			return 1;
		}
	}
	if (inputs == 0) {
		fprintf(stderr, "usage: %s FILE|DIRECTORY...\n", argv[0]);
		return 2;
	}
	dprintf(STDERR_FILENO, "%u inputs\n", inputs);
	return 0;
}

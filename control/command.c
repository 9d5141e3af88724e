/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>

#include "command.h"
#include "runas.h"
#include "store_import.h"

#define STATE_FILE_MAX (64 * MIB)
#define CLOCK_LEAST_S 1700000000 /* of 2023: a clock that says less was never set */

static int say_error(int r, const char *error)
{
	fprintf(stderr, "ERROR: %s\n", error ?: strerror(-r));
	return r;
}

static const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

static void say_facts(const char *what, const struct store_facts *f)
{
	printf("%s: %zu dataset%s and %zu deleted, %zu lease%s, %zu node%s, incarnation %" PRIu64
	       ", version %" PRIu64 ", %" PRIu64 " bytes\n", what, f->datasets, plural(f->datasets),
		f->deleted, f->leases, plural(f->leases), f->nodes, plural(f->nodes), f->incarnation,
		f->revision, f->bytes);
}

static int run_backup(const struct options *o)
{
	_cleanup_free_ char *error = NULL;
	struct store_facts f;
	int r;

	r = store_backup(o->data_path, o->file, o->force, &f, &error);
	if (r < 0)
		return say_error(r, error);
	say_facts(o->file, &f);
	return 0;
}

static void say_plan(const struct options *o)
{
	if (o->from)
		printf("This backup would take the place of the store in %s, which would be kept aside.\n",
			o->data_path);
	puts("A new incarnation would begin: nodes that have seen a newer state than this would accept it\n"
	     "again. They keep what they have. A dataset changes hands only when the node that has it by\n"
	     "this state has said so, or when every node has been heard, or fenced by an operator. Datasets\n"
	     "that nodes have and this state does not know stay as they are, mounted, and are listed.\n"
	     "Nothing was changed; say --apply to do it.");
}

static void say_done(const struct options *o, const struct store_facts *f, const char *kept)
{
	say_facts(o->data_path, f);
	if (kept)
		printf("The store that was there is kept as %s.\n", kept);
	printf("Incarnation %" PRIu64 " begins with the next start of flocker-control.\n", f->incarnation);
}

static int read_clock(time_t *ret)
{
	time_t now = time(NULL);

	if (now < CLOCK_LEAST_S)
		return say_error(-EINVAL, "the clock of this machine is not set, and the new incarnation is "
			"counted from it: set it first");
	*ret = now;
	return 0;
}

static int apply(const struct options *o, int backup_fd)
{
	_cleanup_free_ char *error = NULL, *kept = NULL;
	struct store_facts f;
	time_t now;
	int r;

	r = read_clock(&now);
	if (r < 0)
		return r;
	r = runas(o);
	if (r < 0)
		return r; /* it has said why */
	r = store_recover(o->data_path, backup_fd, (uint64_t)now, &f, &kept, &error);
	if (r < 0)
		return say_error(r, error);
	say_done(o, &f, kept);
	return 0;
}

static int run_recover(const struct options *o)
{
	_cleanup_free_ char *error = NULL;
	_cleanup_close_ int fd = -EBADF;
	struct store_facts f;
	int r;

	/* A backup may be readable for us alone, and not for the user that we become. */
	if (o->from) {
		fd = open(o->from, O_RDONLY | O_CLOEXEC);
		if (fd < 0) {
			fprintf(stderr, "ERROR: %s cannot be read: %s\n", o->from, strerror(errno));
			return -errno;
		}
		r = store_inspect_file(o->from, &f, &error);
	} else {
		r = store_inspect(o->data_path, &f, &error);
	}
	if (r < 0)
		return say_error(r, error);
	say_facts(o->from ?: o->data_path, &f);
	if (o->apply)
		return apply(o, fd);
	say_plan(o);
	return 0;
}

/* ---- import ---- */

static int read_all(const char *file, char **ret, size_t *ret_size)
{
	_cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	struct stat st;
	size_t n = 0;
	ssize_t got;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)STATE_FILE_MAX)
		return S_ISREG(st.st_mode) ? -EFBIG : -EINVAL;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	do {
		got = read(fd, text + n, (size_t)st.st_size - n);
		n += got > 0 ? (size_t)got : 0;
	} while (got > 0 && n < (size_t)st.st_size);
	if (got < 0)
		return -errno;
	text[n] = '\0';
	*ret = TAKE_PTR(text);
	*ret_size = n;
	return 0;
}

static int read_import(const char *file, time_t now, struct import *ret)
{
	_cleanup_free_ char *text = NULL;
	char error[IMPORT_ERROR_MAX];
	size_t size = 0;
	int r;

	r = read_all(file, &text, &size);
	if (r < 0) {
		fprintf(stderr, "ERROR: %s cannot be read: %s\n", file, strerror(-r));
		return r;
	}
	r = import_parse(text, size, now, ret, error);
	if (r < 0)
		fprintf(stderr, "ERROR: %s: %s\n", file, r == -EBADMSG ? error : strerror(-r));
	return r;
}

static void say_import(const char *file, const struct import *im)
{
	size_t deleted = 0, lost = 0;

	for (size_t i = 0; i < im->n_lines; i++)
		puts(im->lines[i]);
	for (size_t i = 0; i < im->n_datasets; i++) {
		deleted += im->datasets[i].deleted;
		lost += import_is_lost(&im->datasets[i]);
	}
	printf("%s, of format %u: takes %zu dataset%s and %zu deleted, and %zu lease%s; leaves %zu record%s\n",
		file, im->format, im->n_datasets - deleted, plural(im->n_datasets - deleted), deleted,
		im->n_pins, plural(im->n_pins), im->n_left, plural(im->n_left));
	if (lost > 0)
		printf("%zu dataset%s may hold data: lost until the image is put there, and never made "
		       "anew; see docs/migration.md\n", lost, plural(lost));
}

static int apply_import(const struct options *o, struct import *im, time_t now)
{
	_cleanup_free_ char *error = NULL;
	struct store_facts f;
	int r;

	r = runas(o);
	if (r < 0)
		return r; /* it has said why */
	r = store_import(o->data_path, im, (uint64_t)now, &f, &error);
	if (r < 0)
		return say_error(r, error);
	say_done(o, &f, NULL);
	return 0;
}

static int run_import(const struct options *o)
{
	_cleanup_(import_done) struct import im = { 0 };
	_cleanup_free_ char *error = NULL;
	time_t now;
	int r;

	if ((r = read_clock(&now)) < 0 || (r = read_import(o->file, now, &im)) < 0)
		return r;
	r = store_is_empty(o->data_path, &error);
	if (r < 0)
		return say_error(r, error);
	say_import(o->file, &im);
	if (o->apply)
		return apply_import(o, &im, now);
	puts("Nothing was changed; say --apply to do it.");
	return 0;
}

int command_run(const struct options *o)
{
	switch (o->command) {
	case COMMAND_BACKUP:
		return run_backup(o);
	case COMMAND_IMPORT:
		return run_import(o);
	default:
		return run_recover(o);
	}
}

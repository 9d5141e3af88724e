/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <time.h>

#include "command.h"
#include "runas.h"
#include "store_admin.h"

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

static int apply(const struct options *o, int backup_fd)
{
	_cleanup_free_ char *error = NULL, *kept = NULL;
	struct store_facts f;
	time_t now = time(NULL);
	int r;

	if (now < CLOCK_LEAST_S)
		return say_error(-EINVAL, "the clock of this machine is not set, and the new incarnation is "
			"counted from it: set it first");
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

int command_run(const struct options *o)
{
	return o->command == COMMAND_BACKUP ? run_backup(o) : run_recover(o);
}

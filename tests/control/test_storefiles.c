/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store's files: what is believed of a torn, cut or missing one, copies, and what is put back.
 *
 * A server that is killed is a child that ends without closing. Copies are made by programs, since closing
 * any descriptor of a file gives up this process's locks on it.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cm.h"
#include "record.h"
#include "store_admin.h"

#define COMMITS 12

struct dir {
	char path[64];
};

static int setup(void **state)
{
	static struct dir d;

	strcpy(d.path, "/tmp/flocker-store-XXXXXX");
	*state = &d;
	return mkdtemp(d.path) ? 0 : -1;
}

static void _printf_(1, 2) run(const char *fmt, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

static int teardown(void **state)
{
	struct dir *d = *state;

	run("rm -rf %s", d->path);
	return 0;
}

static const char *in(const struct dir *d, const char *name)
{
	static char path[4][128];
	static int turn;
	char *p = path[turn++ % 4];

	snprintf(p, 128, "%s/%s", d->path, name);
	return p;
}

/* ---- a server ---- */

struct server {
	struct event_base *base;
	struct store *store;
	int result;
};

static int server_open(struct server *v, const char *directory, char **ret_error)
{
	*v = (struct server){ .base = event_base_new() };
	assert_non_null(v->base);
	return store_open(v->base, directory, &v->store, ret_error);
}

static void server_close(struct server *v)
{
	store_close(v->store);
	event_base_free(v->base);
}

static void on_done(int r, void *userdata)
{
	struct server *v = userdata;

	v->result = r;
	event_base_loopbreak(v->base);
}

/* One dataset more, durable. */
static void server_commit(struct server *v, unsigned int number)
{
	struct store_batch *b = store_batch_new();
	struct ds_record r = { .dataset_id = id128_make_v4(7, number), .primary = id128_make_v4(1, 1),
		.volume_id = id128_make_v4(2, number), .size_bytes = GIB, .epoch = 1, .incarnation = 1,
		.metadata = json_object_new_object() };
	_cleanup_free_ char *text = ds_record_to_json(&r);
	char key[64];

	json_object_put(r.metadata);
	snprintf(key, sizeof(key), RECORD_KEY_DATASET "%s", ID128_STR(r.dataset_id));
	assert_int_equal(store_batch_put(b, key, text), 0);
	store_commit(v->store, b, on_done, v);
	(void)event_base_dispatch(v->base);
	assert_int_equal(v->result, 0);
}

static off_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? -1 : st.st_size;
}

/* A server that makes @n datasets and is killed. @ret_sizes: of its log after each, or NULL. */
static void make_and_kill(const struct dir *d, unsigned int from, unsigned int n, off_t *ret_sizes)
{
	int fds[2], status;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		_cleanup_free_ char *error = NULL;
		struct server v;

		if (server_open(&v, d->path, &error) < 0)
			_exit(1);
		(void)store_meta_set(v.store, STORE_META_INCARNATION, 1);
		for (unsigned int i = 0; i < n; i++) {
			off_t size;

			server_commit(&v, from + i);
			size = size_of(in(d, "control.sqlite-wal"));
			if (write(fds[1], &size, sizeof(size)) != sizeof(size))
				_exit(1);
		}
		_exit(0);
	}
	close(fds[1]);
	for (unsigned int i = 0; i < n; i++) {
		off_t size;

		assert_int_equal(read(fds[0], &size, sizeof(size)), sizeof(size));
		if (ret_sizes)
			ret_sizes[i] = size;
	}
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static int count(const char *key, const char *value, void *userdata)
{
	size_t *n = userdata;

	(*n)++;
	return 0;
}

/* How many records a server finds; negative errno when it does not start. */
static int records_of(const char *directory)
{
	_cleanup_free_ char *error = NULL;
	struct server v;
	size_t n = 0;
	int r = server_open(&v, directory, &error);

	if (r == 0)
		assert_int_equal(store_load(v.store, count, &n), 0);
	else
		assert_non_null(error);
	server_close(&v);
	return r < 0 ? r : (int)n;
}

/* ---- tests ---- */

/* Cut anywhere, or with rubbish from there on, the log still gives all that it had whole. */
static void a_torn_log_loses_nothing_that_was_acknowledged_before(void **state)
{
	struct dir *d = *state;
	off_t sizes[COMMITS], end;

	make_and_kill(d, 0, COMMITS, sizes);
	end = size_of(in(d, "control.sqlite-wal"));
	run("mkdir %s/torn", d->path);
	for (off_t cut = 0; cut <= end; cut += 512) {
		int whole = 0;

		while (whole < COMMITS && sizes[whole] <= cut)
			whole++;
		for (int rubbish = 0; rubbish < 2 && cut >= sizes[0]; rubbish++) {
			run("cd %s && rm -f torn/* && cp control.sqlite control.sqlite-wal store-was-made torn && "
			    "truncate -s %lld torn/control.sqlite-wal", d->path, (long long)cut);
			if (rubbish)
				run("cd %s && head -c 5000 /dev/urandom >>torn/control.sqlite-wal", d->path);
			assert_int_equal(records_of(in(d, "torn")), whole);
		}
	}
}

static const struct {
	const char *name, *how; /* a shell command in the directory */
	int result;
} damages[] = {
	{ "gone", "rm control.sqlite", -EUCLEAN },
	{ "gone, its log left", "rm control.sqlite store-was-made", -EUCLEAN },
	{ "gone with its log", "rm control.sqlite control.sqlite-wal", -EUCLEAN },
	{ "empty", ": >control.sqlite", -EUCLEAN },
	{ "empty, without a log", "rm control.sqlite-wal; : >control.sqlite", -EUCLEAN },
	{ "cut within its first block", "truncate -s 100 control.sqlite", -EUCLEAN },
	{ "an empty database", "rm control.sqlite*; /usr/bin/python3 -c 'import sqlite3; c=sqlite3.connect(\"control.sqlite\"); "
		"c.execute(\"CREATE TABLE x (y)\"); c.execute(\"DROP TABLE x\"); c.commit()'", -EUCLEAN },
	{ "rubbish", "rm control.sqlite-wal; head -c 8192 /dev/urandom >control.sqlite", -EBADMSG },
	{ "a directory", "rm control.sqlite; mkdir control.sqlite", -EBADMSG },
};

static void what_is_damaged_is_never_taken_for_an_empty_store(void **state)
{
	struct dir *d = *state;

	make_and_kill(d, 0, 3, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
		run("cd %s && rm -rf spoiled && mkdir spoiled && cp control.sqlite control.sqlite-wal "
		    "store-was-made spoiled && cd spoiled && %s", d->path, damages[i].how);
		if (records_of(in(d, "spoiled")) != damages[i].result)
			fail_msg("%s: %d", damages[i].name, records_of(in(d, "spoiled")));
	}
}

/* At each 512th byte: cut there, or a block of zeros there. Whole, or refused; never a part. */
static void a_cut_database_is_refused_or_whole(void **state)
{
	struct dir *d = *state;
	struct server v;
	char *error = NULL;
	off_t end;
	int all = 40, refused = 0;

	make_and_kill(d, 0, (unsigned int)all, NULL);
	assert_int_equal(server_open(&v, d->path, &error), 0);
	server_close(&v); /* the log goes into the file */
	end = size_of(in(d, "control.sqlite"));
	for (off_t at = 0; at < end; at += 512)
		for (int zeros = 0; zeros < 2; zeros++) {
			int n;

			run("cd %s && rm -rf cut && mkdir cut && cp control.sqlite store-was-made cut", d->path);
			if (zeros)
				run("dd if=/dev/zero of=%s/cut/control.sqlite bs=512 count=1 conv=notrunc "
				    "seek=%lld status=none", d->path, (long long)at / 512);
			else
				run("truncate -s %lld %s/cut/control.sqlite", (long long)at, d->path);
			n = records_of(in(d, "cut"));
			refused += n < 0;
			assert_true(n < 0 || n == all);
			if (!zeros)
				assert_true(n < 0);
		}
	assert_true(refused > 0);
}

static void an_empty_data_path_gets_a_store_and_a_second_server_none(void **state)
{
	struct dir *d = *state;
	_cleanup_free_ char *error = NULL;
	struct server v, other;

	assert_int_equal(server_open(&v, d->path, &error), 0);
	assert_int_equal(server_open(&other, d->path, &error), -EBUSY);
	assert_non_null(strstr(error, "another flocker-control runs"));
	server_close(&other);
	server_close(&v);
}

static void a_backup_is_made_beside_a_server_and_is_private(void **state)
{
	struct dir *d = *state;
	_cleanup_free_ char *error = NULL;
	struct store_facts f;
	struct server v;
	struct stat st;

	assert_int_equal(server_open(&v, d->path, &error), 0);
	assert_int_equal(store_meta_set(v.store, STORE_META_INCARNATION, 5), 0);
	for (unsigned int i = 0; i < 20; i++)
		server_commit(&v, i);
	assert_int_equal(store_backup(d->path, in(d, "copy"), false, &f, &error), 0);
	server_commit(&v, 20);
	assert_int_equal(f.datasets, 20);
	assert_int_equal(f.incarnation, 5);
	assert_int_equal(f.revision, 20);
	assert_int_equal(stat(in(d, "copy"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, f.bytes);
	assert_int_equal(store_backup(d->path, in(d, "copy"), false, &f, &error), -EEXIST);
	assert_non_null(strstr(error, "--force"));
	assert_int_equal(store_backup(d->path, in(d, "copy"), true, &f, &error), 0);
	assert_int_equal(f.datasets, 21);
	server_close(&v);
	run("cd %s && test -z \"$(ls | grep '^copy.')\"", d->path); /* nothing half-made is left */
}

static void a_backup_of_a_damaged_store_leaves_nothing(void **state)
{
	struct dir *d = *state;
	_cleanup_free_ char *error = NULL;
	struct store_facts f;

	make_and_kill(d, 0, 3, NULL);
	run("cd %s && rm control.sqlite-wal && truncate -s 4096 control.sqlite", d->path);
	assert_true(store_backup(d->path, in(d, "copy"), false, &f, &error) < 0);
	assert_non_null(error);
	run("cd %s && test -z \"$(ls | grep '^copy')\"", d->path);
}

static void recover_begins_an_incarnation_above_all_that_are_known(void **state)
{
	struct dir *d = *state;
	_cleanup_free_ char *error = NULL, *kept = NULL;
	_cleanup_close_ int fd = -EBADF;
	struct store_facts f;
	struct server v;

	make_and_kill(d, 0, 3, NULL);
	assert_int_equal(store_recover(d->path, -EBADF, 1800000000, &f, &kept, &error), 0);
	assert_null(kept);
	assert_int_equal(f.incarnation, 1800000000);
	assert_int_equal(store_backup(d->path, in(d, "copy"), false, &f, &error), 0);
	assert_int_equal(store_recover(d->path, -EBADF, 1700000000, &f, &kept, &error), 0);
	assert_int_equal(f.incarnation, 1800000001); /* the clock went back */

	assert_int_equal(server_open(&v, d->path, &error), 0);
	assert_int_equal(store_recover(d->path, -EBADF, 1800000009, &f, &kept, &error), -EBUSY);
	assert_non_null(strstr(error, "stop it first"));
	server_commit(&v, 3);
	server_close(&v);

	fd = open(in(d, "copy"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(store_recover(d->path, fd, 1800000001, &f, &kept, &error), 0);
	assert_int_equal(f.incarnation, 1800000002); /* above the one that it takes the place of */
	assert_int_equal(f.datasets, 3);
	assert_non_null(kept);
	assert_int_equal(store_inspect_file(kept, &f, &error), 0);
	assert_int_equal(f.datasets, 4);
	assert_int_equal(records_of(d->path), 3);
}

static void a_backup_takes_the_place_of_a_damaged_store_and_its_log(void **state)
{
	struct dir *d = *state;
	_cleanup_free_ char *error = NULL, *kept = NULL;
	_cleanup_close_ int fd = -EBADF;
	struct store_facts f;

	make_and_kill(d, 0, 3, NULL);
	assert_int_equal(store_backup(d->path, in(d, "copy"), false, &f, &error), 0);
	make_and_kill(d, 3, 3, NULL);
	run("cd %s && head -c 3000 /dev/urandom >control.sqlite", d->path);
	fd = open(in(d, "copy"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(store_recover(d->path, fd, 1800000000, &f, &kept, &error), 0);
	assert_int_equal(records_of(d->path), 3);
	assert_int_equal(size_of(kept), 3000);
	run("test -s %s-wal", kept);
}

/* It would be played onto the store that comes in the place of its own. */
static void a_journal_that_was_left_goes_with_its_store(void **state)
{
	struct dir *d = *state;
	_cleanup_free_ char *error = NULL, *kept = NULL;
	_cleanup_close_ int fd = -EBADF;
	struct store_facts f;

	make_and_kill(d, 0, 3, NULL);
	assert_int_equal(store_backup(d->path, in(d, "copy"), false, &f, &error), 0);
	run("cd %s && echo left >control.sqlite-journal && echo left >control.sqlite.new-journal", d->path);
	fd = open(in(d, "copy"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(store_recover(d->path, fd, 1800000000, &f, &kept, &error), 0);
	run("cd %s && test ! -e control.sqlite-journal && test ! -e control.sqlite.new-journal", d->path);
	run("cd %s && echo left >copy-journal", d->path);
	assert_int_equal(store_inspect_file(in(d, "copy"), &f, &error), -EBADMSG);
}

static void only_a_regular_file_is_replaced_by_a_backup(void **state)
{
	struct dir *d = *state;
	_cleanup_free_ char *error = NULL;
	struct store_facts f;

	make_and_kill(d, 0, 1, NULL);
	run("cd %s && mkfifo pipe && ln -s elsewhere link", d->path);
	assert_int_equal(store_backup(d->path, in(d, "pipe"), true, &f, &error), -EINVAL);
	assert_non_null(strstr(error, "is no regular file"));
	free(TAKE_PTR(error));
	assert_int_equal(store_backup(d->path, in(d, "link"), true, &f, &error), -EINVAL);
	run("cd %s && test -p pipe && test -L link", d->path);
}

static void a_raw_copy_of_a_store_in_use_is_no_backup(void **state)
{
	struct dir *d = *state;
	_cleanup_free_ char *error = NULL;
	struct store_facts f;

	make_and_kill(d, 0, 3, NULL);
	assert_int_equal(store_inspect_file(in(d, "control.sqlite"), &f, &error), -EBADMSG);
	assert_non_null(strstr(error, "no backup"));
}

/* An old copy that is put back and goes on is told from the store that it was copied from. */
static void revisions_of_another_line_are_not_known(void **state)
{
	struct dir *d = *state;
	_cleanup_free_ char *error = NULL;
	struct id128 first, second;
	struct server v;

	assert_int_equal(server_open(&v, d->path, &error), 0);
	first = store_line(v.store);
	server_commit(&v, 0);
	server_commit(&v, 1);
	server_close(&v);
	run("cd %s && mkdir old && cp control.sqlite store-was-made old", d->path);
	assert_int_equal(server_open(&v, d->path, &error), 0);
	second = store_line(v.store);
	server_commit(&v, 2);
	assert_int_equal(store_line_end(v.store, first), 2);
	assert_int_equal(store_line_end(v.store, second), 3);
	assert_int_equal(store_line_end(v.store, ID128_NIL), 3);
	server_close(&v);

	assert_int_equal(server_open(&v, in(d, "old"), &error), 0);
	for (unsigned int i = 5; i < 10; i++)
		server_commit(&v, i);
	assert_int_equal(store_line_end(v.store, first), 2);
	assert_int_equal(store_line_end(v.store, second), 0);
	assert_int_equal(store_line_end(v.store, ID128_NIL), 7);
	server_close(&v);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_torn_log_loses_nothing_that_was_acknowledged_before),
		TEST(what_is_damaged_is_never_taken_for_an_empty_store),
		TEST(a_cut_database_is_refused_or_whole),
		TEST(an_empty_data_path_gets_a_store_and_a_second_server_none),
		TEST(a_backup_is_made_beside_a_server_and_is_private),
		TEST(a_backup_of_a_damaged_store_leaves_nothing),
		TEST(recover_begins_an_incarnation_above_all_that_are_known),
		TEST(a_backup_takes_the_place_of_a_damaged_store_and_its_log),
		TEST(a_journal_that_was_left_goes_with_its_store),
		TEST(only_a_regular_file_is_replaced_by_a_backup),
		TEST(a_raw_copy_of_a_store_in_use_is_no_backup),
		TEST(revisions_of_another_line_are_not_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

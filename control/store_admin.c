/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_admin.c - copies of the store.
 *
 * A backup is put in place in an order that leaves, wherever it is interrupted, the old store, or none
 * (which the server refuses to take for an empty one), or the backup with its new incarnation; never
 * the backup with the number that it was made with, nor with the log of another.
 */
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>

#include "record.h"
#include "store_admin.h"
#include "store_private.h"

#define BUSY_MS 5000
#define NEW_FILE STORE_FILE ".new"

#define EXISTS "%s exists: choose another name, or say --force"

static void db_closep(sqlite3 **db)
{
	sqlite3_close(*db);
}

static char *path_of(const char *directory, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", directory, name) < 0 ? NULL : path;
}

static char *beside(const char *path, const char *suffix)
{
	char *name;

	return asprintf(&name, "%s%s", path, suffix) < 0 ? NULL : name;
}

/* ---- looking ---- */

static int open_store(const char *path, int flags, sqlite3 **ret, char **ret_error)
{
	_cleanup_(db_closep) sqlite3 *db = NULL;
	bool is_new = false;
	int r;

	if (access(path, F_OK) < 0)
		return store_explain(path, NULL, -errno, ret_error);
	r = db_errno(NULL, sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX, NULL));
	if (r < 0)
		return store_explain(path, NULL, r, ret_error);
	(void)sqlite3_busy_timeout(db, BUSY_MS);
	r = store_check_identity(db, path, &is_new, ret_error);
	if (r < 0)
		return r;
	if (is_new)
		return store_fail(ret_error, -EUCLEAN, "%s holds nothing", path);
	r = store_check_whole(db, path, ret_error);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(db);
	return 0;
}

static int count_dataset(const char *value, struct store_facts *f)
{
	struct ds_record ds;
	int r = ds_record_from_json(value, &ds);

	if (r < 0)
		return r;
	if (ds.deleted)
		f->deleted++;
	else
		f->datasets++;
	ds_record_done(&ds);
	return 0;
}

static int count_record(const char *key, const char *value, struct store_facts *f)
{
	struct node_record node;
	struct pin_record pin;
	uint64_t floor;
	int r = -EBADMSG;

	if (strncmp(key, RECORD_KEY_DATASET, strlen(RECORD_KEY_DATASET)) == 0) {
		r = count_dataset(value, f);
	} else if (strncmp(key, RECORD_KEY_NODE, strlen(RECORD_KEY_NODE)) == 0) {
		r = node_record_from_json(value, &node);
		if (r < 0)
			return r;
		f->nodes++;
		node_record_done(&node);
	} else if (strncmp(key, RECORD_KEY_PIN, strlen(RECORD_KEY_PIN)) == 0) {
		r = pin_record_from_json(value, &pin);
		if (r < 0)
			return r;
		f->leases++;
		pin_record_done(&pin);
	} else if (STREQ(key, RECORD_KEY_FLOOR)) {
		r = floor_from_json(value, &floor);
	}
	return r;
}

static int count_records(sqlite3 *db, const char *path, struct store_facts *f, char **ret_error)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db, "SELECT key, value FROM record", -1, &stmt, NULL);
	int r = 0;

	while (rc == SQLITE_OK && r == 0) {
		const char *key;

		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW)
			break;
		key = (const char *)sqlite3_column_text(stmt, 0) ?: "";
		r = count_record(key, (const char *)sqlite3_column_text(stmt, 1) ?: "", f);
		if (r == -EBADMSG)
			r = store_fail(ret_error, -EUCLEAN,
				"%s: the record '%s' cannot be read: it is damaged or of a newer version",
				path, key);
		rc = SQLITE_OK;
	}
	if (r == 0 && (r = db_errno(db, rc)) < 0)
		r = store_explain(path, db, r, ret_error);
	sqlite3_finalize(stmt);
	return r;
}

static int read_facts(sqlite3 *db, const char *path, struct store_facts *ret, char **ret_error)
{
	struct store_facts f = { 0 };
	int64_t pages = 0, page_size = 0;
	int r;

	if (((r = db_meta_get(db, STORE_META_INCARNATION, &f.incarnation)) < 0 && r != -ENOENT) ||
		((r = db_meta_get(db, STORE_REVISION, &f.revision)) < 0 && r != -ENOENT) ||
		(r = db_number(db, "PRAGMA page_count", &pages)) < 0 ||
		(r = db_number(db, "PRAGMA page_size", &page_size)) < 0)
		return store_explain(path, db, r, ret_error);
	f.bytes = (uint64_t)(pages * page_size);
	r = count_records(db, path, &f, ret_error);
	if (r < 0)
		return r;
	*ret = f;
	return 0;
}

static int inspect(const char *path, int flags, struct store_facts *ret, char **ret_error)
{
	_cleanup_(db_closep) sqlite3 *db = NULL;
	int r = open_store(path, flags, &db, ret_error);

	return r < 0 ? r : read_facts(db, path, ret, ret_error);
}

/* What was interrupted in its rollback journal has to be rolled back before it can be read. */
static int flags_to_read(const char *directory)
{
	_cleanup_free_ char *journal = path_of(directory, STORE_FILE "-journal");

	return journal && access(journal, F_OK) == 0 ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
}

int store_inspect(const char *directory, struct store_facts *ret, char **ret_error)
{
	_cleanup_free_ char *path = path_of(directory, STORE_FILE);
	int r;

	if (!path)
		return -ENOMEM;
	r = store_check_there(directory, ret_error);
	return r < 0 ? r : inspect(path, flags_to_read(directory), ret, ret_error);
}

/* A raw copy of a store in use is only half of it without its log, and is not taken for a backup. */
static int refuse_log(const char *file, char **ret_error)
{
	static const char *const suffixes[] = { "-wal", "-journal" };
	struct stat st;
	bool there = false;

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		_cleanup_free_ char *log = beside(file, suffixes[i]);

		if (!log)
			return -ENOMEM;
		there |= stat(log, &st) == 0 && st.st_size > 0;
	}
	if (!there)
		return 0;
	return store_fail(ret_error, -EBADMSG,
		"%s has a log beside it, so it is no backup but a copy of a store in use: put both as "
		STORE_FILE " and " STORE_FILE "-wal (or -journal) into a directory of their own, and say "
		"flocker-control backup FILE --data-path DIRECTORY", file);
}

static void put_uri(const char *file, char *buf, size_t size)
{
	size_t n = (size_t)snprintf(buf, size, "file:");

	for (; *file && n + 32 < size; file++)
		n += (size_t)snprintf(buf + n, size - n, strchr("?#%", *file) ? "%%%02X" : "%c",
			(unsigned char)*file);
	snprintf(buf + n, size - n, "?immutable=1");
}

int store_inspect_file(const char *file, struct store_facts *ret, char **ret_error)
{
	_cleanup_(db_closep) sqlite3 *db = NULL;
	char uri[4 * 4096];
	int r;

	r = refuse_log(file, ret_error);
	if (r < 0)
		return r;
	if (access(file, R_OK) < 0)
		return store_fail(ret_error, -errno, "%s cannot be read: %s", file, strerror(errno));
	/* Nothing is made beside it, as the first look at a file in the mode of a log would. */
	put_uri(file, uri, sizeof(uri));
	r = db_errno(NULL, sqlite3_open_v2(uri, &db,
		SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, NULL));
	if (r == 0) {
		bool is_new = false;

		r = store_check_identity(db, file, &is_new, ret_error);
		if (r == 0 && is_new)
			r = store_fail(ret_error, -EBADMSG, "%s holds nothing", file);
		if (r == 0)
			r = store_check_whole(db, file, ret_error);
		return r < 0 ? r : read_facts(db, file, ret, ret_error);
	}
	return store_explain(file, NULL, r, ret_error);
}

/* Some filesystems cannot refuse to replace; there the caller's look before has to do. */
static int rename_to(const char *from, const char *to, bool replace)
{
	if (!replace && renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (!replace && errno != EINVAL && errno != ENOSYS)
		return -errno;
	return rename(from, to) < 0 ? -errno : 0;
}

/* ---- backup ---- */

static int sync_parent(const char *file)
{
	const char *slash = strrchr(file, '/');
	_cleanup_free_ char *parent = slash ? strndup(file, (size_t)MAX(slash - file, 1)) : strdup(".");

	return parent ? store_sync_directory(parent) : -ENOMEM;
}

static int copy_into(const char *directory, const char *file, char **ret_error)
{
	_cleanup_free_ char *path = path_of(directory, STORE_FILE);
	_cleanup_(db_closep) sqlite3 *db = NULL;
	sqlite3_stmt *stmt = NULL;
	int r, rc;

	if (!path)
		return -ENOMEM;
	r = store_check_there(directory, ret_error);
	if (r == 0)
		r = open_store(path, flags_to_read(directory), &db, ret_error);
	if (r < 0)
		return r;
	/* One long read: the log grows meanwhile, and nobody waits. */
	rc = sqlite3_prepare_v2(db, "VACUUM INTO ?1", -1, &stmt, NULL);
	if (rc == SQLITE_OK) {
		sqlite3_bind_text(stmt, 1, file, -1, SQLITE_STATIC);
		rc = sqlite3_step(stmt);
	}
	r = db_errno(db, rc);
	if (r < 0)
		r = store_fail(ret_error, r, "%s cannot be copied to %s: %s", path, file,
			sqlite3_errmsg(db));
	sqlite3_finalize(stmt);
	return r;
}

static int publish(int fd, const char *temporary, const char *file, bool replace, char **ret_error)
{
	int r;

	r = fsync(fd) < 0 ? -errno : 0;
	if (r == 0)
		r = rename_to(temporary, file, replace);
	if (r == 0)
		r = sync_parent(file);
	if (r == -EEXIST)
		return store_fail(ret_error, r, EXISTS, file);
	return r < 0 ? store_fail(ret_error, r, "%s cannot be written: %s", file, strerror(-r)) : 0;
}

int store_backup(const char *directory, const char *file, bool replace, struct store_facts *ret,
	char **ret_error)
{
	_cleanup_free_ char *temporary = NULL;
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	int r;

	if (lstat(file, &st) == 0 && !S_ISREG(st.st_mode))
		return store_fail(ret_error, -EINVAL, "%s is no regular file: choose another name", file);
	if (!replace && access(file, F_OK) == 0)
		return store_fail(ret_error, -EEXIST, EXISTS, file);
	if (asprintf(&temporary, "%s.XXXXXX", file) < 0) {
		temporary = NULL;
		return -ENOMEM;
	}
	fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
	if (fd < 0)
		return store_fail(ret_error, -errno, "%s cannot be written: %s", file, strerror(errno));
	r = copy_into(directory, temporary, ret_error);
	if (r == 0)
		r = store_inspect_file(temporary, ret, ret_error);
	if (r == 0)
		r = publish(fd, temporary, file, replace, ret_error);
	if (r < 0)
		(void)unlink(temporary);
	return r;
}

/* ---- recover ---- */

static int begin_incarnation(const char *path, uint64_t above, uint64_t clock_s,
	struct store_facts *ret, char **ret_error)
{
	_cleanup_(db_closep) sqlite3 *db = NULL;
	struct store_facts f;
	int r;

	r = open_store(path, SQLITE_OPEN_READWRITE, &db, ret_error);
	if (r == 0)
		r = read_facts(db, path, &f, ret_error);
	if (r < 0)
		return r;
	f.incarnation = MAX(MAX(f.incarnation, above) + 1, clock_s);
	if ((r = db_exec(db, "PRAGMA synchronous=EXTRA")) < 0 ||
		(r = db_meta_set(db, STORE_META_INCARNATION, f.incarnation)) < 0)
		return store_explain(path, db, r, ret_error);
	*ret = f;
	return 0;
}

static int copy_file(int from, int to)
{
	off_t at = 0;
	ssize_t n;

	do {
		n = sendfile(to, from, &at, 1 << 20);
	} while (n > 0);
	return n < 0 || fsync(to) < 0 ? -errno : 0;
}

/* With what an interrupted change of it left, which would be taken for the next one's. */
static int remove_new(const char *path)
{
	static const char *const suffixes[] = { "", "-journal", "-wal", "-shm" };

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		_cleanup_free_ char *name = beside(path, suffixes[i]);

		if (!name)
			return -ENOMEM;
		if (unlink(name) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

/* The backup beside the store, already of its new incarnation. */
static int make_new(const char *directory, const char *path, int backup_fd, uint64_t clock_s,
	struct store_facts *ret, char **ret_error)
{
	_cleanup_close_ int fd = -EBADF;
	_cleanup_free_ char *ignored = NULL;
	struct store_facts old = { 0 };
	int r;

	r = remove_new(path);
	if (r < 0)
		return store_explain(path, NULL, r, ret_error);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	r = fd < 0 ? -errno : copy_file(backup_fd, fd);
	if (r < 0)
		return store_explain(path, NULL, r, ret_error);
	/* What is there may be anything; when it can be read, its nodes may know its number. */
	(void)store_inspect(directory, &old, &ignored);
	r = begin_incarnation(path, old.incarnation, clock_s, ret, ret_error);
	if (r == 0 && (fsync(fd) < 0 || (r = store_sync_directory(directory)) < 0))
		r = store_explain(path, NULL, r ?: -errno, ret_error);
	return r;
}

static int rename_if_there(const char *from, const char *to)
{
	int r = rename_to(from, to, false);

	return r == -ENOENT ? 0 : r;
}

/* The file first: without it its logs are nothing that anybody would start on. */
static int put_aside(const char *path, char **ret_kept)
{
	static const char *const logs[] = { "-wal", "-journal" };
	_cleanup_free_ char *kept = NULL, *shm = NULL;
	char date[32];
	time_t now = time(NULL);
	struct tm tm;
	bool there;
	int r;

	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%Y%m%dT%H%M%SZ", &tm);
	if (asprintf(&kept, "%s.kept-%s", path, date) < 0 || asprintf(&shm, "%s-shm", path) < 0)
		return -ENOMEM;
	there = access(path, F_OK) == 0;
	r = rename_if_there(path, kept);
	for (size_t i = 0; i < ARRAY_SIZE(logs) && r == 0; i++) {
		_cleanup_free_ char *log = beside(path, logs[i]), *kept_log = beside(kept, logs[i]);

		if (!log || !kept_log)
			return -ENOMEM;
		r = rename_if_there(log, kept_log);
	}
	if (r < 0)
		return r;
	(void)unlink(shm); /* made anew from the log */
	*ret_kept = there ? TAKE_PTR(kept) : NULL;
	return 0;
}

static int restore(const char *directory, const char *path, int backup_fd, uint64_t clock_s,
	struct store_facts *ret, char **ret_kept, char **ret_error)
{
	_cleanup_free_ char *new = path_of(directory, NEW_FILE);
	int r;

	if (!new)
		return -ENOMEM;
	r = make_new(directory, new, backup_fd, clock_s, ret, ret_error);
	if (r < 0) {
		(void)remove_new(new);
		return r;
	}
	r = store_mark(directory);
	if (r == 0)
		r = put_aside(path, ret_kept);
	if (r == 0 && rename(new, path) < 0)
		r = -errno;
	if (r == 0)
		r = store_sync_directory(directory);
	return r < 0 ? store_explain(path, NULL, r, ret_error) : 0;
}

int store_recover(const char *directory, int backup_fd, uint64_t clock_s, struct store_facts *ret,
	char **ret_kept, char **ret_error)
{
	_cleanup_free_ char *path = path_of(directory, STORE_FILE);
	_cleanup_close_ int lock = -EBADF;
	int r;

	if (!path)
		return -ENOMEM;
	r = store_lock(directory, &lock);
	if (r == -EBUSY)
		return store_fail(ret_error, r,
			"%s is in use by flocker-control: stop it first", directory);
	if (r < 0)
		return store_explain(path, NULL, r, ret_error);
	if (backup_fd >= 0)
		return restore(directory, path, backup_fd, clock_s, ret, ret_kept, ret_error);
	r = store_check_there(directory, ret_error);
	return r < 0 ? r : begin_incarnation(path, 0, clock_s, ret, ret_error);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite's dialect, and the checks before a store is believed. */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "store_private.h"
#include "text.h"

#define STORE_SIZE_LEAST 512 /* of a page; SQLite takes what is shorter for empty */
#define STORE_PAGE 4096 /* as Debian's SQLite makes them */

/* ---- SQLite's dialect ---- */

int db_errno(sqlite3 *db, int rc)
{
	int saved = db ? sqlite3_system_errno(db) : 0;

	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_PERM:
		return -EACCES;
	case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_CORRUPT:
		return -EUCLEAN;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_CANTOPEN:
	case SQLITE_IOERR:
		return saved == ENOSPC || saved == EDQUOT || saved == EROFS || saved == EACCES
			       ? -saved
			       : -EIO;
	default:
		return -EIO;
	}
}

int db_exec(sqlite3 *db, const char *sql)
{
	return db_errno(db, sqlite3_exec(db, sql, NULL, NULL, NULL));
}

int db_number(sqlite3 *db, const char *sql, int64_t *ret)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return db_errno(db, rc);
}

int db_meta_get(sqlite3 *db, const char *name, uint64_t *ret)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db, "SELECT value FROM meta WHERE name = ?1", -1, &stmt, NULL);

	if (rc == SQLITE_OK) {
		sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
		rc = sqlite3_step(stmt);
	}
	if (rc == SQLITE_ROW)
		*ret = (uint64_t)sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? -ENOENT : db_errno(db, rc);
}

int db_meta_set(sqlite3 *db, const char *name, uint64_t value)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db,
		"INSERT INTO meta (name, value) VALUES (?1, ?2) "
		"ON CONFLICT (name) DO UPDATE SET value = ?2", -1, &stmt, NULL);

	if (rc == SQLITE_OK) {
		sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
		sqlite3_bind_int64(stmt, 2, (sqlite3_int64)value);
		rc = sqlite3_step(stmt);
	}
	sqlite3_finalize(stmt);
	return db_errno(db, rc);
}

/* ---- words ---- */

int store_fail(char **ret_error, int err, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = text_fail(ret_error, err, fmt, ap);
	va_end(ap);
	return r;
}

/* The way out for the store itself; a backup has none. */
static int explain_damage(const char *path, int r, const char *what, char **ret_error)
{
	const char *slash = strrchr(path, '/');

	if (!slash || !STREQ(slash + 1, STORE_FILE))
		return store_fail(ret_error, r, "%s %s", path, what);
	return store_fail(ret_error, r, "%s %s: put the right one back, or restore a backup: "
		"flocker-control recover --data-path %.*s --from FILE", path, what, (int)(slash - path), path);
}

int store_explain(const char *path, sqlite3 *db, int r, char **ret_error)
{
	switch (r) {
	case -EBUSY:
		return store_fail(ret_error, r, "%s is in use: another program reads or writes it", path);
	case -ENOENT:
		return store_fail(ret_error, r, "%s does not exist", path);
	case -EBADMSG:
		return explain_damage(path, r, "is not a database of flocker-control", ret_error);
	case -EUCLEAN:
		return explain_damage(path, r, "is damaged", ret_error);
	case -ENOSPC:
	case -EDQUOT:
		return store_fail(ret_error, r, "%s cannot be written, the disk is full: make room", path);
	case -EROFS:
		return store_fail(ret_error, r,
			"%s cannot be written: it or its filesystem is read-only", path);
	case -EACCES:
		return store_fail(ret_error, r,
			"%s cannot be opened: give it and its directory to the user "
			"that flocker-control runs as", path);
	default:
		return store_fail(ret_error, r, "%s cannot be opened: %s", path,
			db ? sqlite3_errmsg(db) : strerror(-r));
	}
}

/* ---- the data path ---- */

int store_lock(const char *directory, int *ret_fd)
{
	_cleanup_close_ int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int store_sync_directory(const char *directory)
{
	_cleanup_close_ int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* In bytes; -1 when there is no such file. */
static off_t size_of(const char *directory, const char *name)
{
	_cleanup_free_ char *path = NULL;
	struct stat st;

	if (asprintf(&path, "%s/%s", directory, name) < 0) {
		path = NULL;
		return -1;
	}
	return stat(path, &st) < 0 ? -1 : st.st_size;
}

/* Which its first bytes say: https://www.sqlite.org/fileformat2.html, 1.3 */
static bool is_database(const char *directory)
{
	static const char magic[16] = "SQLite format 3";
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -EBADF;
	char head[sizeof(magic)];

	if (asprintf(&path, "%s/" STORE_FILE, directory) < 0) {
		path = NULL;
		return false;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, head, sizeof(head)) == sizeof(head) && memcmp(head, magic, sizeof(magic)) == 0;
}

bool store_is_marked(const char *directory)
{
	return size_of(directory, STORE_MARK) >= 0;
}

int store_check_there(const char *directory, char **ret_error)
{
	off_t size = size_of(directory, STORE_FILE);
	bool marked = store_is_marked(directory), log = size_of(directory, STORE_FILE "-wal") > 0;

	/* Whole pages, unless what is missing of the last one is in the log. SQLite would take it for zeros. */
	if (size > 0 && (size < STORE_SIZE_LEAST || (size % STORE_PAGE && !log && is_database(directory))))
		return store_fail(ret_error, -EUCLEAN,
			"%s/" STORE_FILE " is damaged, its end is missing: restore a backup: "
			"flocker-control recover --data-path %s --from FILE", directory, directory);
	if (size > 0 || (!marked && !log))
		return 0;
	return store_fail(ret_error, -EUCLEAN,
		"%s/" STORE_FILE " is %s, and there was a store: put it back, or restore a backup: "
		"flocker-control recover --data-path %s --from FILE (to begin an empty cluster, choose "
		"another --data-path)", directory, size < 0 ? "missing" : "empty", directory);
}

int store_mark(const char *directory)
{
	static const char text[] = "A store was made here; flocker-control never makes an empty one in "
				   "its place.\n";
	_cleanup_close_ int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;

	if (dir < 0)
		return -errno;
	fd = openat(dir, STORE_MARK, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return errno == EEXIST ? 0 : -errno;
	/* That it is there says all. */
	(void)!write(fd, text, strlen(text));
	return fsync(fd) < 0 || fsync(dir) < 0 ? -errno : 0;
}

/* ---- the database ---- */

int store_check_identity(sqlite3 *db, const char *path, bool *ret_new, char **ret_error)
{
	int64_t application = 0, version = 0, tables = 0;
	int r;

	if ((r = db_number(db, "PRAGMA application_id", &application)) < 0 ||
		(r = db_number(db, "PRAGMA user_version", &version)) < 0 ||
		(r = db_number(db, "SELECT count(*) FROM sqlite_schema", &tables)) < 0)
		return store_explain(path, db, r, ret_error);
	*ret_new = application == 0 && version == 0 && tables == 0;
	if (*ret_new)
		return 0;
	if (application != STORE_APPLICATION)
		return store_explain(path, db, -EBADMSG, ret_error);
	if (version > STORE_VERSION)
		return store_fail(ret_error, -EBADMSG,
			"%s was written by a newer flocker-control (format %lld, "
			"this one knows %d): start the newer one",
			path, (long long)version, STORE_VERSION);
	return 0;
}

int store_check_whole(sqlite3 *db, const char *path, char **ret_error)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &stmt, NULL), r;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	r = rc == SQLITE_ROW && !STREQ((const char *)sqlite3_column_text(stmt, 0) ?: "", "ok") ?
		-EUCLEAN : db_errno(db, rc);
	sqlite3_finalize(stmt);
	return r < 0 ? store_explain(path, db, r, ret_error) : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_sqlite.c - the embedded store: one SQLite file, written by one thread of its own.
 *
 *   loop:   store_commit() -> waiting            told <- results
 *   thread:                   waiting -> transaction -> results
 *
 * The write-ahead log is synced at each commit. Who has the data path holds a lock on the directory;
 * the file itself can be read beside us, for backups.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "store_private.h"

#define BUSY_MS 5000 /* a reader that starts or ends may need the file for a moment */

struct change {
	struct change *next;
	char *key, *value; /* value NULL: delete */
};

struct store_batch {
	struct store_batch *next;
	struct change *first, **last;
	void (*done)(int r, void *userdata);
	void *userdata;
	int result;
	uint64_t revision;
};

struct queue {
	struct store_batch *first, **last;
};

/* The revisions from one opening of the store to the next. */
struct line {
	struct id128 id;
	uint64_t from;
};

struct store {
	sqlite3 *db; /* the thread's while it runs */
	sqlite3_stmt *begin, *commit, *rollback, *put, *del, *meta;
	char *path;
	struct event *event;
	int eventfd, lock_fd;
	struct line *lines; /* oldest first; the last is ours */
	size_t n_lines;
	uint64_t revision; /* told */
	size_t untold;	   /* batches given and not yet told; the loop's */
	uint64_t written;  /* revision in the file; the thread's */
	bool running;
	pthread_t thread;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t wake;
	struct queue waiting, results;
	int failed; /* while set, batches fail with it untried */
	bool stop;
};

/* ---- batches ---- */

struct store_batch *store_batch_free(struct store_batch *b)
{
	if (!b)
		return NULL;
	for (struct change *c = b->first, *next; c; c = next) {
		next = c->next;
		free(c->key);
		free(c->value);
		free(c);
	}
	free(b);
	return NULL;
}

struct store_batch *store_batch_new(void)
{
	struct store_batch *b = calloc(1, sizeof(*b));

	if (b)
		b->last = &b->first;
	return b;
}

static int batch_add(struct store_batch *b, const char *key, const char *value)
{
	struct change *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->key = strdup(key);
	c->value = value ? strdup(value) : NULL;
	if (!c->key || (value && !c->value)) {
		free(c->key);
		free(c->value);
		free(c);
		return -ENOMEM;
	}
	*b->last = c;
	b->last = &c->next;
	return 0;
}

int store_batch_put(struct store_batch *b, const char *key, const char *value)
{
	return batch_add(b, key, value);
}

int store_batch_delete(struct store_batch *b, const char *key)
{
	return batch_add(b, key, NULL);
}

static void queue_init(struct queue *q)
{
	q->first = NULL;
	q->last = &q->first;
}

static void queue_push(struct queue *q, struct store_batch *b)
{
	b->next = NULL;
	*q->last = b;
	q->last = &b->next;
}

static struct store_batch *queue_take_all(struct queue *q)
{
	struct store_batch *first = q->first;

	queue_init(q);
	return first;
}

/* ---- the thread ---- */

/* Runs a statement that returns no rows and makes it ready for the next time. */
static int stmt_run(sqlite3_stmt *stmt)
{
	int rc = sqlite3_step(stmt);
	int r = db_errno(sqlite3_db_handle(stmt), rc);

	(void)sqlite3_reset(stmt);
	return r;
}

static int write_meta(struct store *s, const char *name, uint64_t value)
{
	sqlite3_bind_text(s->meta, 1, name, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s->meta, 2, (sqlite3_int64)value);
	return stmt_run(s->meta);
}

static int write_batch(struct store *s, const struct store_batch *b, uint64_t revision)
{
	int r;

	for (const struct change *c = b->first; c; c = c->next) {
		sqlite3_stmt *stmt = c->value ? s->put : s->del;

		sqlite3_bind_text(stmt, 1, c->key, -1, SQLITE_STATIC);
		if (c->value) {
			sqlite3_bind_text(stmt, 2, c->value, -1, SQLITE_STATIC);
			sqlite3_bind_int64(stmt, 3, (sqlite3_int64)revision);
		}
		r = stmt_run(stmt);
		if (r < 0)
			return r;
	}
	return 0;
}

static int write_transaction(struct store *s, struct store_batch *group)
{
	uint64_t revision = s->written;
	int r;

	r = stmt_run(s->begin);
	if (r < 0)
		return r;
	for (struct store_batch *b = group; b && r == 0; b = b->next) {
		b->revision = ++revision;
		r = write_batch(s, b, revision);
	}
	if (r == 0)
		r = write_meta(s, STORE_REVISION, revision);
	if (r == 0)
		r = stmt_run(s->commit);
	if (r < 0) {
		/* After some errors SQLite has rolled back by itself. */
		if (!sqlite3_get_autocommit(s->db))
			(void)stmt_run(s->rollback);
		return r;
	}
	s->written = revision;
	return 0;
}

static void post(struct store *s, struct store_batch *group, int result)
{
	uint64_t one = 1;

	for (struct store_batch *b = group, *next; b; b = next) {
		next = b->next;
		b->result = result;
		queue_push(&s->results, b);
	}
	if (write(s->eventfd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN); /* it is set already */
}

static void *on_thread(void *userdata)
{
	struct store *s = userdata;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct store_batch *group;
		int r;

		while (!s->waiting.first && !s->stop)
			pthread_cond_wait(&s->wake, &s->lock);
		if (!s->waiting.first)
			break;
		group = queue_take_all(&s->waiting);
		r = s->failed;
		if (r == 0) {
			pthread_mutex_unlock(&s->lock);
			r = write_transaction(s, group);
			pthread_mutex_lock(&s->lock);
			s->failed = r;
		}
		post(s, group, r);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ---- the loop ---- */

static void on_results(evutil_socket_t fd, short what, void *userdata)
{
	struct store *s = userdata;
	struct store_batch *list;
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&s->lock);
	list = queue_take_all(&s->results);
	pthread_mutex_unlock(&s->lock);
	for (struct store_batch *b = list, *next; b; b = next) {
		next = b->next;
		s->untold--;
		if (b->result == 0)
			s->revision = b->revision;
		b->done(b->result, b->userdata);
		store_batch_free(b);
	}
}

void store_commit(struct store *s, struct store_batch *b, void (*done)(int r, void *userdata),
	void *userdata)
{
	b->done = done;
	b->userdata = userdata;
	pthread_mutex_lock(&s->lock);
	if (s->untold == 0)
		s->failed =
			0; /* everybody knows of the failure: what comes now builds on the truth */
	s->untold++;
	queue_push(&s->waiting, b);
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

uint64_t store_revision(const struct store *s)
{
	return s->revision;
}

/* ---- the file ---- */

/* Made by us, so that its mode is right from the first moment. */
static int make_file(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return errno == EISDIR || errno == ELOOP ? -EBADMSG : -errno;
	return fchmod(fd, 0600) < 0 && errno != EPERM ? -errno : 0;
}

static int create_tables(struct store *s)
{
	char sql[512];

	snprintf(sql, sizeof(sql),
		"BEGIN;"
		"CREATE TABLE record (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER "
		"NOT NULL)"
		" WITHOUT ROWID;"
		"CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
		"PRAGMA application_id=%d;"
		"PRAGMA user_version=%d;"
		"COMMIT;",
		STORE_APPLICATION, STORE_VERSION);
	return db_exec(s->db, sql);
}

static int prepare_statements(struct store *s)
{
	const struct {
		sqlite3_stmt **stmt;
		const char *sql;
	} all[] = {
		{ &s->begin, "BEGIN IMMEDIATE" },
		{ &s->commit, "COMMIT" },
		{ &s->rollback, "ROLLBACK" },
		{ &s->put, "INSERT INTO record (key, value, revision) VALUES (?1, ?2, ?3) "
			   "ON CONFLICT (key) DO UPDATE SET value = ?2, revision = ?3" },
		{ &s->del, "DELETE FROM record WHERE key = ?1" },
		{ &s->meta, "INSERT INTO meta (name, value) VALUES (?1, ?2) "
			    "ON CONFLICT (name) DO UPDATE SET value = ?2" },
	};
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		r = db_errno(s->db, sqlite3_prepare_v3(s->db, all[i].sql, -1,
					    SQLITE_PREPARE_PERSISTENT, all[i].stmt, NULL));
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- lines ---- */

static int add_line(struct store *s, struct id128 id, uint64_t from)
{
	struct line *lines = reallocarray(s->lines, s->n_lines + 1, sizeof(*lines));

	if (!lines)
		return -ENOMEM;
	s->lines = lines;
	s->lines[s->n_lines++] = (struct line){ id, from };
	return 0;
}

static int load_lines(struct store *s)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(s->db, "SELECT substr(name, 15), value FROM meta "
		"WHERE name >= 'line ' AND name < 'line~' ORDER BY name", -1, &stmt, NULL);
	int r = 0;

	while (rc == SQLITE_OK && r == 0) {
		struct id128 id;

		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW)
			break;
		r = id128_parse((const char *)sqlite3_column_text(stmt, 0) ?: "", &id);
		if (r == 0)
			r = add_line(s, id, (uint64_t)sqlite3_column_int64(stmt, 1));
		rc = SQLITE_OK;
	}
	r = r ?: db_errno(s->db, rc);
	sqlite3_finalize(stmt);
	return r;
}

/* Durable before anybody is told a revision of it. */
static int begin_line(struct store *s)
{
	struct id128 id;
	char name[64];
	int r;

	r = load_lines(s);
	if (r == 0)
		r = id128_random(&id);
	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "line %08zx %s", s->n_lines, ID128_STR(id));
	r = db_meta_set(s->db, name, s->written + 1);
	return r < 0 ? r : add_line(s, id, s->written + 1);
}

struct id128 store_line(const struct store *s)
{
	return s->lines[s->n_lines - 1].id;
}

uint64_t store_line_end(const struct store *s, struct id128 line)
{
	if (id128_is_nil(line))
		return s->revision;
	for (size_t i = s->n_lines; i-- > 0;)
		if (id128_equal(s->lines[i].id, line))
			return i + 1 < s->n_lines ? s->lines[i + 1].from - 1 : s->revision;
	return 0;
}

/* ---- opening ---- */

static int open_file(struct store *s, const char *directory, char **ret_error)
{
	int r;

	r = store_check_there(directory, ret_error);
	if (r < 0)
		return r;
	r = make_file(s->path);
	if (r < 0)
		return store_explain(s->path, NULL, r, ret_error);
	r = db_errno(NULL, sqlite3_open_v2(s->path, &s->db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL));
	if (r < 0)
		return store_explain(s->path, NULL, r, ret_error);
	(void)sqlite3_busy_timeout(s->db, BUSY_MS);
	return 0;
}

/* Nothing is written before it is known to be ours and whole. */
static int believe(struct store *s, const char *directory, bool *ret_new, char **ret_error)
{
	int r;

	r = store_check_identity(s->db, s->path, ret_new, ret_error);
	if (r < 0)
		return r;
	if (!*ret_new)
		return store_check_whole(s->db, s->path, ret_error);
	return store_is_marked(directory) ? store_explain(s->path, s->db, -EUCLEAN, ret_error) : 0;
}

static int open_database(struct store *s, const char *directory, char **ret_error)
{
	bool is_new = false;
	int r;

	r = open_file(s, directory, ret_error);
	if (r == 0)
		r = believe(s, directory, &is_new, ret_error);
	if (r < 0)
		return r;
	if ((r = db_exec(s->db, "PRAGMA journal_mode=WAL")) < 0 ||
		(r = db_exec(s->db, "PRAGMA synchronous=FULL")) < 0 ||
		(is_new && (r = create_tables(s)) < 0) || (r = prepare_statements(s)) < 0 ||
		(r = store_sync_directory(directory)) < 0 || (r = store_mark(directory)) < 0)
		return store_explain(s->path, s->db, r, ret_error);
	r = db_meta_get(s->db, STORE_REVISION, &s->written);
	if (r == 0 || r == -ENOENT)
		r = begin_line(s);
	if (r < 0)
		return store_explain(s->path, s->db, r, ret_error);
	s->revision = s->written;
	return 0;
}

static int lock(struct store *s, const char *directory, char **ret_error)
{
	int r = store_lock(directory, &s->lock_fd);

	if (r == -EBUSY)
		return store_fail(ret_error, r,
			"%s is in use: another flocker-control runs on this data path; "
			"stop it, or give this one its own --data-path", directory);
	return r < 0 ? store_explain(s->path, NULL, r, ret_error) : 0;
}

static int start_thread(struct store *s)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop's */
	r = pthread_create(&s->thread, NULL, on_thread, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return -r;
	s->running = true;
	return 0;
}

struct store *store_close(struct store *s)
{
	if (!s)
		return NULL;
	if (s->running) {
		pthread_mutex_lock(&s->lock);
		s->stop = true;
		pthread_cond_signal(&s->wake);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->thread, NULL);
	}
	for (struct store_batch *b = s->results.first, *next; b; b = next) {
		next = b->next;
		store_batch_free(b);
	}
	if (s->event)
		event_free(s->event);
	close_keep_errno(s->eventfd);
	free(s->lines);
	for (size_t i = 0; i < 6; i++)
		sqlite3_finalize((sqlite3_stmt *[]){
			s->begin, s->commit, s->rollback, s->put, s->del, s->meta }[i]);
	sqlite3_close(s->db);
	close_keep_errno(s->lock_fd); /* not before: the log goes into the file at the end */
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s->path);
	free(s);
	return NULL;
}
DEFINE_CLEANUP(struct store *, store_close);

int store_open(struct event_base *base, const char *directory, struct store **ret,
	char **ret_error)
{
	_cleanup_(store_closep) struct store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->lock_fd = -EBADF;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	queue_init(&s->waiting);
	queue_init(&s->results);
	s->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->eventfd < 0)
		return store_fail(ret_error, -errno, "cannot make an eventfd: %s", strerror(errno));
	if (asprintf(&s->path, "%s/%s", directory, STORE_FILE) < 0) {
		s->path = NULL;
		return -ENOMEM;
	}
	r = lock(s, directory, ret_error);
	if (r == 0)
		r = open_database(s, directory, ret_error);
	if (r < 0)
		return r;
	s->event = event_new(base, s->eventfd, EV_READ | EV_PERSIST, on_results, s);
	if (!s->event || event_add(s->event, NULL) < 0)
		return -ENOMEM;
	r = start_thread(s);
	if (r < 0)
		return store_fail(ret_error, r, "cannot start the store's thread: %s", strerror(-r));
	*ret = TAKE_PTR(s);
	return 0;
}

/* ---- at the start; the thread is idle ---- */

int store_meta_get(struct store *s, const char *name, uint64_t *ret)
{
	return db_meta_get(s->db, name, ret);
}

int store_meta_set(struct store *s, const char *name, uint64_t value)
{
	assert(s->untold == 0);
	return write_meta(s, name, value); /* a statement alone is a transaction */
}

int store_load(struct store *s, int (*fn)(const char *key, const char *value, void *userdata),
	void *userdata)
{
	sqlite3_stmt *stmt = NULL;
	int rc, r = 0;

	assert(s->untold == 0);
	rc = sqlite3_prepare_v2(
		s->db, "SELECT key, value FROM record ORDER BY key", -1, &stmt, NULL);
	while (rc == SQLITE_OK && r == 0) {
		rc = sqlite3_step(stmt);
		if (rc != SQLITE_ROW)
			break;
		r = fn((const char *)sqlite3_column_text(stmt, 0),
			(const char *)sqlite3_column_text(stmt, 1), userdata);
		rc = SQLITE_OK;
	}
	r = r ?: db_errno(s->db, rc);
	sqlite3_finalize(stmt);
	return r;
}

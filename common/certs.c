/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>

#include "certs.h"
#include "log.h"

#define SETTLE_MS 500 /* a pair is two files */
#define LOOK_AGAIN_S 3600
#define DAY_S 86400
#define WATCHED                                                                                    \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_MOVE_SELF)

enum { FILE_CA, FILE_CERT, FILE_KEY, FILE_CRL, FILE_MAX };

/* A file as it was when it was looked at; all zero: it was not there. */
struct stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

/* What was said of one date. */
struct told {
	int64_t end_s;
	unsigned int warnings;
};

struct certs {
	struct certs_config c;
	char *paths[FILE_MAX], *directory;
	struct stamp stamps[FILE_MAX]; /* of what was tried last */
	bool listed; /* there was a list of revoked ones */
	int inotify, watch;
	struct event *changed, *hangup, *settled, *look;
	struct told cert, ca, crl;
};

/* ---- dates ---- */

static void moment_text(int64_t s, char *buf, size_t size)
{
	time_t t = (time_t)s;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(buf, size, "%F %T UTC", &tm) == 0)
		snprintf(buf, size, "an unknown day");
}

/* How many of the warnings are due, so that each is given once; @ret_next_s: until the next. */
static unsigned int warnings_due(int64_t left_s, int64_t *ret_next_s)
{
	static const int64_t days[] = { 30, 7, 1, 0 };
	unsigned int due = 0;

	while (due < ARRAY_SIZE(days) && left_s <= days[due] * DAY_S)
		due++;
	*ret_next_s = due < ARRAY_SIZE(days) ? left_s - days[due] * DAY_S : INT64_MAX;
	return due;
}

static void say(bool over, const char *file, const char *what, int64_t left_s, int64_t end_s,
	const char *consequence)
{
	static const struct log_context ctx = { .message_id = MESSAGE_CERTIFICATE_ENDS };
	int64_t days = (left_s + DAY_S - 1) / DAY_S;
	char when[64];

	moment_text(end_s, when, sizeof(when));
	if (over)
		log_context_full(&ctx, LOG_ERR, 0, "%s, %s, expired on %s: %s", what, file, when,
			consequence);
	else
		log_context_full(&ctx, LOG_WARNING, 0, "%s, %s, expires within %lld day%s, on %s: renew it "
			"before; what is put in its place is taken without a restart", what, file,
			(long long)days, days == 1 ? "" : "s", when);
}

/* Returns when to look again, in seconds. */
static int64_t check_date(struct told *told, int64_t end_s, int64_t now_s, const char *file,
	const char *what, const char *consequence)
{
	unsigned int due;
	int64_t next_s;

	if (told->end_s != end_s)
		*told = (struct told){ .end_s = end_s };
	if (!end_s)
		return INT64_MAX;
	due = warnings_due(end_s - now_s, &next_s);
	if (due > told->warnings)
		say(now_s >= end_s, file, what, end_s - now_s, end_s, consequence);
	told->warnings = MAX(told->warnings, due);
	return next_s;
}

/* Whoever makes lists often makes them for days, so only the end of one is worth a word. */
static int64_t check_list(struct certs *c, int64_t end_s, int64_t now_s)
{
	char when[64];

	if (c->crl.end_s != end_s)
		c->crl = (struct told){ .end_s = end_s };
	if (!end_s || c->crl.warnings)
		return INT64_MAX;
	if (now_s < end_s)
		return end_s - now_s;
	moment_text(end_s, when, sizeof(when));
	(void)log_warning(0, "%s should have been replaced by %s: whoever is on it stays refused, and who was "
		"revoked since then is not on it", c->paths[FILE_CRL], when);
	c->crl.warnings = 1;
	return INT64_MAX;
}

static void check_dates(struct certs *c)
{
	int64_t now_s = time(NULL), next_s = LOOK_AGAIN_S;
	struct tls_dates d;

	tls_dates(c->c.contexts[0], &d);
	next_s = MIN(next_s, check_date(&c->cert, d.cert_s, now_s, c->paths[FILE_CERT],
		"the certificate of this service", "the other side refuses new sessions; those that stand go "
		"on until they break. Put a new one there: no restart is needed"));
	next_s = MIN(next_s, check_date(&c->ca, d.ca_s, now_s, c->paths[FILE_CA],
		"the certificate of the cluster's authority", "whatever it signed is refused in new sessions; "
		"those that stand go on until they break. The cluster needs a new authority"));
	next_s = MIN(next_s, check_list(c, d.crl_s, now_s));
	/* A second later, so that clocks which tick differently agree. */
	(void)event_add(c->look, &(struct timeval){ .tv_sec = (time_t)next_s + 1 });
}

/* ---- files ---- */

/* True when one is another than before. */
static bool take_stamps(struct certs *c)
{
	bool differ = false;

	for (size_t i = 0; i < FILE_MAX; i++) {
		struct stamp now;
		struct stat st;

		memset(&now, 0, sizeof(now)); /* with its padding, for memcmp() */
		if (c->paths[i] && stat(c->paths[i], &st) == 0) {
			now.dev = st.st_dev;
			now.ino = st.st_ino;
			now.size = st.st_size;
			now.mtime = st.st_mtim;
			now.ctime = st.st_ctim;
		}
		differ = differ || memcmp(&now, &c->stamps[i], sizeof(now)) != 0;
		c->stamps[i] = now;
	}
	return differ;
}

/* Whether the contexts hold what the files do. */
static bool take_files(struct certs *c)
{
	_cleanup_free_ char *error = NULL;
	bool was_listed = c->listed;
	int r = tls_reload(&c->c.files, c->c.contexts, &error);

	if (r < 0) {
		(void)log_warning(0, "changed certificates are not taken, and the former go on: %s",
			error ?: strerror(-r));
		memset(c->stamps, 0, sizeof(c->stamps)); /* so that the slow timer tries, and says it, again */
		return false;
	}
	c->listed = c->paths[FILE_CRL] && access(c->paths[FILE_CRL], F_OK) == 0;
	if (was_listed && !c->listed)
		(void)log_warning(0, "%s is gone: no certificate counts as revoked any more",
			c->paths[FILE_CRL]);
	check_dates(c);
	return true;
}

static void reload(struct certs *c)
{
	if (!take_files(c))
		return;
	log_notice("certificates are read anew and in use for new sessions: %s", c->paths[FILE_CERT]);
	if (tls_key_exposed(c->paths[FILE_KEY]))
		(void)log_warning(0, "%s can be read by everybody: chmod o= it", c->paths[FILE_KEY]);
	c->c.on_change(c->c.userdata);
}

static void watch_directory(struct certs *c)
{
	if (c->watch >= 0)
		return;
	c->watch = inotify_add_watch(c->inotify, c->directory, WATCHED | IN_ONLYDIR);
	if (c->watch < 0)
		(void)log_warning(errno, "cannot watch %s: changed certificates are read on SIGHUP only",
			c->directory);
}

static void on_settled(evutil_socket_t fd, short what, void *userdata)
{
	struct certs *c = userdata;

	watch_directory(c);
	if (take_stamps(c))
		reload(c);
}

/* What happened matters little: the files are compared. */
static void on_changed(evutil_socket_t fd, short what, void *userdata)
{
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct certs *c = userdata;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const void *)(buf + at);

			/* Another directory may stand there now, and the watch stays with the former. */
			if (e->mask & IN_MOVE_SELF)
				(void)inotify_rm_watch(c->inotify, e->wd);
			if (e->mask & (IN_MOVE_SELF | IN_IGNORED) && e->wd == c->watch)
				c->watch = -1;
			at += (ssize_t)(sizeof(*e) + e->len);
		}
	if (!event_pending(c->settled, EV_TIMEOUT, NULL))
		(void)event_add(c->settled, &(struct timeval){ .tv_usec = SETTLE_MS * 1000 });
}

static void on_hangup(evutil_socket_t sig, short what, void *userdata)
{
	struct certs *c = userdata;

	watch_directory(c);
	(void)take_stamps(c);
	reload(c);
}

static void on_look(evutil_socket_t fd, short what, void *userdata)
{
	struct certs *c = userdata;

	on_settled(-1, 0, c);
	check_dates(c);
}

/* ---- beginning and end ---- */

static int copy_paths(struct certs *c)
{
	const char *const given[FILE_MAX] = { c->c.files.ca, c->c.files.cert, c->c.files.key,
		c->c.files.crl };
	const char *slash = strrchr(c->c.files.cert, '/');

	for (size_t i = 0; i < FILE_MAX; i++) {
		c->paths[i] = given[i] ? strdup(given[i]) : NULL;
		if (given[i] && !c->paths[i])
			return -ENOMEM;
	}
	c->c.files = (struct tls_files){ c->paths[FILE_CA], c->paths[FILE_CERT], c->paths[FILE_KEY],
		c->paths[FILE_CRL] };
	c->directory = slash ? strndup(given[FILE_CERT], (size_t)(slash - given[FILE_CERT]) + 1) : strdup(".");
	return c->directory ? 0 : -ENOMEM;
}

static struct event *new_event(struct event_base *base, struct certs *c, int fd, short what,
	event_callback_fn fn)
{
	struct event *ev = event_new(base, fd, what, fn, c);

	if (ev)
		(void)event_priority_set(ev, c->c.priority);
	return ev;
}

struct certs *certs_free(struct certs *c)
{
	if (!c)
		return NULL;
	struct event *events[] = { c->changed, c->hangup, c->settled, c->look };
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		if (events[i])
			event_free(events[i]);
	close_keep_errno(c->inotify);
	for (size_t i = 0; i < FILE_MAX; i++)
		free(c->paths[i]);
	free(c->directory);
	free(c);
	return NULL;
}
DEFINE_CLEANUP(struct certs *, certs_free);

int certs_new(struct event_base *base, const struct certs_config *config, struct certs **ret)
{
	_cleanup_(certs_freep) struct certs *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->c = *config;
	c->watch = -1;
	c->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (copy_paths(c) < 0)
		return -ENOMEM;
	c->hangup = new_event(base, c, SIGHUP, EV_SIGNAL | EV_PERSIST, on_hangup);
	c->settled = new_event(base, c, -1, 0, on_settled);
	c->look = new_event(base, c, -1, 0, on_look);
	if (!c->hangup || !c->settled || !c->look || event_add(c->hangup, NULL) < 0)
		return -ENOMEM;
	if (c->inotify >= 0) {
		c->changed = new_event(base, c, c->inotify, EV_READ | EV_PERSIST, on_changed);
		if (!c->changed || event_add(c->changed, NULL) < 0)
			return -ENOMEM;
	}
	/* Watched first, so that nothing changes unseen after it was read. */
	watch_directory(c);
	(void)take_stamps(c);
	if (!take_files(c))
		check_dates(c);
	*ret = TAKE_PTR(c);
	return 0;
}

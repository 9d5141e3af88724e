/* SPDX-License-Identifier: Apache-2.0 */
#include "mountwatch.h"

struct mountwatch {
	struct worker_pool *pool;
	const char *mount_root;
	mountwatch_fn fn;
	void *userdata;
	int fd;
	struct event *event;
	struct scan *scan; /* under way */
	bool again;	   /* the table changed since it began */
};

struct scan {
	struct mountwatch *watch; /* NULL: freed meanwhile */
	const char *mount_root;
	struct vmount_entry *list;
	size_t n;
	int error;
};

static void scan_now(struct mountwatch *w);

static void scan_on_worker(void *arg)
{
	struct scan *s = arg;

	s->error = vmount_list(s->mount_root, &s->list, &s->n);
}

static void scan_done(void *arg)
{
	struct scan *s = arg;
	struct mountwatch *w = s->watch;

	if (w) {
		w->scan = NULL;
		w->fn(s->error, s->error < 0 ? NULL : s->list, s->error < 0 ? 0 : s->n, w->userdata);
		if (w->again)
			scan_now(w);
	}
	free(s->list);
	free(s);
}

static void scan_now(struct mountwatch *w)
{
	struct scan *s;

	w->again = w->scan != NULL;
	if (w->scan)
		return;
	s = calloc(1, sizeof(*s));
	if (s) {
		s->watch = w;
		s->mount_root = w->mount_root;
		if (worker_submit(w->pool, scan_on_worker, scan_done, s) == 0) {
			w->scan = s;
			return;
		}
	}
	free(s);
	w->fn(-ENOMEM, NULL, 0, w->userdata);
}

static void on_mounts(evutil_socket_t fd, short what, void *userdata)
{
	scan_now(userdata);
}

int mountwatch_new(struct event_base *base, int priority, struct worker_pool *pool,
	const char *mount_root, mountwatch_fn fn, void *userdata, struct mountwatch **ret)
{
	struct mountwatch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->pool = pool;
	w->mount_root = mount_root;
	w->fn = fn;
	w->userdata = userdata;
	w->fd = vmount_monitor_fd();
	if (w->fd < 0) {
		r = w->fd;
		mountwatch_free(w);
		return r;
	}
	/* The file is always readable; its changes wake an edge-triggered poll, and only that. */
	w->event = event_new(base, w->fd, EV_READ | EV_PERSIST | EV_ET, on_mounts, w);
	if (!w->event || event_priority_set(w->event, priority) < 0 || event_add(w->event, NULL) < 0) {
		mountwatch_free(w);
		return -ENOMEM;
	}
	*ret = w;
	return 0;
}

struct mountwatch *mountwatch_free(struct mountwatch *w)
{
	if (!w)
		return NULL;
	if (w->scan)
		w->scan->watch = NULL;
	if (w->event)
		event_free(w->event);
	close_keep_errno(w->fd);
	free(w);
	return NULL;
}

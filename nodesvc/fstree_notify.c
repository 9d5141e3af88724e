/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fstree_notify.c - tells the kernel what it may not believe any longer.
 *
 * The loop marks: a bit in an object, or a name that is gone. Marks of one file coalesce, so
 * however long the thread is stuck they cost no memory; names are bounded, and one that is dropped
 * ages out of the kernel's cache by itself. From the marks a short queue is filled, from which the
 * thread sends; when it runs low the thread asks for more. It touches nothing else of the tree.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>

#include "fstree_private.h"

#define QUEUE_MAX 256
#define GONE_MAX 4096
#define LEAVE_MS 1000

struct note {
	uint64_t ino;
	struct fs_gone *gone; /* NULL: the attributes of ino */
};

struct fs_notifier {
	struct fuse_session *session;
	pthread_t thread;
	pthread_mutex_t lock; /* for the rest */
	pthread_cond_t wanted;
	struct note queue[QUEUE_MAX];
	size_t first, count;
	bool more; /* the loop has more than the queue takes */
	bool leave, left;
	int event_fd; /* to the loop: there is room, or the thread has left */
	struct event *event;
};

/* Errors are no news: the kernel never cached it, or the session is over. */
static void send_note(struct fs_notifier *n, struct note *note)
{
	if (!note->gone) {
		fuse_lowlevel_notify_inval_inode(n->session, note->ino, -1, 0);
		return;
	}
	fuse_lowlevel_notify_inval_entry(n->session, note->gone->parent, note->gone->name,
		strlen(note->gone->name));
	free(note->gone);
}

static void tell_loop(struct fs_notifier *n)
{
	eventfd_write(n->event_fd, 1);
}

static void *notifier_main(void *userdata)
{
	struct fs_notifier *n = userdata;
	struct note note;

	pthread_mutex_lock(&n->lock);
	while (!n->leave) {
		if (n->count == 0) {
			pthread_cond_wait(&n->wanted, &n->lock);
			continue;
		}
		note = n->queue[n->first];
		n->first = (n->first + 1) % QUEUE_MAX;
		n->count--;
		if (n->more && n->count <= QUEUE_MAX / 4) {
			n->more = false;
			tell_loop(n);
		}
		pthread_mutex_unlock(&n->lock);
		send_note(n, &note);
		pthread_mutex_lock(&n->lock);
	}
	n->left = true;
	tell_loop(n);
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

/* ---- the loop's side ---- */

static bool push(struct fs_notifier *n, struct note note)
{
	if (n->count == QUEUE_MAX)
		return false;
	n->queue[(n->first + n->count++) % QUEUE_MAX] = note;
	return true;
}

static bool push_object(struct fs_notifier *n, struct fs_object *o)
{
	while (o->dirty != 0) {
		unsigned int idx = (unsigned int)__builtin_ctz(o->dirty);

		if (!push(n, (struct note){ .ino = o->base + idx }))
			return false;
		o->dirty &= ~(1u << idx);
	}
	for (size_t i = 0; i < o->n_keys; i++) {
		struct fs_key *k = &o->keys[i];

		if (k->dirty && !push(n, (struct note){ .ino = o->base + k->idx }))
			return false;
		k->dirty = false;
	}
	return true;
}

/* false: the queue is full before the marks are empty */
static bool push_all(struct fstree *t, struct fs_notifier *n)
{
	struct fs_object *o;
	struct fs_gone *g;

	while ((g = STAILQ_FIRST(&t->gone))) {
		if (!push(n, (struct note){ .gone = g }))
			return false;
		STAILQ_REMOVE_HEAD(&t->gone, list);
		t->n_gone--;
	}
	while ((o = STAILQ_FIRST(&t->dirty))) {
		if (!push_object(n, o))
			return false;
		STAILQ_REMOVE_HEAD(&t->dirty, dirty_list);
		o->queued = false;
	}
	return true;
}

void fs_notify_pump(struct fstree *t)
{
	struct fs_notifier *n = t->notifier;

	if (!n || (STAILQ_EMPTY(&t->gone) && STAILQ_EMPTY(&t->dirty)))
		return;
	pthread_mutex_lock(&n->lock);
	n->more = !push_all(t, n);
	pthread_cond_signal(&n->wanted);
	pthread_mutex_unlock(&n->lock);
}

void fs_notify_attr(struct fstree *t, struct fs_object *o, unsigned int idx)
{
	struct fs_key *k;

	if (idx >= IDX_KEY) {
		k = fs_key_of(o, idx);
		if (!k->known)
			return;
		k->known = false;
		k->dirty = true;
	} else {
		if (!(o->known >> idx & 1))
			return;
		o->known &= ~(1u << idx);
		o->dirty |= 1u << idx;
	}
	if (!o->queued)
		STAILQ_INSERT_TAIL(&t->dirty, o, dirty_list);
	o->queued = true;
}

void fs_notify_entry(struct fstree *t, uint64_t parent, const char *name)
{
	size_t size = strlen(name) + 1;
	struct fs_gone *g;

	if (!t->notifier || t->n_gone >= GONE_MAX)
		return;
	g = malloc(sizeof(*g) + size);
	if (!g)
		return;
	g->parent = parent;
	memcpy(g->name, name, size);
	STAILQ_INSERT_TAIL(&t->gone, g, list);
	t->n_gone++;
}

void fs_notify_forget(struct fstree *t, struct fs_object *o)
{
	if (o->queued)
		STAILQ_REMOVE(&t->dirty, o, fs_object, dirty_list);
	o->queued = false;
}

static void on_notifier(evutil_socket_t fd, short what, void *userdata)
{
	eventfd_t count;

	eventfd_read(fd, &count);
	fs_notify_pump(userdata);
}

static void notifier_done(struct fs_notifier *n)
{
	for (; n->count > 0; n->count--, n->first = (n->first + 1) % QUEUE_MAX)
		free(n->queue[n->first].gone);
	if (n->event)
		event_free(n->event);
	close_keep_errno(n->event_fd);
	pthread_cond_destroy(&n->wanted);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

/* Signals are the loop's business, so the thread takes none. */
static int start_thread(struct fs_notifier *n)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&n->thread, NULL, notifier_main, n);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

int fs_notifier_new(struct fstree *t, struct fs_notifier **ret)
{
	struct fs_notifier *n;
	int r = -ENOMEM;

	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->session = t->session;
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->wanted, NULL);
	n->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (n->event_fd < 0)
		r = -errno;
	else
		n->event = event_new(t->base, n->event_fd, EV_READ | EV_PERSIST, on_notifier, t);
	if (!n->event || event_priority_set(n->event, t->priority) < 0 ||
		event_add(n->event, NULL) < 0)
		goto fail;
	r = start_thread(n);
	if (r < 0)
		goto fail;
	*ret = n;
	return 0;

fail:
	notifier_done(n);
	return r;
}

static bool has_left(struct fs_notifier *n)
{
	bool left;

	pthread_mutex_lock(&n->lock);
	left = n->left;
	pthread_mutex_unlock(&n->lock);
	return left;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The thread may wait for a process that waits for an answer of ours: so answer meanwhile. */
static bool serve_until_left(struct fstree *t, struct fs_notifier *n)
{
	struct pollfd fds[] = { { n->event_fd, POLLIN, 0 },
		{ fuse_session_fd(t->session), POLLIN, 0 } };
	int64_t end = now_ms() + LEAVE_MS;
	eventfd_t count;

	while (!has_left(n)) {
		int64_t rest = end - now_ms();

		if (rest <= 0)
			return false;
		if (poll(fds, 2, (int)rest) <= 0)
			continue;
		eventfd_read(n->event_fd, &count);
		if (fds[1].revents != 0 && fs_serve(t) == -ENODEV)
			fds[1].fd = -1;
	}
	return true;
}

bool fs_notifier_free(struct fstree *t, struct fs_notifier *n)
{
	struct fs_gone *g;
	bool left;

	pthread_mutex_lock(&n->lock);
	n->leave = true;
	pthread_cond_signal(&n->wanted);
	pthread_mutex_unlock(&n->lock);
	left = serve_until_left(t, n);
	if (left) {
		pthread_join(n->thread, NULL);
		notifier_done(n);
	} else {
		event_del(n->event);
		pthread_detach(n->thread);
	}
	while ((g = STAILQ_FIRST(&t->gone))) {
		STAILQ_REMOVE_HEAD(&t->gone, list);
		free(g);
	}
	t->n_gone = 0;
	return left;
}

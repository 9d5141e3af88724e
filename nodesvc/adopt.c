/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "adopt.h"
#include "clock.h"

#define RETRY_S 5   /* the backend could not be listed */
#define TIDY_S 60   /* until what was in somebody's hands is looked at again */
#define TICK_S 2    /* workers that have not come back by then hang: others go on where they stopped */
#define LOOKERS 8   /* workers that look at volumes at once */

/* One volume. Written by one worker, read by the loop once it is answered. */
struct entry {
	struct id128 volume_id;
	struct driver_volume found;
	int error;
	bool answered, told;
};

struct adopt {
	struct adopt_config c;
	const struct adopt_callbacks *cbs;
	void *userdata;
	struct event *timer;
	struct driver *driver;
	bool listing, ready, complete;
	int tidy_error;
	size_t n_jobs; /* on workers */
	uint64_t begun_ms; /* looking */

	pthread_mutex_t lock; /* of the rest, which lookers share */
	struct entry *entries;
	size_t n, next; /* next: the first that no looker took */
};

/* Opening and listing, on a worker; nothing here is shared before it is done. */
struct listing {
	struct adopt *a;
	struct driver *driver; /* NULL: to be opened */
	struct driver_desc desc;
	char *why;
	struct id128 *ids;
	size_t n;
	int open_error, error;
};

static void wake_after(struct adopt *a, int seconds)
{
	event_add(a->timer, &(struct timeval){ seconds, 0 });
}

/* ---- the end ---- */

static void tidy_on_worker(void *arg)
{
	struct adopt *a = arg;

	a->tidy_error = a->c.ops->tidy(a->driver);
}

static void tidy_done(void *arg)
{
	struct adopt *a = arg;

	a->n_jobs--;
	/* What cannot be cleared away at all costs space, and nothing else. */
	if (a->tidy_error == -EBUSY)
		wake_after(a, TIDY_S);
}

static void tidy(struct adopt *a)
{
	if (worker_submit(a->c.pool, tidy_on_worker, tidy_done, a) == 0)
		a->n_jobs++;
}

/* Returns how many have not answered yet. */
static size_t tell_answers(struct adopt *a)
{
	size_t missing = 0;

	for (size_t i = 0; i < a->n; i++) {
		struct entry *e = &a->entries[i];
		bool news;

		pthread_mutex_lock(&a->lock);
		missing += !e->answered;
		news = e->answered && !e->told;
		e->told |= news;
		pthread_mutex_unlock(&a->lock);
		/* One that cannot be read is its own trouble: whoever is granted it will hear of it. */
		if (news && e->error == 0 && (e->found.place == DRIVER_HERE || e->found.left_epoch))
			a->cbs->on_found(&e->found, a->userdata);
	}
	return missing;
}

static void conclude(struct adopt *a)
{
	size_t unanswered = tell_answers(a);

	a->ready = true;
	a->complete = unanswered == 0;
	event_del(a->timer);
	a->cbs->on_ready(unanswered, a->userdata);
	tidy(a);
}

/* ---- looking ---- */

static struct entry *take_entry(struct adopt *a)
{
	struct entry *e;

	pthread_mutex_lock(&a->lock);
	e = a->next < a->n ? &a->entries[a->next++] : NULL;
	pthread_mutex_unlock(&a->lock);
	return e;
}

static bool all_taken(struct adopt *a)
{
	bool all;

	pthread_mutex_lock(&a->lock);
	all = a->next == a->n;
	pthread_mutex_unlock(&a->lock);
	return all;
}

static void look_on_worker(void *arg)
{
	struct adopt *a = arg;
	struct entry *e;

	while ((e = take_entry(a))) {
		struct driver_volume found = { 0 };
		int r = a->c.ops->lookup(a->driver, e->volume_id, &found);

		pthread_mutex_lock(&a->lock);
		e->found = found;
		e->error = r;
		e->answered = true;
		pthread_mutex_unlock(&a->lock);
	}
}

static void look_done(void *arg)
{
	struct adopt *a = arg;

	a->n_jobs--;
	if (!a->ready) {
		if (a->n_jobs == 0 && all_taken(a))
			conclude(a);
	} else if (!a->complete && tell_answers(a) == 0) {
		a->complete = true;
		a->cbs->on_complete(a->userdata);
	}
}

static void look(struct adopt *a)
{
	for (int i = 0; i < LOOKERS; i++)
		if (worker_submit(a->c.pool, look_on_worker, look_done, a) == 0)
			a->n_jobs++;
	wake_after(a, TICK_S);
}

static void on_tick(struct adopt *a)
{
	if (!all_taken(a))
		look(a); /* beside those that hang */
	else if (clock_ms(CLOCK_MONOTONIC) - a->begun_ms >= ADOPT_SLOW_S * UINT64_C(1000))
		conclude(a);
	else
		wake_after(a, TICK_S);
}

/* ---- opening and listing ---- */

static void list_on_worker(void *arg)
{
	struct listing *l = arg;
	const struct adopt_config *c = &l->a->c;

	if (!l->driver)
		l->open_error = c->ops->open(&c->self, c->options, c->n_options, &l->driver, &l->why);
	if (l->open_error == 0)
		l->error = c->ops->describe(l->driver, &l->desc);
	if (l->open_error == 0 && l->error == 0)
		l->error = c->ops->list(l->driver, &l->ids, &l->n);
}

static int take_ids(struct adopt *a, const struct listing *l)
{
	a->entries = calloc(l->n + 1, sizeof(*a->entries));
	if (!a->entries)
		return -ENOMEM;
	for (size_t i = 0; i < l->n; i++)
		a->entries[i].volume_id = l->ids[i];
	a->n = l->n;
	return 0;
}

static void listed(struct adopt *a, struct listing *l)
{
	char why[256];

	if (l->open_error < 0) {
		a->cbs->on_failed(l->open_error, l->why ? l->why : strerror(-l->open_error), a->userdata);
		return;
	}
	if (!a->driver && l->error == 0) {
		a->driver = l->driver;
		a->cbs->on_open(a->driver, &l->desc, a->userdata);
	}
	if (l->error == 0)
		l->error = take_ids(a, l);
	if (l->error == 0) {
		a->begun_ms = clock_ms(CLOCK_MONOTONIC);
		look(a);
		return;
	}
	snprintf(why, sizeof(why), "cannot list the volumes of backend %s: %s; control is not told anything "
		"until that works", a->c.ops->name, strerror(-l->error));
	a->cbs->on_trouble(why, a->userdata);
	wake_after(a, RETRY_S);
}

static void list_done(void *arg)
{
	struct listing *l = arg;
	struct adopt *a = l->a;

	a->n_jobs--;
	a->listing = false;
	event_del(a->timer);
	listed(a, l);
	if (l->driver && l->driver != a->driver)
		a->c.ops->close(l->driver); /* opened, and not described: the next attempt opens again */
	free(l->why);
	free(l->ids);
	free(l);
}

static void list(struct adopt *a)
{
	struct listing *l = calloc(1, sizeof(*l));

	if (l) {
		*l = (struct listing){ .a = a, .driver = a->driver };
		a->listing = worker_submit(a->c.pool, list_on_worker, list_done, l) == 0;
		a->n_jobs += a->listing;
		if (!a->listing)
			free(l);
	}
	wake_after(a, a->listing ? ADOPT_SLOW_S : RETRY_S);
}

static void on_timer(evutil_socket_t fd, short what, void *userdata)
{
	struct adopt *a = userdata;
	char why[256];

	if (a->ready) {
		tidy(a);
	} else if (a->listing) {
		snprintf(why, sizeof(why), "listing the volumes of backend %s does not return: the storage "
			"hangs; control is not told anything until it does", a->c.ops->name);
		a->cbs->on_trouble(why, a->userdata);
	} else if (a->entries) {
		on_tick(a);
	} else {
		list(a);
	}
}

/* ---- life ---- */

int adopt_new(struct event_base *base, const struct adopt_config *c, const struct adopt_callbacks *cbs,
	void *userdata, struct adopt **ret)
{
	struct adopt *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->c = *c;
	a->cbs = cbs;
	a->userdata = userdata;
	pthread_mutex_init(&a->lock, NULL);
	a->timer = evtimer_new(base, on_timer, a);
	if (!a->timer || event_priority_set(a->timer, c->priority) < 0) {
		adopt_free(a);
		return -ENOMEM;
	}
	*ret = a;
	return 0;
}

void adopt_start(struct adopt *a)
{
	list(a);
}

struct adopt *adopt_free(struct adopt *a)
{
	if (!a)
		return NULL;
	if (a->timer)
		event_free(a->timer);
	if (a->n_jobs > 0)
		return NULL; /* a worker still has it */
	pthread_mutex_destroy(&a->lock);
	free(a->entries);
	free(a);
	return NULL;
}

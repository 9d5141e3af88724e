/* SPDX-License-Identifier: Apache-2.0 */
#include <event2/event.h>

#include "log.h"
#include "remember.h"

#define PACE_S 5

struct remember {
	struct remember_config c;
	struct event *timer;
	bool saving;
};

struct save {
	struct remember *remember;
	char *directory;
	struct control_mark seen;
	int error;
};

static void wake_after(struct remember *m, int seconds)
{
	event_add(m->timer, &(struct timeval){ seconds, 0 });
}

static void save_on_worker(void *arg)
{
	struct save *s = arg;

	s->error = nodestate_save(s->directory, &s->seen);
}

static void save_free(struct save *s)
{
	free(s->directory);
	free(s);
}

static void save_done(void *arg)
{
	struct save *s = arg;
	struct remember *m = s->remember;

	m->saving = false;
	if (s->error < 0) {
		(void)log_warning(s->error, "cannot write %s/control; trying again", s->directory);
		wake_after(m, PACE_S);
	} else {
		m->c.state->seen = s->seen;
	}
	save_free(s);
}

static bool same_mark(const struct control_mark *a, const struct control_mark *b)
{
	return a->incarnation == b->incarnation && a->revision == b->revision &&
	       id128_equal(a->line, b->line);
}

static void on_timer(evutil_socket_t fd, short what, void *userdata)
{
	struct remember *m = userdata;
	const struct nodestate *state = m->c.state;
	struct save *s;

	if (m->saving) {
		wake_after(m, PACE_S);
		return;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return;
	s->remember = m;
	s->directory = strdup(state->directory);
	m->c.seen(m->c.userdata, &s->seen);
	m->saving = s->directory &&
		    !same_mark(&s->seen, &state->seen) &&
		    worker_submit(m->c.pool, save_on_worker, save_done, s) == 0;
	if (!m->saving)
		save_free(s);
}

void remember(struct remember *m, bool soon)
{
	if (soon || !event_pending(m->timer, EV_TIMEOUT, NULL))
		wake_after(m, soon ? 0 : PACE_S);
}

int remember_new(struct event_base *base, const struct remember_config *c, struct remember **ret)
{
	struct remember *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->c = *c;
	m->timer = evtimer_new(base, on_timer, m);
	if (!m->timer || event_priority_set(m->timer, c->priority) < 0) {
		remember_free(m);
		return -ENOMEM;
	}
	*ret = m;
	return 0;
}

struct remember *remember_free(struct remember *m)
{
	if (!m)
		return NULL;
	if (m->timer)
		event_free(m->timer);
	if (!m->saving)
		free(m);
	return NULL;
}

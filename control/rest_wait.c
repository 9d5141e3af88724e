/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v2/datasets/<id>?wait=SECONDS&until=STATE: answered when the dataset is there, or when the time is over.
 * It is looked at when something of it has changed, which is an event, and not before.
 */
#include "plan.h"
#include "rest_watch.h"
#include "schema_private.h"

#define WAIT_MAX_S 300
#define SETTLED -1

struct waiting {
	struct rest_watch *watch;
	struct waiting *prev, *next;
	struct rest_request *q;
	struct event *timeout;
	struct id128 id;
	int until; /* of enum ds_state, or SETTLED */
	uint64_t n; /* of the last event about it that was looked at */
};

/* ---- until when ---- */

static bool is_reached(const struct assign_view *v, int until)
{
	if (until == SETTLED)
		return plan_is_settled(v);
	if (until == DS_MOUNTED && !id128_equal(v->record->owner, v->record->primary))
		return false; /* it is where it is to leave */
	return STREQ(view_state(v), ds_state_name((enum ds_state)until));
}

/* ---- who waits ---- */

/* The caller ends the request. */
static struct rest_request *waiting_free(struct waiting *w)
{
	struct rest_request *q = w->q;

	if (w->prev)
		w->prev->next = w->next;
	else
		w->watch->waiting = w->next;
	if (w->next)
		w->next->prev = w->prev;
	w->watch->n_waiting--;
	event_free(w->timeout);
	free(w);
	return q;
}

static void answer(struct waiting *w)
{
	struct id128 id = w->id;
	struct rest_request *q = waiting_free(w);
	struct view_source s = rest_source(q);
	struct jsonout o = { 0 };

	if (view_dataset(&o, NULL, &s, id, true) < 0)
		rest_refuse(q, REST_NOT_FOUND, "The dataset was deleted, and is dropped by now.");
	else
		rest_reply(q, HTTP_OK, &o);
}

/* Nobody is there to be answered: what is said goes nowhere. */
static void on_gone(void *userdata)
{
	rest_reply_bytes(waiting_free(userdata), HTTP_OK, NULL, NULL, 0);
}

static void on_timeout(evutil_socket_t fd, short what, void *userdata)
{
	answer(userdata);
}

static void look(struct waiting *w)
{
	uint64_t n = publish_last_of(w->watch->publish, EVENT_DATASET, w->id);
	const struct assign *a = cluster_assign(rest_cluster(w->q));
	struct assign_view v;

	if (n == w->n)
		return;
	w->n = n;
	if (assign_dataset(a, cluster_now_ms(), w->id, &v) < 0 || is_reached(&v, w->until))
		answer(w);
}

void rest_wait_look(struct rest_watch *watch)
{
	for (struct waiting *w = watch->waiting, *next; w; w = next) {
		next = w->next;
		look(w);
	}
}

void rest_wait_stop(struct rest_watch *watch)
{
	while (watch->waiting)
		rest_refuse_stopping(waiting_free(watch->waiting));
}

/* ---- the request ---- */

static bool read_until(struct rest_request *q, uint64_t *ret_s, int *ret_until)
{
	const char *until = rest_query(q, "until");
	struct schema_errors e = { 0 };
	bool waits = rest_query_number(q, "wait", 0, WAIT_MAX_S, ret_s, &e);

	*ret_until = !until || STREQ(until, "settled") ? SETTLED : ds_state_parse(until);
	if (until && *ret_until < SETTLED)
		schema_violation(&e, "?until: must be settled or a state, as mounted");
	if (until && !rest_query(q, "wait"))
		schema_violation(&e, "?until: goes with wait=SECONDS");
	if (!waits)
		*ret_s = 0;
	return rest_query_good(q, &e);
}

static int begin(struct rest_request *q, struct id128 id, uint64_t wait_s, int until)
{
	static const struct http_stay stay = { NULL, on_gone };
	struct rest_watch *watch = rest_watch_of(q);
	struct waiting *w = malloc(sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	*w = (struct waiting){ .watch = watch, .next = watch->waiting, .q = q, .id = id, .until = until,
		.n = publish_last_of(watch->publish, EVENT_DATASET, id) };
	w->timeout = evtimer_new(watch->base, on_timeout, w);
	r = w->timeout && event_add(w->timeout, &(struct timeval){ .tv_sec = (time_t)wait_s }) == 0
		    ? http_stay(q->http, &stay, w) : -ENOMEM;
	if (r < 0) {
		if (w->timeout)
			event_free(w->timeout);
		free(w);
		return r;
	}
	if (w->next)
		w->next->prev = w;
	watch->waiting = w;
	watch->n_waiting++;
	return 0;
}

bool rest_wait_dataset(struct rest_request *q, struct id128 id)
{
	struct assign_view v;
	uint64_t wait_s;
	int until, r;

	if (!read_until(q, &wait_s, &until))
		return true;
	if (!wait_s || assign_dataset(cluster_assign(rest_cluster(q)), cluster_now_ms(), id, &v) < 0 ||
		is_reached(&v, until))
		return false;
	if (rest_stopping(q)) {
		rest_refuse_stopping(q);
		return true;
	}
	publish_flush(rest_watch_of(q)->publish); /* what it looks like by now is not news for it */
	r = begin(q, id, wait_s, until);
	if (r == -EUSERS)
		rest_refuse_watcher(q);
	else if (r < 0)
		rest_reply_error(q, HTTP_INTERNAL, "out of memory");
	return true;
}

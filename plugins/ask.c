/* SPDX-License-Identifier: Apache-2.0 */
#include "ask.h"
#include "clock.h"

#define RETRY_MS 500

struct ask {
	struct event_base *base;
	struct event *limit, *retry;
	struct link_config control;
	struct link *link; /* NULL: there was no memory for it */
	uint64_t until_ms; /* CLOCK_MONOTONIC */
	struct asked *present;
	bool answered;
};

static int64_t left_ms(const struct ask *a)
{
	return (int64_t)(a->until_ms - clock_ms(CLOCK_MONOTONIC));
}

unsigned int ask_left_s(const struct ask *a)
{
	int64_t ms = left_ms(a);

	return ms > 0 ? (unsigned int)(ms / 1000) : 0;
}

void ask_extend(struct ask *a, unsigned int seconds)
{
	a->until_ms = clock_ms(CLOCK_MONOTONIC) + seconds * UINT64_C(1000);
}

/* ---- one request ---- */

static void on_break(evutil_socket_t fd, short what, void *userdata)
{
	(void)event_base_loopbreak(userdata);
}

static void on_answer(const struct link_answer *answer, void *userdata)
{
	struct ask *a = userdata;

	a->answered = true;
	a->present->err = answer->err;
	a->present->status = answer->status;
	a->present->body = json_object_get(answer->body);
	snprintf(a->present->why, sizeof(a->present->why), "%s", answer->why);
	(void)event_base_loopbreak(a->base);
}

/* False: the limit has come, or an answer. */
static bool run(struct ask *a, struct event *until, int64_t ms)
{
	if (ms <= 0)
		return false;
	(void)event_add(until, &(struct timeval){ ms / 1000, ms % 1000 * 1000 });
	(void)event_base_dispatch(a->base);
	(void)event_del(until);
	return true;
}

void ask_pause(struct ask *a, unsigned int ms)
{
	(void)run(a, a->retry, ms);
}

static void ask_once(struct ask *a, const char *method, const char *path, struct json_object *body,
	struct asked *ret)
{
	*ret = (struct asked){ .err = ETIMEDOUT };
	snprintf(ret->why, sizeof(ret->why), "the control service has not answered in time");
	a->present = ret;
	a->answered = false;
	if ((!a->link && link_new(a->base, &a->control, &a->link) < 0) ||
		link_call(a->link, method, path, body, on_answer, a) < 0) {
		ret->err = ENOMEM;
		snprintf(ret->why, sizeof(ret->why), "out of memory");
		return;
	}
	/* The loop also ends for what others on it want; then it is run again. */
	while (!a->answered && run(a, a->limit, left_ms(a)))
		;
	if (!a->answered) /* what comes late would be taken for the next one's answer */
		a->link = link_free(a->link);
}

/* Certificates that are refused, and memory, do not get better by waiting. */
static bool may_get_better(const struct asked *a)
{
	return a->status >= 500 || (a->err && a->err != EPROTO && a->err != ENOMEM);
}

void ask_control(struct ask *a, const char *method, const char *path, struct json_object *body,
	struct asked *ret)
{
	for (;;) {
		ask_once(a, method, path, body, ret);
		if (!may_get_better(ret) || left_ms(a) <= RETRY_MS)
			break;
		asked_done(ret);
		ask_pause(a, RETRY_MS);
	}
	json_object_put(body);
}

/* ---- beginning and end ---- */

struct ask *ask_free(struct ask *a)
{
	if (!a)
		return NULL;
	link_free(a->link);
	if (a->limit)
		event_free(a->limit);
	if (a->retry)
		event_free(a->retry);
	free(a);
	return NULL;
}

int ask_new(struct event_base *base, const struct client *c, const char *program,
	unsigned int limit_s, struct ask **ret)
{
	_cleanup_(ask_freep) struct ask *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->base = base;
	a->control = (struct link_config){ .host = c->host, .port = c->port, .ctx = c->ctx,
		.program = program };
	a->limit = evtimer_new(base, on_break, base);
	a->retry = evtimer_new(base, on_break, base);
	if (!a->limit || !a->retry)
		return -ENOMEM;
	ask_extend(a, limit_s);
	*ret = TAKE_PTR(a);
	return 0;
}

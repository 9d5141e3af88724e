/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <time.h>

#include "ctl_stream.h"
#include "say.h"
#include "sse.h"

#define SILENCE_MS 45000 /* three heart-beats */
#define PAUSE_FIRST_MS 200
#define PAUSE_LAST_MS 5000

struct ctl_stream {
	const struct ctl_args *args;
	struct api *api;
	struct sse *sse;
	char *query;
	char from[CTL_REVISION_SIZE]; /* where the next connection begins */
	char revision[CTL_REVISION_SIZE]; /* of the last event */
	bool open, was_open;
	bool gone, gone_before; /* to be told after the pause; and told since it was open last */
	int status;
	uint64_t heard_ms, retry_ms, pause_ms;
	char type[SSE_WORD_SIZE];
	char in[16384];
	size_t in_pos, in_len;
	struct json_object *data;
	char error[512];
};

uint64_t ctl_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void ctl_pause_ms(uint64_t ms)
{
	struct timespec t = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

int ctl_stream_new(const struct ctl *c, const char *query, struct ctl_stream **ret)
{
	const struct ctl_args *a = c->args;
	const struct api_target target = { a->host, a->port, a->certs_path, a->user };
	_cleanup_(ctl_stream_freep) struct ctl_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return ctl_no_memory();
	s->args = a;
	s->sse = sse_new();
	s->query = strdup(query);
	if (!s->sse || !s->query || api_new(&target, &s->api) < 0)
		return ctl_no_memory();
	*ret = TAKE_PTR(s);
	return CTL_OK;
}

struct ctl_stream *ctl_stream_free(struct ctl_stream *s)
{
	if (!s)
		return NULL;
	api_free(s->api);
	sse_free(s->sse);
	json_object_put(s->data);
	free(s->query);
	free(s);
	return NULL;
}

void ctl_stream_from(struct ctl_stream *s, const char *revision)
{
	api_close(s->api);
	s->open = false;
	s->retry_ms = 0;
	snprintf(s->from, sizeof(s->from), "%s", revision && say_is_clean(revision) ? revision : "");
}

const char *ctl_stream_revision(const struct ctl_stream *s)
{
	return s->from;
}

const char *ctl_stream_error(const struct ctl_stream *s)
{
	return s->error;
}

int ctl_stream_status(const struct ctl_stream *s)
{
	return s->status;
}

static enum ctl_news failed(struct ctl_stream *s, int status)
{
	s->status = status;
	return NEWS_FAILED;
}

static enum ctl_news pause_for(struct ctl_stream *s, const char *why)
{
	api_close(s->api);
	s->open = false;
	snprintf(s->error, sizeof(s->error), "%s", why);
	s->pause_ms = s->pause_ms ? MIN(s->pause_ms * 2, (uint64_t)PAUSE_LAST_MS) : PAUSE_FIRST_MS;
	s->retry_ms = ctl_now_ms() + s->pause_ms;
	return NEWS_LOST;
}

/* What never worked does not heal by itself; what did is tried again, ever less often. */
static enum ctl_news lost(struct ctl_stream *s, const char *why)
{
	if (!s->was_open)
		return failed(s, say_error(CTL_CONNECT, "%s", why));
	return pause_for(s, why);
}

/* Lists that are too old as soon as they are read are not read again and again without a rest. */
static enum ctl_news gone(struct ctl_stream *s)
{
	s->from[0] = '\0';
	s->gone = s->gone_before;
	s->gone_before = true;
	return s->gone ? pause_for(s, "what changed while it was listed is not kept any more") : NEWS_GONE;
}

static enum ctl_news refused(struct ctl_stream *s, struct api_answer *a)
{
	char why[160];
	enum ctl_news news;

	if (a->status == 410) {
		news = gone(s);
	} else if (a->status >= 500 && s->was_open) {
		snprintf(why, sizeof(why), "the control service says %d", a->status);
		news = lost(s, why);
	} else {
		news = failed(s, ctl_say_refusal(a));
	}
	api_answer_done(a);
	return news;
}

static enum ctl_news open_stream(struct ctl_stream *s)
{
	_cleanup_free_ char *after = s->from[0] ? ctl_escape(s->from) : NULL, *path = NULL;
	struct api_answer a = { 0 };
	int r;

	if ((s->from[0] && !after) ||
		asprintf(&path, "/v2/events?%s%s%s%s", s->query, s->query[0] && after ? "&" : "",
			after ? "after=" : "", after ? after : "") < 0)
		return failed(s, ctl_no_memory());
	if (path[strlen(path) - 1] == '?')
		path[strlen(path) - 1] = '\0';
	sse_reset(s->sse);
	s->in_pos = s->in_len = 0;
	r = api_open(s->api, path, &a);
	if (r < 0)
		return lost(s, api_error(s->api));
	if (a.status != 200)
		return refused(s, &a);
	s->open = s->was_open = true;
	s->gone_before = false;
	s->pause_ms = 0;
	s->heard_ms = ctl_now_ms();
	return NEWS_OPEN;
}

/* 1: ready; 0: not by then; -EINTR. @fd: negative to wait for the time alone. */
static int wait_for(int fd, uint64_t until_ms, const sigset_t *mask)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t now = ctl_now_ms(), left = until_ms > now ? until_ms - now : 0;
	struct timespec t = { .tv_sec = (time_t)(left / 1000), .tv_nsec = (long)(left % 1000) * 1000000 };
	int r = ppoll(&p, 1, &t, mask);

	if (r < 0)
		return errno == EINTR ? -EINTR : 0;
	return r > 0;
}

/* 1: an event is in @ret; 0: none; or negative errno, said in s->error. */
static int take_event(struct ctl_stream *s, struct ctl_event *ret)
{
	char json_error[JSONIN_ERROR_MAX];
	struct sse_event e;
	size_t used;
	int r = sse_take(s->sse, s->in + s->in_pos, s->in_len - s->in_pos, &used, &e);

	if (r >= 0) {
		s->in_pos += used;
		if (sse_id(s->sse)[0] && say_is_clean(sse_id(s->sse)))
			snprintf(s->from, sizeof(s->from), "%s", sse_id(s->sse));
	}
	if (r <= 0)
		return r;
	json_object_put(TAKE_PTR(s->data));
	r = jsonin_parse(e.data, e.size, &s->data, json_error);
	if (r < 0)
		return r;
	if (strspn(e.type, "abcdefghijklmnopqrstuvwxyz-") != strlen(e.type))
		return -EBADMSG;
	snprintf(s->revision, sizeof(s->revision), "%s", s->from);
	strcpy(s->type, e.type);
	*ret = (struct ctl_event){ s->type, s->revision, s->data };
	return 1;
}

static enum ctl_news lost_errno(struct ctl_stream *s, int r)
{
	char why[128];

	if (r == -ENOMEM)
		return failed(s, ctl_no_memory());
	snprintf(why, sizeof(why), "the control service's events make no sense: %s", strerror(-r));
	return lost(s, why);
}

/* More bytes, or what happened instead; 0 with more. */
static int read_more(struct ctl_stream *s, uint64_t deadline_ms, const sigset_t *mask, enum ctl_news *ret)
{
	ssize_t n = api_read(s->api, s->in, sizeof(s->in));
	uint64_t silent_ms = s->heard_ms + SILENCE_MS;
	int r;

	s->in_pos = s->in_len = 0;
	if (n > 0) {
		s->in_len = (size_t)n;
		s->heard_ms = ctl_now_ms();
		return 0;
	}
	if (n != -EAGAIN) {
		*ret = lost(s, n == 0 ? "the control service has ended the stream of events" : api_error(s->api));
		return 1;
	}
	r = wait_for(api_fd(s->api), MIN(deadline_ms, silent_ms), mask);
	if (r > 0)
		return 0;
	if (r == -EINTR)
		*ret = NEWS_SIGNAL;
	else if (ctl_now_ms() >= silent_ms)
		*ret = lost(s, "the control service is silent");
	else if (ctl_now_ms() >= deadline_ms)
		*ret = NEWS_TIMEOUT;
	else
		return 0;
	return 1;
}

static enum ctl_news reconnect(struct ctl_stream *s, uint64_t deadline_ms, const sigset_t *mask)
{
	uint64_t now = ctl_now_ms();

	while (now < s->retry_ms) {
		if (now >= deadline_ms)
			return NEWS_TIMEOUT;
		if (wait_for(-1, MIN(deadline_ms, s->retry_ms), mask) == -EINTR)
			return NEWS_SIGNAL;
		now = ctl_now_ms();
	}
	if (s->gone) {
		s->gone = false;
		return NEWS_GONE;
	}
	return open_stream(s);
}

enum ctl_news ctl_stream_next(struct ctl_stream *s, uint64_t deadline_ms, const sigset_t *mask,
	struct ctl_event *ret)
{
	enum ctl_news news;
	int r;

	if (!s->open)
		return reconnect(s, deadline_ms, mask);
	for (;;) {
		r = s->in_pos < s->in_len ? take_event(s, ret) : 0;
		if (r < 0)
			return lost_errno(s, r);
		if (r > 0)
			return NEWS_EVENT;
		if (s->in_pos == s->in_len && read_more(s, deadline_ms, mask, &news))
			return news;
	}
}

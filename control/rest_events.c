/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /v2/events: what changes, as it happens. A stream keeps no events of its own: it has a number up to which
 * it was fed, and is fed from the common log when its client took what it had. Whose number falls off the log is
 * dropped, and lists again.
 */
#include "rest_watch.h"
#include "schema_private.h"

#define FEED_BYTES (64 * KIB) /* at a time */
#define WAKE_MAX 256	      /* streams in one turn of the loop: nodes have theirs in between */
#define HEARTBEAT_S 15
#define HEARTBEAT_MAX_S 300

struct stream {
	struct rest_watch *watch;
	struct stream *prev, *next;
	struct http_request *http;
	struct event *beat;
	struct event_filter filter;
	uint64_t n; /* of the last event that it was fed, or needs not */
	uint64_t spoke_ms;
	unsigned int heartbeat_s;
	bool busy; /* its client has not taken all */
};

/* ---- one stream ---- */

static void stream_free(struct stream *s)
{
	struct rest_watch *w = s->watch;

	if (s->prev)
		s->prev->next = s->next;
	else
		w->streams = s->next;
	if (s->next)
		s->next->prev = s->prev;
	if (w->scan == s)
		w->scan = s->next;
	w->n_streams--;
	event_free(s->beat);
	http_end(s->http);
	free(s);
}

static void on_event_sent(const void *data, size_t size, void *userdata)
{
	event_text_unref(userdata);
}

static void on_text_sent(const void *data, size_t size, void *userdata)
{
	free(userdata);
}

/* A comment, for whoever closes what is silent, and how far the stream has come. */
static int say_revision(struct stream *s)
{
	char revision[EVENTLOG_REVISION_SIZE], *text;
	int size = asprintf(&text, ": \nid: %s\n\n",
		eventlog_revision(publish_log(s->watch->publish), s->n, revision));

	if (size < 0)
		return -ENOMEM;
	s->busy = true;
	s->spoke_ms = cluster_now_ms();
	return http_write(s->http, text, (size_t)size, on_text_sent, text);
}

/* 0: that was the last; -ESTALE: it is too far behind; -ENOMEM. */
static int feed(struct stream *s)
{
	const struct eventlog *log = publish_log(s->watch->publish);
	struct event_text *e;
	size_t fed = 0;
	int r = 0;

	while (fed < FEED_BYTES && r == 0 && (r = eventlog_next(log, s->n, &e)) == 0) {
		s->n = e->n;
		if (!event_passes(&s->filter, &e->about))
			continue;
		r = http_write(s->http, e->text, e->size, on_event_sent, event_text_ref(e));
		fed += e->size;
	}
	if (fed > 0) {
		s->busy = true;
		s->spoke_ms = cluster_now_ms();
	}
	return r == -EAGAIN ? 0 : r;
}

/* There are new events. Who still sends what it had is only asked whether it is too slow. */
static void look(struct stream *s)
{
	struct event_text *e;

	if (s->busy ? eventlog_next(publish_log(s->watch->publish), s->n, &e) == -ESTALE : feed(s) < 0)
		stream_free(s);
}

static void on_drained(void *userdata)
{
	struct stream *s = userdata;

	s->busy = false;
	if (feed(s) < 0)
		stream_free(s);
}

static void on_gone(void *userdata)
{
	stream_free(userdata);
}

static void on_beat(evutil_socket_t fd, short what, void *userdata)
{
	struct stream *s = userdata;
	uint64_t silent_ms = cluster_now_ms() - s->spoke_ms, most_ms = s->heartbeat_s * UINT64_C(1000);
	uint64_t left_ms = silent_ms < most_ms ? most_ms - silent_ms : most_ms;

	if (silent_ms >= most_ms && !s->busy && say_revision(s) < 0)
		stream_free(s);
	else
		(void)event_add(s->beat, &(struct timeval){ (time_t)(left_ms / 1000), (suseconds_t)(left_ms % 1000 * 1000) });
}

/* ---- all of them ---- */

static void on_wake(evutil_socket_t fd, short what, void *userdata)
{
	struct rest_watch *w = userdata;

	for (int i = 0; i < WAKE_MAX && w->scan; i++) {
		struct stream *s = w->scan;

		w->scan = s->next;
		look(s);
	}
	if (!w->scan && w->again) {
		w->again = false;
		w->scan = w->streams;
	}
	if (w->scan)
		(void)event_add(w->wake, &(struct timeval){ 0 });
	if (w->unseen) {
		w->unseen = false; /* by those that wait; an answer may lead to news */
		rest_wait_look(w);
	}
}

static void on_news(void *userdata)
{
	struct rest_watch *w = userdata;

	w->unseen = true;
	w->again = w->scan != NULL;
	if (!w->scan)
		w->scan = w->streams;
	event_active(w->wake, EV_TIMEOUT, 0);
}

void rest_watch_stop(struct rest_watch *w)
{
	while (w->streams)
		stream_free(w->streams);
	rest_wait_stop(w);
}

struct rest_watch *rest_watch_free(struct rest_watch *w)
{
	if (!w)
		return NULL;
	publish_free(w->publish);
	if (w->wake)
		event_free(w->wake);
	free(w);
	return NULL;
}
DEFINE_CLEANUP(struct rest_watch *, rest_watch_free);

int rest_watch_new(struct event_base *base, struct cluster *cluster, size_t event_bytes, struct rest_watch **ret)
{
	_cleanup_(rest_watch_freep) struct rest_watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->base = base;
	w->wake = evtimer_new(base, on_wake, w);
	if (!w->wake)
		return -ENOMEM;
	r = publish_new(base, cluster, event_bytes, &w->publish);
	if (r < 0)
		return r;
	publish_listen(w->publish, on_news, w);
	*ret = TAKE_PTR(w);
	return 0;
}

/* ---- the request ---- */

static void read_kinds(const struct rest_request *q, struct event_filter *f, struct schema_errors *e)
{
	const char *p = rest_query(q, "type");

	f->kinds = p ? 0 : (1u << EVENT_KIND_MAX) - 1;
	while (p) {
		size_t n = strcspn(p, ",");
		int kind = 0;

		while (kind < EVENT_KIND_MAX && (strlen(event_kind_name(kind)) != n ||
			strncmp(event_kind_name(kind), p, n) != 0))
			kind++;
		if (kind == EVENT_KIND_MAX) {
			schema_violation(e, "?type: must be of dataset, node and lease, with a comma between two");
			return;
		}
		f->kinds |= 1u << kind;
		p = p[n] ? p + n + 1 : NULL;
	}
}

/* A browser that comes again asks for the same address, and says in the header how far it was. */
static int read_revision(struct rest_request *q, const struct eventlog *log, uint64_t *ret_n)
{
	const char *text = evhttp_find_header(&http_request_head(q->http)->headers, "Last-Event-ID");
	int r;

	text = text && *text ? text : rest_query(q, "after");
	if (!text) {
		*ret_n = eventlog_last(log);
		return 0;
	}
	r = eventlog_parse(log, text, ret_n);
	if (r == -ESTALE)
		rest_refuse(q, REST_REVISION_GONE, "What followed revision %.64s is not kept any more, or control was "
			"started anew since: list again, and go on from the list's revision.", text);
	else if (r < 0)
		rest_refuse(q, REST_BAD_REQUEST, "'%.64s' is no revision: take that of a list or of an event as it "
			"is.", text);
	return r;
}

static bool read_request(struct rest_request *q, struct stream *s)
{
	struct schema_errors e = { 0 };
	uint64_t heartbeat_s = HEARTBEAT_S;

	read_kinds(q, &s->filter, &e);
	(void)rest_query_id(q, "dataset", &s->filter.dataset, &e);
	(void)rest_query_id(q, "node", &s->filter.node, &e);
	(void)rest_query_number(q, "heartbeat", 1, HEARTBEAT_MAX_S, &heartbeat_s, &e);
	s->heartbeat_s = (unsigned int)heartbeat_s;
	return rest_query_good(q, &e) && read_revision(q, publish_log(s->watch->publish), &s->n) == 0;
}

/* From here on it is a stream, and no request that waits for its answer. */
static int begin(struct rest_request *q, const struct stream *wanted)
{
	static const struct http_stay stay = { on_drained, on_gone };
	struct rest_watch *w = wanted->watch;
	struct stream *s = malloc(sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	*s = *wanted;
	s->beat = evtimer_new(w->base, on_beat, s);
	r = s->beat ? http_stay(q->http, &stay, s) : -ENOMEM;
	if (r < 0) {
		if (s->beat)
			event_free(s->beat);
		free(s);
		return r;
	}
	rest_add_header(q, "Content-Type", "text/event-stream");
	rest_add_header(q, "Cache-Control", "no-store");
	s->http = rest_detach(q);
	s->next = w->streams;
	if (s->next)
		s->next->prev = s;
	w->streams = s;
	w->n_streams++;
	http_begin(s->http, HTTP_OK);
	if (say_revision(s) < 0)
		stream_free(s);
	else
		(void)event_add(s->beat, &(struct timeval){ .tv_sec = s->heartbeat_s });
	return 0;
}

static void follow_events(struct rest_request *q)
{
	struct stream s = { .watch = rest_watch_of(q) };
	int r;

	if (!read_request(q, &s))
		return;
	if (http_request_head(q->http)->method == EVHTTP_REQ_HEAD) {
		rest_reply_bytes(q, HTTP_OK, "text/event-stream", NULL, 0);
		return;
	}
	if (rest_stopping(q)) {
		rest_refuse_stopping(q);
		return;
	}
	r = begin(q, &s);
	if (r == -EUSERS)
		rest_refuse_watcher(q);
	else if (r < 0)
		rest_reply_error(q, HTTP_INTERNAL, "out of memory");
}

void rest_refuse_watcher(struct rest_request *q)
{
	rest_add_header(q, "Retry-After", "10");
	rest_refuse(q, REST_TOO_MANY_WATCHERS, "As many clients as allowed follow events or wait for a dataset "
		"(flocker-control --max-watchers).");
}

void rest_refuse_stopping(struct rest_request *q)
{
	rest_refuse(q, REST_STOPPING, "The control service stops: ask again.");
}

/* clang-format off */
const struct rest_route rest_event_routes[] = {
	{ EVHTTP_REQ_GET, "/v2/events", follow_events, .query = "after dataset node type heartbeat" },
	{ 0 },
};
/* clang-format on */

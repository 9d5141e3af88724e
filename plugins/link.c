/* SPDX-License-Identifier: Apache-2.0 */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/dns.h>

#include "answer.h"
#include "jsonin.h"
#include "link.h"

struct request {
	struct request *next;
	char *text;
	size_t size;
	link_piece_fn on_piece; /* NULL: the body is collected */
	link_done_fn on_done;
	void *userdata;
	bool again; /* it was sent before, on a connection that had ended */
};

struct link {
	struct event_base *base;
	struct link_config c;
	struct evdns_base *dns;
	struct bufferevent *bev; /* NULL: closed */
	struct event *limit, *start;
	bool open, kept, heard; /* heard: something of the present answer */
	bool outdated; /* it shows a former certificate, and ends with the present answer */
	struct answer answer;
	struct evbuffer *body;
	struct request *first, **last;
	size_t n_queued;
};

/* ---- requests ---- */

static void request_free(struct request *q)
{
	free(q->text);
	free(q);
}

static void arm(struct link *l, int seconds)
{
	(void)evtimer_add(l->limit, &(struct timeval){ .tv_sec = seconds });
}

static void hang_up(struct link *l)
{
	if (l->bev)
		bufferevent_free(TAKE_PTR(l->bev));
	l->open = l->kept = l->heard = l->outdated = false;
	memset(&l->answer, 0, sizeof(l->answer));
	(void)event_del(l->limit);
}

static void begin_next(struct link *l)
{
	if (l->first)
		(void)evtimer_add(l->start, &(struct timeval){ 0 });
}

/* The present request is over. */
static void finish(struct link *l, const struct link_answer *a)
{
	struct request *q = l->first;

	l->first = q->next;
	if (!l->first)
		l->last = &l->first;
	l->n_queued--;
	(void)event_del(l->limit);
	begin_next(l);
	q->on_done(a, q->userdata);
	request_free(q);
}

/* Where no connection comes about, that holds for all that wait for one: they would wait in vain
 * one after another. */
static void fail(struct link *l, int err, const char *what)
{
	size_t n = l->open ? 1 : l->n_queued;
	struct link_answer a = { .err = err };
	char why[LINK_WHY_MAX];

	snprintf(why, sizeof(why), "the control service at %s port %u cannot be asked: %s",
		l->c.host, l->c.port, what);
	a.why = why;
	a.unsent = !l->open;
	hang_up(l);
	for (; n > 0 && l->first; n--) {
		struct link_answer one = a;

		one.unsent &= !l->first->again;
		finish(l, &one);
	}
}

/* The connection has ended by itself. */
static void lost(struct link *l, int err, const char *what)
{
	bool stale = l->kept && !l->heard && l->first && !l->first->again && err != ETIMEDOUT;

	if (!stale) {
		fail(l, err, what);
		return;
	}
	hang_up(l);
	l->first->again = true;
	begin_next(l);
}

/* ---- answers ---- */

static struct json_object *member(struct json_object *body, const char *key, enum json_type type)
{
	struct json_object *v = NULL;

	(void)json_object_object_get_ex(body, key, &v);
	return json_object_is_type(v, type) ? v : NULL;
}

/* In the server's words: what is wrong with each member, or what it says of the whole. */
static void why_of(struct json_object *body, char buf[LINK_WHY_MAX])
{
	struct json_object *errors = member(body, "errors", json_type_array);
	struct json_object *description = member(body, "description", json_type_string);
	size_t n = errors ? json_object_array_length(errors) : 0, used = 0;

	snprintf(buf, LINK_WHY_MAX, "%s", description ? json_object_get_string(description) :
		"the control service refused, without a reason");
	for (size_t i = 0; i < n && used < LINK_WHY_MAX - 1; i++) {
		used += (size_t)snprintf(buf + used, LINK_WHY_MAX - used, "%s%s", i > 0 ? "; " : "",
			json_object_get_string(json_object_array_get_idx(errors, i)));
	}
}

static void complete(struct link *l)
{
	_cleanup_json_ struct json_object *body = NULL;
	struct link_answer a = { .status = l->answer.status, .why = "" };
	size_t size = evbuffer_get_length(l->body);
	char error[JSONIN_ERROR_MAX], why[LINK_WHY_MAX];
	const char *text = size > 0 ? (const char *)evbuffer_pullup(l->body, -1) : NULL;

	if (text && jsonin_parse(text, size, &body, error) < 0)
		body = NULL;
	(void)evbuffer_drain(l->body, size);
	if (l->answer.close || l->outdated)
		hang_up(l);
	else
		l->kept = true;
	l->heard = false;
	a.body = body;
	if (a.status >= 300) {
		why_of(body, why);
		a.why = why;
	}
	finish(l, &a);
}

static int take_body(struct link *l, const char *data, size_t size)
{
	const struct request *q = l->first;

	if (size == 0)
		return 0;
	if (q->on_piece && l->answer.status == 200) {
		arm(l, LINK_SILENCE_S);
		return q->on_piece(data, size, q->userdata);
	}
	if (evbuffer_get_length(l->body) + size > LINK_BODY_MAX)
		return -EFBIG;
	return evbuffer_add(l->body, data, size) < 0 ? -ENOMEM : 0;
}

/* All that came: 0, or what is wrong with it. */
static int take(struct link *l)
{
	struct evbuffer *in = bufferevent_get_input(l->bev);
	size_t size = evbuffer_get_length(in), at = 0, used, n;
	const char *data = (const char *)evbuffer_pullup(in, -1), *body = NULL;
	int r = 0;

	if (size > 0 && !l->first)
		return -EPROTO; /* nobody asked */
	l->heard |= size > 0;
	while (r == 0 && at < size && l->answer.state != ANSWER_DONE) {
		r = answer_take(&l->answer, data + at, size - at, &used, &body, &n);
		if (r == 0) {
			at += used;
			r = take_body(l, body, n);
		}
	}
	(void)evbuffer_drain(in, at);
	return r;
}

static void on_read(struct bufferevent *bev, void *userdata)
{
	struct link *l = userdata;
	int r = take(l);

	if (r < 0)
		fail(l, -r, r == -EPROTO ? "what answers there is no control service" : strerror(-r));
	else if (l->first && l->answer.state == ANSWER_DONE)
		complete(l);
}

/* ---- the connection ---- */

static void on_event(struct bufferevent *bev, short what, void *userdata)
{
	struct link *l = userdata;
	int err = EVUTIL_SOCKET_ERROR(), dns;
	char text[384];

	if (what & BEV_EVENT_CONNECTED) {
		l->open = true;
		begin_next(l);
	} else if ((dns = bufferevent_socket_get_dns_error(bev))) {
		lost(l, ENOENT, evutil_gai_strerror(dns));
	} else if (*tls_error_text(bufferevent_openssl_get_ssl(bev), bufferevent_get_openssl_error(bev), text,
			   sizeof(text))) {
		lost(l, EPROTO, text);
	} else if (what & BEV_EVENT_EOF && l->first && l->heard && answer_end(&l->answer)) {
		l->answer.close = true;
		complete(l);
	} else if (!l->open) { /* OpenSSL does not pass on why */
		lost(l, ECONNREFUSED, "no connection; does flocker-control run there?");
	} else if (what & BEV_EVENT_EOF) {
		lost(l, ECONNRESET, "it closed the connection");
	} else {
		lost(l, err ?: ECONNRESET, strerror(err ?: ECONNRESET));
	}
}

static void on_limit(evutil_socket_t fd, short what, void *userdata)
{
	lost(userdata, ETIMEDOUT, "it does not answer");
}

/* A resolver is made for each dialling, since resolv.conf may have changed. */
static int make_resolver(struct link *l)
{
	if (l->dns)
		evdns_base_free(TAKE_PTR(l->dns), 0);
	l->dns = evdns_base_new(l->base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (l->dns)
		return 0;
	l->dns = evdns_base_new(l->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (l->dns)
		(void)evdns_base_load_hosts(l->dns, "/etc/hosts");
	return l->dns ? 0 : -ENOMEM;
}

static int dial(struct link *l)
{
	_cleanup_(SSL_freep) SSL *ssl = SSL_new(l->c.ctx);

	if (!ssl || tls_client_expect(ssl, l->c.host) < 0 || make_resolver(l) < 0)
		return -ENOMEM;
	l->bev = bufferevent_openssl_socket_new(l->base, -1, ssl, BUFFEREVENT_SSL_CONNECTING,
		BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	if (!l->bev)
		return -ENOMEM;
	(void)TAKE_PTR(ssl);
	bufferevent_openssl_set_allow_dirty_shutdown(l->bev, 1);
	bufferevent_setcb(l->bev, on_read, NULL, on_event, l);
	if (bufferevent_enable(l->bev, EV_READ | EV_WRITE) < 0 ||
		bufferevent_socket_connect_hostname(l->bev, l->dns, AF_UNSPEC, l->c.host, l->c.port) < 0)
		return errno > 0 ? -errno : -EIO;
	arm(l, LINK_LIMIT_S);
	return 0;
}

/* What is to be done for the first request: to connect, or to send it. */
static void on_start(evutil_socket_t fd, short what, void *userdata)
{
	struct link *l = userdata;
	int r = 0;

	if (!l->first || (l->bev && !l->open))
		return;
	if (!l->bev) {
		errno = 0;
		r = dial(l);
	} else {
		memset(&l->answer, 0, sizeof(l->answer));
		l->heard = false;
		arm(l, l->first->on_piece ? LINK_SILENCE_S : LINK_LIMIT_S);
		r = bufferevent_write(l->bev, l->first->text, l->first->size) < 0 ? -ENOMEM : 0;
	}
	if (r < 0)
		fail(l, -r, strerror(-r));
}

/* ---- use ---- */

static int request_text(const struct link *l, const char *method, const char *path, struct json_object *body,
	const char *accept, char **ret)
{
	bool v6 = strchr(l->c.host, ':');
	const char *text = body ? json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN) : "";
	char head[96] = "";

	if (!text)
		return -ENOMEM;
	if (body)
		snprintf(head, sizeof(head),
			"Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(text));
	return asprintf(ret,
		"%s %s HTTP/1.1\r\n"
		"Host: %s%s%s:%u\r\n"
		"User-Agent: %s/" FLOCKER_VERSION "\r\n"
		"Accept: %s\r\n%s\r\n%s",
		method, path, v6 ? "[" : "", l->c.host, v6 ? "]" : "", l->c.port, l->c.program,
		accept, head, text);
}

static int ask(struct link *l, const struct request *wanted, const char *method, const char *path,
	struct json_object *body)
{
	struct request *q;
	int size;

	if (l->n_queued >= LINK_QUEUE_MAX)
		return -ENOBUFS;
	q = malloc(sizeof(*q));
	if (!q)
		return -ENOMEM;
	*q = *wanted;
	size = request_text(l, method, path, body, q->on_piece ? "text/event-stream" : "application/json", &q->text);
	if (size < 0) {
		free(q);
		return -ENOMEM;
	}
	q->size = (size_t)size;
	*l->last = q;
	l->last = &q->next;
	if (++l->n_queued == 1)
		begin_next(l);
	return 0;
}

int link_call(struct link *l, const char *method, const char *path, struct json_object *body, link_done_fn fn,
	void *userdata)
{
	return ask(l, &(struct request){ .on_done = fn, .userdata = userdata }, method, path, body);
}

int link_follow(struct link *l, const char *path, link_piece_fn on_piece, link_done_fn fn, void *userdata)
{
	return ask(l, &(struct request){.on_piece = on_piece, .on_done = fn, .userdata = userdata},
		"GET", path, NULL);
}

void link_hang_up(struct link *l)
{
	if (l->bev && !l->first)
		hang_up(l);
	else if (l->bev && l->first->on_piece)
		fail(l, ECONNRESET, "the certificates have changed");
	else if (l->bev)
		l->outdated = true;
}

struct link *link_free(struct link *l)
{
	if (!l)
		return NULL;
	if (l->limit)
		hang_up(l);
	while (l->first) {
		struct request *q = l->first;

		l->first = q->next;
		request_free(q);
	}
	if (l->dns)
		evdns_base_free(l->dns, 0);
	if (l->limit)
		event_free(l->limit);
	if (l->start)
		event_free(l->start);
	if (l->body)
		evbuffer_free(l->body);
	free(l);
	return NULL;
}
DEFINE_CLEANUP(struct link *, link_free);

int link_new(struct event_base *base, const struct link_config *c, struct link **ret)
{
	_cleanup_(link_freep) struct link *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->base = base;
	l->c = *c;
	l->last = &l->first;
	l->limit = evtimer_new(base, on_limit, l);
	l->start = evtimer_new(base, on_start, l);
	l->body = evbuffer_new();
	if (!l->limit || !l->start || !l->body)
		return -ENOMEM;
	*ret = TAKE_PTR(l);
	return 0;
}

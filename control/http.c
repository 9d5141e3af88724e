/* SPDX-License-Identifier: Apache-2.0 */
#include <netdb.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include <event2/bufferevent_ssl.h>
#include <event2/listener.h>
#include <openssl/err.h>

#include "http_private.h"
#include "log.h"

#define HANDSHAKE_LIMIT_S 10
#define LINGER_LIMIT_S 2
#define READ_AHEAD (64 * KIB)

#define TO(state) (1u << CONN_##state)

/* clang-format off */
static const struct {
	unsigned int next;
	unsigned int limit_s; /* 0: none, or of struct http_limits */
} states[] = {
	[CONN_HANDSHAKE] = { TO(IDLE),				HANDSHAKE_LIMIT_S },
	[CONN_IDLE]	 = { TO(HEAD),				0 },
	[CONN_HEAD]	 = { TO(BODY) | TO(WORKING),		0 },
	[CONN_BODY]	 = { TO(WORKING),			0 },
	[CONN_WORKING]	 = { TO(ANSWERING) | TO(STREAMING),	0 },
	[CONN_ANSWERING] = { TO(IDLE) | TO(LINGERING),		0 },
	[CONN_STREAMING] = { TO(LINGERING),			0 },
	[CONN_LINGERING] = { 0,					LINGER_LIMIT_S },
};
/* clang-format on */
static_assert(ARRAY_SIZE(states) == CONN_STATE_MAX, "the last state has no row");

/* ---- connections ---- */

static unsigned int limit_of(const struct conn *c)
{
	switch (c->state) {
	case CONN_IDLE:
		return c->http->limits.idle_s;
	case CONN_HEAD:
		return c->http->limits.request_s;
	case CONN_ANSWERING:
		return c->http->limits.answer_s;
	default:
		return states[c->state].limit_s;
	}
}

void http_conn_move(struct conn *c, enum conn_state next)
{
	struct timeval tv = { 0 };

	assert(states[c->state].next & (1u << next));
	c->state = next;
	if (next == CONN_BODY)
		return; /* the request's clock goes on */
	tv.tv_sec = limit_of(c);
	if (tv.tv_sec)
		(void)event_add(c->limit, &tv);
	else
		(void)event_del(c->limit);
}

/* What it gets wrong is of nobody's interest, and not of the next session either. */
static void say_goodbye(struct conn *c)
{
	ERR_clear_error();
	(void)SSL_shutdown(c->ssl);
	ERR_clear_error();
}

void http_conn_count(struct conn *c, bool stays)
{
	struct http *h = c->http;

	if (c->stays == stays)
		return;
	c->stays = stays;
	h->n_watchers += stays ? 1 : -1U;
	h->n_conns += stays ? -1U : 1;
	if (h->n_conns + 1 == h->limits.connections && !h->stopping)
		evconnlistener_enable(h->listener);
}

void http_conn_free(struct conn *c)
{
	struct http_request *q = c->request;
	struct http *h = c->http;

	if (c->prev)
		c->prev->next = c->next;
	else
		h->first = c->next;
	if (c->next)
		c->next->prev = c->prev;
	if (c->state == CONN_WORKING || c->state == CONN_STREAMING)
		q->conn = NULL; /* who works on it still ends it */
	else
		http_request_free(TAKE_PTR(q));
	if (c->limit)
		event_free(c->limit);
	if (c->state == CONN_IDLE)
		say_goodbye(c);
	if (c->bev)
		bufferevent_free(c->bev);
	http_conn_count(c, true);
	h->n_watchers--;
	free(c);
	if (q && q->stay)
		q->stay->on_gone(q->stay_userdata);
}

void http_conn_linger(struct conn *c)
{
	http_conn_move(c, CONN_LINGERING);
	say_goodbye(c);
	(void)shutdown(bufferevent_getfd(c->bev), SHUT_WR);
	(void)evbuffer_drain(bufferevent_get_input(c->bev), SIZE_MAX);
}

/* ---- requests ---- */

static struct http_request *request_new(struct conn *c)
{
	struct http_request *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	TAILQ_INIT(&q->answer);
	q->conn = c;
	q->body = evbuffer_new();
	if (!q->body) {
		free(q);
		return NULL;
	}
	return q;
}

static void conn_refuse(struct conn *c, const struct http_problem *p)
{
	c->close = true;
	http_conn_move(c, CONN_WORKING);
	c->http->cbs->on_refused(c->request, p, c->http->userdata);
}

static void too_large(const struct conn *c, struct http_problem *p)
{
	p->status = HTTP_ENTITYTOOLARGE;
	snprintf(p->text, sizeof(p->text), "A request body may have %zu bytes at most.",
		c->http->limits.body_bytes);
}

/* 1 when the body is there, 0 when more has to come. */
static int read_body(struct conn *c, struct http_problem *p)
{
	struct evbuffer *in = bufferevent_get_input(c->bev), *body = c->request->body;
	const struct http_head *head = &c->request->head;
	size_t missing;

	if (head->chunked)
		return http_chunks_read(&c->chunks, in, body, c->http->limits.body_bytes, p);
	missing = (size_t)head->length - evbuffer_get_length(body);
	if (http_take_body(in, body, MIN(missing, evbuffer_get_length(in))) < 0)
		return -ENOMEM;
	return evbuffer_get_length(body) == head->length;
}

/* Of these steps: true when the next one may follow at once; else @c may be gone. */
static bool advance_body(struct conn *c)
{
	struct http_problem p;
	int r = read_body(c, &p);

	if (r == -EBADMSG) {
		conn_refuse(c, &p);
	} else if (r < 0) {
		http_conn_free(c);
	} else if (r > 0) {
		http_conn_move(c, CONN_WORKING);
		c->http->cbs->on_request(c->request, c->http->userdata);
	}
	return false;
}

/* 1 when the head is read, 0 when more has to come. */
static int read_head(struct conn *c, struct http_problem *p)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	size_t size = evbuffer_get_length(in), limit = c->http->limits.head_bytes, end;
	const char *data = (const char *)evbuffer_pullup(in, (ev_ssize_t)MIN(size, limit));
	int r;

	if (!data)
		return -ENOMEM;
	end = http_head_end(data, MIN(size, limit), &c->looked_at);
	if (end == 0 && size < limit)
		return 0;
	if (end == 0) {
		p->status = HTTP_TOO_MUCH_HEADER;
		snprintf(p->text, sizeof(p->text),
			"The first line and the headers of a request may have %zu bytes at most.", limit);
		return -EBADMSG;
	}
	r = http_head_parse(data, end, &c->request->head, p);
	if (r < 0)
		return r;
	c->request->has_head = true;
	(void)evbuffer_drain(in, end);
	if (c->request->head.length > c->http->limits.body_bytes) {
		too_large(c, p);
		return -EBADMSG;
	}
	return 1;
}

static bool advance_head(struct conn *c)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	const struct http_head *head = &c->request->head;
	struct http_problem p;
	int r = read_head(c, &p);

	if (r == -EBADMSG)
		conn_refuse(c, &p);
	else if (r < 0)
		http_conn_free(c);
	if (r <= 0)
		return false;
	c->close |= !head->keep_alive;
	c->chunks = (struct http_chunks){ 0 };
	if (head->expects_continue && (head->chunked || head->length > 0) &&
		evbuffer_get_length(bufferevent_get_input(c->bev)) == 0)
		(void)bufferevent_write(c->bev, go_on, strlen(go_on));
	http_conn_move(c, CONN_BODY);
	return true;
}

/* Empty lines before a request are of clients that end a body with one. */
static bool advance_idle(struct conn *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	char two[2];

	while (evbuffer_copyout(in, two, 2) == 2 && two[0] == '\r' && two[1] == '\n')
		(void)evbuffer_drain(in, 2);
	if (evbuffer_get_length(in) == 0 || (evbuffer_get_length(in) == 1 && two[0] == '\r'))
		return false;
	c->request = request_new(c);
	c->looked_at = 0;
	if (c->request) {
		http_conn_move(c, CONN_HEAD);
		return true;
	}
	http_conn_free(c);
	return false;
}

/* As far as what came goes. */
static void conn_advance(struct conn *c)
{
	bool (*step)(struct conn *c);

	do {
		step = c->state == CONN_IDLE   ? advance_idle
		       : c->state == CONN_HEAD ? advance_head
		       : c->state == CONN_BODY ? advance_body
					       : NULL;
	} while (step && step(c));
}

/* ---- events ---- */

static void on_read(struct bufferevent *bev, void *userdata)
{
	struct conn *c = userdata;

	if (c->state == CONN_LINGERING || c->state == CONN_STREAMING)
		(void)evbuffer_drain(bufferevent_get_input(bev), SIZE_MAX);
	else
		conn_advance(c);
}

/* All of the answer has left. */
static void on_written(struct bufferevent *bev, void *userdata)
{
	struct conn *c = userdata;

	if (evbuffer_get_length(bufferevent_get_output(bev)) > 0)
		return;
	if (c->state == CONN_STREAMING) {
		http_stream_drained(c);
		return;
	}
	if (c->state != CONN_ANSWERING)
		return;
	if (c->close) {
		http_conn_linger(c);
		return;
	}
	http_conn_move(c, CONN_IDLE);
	conn_advance(c);
}

static void on_event(struct bufferevent *bev, short what, void *userdata)
{
	struct conn *c = userdata;

	if (!(what & BEV_EVENT_CONNECTED) ||
		tls_peer_name(c->ssl, "", c->peer.name, sizeof(c->peer.name)) < 0 ||
		tls_peer_serial(c->ssl, c->peer.serial, sizeof(c->peer.serial)) < 0)
		http_conn_free(c);
	else
		http_conn_move(c, CONN_IDLE);
}

static void on_limit(evutil_socket_t fd, short what, void *userdata)
{
	struct conn *c = userdata;
	struct http_problem p = { .status = 408 };

	if (c->state == CONN_STREAMING) {
		http_stream_limit(c);
		return;
	}
	if (c->state != CONN_HEAD && c->state != CONN_BODY) {
		http_conn_free(c);
		return;
	}
	snprintf(p.text, sizeof(p.text), "A request must be here whole within %u s.", c->http->limits.request_s);
	conn_refuse(c, &p);
}

static const char *peer_text(const SSL *ssl, char *buf, size_t size)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char host[64], port[8];

	if (getpeername(SSL_get_fd(ssl), (struct sockaddr *)&sa, &len) < 0 ||
		getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return "an unknown address";
	snprintf(buf, size, "%s:%s", host, port);
	return buf;
}

/* The error queue stays as it is: the bufferevent reads it next. */
static void on_tls(const SSL *ssl, int where, int ret)
{
	char peer[96], text[256];

	if (!(where & SSL_CB_EXIT) || ret > 0 || ERR_peek_error() == 0 || SSL_is_init_finished(ssl))
		return;
	tls_error_text((SSL *)(uintptr_t)ssl, ERR_peek_error(), text, sizeof(text));
	log_warning(0, "REST port: refused %s: TLS handshake failed: %s",
		peer_text(ssl, peer, sizeof(peer)), text);
}

/* ---- doors ---- */

static int conn_open(struct conn *c, int fd)
{
	struct http *h = c->http;
	SSL *ssl = SSL_new(h->ctx);

	if (ssl)
		c->bev = bufferevent_openssl_socket_new(h->base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING,
			BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	if (!c->bev) {
		SSL_free(ssl);
		close(fd);
		return -ENOMEM;
	}
	c->ssl = ssl;
	c->limit = evtimer_new(h->base, on_limit, c);
	if (!c->limit || event_add(c->limit, &(struct timeval){ .tv_sec = HANDSHAKE_LIMIT_S }) < 0)
		return -ENOMEM;
	bufferevent_openssl_set_allow_dirty_shutdown(c->bev, 1);
	bufferevent_setcb(c->bev, on_read, on_written, on_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, MAX(h->limits.head_bytes, (size_t)READ_AHEAD));
	return bufferevent_enable(c->bev, EV_READ | EV_WRITE) < 0 ? -ENOMEM : 0;
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int size,
	void *userdata)
{
	struct http *h = userdata;
	struct conn *c = calloc(1, sizeof(*c));

	if (!c) {
		close(fd);
		return;
	}
	*c = (struct conn){ .http = h, .next = h->first };
	if (c->next)
		c->next->prev = c;
	h->first = c;
	if (++h->n_conns >= h->limits.connections) {
		log_warning(0, "REST port: %u connections are open; more have to wait", h->n_conns);
		evconnlistener_disable(h->listener);
	}
	if (conn_open(c, fd) < 0) {
		log_warning(ENOMEM, "REST port: a connection is dropped");
		http_conn_free(c);
	}
}

static void on_resume(evutil_socket_t fd, short what, void *userdata)
{
	struct http *h = userdata;

	if (!h->stopping)
		evconnlistener_enable(h->listener);
}

/* Out of descriptors, most often: the backlog waits, and accept() must not be asked in a circle. */
static void on_accept_error(struct evconnlistener *l, void *userdata)
{
	struct timeval second = { .tv_sec = 1 };
	struct http *h = userdata;

	log_warning(EVUTIL_SOCKET_ERROR(), "REST port: cannot accept; trying again in a second");
	evconnlistener_disable(l);
	(void)event_add(h->resume, &second);
}

/* ---- beginning and end ---- */

struct http *http_free(struct http *h)
{
	if (!h)
		return NULL;
	h->stopping = true;
	while (h->first)
		http_conn_free(h->first);
	if (h->listener)
		evconnlistener_free(h->listener);
	if (h->resume)
		event_free(h->resume);
	free(h);
	return NULL;
}
DEFINE_CLEANUP(struct http *, http_free);

int http_new(struct event_base *base, int fd, SSL_CTX *ctx, const struct http_limits *limits,
	const struct http_callbacks *cbs, void *userdata, struct http **ret)
{
	_cleanup_(http_freep) struct http *h = calloc(1, sizeof(*h));
	_cleanup_close_ int owned = fd;

	if (!h)
		return -ENOMEM;
	*h = (struct http){ .base = base, .ctx = ctx, .limits = *limits, .cbs = cbs, .userdata = userdata };
	h->listener = evconnlistener_new(base, on_accept, h, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0,
		owned);
	if (!h->listener)
		return -ENOMEM;
	(void)TAKE_FD(owned);
	h->resume = evtimer_new(base, on_resume, h);
	if (!h->resume)
		return -ENOMEM;
	evconnlistener_set_error_cb(h->listener, on_accept_error);
	SSL_CTX_set_info_callback(ctx, on_tls);
	*ret = TAKE_PTR(h);
	return 0;
}

void http_recheck(struct http *h)
{
	char peer[96], text[TLS_NAME_MAX + 256];

	for (struct conn *c = h->first, *next; c; c = next) {
		next = c->next;
		if (tls_recheck(c->ssl, text, sizeof(text)) == 0)
			continue;
		log_warning(0, "REST port: closed %s: %s", peer_text(c->ssl, peer, sizeof(peer)), text);
		http_conn_free(c);
	}
}

void http_stop(struct http *h)
{
	h->stopping = true;
	evconnlistener_disable(h->listener);
}

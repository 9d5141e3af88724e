/* SPDX-License-Identifier: Apache-2.0 */
#include <netdb.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>

#include <event2/bufferevent_ssl.h>
#include <event2/listener.h>
#include <openssl/err.h>

#include "http.h"
#include "log.h"

#define HANDSHAKE_LIMIT_S 10
#define LINGER_LIMIT_S 2
#define READ_AHEAD (64 * KIB)
#define IN_ONE_PIECE_MAX (8 * KIB)
#define HEAD_ROOM 512

enum conn_state {
	CONN_HANDSHAKE,
	CONN_IDLE,
	CONN_HEAD,
	CONN_BODY,
	CONN_WORKING,	/* its request is with others */
	CONN_ANSWERING,
	CONN_LINGERING, /* all was said; the client shall read it before it hears of the end */
	CONN_STATE_MAX,
};

struct conn {
	struct http *http;
	struct conn *prev, *next;
	struct bufferevent *bev;
	SSL *ssl; /* of @bev */
	struct http_peer peer; /* after the handshake */
	struct event *limit;
	enum conn_state state;
	bool close;	    /* after the answer */
	size_t looked_at;   /* of the head */
	struct http_chunks chunks;
	struct http_request *request; /* from its head on until it is answered */
};

struct http_request {
	struct conn *conn; /* NULL: the client has gone */
	struct http_head head;
	bool has_head;
	struct evkeyvalq answer;
	struct evbuffer *body;
};

struct http {
	struct event_base *base;
	SSL_CTX *ctx;
	struct http_limits limits;
	const struct http_callbacks *cbs;
	void *userdata;
	struct evconnlistener *listener;
	struct conn *first;
	unsigned int n_conns;
	bool stopping;
	time_t date_at;
	char date[64];
};

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
	[CONN_WORKING]	 = { TO(ANSWERING),			0 },
	[CONN_ANSWERING] = { TO(IDLE) | TO(LINGERING),		0 },
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

static void conn_move(struct conn *c, enum conn_state next)
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

static void request_free(struct http_request *q)
{
	if (!q)
		return;
	if (q->has_head)
		http_head_done(&q->head);
	evhttp_clear_headers(&q->answer);
	if (q->body)
		evbuffer_free(q->body);
	free(q);
}

/* What it gets wrong is of nobody's interest, and not of the next session either. */
static void say_goodbye(struct conn *c)
{
	ERR_clear_error();
	(void)SSL_shutdown(c->ssl);
	ERR_clear_error();
}

static void conn_free(struct conn *c)
{
	struct http *h = c->http;

	if (c->prev)
		c->prev->next = c->next;
	else
		h->first = c->next;
	if (c->next)
		c->next->prev = c->prev;
	if (c->state == CONN_WORKING)
		c->request->conn = NULL; /* who works on it still answers */
	else
		request_free(c->request);
	if (c->limit)
		event_free(c->limit);
	if (c->state == CONN_IDLE)
		say_goodbye(c);
	if (c->bev)
		bufferevent_free(c->bev);
	free(c);
	if (h->n_conns-- >= h->limits.connections && !h->stopping)
		evconnlistener_enable(h->listener);
}

/* Whoever still sends would be answered by a reset, which takes our last words away with it. */
static void conn_linger(struct conn *c)
{
	conn_move(c, CONN_LINGERING);
	say_goodbye(c);
	(void)shutdown(bufferevent_getfd(c->bev), SHUT_WR);
	(void)evbuffer_drain(bufferevent_get_input(c->bev), SIZE_MAX);
}

/* ---- answers ---- */

static const char *reason_of(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {
		{ 200, "OK" }, { 201, "Created" }, { 400, "Bad Request" }, { 403, "Forbidden" },
		{ 404, "Not Found" }, { 405, "Method Not Allowed" }, { 408, "Request Timeout" },
		{ 409, "Conflict" }, { 412, "Precondition Failed" }, { 413, "Content Too Large" },
		{ 417, "Expectation Failed" }, { 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" }, { 503, "Service Unavailable" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Other";
}

static const char *date_now(struct http *h)
{
	time_t now = time(NULL);
	struct tm tm;

	if (now != h->date_at && gmtime_r(&now, &tm)) {
		strftime(h->date, sizeof(h->date), "%a, %d %b %Y %T GMT", &tm);
		h->date_at = now;
	}
	return h->date;
}

static void add_answer_head(struct conn *c, const struct http_request *q, int status, size_t size)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);

	(void)evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Length: %zu\r\n", status,
		reason_of(status), date_now(c->http), size);
	for (const struct evkeyval *v = q->answer.tqh_first; v; v = v->next.tqe_next)
		(void)evbuffer_add_printf(out, "%s: %s\r\n", v->key, v->value);
	(void)evbuffer_add_printf(out, "Connection: %s\r\n\r\n", c->close ? "close" : "keep-alive");
}

static void on_sent(const void *data, size_t size, void *userdata)
{
	free(userdata);
}

/* Takes @text over. A small answer goes in one piece with its head: one record, one packet. */
static void add_answer(struct conn *c, const struct http_request *q, int status, char *text, size_t size)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);
	bool only_head = q->has_head && q->head.method == EVHTTP_REQ_HEAD;

	if (size <= IN_ONE_PIECE_MAX)
		(void)evbuffer_expand(out, size + HEAD_ROOM);
	add_answer_head(c, q, status, size);
	if (!text || only_head) {
		free(text);
	} else if (size <= IN_ONE_PIECE_MAX) {
		(void)evbuffer_add(out, text, size);
		free(text);
	} else if (evbuffer_add_reference(out, text, size, on_sent, text) < 0) {
		free(text);
	}
}

void http_reply(struct http_request *q, int status, char *text, size_t size)
{
	struct conn *c = q->conn;

	if (!c) {
		free(text);
		request_free(q);
		return;
	}
	c->close |= c->http->stopping;
	add_answer(c, q, status, text, size);
	conn_move(c, CONN_ANSWERING);
	c->request = NULL;
	request_free(q);
}

const struct http_head *http_request_head(const struct http_request *q)
{
	return q->has_head ? &q->head : NULL;
}

struct evbuffer *http_request_body(const struct http_request *q)
{
	return q->body;
}

const struct http_peer *http_request_peer(const struct http_request *q)
{
	return q->conn ? &q->conn->peer : NULL;
}

struct evkeyvalq *http_request_answer_headers(struct http_request *q)
{
	return &q->answer;
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
	conn_move(c, CONN_WORKING);
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
	if (missing > 0 && evbuffer_remove_buffer(in, body, missing) < 0)
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
		conn_free(c);
	} else if (r > 0) {
		conn_move(c, CONN_WORKING);
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
		conn_free(c);
	if (r <= 0)
		return false;
	c->close |= !head->keep_alive;
	c->chunks = (struct http_chunks){ 0 };
	if (head->expects_continue && (head->chunked || head->length > 0) &&
		evbuffer_get_length(bufferevent_get_input(c->bev)) == 0)
		(void)bufferevent_write(c->bev, go_on, strlen(go_on));
	conn_move(c, CONN_BODY);
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
		conn_move(c, CONN_HEAD);
		return true;
	}
	conn_free(c);
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

	if (c->state == CONN_LINGERING)
		(void)evbuffer_drain(bufferevent_get_input(bev), SIZE_MAX);
	else
		conn_advance(c);
}

/* All of the answer has left. */
static void on_written(struct bufferevent *bev, void *userdata)
{
	struct conn *c = userdata;

	if (c->state != CONN_ANSWERING || evbuffer_get_length(bufferevent_get_output(bev)) > 0)
		return;
	if (c->close) {
		conn_linger(c);
		return;
	}
	conn_move(c, CONN_IDLE);
	conn_advance(c);
}

static void on_event(struct bufferevent *bev, short what, void *userdata)
{
	struct conn *c = userdata;

	if (!(what & BEV_EVENT_CONNECTED) ||
		tls_peer_name(c->ssl, "", c->peer.name, sizeof(c->peer.name)) < 0 ||
		tls_peer_serial(c->ssl, c->peer.serial, sizeof(c->peer.serial)) < 0)
		conn_free(c);
	else
		conn_move(c, CONN_IDLE);
}

static void on_limit(evutil_socket_t fd, short what, void *userdata)
{
	struct conn *c = userdata;
	struct http_problem p = { .status = 408 };

	if (c->state != CONN_HEAD && c->state != CONN_BODY) {
		conn_free(c);
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
		conn_free(c);
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
	(void)event_base_once(h->base, -1, EV_TIMEOUT, on_resume, h, &second);
}

/* ---- beginning and end ---- */

struct http *http_free(struct http *h)
{
	if (!h)
		return NULL;
	h->stopping = true;
	while (h->first)
		conn_free(h->first);
	if (h->listener)
		evconnlistener_free(h->listener);
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
		conn_free(c);
	}
}

void http_stop(struct http *h)
{
	h->stopping = true;
	evconnlistener_disable(h->listener);
}

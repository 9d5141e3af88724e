/* SPDX-License-Identifier: Apache-2.0 */
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <openssl/err.h>

#include "log.h"
#include "rest_private.h"
#include "tls.h"

#define HANDSHAKE_LIMIT_S 10
/* evhttp answers what is beyond its own limit in HTML; ours comes first and is said in JSON. */
#define EVHTTP_BODY_MAX (8 * REST_BODY_MAX)
#define METHODS_MAX 8

#define BAD_BODY                                                                                   \
	"The request body could not be decoded according to the value of the\nContent-Type header."

const char *const rest_kinds[] = { REST_USER, REST_VIEWER, NULL };

struct rest {
	struct event_base *base;
	struct cluster *cluster;
	SSL_CTX *ctx;
	struct rest_settings settings;
	struct evhttp *http;
	struct evconnlistener *listener;
	struct rest_request *first; /* unanswered */
	struct door *doors;
	size_t n_connections;
	bool stopping;
};

/* Hangs on a session and is freed with it, so it sees every end of a connection. */
struct door {
	struct rest *rest; /* NULL: it is gone; bufferevents end a moment after evhttp_free() */
	struct door *prev, *next;
	SSL *ssl;
	struct event *limit;
	struct rest_peer peer; /* known when its name is */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int door_index = -1;

struct cluster *rest_cluster(const struct rest_request *q)
{
	return q->rest->cluster;
}

struct failover rest_failover(const struct rest_request *q)
{
	return q->rest->settings.failover;
}

const struct rest_peer *rest_peer(const struct rest_request *q)
{
	return &q->peer;
}

bool rest_is_stale(const struct rest_request *q, const struct assign_node_view *n)
{
	return !n->heard || n->silent_ms >= q->rest->settings.state_expiry_ms;
}

/* ---- answers ---- */

static void request_free(struct rest_request *q)
{
	if (q->prev)
		q->prev->next = q->next;
	else
		q->rest->first = q->next;
	if (q->next)
		q->next->prev = q->prev;
	json_object_put(q->body);
	free(q->param);
	free(q);
}

static void on_sent(const void *data, size_t size, void *userdata)
{
	free(userdata);
}

/* evhttp reads no body of these, so whatever was sent would be taken for the next request. */
static bool body_left_unread(struct evhttp_request *http)
{
	struct evkeyvalq *in = evhttp_request_get_input_headers(http);
	const char *length = evhttp_find_header(in, "Content-Length");

	switch (evhttp_request_get_command(http)) {
	case EVHTTP_REQ_POST:
	case EVHTTP_REQ_PUT:
	case EVHTTP_REQ_PATCH:
		return false;
	default:
		return evhttp_find_header(in, "Transfer-Encoding") ||
		       (length && !STREQ(length, "0"));
	}
}

void rest_reply(struct rest_request *q, int status, struct jsonout *o)
{
	static const char plain[] = "{\"description\": \"out of memory\"}";
	struct evkeyvalq *headers = evhttp_request_get_output_headers(q->http);
	bool head = evhttp_request_get_command(q->http) == EVHTTP_REQ_HEAD;
	struct evbuffer *body = evbuffer_new();
	char *text = NULL, length[24];
	size_t size;

	if (!body || jsonout_finish(o, &text, &size) < 0 ||
		evbuffer_add_reference(body, text, size, on_sent, text) < 0) {
		free(text);
		jsonout_done(o);
		status = HTTP_INTERNAL;
		if (body)
			(void)evbuffer_add_reference(body, plain, strlen(plain), NULL, NULL);
	}
	if (head && body) {
		snprintf(length, sizeof(length), "%zu", evbuffer_get_length(body));
		evhttp_add_header(headers, "Content-Length", length);
		(void)evbuffer_drain(body, SIZE_MAX);
	}
	evhttp_add_header(headers, "Content-Type", "application/json");
	if (q->rest->stopping || body_left_unread(q->http))
		evhttp_add_header(headers, "Connection", "close");
	evhttp_send_reply(q->http, status, NULL, body);
	if (body)
		evbuffer_free(body);
	request_free(q);
}

void rest_reply_errors(struct rest_request *q, int status, const char *description,
	char *const *errors, size_t n)
{
	struct jsonout o = { 0 };

	jsonout_open(&o, NULL, '{');
	jsonout_text(&o, "description", description);
	if (n > 0) {
		jsonout_open(&o, "errors", '[');
		for (size_t i = 0; i < n; i++)
			jsonout_text(&o, NULL, errors[i]);
		jsonout_close(&o, ']');
	}
	jsonout_close(&o, '}');
	rest_reply(q, status, &o);
}

void rest_reply_error(struct rest_request *q, int status, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rest_reply_errors(q, status, text, NULL, 0);
}

/* ---- writes ---- */

struct write {
	struct rest_request *q;
	struct id128 id;
	int status;
	const struct rest_outcome *outcomes;
	void (*answer)(struct rest_request *q, struct id128 id, struct jsonout *o);
};

static void on_decided(int status, int err, void *userdata)
{
	struct write w = *(struct write *)userdata;
	struct jsonout o = { 0 };

	free(userdata);
	if (err < 0) {
		rest_reply_error(w.q, HTTP_SERVUNAVAIL,
			"Nothing was changed: the store of the control "
			"service cannot be written (%s). Try again when that is mended.",
			strerror(-err));
		return;
	}
	if (status == 0) {
		w.answer(w.q, w.id, &o);
		rest_reply(w.q, w.status, &o);
		return;
	}
	if (status == -ESTALE) {
		rest_reply_error(w.q, HTTP_SERVUNAVAIL, "Nothing was changed: %s.", WIRE_STORE_IS_OLD);
		return;
	}
	while (w.outcomes->err && w.outcomes->err != status)
		w.outcomes++;
	if (w.outcomes->err)
		rest_reply_error(w.q, w.outcomes->status, "%s", w.outcomes->description);
	else
		rest_reply_error(w.q, HTTP_INTERNAL, "%s", strerror(-status));
}

void rest_write(struct rest_request *q, struct assign_event *ev, struct id128 id, int status,
	const struct rest_outcome *outcomes,
	void (*answer)(struct rest_request *q, struct id128 id, struct jsonout *o))
{
	struct write *w = malloc(sizeof(*w));

	if (!w) {
		rest_reply_error(q, HTTP_INTERNAL, "out of memory");
		return;
	}
	*w = (struct write){ q, id, status, outcomes, answer };
	cluster_decide(q->rest->cluster, ev, on_decided, w);
}

/* ---- routes ---- */

static const struct rest_route *const tables[] = { rest_v1_routes, rest_lease_routes, rest_v2_routes };

/* The next segment of @path, doubled slashes being one; NULL at the end. A trailing slash makes an
 * empty segment, which no route has. */
static const char *next_segment(const char **path, size_t *ret_size)
{
	const char *p = *path;

	if (!*p)
		return NULL;
	while (*p == '/')
		p++;
	*ret_size = strcspn(p, "/");
	*path = p + *ret_size;
	return p;
}

static bool route_matches(const char *route, const char *path, const char **ret_param,
	size_t *ret_param_size)
{
	const char *want, *have;
	size_t n_want, n_have;

	for (;;) {
		want = next_segment(&route, &n_want);
		have = next_segment(&path, &n_have);
		if (!want || !have)
			return !want && !have;
		if (n_want == 1 && *want == '*' && n_have > 0) {
			*ret_param = have;
			*ret_param_size = n_have;
		} else if (n_want != n_have || memcmp(want, have, n_want) != 0) {
			return false;
		}
	}
}

void rest_reply_schema(struct rest_request *q, int r, struct schema_errors *e)
{
	if (r == -EINVAL)
		rest_reply_errors(q, HTTP_BADREQUEST,
			"The provided JSON doesn't match the required schema.", e->list, e->n);
	else
		rest_reply_error(q, HTTP_INTERNAL, "out of memory");
	schema_errors_done(e);
}

static const struct {
	enum evhttp_cmd_type method;
	const char *name;
} methods[] = {
	{ EVHTTP_REQ_GET, "GET" }, { EVHTTP_REQ_HEAD, "HEAD" }, { EVHTTP_REQ_POST, "POST" },
	{ EVHTTP_REQ_DELETE, "DELETE" },
};

/* May be empty: nothing is allowed there. */
static void add_allow(struct rest_request *q, unsigned int allowed, char allow[64])
{
	*allow = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (allowed & methods[i].method) {
			strcat(allow, *allow ? ", " : "");
			strcat(allow, methods[i].name);
		}
	evhttp_add_header(evhttp_request_get_output_headers(q->http), "Allow", allow);
}

struct match {
	const struct rest_route *route; /* of this method; or NULL */
	bool known;			/* there is such a path */
	unsigned int allowed;		/* the methods that it answers to */
	const char *param;
	size_t param_size;
};

static struct match find_route(const char *path, unsigned int method)
{
	struct match m = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct rest_route *r = tables[i]; r->path; r++) {
			unsigned int has = r->methods | (r->methods & EVHTTP_REQ_GET ? EVHTTP_REQ_HEAD : 0);

			if (!route_matches(r->path, path, &m.param, &m.param_size))
				continue;
			m.known = true;
			if (!(r->flags & REST_REFUSES))
				m.allowed |= has;
			if (has & method)
				m.route = r;
		}
	return m;
}

/* Percent-decodes the path's parameter. -EINVAL when it holds a NUL or is not UTF-8. */
static int set_param(struct rest_request *q, const char *param, size_t size)
{
	_cleanup_free_ char *encoded = strndup(param, size);
	size_t n;
	char *end;

	if (!encoded)
		return -ENOMEM;
	q->param = evhttp_uridecode(encoded, 0, &n);
	if (!q->param)
		return -ENOMEM;
	if (strlen(q->param) != n)
		return -EINVAL;
	end = q->param + n;
	for (const char *p = q->param; p < end;) {
		unsigned int length = utf8_length(p, end);

		if (!length)
			return -EINVAL;
		p += length;
	}
	return 0;
}

/* ---- the checks before a handler, in the order that clients see ---- */

static bool check_tag(struct rest_request *q)
{
	struct evkeyvalq *in = evhttp_request_get_input_headers(q->http);
	const char *first = NULL;
	char tag[CLUSTER_TAG_SIZE];

	cluster_tag(q->rest->cluster, true, tag);
	for (struct evkeyval *h = in->tqh_first; h; h = h->next.tqe_next) {
		if (strcasecmp(h->key, "X-If-Configuration-Matches") != 0)
			continue;
		if (STREQ(h->value, tag))
			return true;
		first = first ?: h->value;
	}
	if (!first)
		return true;
	rest_reply_error(q, 412, "Tag doesn't match. Required: %s, current: %s", first, tag);
	return false;
}

static bool read_body(struct rest_request *q)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(q->http);
	char error[JSONIN_ERROR_MAX], *errors[] = { error };
	size_t size = evbuffer_get_length(in);
	const char *text = size ? (const char *)evbuffer_pullup(in, -1) : "";
	int r = text ? jsonin_parse(text, size, &q->body, error) : -ENOMEM;

	if (r == -EBADMSG)
		rest_reply_errors(q, HTTP_BADREQUEST, BAD_BODY, errors, 1);
	else if (r < 0)
		rest_reply_error(q, HTTP_INTERNAL, "out of memory");
	return r == 0;
}

/* A viewer changes nothing, not even by a path that does not exist. */
static bool check_role(struct rest_request *q)
{
	if (!q->peer.viewer || evhttp_request_get_command(q->http) & (EVHTTP_REQ_GET | EVHTTP_REQ_HEAD))
		return true;
	rest_reply_error(q, 403, "The certificate '%s' may only look (GET and HEAD): for changes use one of "
		"a user, as flocker-ca create-api-certificate makes.", q->peer.name);
	return false;
}

static void dispatch(struct rest_request *q)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(q->http);
	const char *path = (uri ? evhttp_uri_get_path(uri) : NULL) ?: "/";
	struct match m = find_route(path, evhttp_request_get_command(q->http));
	const struct rest_route *route = m.route;
	char allow[64];
	int r = 0;

	if (!check_role(q))
		return;
	if (!m.known) {
		rest_reply_error(q, HTTP_NOTFOUND, "No such resource: %.200s", path);
		return;
	}
	if (!route || route->flags & REST_REFUSES)
		add_allow(q, m.allowed, allow);
	if (!route) {
		rest_reply_error(q, HTTP_BADMETHOD, "This resource answers to %s only.", allow);
		return;
	}
	if (evbuffer_get_length(evhttp_request_get_input_buffer(q->http)) > REST_BODY_MAX) {
		rest_reply_error(q, HTTP_ENTITYTOOLARGE,
			"A request body may have %llu bytes at most.",
			(unsigned long long)REST_BODY_MAX);
		return;
	}
	if (m.param)
		r = set_param(q, m.param, m.param_size);
	if (r < 0)
		rest_reply_error(q, HTTP_BADREQUEST, "Non-UTF-8 encoding in URL.");
	else if ((!(route->flags & REST_CONDITIONAL) || check_tag(q)) &&
		(!(route->flags & REST_READS_BODY) || read_body(q)))
		route->handle(q);
}

/* Asked of OpenSSL once a connection. */
static void set_peer(struct rest_request *q)
{
	struct bufferevent *bev = evhttp_connection_get_bufferevent(evhttp_request_get_connection(q->http));
	SSL *ssl = bufferevent_openssl_get_ssl(bev);
	struct door *d = SSL_get_ex_data(ssl, door_index);

	if (!*d->peer.name) {
		d->peer.viewer = tls_peer_name(ssl, "", d->peer.name, sizeof(d->peer.name)) < 0 ||
				 strncmp(d->peer.name, REST_USER, strlen(REST_USER)) != 0;
		(void)tls_peer_serial(ssl, d->peer.serial, sizeof(d->peer.serial));
	}
	q->peer = d->peer;
}

static void on_request(struct evhttp_request *http, void *userdata)
{
	struct rest *r = userdata;
	struct rest_request *q = calloc(1, sizeof(*q));

	if (!q) {
		evhttp_send_error(http, HTTP_INTERNAL, NULL);
		return;
	}
	*q = (struct rest_request){ .rest = r, .next = r->first, .http = http };
	if (q->next)
		q->next->prev = q;
	r->first = q;
	set_peer(q);
	dispatch(q);
}

/* ---- connections ---- */

static void door_leave(struct door *d)
{
	struct rest *r = d->rest;

	if (d->prev)
		d->prev->next = d->next;
	else
		r->doors = d->next;
	if (d->next)
		d->next->prev = d->prev;
	event_free(d->limit);
	d->rest = NULL;
	if (r->n_connections-- >= REST_CONNECTIONS_MAX && !r->stopping)
		evconnlistener_enable(r->listener);
}

static void door_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	struct door *d = ptr;

	if (d && d->rest)
		door_leave(d);
	free(d);
}

static void make_index(void)
{
	door_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, door_free);
	assert(door_index >= 0);
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

/* evhttp keeps a failed handshake to itself, so OpenSSL is asked to tell. The error queue stays as
 * it is: the bufferevent reads it next. */
static void on_tls(const SSL *ssl, int where, int ret)
{
	char peer[96], text[256];

	if (!(where & SSL_CB_EXIT) || ret > 0 || ERR_peek_error() == 0 || SSL_is_init_finished(ssl))
		return;
	tls_error_text((SSL *)(uintptr_t)ssl, ERR_peek_error(), text, sizeof(text));
	log_warning(0, "REST port: refused %s: TLS handshake failed: %s",
		peer_text(ssl, peer, sizeof(peer)), text);
}

static void on_handshake_limit(evutil_socket_t fd, short what, void *userdata)
{
	struct door *d = userdata;

	if (!SSL_is_init_finished(d->ssl))
		(void)shutdown(SSL_get_fd(d->ssl), SHUT_RDWR); /* the bufferevent sees the end */
}

static struct door *door_new(struct rest *r, SSL *ssl)
{
	struct door *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	*d = (struct door){ .rest = r, .ssl = ssl, .next = r->doors };
	d->limit = evtimer_new(r->base, on_handshake_limit, d);
	if (!d->limit ||
		event_add(d->limit, &(struct timeval){ .tv_sec = HANDSHAKE_LIMIT_S }) < 0 ||
		SSL_set_ex_data(ssl, door_index, d) != 1) {
		if (d->limit)
			event_free(d->limit);
		free(d);
		return NULL;
	}
	if (d->next)
		d->next->prev = d;
	r->doors = d;
	if (++r->n_connections >= REST_CONNECTIONS_MAX) {
		log_warning(0, "REST port: %d connections are open; more have to wait",
			REST_CONNECTIONS_MAX);
		evconnlistener_disable(r->listener);
	}
	return d;
}

static struct bufferevent *on_new_connection(struct event_base *base, void *userdata)
{
	struct rest *r = userdata;
	SSL *ssl = SSL_new(r->ctx);
	struct bufferevent *bev = NULL;

	if (ssl && door_new(r, ssl))
		bev = bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING,
			BEV_OPT_CLOSE_ON_FREE);
	if (!bev) {
		/* Without one evhttp would go on in plain text. */
		log_error(ENOMEM, "REST port: cannot go on");
		abort();
	}
	bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	return bev;
}

static void on_resume(evutil_socket_t fd, short what, void *userdata)
{
	evconnlistener_enable(userdata);
}

/* Out of descriptors, most often: the backlog waits, and accept() must not be asked in a circle.
 * The listener's userdata is evhttp's. */
static void on_accept_error(struct evconnlistener *l, void *userdata)
{
	struct timeval second = { .tv_sec = 1 };

	log_warning(EVUTIL_SOCKET_ERROR(), "REST port: cannot accept; trying again in a second");
	evconnlistener_disable(l);
	(void)event_base_once(evconnlistener_get_base(l), -1, EV_TIMEOUT, on_resume, l, &second);
}

/* ---- beginning and end ---- */

struct rest *rest_free(struct rest *r)
{
	if (!r)
		return NULL;
	r->stopping = true;
	while (r->first)
		rest_reply_error(r->first, HTTP_SERVUNAVAIL, "The control service stops.");
	if (r->http)
		evhttp_free(r->http);
	while (r->doors)
		door_leave(r->doors);
	free(r);
	return NULL;
}
DEFINE_CLEANUP(struct rest *, rest_free);

static int set_up_http(struct rest *r)
{
	r->http = evhttp_new(r->base);
	if (!r->http)
		return -ENOMEM;
	evhttp_set_allowed_methods(r->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST |
			EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_PATCH |
			EVHTTP_REQ_TRACE | EVHTTP_REQ_CONNECT);
	evhttp_set_max_body_size(r->http, EVHTTP_BODY_MAX);
	evhttp_set_max_headers_size(r->http, REST_HEADERS_MAX);
	evhttp_set_timeout(r->http, REST_IDLE_S);
	evhttp_set_default_content_type(r->http, "application/json");
	evhttp_set_bevcb(r->http, on_new_connection, r);
	evhttp_set_gencb(r->http, on_request, r);
	return 0;
}

int rest_new(struct event_base *base, struct cluster *cluster, int fd, SSL_CTX *ctx,
	const struct rest_settings *settings, struct rest **ret)
{
	_cleanup_(rest_freep) struct rest *r = calloc(1, sizeof(*r));
	_cleanup_close_ int owned = fd;

	if (!r)
		return -ENOMEM;
	pthread_once(&once, make_index);
	*r = (struct rest){ .base = base, .cluster = cluster, .ctx = ctx, .settings = *settings };
	if (set_up_http(r) < 0)
		return -ENOMEM;
	r->listener = evconnlistener_new(base, NULL, NULL,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, owned);
	if (!r->listener)
		return -ENOMEM;
	(void)TAKE_FD(owned);
	SSL_CTX_set_info_callback(ctx, on_tls);
	if (!evhttp_bind_listener(r->http, r->listener)) {
		evconnlistener_free(TAKE_PTR(r->listener));
		return -ENOMEM;
	}
	evconnlistener_set_error_cb(r->listener, on_accept_error);
	*ret = TAKE_PTR(r);
	return 0;
}

void rest_recheck(struct rest *r)
{
	char peer[96], text[TLS_NAME_MAX + 256];

	for (struct door *d = r->doors; d; d = d->next) {
		if (tls_recheck(d->ssl, text, sizeof(text)) == 0)
			continue;
		log_warning(0, "REST port: closed %s: %s", peer_text(d->ssl, peer, sizeof(peer)), text);
		(void)shutdown(SSL_get_fd(d->ssl), SHUT_RDWR); /* the bufferevent sees the end */
	}
}

void rest_stop(struct rest *r)
{
	r->stopping = true;
	evconnlistener_disable(r->listener);
}

bool rest_idle(const struct rest *r)
{
	return !r->first;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/dns.h>

#include "conn.h"

enum conn_state {
	CONN_RESOLVING,
	CONN_CONNECTING,
	CONN_HANDSHAKE,
	CONN_OPEN,
	CONN_FINISHING, /* writing what is queued */
	CONN_LINGERING, /* all written; the peer shall read our last words and end it */
	CONN_CLOSED,
};

struct conn {
	struct event_base *base;
	const struct conn_callbacks *cbs;
	void *userdata;
	SSL_CTX *ctx;
	enum conn_state state;
	int fd; /* until a bufferevent owns it */
	struct event *connected, *limit;
	struct evdns_base *dns;
	struct evdns_getaddrinfo_request *lookup;
	struct bufferevent *bev;
	char *host;
	uint16_t port;
	struct sockaddr_storage bind_address;
	socklen_t bind_size;
	char peer_host[256], peer[272];
	uint64_t sent, received; /* last sequence numbers */
	unsigned int busy;	 /* callbacks of ours on the stack */
	bool freed;
};

/* A callback may free the connection: memory stays until the last of our frames has left it. */
static void conn_enter(struct conn *c)
{
	c->busy++;
}

static void conn_leave(struct conn *c)
{
	if (--c->busy == 0 && c->freed)
		free(c);
}

/* We may stand inside one of its callbacks, so the resolver is ended from the loop. */
static void on_resolver_done(evutil_socket_t fd, short what, void *userdata)
{
	evdns_base_free(userdata, 0);
}

static void conn_disconnect(struct conn *c)
{
	if (c->lookup)
		evdns_getaddrinfo_cancel(TAKE_PTR(c->lookup));
	if (c->dns)
		(void)event_base_once(c->base, -1, EV_TIMEOUT, on_resolver_done, TAKE_PTR(c->dns),
			NULL);
	if (c->connected)
		event_free(TAKE_PTR(c->connected));
	if (c->limit)
		event_free(TAKE_PTR(c->limit));
	if (c->bev)
		bufferevent_free(TAKE_PTR(c->bev));
	c->fd = close_keep_errno(c->fd);
	c->state = CONN_CLOSED;
}

static void _printf_(3, 4) conn_close(struct conn *c, int err, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (c->state == CONN_CLOSED)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	conn_disconnect(c);
	conn_enter(c);
	c->cbs->on_close(c, abs(err), text, c->userdata);
	conn_leave(c);
}

struct conn *conn_free(struct conn *c)
{
	if (!c)
		return NULL;
	assert(!c->freed);
	conn_disconnect(c);
	free(TAKE_PTR(c->host));
	c->freed = true;
	conn_enter(c);
	conn_leave(c);
	return NULL;
}
DEFINE_CLEANUP(struct conn *, conn_free);

/* ---- frames ---- */

static void conn_take(struct conn *c, const uint8_t *json, size_t size)
{
	struct wire_msg m = { 0 };
	const char *error = NULL;
	int r;

	r = wire_decode(json, size, &m, &error);
	if (r == -ENOTSUP) { /* a newer peer's message; it has a number all the same */
		c->received++;
		return;
	}
	if (r < 0) {
		conn_close(c, r, "received no valid message: %s", error ?: strerror(-r));
		return;
	}
	if (m.seq == c->received + 1) {
		c->received = m.seq;
		c->cbs->on_message(c, &m, c->userdata);
	} else if (m.seq > c->received) {
		conn_close(c, EPROTO,
			"received message %" PRIu64 " after %" PRIu64 ": some were lost", m.seq,
			c->received);
	}
	wire_msg_done(&m);
}

/* One frame out of the input; false when there is no whole one. */
static bool conn_next_frame(struct conn *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	uint8_t header[WIRE_HEADER];
	uint32_t size;
	uint8_t *frame;

	if (evbuffer_copyout(in, header, sizeof(header)) < (ssize_t)sizeof(header))
		return false;
	size = (uint32_t)header[0] << 24 | (uint32_t)header[1] << 16 | (uint32_t)header[2] << 8 |
		header[3];
	if (size == 0 || size > WIRE_FRAME_MAX) {
		conn_close(c, EPROTO, "received a frame of %" PRIu32 " bytes; 1 to %" PRIu64
				      " are allowed", size, (uint64_t)WIRE_FRAME_MAX);
		return false;
	}
	if (evbuffer_get_length(in) < WIRE_HEADER + (size_t)size)
		return false;
	evbuffer_drain(in, WIRE_HEADER);
	frame = malloc(size);
	if (!frame) {
		conn_close(c, ENOMEM, "out of memory");
		return false;
	}
	evbuffer_remove(in, frame, size);
	conn_take(c, frame, size);
	free(frame);
	return true;
}

static void on_readable(struct bufferevent *bev, void *userdata)
{
	struct conn *c = userdata;

	conn_enter(c);
	while (c->state == CONN_OPEN && conn_next_frame(c))
		;
	if (c->state == CONN_FINISHING || c->state == CONN_LINGERING)
		evbuffer_drain(bufferevent_get_input(c->bev), SIZE_MAX);
	conn_leave(c);
}

/* ---- the end ---- */

static void on_written(struct bufferevent *bev, void *userdata)
{
	struct conn *c = userdata;

	if (c->state != CONN_FINISHING)
		return;
	/* Closing now would reset the connection if the peer is still sending, and our last words
	 * would be lost: say that we are done, and wait for the peer's end, which on_limit()
	 * bounds. */
	c->state = CONN_LINGERING;
	SSL_shutdown(bufferevent_openssl_get_ssl(bev));
	shutdown(bufferevent_getfd(bev), SHUT_WR);
}

static void on_limit(evutil_socket_t fd, short what, void *userdata)
{
	struct conn *c = userdata;

	if (c->state == CONN_FINISHING || c->state == CONN_LINGERING)
		conn_close(c, 0, "closed");
	else
		conn_close(c, ETIMEDOUT, "no %s with %s within %d seconds",
			c->state == CONN_HANDSHAKE ? "TLS handshake" : "connection", c->peer,
			CONN_OPEN_LIMIT_S);
}

static int conn_arm(struct conn *c, int seconds)
{
	if (!c->limit)
		c->limit = evtimer_new(c->base, on_limit, c);
	if (!c->limit || evtimer_add(c->limit, &(struct timeval){ .tv_sec = seconds }) < 0)
		return -ENOMEM;
	return 0;
}

void conn_finish(struct conn *c)
{
	if (c->state != CONN_OPEN)
		return;
	c->state = CONN_FINISHING;
	(void)conn_arm(c, 2);
	if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0)
		bufferevent_trigger(c->bev, EV_WRITE, BEV_OPT_DEFER_CALLBACKS);
}

static void on_bev_event(struct bufferevent *bev, short what, void *userdata)
{
	struct conn *c = userdata;
	int err = EVUTIL_SOCKET_ERROR();
	char text[384];

	conn_enter(c);
	if (what & BEV_EVENT_CONNECTED) {
		event_del(c->limit);
		c->state = CONN_OPEN;
		c->cbs->on_open(c, c->userdata);
	} else if (c->state == CONN_FINISHING || c->state == CONN_LINGERING) {
		conn_close(c, 0, "closed");
	} else if (*tls_error_text(bufferevent_openssl_get_ssl(bev),
			   bufferevent_get_openssl_error(bev), text, sizeof(text))) {
		conn_close(c, EPROTO, "TLS %s: %s",
			c->state == CONN_HANDSHAKE ? "handshake failed" : "failed", text);
	} else if (what & BEV_EVENT_EOF) {
		conn_close(c, c->state == CONN_HANDSHAKE ? ECONNRESET : 0,
			"the other side closed the connection%s",
			c->state == CONN_HANDSHAKE ? " during the TLS handshake" : "");
	} else {
		err = err ?: ECONNRESET;
		conn_close(c, err, "connection lost: %s", strerror(err));
	}
	conn_leave(c);
}

/* ---- the beginning ---- */

static int conn_start_tls(struct conn *c, enum bufferevent_ssl_state side)
{
	_cleanup_(SSL_freep) SSL *ssl = SSL_new(c->ctx);
	int one = 1;

	if (!ssl || (side == BUFFEREVENT_SSL_CONNECTING && tls_client_expect(ssl, c->host) < 0))
		return -ENOMEM;
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->bev = bufferevent_openssl_socket_new(c->base, c->fd, ssl, side,
		BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	if (!c->bev)
		return -ENOMEM;
	(void)TAKE_PTR(ssl);
	(void)TAKE_FD(c->fd);
	c->state = CONN_HANDSHAKE;
	bufferevent_openssl_set_allow_dirty_shutdown(c->bev, 1);
	bufferevent_setcb(c->bev, on_readable, on_written, on_bev_event, c);
	return bufferevent_enable(c->bev, EV_READ | EV_WRITE) < 0 ? -ENOMEM : 0;
}

static void on_connected(evutil_socket_t fd, short what, void *userdata)
{
	struct conn *c = userdata;
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (err)
		conn_close(c, err, "cannot connect to %s: %s", c->peer, strerror(err));
	else if (conn_start_tls(c, BUFFEREVENT_SSL_CONNECTING) < 0)
		conn_close(c, ENOMEM, "out of memory");
}

/* Starts the connect; its end, good or bad, is an event. */
static int conn_connect(struct conn *c, const struct sockaddr *sa, socklen_t size)
{
	c->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	if (c->bind_size &&
		bind(c->fd, (struct sockaddr *)&c->bind_address, c->bind_size) < 0)
		return -errno;
	if (connect(c->fd, sa, size) < 0 && errno != EINPROGRESS)
		return -errno;
	c->state = CONN_CONNECTING;
	c->connected = event_new(c->base, c->fd, EV_WRITE, on_connected, c);
	if (!c->connected || event_add(c->connected, NULL) < 0)
		return -ENOMEM;
	return 0;
}

static void on_resolved(int result, struct evutil_addrinfo *info, void *userdata)
{
	struct conn *c = userdata;
	int r;

	if (result == EVUTIL_EAI_CANCEL) /* conn_disconnect(); @c may be gone */
		return;
	c->lookup = NULL;
	conn_enter(c);
	if (result || !info) {
		conn_close(c, ENOENT, "cannot find the address of '%s': %s", c->host,
			evutil_gai_strerror(result));
	} else {
		r = conn_connect(c, info->ai_addr, (socklen_t)info->ai_addrlen);
		if (r < 0)
			conn_close(c, r, "cannot connect to %s: %s", c->peer, strerror(-r));
	}
	if (info)
		evutil_freeaddrinfo(info);
	conn_leave(c);
}

/* Never answers from inside: evdns may, for names in /etc/hosts, so it is asked from the loop. */
static void on_start(evutil_socket_t fd, short what, void *userdata)
{
	struct conn *c = userdata;
	struct evutil_addrinfo hints = { .ai_family = c->bind_size ? c->bind_address.ss_family
								   : AF_UNSPEC,
		.ai_socktype = SOCK_STREAM, .ai_flags = EVUTIL_AI_ADDRCONFIG };
	struct evdns_getaddrinfo_request *lookup;
	struct sockaddr_storage sa;
	int size = sizeof(sa), r;
	char port[8];

	event_free(TAKE_PTR(c->connected));
	if (evutil_parse_sockaddr_port(c->peer, (struct sockaddr *)&sa, &size) == 0) {
		r = conn_connect(c, (struct sockaddr *)&sa, (socklen_t)size);
		if (r < 0)
			conn_close(c, r, "cannot connect to %s: %s", c->peer, strerror(-r));
		return;
	}
	c->dns = evdns_base_new(c->base,
		EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (!c->dns) { /* no usable resolv.conf: /etc/hosts alone */
		c->dns = evdns_base_new(c->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
		if (c->dns)
			(void)evdns_base_load_hosts(c->dns, "/etc/hosts");
	}
	if (!c->dns) {
		conn_close(c, ENOMEM, "out of memory");
		return;
	}
	snprintf(port, sizeof(port), "%u", c->port);
	conn_enter(c);
	lookup = evdns_getaddrinfo(c->dns, c->host, port, &hints, on_resolved, c);
	if (!c->freed && c->state == CONN_RESOLVING)
		c->lookup = lookup;
	conn_leave(c);
}

static int conn_new(struct event_base *base, SSL_CTX *ctx, const struct conn_callbacks *cbs,
	void *userdata, struct conn **ret)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	*c = (struct conn){ .base = base, .ctx = ctx, .cbs = cbs, .userdata = userdata,
		.fd = -EBADF };
	*ret = c;
	return 0;
}

static void conn_note_peer(struct conn *c)
{
	struct sockaddr_storage sa;
	socklen_t size = sizeof(sa);
	char port[8];

	if (getpeername(c->fd, (struct sockaddr *)&sa, &size) < 0 ||
		getnameinfo((struct sockaddr *)&sa, size, c->peer_host, sizeof(c->peer_host), port,
			sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
		strcpy(c->peer_host, "unknown");
		strcpy(c->peer, "unknown");
		return;
	}
	snprintf(c->peer, sizeof(c->peer), strchr(c->peer_host, ':') ? "[%s]:%s" : "%s:%s",
		c->peer_host, port);
}

int conn_accept(struct event_base *base, int fd, SSL_CTX *ctx, const struct conn_callbacks *cbs,
	void *userdata, struct conn **ret)
{
	_cleanup_(conn_freep) struct conn *c = NULL;
	int r;

	r = conn_new(base, ctx, cbs, userdata, &c);
	if (r < 0) {
		close(fd);
		return r;
	}
	c->fd = fd;
	conn_note_peer(c);
	if (evutil_make_socket_nonblocking(fd) < 0 || conn_arm(c, CONN_OPEN_LIMIT_S) < 0)
		return -ENOMEM;
	r = conn_start_tls(c, BUFFEREVENT_SSL_ACCEPTING);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

static int conn_set_bind(struct conn *c, const char *address)
{
	int size = sizeof(c->bind_address);
	char text[INET6_ADDRSTRLEN + 8];

	/* An IPv6 address in brackets, so that its last group is not taken for a port. */
	snprintf(text, sizeof(text), strchr(address, ':') ? "[%s]" : "%s", address);
	if (strlen(address) > INET6_ADDRSTRLEN || evutil_parse_sockaddr_port(text,
				      (struct sockaddr *)&c->bind_address, &size) < 0)
		return -EINVAL;
	c->bind_size = (socklen_t)size;
	return 0;
}

int conn_dial(struct event_base *base, const char *host, uint16_t port, const char *bind_address,
	SSL_CTX *ctx, const struct conn_callbacks *cbs, void *userdata, struct conn **ret)
{
	_cleanup_(conn_freep) struct conn *c = NULL;
	int r;

	r = conn_new(base, ctx, cbs, userdata, &c);
	if (r < 0)
		return r;
	if (bind_address && conn_set_bind(c, bind_address) < 0)
		return -EINVAL;
	c->host = strdup(host);
	c->port = port;
	c->state = CONN_RESOLVING;
	snprintf(c->peer_host, sizeof(c->peer_host), "%s", host);
	snprintf(c->peer, sizeof(c->peer), strchr(host, ':') ? "[%s]:%u" : "%s:%u", c->peer_host,
		port);
	c->connected = evtimer_new(base, on_start, c);
	if (!c->host || !c->connected || conn_arm(c, CONN_OPEN_LIMIT_S) < 0 ||
		evtimer_add(c->connected, &(struct timeval){ 0 }) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(c);
	return 0;
}

/* ---- use ---- */

int conn_send(struct conn *c, const struct wire_msg *m)
{
	_cleanup_free_ uint8_t *frame = NULL;
	struct wire_msg numbered = *m;
	struct evbuffer *out;
	size_t size;
	int r;

	if (c->state != CONN_OPEN)
		return -ENOTCONN;
	numbered.seq = c->sent + 1;
	r = wire_encode(&numbered, &frame, &size);
	if (r < 0)
		return r;
	out = bufferevent_get_output(c->bev);
	if (evbuffer_get_length(out) + size > CONN_QUEUE_MAX)
		return -ENOBUFS;
	if (evbuffer_add(out, frame, size) < 0)
		return -ENOMEM;
	c->sent++;
	return 0;
}

int conn_peer_name(const struct conn *c, const char *prefix, char *buf, size_t size)
{
	if (!c->bev)
		return -ENOENT;
	return tls_peer_name(bufferevent_openssl_get_ssl(c->bev), prefix, buf, size);
}

int conn_recheck(const struct conn *c, char *buf, size_t size)
{
	return c->bev ? tls_recheck(bufferevent_openssl_get_ssl(c->bev), buf, size) : 0;
}

const char *conn_peer_host(const struct conn *c)
{
	return c->peer_host;
}

const char *conn_peer(const struct conn *c)
{
	return c->peer;
}

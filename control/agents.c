/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <event2/listener.h>
#include <json-c/linkhash.h>

#include "agents.h"
#include "conn.h"
#include "log.h"

const char *const agents_kinds[] = { AGENTS_PREFIX, NULL };

#define UNKNOWN_MAX 512 /* connections that have not said hello; more wait to be accepted */

/* A message that waits until what it rests on is durable, or behind such a one. */
struct held {
	struct held *next;
	struct assign_send send;
};

struct agent {
	struct agents *agents;
	struct agent *prev, *next;
	struct agent *prev_held, *next_held; /* in the list of those that hold something */
	struct conn *conn;
	struct event *ping;
	struct id128 node;
	uint64_t session;
	uint64_t heard_ms;
	bool greeted; /* its hello was given to assign */
	bool finishing;
	bool unknown_said; /* it uses words of a later version */
	struct held *held, **last_held;
};

struct agents {
	struct event_base *base;
	struct cluster *cluster;
	SSL_CTX *ctx;
	struct evconnlistener *listener;
	struct event *resume;
	struct agent *first, *first_held;
	struct lh_table *by_session;
	uint64_t last_session, durable_txn;
	size_t n_unknown;
	bool stopping;
};

static unsigned long session_hash(const void *key)
{
	uint64_t v = *(const uint64_t *)key;

	return (unsigned long)(v ^ v >> 29);
}

static int session_equal(const void *a, const void *b)
{
	return *(const uint64_t *)a == *(const uint64_t *)b;
}

static struct agent *find_session(const struct agents *a, uint64_t session)
{
	struct lh_entry *e = lh_table_lookup_entry(a->by_session, &session);

	return e ? lh_entry_v(e) : NULL;
}

/* ---- the end of a session ---- */

/* A commit looks only at those that wait for one. */
static void list_held(struct agent *g)
{
	struct agents *a = g->agents;

	g->next_held = a->first_held;
	if (g->next_held)
		g->next_held->prev_held = g;
	a->first_held = g;
}

static void unlist_held(struct agent *g)
{
	if (g->prev_held)
		g->prev_held->next_held = g->next_held;
	else
		g->agents->first_held = g->next_held;
	if (g->next_held)
		g->next_held->prev_held = g->prev_held;
	g->prev_held = g->next_held = NULL;
}

static void drop_held(struct agent *g)
{
	if (g->held)
		unlist_held(g);
	for (struct held *h = g->held, *next; h; h = next) {
		next = h->next;
		wire_msg_done(&h->send.msg);
		free(h);
	}
	g->held = NULL;
	g->last_held = &g->held;
}

/* One more may say hello. */
static void agents_have_room(struct agents *a)
{
	a->n_unknown--;
	if (!a->stopping && a->listener)
		(void)evconnlistener_enable(a->listener);
}

static void agent_free(struct agent *g)
{
	struct agents *a = g->agents;

	if (g->prev)
		g->prev->next = g->next;
	else
		a->first = g->next;
	if (g->next)
		g->next->prev = g->prev;
	(void)lh_table_delete(a->by_session, &g->session);
	if (!g->greeted)
		agents_have_room(a);
	drop_held(g);
	if (g->ping)
		event_free(g->ping);
	conn_free(g->conn);
	free(g);
}

/* The connection is over: assign hears of it, unless it never heard of the session. */
static void agent_gone(struct agent *g)
{
	struct assign_event ev = { .type = ASSIGN_GONE, .node = g->node, .session = g->session };
	struct cluster *cluster = g->agents->cluster;
	bool greeted = g->greeted;

	agent_free(g);
	if (greeted)
		cluster_decide(cluster, &ev, NULL, NULL);
}

static void _printf_(2, 3) agent_bye(struct agent *g, const char *fmt, ...)
{
	struct wire_msg m = { .type = WIRE_BYE };
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&m.bye.reason, fmt, ap) < 0)
		m.bye.reason = NULL;
	va_end(ap);
	drop_held(g);
	(void)conn_send(g->conn, &m);
	wire_msg_done(&m);
	g->finishing = true;
	conn_finish(g->conn);
}

/* ---- out ---- */

static void agent_write(struct agent *g, struct assign_send *s)
{
	int r;

	if (s->msg.type == WIRE_WELCOME)
		cluster_stamp(g->agents->cluster, &s->msg.welcome);
	else if (s->msg.type == WIRE_ASSIGN)
		s->msg.assign.revision = cluster_revision(g->agents->cluster);
	else if (s->msg.type == WIRE_BYE)
		log_node_message(g->node, s->msg.bye.refused ? MESSAGE_NODE_REFUSED : NULL,
			LOG_WARNING, 0, "%s %s: %s", s->msg.bye.refused ? "refused" : "ended", conn_peer(g->conn),
			s->msg.bye.reason ?: "no reason given");
	r = conn_send(g->conn, &s->msg);
	if (r == -ENOBUFS || r == -ENOMEM || r == -EMSGSIZE) {
		log_node(g->node, LOG_WARNING, r,
			"cannot send to %s; closing, so that it comes again", conn_peer(g->conn));
		g->finishing = true;
		conn_finish(g->conn);
	} else if (s->close) {
		g->finishing = true;
		conn_finish(g->conn);
	}
}

/* Messages of a session leave in the order in which they were decided, but for answers to renewals. */
static void agent_flush(struct agent *g)
{
	while (g->held && g->held->send.after_txn <= g->agents->durable_txn && !g->finishing) {
		struct held *h = g->held;

		if (!h->next) {
			unlist_held(g);
			g->last_held = &g->held;
		}
		g->held = h->next;
		agent_write(g, &h->send);
		wire_msg_done(&h->send.msg);
		free(h);
	}
}

static void agents_send(void *userdata, struct assign_send *s)
{
	struct agents *a = userdata;
	struct agent *g = find_session(a, s->session);
	struct held *h;

	if (!g || g->finishing)
		return;
	/* A term must not end because the store is slow: its renewal overtakes what waits for that. */
	if ((!g->held || s->msg.type == WIRE_PONG) && s->after_txn <= a->durable_txn) {
		agent_write(g, s);
		return;
	}
	h = calloc(1, sizeof(*h));
	if (!h) {
		agent_bye(g, "control is out of memory");
		return;
	}
	if (!g->held)
		list_held(g);
	h->send = *s;
	s->msg = (struct wire_msg){ .type = WIRE_PING };
	*g->last_held = h;
	g->last_held = &h->next;
}

static void agents_durable(void *userdata, uint64_t txn)
{
	struct agents *a = userdata;

	a->durable_txn = txn;
	for (struct agent *g = a->first_held, *next; g; g = next) {
		next = g->next_held;
		agent_flush(g);
	}
}

/* Drops what rests on void transactions; true when a welcome was among it. */
static bool agent_void(struct agent *g, uint64_t txn)
{
	bool unwelcome = false;

	for (struct held **p = &g->held; *p;) {
		struct held *h = *p;

		if (h->send.after_txn < txn) {
			p = &h->next;
			continue;
		}
		unwelcome = unwelcome || h->send.msg.type == WIRE_WELCOME;
		*p = h->next;
		wire_msg_done(&h->send.msg);
		free(h);
	}
	for (g->last_held = &g->held; *g->last_held; g->last_held = &(*g->last_held)->next)
		;
	if (!g->held)
		unlist_held(g);
	return unwelcome;
}

static void agents_failed(void *userdata, uint64_t txn)
{
	struct agents *a = userdata;

	for (struct agent *g = a->first_held, *next; g; g = next) {
		next = g->next_held;
		if (agent_void(g, txn)) /* what its hello changed is void: it has to say it again */
			agent_bye(g, "control's store cannot be written; come again");
		else
			agent_flush(g);
	}
}

static const struct cluster_outlet outlet = { agents_send, agents_durable, agents_failed };

/* ---- in ---- */

static void take_hello(struct agent *g, const struct wire_hello *h)
{
	struct agents *a = g->agents;
	struct assign_event ev = { .type = ASSIGN_HELLO, .node = g->node, .session = g->session,
		.hello = h, .address = h->address ?: conn_peer_host(g->conn),
		.revision = cluster_revision_in(a->cluster, h->line) };
	struct assign_node_view v;

	g->greeted = true;
	agents_have_room(a);
	cluster_decide(a->cluster, &ev, NULL, NULL);
	if (assign_node(cluster_assign(a->cluster), cluster_now_ms(), g->node, &v) == 0 &&
		v.session == g->session)
		log_node(g->node, LOG_NOTICE, 0,
			"connected from %s, version %s, backend %s, %zu datasets",
			conn_peer(g->conn), h->version ?: "unknown", h->backend ?: "unknown",
			h->n_holds);
}

static void take_heard(struct agent *g, const struct wire_ping *ping)
{
	struct assign_event ev = { .type = ASSIGN_HEARD, .node = g->node, .session = g->session,
		.free_bytes = ping->free_bytes, .backends = ping->backends, .n_backends = ping->n_backends };

	if (g->greeted)
		cluster_decide(g->agents->cluster, &ev, NULL, NULL);
}

static void take_report(struct agent *g, const struct wire_report *report)
{
	struct assign_event ev = { .type = ASSIGN_REPORT, .node = g->node, .session = g->session,
		.report = report };

	cluster_decide(g->agents->cluster, &ev, NULL, NULL);
}

/* Answered by the decision itself, from memory. */
static void take_renewal(struct agent *g, const struct wire_ping *ping)
{
	struct assign_event ev = { .type = ASSIGN_RENEW, .node = g->node, .session = g->session,
		.stamp_ms = ping->stamp_ms, .free_bytes = ping->free_bytes,
		.backends = ping->backends, .n_backends = ping->n_backends };

	cluster_decide(g->agents->cluster, &ev, NULL, NULL);
}

/* Once a session: it goes on with what both understand. */
static void tell_unknown(struct agent *g, const char *unknown)
{
	if (!g->unknown_said)
		log_node(g->node, LOG_WARNING, 0, "says %s, which this version of control does not know, ignoring; "
			"upgrade control before its nodes", unknown);
	g->unknown_said = true;
}

static void on_message(struct conn *c, const struct wire_msg *m, void *userdata)
{
	struct wire_msg pong = { .type = WIRE_PONG };
	struct agent *g = userdata;

	if (g->finishing)
		return;
	g->heard_ms = cluster_now_ms();
	if (!g->greeted && m->type != WIRE_HELLO && m->type != WIRE_PING && m->type != WIRE_PONG) {
		agent_bye(g, "a session begins with hello, not with %s", wire_type_name(m->type));
		return;
	}
	if (*m->unknown)
		tell_unknown(g, m->unknown);
	switch (m->type) {
	case WIRE_HELLO:
		if (g->greeted)
			agent_bye(g, "a session has one hello");
		else
			take_hello(g, &m->hello);
		break;
	case WIRE_REPORT:
		take_report(g, &m->report);
		break;
	case WIRE_PING:
		if (g->greeted && m->ping.stamp_ms) {
			take_renewal(g, &m->ping);
			break;
		}
		(void)conn_send(c, &pong);
		take_heard(g, &m->ping);
		break;
	case WIRE_PONG:
		take_heard(g, &m->ping);
		break;
	case WIRE_BYE:
		log_node(g->node, LOG_NOTICE, 0, "says goodbye: %s",
			m->bye.reason ?: "no reason given");
		g->finishing = true;
		conn_finish(c);
		break;
	case WIRE_WELCOME:
	case WIRE_ASSIGN:
	case WIRE_TYPE_MAX:
		agent_bye(g, "%s is control's to say", wire_type_name(m->type));
		break;
	}
}

static void on_ping(evutil_socket_t fd, short what, void *userdata)
{
	struct wire_msg ping = { .type = WIRE_PING };
	struct agent *g = userdata;
	uint64_t silent_ms = cluster_now_ms() - g->heard_ms;

	if (silent_ms >= AGENTS_SILENCE_S * 1000) {
		log_node(g->node, LOG_WARNING, 0,
			"nothing heard from %s for %" PRIu64 " s; the connection is closed",
			conn_peer(g->conn), silent_ms / 1000);
		agent_gone(g);
		return;
	}
	(void)conn_send(g->conn, &ping);
	(void)event_add(g->ping, &(struct timeval){ .tv_sec = AGENTS_PING_S });
}

static void on_open(struct conn *c, void *userdata)
{
	struct agent *g = userdata;
	char name[TLS_NAME_MAX];

	if (conn_peer_name(c, AGENTS_PREFIX, name, sizeof(name)) < 0 ||
		id128_parse(name, &g->node) < 0) {
		log_warning(0, "agent port: refused %s: its certificate's name holds no UUID",
			conn_peer(c));
		agent_bye(g, "the name in your certificate is not node-<uuid>");
		return;
	}
	g->heard_ms = cluster_now_ms();
	(void)event_add(g->ping, &(struct timeval){ .tv_sec = AGENTS_PING_S });
}

static void on_close(struct conn *c, int err, const char *text, void *userdata)
{
	struct agent *g = userdata;

	if (id128_is_nil(g->node))
		log_warning(0, "agent port: refused %s: %s", conn_peer(c), text);
	else if (!g->finishing)
		log_node(g->node, LOG_WARNING, 0, "disconnected (%s): %s", conn_peer(c), text);
	agent_gone(g);
}

static const struct conn_callbacks callbacks = { on_open, on_message, on_close };

/* ---- the door ---- */

static void on_resume(evutil_socket_t fd, short what, void *userdata)
{
	struct agents *a = userdata;

	if (!a->stopping && a->n_unknown < UNKNOWN_MAX)
		evconnlistener_enable(a->listener);
}

/* Out of descriptors, most often: the backlog waits, and accept() must not be asked in a circle. */
static void on_accept_error(struct evconnlistener *l, void *userdata)
{
	struct agents *a = userdata;

	log_warning(EVUTIL_SOCKET_ERROR(), "agent port: cannot accept; trying again in a second");
	evconnlistener_disable(l);
	(void)event_add(a->resume, &(struct timeval){ .tv_sec = 1 });
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len,
	void *userdata)
{
	struct agents *a = userdata;
	struct agent *g;

	g = calloc(1, sizeof(*g));
	if (!g) {
		close(fd);
		return;
	}
	*g = (struct agent){ .agents = a, .next = a->first, .session = ++a->last_session };
	g->last_held = &g->held;
	if (g->next)
		g->next->prev = g;
	a->first = g;
	if (++a->n_unknown >= UNKNOWN_MAX) /* the others wait in the backlog */
		(void)evconnlistener_disable(l);
	g->ping = evtimer_new(a->base, on_ping, g);
	if (lh_table_insert(a->by_session, &g->session, g) < 0 || !g->ping) {
		close(fd);
		agent_free(g);
	} else if (conn_accept(a->base, fd, a->ctx, &callbacks, g, &g->conn) < 0) {
		agent_free(g);
	}
}

/* At once and without a word: whoever has a stolen key is told nothing more. */
void agents_recheck(struct agents *a)
{
	char text[TLS_NAME_MAX + 256];

	for (struct agent *g = a->first, *next; g; g = next) {
		next = g->next;
		if (conn_recheck(g->conn, text, sizeof(text)) == 0)
			continue;
		log_node_message(g->node, MESSAGE_NODE_REFUSED, LOG_WARNING, 0, "closed %s: %s", conn_peer(g->conn),
			text);
		agent_gone(g);
	}
}

struct agents *agents_free(struct agents *a)
{
	if (!a)
		return NULL;
	cluster_set_outlet(a->cluster, NULL, NULL);
	a->stopping = true;
	while (a->first)
		agent_free(a->first);
	if (a->listener)
		evconnlistener_free(a->listener);
	if (a->resume)
		event_free(a->resume);
	if (a->by_session)
		lh_table_free(a->by_session);
	free(a);
	return NULL;
}
DEFINE_CLEANUP(struct agents *, agents_free);

int agents_new(struct event_base *base, struct cluster *cluster, int fd, SSL_CTX *ctx,
	struct agents **ret)
{
	_cleanup_(agents_freep) struct agents *a = calloc(1, sizeof(*a));
	_cleanup_close_ int owned = fd;

	if (!a)
		return -ENOMEM;
	a->base = base;
	a->cluster = cluster;
	a->ctx = ctx;
	a->by_session = lh_table_new(64, NULL, session_hash, session_equal);
	a->resume = evtimer_new(base, on_resume, a);
	if (!a->by_session || !a->resume)
		return -ENOMEM;
	a->listener = evconnlistener_new(base, on_accept, a,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, owned);
	if (!a->listener)
		return -ENOMEM;
	(void)TAKE_FD(owned);
	evconnlistener_set_error_cb(a->listener, on_accept_error);
	cluster_set_outlet(cluster, &outlet, a);
	*ret = TAKE_PTR(a);
	return 0;
}

void agents_stop(struct agents *a)
{
	a->stopping = true;
	evconnlistener_disable(a->listener);
	for (struct agent *g = a->first, *next; g; g = next) {
		next = g->next;
		if (id128_is_nil(g->node))
			agent_free(g);
		else if (!g->finishing)
			agent_bye(g, "control stops");
	}
}

bool agents_idle(const struct agents *a)
{
	return !a->first;
}

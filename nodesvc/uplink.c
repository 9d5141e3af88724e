/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <sys/random.h>
#include <time.h>

#include "uplink.h"

#define RETRY_FIRST_MS 200
#define RETRY_MAX_MS 5000
#define HEARTBEAT_DEFAULT_MS 10000
#define GREETING_MS 15000 /* from dialling to welcome: control may have a store commit to wait for */

struct uplink {
	struct uplink_config c;
	const struct uplink_callbacks *cbs;
	void *userdata;
	struct event_base *base;
	struct event *retry, *heartbeat;
	struct conn *conn;
	bool up, stopped;
	unsigned int failures;
	uint32_t heartbeat_ms;
	uint64_t retry_max_ms;
	struct timespec heard;
	struct control_mark seen;
	unsigned int wire; /* version of control, as the last welcome said */
	struct wire_backend *backends;
	size_t n_backends;
	bool untold; /* they changed since this session heard of them */
};

static void dial(struct uplink *u);

static struct timeval in_ms(uint64_t ms)
{
	return (struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) };
}

static uint64_t jittered(uint64_t ms)
{
	uint32_t bits = 0;

	(void)!getrandom(&bits, sizeof(bits), GRND_NONBLOCK);
	return ms * (80 + bits % 41) / 100;
}

static void dial_later(struct uplink *u)
{
	uint64_t ms = u->failures > 5 ? RETRY_MAX_MS : (uint64_t)RETRY_FIRST_MS << u->failures;
	struct timeval tv = in_ms(MIN(jittered(MIN(ms, u->retry_max_ms)), (uint64_t)RETRY_MAX_MS));

	u->failures++;
	event_add(u->retry, &tv);
}

/* The connection is over, or of no use any more. */
static void drop(struct uplink *u, const char *why)
{
	u->conn = conn_free(u->conn);
	event_del(u->heartbeat);
	u->up = false;
	if (u->stopped)
		return;
	dial_later(u);
	u->cbs->on_down(why, u->userdata);
}

static void on_open(struct conn *c, void *userdata)
{
	struct uplink *u = userdata;
	struct wire_msg m = { .type = WIRE_HELLO };
	int r;

	m.hello.incarnation = u->seen.incarnation;
	m.hello.version_seen = u->seen.revision;
	m.hello.line = u->seen.line;
	m.hello.backends = wire_backends_copy(u->backends, u->n_backends);
	m.hello.n_backends = m.hello.backends ? u->n_backends : 0;
	u->untold = m.hello.n_backends < u->n_backends;
	r = u->cbs->on_hello(&m.hello, u->userdata);
	if (r == 0)
		r = conn_send(c, &m);
	wire_msg_done(&m);
	if (r < 0)
		drop(u, r == -E2BIG || r == -EMSGSIZE ?
				"hello cannot name all that is held: this node holds too many datasets" :
				"hello could not be sent");
}

static void on_welcome(struct uplink *u, const struct wire_welcome *w)
{
	struct timeval tv;

	if (w->incarnation < u->seen.incarnation ||
		(w->incarnation == u->seen.incarnation && w->revision < u->seen.revision)) {
		drop(u, WIRE_STORE_IS_OLD);
		return;
	}
	u->seen = (struct control_mark){ w->incarnation, w->revision, w->line };
	u->heartbeat_ms = w->heartbeat_ms ? w->heartbeat_ms : HEARTBEAT_DEFAULT_MS;
	u->wire = w->wire;
	u->up = true;
	u->failures = 0;
	tv = in_ms(u->heartbeat_ms);
	event_add(u->heartbeat, &tv);
	u->cbs->on_up(u->userdata);
}

static void on_message(struct conn *c, const struct wire_msg *m, void *userdata)
{
	struct uplink *u = userdata;

	clock_gettime(CLOCK_MONOTONIC, &u->heard);
	if (*m->unknown && u->up)
		u->cbs->on_unknown(m, u->userdata);
	switch (m->type) {
	case WIRE_WELCOME:
		on_welcome(u, &m->welcome);
		break;
	case WIRE_ASSIGN:
		u->seen.revision = MAX(u->seen.revision, m->assign.revision);
		if (u->up && !*m->unknown)
			u->cbs->on_order(&m->assign, u->userdata);
		break;
	case WIRE_PONG:
		if (u->up && m->ping.stamp_ms)
			u->cbs->on_renewed(m->ping.stamp_ms, u->userdata);
		break;
	case WIRE_PING:
		uplink_send(u, &(struct wire_msg){ .type = WIRE_PONG });
		break;
	case WIRE_BYE:
		if (m->bye.refused)
			u->failures = 10; /* not at once again */
		drop(u, m->bye.reason ? m->bye.reason : "control said bye");
		break;
	default:
		break;
	}
}

static void on_close(struct conn *c, int err, const char *text, void *userdata)
{
	drop(userdata, text);
}

static void on_retry(evutil_socket_t fd, short what, void *userdata)
{
	dial(userdata);
}

/* Before the welcome it limits the greeting; after it, it shows that both sides live. */
static void on_heartbeat(evutil_socket_t fd, short what, void *userdata)
{
	struct uplink *u = userdata;
	struct timeval tv = in_ms(u->heartbeat_ms);
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!u->up) {
		drop(u, "control did not answer hello");
		return;
	}
	if ((uint64_t)(now.tv_sec - u->heard.tv_sec) * 1000 > (uint64_t)u->heartbeat_ms * 3) {
		drop(u, "control is silent");
		return;
	}
	event_add(u->heartbeat, &tv);
	uplink_send(u, &(struct wire_msg){ .type = WIRE_PING });
}

static void dial(struct uplink *u)
{
	static const struct conn_callbacks cbs = { on_open, on_message, on_close };
	struct timeval tv = in_ms(GREETING_MS);

	if (conn_dial(u->base, u->c.host, u->c.port, u->c.address, u->c.ctx, &cbs, u, &u->conn) < 0) {
		dial_later(u);
		u->cbs->on_down("cannot dial: out of memory, or a bad address", u->userdata);
		return;
	}
	event_add(u->heartbeat, &tv);
}

int uplink_new(struct event_base *base, const struct uplink_config *c,
	const struct uplink_callbacks *cbs, void *userdata, struct uplink **ret)
{
	struct uplink *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	*u = (struct uplink){ .c = *c, .cbs = cbs, .userdata = userdata, .base = base,
		.seen = c->seen };
	u->retry_max_ms = RETRY_MAX_MS;
	u->retry = evtimer_new(base, on_retry, u);
	u->heartbeat = evtimer_new(base, on_heartbeat, u);
	if (!u->retry || !u->heartbeat) {
		uplink_free(u);
		return -ENOMEM;
	}
	*ret = u;
	return 0;
}

struct uplink *uplink_free(struct uplink *u)
{
	if (!u)
		return NULL;
	u->stopped = true;
	conn_free(u->conn);
	if (u->retry)
		event_free(u->retry);
	if (u->heartbeat)
		event_free(u->heartbeat);
	free(u->backends);
	free(u);
	return NULL;
}

void uplink_start(struct uplink *u)
{
	if (!u->stopped)
		dial(u);
}

void uplink_again(struct uplink *u)
{
	if (u->conn)
		drop(u, "a hello that names everything is to be said");
}

void uplink_recheck(struct uplink *u)
{
	char text[TLS_NAME_MAX + 256];

	if (u->conn && conn_recheck(u->conn, text, sizeof(text)) < 0)
		drop(u, text);
}

void uplink_stop(struct uplink *u, const char *reason)
{
	struct wire_msg bye = { .type = WIRE_BYE, .bye = { .reason = strdup(reason) } };

	u->stopped = true;
	event_del(u->retry);
	event_del(u->heartbeat);
	if (u->conn && u->up) {
		(void)conn_send(u->conn, &bye);
		conn_finish(u->conn);
	} else {
		u->conn = conn_free(u->conn); /* it would still say hello */
	}
	wire_msg_done(&bye);
}

void uplink_send(struct uplink *u, const struct wire_msg *m)
{
	struct wire_msg as_sent = *m;
	int r;

	if (!u->conn)
		return;
	wire_lower(&as_sent, u->wire);
	if (m->type == WIRE_PING) {
		as_sent.ping.free_bytes = u->n_backends ? u->backends[0].free_bytes : 0;
		as_sent.ping.backends = u->untold ? u->backends : NULL;
		as_sent.ping.n_backends = u->untold ? u->n_backends : 0;
		u->untold = false;
	}
	r = conn_send(u->conn, &as_sent);
	if (r < 0 && r != -ENOTCONN)
		drop(u, r == -ENOBUFS ? "control does not take what is sent" :
					"a message could not be sent");
}

void uplink_hurry(struct uplink *u, uint64_t retry_max_ms)
{
	u->retry_max_ms = MIN(retry_max_ms, (uint64_t)RETRY_MAX_MS);
}

void uplink_tell_backends(struct uplink *u, const struct wire_backend *list, size_t n)
{
	struct wire_backend *copy;
	bool same = n == u->n_backends;

	for (size_t i = 0; same && i < n; i++)
		same = wire_backend_equal(&u->backends[i], &list[i]);
	copy = same ? NULL : wire_backends_copy(list, n);
	if (!copy)
		return;
	free(u->backends);
	u->backends = copy;
	u->n_backends = n;
	u->untold = true;
}

struct control_mark uplink_seen(const struct uplink *u)
{
	return u->seen;
}

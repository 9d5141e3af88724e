/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/socket.h>

#include <event2/bufferevent.h>

#include "http_private.h"

#define IN_ONE_PIECE_MAX (8 * KIB)
#define HEAD_ROOM 512
#define STREAM_ROOM (32 * KIB) /* that the kernel keeps for one who does not read */

void http_request_free(struct http_request *q)
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

static const char *reason_of(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {
		{ 200, "OK" }, { 201, "Created" }, { 304, "Not Modified" }, { 400, "Bad Request" },
		{ 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" }, { 408, "Request Timeout" },
		{ 409, "Conflict" }, { 410, "Gone" }, { 412, "Precondition Failed" }, { 413, "Content Too Large" },
		{ 417, "Expectation Failed" }, { 422, "Unprocessable Content" }, { 431, "Request Header Fields Too Large" },
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

/* @size: NULL when the connection's end is the answer's. */
static void add_answer_head(struct conn *c, const struct http_request *q, int status, const size_t *size)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);

	(void)evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, reason_of(status),
		date_now(c->http));
	if (size && status != HTTP_NOTMODIFIED) /* there it would be the length of what is not sent */
		(void)evbuffer_add_printf(out, "Content-Length: %zu\r\n", *size);
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
	add_answer_head(c, q, status, &size);
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
		http_request_free(q);
		return;
	}
	http_conn_count(c, false);
	c->close |= c->http->stopping;
	add_answer(c, q, status, text, size);
	http_conn_move(c, CONN_ANSWERING);
	c->request = NULL;
	http_request_free(q);
}

/* ---- requests that stay ---- */

int http_stay(struct http_request *q, const struct http_stay *callbacks, void *userdata)
{
	const struct http *h = q->conn->http;

	if (h->n_watchers >= h->limits.watchers)
		return -EUSERS;
	http_conn_count(q->conn, true);
	q->stay = callbacks;
	q->stay_userdata = userdata;
	return 0;
}

/* Its clock runs while anything is pending, from when the client took some of it last. */
static void stream_watch(struct conn *c, size_t pending)
{
	struct timeval tv = { .tv_sec = c->http->limits.answer_s };

	c->taken = c->written - pending;
	(void)event_add(c->limit, &tv);
}

void http_stream_drained(struct conn *c)
{
	(void)event_del(c->limit);
	if (c->request->stay->on_drained)
		c->request->stay->on_drained(c->request->stay_userdata);
}

void http_stream_limit(struct conn *c)
{
	size_t pending = evbuffer_get_length(bufferevent_get_output(c->bev));

	if (c->written - pending == c->taken)
		http_conn_free(c);
	else
		stream_watch(c, pending);
}

void http_begin(struct http_request *q, int status)
{
	struct conn *c = q->conn;
	struct evbuffer *out;
	int room = STREAM_ROOM;

	if (!c)
		return;
	out = bufferevent_get_output(c->bev);
	c->close = true;
	http_conn_move(c, CONN_STREAMING);
	(void)setsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	add_answer_head(c, q, status, NULL);
	c->written = evbuffer_get_length(out);
	stream_watch(c, c->written);
	http_head_done(&q->head);
	q->has_head = false;
	evbuffer_free(TAKE_PTR(q->body));
}

int http_write(struct http_request *q, const void *data, size_t size,
	void (*done)(const void *data, size_t size, void *userdata), void *userdata)
{
	struct conn *c = q->conn;
	struct evbuffer *out = c ? bufferevent_get_output(c->bev) : NULL;
	bool idle = out && evbuffer_get_length(out) == 0;

	if (!out || evbuffer_add_reference(out, data, size, done, userdata) < 0) {
		done(data, size, userdata);
		return out ? -ENOMEM : 0;
	}
	c->written += size;
	if (idle)
		stream_watch(c, size);
	return 0;
}

void http_end(struct http_request *q)
{
	struct conn *c = q->conn;

	q->stay = NULL;
	if (!c) {
		http_request_free(q);
		return;
	}
	if (evbuffer_get_length(bufferevent_get_output(c->bev)) > 0) {
		http_conn_free(c);
		http_request_free(q);
	} else {
		c->request = NULL;
		http_request_free(q);
		http_conn_linger(c);
	}
}

/* ---- what it says ---- */

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

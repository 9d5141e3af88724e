/* SPDX-License-Identifier: Apache-2.0 */
#include <event2/bufferevent.h>

#include "http_private.h"

#define IN_ONE_PIECE_MAX (8 * KIB)
#define HEAD_ROOM 512

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

static void add_answer_head(struct conn *c, const struct http_request *q, int status, size_t size)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);

	(void)evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, reason_of(status),
		date_now(c->http));
	if (status != HTTP_NOTMODIFIED) /* there it would be the length of what is not sent */
		(void)evbuffer_add_printf(out, "Content-Length: %zu\r\n", size);
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
		http_request_free(q);
		return;
	}
	c->close |= c->http->stopping;
	add_answer(c, q, status, text, size);
	http_conn_move(c, CONN_ANSWERING);
	c->request = NULL;
	http_request_free(q);
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

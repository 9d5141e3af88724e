/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of frames, as TLS would hand it over. However the bytes are cut into pieces, the same
 * messages arrive, and the connection ends at most once and for the same reason. The first byte
 * of the input chooses the pieces.
 */
#include "../../common/conn.c"
#include "fuzz.h"

struct seen {
	unsigned int messages, closes;
	uint64_t last_seq;
	int err;
	char text[512];
	bool free_early; /* the owner gives up inside a callback */
	struct conn *conn;
};

static void seen_open(struct conn *c, void *userdata)
{
	PROMISE(!"opened twice");
}

static void seen_message(struct conn *c, const struct wire_msg *m, void *userdata)
{
	struct seen *s = userdata;

	PROMISE(s->closes == 0 && m->seq > s->last_seq); /* unknown types count, unseen */
	s->last_seq = m->seq;
	s->messages++;
	if (m->type == WIRE_BYE && s->free_early)
		s->conn = conn_free(c);
}

static void seen_close(struct conn *c, int err, const char *text, void *userdata)
{
	struct seen *s = userdata;

	PROMISE(s->closes++ == 0 && err >= 0 && *text);
	s->err = err;
	snprintf(s->text, sizeof(s->text), "%s", text);
}

static const struct conn_callbacks callbacks = { seen_open, seen_message, seen_close };

static void stream(struct event_base *base, const uint8_t *data, size_t size, size_t piece,
	struct seen *s)
{
	PROMISE(conn_new(base, NULL, &callbacks, s, &s->conn) == 0);
	s->conn->bev = bufferevent_socket_new(base, -1, 0);
	PROMISE(s->conn->bev);
	s->conn->state = CONN_OPEN;
	evbuffer_unfreeze(bufferevent_get_input(s->conn->bev), 0);
	while (size > 0 && s->conn && s->conn->state == CONN_OPEN) {
		size_t n = MIN(piece, size);

		PROMISE(evbuffer_add(bufferevent_get_input(s->conn->bev), data, n) == 0);
		on_readable(s->conn->bev, s->conn);
		data += n;
		size -= n;
	}
	s->conn = conn_free(s->conn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct event_base *base;
	struct seen whole = { 0 }, pieces = { 0 };

	if (size == 0)
		return 0;
	if (!base)
		base = event_base_new();
	PROMISE(base);
	whole.free_early = pieces.free_early = data[0] & 0x80;
	stream(base, data + 1, size - 1, size, &whole);
	stream(base, data + 1, size - 1, (size_t)(data[0] & 0x7f) + 1, &pieces);
	PROMISE(whole.messages == pieces.messages && whole.last_seq == pieces.last_seq);
	PROMISE(whole.closes == pieces.closes && whole.err == pieces.err);
	PROMISE(STREQ(whole.text, pieces.text));
	event_base_loop(base, EVLOOP_NONBLOCK);
	return 0;
}

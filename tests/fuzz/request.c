/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request to control: its head, and a body in chunks. However the body is cut into pieces, it means the
 * same, and what is taken keeps within its limit. The first byte of the input chooses the pieces.
 */
#include "fuzz.h"
#include "http_head.h"

#define ROOM 512

static void check_problem(const struct http_problem *p)
{
	PROMISE(p->status >= 400 && p->status < 500 && *p->text);
}

static void read_chunks(const uint8_t *data, size_t size, size_t piece, struct evbuffer *out, int *ret,
	struct http_problem *p)
{
	struct evbuffer *in = evbuffer_new();
	struct http_chunks c = { 0 };
	int r = 0;

	PROMISE(in);
	for (size_t at = 0; at < size && r == 0; at += MIN(piece, size - at)) {
		PROMISE(evbuffer_add(in, data + at, MIN(piece, size - at)) == 0);
		r = http_chunks_read(&c, in, out, ROOM, p);
	}
	PROMISE(r == 0 || r == 1 || r == -EBADMSG);
	PROMISE(evbuffer_get_length(out) <= ROOM);
	if (r < 0)
		check_problem(p);
	evbuffer_free(in);
	*ret = r;
}

static void check_chunks(const uint8_t *data, size_t size, size_t piece)
{
	struct evbuffer *a = evbuffer_new(), *b = evbuffer_new();
	struct http_problem p, q;
	int whole, pieces;

	PROMISE(a && b);
	read_chunks(data, size, MAX(size, (size_t)1), a, &whole, &p);
	read_chunks(data, size, piece, b, &pieces, &q);
	PROMISE(whole == pieces && (whole >= 0 || p.status == q.status));
	PROMISE(whole < 0 || evbuffer_get_length(a) == evbuffer_get_length(b));
	evbuffer_free(a);
	evbuffer_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = NULL;
	struct http_problem p = { 0 };
	struct http_head h;
	size_t from = 0, end;
	int r;

	if (size == 0)
		return 0;
	text = fuzz_text(data + 1, size - 1);
	end = http_head_end(text, size - 1, &from);
	if (end == 0)
		return 0;
	PROMISE(text[end - 1] == '\n');
	r = http_head_parse(text, end, &h, &p);
	PROMISE(r == 0 || r == -EBADMSG);
	if (r < 0) {
		check_problem(&p);
		return 0;
	}
	PROMISE(h.path && *h.method_name && !(h.chunked && h.length));
	for (const struct evkeyval *v = h.headers.tqh_first; v; v = v->next.tqe_next)
		PROMISE(*v->key && !strpbrk(v->key, "\r\n") && !strpbrk(v->value, "\r\n"));
	if (h.chunked)
		check_chunks(data + 1 + end, size - 1 - end, (size_t)data[0] + 1);
	http_head_done(&h);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Answers without an end: their chunks are taken apart as they come. */
#include <fcntl.h>

#include "api_private.h"

/* From here on nothing is waited for in here. */
static int begin(struct api *r, const struct api_head *h)
{
	int flags = fcntl(r->fd, F_GETFL);

	if (flags < 0 || fcntl(r->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return api_failed(r, -errno, "cannot read without waiting: %s", strerror(errno));
	memset(&r->stream, 0, sizeof(r->stream));
	r->stream.open = true;
	r->stream.chunk = h->chunked ? CHUNK_SIZE : CHUNK_NONE;
	return 0;
}

int api_open(struct api *r, const char *path, struct api_answer *ret)
{
	const struct api_request q = { .method = "GET", .path = path };
	_cleanup_free_ char *request = NULL;
	struct api_head h = { 0 };
	int size, rc;

	api_hang_up(r);
	r->sent = r->heard = false;
	size = api_request_text(r, &q, "text/event-stream", &request);
	if (size < 0)
		return api_failed(r, -ENOMEM, "out of memory");
	rc = api_dial(r);
	if (rc == 0)
		rc = api_send(r, request, (size_t)size);
	if (rc == 0)
		do
			rc = api_read_head(r, &h);
		while (rc == 0 && h.status < 200);
	if (rc == 0 && h.status != 200)
		return api_take_answer(r, &q, &h, ret);
	if (rc == 0)
		rc = h.sized ? api_not_http(r) : begin(r, &h);
	if (rc < 0)
		api_hang_up(r);
	else
		*ret = (struct api_answer){ .status = h.status };
	return rc;
}

/* One byte of the line with the size of a chunk, or of the line break behind one. */
static int take_line_byte(struct api *r, char byte)
{
	if (byte != '\n') {
		if (r->stream.line_len + 1 == sizeof(r->stream.line) ||
			(r->stream.chunk == CHUNK_END && byte != '\r'))
			return api_not_http(r);
		r->stream.line[r->stream.line_len++] = byte;
		return 0;
	}
	r->stream.line[r->stream.line_len] = '\0';
	if (r->stream.line_len > 0 && r->stream.line[r->stream.line_len - 1] == '\r')
		r->stream.line[r->stream.line_len - 1] = '\0';
	r->stream.line_len = 0;
	if (r->stream.chunk == CHUNK_END) {
		r->stream.chunk = CHUNK_SIZE;
		return 0;
	}
	if (api_number(r->stream.line, 16, &r->stream.left) < 0)
		return api_not_http(r);
	r->stream.chunk = CHUNK_DATA;
	return 0;
}

static size_t take_data(struct api *r, char *buf, size_t size)
{
	size_t n = MIN(size, r->in_len - r->in_pos);

	if (r->stream.chunk == CHUNK_DATA)
		n = MIN(n, r->stream.left);
	memcpy(buf, r->in + r->in_pos, n);
	r->in_pos += n;
	if (r->stream.chunk == CHUNK_DATA) {
		r->stream.left -= n;
		if (r->stream.left == 0)
			r->stream.chunk = CHUNK_END;
	}
	return n;
}

ssize_t api_read(struct api *r, char *buf, size_t size)
{
	int rc;

	for (;;) {
		if (r->stream.chunk == CHUNK_DATA && r->stream.left == 0)
			return 0; /* the chunk that ends an answer */
		if (r->in_pos == r->in_len) {
			rc = api_fill(r);
			if (rc <= 0)
				return rc;
		}
		if (r->stream.chunk == CHUNK_NONE || r->stream.chunk == CHUNK_DATA)
			return (ssize_t)take_data(r, buf, size);
		rc = take_line_byte(r, r->in[r->in_pos++]);
		if (rc < 0)
			return rc;
	}
}

int api_fd(const struct api *r)
{
	return r->fd;
}

void api_close(struct api *r)
{
	api_hang_up(r);
}

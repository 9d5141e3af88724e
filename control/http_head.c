/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <strings.h>
#include <sys/queue.h>

#include "http_head.h"

#define CHUNK_LINE_MAX 256	   /* a size and what may be written behind it */
#define CHUNK_TRAILERS_MAX (8 * KIB)

static const struct {
	const char *name;
	unsigned int method;
} methods[] = {
	{ "GET", EVHTTP_REQ_GET },	   { "HEAD", EVHTTP_REQ_HEAD },	    { "POST", EVHTTP_REQ_POST },
	{ "PUT", EVHTTP_REQ_PUT },	   { "DELETE", EVHTTP_REQ_DELETE }, { "PATCH", EVHTTP_REQ_PATCH },
	{ "OPTIONS", EVHTTP_REQ_OPTIONS }, { "TRACE", EVHTTP_REQ_TRACE },   { "CONNECT", EVHTTP_REQ_CONNECT },
};

static int _printf_(3, 4) refuse(struct http_problem *p, int status, const char *fmt, ...)
{
	va_list ap;

	p->status = status;
	va_start(ap, fmt);
	vsnprintf(p->text, sizeof(p->text), fmt, ap);
	va_end(ap);
	return -EBADMSG;
}

/* ---- characters ---- */

static bool is_token(unsigned char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_value(unsigned char c)
{
	return c >= 0x20 ? c != 0x7f : c == '\t';
}

static size_t count_while(const char *text, size_t size, bool (*is)(unsigned char))
{
	size_t n = 0;

	while (n < size && is((unsigned char)text[n]))
		n++;
	return n;
}

static bool is_visible(unsigned char c)
{
	return c > 0x20 && c < 0x7f;
}

/* ---- the end of the head ---- */

size_t http_head_end(const char *data, size_t size, size_t *from)
{
	for (size_t i = *from; i < size; i++) {
		if (data[i] != '\n')
			continue;
		if (i == 0 || data[i - 1] != '\r')
			return i + 1;
		if (i >= 3 && data[i - 2] == '\n')
			return i + 1;
	}
	*from = size;
	return 0;
}

/* ---- the request line ---- */

void http_head_done(struct http_head *h)
{
	free(h->path);
	free(h->query);
	h->path = h->query = NULL;
	if (h->headers.tqh_last)
		evhttp_clear_headers(&h->headers);
}

static int read_method(const char *text, size_t size, struct http_head *h, struct http_problem *p)
{
	size_t n = count_while(text, size, is_token);

	if (n == 0 || n == size || text[n] != ' ')
		return refuse(p, HTTP_BADREQUEST,
			"Line 1 of the request: no method and one blank at its beginning (byte %zu).", n + 1);
	if (n >= HTTP_METHOD_MAX)
		return refuse(p, HTTP_BADREQUEST, "Line 1 of the request: a method of %zu letters.", n);
	memcpy(h->method_name, text, n);
	h->method_name[n] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (STREQ(h->method_name, methods[i].name))
			h->method = methods[i].method;
	return (int)n + 1;
}

/* "/path?query", or the same behind "https://host", or what no route has. */
static int read_target(const char *target, size_t size, struct http_head *h)
{
	const char *end = target + size, *p = target, *host, *mark;
	size_t n;

	assert(target); /* with UBSan gcc believes that it may be NULL */
	host = memmem(target, size, "://", 3);
	if (*target != '/' && host) {
		p = memchr(host + 3, '/', (size_t)(end - host - 3));
		if (!p)
			return (h->path = strdup("/")) ? 0 : -ENOMEM;
	}
	mark = memchr(p, '#', (size_t)(end - p));
	end = mark ?: end;
	mark = memchr(p, '?', (size_t)(end - p));
	n = (size_t)((mark ?: end) - p);
	h->path = strndup(p, n);
	if (mark)
		h->query = strndup(mark + 1, (size_t)(end - mark - 1));
	return h->path && (h->query || !mark) ? 0 : -ENOMEM;
}

static int read_request_line(const char *text, size_t size, struct http_head *h, struct http_problem *p)
{
	int start = read_method(text, size, h, p);
	const char *target, *version;
	size_t n, left;

	if (start < 0)
		return start;
	target = text + start;
	left = size - (size_t)start;
	n = count_while(target, left, is_visible);
	if (n == 0 || n == left || target[n] != ' ')
		return refuse(p, HTTP_BADREQUEST,
			"Line 1 of the request: the path must be visible ASCII with one blank before and "
			"behind it (byte %zu).", (size_t)start + n + 1);
	version = target + n + 1;
	left -= n + 1;
	if (left != 8 || memcmp(version, "HTTP/1.", 7) != 0 || (version[7] != '1' && version[7] != '0'))
		return refuse(p, HTTP_BADREQUEST,
			"Line 1 of the request: must end with HTTP/1.1 or HTTP/1.0 (byte %zu).",
			(size_t)start + n + 2);
	h->keep_alive = version[7] == '1';
	return read_target(target, n, h);
}

/* ---- headers ---- */

static int add_header(struct evkeyvalq *headers, const char *name, size_t n_name, const char *value,
	size_t n_value)
{
	_cleanup_free_ char *key = strndup(name, n_name), *text = strndup(value, n_value);

	if (!key || !text || evhttp_add_header(headers, key, text) < 0)
		return -ENOMEM;
	return 0;
}

static int read_header(const char *text, size_t size, unsigned int line, struct http_head *h,
	struct http_problem *p)
{
	size_t name = count_while(text, size, is_token), value = name + 1, n;

	if (*text == ' ' || *text == '\t')
		return refuse(p, HTTP_BADREQUEST, "Line %u of the request: a header must be one line.", line);
	if (name == 0 || name == size || text[name] != ':')
		return refuse(p, HTTP_BADREQUEST,
			"Line %u of the request: no header name with a colon behind it (byte %zu).", line,
			name + 1);
	n = count_while(text + value, size - value, is_value);
	if (value + n < size)
		return refuse(p, HTTP_BADREQUEST, "Line %u of the request: a control character (byte %zu).",
			line, value + n + 1);
	while (value < size && (text[value] == ' ' || text[value] == '\t'))
		value++;
	while (size > value && (text[size - 1] == ' ' || text[size - 1] == '\t'))
		size--;
	return add_header(&h->headers, text, name, text + value, size - value);
}

/* ---- what the headers say of the body and of the connection ---- */

static const char *only_header(const struct evkeyvalq *headers, const char *name, bool *ret_twice)
{
	const char *found = NULL;

	for (const struct evkeyval *h = headers->tqh_first; h; h = h->next.tqe_next)
		if (strcasecmp(h->key, name) == 0) {
			*ret_twice |= found != NULL;
			found = h->value;
		}
	return found;
}

static int read_length(const char *text, struct http_head *h, struct http_problem *p)
{
	size_t n = strspn(text, "0123456789");

	if (n == 0 || text[n])
		return refuse(p, HTTP_BADREQUEST, "Header Content-Length: must be a number of bytes.");
	if (n > 18) /* no limit goes that far; it must not wrap */
		return refuse(p, HTTP_ENTITYTOOLARGE, "Header Content-Length: the body is too large.");
	h->length = strtoull(text, NULL, 10);
	return 0;
}

static int read_framing(struct http_head *h, struct http_problem *p)
{
	bool twice = false;
	const char *length = only_header(&h->headers, "Content-Length", &twice);
	const char *encoding = only_header(&h->headers, "Transfer-Encoding", &twice);

	(void)only_header(&h->headers, "Host", &twice);
	if (twice)
		return refuse(p, HTTP_BADREQUEST,
			"Header Content-Length, Transfer-Encoding or Host: appears twice.");
	if (length && encoding)
		return refuse(p, HTTP_BADREQUEST,
			"Header Content-Length: cannot be together with Transfer-Encoding.");
	if (encoding && !h->keep_alive)
		return refuse(p, HTTP_BADREQUEST, "Header Transfer-Encoding: is not of HTTP/1.0.");
	if (encoding && strcasecmp(encoding, "chunked") != 0)
		return refuse(p, HTTP_BADREQUEST, "Header Transfer-Encoding: only chunked is known here.");
	h->chunked = encoding != NULL;
	return length ? read_length(length, h, p) : 0;
}

static bool has_word(const char *list, const char *word)
{
	while (*list) {
		size_t n;

		list += strspn(list, ", \t");
		n = strcspn(list, ", \t");
		if (n == strlen(word) && strncasecmp(list, word, n) == 0)
			return true;
		list += n;
	}
	return false;
}

static int read_wishes(struct http_head *h, struct http_problem *p)
{
	bool newer = h->keep_alive, close = false;

	for (const struct evkeyval *v = h->headers.tqh_first; v; v = v->next.tqe_next) {
		if (strcasecmp(v->key, "Connection") == 0) {
			close |= has_word(v->value, "close");
			h->keep_alive |= has_word(v->value, "keep-alive");
		} else if (strcasecmp(v->key, "Expect") == 0 && newer) {
			if (strcasecmp(v->value, "100-continue") != 0)
				return refuse(p, HTTP_EXPECTATIONFAILED,
					"Header Expect: only 100-continue is known here.");
			h->expects_continue = true;
		}
	}
	h->keep_alive &= !close;
	return 0;
}

static int parse(const char *data, size_t size, struct http_head *h, struct http_problem *p)
{
	unsigned int line = 0;
	int r;

	for (const char *text = data, *end = data + size; text < end; line++) {
		const char *lf = memchr(text, '\n', (size_t)(end - text));
		size_t n;

		if (!lf || lf == text || lf[-1] != '\r')
			return refuse(p, HTTP_BADREQUEST, "Line %u of the request: does not end with CR and LF.",
				line + 1);
		n = (size_t)(lf - text) - 1;
		if (n == 0 && line > 0)
			break;
		if (line > HTTP_LINES_MAX)
			return refuse(p, HTTP_TOO_MUCH_HEADER, "A request may have %d headers at most.",
				HTTP_LINES_MAX);
		r = line == 0 ? read_request_line(text, n, h, p) : read_header(text, n, line + 1, h, p);
		if (r < 0)
			return r;
		text = lf + 1;
	}
	r = read_framing(h, p);
	return r < 0 ? r : read_wishes(h, p);
}

int http_head_parse(const char *data, size_t size, struct http_head *ret, struct http_problem *problem)
{
	struct http_head h = { 0 };
	int r;

	TAILQ_INIT(&h.headers);
	r = parse(data, size, &h, problem);
	if (r < 0) {
		http_head_done(&h);
		return r;
	}
	*ret = h;
	/* An empty queue points to itself, and a queue's first element to its head. */
	if (h.headers.tqh_first)
		ret->headers.tqh_first->next.tqe_prev = &ret->headers.tqh_first;
	else
		TAILQ_INIT(&ret->headers);
	return 0;
}

/* ---- bodies ---- */

int http_take_body(struct evbuffer *in, struct evbuffer *out, size_t n)
{
	while (n > 0) {
		struct evbuffer_iovec piece;
		size_t size;

		if (evbuffer_peek(in, -1, NULL, &piece, 1) < 1)
			return -ENOMEM;
		size = MIN(n, piece.iov_len);
		if (evbuffer_add(out, piece.iov_base, size) < 0)
			return -ENOMEM;
		(void)evbuffer_drain(in, size);
		n -= size;
	}
	return 0;
}

/* A whole line to @ret without its end, which is drained; 0: not there yet. */
static int take_line(struct http_chunks *c, struct evbuffer *in, char line[CHUNK_LINE_MAX + 1],
	struct http_problem *p)
{
	struct evbuffer_ptr end = evbuffer_search_eol(in, NULL, NULL, EVBUFFER_EOL_LF);
	size_t n = end.pos < 0 ? evbuffer_get_length(in) : (size_t)end.pos;

	if (n > CHUNK_LINE_MAX)
		return refuse(p, HTTP_BADREQUEST, "The body, byte %llu: a chunk's line of more than %d bytes.",
			(unsigned long long)c->consumed, CHUNK_LINE_MAX);
	if (end.pos < 0)
		return 0;
	(void)evbuffer_remove(in, line, n);
	(void)evbuffer_drain(in, 1);
	if (n == 0 || line[n - 1] != '\r')
		return refuse(p, HTTP_BADREQUEST, "The body, byte %llu: a chunk's line does not end with CR and LF.",
			(unsigned long long)(c->consumed + n));
	line[n - 1] = '\0';
	if (count_while(line, n - 1, is_value) < n - 1)
		return refuse(p, HTTP_BADREQUEST, "The body, byte %llu: a control character in a chunk's line.",
			(unsigned long long)c->consumed);
	c->consumed += n + 1;
	return 1;
}

static int read_size(struct http_chunks *c, const char *line, struct http_problem *p)
{
	size_t n = strspn(line, "0123456789abcdefABCDEF"), end = n + strspn(line + n, " \t");

	if (n == 0 || n > 15 || (line[end] && line[end] != ';'))
		return refuse(p, HTTP_BADREQUEST, "The body, before byte %llu: a chunk without its size in hexadecimal "
			"digits.", (unsigned long long)c->consumed);
	c->left = strtoull(line, NULL, 16);
	c->state = c->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
	return 1;
}

static int read_line(struct http_chunks *c, struct evbuffer *in, struct http_problem *p)
{
	char line[CHUNK_LINE_MAX + 1];
	int r = take_line(c, in, line, p);

	if (r <= 0)
		return r;
	if (c->state == CHUNK_SIZE)
		return read_size(c, line, p);
	if (c->state == CHUNK_END) {
		c->state = CHUNK_SIZE;
		return *line ? refuse(p, HTTP_BADREQUEST, "The body, before byte %llu: a chunk is longer than its "
			"size.", (unsigned long long)c->consumed) : 1;
	}
	c->trailers += strlen(line);
	if (c->trailers > CHUNK_TRAILERS_MAX)
		return refuse(p, HTTP_TOO_MUCH_HEADER, "The body: more than %llu bytes of trailers.",
			(unsigned long long)CHUNK_TRAILERS_MAX);
	if (!*line)
		c->state = CHUNK_DONE;
	return 1;
}

static int read_data(struct http_chunks *c, struct evbuffer *in, struct evbuffer *out)
{
	size_t n = MIN((uint64_t)evbuffer_get_length(in), c->left);

	if (n == 0)
		return 0;
	if (http_take_body(in, out, n) < 0)
		return -ENOMEM;
	c->consumed += n;
	c->left -= n;
	if (c->left == 0)
		c->state = CHUNK_END;
	return 1;
}

int http_chunks_read(struct http_chunks *c, struct evbuffer *in, struct evbuffer *out, size_t room,
	struct http_problem *problem)
{
	int r = 1;

	while (r > 0 && c->state != CHUNK_DONE) {
		if (c->state == CHUNK_DATA && c->left > room - MIN(room, evbuffer_get_length(out)))
			return refuse(problem, HTTP_ENTITYTOOLARGE,
				"A request body may have %zu bytes at most.", room);
		r = c->state == CHUNK_DATA ? read_data(c, in, out) : read_line(c, in, problem);
	}
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "jsonin.h"
#include "api_private.h"

#define HEADERS_MAX 100

struct body {
	char *data;
	size_t len, room;
};

int api_not_http(struct api *r)
{
	return api_failed(
		r, -EPROTO, "what answers at %s port %u is no control service", r->host, r->port);
}

/* One line without its CR LF. */
static int read_line(struct api *r, char line[static API_LINE_SIZE])
{
	size_t len = 0;

	for (;;) {
		if (r->in_pos == r->in_len) {
			int rc = api_fill(r);

			if (rc < 0)
				return rc;
			if (rc == 0)
				return api_failed(r, -ECONNRESET,
					"the control service at %s port %u hung up", r->host,
					r->port);
		}
		line[len] = r->in[r->in_pos++];
		if (line[len] == '\n')
			break;
		if (line[len] == '\0' || ++len == API_LINE_SIZE)
			return api_not_http(r);
	}
	if (len > 0 && line[len - 1] == '\r')
		len--;
	line[len] = '\0';
	return 0;
}

static int body_room(struct api *r, struct body *b, uint64_t more)
{
	size_t room = b->room ? b->room : 4096;
	char *data;

	if (more > API_BODY_MAX - b->len)
		return api_failed(r, -EFBIG, "the control service's answer is larger than %llu bytes",
			(unsigned long long)API_BODY_MAX);
	while (room < b->len + more)
		room *= 2;
	if (room == b->room)
		return 0;
	data = realloc(b->data, room);
	if (!data)
		return api_failed(r, -ENOMEM, "out of memory");
	b->data = data;
	b->room = room;
	return 0;
}

/* @size bytes, or with UINT64_MAX all that come before the end of the stream. */
static int read_bytes(struct api *r, struct body *b, uint64_t size)
{
	while (size > 0) {
		size_t n;
		int rc = r->in_pos == r->in_len ? api_fill(r) : 1;

		if (rc == 0 && size == UINT64_MAX)
			return 0;
		if (rc == 0)
			return api_failed(r, -ECONNRESET, "the control service hung up mid-answer");
		if (rc < 0)
			return rc;
		n = MIN(r->in_len - r->in_pos, size);
		rc = body_room(r, b, n);
		if (rc < 0)
			return rc;
		memcpy(b->data + b->len, r->in + r->in_pos, n);
		b->len += n;
		r->in_pos += n;
		if (size != UINT64_MAX)
			size -= n;
	}
	return 0;
}

int api_number(const char *text, int base, uint64_t *ret)
{
	char *end;
	unsigned long long v;

	if (strspn(text, base == 16 ? "0123456789abcdefABCDEF" : "0123456789") == 0)
		return -EINVAL;
	errno = 0;
	v = strtoull(text, &end, base);
	if (errno || (*end && !strchr("; \t", *end)) || v >= INT64_MAX)
		return -EINVAL;
	*ret = v;
	return 0;
}

static int read_chunks(struct api *r, struct body *b)
{
	char line[API_LINE_SIZE];
	uint64_t size;
	int rc;

	for (;;) {
		rc = read_line(r, line);
		if (rc < 0)
			return rc;
		if (api_number(line, 16, &size) < 0)
			return api_not_http(r);
		if (size == 0)
			break;
		rc = read_bytes(r, b, size);
		if (rc == 0)
			rc = read_line(r, line);
		if (rc < 0)
			return rc;
		if (line[0] != '\0')
			return api_not_http(r);
	}
	for (int i = 0; i < HEADERS_MAX; i++) { /* trailers */
		rc = read_line(r, line);
		if (rc < 0 || line[0] == '\0')
			return rc;
	}
	return api_not_http(r);
}

/* The value of header @name when @line is it, else NULL. */
static const char *header_value(const char *line, const char *name)
{
	size_t n = strlen(name);

	if (strncasecmp(line, name, n) != 0 || line[n] != ':')
		return NULL;
	line += n + 1;
	return line + strspn(line, " \t");
}

static int read_header(struct api *r, const char *line, struct api_head *h)
{
	const char *value;

	if ((value = header_value(line, "Content-Length"))) {
		uint64_t size;

		if (api_number(value, 10, &size) < 0 || (h->sized && h->size != size))
			return api_not_http(r);
		h->sized = true;
		h->size = size;
	} else if ((value = header_value(line, "Transfer-Encoding"))) {
		if (strcasecmp(value, "chunked") != 0)
			return api_not_http(r);
		h->chunked = true;
	} else if ((value = header_value(line, "X-Request-Id"))) {
		snprintf(h->request_id, sizeof(h->request_id), "%s", value);
	} else if ((value = header_value(line, "Connection"))) {
		h->close = strcasecmp(value, "close") == 0;
	}
	return 0;
}

int api_read_head(struct api *r, struct api_head *ret)
{
	char line[API_LINE_SIZE];
	struct api_head h = { 0 };
	int rc, minor;

	rc = read_line(r, line);
	if (rc < 0)
		return rc;
	if (sscanf(line, "HTTP/1.%1d %3d", &minor, &h.status) != 2 || h.status < 100 ||
		h.status > 599)
		return api_not_http(r);
	h.close = minor == 0;
	for (int i = 0; i < HEADERS_MAX; i++) {
		rc = read_line(r, line);
		if (rc == 0 && line[0] == '\0') {
			*ret = h;
			return 0;
		}
		if (rc == 0)
			rc = read_header(r, line, &h);
		if (rc < 0)
			return rc;
	}
	return api_not_http(r);
}

/* What is behind a head. */
static int read_rest(struct api *r, struct api_head *h, struct body *b)
{
	if (h->status == 204 || h->status == 304)
		return 0;
	if (h->chunked)
		return read_chunks(r, b);
	if (h->sized)
		return read_bytes(r, b, h->size);
	h->close = true;
	return read_bytes(r, b, UINT64_MAX);
}

static int read_answer(struct api *r, struct api_head *h, struct body *b)
{
	int rc;

	do
		rc = api_read_head(r, h);
	while (rc == 0 && h->status < 200); /* "100 Continue" and its kin come before the answer */
	return rc < 0 ? rc : read_rest(r, h, b);
}

static int exchange(struct api *r, const char *request, size_t size, struct api_head *h, struct body *b)
{
	int rc = 0;

	if (!r->ssl)
		rc = api_dial(r);
	if (rc == 0)
		rc = api_send(r, request, size);
	if (rc == 0)
		rc = read_answer(r, h, b);
	if (rc < 0 || h->close)
		api_hang_up(r);
	return rc;
}

int api_request_text(const struct api *r, const struct api_request *q, const char *accept, char **ret)
{
	bool v6 = strchr(r->host, ':');
	const char *text = q->body ? json_object_to_json_string_ext(q->body, JSON_C_TO_STRING_PLAIN) : "";
	const char *key = q->idempotency_key;
	char length[64] = "", *made;
	int n;

	if (!text)
		return -ENOMEM;
	if (q->body)
		snprintf(length, sizeof(length), "Content-Length: %zu\r\n", strlen(text));
	n = asprintf(&made,
		"%s %s HTTP/1.1\r\n"
		"Host: %s%s%s:%u\r\n"
		"User-Agent: flockerctl/" FLOCKER_VERSION "\r\n"
		"Accept: %s\r\n"
		"%s%s%s"
		"%s%s\r\n%s",
		q->method, q->path, v6 ? "[" : "", r->host, v6 ? "]" : "", r->port, accept,
		key ? "Idempotency-Key: " : "", key ? key : "", key ? "\r\n" : "",
		q->body ? "Content-Type: application/json\r\n" : "", length, text);
	if (n < 0)
		return -ENOMEM;
	*ret = made;
	return n;
}

/* Frees what is in @b. */
static int parse_answer(struct api *r, const struct api_request *q, const struct api_head *h, struct body *b,
	struct api_answer *ret)
{
	struct json_object *json = NULL;
	char error[JSONIN_ERROR_MAX];
	int rc = 0;

	if (q->text) {
		*ret = (struct api_answer){ .status = h->status, .text = TAKE_PTR(b->data), .text_len = b->len };
	} else {
		if (b->len > 0 && jsonin_parse(b->data, b->len, &json, error) == -EBADMSG && h->status < 300)
			rc = api_failed(r, -EBADMSG, "the control service's answer to %s %s is no JSON: %s",
				q->method, q->path, error);
		if (rc == 0)
			*ret = (struct api_answer){ .status = h->status, .body = json };
	}
	free(TAKE_PTR(b->data));
	if (rc == 0)
		strcpy(ret->request_id, h->request_id);
	return rc;
}

int api_take_answer(struct api *r, const struct api_request *q, struct api_head *h, struct api_answer *ret)
{
	struct body b = { 0 };
	int rc = read_rest(r, h, &b);

	api_hang_up(r);
	if (rc == 0)
		return parse_answer(r, q, h, &b, ret);
	free(b.data);
	return rc;
}

int api_call(struct api *r, const struct api_request *q, struct api_answer *ret)
{
	_cleanup_free_ char *request = NULL;
	struct body b = { 0 };
	struct api_head h = { 0 };
	bool kept = r->ssl != NULL;
	int size, rc;

	r->sent = r->heard = false;
	size = api_request_text(r, q, q->text ? "*/*" : "application/json", &request);
	if (size < 0)
		return api_failed(r, -ENOMEM, "out of memory");
	rc = exchange(r, request, (size_t)size, &h, &b);
	/* A server may close an idle connection just when we speak again. */
	if (rc < 0 && kept && !r->heard && rc != -ETIMEDOUT && STREQ(q->method, "GET")) {
		free(TAKE_PTR(b.data));
		b = (struct body){ 0 };
		rc = exchange(r, request, (size_t)size, &h, &b);
	}
	if (rc == 0)
		return parse_answer(r, q, &h, &b, ret);
	free(b.data);
	return rc;
}

const char *api_error(const struct api *r)
{
	return r->error;
}

bool api_was_sent(const struct api *r)
{
	return r->sent;
}

void api_answer_done(struct api_answer *a)
{
	json_object_put(a->body);
	free(a->text);
	*a = (struct api_answer){ 0 };
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <strings.h>

#include "answer.h"
#include "text.h"

static int read_status(struct answer *a)
{
	char minor, rest[4];

	if (sscanf(a->line, "HTTP/1.%c %3d%1s", &minor, &a->status, rest) < 2 || a->status < 100 || a->status > 599 ||
		(minor != '0' && minor != '1'))
		return -EPROTO;
	a->close = minor == '0';
	a->sized = a->chunked = false;
	a->left = 0;
	a->n_lines = 0;
	a->state = ANSWER_HEADERS;
	return 0;
}

/* The value of header @name when @line is it, else NULL. */
static const char *value_of(const char *line, const char *name)
{
	size_t n = strlen(name);

	if (strncasecmp(line, name, n) != 0 || line[n] != ':')
		return NULL;
	line += n + 1;
	return line + strspn(line, " \t");
}

static int read_header(struct answer *a)
{
	const char *value;
	uint64_t size;

	if (++a->n_lines > ANSWER_LINES_MAX)
		return -EPROTO;
	if ((value = value_of(a->line, "Content-Length"))) {
		if (text_number(value, 0, INT64_MAX, &size) < 0 || (a->sized && size != a->left))
			return -EPROTO;
		a->sized = true;
		a->left = size;
	} else if ((value = value_of(a->line, "Transfer-Encoding"))) {
		if (strcasecmp(value, "chunked") != 0)
			return -EPROTO;
		a->chunked = true;
	} else if ((value = value_of(a->line, "Connection"))) {
		a->close |= strcasecmp(value, "close") == 0;
	}
	return 0;
}

static void begin_body(struct answer *a)
{
	if (a->status < 200) /* "100 Continue" and its kin come before the answer */
		a->state = ANSWER_STATUS;
	else if (a->status == 204 || a->status == 304)
		a->state = ANSWER_DONE;
	else if (a->chunked)
		a->state = ANSWER_CHUNK_SIZE;
	else if (a->sized)
		a->state = a->left > 0 ? ANSWER_SIZED : ANSWER_DONE;
	else
		a->state = ANSWER_TO_THE_END;
}

static int read_chunk_size(struct answer *a)
{
	size_t digits = strspn(a->line, "0123456789abcdefABCDEF");

	if (digits == 0 || digits > 15 || (a->line[digits] && !strchr("; \t", a->line[digits])))
		return -EPROTO;
	a->left = strtoull(a->line, NULL, 16);
	a->n_lines = 0;
	a->state = a->left > 0 ? ANSWER_CHUNK : ANSWER_TRAILERS;
	return 0;
}

static int take_line(struct answer *a)
{
	switch (a->state) {
	case ANSWER_STATUS:
		return read_status(a);
	case ANSWER_HEADERS:
		if (a->line[0])
			return read_header(a);
		begin_body(a);
		return 0;
	case ANSWER_CHUNK_SIZE:
		return read_chunk_size(a);
	case ANSWER_CHUNK_END:
		a->state = ANSWER_CHUNK_SIZE;
		return a->line[0] ? -EPROTO : 0;
	default: /* trailers: they mean nothing here */
		if (!a->line[0])
			a->state = ANSWER_DONE;
		return ++a->n_lines > ANSWER_LINES_MAX ? -EPROTO : 0;
	}
}

static int take_of_line(struct answer *a, const char *data, size_t size, size_t *ret_used)
{
	const char *end = memchr(data, '\n', size);
	size_t n = end ? (size_t)(end - data) : size;
	int r;

	if (a->n_line + n >= ANSWER_LINE_MAX || memchr(data, '\0', n))
		return -EPROTO;
	memcpy(a->line + a->n_line, data, n);
	a->n_line += n;
	if (!end) {
		*ret_used = n;
		return 0;
	}
	if (a->n_line > 0 && a->line[a->n_line - 1] == '\r')
		a->n_line--;
	a->line[a->n_line] = '\0';
	a->n_line = 0;
	r = take_line(a);
	if (r == 0)
		*ret_used = n + 1;
	return r;
}

int answer_take(struct answer *a, const char *data, size_t size, size_t *ret_used, const char **ret_body,
	size_t *ret_size)
{
	bool counted = a->state == ANSWER_SIZED || a->state == ANSWER_CHUNK;

	*ret_size = 0;
	if (!counted && a->state != ANSWER_TO_THE_END)
		return take_of_line(a, data, size, ret_used);
	*ret_body = data;
	*ret_used = *ret_size = counted ? (size_t)MIN(a->left, (uint64_t)size) : size;
	if (counted)
		a->left -= *ret_size;
	if (counted && a->left == 0)
		a->state = a->state == ANSWER_SIZED ? ANSWER_DONE : ANSWER_CHUNK_END;
	return 0;
}

bool answer_end(struct answer *a)
{
	if (a->state == ANSWER_TO_THE_END)
		a->state = ANSWER_DONE;
	return a->state == ANSWER_DONE;
}

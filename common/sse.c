/* SPDX-License-Identifier: Apache-2.0 */
#include "sse.h"

struct text {
	char *data;
	size_t len, room;
};

struct sse {
	struct text line; /* begun, and not ended yet */
	struct text data; /* of the event that is being read, a newline behind each line */
	bool after_cr;	  /* a newline would belong to the line that is ended already */
	bool has_id;
	char type[SSE_WORD_SIZE];
	char next_id[SSE_WORD_SIZE]; /* counts when its block is over */
	char id[SSE_WORD_SIZE];
};

struct sse *sse_new(void)
{
	return calloc(1, sizeof(struct sse));
}

struct sse *sse_free(struct sse *s)
{
	if (!s)
		return NULL;
	free(s->line.data);
	free(s->data.data);
	free(s);
	return NULL;
}

const char *sse_id(const struct sse *s)
{
	return s->id;
}

void sse_reset(struct sse *s)
{
	s->line.len = s->data.len = 0;
	s->after_cr = s->has_id = false;
	s->type[0] = '\0';
}

/* Keeps a NUL behind it. */
static int append(struct text *t, const char *bytes, size_t n)
{
	size_t room = t->room ? t->room : 1024;
	char *data;

	if (n >= SSE_EVENT_MAX - t->len)
		return -EMSGSIZE;
	while (room < t->len + n + 1)
		room *= 2;
	if (room != t->room) {
		data = realloc(t->data, room);
		if (!data)
			return -ENOMEM;
		t->data = data;
		t->room = room;
	}
	memcpy(t->data + t->len, bytes, n);
	t->len += n;
	t->data[t->len] = '\0';
	return 0;
}

static int take_word(char where[static SSE_WORD_SIZE], const char *value)
{
	if (strlen(value) >= SSE_WORD_SIZE)
		return -EMSGSIZE;
	strcpy(where, value);
	return 0;
}

/* "field: value"; fields that are none of ours, and comments, mean nothing. */
static int take_field(struct sse *s)
{
	char *line = s->line.data, *value = memchr(line, ':', s->line.len);
	size_t name = value ? (size_t)(value - line) : s->line.len, size;
	int r;

	if (value)
		value += value[1] == ' ' ? 2 : 1;
	else
		value = line + s->line.len;
	size = s->line.len - (size_t)(value - line);
	if (name == 4 && memcmp(line, "data", 4) == 0) {
		r = append(&s->data, value, size);
		return r < 0 ? r : append(&s->data, "\n", 1);
	}
	if (memchr(value, '\0', size))
		return 0;
	if (name == 5 && memcmp(line, "event", 5) == 0)
		return take_word(s->type, value);
	if (name == 2 && memcmp(line, "id", 2) == 0) {
		s->has_id = true;
		return take_word(s->next_id, value);
	}
	return 0;
}

/* A block is over: 1 when it was an event. */
static int end_block(struct sse *s, struct sse_event *ret)
{
	bool has_data = s->data.len > 0;

	if (s->has_id)
		strcpy(s->id, s->next_id);
	s->has_id = false;
	if (has_data) {
		s->data.data[s->data.len - 1] = '\0'; /* the last newline */
		*ret = (struct sse_event){ .data = s->data.data, .size = s->data.len - 1 };
		strcpy(ret->type, s->type);
	}
	s->type[0] = '\0';
	s->data.len = 0;
	return has_data;
}

static int end_line(struct sse *s, struct sse_event *ret)
{
	int r = s->line.len > 0 ? take_field(s) : end_block(s, ret);

	s->line.len = 0;
	return r;
}

int sse_take(struct sse *s, const char *data, size_t size, size_t *ret_used, struct sse_event *ret)
{
	size_t used = 0;
	int r = 0;

	while (used < size && r == 0) {
		size_t n = 0;

		if (s->after_cr && data[used] == '\n')
			used++;
		s->after_cr = false;
		while (used + n < size && data[used + n] != '\n' && data[used + n] != '\r')
			n++;
		r = append(&s->line, data + used, n);
		used += n;
		if (r == 0 && used < size) {
			s->after_cr = data[used++] == '\r';
			r = end_line(s, ret);
		}
	}
	if (r >= 0)
		*ret_used = used;
	return r;
}

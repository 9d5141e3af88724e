/* SPDX-License-Identifier: Apache-2.0 */
/* The parameters of v2's requests, behind "?": read to the letter, so that a slip is not a wish. */
#include <event2/http.h>

#include "rest_private.h"
#include "schema_private.h"
#include "text.h"

/* Is @name one of the words of @names? */
static bool has_word(const char *names, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = names; *p; p += strspn(p, " ")) {
		size_t length = strcspn(p, " ");

		if (length == n && memcmp(p, name, n) == 0)
			return true;
		p += length;
	}
	return false;
}

/* Decoded; NULL when it holds a NUL or is not UTF-8. */
static char *decode(const char *text, size_t size)
{
	_cleanup_free_ char *encoded = strndup(text, size);
	_cleanup_free_ char *plain = NULL;
	size_t n = 0;

	plain = encoded ? evhttp_uridecode(encoded, 1, &n) : NULL;
	if (!plain || strlen(plain) != n)
		return NULL;
	for (const char *p = plain; p < plain + n;) {
		unsigned int length = utf8_length(p, plain + n);

		if (!length)
			return NULL;
		p += length;
	}
	return TAKE_PTR(plain);
}

static void take(struct rest_request *q, const char *part, size_t size, const char *names,
	struct schema_errors *e)
{
	const char *mark = memchr(part, '=', size);
	size_t n = mark ? (size_t)(mark - part) : size;
	_cleanup_free_ char *name = decode(part, n);
	_cleanup_free_ char *value = mark ? decode(mark + 1, size - n - 1) : strdup("");

	if (!name || !value)
		schema_violation(e, "?%s: is not UTF-8", name ?: "");
	else if (!has_word(names, name))
		schema_violation(e, "?%.64s: there is no such parameter here; there %s%s", name,
			*names ? "are: " : "is none", names);
	else if (rest_query(q, name))
		schema_violation(e, "?%s: appears twice", name);
	else if (q->n_query < ARRAY_SIZE(q->query))
		q->query[q->n_query++] = (struct rest_parameter){ TAKE_PTR(name), TAKE_PTR(value) };
}

static void read_query(struct rest_request *q, const char *text, const char *names, struct schema_errors *e)
{
	while (*text) {
		size_t n = strcspn(text, "&");

		if (n > 0)
			take(q, text, n, names, e);
		text += n + (text[n] == '&');
	}
}

bool rest_read_query(struct rest_request *q, const char *names)
{
	struct schema_errors e = { 0 };

	read_query(q, http_request_head(q->http)->query ?: "", names, &e);
	(void)rest_query_flag(q, "plan", &e); /* before anything is looked at: it must not be done by mistake */
	return rest_query_good(q, &e);
}

void rest_query_done(struct rest_request *q)
{
	for (size_t i = 0; i < q->n_query; i++) {
		free(q->query[i].name);
		free(q->query[i].value);
	}
	q->n_query = 0;
}

const char *rest_query(const struct rest_request *q, const char *name)
{
	for (size_t i = 0; i < q->n_query; i++)
		if (STREQ(q->query[i].name, name))
			return q->query[i].value;
	return NULL;
}

bool rest_query_id(const struct rest_request *q, const char *name, struct id128 *ret, struct schema_errors *e)
{
	const char *text = rest_query(q, name);

	if (!text)
		return false;
	if (id128_parse(text, ret) == 0)
		return true;
	schema_violation(e, "?%s: must be a UUID of 36 characters", name);
	return false;
}

bool rest_query_number(const struct rest_request *q, const char *name, uint64_t min, uint64_t max, uint64_t *ret,
	struct schema_errors *e)
{
	const char *text = rest_query(q, name);

	if (!text)
		return false;
	if (text_number(text, min, max, ret) == 0)
		return true;
	schema_violation(e, "?%s: must be a whole number from %llu to %llu", name, (unsigned long long)min,
		(unsigned long long)max);
	return false;
}

bool rest_query_flag(const struct rest_request *q, const char *name, struct schema_errors *e)
{
	const char *text = rest_query(q, name);

	if (!text || STREQ(text, "false"))
		return false;
	if (!STREQ(text, "true"))
		schema_violation(e, "?%s: must be true or false", name);
	return true;
}

bool rest_query_good(struct rest_request *q, struct schema_errors *e)
{
	bool good = e->n == 0;

	if (!good)
		rest_reply_errors(q, HTTP_BADREQUEST, "The parameters behind \"?\" are not as they have to be.",
			e->list, e->n);
	schema_errors_done(e);
	return good;
}

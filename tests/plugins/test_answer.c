/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include "answer.h"

/* All of @text, @step bytes at a time; the body to @body. What was left over, or a negative errno. */
static long read_all(struct answer *a, const char *text, size_t step, char *body)
{
	size_t left = strlen(text), used, n;
	const char *piece = NULL;

	*body = '\0';
	while (left > 0 && a->state != ANSWER_DONE) {
		int r = answer_take(a, text, MIN(step, left), &used, &piece, &n);

		if (r < 0)
			return r;
		assert_true(used > 0);
		strncat(body, piece ?: "", n);
		text += used;
		left -= used;
	}
	return (long)left;
}

static void expect(const char *text, int status, const char *body, long left, bool closes)
{
	char got[256];

	for (size_t step = 1; step <= strlen(text); step++) {
		struct answer a = { 0 };

		assert_int_equal(read_all(&a, text, step, got), left);
		assert_int_equal(a.status, status);
		assert_string_equal(got, body);
		assert_int_equal(a.close, closes);
		assert_true(answer_end(&a));
	}
}

static void answers_are_read_however_they_are_cut(void **state)
{
	expect("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP", 200, "hello", 4, false);
	expect("HTTP/1.1 404 Not Found\r\ncontent-length:0\r\nX: y\r\nConnection: close\r\n\r\n", 404, "", 0, true);
	expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: "
	       "chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: r\r\n\r\n",
		200, "abc0123456789", 0, false);
	expect("HTTP/1.0 201 Created\r\n\r\nall of it", 201, "all of it", 0, true);
	expect("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, "", 0, false);
	expect("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, "ok", 0, false);
}

static void what_is_no_answer_is_refused(void **state)
{
	static const char *const bad[] = {"HTTP/2 200\r\n", "SSH-2.0-x\r\n", "HTTP/1.1 99 x\r\n",
		"HTTP/1.1 600 x\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000000000000000\r\n"};
	char got[256];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct answer a = { 0 };

		assert_int_equal(read_all(&a, bad[i], 7, got), -EPROTO);
	}
}

static void lines_and_headers_are_bounded(void **state)
{
	char line[ANSWER_LINE_MAX + 1], got[256];
	struct answer a = { 0 };

	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	assert_int_equal(read_all(&a, line, sizeof(line), got), -EPROTO);
	a = (struct answer){ 0 };
	assert_int_equal(read_all(&a, "HTTP/1.1 200 OK\r\n", 100, got), 0);
	for (int i = 0; i < ANSWER_LINES_MAX; i++)
		assert_int_equal(read_all(&a, "X: y\r\n", 100, got), 0);
	assert_int_equal(read_all(&a, "X: y\r\n", 100, got), -EPROTO);
}

static void an_answer_that_breaks_off_is_none(void **state)
{
	struct answer a = { 0 };
	char got[256];

	assert_int_equal(read_all(&a, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", 100, got), 0);
	assert_false(answer_end(&a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_read_however_they_are_cut),
		cmocka_unit_test(what_is_no_answer_is_refused),
		cmocka_unit_test(lines_and_headers_are_bounded),
		cmocka_unit_test(an_answer_that_breaks_off_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The head of a request and bodies in chunks, to the letter. */
#include "cm.h"
#include "http_head.h"

static int parse(const char *text, struct http_head *ret, struct http_problem *p)
{
	size_t from = 0, size = strlen(text), end = http_head_end(text, size, &from);

	assert_int_equal(end, size);
	return http_head_parse(text, end, ret, p);
}

static void refused(const char *text, int status, const char *word)
{
	struct http_problem p = { 0 };
	struct http_head h;

	if (parse(text, &h, &p) != -EBADMSG)
		fail_msg("taken: %s", text);
	if (p.status != status || !strstr(p.text, word))
		fail_msg("%s: %d %s", text, p.status, p.text);
}

static void a_head_is_read(void **state)
{
	struct http_problem p;
	struct http_head h;

	assert_int_equal(parse("POST /v1/a%20b?c=/d HTTP/1.1\r\nHost: x\r\nX-A: \t one two \r\nx-a:\r\n"
			       "Content-Length: 12\r\nExpect: 100-Continue\r\n\r\n", &h, &p), 0);
	assert_int_equal(h.method, EVHTTP_REQ_POST);
	assert_string_equal(h.path, "/v1/a%20b");
	assert_string_equal(h.query, "c=/d");
	assert_string_equal(evhttp_find_header(&h.headers, "X-A"), "one two");
	assert_int_equal(h.length, 12);
	assert_true(h.keep_alive && h.expects_continue && !h.chunked);
	http_head_done(&h);
}

static void the_target_may_name_the_server(void **state)
{
	static const struct {
		const char *target, *path, *query;
	} cases[] = {
		{ "https://control:4523/v1/x?y", "/v1/x", "y" }, { "https://control:4523", "/" },
		{ "//v1//x", "//v1//x" }, { "*", "*" }, { "/?://", "/", "://" }, { "/a#b", "/a" },
		{ "/a?", "/a", "" }, { "/a?b?c#d", "/a", "b?c" }, { "/a#b?c", "/a" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct http_problem p;
		struct http_head h;
		char text[128];

		snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n\r\n", cases[i].target);
		assert_int_equal(parse(text, &h, &p), 0);
		assert_string_equal(h.path, cases[i].path);
		assert_int_equal(!h.query, !cases[i].query);
		if (h.query)
			assert_string_equal(h.query, cases[i].query);
		http_head_done(&h);
	}
}

static void how_long_a_connection_lives(void **state)
{
	static const struct {
		const char *head;
		bool keep_alive;
	} cases[] = {
		{ "GET / HTTP/1.1\r\n\r\n", true },
		{ "GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n", false },
		{ "GET / HTTP/1.1\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", false },
		{ "GET / HTTP/1.0\r\n\r\n", false },
		{ "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct http_problem p;
		struct http_head h;

		assert_int_equal(parse(cases[i].head, &h, &p), 0);
		assert_int_equal(h.keep_alive, cases[i].keep_alive);
		http_head_done(&h);
	}
}

static void what_could_be_understood_in_two_ways_is_refused(void **state)
{
	refused("GET / HTTP/1.1\n", 400, "Line 1");
	refused("GET / HTTP/1.1\r\nA: b\n", 400, "Line 2");
	refused("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400, "Line 3");
	refused("GET / HTTP/1.1\r\nA : b\r\n\r\n", 400, "byte 2");
	refused("GET / HTTP/1.1\r\n: b\r\n\r\n", 400, "byte 1");
	refused("GET / HTTP/1.1\r\nA: b\x01\r\n\r\n", 400, "byte 5");
	refused("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", 400, "control character");
	refused("GET  / HTTP/1.1\r\n\r\n", 400, "byte 5");
	refused("GET / HTTP/1.1 \r\n\r\n", 400, "HTTP/1.1");
	refused("GET / HTTP/2.0\r\n\r\n", 400, "HTTP/1.1");
	refused("GET /\x80 HTTP/1.1\r\n\r\n", 400, "visible ASCII");
	refused("GET /\r\n\r\n", 400, "visible ASCII");
	refused("G(T / HTTP/1.1\r\n\r\n", 400, "byte 2");
	refused("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJ / HTTP/1.1\r\n\r\n", 400, "method");
	refused("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, "twice");
	refused("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "together");
	refused("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400, "only chunked");
	refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "HTTP/1.0");
	refused("POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400, "number");
	refused("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", 400, "number");
	refused("POST / HTTP/1.1\r\nContent-Length: 18446744073709551617\r\n\r\n", 413, "large");
	refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "twice");
	refused("GET / HTTP/1.1\r\nExpect: more\r\n\r\n", 417, "Expect");
}

static void the_number_of_headers_is_bounded(void **state)
{
	char text[4096] = "GET / HTTP/1.1\r\n";
	struct http_problem p;
	struct http_head h;
	size_t n = strlen(text);

	for (int i = 0; i < HTTP_LINES_MAX; i++)
		n += (size_t)sprintf(text + n, "A: b\r\n");
	strcpy(text + n, "\r\n");
	assert_int_equal(parse(text, &h, &p), 0);
	http_head_done(&h);
	strcpy(text + n, "A: b\r\n\r\n");
	refused(text, 431, "100 headers");
}

static void a_head_is_found_however_it_is_cut(void **state)
{
	static const char text[] = "GET / HTTP/1.1\r\nA: b\r\n\r\nrest";

	for (size_t cut = 0; cut < strlen(text) - 4; cut++) {
		size_t from = 0;

		assert_int_equal(http_head_end(text, cut, &from), 0);
		assert_int_equal(http_head_end(text, strlen(text), &from), strlen(text) - 4);
	}
}

/* Of a body that comes in pieces of @piece bytes; its text is compared. */
static int read_chunks(const char *text, size_t size, size_t piece, size_t room, const char *want,
	struct http_problem *p)
{
	struct evbuffer *in = evbuffer_new(), *out = evbuffer_new();
	struct http_chunks c = { 0 };
	int r = 0;

	for (size_t at = 0; at < size && r == 0; at += piece) {
		assert_int_equal(evbuffer_add(in, text + at, MIN(piece, size - at)), 0);
		r = http_chunks_read(&c, in, out, room, p);
	}
	if (r == 1) {
		assert_int_equal(evbuffer_get_length(out), strlen(want));
		assert_memory_equal(evbuffer_pullup(out, -1) ?: (unsigned char *)"", want, strlen(want));
	}
	evbuffer_free(in);
	evbuffer_free(out);
	return r;
}

static void chunks_are_put_together(void **state)
{
	static const char text[] = "5\r\nhello\r\n00001;a=b\r\n \r\nA \r\n0123456789\r\n0\r\nX: y\r\n\r\n";
	struct http_problem p;

	for (size_t piece = 1; piece <= strlen(text); piece++)
		assert_int_equal(read_chunks(text, strlen(text), piece, 16, "hello 0123456789", &p), 1);
	assert_int_equal(read_chunks(text, strlen(text), 7, 15, "", &p), -EBADMSG);
	assert_int_equal(p.status, 413);
}

static void chunks_that_are_none_are_refused(void **state)
{
	static const char *const texts[] = { "\r\n", "x\r\n", "-1\r\n", "5\nhello", "1\r\nab\r\n", "1\r\na\n",
		"1 2 3", "1x\r\n", "1000000000000000\r\n", ";\r\n" };
	char line[600] = "1;";
	struct http_problem p;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		int r = read_chunks(texts[i], strlen(texts[i]), 1, 100, "", &p);

		if (STREQ(texts[i], "1 2 3"))
			assert_int_equal(r, 0); /* its line may still end */
		else
			assert_int_equal(r, -EBADMSG);
	}
	memset(line + 2, 'x', sizeof(line) - 3);
	assert_int_equal(read_chunks(line, strlen(line), 1, 100, "", &p), -EBADMSG);
	assert_int_equal(read_chunks("1;\0\r\n", 5, 5, 100, "", &p), -EBADMSG);
	/* Where others may end a line, or a number. */
	assert_int_equal(read_chunks("1;\rx\r\n", 7, 7, 100, "", &p), -EBADMSG);
	assert_int_equal(read_chunks("1 2\r\nx\r\n", 8, 8, 100, "", &p), -EBADMSG);
}

static void trailers_are_bounded(void **state)
{
	char text[16384] = "0\r\n";
	struct http_problem p;
	size_t n = 3;

	for (int i = 0; i < 100; i++)
		n += (size_t)sprintf(text + n, "X: %0100d\r\n", i);
	assert_int_equal(read_chunks(text, n, 100, 0, "", &p), -EBADMSG);
	assert_int_equal(p.status, HTTP_TOO_MUCH_HEADER);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_head_is_read),
		cmocka_unit_test(the_target_may_name_the_server),
		cmocka_unit_test(how_long_a_connection_lives),
		cmocka_unit_test(what_could_be_understood_in_two_ways_is_refused),
		cmocka_unit_test(the_number_of_headers_is_bounded),
		cmocka_unit_test(a_head_is_found_however_it_is_cut),
		cmocka_unit_test(chunks_are_put_together),
		cmocka_unit_test(chunks_that_are_none_are_refused),
		cmocka_unit_test(trailers_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

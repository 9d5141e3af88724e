/* SPDX-License-Identifier: Apache-2.0 */
/* The target of a request line: which route it takes, what its parameter says, and those behind "?". */
#include "../../control/rest.c"
#include "../../control/rest_query.c"
#include "../../control/rest_v2_list.c"
#include "fuzz.h"

static void check_text(const char *text)
{
	const char *end = text + strlen(text);

	for (const char *p = text; p < end;) {
		unsigned int n = utf8_length(p, end);

		PROMISE(n > 0);
		p += n;
	}
}

#define NAMES "name node owner state deleted limit after"

static void check_query(const char *text)
{
	struct rest_request q = { 0 };
	struct schema_errors e = { 0 };
	struct id128 id = ID128_NIL;
	struct cursor after;
	unsigned int states = 0;
	uint64_t limit = 1;

	read_query(&q, text, NAMES, &e);
	PROMISE(q.n_query <= 7 && e.n <= SCHEMA_ERRORS_MAX);
	for (size_t i = 0; i < q.n_query; i++) {
		PROMISE(has_word(NAMES, q.query[i].name));
		PROMISE(rest_query(&q, q.query[i].name) == q.query[i].value);
		check_text(q.query[i].value);
	}
	(void)rest_query_id(&q, "node", &id, &e);
	(void)rest_query_flag(&q, "deleted", &e);
	(void)rest_query_number(&q, "limit", 1, LIMIT_MAX, &limit, &e);
	PROMISE(limit >= 1 && limit <= LIMIT_MAX);
	read_states(rest_query(&q, "state"), &states, &e);
	PROMISE(!(states >> DS_STATE_MAX));
	if (rest_query(&q, "after") && parse_cursor(rest_query(&q, "after"), &after))
		PROMISE(after.created_at >= 0);
	for (size_t i = 0; i < e.n; i++)
		PROMISE(e.list[i][0] == '?');
	schema_errors_done(&e);
	rest_query_done(&q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	struct rest_request q = { 0 };
	struct evhttp_uri *uri = evhttp_uri_parse_with_flags(text, EVHTTP_URI_NONCONFORMANT);
	const char *path = (uri ? evhttp_uri_get_path(uri) : NULL) ?: "/";
	struct match m = find_route(path, EVHTTP_REQ_POST);

	PROMISE(!m.route || m.known);
	PROMISE(!m.route || !!(m.route->flags & REST_REFUSES) == !(m.allowed & EVHTTP_REQ_POST));
	if (m.known && m.param) {
		PROMISE(m.param >= path && m.param + m.param_size <= path + strlen(path));
		if (set_param(&q, m.param, m.param_size) == 0)
			check_text(q.param);
		free(q.param);
	}
	if (uri)
		evhttp_uri_free(uri);
	check_query(strchr(text, '?') ? strchr(text, '?') + 1 : text);
	return 0;
}

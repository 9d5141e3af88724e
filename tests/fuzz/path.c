/* SPDX-License-Identifier: Apache-2.0 */
/* The target of a request line: which route it takes, and what its parameter says. */
#include "../../control/rest.c"
#include "fuzz.h"

static void check_param(struct rest_request *q)
{
	const char *end = q->param + strlen(q->param);

	for (const char *p = q->param; p < end;) {
		unsigned int n = utf8_length(p, end);

		PROMISE(n > 0);
		p += n;
	}
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
			check_param(&q);
		free(q.param);
	}
	if (uri)
		evhttp_uri_free(uri);
	return 0;
}

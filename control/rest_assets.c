/* SPDX-License-Identifier: Apache-2.0 */
/* What is compiled into the server: the description of this API, and the web page. */
#include "assets.h"
#include "rest_private.h"

/*
 * The page needs nothing but itself, and nothing may be put into it: no script or style but the files here,
 * no text that is read as HTML, no other site around it.
 */
static void add_page_headers(struct rest_request *q)
{
	rest_add_header(q, "Content-Security-Policy",
		"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
		"require-trusted-types-for 'script'; trusted-types 'none'");
	rest_add_header(q, "Referrer-Policy", "no-referrer");
	rest_add_header(q, "Cross-Origin-Opener-Policy", "same-origin");
	rest_add_header(q, "Cross-Origin-Resource-Policy", "same-origin");
}

/* "no-cache" lets a copy be kept, and has it compared before each use: an upgrade is seen at once. */
static void get_asset(struct rest_request *q)
{
	const struct asset *a = asset_find(http_request_head(q->http)->path);
	char *copy;

	if (!a) {
		rest_reply_error(q, HTTP_NOTFOUND, "No such resource: %.200s", http_request_head(q->http)->path);
		return;
	}
	rest_add_header(q, "ETag", a->etag);
	rest_add_header(q, "Cache-Control", "no-cache");
	rest_add_header(q, "X-Content-Type-Options", "nosniff");
	add_page_headers(q);
	if (rest_has_etag(q, a->etag)) {
		rest_reply_bytes(q, HTTP_NOTMODIFIED, NULL, NULL, 0);
		return;
	}
	copy = malloc(a->size + 1);
	if (!copy) {
		rest_reply_error(q, HTTP_INTERNAL, "out of memory");
		return;
	}
	memcpy(copy, a->data, a->size);
	rest_reply_bytes(q, HTTP_OK, a->type, copy, a->size);
}

/* clang-format off */
const struct rest_route rest_asset_routes[] = {
	{ EVHTTP_REQ_GET, "/v2/openapi.json", get_asset },
	{ EVHTTP_REQ_GET, "/",                get_asset },
	{ EVHTTP_REQ_GET, "/web/*",           get_asset },
	{ 0 },
};
/* clang-format on */

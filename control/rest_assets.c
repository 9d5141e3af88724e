/* SPDX-License-Identifier: Apache-2.0 */
/* What is compiled into the server: the description of this API, and the web page. */
#include "assets.h"
#include "rest_private.h"

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

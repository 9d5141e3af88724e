/* SPDX-License-Identifier: Apache-2.0 */
/* What went wrong, as programs read it: the words of v2's errors and their statuses. */
#include "rest_private.h"

static const struct {
	const char *word;
	int status;
} codes[] = {
	[REST_BAD_REQUEST] = { "bad-request", 400 },
	[REST_BAD_BODY] = { "bad-body", 400 },
	[REST_CROSS_SITE] = { "cross-site", 403 },
	[REST_NOT_FOUND] = { "not-found", 404 },
	[REST_NAME_IN_USE] = { "name-in-use", 409 },
	[REST_EXISTS] = { "exists", 409 },
	[REST_DELETED] = { "deleted", 409 },
	[REST_NOT_DELETED] = { "not-deleted", 409 },
	[REST_LEASED] = { "leased", 409 },
	[REST_NO_NODE] = { "no-node", 409 },
	[REST_NODE_DRAINING] = { "node-draining", 409 },
	[REST_NODE_ANSWERS] = { "node-answers", 409 },
	[REST_SHRINK] = { "shrink", 409 },
	[REST_REVISION_GONE] = { "revision-gone", 410 },
	[REST_IDEMPOTENCY_KEY] = { "idempotency-key", 422 },
	[REST_OLD_STORE] = { "old-store", 503 },
	[REST_STOPPING] = { "stopping", 503 },
	[REST_TOO_MANY_WATCHERS] = { "too-many-watchers", 503 },
};
static_assert(ARRAY_SIZE(codes) == REST_CODE_MAX, "the last code has no row");

int rest_code_status(enum rest_code code)
{
	return codes[code].status;
}

const char *rest_code_word(enum rest_code code)
{
	return codes[code].word;
}

const char *rest_code_of_status(int status)
{
	static const struct {
		int status;
		const char *word;
	} words[] = {
		{ 403, "viewer" }, { 404, "not-found" }, { 405, "method" }, { 412, "tag" }, { 413, "too-large" },
		{ 431, "too-large" }, { 500, "internal" }, { 503, "unwritable" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (words[i].status == status)
			return words[i].word;
	return "bad-request";
}

/* SPDX-License-Identifier: Apache-2.0 */
/* How a request ends: its answer, its line in the log, and what is counted of it. */
#include <openssl/sha.h>
#include <stdarg.h>
#include <time.h>

#include "rest_core.h"

void rest_add_header(struct rest_request *q, const char *name, const char *value)
{
	(void)evhttp_add_header(http_request_answer_headers(q->http), name, value);
}

void rest_request_free(struct rest_request *q)
{
	if (q->prev)
		q->prev->next = q->next;
	else
		q->rest->first = q->next;
	if (q->next)
		q->next->prev = q->prev;
	json_object_put(q->body);
	rest_query_done(q);
	free(q->param);
	free(q);
}

struct http_request *rest_detach(struct rest_request *q)
{
	struct http_request *http = q->http;

	rest_add_header(q, "X-Request-Id", q->id);
	metrics_answered(&q->rest->requests, http_request_head(http)->method, HTTP_OK, -1);
	rest_request_free(q);
	return http;
}

void rest_audit(struct rest_request *q, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(q->audit.words, sizeof(q->audit.words), fmt, ap);
	va_end(ap);
}

/* A request whose first line cannot be read asked for nothing. */
static void log_write(const struct rest_request *q, int status)
{
	const struct http_head *head = http_request_head(q->http);

	if (!head || head->method & (EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_OPTIONS))
		return;
	audit_log(&(struct audit_write){
		.peer = &q->peer,
		.request = q->id,
		.method = head->method_name,
		.path = head->path,
		.dataset = id128_is_nil(q->audit.dataset) ? NULL : &q->audit.dataset,
		.node = id128_is_nil(q->audit.node) ? NULL : &q->audit.node,
		.status = status,
		.undecided = q->deciding,
		.words = q->audit.words,
	});
}

uint64_t rest_clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void count(const struct rest_request *q, int status)
{
	const struct http_head *head = http_request_head(q->http);

	metrics_answered(&q->rest->requests, head ? head->method : 0, status,
		rest_query(q, "wait") ? -1 : (double)(rest_clock_us() - q->begun_us) / 1e6);
}

/* Weak tags count as strong ones: what is compared was made by us (RFC 9110, 13.1.2). */
bool rest_has_etag(const struct rest_request *q, const char *etag)
{
	const struct evkeyvalq *in = &http_request_head(q->http)->headers;

	for (const struct evkeyval *h = in->tqh_first; h; h = h->next.tqe_next) {
		if (strcasecmp(h->key, "If-None-Match") != 0)
			continue;
		for (const char *p = h->value; *p; p += strspn(p, ", \t")) {
			size_t n = strcspn(p, ", \t");
			const char *tag = strncmp(p, "W/", 2) == 0 ? p + 2 : p;

			if ((n == 1 && *p == '*') || ((size_t)(p + n - tag) == strlen(etag) &&
				memcmp(tag, etag, strlen(etag)) == 0))
				return true;
			p += n;
		}
	}
	return false;
}

void rest_reply_bytes(struct rest_request *q, int status, const char *type, char *data, size_t size)
{
	if (type)
		rest_add_header(q, "Content-Type", type);
	rest_add_header(q, "X-Request-Id", q->id);
	log_write(q, status);
	count(q, status);
	http_reply(q->http, status, data, size);
	rest_request_free(q);
}

bool rest_is_v2(const struct rest_request *q)
{
	const struct http_head *head = http_request_head(q->http);

	return head && strncmp(head->path + strspn(head->path, "/"), "v2/", 3) == 0;
}

static void make_etag(struct rest_request *q, const char *prefix, const char *text, size_t size)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	char *p = q->etag;

	SHA256((const unsigned char *)text, size, digest);
	p += sprintf(p, "%s\"", prefix);
	for (size_t i = 0; i < REST_ETAG_BYTES; i++)
		p += sprintf(p, "%02x", digest[i]);
	strcpy(p, "\"");
}

void rest_tag_weakly(struct rest_request *q, const struct jsonout *steady)
{
	if (!steady->failed)
		make_etag(q, "W/", steady->data ?: "", steady->size);
}

/* Says the tag of what is to be answered; and whether the client has it already. */
static bool is_unchanged(struct rest_request *q, const char *text, size_t size)
{
	if (!(http_request_head(q->http)->method & (EVHTTP_REQ_GET | EVHTTP_REQ_HEAD)))
		return false;
	if (!*q->etag)
		make_etag(q, "", text, size);
	rest_add_header(q, "ETag", q->etag);
	return rest_has_etag(q, strchr(q->etag, '"'));
}

void rest_reply(struct rest_request *q, int status, struct jsonout *o)
{
	static const char plain[] = "{\"description\": \"out of memory\"}";
	char *text = NULL;
	size_t size = 0;

	if (jsonout_finish(o, &text, &size) < 0) {
		jsonout_done(o);
		status = HTTP_INTERNAL;
		text = strdup(plain);
		size = text ? strlen(text) : 0;
	}
	if (status == HTTP_OK && rest_is_v2(q) && is_unchanged(q, text, size)) {
		free(text);
		rest_reply_bytes(q, HTTP_NOTMODIFIED, NULL, NULL, 0);
	} else {
		rest_reply_bytes(q, status, "application/json", text, size);
	}
}

void rest_reply_list(struct rest_request *q, struct jsonout *o)
{
	if (!*q->etag)
		rest_tag_weakly(q, o);
	rest_add_revision(q, o);
	jsonout_close(o, '}');
	rest_reply(q, HTTP_OK, o);
}

void rest_reply_errors(struct rest_request *q, int status, const char *description,
	char *const *errors, size_t n)
{
	struct jsonout o = { 0 };

	rest_audit(q, "%s%s%s", description, n > 0 ? " " : "", n > 0 ? errors[0] : "");
	jsonout_open(&o, NULL, '{');
	if (rest_is_v2(q))
		jsonout_text(&o, "code", q->code ?: rest_code_of_status(status));
	jsonout_text(&o, "description", description);
	if (n > 0) {
		jsonout_open(&o, "errors", '[');
		for (size_t i = 0; i < n; i++)
			jsonout_text(&o, NULL, errors[i]);
		jsonout_close(&o, ']');
	}
	jsonout_close(&o, '}');
	rest_reply(q, status, &o);
}

void rest_reply_error(struct rest_request *q, int status, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rest_reply_errors(q, status, text, NULL, 0);
}

void rest_refuse(struct rest_request *q, enum rest_code code, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	q->code = rest_code_word(code);
	rest_reply_errors(q, rest_code_status(code), text, NULL, 0);
}

void rest_reply_schema(struct rest_request *q, int r, struct schema_errors *e)
{
	q->code = r == -EINVAL ? rest_code_word(REST_BAD_BODY) : NULL;
	if (r == -EINVAL)
		rest_reply_errors(q, HTTP_BADREQUEST,
			"The provided JSON doesn't match the required schema.", e->list, e->n);
	else
		rest_reply_error(q, HTTP_INTERNAL, "out of memory");
	schema_errors_done(e);
}

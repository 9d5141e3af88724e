/* SPDX-License-Identifier: Apache-2.0 */
#include "rest_core.h"

#define BAD_BODY                                                                                   \
	"The request body could not be decoded according to the value of the\nContent-Type header."

const char *const rest_kinds[] = { REST_USER, REST_VIEWER, NULL };

struct cluster *rest_cluster(const struct rest_request *q)
{
	return q->rest->cluster;
}

struct view_source rest_source(const struct rest_request *q)
{
	const struct cluster *c = q->rest->cluster;

	publish_flush(q->rest->watch->publish); /* what is shown has its revision */
	return (struct view_source){ .assign = cluster_assign(c), .history = cluster_history(c),
		.now_ms = cluster_now_ms(), .publish = q->rest->watch->publish };
}

struct rest_watch *rest_watch_of(const struct rest_request *q)
{
	return q->rest->watch;
}

void rest_add_revision(const struct rest_request *q, struct jsonout *o)
{
	const struct eventlog *log = publish_log(q->rest->watch->publish);
	char revision[EVENTLOG_REVISION_SIZE];

	jsonout_text(o, "revision", eventlog_revision(log, eventlog_last(log), revision));
}

SSL_CTX *rest_tls(const struct rest_request *q)
{
	return q->rest->tls;
}

const struct metrics_requests *rest_requests(const struct rest_request *q)
{
	return &q->rest->requests;
}

bool rest_stopping(const struct rest_request *q)
{
	return q->rest->stopping;
}

struct failover rest_failover(const struct rest_request *q)
{
	return q->rest->settings.failover;
}

uint64_t rest_undelete_s(const struct rest_request *q)
{
	return q->rest->settings.undelete_s;
}

bool rest_is_stale(const struct rest_request *q, const struct assign_node_view *n)
{
	return !n->heard || n->silent_ms >= q->rest->settings.state_expiry_ms;
}

/* ---- routes ---- */

static const struct rest_route *const tables[] = { rest_v1_routes, rest_lease_routes, rest_asset_routes,
	rest_dataset_routes, rest_node_routes, rest_v2_lease_routes, rest_backend_routes, rest_event_routes,
	rest_health_routes };

/* The next segment of @path, doubled slashes being one; NULL at the end. A trailing slash makes an
 * empty segment, which no route has. */
static const char *next_segment(const char **path, size_t *ret_size)
{
	const char *p = *path;

	if (!*p)
		return NULL;
	while (*p == '/')
		p++;
	*ret_size = strcspn(p, "/");
	*path = p + *ret_size;
	return p;
}

static bool route_matches(const char *route, const char *path, const char **ret_param,
	size_t *ret_param_size)
{
	const char *want, *have;
	size_t n_want, n_have;

	for (;;) {
		want = next_segment(&route, &n_want);
		have = next_segment(&path, &n_have);
		if (!want || !have)
			return !want && !have;
		if (n_want == 1 && *want == '*' && n_have > 0) {
			*ret_param = have;
			*ret_param_size = n_have;
		} else if (n_want != n_have || memcmp(want, have, n_want) != 0) {
			return false;
		}
	}
}

static const struct {
	enum evhttp_cmd_type method;
	const char *name;
} methods[] = {
	{ EVHTTP_REQ_GET, "GET" }, { EVHTTP_REQ_HEAD, "HEAD" }, { EVHTTP_REQ_POST, "POST" },
	{ EVHTTP_REQ_PUT, "PUT" }, { EVHTTP_REQ_PATCH, "PATCH" }, { EVHTTP_REQ_DELETE, "DELETE" },
};

/* May be empty: nothing is allowed there. */
static void add_allow(struct rest_request *q, unsigned int allowed, char allow[64])
{
	*allow = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (allowed & methods[i].method) {
			strcat(allow, *allow ? ", " : "");
			strcat(allow, methods[i].name);
		}
	rest_add_header(q, "Allow", allow);
}

struct match {
	const struct rest_route *route; /* of this method; or NULL */
	bool known;			/* there is such a path */
	unsigned int allowed;		/* the methods that it answers to */
	const char *param;
	size_t param_size;
};

static struct match find_route(const char *path, unsigned int method)
{
	struct match m = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		for (const struct rest_route *r = tables[i]; r->path; r++) {
			unsigned int has = r->methods | (r->methods & EVHTTP_REQ_GET ? EVHTTP_REQ_HEAD : 0);

			if (!route_matches(r->path, path, &m.param, &m.param_size))
				continue;
			m.known = true;
			if (!(r->flags & REST_REFUSES))
				m.allowed |= has;
			if (has & method)
				m.route = r;
		}
	return m;
}

/* Percent-decodes the path's parameter. -EINVAL when it holds a NUL or is not UTF-8. */
static int set_param(struct rest_request *q, const char *param, size_t size)
{
	_cleanup_free_ char *encoded = strndup(param, size);
	size_t n;
	char *end;

	if (!encoded)
		return -ENOMEM;
	q->param = evhttp_uridecode(encoded, 0, &n);
	if (!q->param)
		return -ENOMEM;
	if (strlen(q->param) != n)
		return -EINVAL;
	end = q->param + n;
	for (const char *p = q->param; p < end;) {
		unsigned int length = utf8_length(p, end);

		if (!length)
			return -EINVAL;
		p += length;
	}
	return 0;
}

/* ---- the checks before a handler, in the order that clients see ---- */

static bool check_tag(struct rest_request *q)
{
	const struct evkeyvalq *in = &http_request_head(q->http)->headers;
	const char *first = NULL;
	char tag[CLUSTER_TAG_SIZE];

	cluster_tag(q->rest->cluster, true, tag);
	for (const struct evkeyval *h = in->tqh_first; h; h = h->next.tqe_next) {
		if (strcasecmp(h->key, "X-If-Configuration-Matches") != 0)
			continue;
		if (STREQ(h->value, tag))
			return true;
		first = first ?: h->value;
	}
	if (!first)
		return true;
	rest_reply_error(q, 412, "Tag doesn't match. Required: %s, current: %s", first, tag);
	return false;
}

static bool read_body(struct rest_request *q)
{
	struct evbuffer *in = http_request_body(q->http);
	char error[JSONIN_ERROR_MAX], *errors[] = { error };
	size_t size = evbuffer_get_length(in);
	const char *text = size ? (const char *)evbuffer_pullup(in, -1) : "";
	int r = text ? jsonin_parse_deep(text, size, q->rest->settings.depth, &q->body, error) : -ENOMEM;

	q->code = r == -EBADMSG ? rest_code_word(REST_BAD_BODY) : NULL;
	if (r == -EBADMSG)
		rest_reply_errors(q, HTTP_BADREQUEST, BAD_BODY, errors, 1);
	else if (r < 0)
		rest_reply_error(q, HTTP_INTERNAL, "out of memory");
	return r == 0;
}

/* A viewer changes nothing, not even by a path that does not exist. */
static bool check_role(struct rest_request *q)
{
	if (strncmp(q->peer.name, REST_USER, strlen(REST_USER)) == 0 ||
		http_request_head(q->http)->method & (EVHTTP_REQ_GET | EVHTTP_REQ_HEAD))
		return true;
	rest_reply_error(q, 403, "The certificate '%s' may only look (GET and HEAD): for changes use one of "
		"a user, as flocker-ca create-api-certificate makes.", q->peer.name);
	return false;
}

static bool check_origin(struct rest_request *q)
{
	const struct http_head *head = http_request_head(q->http);

	if (head->method & (EVHTTP_REQ_GET | EVHTTP_REQ_HEAD) || !rest_is_cross_site(head))
		return true;
	rest_refuse(q, REST_CROSS_SITE, "This change comes from the page of another site. Nothing was changed.");
	return false;
}

static void dispatch(struct rest_request *q)
{
	const struct http_head *head = http_request_head(q->http);
	struct match m = find_route(head->path, head->method);
	const struct rest_route *route = m.route;
	char allow[64];
	int r = 0;

	if (!check_role(q) || !check_origin(q))
		return;
	if (!m.known) {
		rest_reply_error(q, HTTP_NOTFOUND, "No such resource: %.200s", head->path);
		return;
	}
	if (!route || route->flags & REST_REFUSES)
		add_allow(q, m.allowed, allow);
	if (!route) {
		rest_reply_error(q, HTTP_BADMETHOD, *allow ? "This resource answers to %s only." :
			"This resource answers to no method.", allow);
		return;
	}
	if (m.param)
		r = set_param(q, m.param, m.param_size);
	if (r < 0)
		rest_reply_error(q, HTTP_BADREQUEST, "Non-UTF-8 encoding in URL.");
	else if ((!rest_is_v2(q) || rest_read_query(q, route->query ?: "")) &&
		(!(route->flags & REST_CONDITIONAL) || check_tag(q)) &&
		(!(route->flags & REST_READS_BODY) || read_body(q)))
		route->handle(q);
}

/* The client's own id when it has one that fits into a log. */
static int set_id(struct rest_request *q)
{
	const struct http_head *head = http_request_head(q->http);
	const char *given = head ? evhttp_find_header(&head->headers, "X-Request-Id") : NULL;
	struct id128 own;
	int r;

	if (given && request_id_valid(given)) {
		strcpy(q->id, given);
		return 0;
	}
	r = id128_random(&own);
	if (r == 0)
		id128_format(own, q->id);
	return r;
}

static struct rest_request *request_new(struct rest *r, struct http_request *http)
{
	struct rest_request *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	*q = (struct rest_request){ .rest = r, .http = http, .peer = *http_request_peer(http),
		.begun_us = rest_clock_us() };
	if (set_id(q) < 0) {
		free(q);
		return NULL;
	}
	q->next = r->first;
	if (q->next)
		q->next->prev = q;
	r->first = q;
	return q;
}

static void on_request(struct http_request *http, void *userdata)
{
	struct rest_request *q = request_new(userdata, http);

	if (q)
		dispatch(q);
	else
		http_reply(http, HTTP_INTERNAL, NULL, 0);
}

static void on_refused(struct http_request *http, const struct http_problem *problem, void *userdata)
{
	struct rest_request *q = request_new(userdata, http);

	if (q)
		rest_reply_error(q, problem->status, "%s", problem->text);
	else
		http_reply(http, problem->status, NULL, 0);
}

/* ---- beginning and end ---- */

struct rest *rest_free(struct rest *r)
{
	if (!r)
		return NULL;
	while (r->first)
		rest_refuse(r->first, REST_STOPPING, "The control service stops.");
	http_free(r->http);
	rest_watch_free(r->watch);
	free(r);
	return NULL;
}
DEFINE_CLEANUP(struct rest *, rest_free);

int rest_new(struct event_base *base, struct cluster *cluster, int fd, SSL_CTX *ctx,
	const struct rest_settings *settings, struct rest **ret)
{
	static const struct http_callbacks cbs = { on_request, on_refused };
	_cleanup_(rest_freep) struct rest *r = calloc(1, sizeof(*r));
	_cleanup_close_ int owned = fd;
	int rc;

	if (!r)
		return -ENOMEM;
	*r = (struct rest){ .cluster = cluster, .settings = *settings, .tls = ctx };
	rc = rest_watch_new(base, cluster, settings->event_bytes, &r->watch);
	if (rc < 0)
		return rc;
	rc = http_new(base, TAKE_FD(owned), ctx, &settings->limits, &cbs, r, &r->http);
	if (rc < 0)
		return rc;
	*ret = TAKE_PTR(r);
	return 0;
}

void rest_recheck(struct rest *r)
{
	http_recheck(r->http);
}

void rest_stop(struct rest *r)
{
	r->stopping = true;
	http_stop(r->http);
	rest_watch_stop(r->watch);
}

bool rest_idle(const struct rest *r)
{
	return !r->first;
}

uint64_t rest_n_events(const struct rest *r)
{
	return eventlog_last(publish_log(r->watch->publish));
}

size_t rest_n_watchers(const struct rest *r)
{
	return r->watch->n_streams + r->watch->n_waiting;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* For monitors: whether the service can be relied on, and its figures. */
#include <time.h>

#include "rest_private.h"
#include "tls.h"

#define DAY_S 86400
#define WARNING_DAYS 30 /* as the log warns first: certs.c */
#define REASONS_MAX 3
#define REASON_MAX 300

/* Why changes would be refused; returns how many reasons there are. */
static size_t find_reasons(const struct rest_request *q, char reasons[REASONS_MAX][REASON_MAX])
{
	const struct cluster *c = rest_cluster(q);
	int err = cluster_store_error(c);
	size_t n = 0;

	if (rest_stopping(q))
		snprintf(reasons[n++], REASON_MAX, "The control service stops.");
	if (assign_outdated(cluster_assign(c)))
		snprintf(reasons[n++], REASON_MAX, "No change is taken: %s.", WIRE_STORE_IS_OLD);
	if (err < 0)
		snprintf(reasons[n++], REASON_MAX, "The store cannot be written (%s); it is tried again every few "
			"seconds.", strerror(-err));
	return n;
}

/* @name: empty when it cannot be read; @serial: NULL: of a list. */
static void add_certificate(struct jsonout *o, const char *file, const char *name, const char *serial, int64_t end_s)
{
	int64_t left_s = end_s - time(NULL), days = (left_s + DAY_S - 1) / DAY_S;
	char warning[128];

	jsonout_open(o, NULL, '{');
	jsonout_text(o, "file", file);
	jsonout_text(o, "name", name);
	jsonout_text(o, "serial", serial);
	jsonout_time(o, "expires", end_s * 1000);
	if (left_s <= 0)
		snprintf(warning, sizeof(warning), serial ? "It has expired: new connections fail." :
			"It should have been replaced: who was revoked since then is not on it.");
	else
		snprintf(warning, sizeof(warning), "It expires within %lld day%s: renew it before.", (long long)days,
			days == 1 ? "" : "s");
	/* Lists are often made for days, so only the end of one is worth a word. */
	jsonout_text(o, "warning", left_s > (serial ? WARNING_DAYS * DAY_S : 0) ? NULL : warning);
	jsonout_close(o, '}');
}

static void add_certificates(struct jsonout *o, SSL_CTX *tls)
{
	struct tls_dates d;
	struct tls_names n;

	tls_dates(tls, &d);
	tls_names(tls, &n);
	jsonout_open(o, "certificates", '[');
	add_certificate(o, "control-service.crt", n.cert, n.cert_serial, d.cert_s);
	add_certificate(o, "cluster.crt", n.ca, n.ca_serial, d.ca_s);
	if (d.crl_s)
		add_certificate(o, "cluster.crl", n.ca, NULL, d.crl_s);
	jsonout_close(o, ']');
}

struct count {
	uint64_t live, known;
};

static int on_node(const struct assign_node_view *n, void *userdata)
{
	struct count *count = userdata;

	count->live += n->live;
	count->known += !n->forgotten;
	return 0;
}

static void add_nodes(struct jsonout *o, const struct assign *a)
{
	struct count n = { 0 };

	(void)assign_nodes(a, cluster_now_ms(), on_node, &n);
	jsonout_open(o, "nodes", '{');
	jsonout_u64(o, "live", n.live);
	jsonout_u64(o, "known", n.known);
	jsonout_close(o, '}');
}

static void get_health(struct rest_request *q)
{
	const struct cluster *c = rest_cluster(q);
	char reasons[REASONS_MAX][REASON_MAX];
	size_t n = find_reasons(q, reasons);
	struct jsonout o = { 0 };

	jsonout_open(&o, NULL, '{');
	jsonout_bool(&o, "live", true);
	jsonout_bool(&o, "ready", n == 0);
	jsonout_open(&o, "reasons", '[');
	for (size_t i = 0; i < n; i++)
		jsonout_text(&o, NULL, reasons[i]);
	jsonout_close(&o, ']');
	jsonout_text(&o, "version", FLOCKER_VERSION);
	jsonout_u64(&o, "incarnation", cluster_incarnation(c));
	rest_add_revision(q, &o);
	jsonout_open(&o, "store", '{');
	jsonout_bool(&o, "writable", cluster_store_error(c) == 0);
	jsonout_close(&o, '}');
	add_nodes(&o, cluster_assign(c));
	add_certificates(&o, rest_tls(q));
	jsonout_close(&o, '}');
	rest_reply(q, n == 0 ? HTTP_OK : HTTP_SERVUNAVAIL, &o);
}

static void get_metrics(struct rest_request *q)
{
	char reasons[REASONS_MAX][REASON_MAX], *text;
	struct metrics_source s = { .cluster = rest_cluster(q), .tls = rest_tls(q), .requests = rest_requests(q),
		.ready = find_reasons(q, reasons) == 0, .events = rest_n_events(q->rest),
		.watchers = rest_n_watchers(q->rest) };
	size_t size;

	if (metrics_write(&s, &text, &size) < 0)
		rest_reply_error(q, HTTP_INTERNAL, "out of memory");
	else
		rest_reply_bytes(q, HTTP_OK, PROMTEXT_TYPE, text, size);
}

/* clang-format off */
const struct rest_route rest_health_routes[] = {
	{ EVHTTP_REQ_GET, "/v2/health", get_health },
	{ EVHTTP_REQ_GET, "/metrics",   get_metrics },
	{ 0 },
};
/* clang-format on */

/* SPDX-License-Identifier: Apache-2.0 */
#include <event2/http.h>

#include "metrics.h"
#include "promtext.h"
#include "rest_view.h"
#include "tls.h"

static const struct {
	unsigned int method;
	const char *name;
} methods[] = {
	{ EVHTTP_REQ_GET, "GET" }, { EVHTTP_REQ_HEAD, "HEAD" }, { EVHTTP_REQ_POST, "POST" }, { EVHTTP_REQ_PUT, "PUT" },
	{ EVHTTP_REQ_PATCH, "PATCH" }, { EVHTTP_REQ_DELETE, "DELETE" }, { 0, "other" },
};
static_assert(ARRAY_SIZE(methods) == METRICS_METHODS, "a method has no row");

static const char *const classes[] = { "1xx", "2xx", "3xx", "4xx", "5xx" };
static_assert(ARRAY_SIZE(classes) == METRICS_CLASSES, "a class has no name");

void metrics_answered(struct metrics_requests *m, unsigned int method, int status, double seconds)
{
	size_t row = 0, class = MIN((size_t)MAX(status / 100, 1), (size_t)METRICS_CLASSES) - 1;

	while (row < METRICS_METHODS - 1 && methods[row].method != method)
		row++;
	m->answers[row][class]++;
	if (seconds >= 0)
		promtext_observe(&m->durations, seconds);
}

/* A family with one value. */
static void put(struct promtext *p, const char *name, const char *type, const char *help, double v)
{
	promtext_family(p, name, type, help);
	promtext_value(p, name, v, NULL);
}

/* ---- what the cluster is like ---- */

#define WANTED_MAX 3

struct datasets {
	uint64_t states[DS_STATE_MAX], wanted[WANTED_MAX];
};

static const char *const wanted_words[] = { "mounted", "unplaced", "deleted" };
static_assert(ARRAY_SIZE(wanted_words) == WANTED_MAX, "a wish has no word");

static int on_dataset(const struct assign_view *v, void *userdata)
{
	struct datasets *n = userdata;

	n->states[ds_state_parse(view_state(v))]++;
	for (size_t i = 0; i < WANTED_MAX; i++)
		n->wanted[i] += STREQ(v->wanted, wanted_words[i]);
	return 0;
}

static void put_datasets(struct promtext *p, const struct assign *a)
{
	struct datasets n = { 0 };

	(void)assign_datasets(a, cluster_now_ms(), on_dataset, &n);
	promtext_family(p, "flocker_control_datasets", "gauge", "Datasets by their state.");
	for (size_t i = 0; i < DS_STATE_MAX; i++)
		promtext_value(p, "flocker_control_datasets", (double)n.states[i], "state", ds_state_name((enum ds_state)i),
			NULL);
	promtext_family(p, "flocker_control_datasets_wanted", "gauge", "Datasets by what is wanted of them.");
	for (size_t i = 0; i < WANTED_MAX; i++)
		promtext_value(p, "flocker_control_datasets_wanted", (double)n.wanted[i], "wanted", wanted_words[i],
			NULL);
}

struct nodes {
	uint64_t states[VIEW_NODE_STATES], sessions;
};

static int on_node(const struct assign_node_view *n, void *userdata)
{
	struct nodes *count = userdata;

	count->states[view_node_state(n)]++;
	count->sessions += n->session != 0;
	return 0;
}

static void put_nodes(struct promtext *p, const struct assign *a)
{
	struct nodes n = { 0 };

	(void)assign_nodes(a, cluster_now_ms(), on_node, &n);
	promtext_family(p, "flocker_control_nodes", "gauge", "Nodes by their state.");
	for (size_t i = 0; i < VIEW_NODE_STATES; i++)
		promtext_value(p, "flocker_control_nodes", (double)n.states[i], "state", view_node_states[i], NULL);
	put(p, "flocker_control_node_sessions", "gauge", "Nodes that are connected.", (double)n.sessions);
}

static int on_lease(const struct assign_pin_view *v, void *userdata)
{
	++*(uint64_t *)userdata;
	return 0;
}

static void put_leases(struct promtext *p, const struct assign *a)
{
	uint64_t n = 0;

	(void)assign_pins(a, cluster_now_ms(), on_lease, &n);
	put(p, "flocker_control_leases", "gauge", "Leases that pin datasets to nodes.", (double)n);
}

/* ---- what this service did ---- */

static void put_requests(struct promtext *p, const struct metrics_requests *m)
{
	static const char name[] = "flocker_control_http_requests_total";

	promtext_family(p, name, "counter", "Requests that were answered, by method and class of status.");
	for (size_t i = 0; i < METRICS_METHODS; i++)
		for (size_t k = 1; k < METRICS_CLASSES; k++)
			promtext_value(p, name, (double)m->answers[i][k], "method", methods[i].name, "status",
				classes[k], NULL);
	promtext_histogram(p, "flocker_control_http_request_duration_seconds",
		"From a whole request to its answer; without those that ask to wait.", &m->durations);
}

static void put_commits(struct promtext *p, const struct cluster *c)
{
	static const char name[] = "flocker_control_commits_total";
	const struct cluster_commits *n = cluster_commits(c);

	promtext_family(p, name, "counter", "Commits to the store.");
	promtext_value(p, name, (double)n->durable, "result", "durable", NULL);
	promtext_value(p, name, (double)n->failed, "result", "failed", NULL);
	promtext_histogram(p, "flocker_control_commit_duration_seconds", "From a decision until it is durable.",
		&n->durations);
	put(p, "flocker_control_store_writable", "gauge", "1: the last commit was done.", cluster_store_error(c) == 0);
}

static void put_certificates(struct promtext *p, SSL_CTX *tls)
{
	static const char name[] = "flocker_control_certificate_expiry_timestamp_seconds";
	struct tls_dates d;

	tls_dates(tls, &d);
	promtext_family(p, name, "gauge", "When a certificate, or a list of revoked ones, ends.");
	promtext_value(p, name, (double)d.cert_s, "file", "control-service.crt", NULL);
	promtext_value(p, name, (double)d.ca_s, "file", "cluster.crt", NULL);
	if (d.crl_s)
		promtext_value(p, name, (double)d.crl_s, "file", "cluster.crl", NULL);
}

int metrics_write(const struct metrics_source *s, char **ret, size_t *ret_size)
{
	const struct assign *a = cluster_assign(s->cluster);
	struct promtext p;
	int r = promtext_open(&p);

	if (r < 0)
		return r;
	promtext_family(&p, "flocker_control_build_info", "gauge", "Always 1; the label tells.");
	promtext_value(&p, "flocker_control_build_info", 1, "version", FLOCKER_VERSION, NULL);
	put(&p, "flocker_control_incarnation", "gauge", "Of the state; grows when a restored store is put to use.",
		(double)cluster_incarnation(s->cluster));
	put(&p, "flocker_control_ready", "gauge", "1: changes are taken; as /v2/health says.", s->ready);
	put_datasets(&p, a);
	put_nodes(&p, a);
	put_leases(&p, a);
	put_requests(&p, s->requests);
	put_commits(&p, s->cluster);
	put(&p, "flocker_control_events_total", "counter", "Events that were made.", (double)s->events);
	put(&p, "flocker_control_watchers", "gauge", "Clients that follow events, or wait for a dataset.",
		(double)s->watchers);
	put_certificates(&p, s->tls);
	promtext_process(&p);
	return promtext_close(&p, ret, ret_size);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flockerctl diagnose: one archive with what is known here, for whoever looks for a fault elsewhere. Nothing that
 * fails stops the rest, nothing is changed, and no secret goes in: of configurations what ymlmask.h shows, of
 * keys that they exist.
 */
#include <fcntl.h>
#include <time.h>

#include "ctl_stream.h"
#include "diagnose_host.h"
#include "diagnose_part.h"
#include "say.h"
#include "tarfile.h"
#include "text.h"

#define PART_LIMIT_MS 10000
#define PART_BYTES (32 * MIB)
#define PAGES_MAX 200
#define WHOLE_MAX 200 /* datasets with their histories */
#define EVENTS_MS 2000

struct diagnosis {
	struct ctl *ctl;
	struct tarfile *tar;
	char top[64];	/* the directory that all of it is in */
	FILE *failures; /* a line for each part that is not whole */
	char away[512]; /* why control is not asked any more; "" */
	char *ids;	/* of datasets to be shown whole, with blanks between */
	size_t n_ids, n_parts, n_failures;
	int error;	/* of writing the archive: ends all */
};

static void _printf_(3, 4) note(struct diagnosis *d, const char *name, const char *fmt, ...)
{
	va_list ap;

	d->n_failures++;
	fprintf(d->failures, "%s: ", name);
	va_start(ap, fmt);
	say_format(d->failures, fmt, ap);
	va_end(ap);
	fputc('\n', d->failures);
}

static bool has_key(const char *data, size_t size)
{
	return memmem(data, size, "PRIVATE KEY-----", 16) != NULL;
}

static void add(struct diagnosis *d, const char *name, const char *data, size_t size)
{
	char path[TARFILE_NAME_MAX + 1];
	int r;

	if (d->error < 0)
		return;
	/* Whatever brought one here, it was none of what is wanted. */
	if (size > 0 && has_key(data, size)) {
		note(d, name, "left out: there is a private key in it");
		return;
	}
	snprintf(path, sizeof(path), "%s/%s", d->top, name);
	r = tarfile_add(d->tar, path, data, size);
	if (r < 0)
		d->error = r;
	else
		d->n_parts++;
}

/* ---- the machine ---- */

static void add_host(struct diagnosis *d)
{
	for (size_t i = 0; i < n_host_parts && d->error == 0; i++) {
		struct host_part p = host_parts[i];
		struct part found = { 0 };
		int r;

		p.args = d->ctl->args;
		r = part_run(p.run, &p, PART_LIMIT_MS, PART_BYTES, &found);
		if (r < 0)
			note(d, p.name, "%s", strerror(-r));
		else if (found.failure[0])
			note(d, p.name, "%s", found.failure);
		if (found.size > 0)
			add(d, p.name, found.data, found.size);
		free(found.data);
	}
}

/* ---- control ---- */

static bool is_away(struct diagnosis *d, const char *name)
{
	if (!d->ctl->api)
		note(d, name, "not asked for: no control service is named");
	else if (d->away[0])
		note(d, name, "not asked for: %s", d->away);
	return !d->ctl->api || d->away[0];
}

/* Asks for @path and adds the answer, of whatever status. @ret: NULL, or the bytes, which the caller frees. */
static void get(struct diagnosis *d, const char *path, const char *name, struct api_answer *ret)
{
	const struct api_request q = { .method = "GET", .path = path, .text = true };
	struct api_answer a = { 0 };
	int r;

	if (is_away(d, name))
		return;
	r = api_call(d->ctl->api, &q, &a);
	if (r < 0) {
		snprintf(d->away, sizeof(d->away), "%s", r == -ENOMEM ? "out of memory" : api_error(d->ctl->api));
		note(d, name, "%s", d->away);
		return;
	}
	if (a.status != 200)
		note(d, name, "the control service answered %d", a.status);
	add(d, name, a.text ? a.text : "", a.text_len);
	if (ret && a.status == 200)
		*ret = a;
	else
		api_answer_done(&a);
}

static void remember(struct diagnosis *d, struct json_object *dataset, bool at_rest)
{
	const char *id = ctl_text(dataset, "dataset_id"), *state = ctl_text(dataset, "state");
	bool rests = state && (STREQ(state, "mounted") || STREQ(state, "destroyed")) &&
		     !ctl_member(dataset, "last_error", json_type_object);
	struct id128 uuid;
	char *more;

	if (d->n_ids == WHOLE_MAX || rests != at_rest || !id || id128_parse(id, &uuid) < 0)
		return;
	if (asprintf(&more, "%s%s ", d->ids ? d->ids : "", ID128_STR(uuid)) < 0)
		return;
	free(d->ids);
	d->ids = more;
	d->n_ids++;
}

/* Those that are on the way somewhere, or stuck, first: there the fault is. */
static char *take_page(struct diagnosis *d, const struct api_answer *a)
{
	_cleanup_json_ struct json_object *page = NULL;
	char error[JSONIN_ERROR_MAX];
	struct json_object *list;
	const char *next;

	if (!a->text || jsonin_parse(a->text, a->text_len, &page, error) < 0)
		return NULL;
	list = ctl_member(page, "datasets", json_type_array);
	for (int at_rest = 0; list && at_rest <= 1; at_rest++)
		for (size_t i = 0; i < json_object_array_length(list); i++)
			remember(d, json_object_array_get_idx(list, i), at_rest);
	next = ctl_text(page, "next");
	return next ? ctl_escape(next) : NULL;
}

static void add_datasets(struct diagnosis *d)
{
	_cleanup_free_ char *next = NULL;

	for (unsigned int i = 0; i < PAGES_MAX && (i == 0 || next); i++) {
		_cleanup_free_ char *path = NULL;
		struct api_answer a = { 0 };
		char name[64];

		if (asprintf(&path, "/v2/datasets?deleted=true&limit=1000%s%s", next ? "&after=" : "",
			    next ? next : "") < 0)
			return;
		snprintf(name, sizeof(name), "control/datasets-%03u.json", i + 1);
		get(d, path, name, &a);
		free(next);
		next = take_page(d, &a);
		api_answer_done(&a);
	}
	if (next)
		note(d, "control/datasets", "only the first %d pages are here", PAGES_MAX);
	for (const char *p = d->ids; p && *p && !d->away[0]; p += ID128_TEXT) {
		char path[64], name[64];

		snprintf(path, sizeof(path), "/v2/datasets/%.36s", p);
		snprintf(name, sizeof(name), "control/datasets/%.36s.json", p);
		get(d, path, name, NULL);
	}
}

/* A line each, as they come. */
static void add_events(struct diagnosis *d)
{
	static const char name[] = "control/events.txt";
	_cleanup_(ctl_stream_freep) struct ctl_stream *s = NULL;
	uint64_t deadline = ctl_now_ms() + EVENTS_MS;
	enum ctl_news news = NEWS_OPEN;
	struct ctl_event e;
	char *text = NULL;
	size_t size;
	FILE *out;

	if (is_away(d, name) || ctl_stream_new(d->ctl, "", &s) != CTL_OK)
		return;
	out = open_memstream(&text, &size);
	if (!out)
		return;
	while (news != NEWS_FAILED && news != NEWS_LOST && news != NEWS_TIMEOUT && ctl_now_ms() < deadline) {
		news = ctl_stream_next(s, deadline, NULL, &e);
		if (news == NEWS_EVENT)
			fprintf(out, "%s %s %s\n", e.revision, e.type,
				json_object_to_json_string_ext(e.data, JSON_C_TO_STRING_PLAIN));
	}
	if (news == NEWS_FAILED || news == NEWS_LOST)
		note(d, name, "the stream of events ended before %d s", EVENTS_MS / 1000);
	fprintf(out, "(%d s, up to revision %s)\n", EVENTS_MS / 1000, ctl_stream_revision(s));
	if (fclose(out) == 0)
		add(d, name, text, size);
	free(text);
}

static void add_control(struct diagnosis *d)
{
	static const struct {
		const char *path, *name;
	} answers[] = {
		{ "/v2/health", "control/health.json" },
		{ "/v1/version", "control/version.json" },
		{ "/v2/nodes", "control/nodes.json" },
		{ "/v2/leases", "control/leases.json" },
		{ "/v2/backends", "control/backends.json" },
		{ "/metrics", "control/metrics.txt" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(answers); i++)
		get(d, answers[i].path, answers[i].name, NULL);
	add_datasets(d);
	add_events(d);
}

/* ---- the archive ---- */

static void add_text(struct diagnosis *d, const char *name, const char *fmt, ...) _printf_(3, 4);

static void add_text(struct diagnosis *d, const char *name, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n >= 0)
		add(d, name, text, (size_t)n);
	else
		text = NULL;
}

static int open_archive(const struct ctl_args *a, const char *top, char **ret_name)
{
	int fd;

	if (a->output && STREQ(a->output, "-")) {
		if (isatty(STDOUT_FILENO))
			return say_error(-1, "an archive is nothing for a terminal; say -o FILE");
		*ret_name = strdup("standard output");
		fd = dup(STDOUT_FILENO);
	} else if (a->output) {
		*ret_name = strdup(a->output);
		fd = open(a->output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	} else {
		if (asprintf(ret_name, "%s.tar.gz", top) < 0)
			*ret_name = NULL;
		fd = *ret_name ? open(*ret_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
	}
	if (fd < 0 || !*ret_name)
		return say_error(-1, "cannot write '%s': %s", *ret_name ? *ret_name : top, strerror(errno));
	return fd;
}

static void collect(struct diagnosis *d)
{
	char *failures = NULL;
	size_t size;

	d->failures = open_memstream(&failures, &size);
	if (!d->failures) {
		d->error = -ENOMEM;
		return;
	}
	add_text(d, "README.txt", "flockerctl " FLOCKER_VERSION " diagnose, at %s, about the control service at %s\n"
		"control/: what it answered. host/, logs/, tree/, configuration/: of the machine where this\n"
		"was made. configuration/: only values that are known to be no secrets. failures.txt: what\n"
		"could not be had, and why.\n",
		TEXT_TIME(time(NULL)), d->ctl->args->host ? d->ctl->args->host : "(none is named)");
	add_control(d);
	add_host(d);
	if (fclose(d->failures) == 0)
		add(d, "failures.txt", failures, size);
	free(failures);
	free(d->ids);
}

int ctl_run_diagnose(struct ctl *c)
{
	struct diagnosis d = { .ctl = c };
	_cleanup_free_ char *name = NULL;
	time_t now = time(NULL);
	char host[40] = "host";
	struct tm tm;
	int fd, r;

	(void)gethostname(host, sizeof(host) - 1);
	host[strcspn(host, "./ ")] = '\0';
	snprintf(d.top, sizeof(d.top), "flocker-diagnose-%.24s", host);
	if (gmtime_r(&now, &tm))
		strftime(d.top + strlen(d.top), sizeof(d.top) - strlen(d.top), "-%Y%m%d-%H%M%S", &tm);
	fd = open_archive(c->args, d.top, &name);
	if (fd < 0)
		return CTL_USAGE;
	if (tarfile_new(fd, now, &d.tar) < 0)
		return ctl_no_memory();
	collect(&d);
	r = tarfile_finish(d.tar);
	if (d.error < 0 || r < 0)
		return say_error(CTL_USAGE, "cannot write '%s': %s", name, strerror(d.error < 0 ? -d.error : -r));
	fprintf(stderr, "%s has %zu parts; %zu could not be had or are not whole, which failures.txt in it tells "
		"of.\n", name, d.n_parts, d.n_failures);
	if (d.away[0])
		fprintf(stderr, "The control service was not asked: ");
	if (d.away[0]) {
		say_text(stderr, d.away);
		fputc('\n', stderr);
	}
	return CTL_OK;
}

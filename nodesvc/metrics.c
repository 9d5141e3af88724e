/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "metrics.h"

/* From a mount in memory to the limit of a mkfs; in ms. */
static const uint32_t bounds_ms[METRICS_BUCKETS] = { 5, 20, 100, 500, 2000, 10000, 60000, 120000, 600000 };
static const char *const bounds[METRICS_BUCKETS] = { "0.005", "0.02", "0.1", "0.5", "2", "10", "60", "120", "600" };

void metrics_count(struct metrics *m, enum ds_step step, uint64_t ms, int error)
{
	struct metrics_step *s = &m->steps[step];

	if (error)
		s->failed++;
	else
		s->done++;
	s->sum_ms += ms;
	for (size_t i = 0; i < METRICS_BUCKETS; i++)
		if (ms <= bounds_ms[i]) {
			s->buckets[i]++;
			break;
		}
}

static void head(FILE *f, const char *name, const char *type, const char *help)
{
	fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(FILE *f, const char *name, uint64_t v, const char *help)
{
	head(f, name, "gauge", help);
	fprintf(f, "%s %" PRIu64 "\n", name, v);
}

static void counter(FILE *f, const char *name, uint64_t v, const char *help)
{
	head(f, name, "counter", help);
	fprintf(f, "%s %" PRIu64 "\n", name, v);
}

static void moment(FILE *f, const char *name, int64_t ms, const char *help)
{
	head(f, name, "gauge", help);
	fprintf(f, "%s %" PRId64 ".%03d\n", name, ms / 1000, (int)(ms % 1000));
}

/* Names come from agent.yml. */
static void label(FILE *f, const char *text)
{
	for (; *text; text++)
		if (*text == '"' || *text == '\\')
			fprintf(f, "\\%c", *text);
		else if (*text == '\n')
			fputs("\\n", f);
		else
			fputc(*text, f);
}

static void backend_gauge(FILE *f, const struct metrics_now *now, const char *name,
	uint64_t (*value)(const struct wire_backend *b), const char *help)
{
	head(f, name, "gauge", help);
	for (size_t i = 0; i < now->n_backends; i++) {
		fprintf(f, "%s{backend=\"", name);
		label(f, now->backends[i].name);
		fputs("\",driver=\"", f);
		label(f, now->backends[i].driver);
		fprintf(f, "\"} %" PRIu64 "\n", value(&now->backends[i]));
	}
}

static uint64_t capacity(const struct wire_backend *b)
{
	return b->capacity_bytes;
}

static uint64_t free_of(const struct wire_backend *b)
{
	return b->free_bytes;
}

static uint64_t promised(const struct wire_backend *b)
{
	return b->promised_bytes;
}

static uint64_t warned(const struct wire_backend *b)
{
	return *b->warning != '\0';
}

static void put_backends(FILE *f, const struct metrics_now *now)
{
	backend_gauge(f, now, "flocker_node_backend_capacity_bytes", capacity, "Size of the backend; 0: not known.");
	backend_gauge(f, now, "flocker_node_backend_free_bytes", free_of, "Room that is left in the backend.");
	backend_gauge(f, now, "flocker_node_backend_promised_bytes", promised,
		"Sum of the sizes of all volumes of the backend.");
	backend_gauge(f, now, "flocker_node_backend_warning", warned, "1 while the backend has too little room.");
}

static uint64_t count_of(const struct metrics_step *s)
{
	return s->done + s->failed;
}

static void put_durations(FILE *f, const struct metrics *m)
{
	const char *name = "flocker_node_step_seconds";

	head(f, name, "histogram", "How long steps took, also those that failed.");
	for (size_t step = STEP_OBSERVE; step < DS_STEP_MAX; step++) {
		const struct metrics_step *s = &m->steps[step];
		const char *word = ds_step_name((enum ds_step)step);
		uint64_t below = 0;

		if (!count_of(s))
			continue;
		for (size_t i = 0; i < METRICS_BUCKETS; i++) {
			below += s->buckets[i];
			fprintf(f, "%s_bucket{step=\"%s\",le=\"%s\"} %" PRIu64 "\n", name, word, bounds[i], below);
		}
		fprintf(f, "%s_bucket{step=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name, word, count_of(s));
		fprintf(f, "%s_sum{step=\"%s\"} %" PRIu64 ".%03u\n", name, word, s->sum_ms / 1000,
			(unsigned int)(s->sum_ms % 1000));
		fprintf(f, "%s_count{step=\"%s\"} %" PRIu64 "\n", name, word, count_of(s));
	}
}

static void put_steps(FILE *f, const struct metrics *m)
{
	head(f, "flocker_node_steps_total", "counter", "Steps that ended, by kind and result.");
	for (size_t i = STEP_OBSERVE; i < DS_STEP_MAX; i++)
		for (int failed = 0; failed < 2; failed++)
			fprintf(f, "flocker_node_steps_total{step=\"%s\",result=\"%s\"} %" PRIu64 "\n",
				ds_step_name((enum ds_step)i), failed ? "failed" : "done",
				failed ? m->steps[i].failed : m->steps[i].done);
	put_durations(f, m);
}

static void put_states(FILE *f, const struct metrics_now *now)
{
	head(f, "flocker_node_datasets", "gauge", "Datasets of this node, by state.");
	for (size_t i = 0; i < DS_STATE_MAX; i++)
		fprintf(f, "flocker_node_datasets{state=\"%s\"} %u\n", ds_state_name((enum ds_state)i),
			now->states[i]);
}

char *metrics_text(const struct metrics *m, const struct metrics_now *now)
{
	const struct node_view *v = now->node;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	bool failed;

	if (!f)
		return NULL;
	head(f, "flocker_node_build_info", "gauge", "Always 1; the labels tell what runs.");
	fprintf(f, "flocker_node_build_info{version=\"%s\",node=\"%s\"} 1\n", v->version, ID128_STR(v->uuid));
	put_states(f, now);
	put_backends(f, now);
	gauge(f, "flocker_node_steps_running", now->running, "Steps under way.");
	put_steps(f, m);
	gauge(f, "flocker_node_control_connected", v->connected, "1 while there is a session with control.");
	moment(f, "flocker_node_control_since_timestamp_seconds", v->connected_since_ms,
		"When that session began, or the last one ended.");
	moment(f, "flocker_node_last_renewal_timestamp_seconds", now->renewed_ms,
		"When control last renewed the terms of leased datasets; 0: it was not asked to.");
	counter(f, "flocker_node_trims_total", now->trims, "Datasets that were trimmed to their end.");
	counter(f, "flocker_node_trimmed_bytes_total", now->trimmed_bytes, "What went back to the backend by that.");
	moment(f, "flocker_node_certificate_expires_timestamp_seconds", v->certificate_expires_ms,
		"Until when the node's certificate is valid.");
	failed = ferror(f);
	if (fclose(f) != 0 || failed) {
		free(text);
		return NULL;
	}
	return text;
}

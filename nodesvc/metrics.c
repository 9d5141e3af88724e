/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics.h"
#include "promtext.h"

#define STEPS "flocker_node_steps_total"
#define DURATIONS "flocker_node_step_seconds"

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

static void single(struct promtext *p, const char *name, const char *type, double v, const char *help)
{
	promtext_family(p, name, type, help);
	promtext_value(p, name, v, NULL);
}

static double seconds(int64_t ms)
{
	return (double)ms / 1000;
}

static void put_backends(struct promtext *p, const struct metrics_now *now)
{
	static const struct {
		const char *name, *help;
	} families[] = {
		{ "flocker_node_backend_capacity_bytes", "Size of the backend; 0: not known." },
		{ "flocker_node_backend_free_bytes", "Room that is left in the backend." },
		{ "flocker_node_backend_promised_bytes", "Sum of the sizes of all volumes of the backend." },
		{ "flocker_node_backend_warning", "1 while the backend has too little room." },
	};

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		promtext_family(p, families[i].name, "gauge", families[i].help);
		for (const struct wire_backend *b = now->backends; b < now->backends + now->n_backends; b++) {
			const uint64_t values[ARRAY_SIZE(families)] = { b->capacity_bytes, b->free_bytes,
				b->promised_bytes, *b->warning != '\0' };

			promtext_value(p, families[i].name, (double)values[i], "backend", b->name, "driver", b->driver,
				NULL);
		}
	}
}

static void put_durations_of(struct promtext *p, const char *step, const struct metrics_step *s)
{
	uint64_t below = 0, all = s->done + s->failed;

	for (size_t i = 0; i < METRICS_BUCKETS; i++) {
		below += s->buckets[i];
		promtext_value(p, DURATIONS "_bucket", (double)below, "step", step, "le", bounds[i], NULL);
	}
	promtext_value(p, DURATIONS "_bucket", (double)all, "step", step, "le", "+Inf", NULL);
	promtext_value(p, DURATIONS "_sum", seconds((int64_t)s->sum_ms), "step", step, NULL);
	promtext_value(p, DURATIONS "_count", (double)all, "step", step, NULL);
}

static void put_steps(struct promtext *p, const struct metrics *m)
{
	promtext_family(p, STEPS, "counter", "Steps that ended, by kind and result.");
	for (size_t i = STEP_OBSERVE; i < DS_STEP_MAX; i++) {
		const char *step = ds_step_name((enum ds_step)i);

		promtext_value(p, STEPS, (double)m->steps[i].done, "step", step, "result", "done", NULL);
		promtext_value(p, STEPS, (double)m->steps[i].failed, "step", step, "result", "failed", NULL);
	}
	promtext_family(p, DURATIONS, "histogram", "How long steps took, also those that failed.");
	for (size_t i = STEP_OBSERVE; i < DS_STEP_MAX; i++)
		if (m->steps[i].done + m->steps[i].failed > 0)
			put_durations_of(p, ds_step_name((enum ds_step)i), &m->steps[i]);
}

static void put_states(struct promtext *p, const struct metrics_now *now)
{
	promtext_family(p, "flocker_node_datasets", "gauge", "Datasets of this node, by state.");
	for (size_t i = 0; i < DS_STATE_MAX; i++)
		promtext_value(p, "flocker_node_datasets", now->states[i], "state", ds_state_name((enum ds_state)i),
			NULL);
}

/* No process_...: node_exporter tells its own by these names. */
char *metrics_text(const struct metrics *m, const struct metrics_now *now)
{
	const struct node_view *v = now->node;
	struct promtext p;
	char *text;
	size_t size;

	if (promtext_open(&p) < 0)
		return NULL;
	promtext_family(&p, "flocker_node_build_info", "gauge", "Always 1; the labels tell what runs.");
	promtext_value(&p, "flocker_node_build_info", 1, "version", v->version, "node", ID128_STR(v->uuid), NULL);
	put_states(&p, now);
	put_backends(&p, now);
	single(&p, "flocker_node_steps_running", "gauge", now->running, "Steps under way.");
	put_steps(&p, m);
	single(&p, "flocker_node_control_connected", "gauge", v->connected, "1 while there is a session with control.");
	single(&p, "flocker_node_control_since_timestamp_seconds", "gauge", seconds(v->connected_since_ms),
		"When that session began, or the last one ended.");
	single(&p, "flocker_node_last_renewal_timestamp_seconds", "gauge", seconds(now->renewed_ms),
		"When control last renewed the terms of leased datasets; 0: it was not asked to.");
	single(&p, "flocker_node_trims_total", "counter", (double)now->trims,
		"Datasets that were trimmed to their end.");
	single(&p, "flocker_node_trimmed_bytes_total", "counter", (double)now->trimmed_bytes,
		"Bytes that the backend was told of by that.");
	single(&p, "flocker_node_certificate_expires_timestamp_seconds", "gauge", seconds(v->certificate_expires_ms),
		"Until when the node's certificate is valid.");
	return promtext_close(&p, &text, &size) == 0 ? text : NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --wait: follow one dataset until it is as wished. The API has no call that waits, so this asks
 * again: often at first, since most steps take milliseconds, and then ever less.
 */
#include <inttypes.h>
#include <time.h>

#include "ctl.h"
#include "say.h"
#include "types.h"

#define PAUSE_FIRST_MS 50
#define PAUSE_LAST_MS 1000

struct follow {
	struct ctl *ctl;
	struct ctl_wait *wait;
	FILE *out;
	char *why;	  /* printed last */
	bool unreachable; /* and that has been said */
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void pause_ms(uint64_t ms)
{
	struct timespec t = { .tv_sec = (time_t)(ms / 1000),
		.tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

static void wait_path(const struct ctl_wait *w, char path[static 64])
{
	snprintf(path, 64, "/v2/datasets/%.36s", w->dataset_id);
}

static int replace(char **where, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*where);
	*where = copy;
	return 0;
}

/* A step's identity is its whole text: the server gives steps no number. */
static const char *step_text(struct json_object *step)
{
	const char *text = json_object_to_json_string_ext(step, JSON_C_TO_STRING_PLAIN);

	return text ? text : "";
}

int ctl_wait_mark(struct ctl *c, struct ctl_wait *w)
{
	_cleanup_json_ struct json_object *d = NULL;
	struct json_object *history;
	char path[64];
	size_t n;
	int r;

	wait_path(w, path);
	r = ctl_call(c, "GET", path, NULL, json_type_object, &d);
	if (r != CTL_OK)
		return r;
	history = ctl_member(d, "history", json_type_array);
	n = history ? json_object_array_length(history) : 0;
	if (n > 0 &&
		replace(&w->last_step, step_text(json_object_array_get_idx(history, n - 1))) < 0)
		return ctl_no_memory();
	if (ctl_text(d, "state") && replace(&w->last_state, ctl_text(d, "state")) < 0)
		return ctl_no_memory();
	return CTL_OK;
}

void ctl_wait_done(struct ctl_wait *w)
{
	free(w->last_step);
	free(w->last_state);
	w->last_step = w->last_state = NULL;
}

static void print_clock(FILE *out, struct json_object *value)
{
	char buf[16] = "--:--:--";
	int64_t ms = 0;
	struct tm tm;
	time_t moment;

	if (ctl_time(value, &ms) == 0) {
		moment = ms / 1000;
		if (localtime_r(&moment, &tm))
			strftime(buf, sizeof(buf), "%H:%M:%S", &tm);
	}
	fprintf(out, "  %s.%03d  ", buf, (int)(ms % 1000));
}

static int print_step(struct follow *f, struct json_object *step)
{
	const char *state = ctl_text(step, "state"), *node = ctl_text(step, "node");
	const char *what = ctl_text(step, "what");
	const char *colour = state && f->out == stdout ? ctl_colour_of(f->ctl, state) : "";

	print_clock(f->out, json_object_object_get(step, "time"));
	fprintf(f->out, "%-8.8s  %s%-11s%s  ", node && say_is_clean(node) ? node : "-", colour,
		state && say_is_clean(state) ? state : "-",
		colour[0] ? ctl_colour_off(f->ctl) : "");
	say_text(f->out, what);
	fputc('\n', f->out);
	if (what && replace(&f->why, what) < 0)
		return -ENOMEM;
	/* Control's own steps bear its name in place of a state. */
	return state && ds_state_parse(state) >= 0 ? replace(&f->wait->last_state, state) : 0;
}

/* The steps behind the last one that is known; all of them when that one has been dropped since. */
static int print_history(struct follow *f, struct json_object *d)
{
	struct json_object *history = ctl_member(d, "history", json_type_array);
	size_t n = history ? json_object_array_length(history) : 0, first = n;

	while (first > 0 &&
		(!f->wait->last_step ||
			!STREQ(step_text(json_object_array_get_idx(history, first - 1)),
				f->wait->last_step)))
		first--;
	for (size_t i = first; i < n; i++)
		if (print_step(f, json_object_array_get_idx(history, i)) < 0)
			return -ENOMEM;
	if (first == n)
		return 0;
	return replace(&f->wait->last_step, step_text(json_object_array_get_idx(history, n - 1)));
}

static void print_news(struct follow *f, const char *label, const char *text)
{
	fprintf(f->out, "  %s: ", label);
	say_text(f->out, text);
	fputc('\n', f->out);
}

static int print_progress(struct follow *f, struct json_object *d)
{
	const char *state = ctl_text(d, "state"), *why = ctl_text(d, "why");
	int r = print_history(f, d);

	if (r == 0 && state && (!f->wait->last_state || !STREQ(f->wait->last_state, state))) {
		print_news(f, "state", state);
		r = replace(&f->wait->last_state, state);
	}
	if (r == 0 && why && why[0] && (!f->why || !STREQ(f->why, why))) {
		print_news(f, "why", why);
		r = replace(&f->why, why);
	}
	fflush(f->out);
	return r;
}

static bool is_text(struct json_object *d, const char *key, const char *wanted)
{
	const char *text = ctl_text(d, key);

	return text && STREQ(text, wanted);
}

/* 1: as wished; 0: not yet; or an exit status, negated. */
static int judge(const struct ctl_wait *w, struct json_object *d)
{
	if (!w->target)
		return ctl_flag(d, "deleted") && is_text(d, "state", "destroyed");
	if (ctl_flag(d, "deleted"))
		return -say_error(CTL_OVERTAKEN, "the dataset has been deleted meanwhile");
	if (!is_text(d, "node", w->target)) {
		const char *primary = ctl_text(d, "node");

		return -say_error(CTL_OVERTAKEN, "the dataset is wished on node %s meanwhile",
			primary ? primary : "-");
	}
	return is_text(d, "owner", w->target) && is_text(d, "state", "mounted");
}

/*
 * One look. As judge(); and -CTL_CONNECT or -CTL_SERVER, which may pass, have been told once.
 * @ret is replaced when there is an answer.
 */
static int look(struct follow *f, struct json_object **ret)
{
	struct api_answer a = { 0 };
	char path[64];
	int r;

	wait_path(f->wait, path);
	r = api_call(f->ctl->api, "GET", path, NULL, &a);
	if (r == 0 && a.status == 404 && !f->wait->target) {
		api_answer_done(&a);
		return 1; /* forgotten altogether */
	}
	if (r < 0 || a.status != 200 || !json_object_is_type(a.body, json_type_object)) {
		if (!f->unreachable)
			print_news(f, "still waiting",
				r < 0 ? api_error(f->ctl->api)
				      : "the control service has no answer");
		f->unreachable = true;
		api_answer_done(&a);
		return 0;
	}
	f->unreachable = false;
	json_object_put(*ret);
	*ret = a.body;
	if (print_progress(f, *ret) < 0)
		return -ctl_no_memory();
	return judge(f->wait, *ret);
}

static int say_timeout(const struct follow *f, uint64_t limit_ms, struct json_object *d)
{
	const char *state = ctl_text(d, "state"), *why = ctl_text(d, "why");

	return say_error(CTL_TIMEOUT,
		"after %" PRIu64 ".%" PRIu64
		" s dataset %s is not %s yet; it is %s%s%s (the wish stands; "
		"flockerctl show follows it)",
		limit_ms / 1000, limit_ms % 1000 / 100, f->wait->dataset_id,
		f->wait->target ? "mounted there" : "destroyed", state ? state : "not known",
		why && why[0] ? ": " : "", why ? why : "");
}

int ctl_wait_run(struct ctl *c, struct ctl_wait *w, struct json_object **ret)
{
	/* With --json standard output belongs to the result. */
	struct follow f = { .ctl = c, .wait = w, .out = c->args->json ? stderr : stdout };
	uint64_t start = now_ms(), limit = c->args->wait_ms, pause = PAUSE_FIRST_MS, spent;
	int r;

	while ((r = look(&f, ret)) == 0) {
		spent = now_ms() - start;
		if (spent >= limit)
			break;
		pause_ms(MIN(pause, limit - spent));
		pause = MIN(pause + pause / 8, (uint64_t)PAUSE_LAST_MS);
	}
	if (r == 0)
		r = say_timeout(&f, limit, *ret);
	else
		r = r > 0 ? CTL_OK : -r;
	free(f.why);
	return r;
}

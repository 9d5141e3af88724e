/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --wait: follow one dataset until it is as wished. Its events say when to look; what is printed are the
 * steps of its history, which events do not have.
 */
#include <inttypes.h>
#include <time.h>

#include "ctl_stream.h"
#include "say.h"
#include "types.h"

#define EARLY_MS 100  /* what is answered so long before the time is over was not answered since it was over */
#define PAUSE_MS 1000 /* when it does not answer */
#define ROUND_S 60 /* so long does the server wait at a time; in between it is seen that all else went on */

struct follow {
	struct ctl *ctl;
	struct ctl_wait *wait;
	FILE *out;
	char *why;	  /* printed last */
	bool unreachable; /* and that has been said */
};

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

static int overtaken(const char *what, const char *node)
{
	return -say_error(CTL_OVERTAKEN, "the dataset %s%s meanwhile", what, node ? node : "");
}

/* 1: as wished; 0: not yet; or an exit status, negated. */
static int judge(const struct ctl_wait *w, struct json_object *d)
{
	const char *node = ctl_text(d, "node"), *owner = ctl_text(d, "owner");
	int64_t n;

	if (w->until == UNTIL_DELETED) {
		if (!ctl_flag(d, "deleted"))
			return overtaken("was brought back", NULL);
		return is_text(d, "state", "destroyed") || (ctl_text(d, "undelete_until") && !owner);
	}
	if (ctl_flag(d, "deleted"))
		return overtaken("has been deleted", NULL);
	switch (w->until) {
	case UNTIL_MOUNTED:
		if (!node || !STREQ(node, w->target))
			return overtaken(node ? "is wished on node " : "is wished on no node", node);
		return owner && STREQ(owner, node) && is_text(d, "state", "mounted");
	case UNTIL_UNPLACED:
		return node ? overtaken("is wished on node ", node) : !owner;
	case UNTIL_GROWN:
		if (w->size && ctl_number(d, "size", &n) && n != w->size)
			return overtaken("is wished with another size", NULL);
		return !w->size || (ctl_number(d, "volume_size", &n) && n >= w->size);
	default:
		return 0;
	}
}

/* That its filesystem has grown as well only the server knows: it answers at once then. */
static int is_settled(struct follow *f)
{
	struct json_object *d = NULL;
	int r = ctl_wait_settled(f->ctl, f->wait->dataset_id, "settled", ctl_now_ms(), &d);

	json_object_put(d);
	return r == CTL_TIMEOUT ? 0 : r == CTL_OK ? 1 : -r;
}

/*
 * One look. As judge(); that nobody answers, which may pass, is told once. @ret is replaced when there is
 * an answer.
 */
static int look(struct follow *f, struct json_object **ret)
{
	struct api_answer a = { 0 };
	char path[64];
	int r;

	wait_path(f->wait, path);
	r = api_call(f->ctl->api, &(struct api_request){ .method = "GET", .path = path }, &a);
	if (r == 0 && a.status == 404 && f->wait->until == UNTIL_DELETED) {
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
	r = judge(f->wait, *ret);
	return r == 1 && f->wait->until == UNTIL_GROWN ? is_settled(f) : r;
}

static int say_timeout(const struct ctl_wait *w, uint64_t limit_ms, struct json_object *d)
{
	static const char *const wanted[] = {
		[UNTIL_MOUNTED] = "mounted there",
		[UNTIL_DELETED] = "destroyed",
		[UNTIL_UNPLACED] = "given back",
		[UNTIL_GROWN] = "grown",
	};
	const char *state = ctl_text(d, "state"), *why = ctl_text(d, "why");

	return say_error(CTL_TIMEOUT,
		"after %" PRIu64 ".%" PRIu64
		" s dataset %.36s is not %s yet; it is %s%s%s (the wish stands; "
		"flockerctl show follows it)",
		limit_ms / 1000, limit_ms % 1000 / 100, w->dataset_id, wanted[w->until],
		state ? state : "not known", why && why[0] ? ": " : "", why ? why : "");
}

/* 1: done; 0: the time is over; or an exit status, negated. */
static int follow(struct follow *f, uint64_t deadline_ms, struct json_object **ret)
{
	_cleanup_(ctl_stream_freep) struct ctl_stream *stream = NULL;
	struct ctl_event event;
	char query[64];
	int r;

	snprintf(query, sizeof(query), "type=dataset&dataset=%.36s", f->wait->dataset_id);
	r = ctl_stream_new(f->ctl, query, &stream);
	if (r != CTL_OK)
		return -r;
	for (;;) {
		switch (ctl_stream_next(stream, deadline_ms, NULL, &event)) {
		case NEWS_OPEN:
		case NEWS_EVENT:
			r = look(f, ret);
			if (r != 0)
				return r;
			break;
		case NEWS_LOST:
			if (!f->unreachable)
				print_news(f, "still waiting", ctl_stream_error(stream));
			f->unreachable = true;
			break;
		case NEWS_FAILED:
			return -ctl_stream_status(stream);
		case NEWS_TIMEOUT:
			/* Once more, for what no event tells: and a limit of 0 asks for just that. */
			return look(f, ret);
		default:
			break;
		}
		if (ctl_now_ms() >= deadline_ms)
			return look(f, ret);
	}
}

int ctl_wait_run(struct ctl *c, struct ctl_wait *w, struct json_object **ret)
{
	/* With --json standard output belongs to the result. */
	struct follow f = { .ctl = c, .wait = w, .out = c->args->json ? stderr : stdout };
	uint64_t limit = c->args->wait_ms, deadline = ctl_now_ms() + limit;
	int r = follow(&f, deadline, ret);

	free(f.why);
	if (r < 0)
		return -r;
	return r > 0 ? CTL_OK : say_timeout(w, limit, *ret);
}

/* One request that the server answers when it is time to. CTL_SERVER and CTL_CONNECT may pass, and are told once. */
static int ask(struct ctl *c, const char *path, bool *told, struct json_object **ret)
{
	const struct api_request q = { .method = "GET", .path = path };
	struct api_answer a = { 0 };
	int r = api_call(c->api, &q, &a);

	if (r == 0 && a.status == 200 && json_object_is_type(a.body, json_type_object)) {
		*told = false;
		*ret = a.body;
		return CTL_OK;
	}
	if (r == -ENOMEM)
		return ctl_no_memory();
	if (r == 0 && a.status < 500) {
		r = ctl_say_refusal(&a);
		api_answer_done(&a);
		return r;
	}
	if (!*told)
		fprintf(stderr, "Warning: %s; still waiting\n",
			r < 0 ? api_error(c->api) : "the control service has no answer");
	*told = true;
	api_answer_done(&a);
	return CTL_SERVER;
}

int ctl_wait_settled(struct ctl *c, const char *dataset_id, const char *until, uint64_t deadline_ms,
	struct json_object **ret)
{
	bool told = false;

	for (;;) {
		uint64_t now = ctl_now_ms(), left = deadline_ms > now ? deadline_ms - now : 0;
		uint64_t seconds = MAX(MIN((left + 999) / 1000, (uint64_t)ROUND_S), (uint64_t)1);
		char path[160];
		int r;

		snprintf(path, sizeof(path), "/v2/datasets/%.36s?wait=%" PRIu64 "&until=%.32s", dataset_id,
			seconds, until);
		json_object_put(TAKE_PTR(*ret));
		r = ask(c, path, &told, ret);
		if (r != CTL_OK && r != CTL_SERVER)
			return r;
		/* Answered before the time was over: the server has seen what it was asked for. */
		if (r == CTL_OK && ctl_now_ms() + EARLY_MS < now + seconds * 1000)
			return CTL_OK;
		if (is_text(*ret, "state", "destroyed"))
			return say_error(CTL_OVERTAKEN, "the dataset has been destroyed");
		if (ctl_now_ms() >= deadline_ms)
			return CTL_TIMEOUT;
		if (r != CTL_OK)
			ctl_pause_ms(MIN(left, (uint64_t)PAUSE_MS));
	}
}

static int say_not_until(const struct ctl *c, const char *id, const char *until, struct json_object *d)
{
	const char *state = ctl_text(d, "state"), *why = ctl_text(d, "why");

	return say_error(CTL_TIMEOUT, "after %" PRIu64 ".%" PRIu64 " s dataset %s is not %s; it is %s%s%s",
		c->args->timeout_ms / 1000, c->args->timeout_ms % 1000 / 100, id, until,
		state ? state : "not known", why && why[0] ? ": " : "", why ? why : "");
}

int ctl_run_wait(struct ctl *c)
{
	_cleanup_json_ struct json_object *dataset = NULL, *d = NULL;
	const char *until = c->args->until ? c->args->until : "settled";
	uint64_t deadline = c->args->timeout ? ctl_now_ms() + c->args->timeout_ms : UINT64_MAX;
	int r = ctl_find_dataset(c, c->args->argument, true, &dataset);

	if (r != CTL_OK)
		return r;
	r = ctl_wait_settled(c, ctl_text(dataset, "dataset_id"), until, deadline, &d);
	if (d && c->args->json)
		ctl_print_json(d);
	if (r == CTL_TIMEOUT)
		return say_not_until(c, ctl_text(dataset, "dataset_id"), until, d);
	if (r == CTL_OK && !c->args->json) {
		const char *state = ctl_text(d, "state");

		printf("Dataset %.36s is %s.\n", ctl_text(dataset, "dataset_id"),
			state && say_is_clean(state) ? state : "?");
	}
	return r;
}

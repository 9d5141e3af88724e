/* SPDX-License-Identifier: Apache-2.0 */
/* flockerctl node: what is done to nodes, and one of them whole. */
#include "ctl_stream.h"
#include "say.h"
#include "text.h"

/* @ret_uuid: of the node that is meant. */
static int node_uuid(struct ctl *c, char ret_uuid[static ID128_TEXT])
{
	_cleanup_json_ struct json_object *node = NULL;
	struct id128 id;
	int r;

	/* A whole UUID is taken as it is: of a node that a restored store does not list, say. */
	if (id128_parse(c->args->argument, &id) == 0) {
		id128_format(id, ret_uuid);
		return CTL_OK;
	}
	r = ctl_find_node(c, c->args->argument, &node);
	if (r == CTL_OK)
		snprintf(ret_uuid, ID128_TEXT, "%s", ctl_text(node, "uuid"));
	return r;
}

/* Takes over @body. @ret: NULL when the node is none any more. */
static int change_node(struct ctl *c, const char *uuid, const char *verb, struct json_object *body,
	struct json_object **ret)
{
	_cleanup_json_ struct json_object *sent = body;
	char path[96];
	int r;

	snprintf(path, sizeof(path), "/v2/nodes/%.36s/%s", uuid, verb);
	r = ctl_write(c, "POST", path, sent, json_type_null, ret);
	return ctl_say_unknown_fate(c, r, "list-nodes", "");
}

/* @done: what to say of it, after its UUID. Takes over @body. */
static int change_and_say(struct ctl *c, const char *verb, struct json_object *body, const char *done)
{
	_cleanup_json_ struct json_object *answer = NULL, *sent = body;
	char uuid[ID128_TEXT];
	int r = node_uuid(c, uuid);

	if (r == CTL_OK)
		r = change_node(c, uuid, verb, TAKE_PTR(sent), &answer);
	if (r != CTL_OK)
		return r;
	if (c->args->plan)
		return ctl_print_plan(c, answer);
	if (c->args->json)
		ctl_print_json(answer);
	else
		printf("Node %.36s %s.\n", uuid, done);
	return CTL_OK;
}

int ctl_run_replace(struct ctl *c)
{
	return change_and_say(c, "replace", NULL,
		"may now be another machine: the next hello of that identity is accepted");
}

int ctl_run_undrain(struct ctl *c)
{
	return change_and_say(c, "undrain", NULL, "takes datasets again; those that left it stay where they are");
}

/* Lets control give a node up, at the risk of whoever says so. */
static int give_up_node(struct ctl *c, const char *verb, const char *done)
{
	struct json_object *body = json_object_new_object();

	if (!body || json_put_member(body, "accept_risk", json_object_new_boolean(true)) < 0) {
		json_object_put(body);
		return ctl_no_memory();
	}
	return change_and_say(c, verb, body, done);
}

int ctl_run_fence(struct ctl *c)
{
	return give_up_node(c, "fence",
		"owns nothing any more: its datasets go where they are wanted, and it cleans up when it "
		"comes back");
}

int ctl_run_forget(struct ctl *c)
{
	return give_up_node(c, "forget",
		"is forgotten: it owns nothing any more, its identity is refused for ever, and what is wanted "
		"there has to be moved");
}

/* ---- drain ---- */

/* What is known of a drain that is followed; printed is only what is new. */
struct drain {
	struct ctl *ctl;
	FILE *out;
	char uuid[ID128_TEXT];
	int64_t left; /* said last; -1: nothing yet */
	struct json_object *said; /* why, by the dataset that is stuck */
	struct json_object *node; /* as it was last seen */
};

static void print_stuck(FILE *out, struct json_object *stuck)
{
	const char *name = ctl_text(stuck, "name"), *id = ctl_text(stuck, "dataset_id");

	fputs("  stuck: ", out);
	say_text(out, id);
	if (name) {
		fputs(" (", out);
		say_text(out, name);
		fputc(')', out);
	}
	fputs(": ", out);
	say_text(out, ctl_text(stuck, "why"));
	fputc('\n', out);
}

static void print_all_stuck(FILE *out, struct json_object *node)
{
	struct json_object *drain = ctl_member(node, "drain", json_type_object);
	struct json_object *stuck = ctl_member(drain, "stuck", json_type_array);

	for (size_t i = 0; stuck && i < json_object_array_length(stuck); i++)
		print_stuck(out, json_object_array_get_idx(stuck, i));
}

static int print_news(struct drain *d, struct json_object *drain)
{
	struct json_object *stuck = ctl_member(drain, "stuck", json_type_array);
	int64_t left = 0;

	if (ctl_number(drain, "left", &left) && left != d->left)
		fprintf(d->out, "  %lld left\n", (long long)left);
	d->left = left;
	for (size_t i = 0; stuck && i < json_object_array_length(stuck); i++) {
		struct json_object *s = json_object_array_get_idx(stuck, i);
		const char *id = ctl_text(s, "dataset_id"), *why = ctl_text(s, "why");
		const char *before = id ? ctl_text(d->said, id) : NULL;

		if (!id || !why || (before && STREQ(before, why)))
			continue;
		print_stuck(d->out, s);
		if (json_put_member(d->said, id, json_object_new_string(why)) < 0)
			return ctl_no_memory();
	}
	fflush(d->out);
	return CTL_OK;
}

/* 1: nothing is left; 0: something is; or an exit status, negated. */
static int look_at_drain(struct drain *d)
{
	struct json_object *node = NULL, *drain;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/v2/nodes/%.36s", d->uuid);
	r = ctl_call(d->ctl, "GET", path, NULL, json_type_object, &node);
	if (r != CTL_OK)
		return -r;
	json_object_put(d->node);
	d->node = node;
	drain = ctl_member(node, "drain", json_type_object);
	if (!drain)
		return -say_error(CTL_OVERTAKEN, "the node is no more drained: somebody took that back meanwhile");
	if (print_news(d, drain) != CTL_OK)
		return -CTL_USAGE;
	return ctl_flag(node, "drained");
}

/* 1: done; 0: the time is over; or an exit status, negated. */
static int follow_drain(struct drain *d, uint64_t deadline_ms)
{
	_cleanup_(ctl_stream_freep) struct ctl_stream *stream = NULL;
	struct ctl_event event;
	char query[64];
	int r;

	snprintf(query, sizeof(query), "node=%.36s", d->uuid);
	r = ctl_stream_new(d->ctl, query, &stream);
	if (r != CTL_OK)
		return -r;
	for (;;) {
		switch (ctl_stream_next(stream, deadline_ms, NULL, &event)) {
		case NEWS_FAILED:
			return -ctl_stream_status(stream);
		case NEWS_LOST:
			fprintf(d->out, "  still waiting: ");
			say_text(d->out, ctl_stream_error(stream));
			fputc('\n', d->out);
			break;
		case NEWS_TIMEOUT:
			return look_at_drain(d);
		case NEWS_OPEN:
		case NEWS_EVENT:
			r = look_at_drain(d);
			if (r != 0)
				return r;
			break;
		default:
			break;
		}
		if (ctl_now_ms() >= deadline_ms)
			return look_at_drain(d);
	}
}

static int wait_for_drain(struct drain *d)
{
	int64_t left = 0;
	int r = follow_drain(d, ctl_now_ms() + d->ctl->args->wait_ms);

	if (r < 0)
		return -r;
	if (r > 0)
		return CTL_OK;
	(void)ctl_number(ctl_member(d->node, "drain", json_type_object), "left", &left);
	say_error(0, "after %llu s %lld datasets are still to leave node %.36s (the drain goes on; flockerctl node "
		"show follows it)", (unsigned long long)d->ctl->args->wait_ms / 1000, (long long)left, d->uuid);
	print_all_stuck(stderr, d->node);
	return CTL_TIMEOUT;
}

static void say_drained(const struct drain *d)
{
	int64_t left = 0;

	(void)ctl_number(ctl_member(d->node, "drain", json_type_object), "left", &left);
	if (ctl_flag(d->node, "drained")) {
		printf("Node %.36s is drained: no dataset is on it or wanted there.\n", d->uuid);
		return;
	}
	printf("Node %.36s takes no more datasets; %lld are to leave it.\n", d->uuid, (long long)left);
	print_all_stuck(stdout, d->node);
	printf("flockerctl node show %.8s tells how far it is.\n", d->uuid);
}

int ctl_run_drain(struct ctl *c)
{
	_cleanup_json_ struct json_object *said = json_object_new_object();
	struct drain d = { .ctl = c, .out = c->args->json ? stderr : stdout, .left = -1, .said = said };
	int r = said ? node_uuid(c, d.uuid) : ctl_no_memory();

	if (r == CTL_OK)
		r = change_node(c, d.uuid, "drain", NULL, &d.node);
	if (r == CTL_OK && c->args->plan) {
		r = ctl_print_plan(c, d.node);
	} else if (r == CTL_OK) {
		if (c->args->wait)
			r = wait_for_drain(&d);
		if (c->args->json)
			ctl_print_json(d.node);
		else if (r == CTL_OK)
			say_drained(&d);
	}
	json_object_put(d.node);
	return r;
}

/* ---- one node ---- */

static void print_line(const char *name, const char *value)
{
	printf("%-14s", name);
	say_text(stdout, value && value[0] ? value : "-");
	putchar('\n');
}

static void print_yes(const char *name, struct json_object *node, const char *key)
{
	print_line(name, ctl_flag(node, key) ? "yes" : "no");
}

static void print_number(const char *name, struct json_object *o, const char *key, const char *unit)
{
	char text[48] = "";
	int64_t n;

	if (ctl_number(o, key, &n))
		snprintf(text, sizeof(text), "%lld%s", (long long)n, unit);
	print_line(name, text);
}

static void print_backend(struct json_object *b)
{
	const char *name = ctl_text(b, "name"), *driver = ctl_text(b, "driver"), *warning = ctl_text(b, "warning");
	char line[160];
	int64_t free_bytes, capacity;
	size_t n = (size_t)snprintf(line, sizeof(line), "%.31s (%.31s%s)", name ? name : "?", driver ? driver : "?",
		ctl_flag(b, "shared") ? ", shared" : "");

	if (ctl_number(b, "free", &free_bytes) && n < sizeof(line))
		n += (size_t)snprintf(line + n, sizeof(line) - n, ", %s free", TEXT_BYTES((uint64_t)free_bytes));
	if (ctl_number(b, "capacity", &capacity) && n < sizeof(line))
		snprintf(line + n, sizeof(line) - n, " of %s", TEXT_BYTES((uint64_t)capacity));
	print_line("backend", line);
	if (warning)
		print_line("", warning);
}

static void print_drain(struct json_object *node)
{
	struct json_object *drain = ctl_member(node, "drain", json_type_object);
	char moment[64], line[160];
	int64_t left = 0;

	if (!drain) {
		print_line("drain", NULL);
		return;
	}
	ctl_format_moment(json_object_object_get(drain, "since"), moment, sizeof(moment));
	(void)ctl_number(drain, "left", &left);
	snprintf(line, sizeof(line), "since %s, %lld left%s", moment, (long long)left,
		ctl_flag(node, "drained") ? ": it is drained" : "");
	print_line("drain", line);
	print_all_stuck(stdout, node);
}

static void print_node(struct json_object *node)
{
	struct json_object *backends = ctl_member(node, "backends", json_type_array);
	struct json_object *unknown = ctl_member(node, "unknown_datasets", json_type_array);

	print_line("node", ctl_text(node, "uuid"));
	print_line("address", ctl_text(node, "host"));
	print_line("state", ctl_text(node, "state"));
	print_number("silent", node, "silent_s", " s");
	print_line("refused", ctl_text(node, "refused"));
	print_yes("awaited", node, "awaited");
	print_line("version", ctl_text(node, "version"));
	print_line("boot", ctl_text(node, "boot"));
	print_number("datasets", node, "n_datasets", "");
	print_drain(node);
	for (size_t i = 0; backends && i < json_object_array_length(backends); i++)
		print_backend(json_object_array_get_idx(backends, i));
	for (size_t i = 0; unknown && i < json_object_array_length(unknown); i++)
		print_line(i ? "" : "unknown", json_object_get_string(json_object_array_get_idx(unknown, i)));
}

int ctl_run_node(struct ctl *c)
{
	_cleanup_json_ struct json_object *node = NULL;
	char uuid[ID128_TEXT], path[64];
	int r = node_uuid(c, uuid);

	if (r != CTL_OK)
		return r;
	snprintf(path, sizeof(path), "/v2/nodes/%.36s", uuid);
	r = ctl_call(c, "GET", path, NULL, json_type_object, &node);
	if (r != CTL_OK)
		return r;
	if (c->args->json)
		ctl_print_json(node);
	else
		print_node(node);
	return CTL_OK;
}

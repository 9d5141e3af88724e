/* SPDX-License-Identifier: Apache-2.0 */
/* flockerctl show: one dataset whole, a line a fact. */
#include <inttypes.h>
#include <time.h>

#include "ctl_live.h"
#include "say.h"
#include "text.h"

#define LABEL_WIDTH 14

static void label(FILE *out, const char *name)
{
	fprintf(out, "%-*s", LABEL_WIDTH, name);
}

static void print_line(FILE *out, const char *name, const char *value)
{
	label(out, name);
	say_text(out, value && value[0] ? value : "-");
	fputc('\n', out);
}

static void print_text(FILE *out, const char *name, struct json_object *d, const char *key)
{
	print_line(out, name, ctl_text(d, key));
}

static void print_number(FILE *out, const char *name, struct json_object *d, const char *key)
{
	char buf[32];
	int64_t n;

	if (ctl_number(d, key, &n)) {
		snprintf(buf, sizeof(buf), "%" PRId64, n);
		print_line(out, name, buf);
	} else {
		print_line(out, name, NULL);
	}
}

static void print_bytes(FILE *out, const char *name, struct json_object *d, const char *key)
{
	char buf[80];
	int64_t n;

	if (!ctl_number(d, key, &n)) {
		print_line(out, name, NULL);
		return;
	}
	text_bytes((uint64_t)n, buf);
	if (n >= 1024)
		snprintf(buf + strlen(buf), sizeof(buf) - strlen(buf), " (%" PRId64 " bytes)", n);
	print_line(out, name, buf);
}

static void format_age(int64_t s, char *buf, size_t size)
{
	if (s < 0)
		snprintf(buf, size, "by the server's clock");
	else if (s < 120)
		snprintf(buf, size, "%" PRId64 " s ago", s);
	else if (s < 2 * 3600)
		snprintf(buf, size, "%" PRId64 " min ago", s / 60);
	else if (s < 2 * 86400)
		snprintf(buf, size, "%" PRId64 " h %" PRId64 " min ago", s / 3600, s / 60 % 60);
	else
		snprintf(buf, size, "%" PRId64 " days ago", s / 86400);
}

static void print_since(FILE *out, struct json_object *d)
{
	struct json_object *value = json_object_object_get(d, "since");
	char moment[64], age[64], line[160];
	int64_t ms;

	ctl_format_moment(value, moment, sizeof(moment));
	if (ctl_time(value, &ms) == 0) {
		format_age((int64_t)time(NULL) - ms / 1000, age, sizeof(age));
		snprintf(line, sizeof(line), "%s (%s)", moment, age);
		print_line(out, "since", line);
	} else {
		print_line(out, "since", moment);
	}
}

static void print_state(FILE *out, const struct ctl *c, struct json_object *d)
{
	const char *state = ctl_text(d, "state");

	label(out, "state");
	fputs(ctl_colour_of(c, state ? state : ""), out);
	say_text(out, state ? state : "-");
	fputs(ctl_colour_off(c), out);
	fputs(ctl_flag(d, "deleted") ? " (deleted)\n" : "\n", out);
}

static const char *host_of(struct json_object *nodes, const char *uuid)
{
	for (size_t i = 0; i < json_object_array_length(nodes); i++) {
		struct json_object *node = json_object_array_get_idx(nodes, i);
		const char *other = ctl_text(node, "uuid");

		if (other && STREQ(other, uuid))
			return ctl_text(node, "host");
	}
	return NULL;
}

static void print_node(FILE *out, const char *name, struct json_object *d, const char *key,
	struct json_object *nodes, const char *note)
{
	const char *uuid = ctl_text(d, key), *host = uuid ? host_of(nodes, uuid) : NULL;

	label(out, name);
	say_text(out, uuid ? uuid : "-");
	if (host) {
		fputs(" (", out);
		say_text(out, host);
		fputc(')', out);
	}
	fprintf(out, "%s\n", uuid ? note : "");
}

static void print_metadata(FILE *out, struct json_object *d)
{
	struct json_object *metadata = ctl_member(d, "metadata", json_type_object);
	const char *name = "metadata";

	if (!metadata || json_object_object_length(metadata) == 0) {
		print_line(out, name, NULL);
		return;
	}
	json_object_object_foreach(metadata, key, value)
	{
		label(out, name);
		say_text(out, key);
		fputc('=', out);
		say_text(out, json_object_get_string(value));
		fputc('\n', out);
		name = "";
	}
}

static void print_last_error(FILE *out, struct json_object *d)
{
	struct json_object *error = ctl_member(d, "last_error", json_type_object);
	struct json_object *holders = ctl_member(error, "holders", json_type_array);
	const char *step = ctl_text(error, "step"), *message = ctl_text(error, "message");
	const char *code = ctl_text(error, "code");

	if (!error) {
		print_line(out, "last error", NULL);
		return;
	}
	label(out, "last error");
	say_text(out, step ? step : "?");
	fputs(": ", out);
	say_text(out, message ? message : "?");
	if (code) {
		fputs(" (", out);
		say_text(out, code);
		fputc(')', out);
	}
	fputc('\n', out);
	for (size_t i = 0; holders && i < json_object_array_length(holders); i++)
		print_line(out, i ? "" : "holders", json_object_get_string(json_object_array_get_idx(holders, i)));
}

static void print_history(FILE *out, struct json_object *d)
{
	struct json_object *history = ctl_member(d, "history", json_type_array);
	size_t n = history ? json_object_array_length(history) : 0;

	fputs("history\n", out);
	for (size_t i = 0; i < n; i++) {
		struct json_object *step = json_object_array_get_idx(history, i);
		const char *node = ctl_text(step, "node"), *state = ctl_text(step, "state");
		char moment[64];

		ctl_format_moment(json_object_object_get(step, "time"), moment, sizeof(moment));
		fputs("  ", out);
		say_text(out, moment);
		fprintf(out, "  %-8.8s  ", node && say_is_clean(node) ? node : "-");
		fprintf(out, "%-11s  ", state && say_is_clean(state) ? state : "-");
		say_text(out, ctl_text(step, "what"));
		fputc('\n', out);
	}
	if (n == 0)
		fputs("  -\n", out);
}

/* "any", or nodes with blanks between; "" for nobody. */
static void format_to(struct json_object *failover, char *buf, size_t size)
{
	struct json_object *list = ctl_member(failover, "to", json_type_array);
	const char *text = ctl_text(failover, "to");
	size_t n = 0;

	snprintf(buf, size, "%s", text ? text : "");
	for (size_t i = 0; list && i < json_object_array_length(list) && n < size; i++) {
		text = json_object_get_string(json_object_array_get_idx(list, i));
		n += (size_t)snprintf(buf + n, size - n, "%s%.8s", i ? " " : "", text ? text : "?");
	}
}

/* "lease, term 6 s, to any", and what else holds until its owner has said that it acts by that. */
static void print_failover(FILE *out, struct json_object *d)
{
	struct json_object *failover = ctl_member(d, "failover", json_type_object);
	const char *policy = ctl_text(failover, "policy");
	char line[320], to[160];
	int64_t term = 0, now = 0;
	size_t n;

	if (!policy) {
		print_line(out, "failover", NULL);
		return;
	}
	n = (size_t)snprintf(line, sizeof(line), "%.31s", policy);
	if (ctl_number(failover, "term", &term))
		n += (size_t)snprintf(line + n, sizeof(line) - n, ", term %" PRId64 " s", term);
	if (!ctl_flag(failover, "in_force"))
		n += (size_t)snprintf(line + n, sizeof(line) - n, ", not in force yet");
	else if (ctl_number(failover, "term_in_force", &now) && now != term)
		n += (size_t)snprintf(line + n, sizeof(line) - n, ", still %" PRId64 " s", now);
	format_to(failover, to, sizeof(to));
	if (to[0])
		snprintf(line + n, sizeof(line) - n, ", to %s", to);
	print_line(out, "failover", line);
}

/* Until when it may be brought back. */
static void print_deleted(FILE *out, struct json_object *d)
{
	char moment[64];

	if (!ctl_text(d, "undelete_until"))
		return;
	ctl_format_moment(json_object_object_get(d, "undelete_until"), moment, sizeof(moment));
	print_line(out, "undelete until", moment);
}

static void print_fenced(FILE *out, struct json_object *d)
{
	struct json_object *fenced = ctl_member(d, "fenced", json_type_object);
	const char *proof = ctl_text(fenced, "proof");
	char line[96];
	int64_t epoch;

	if (!ctl_number(fenced, "epoch", &epoch))
		return;
	snprintf(line, sizeof(line), "up to epoch %" PRId64 ", by %.31s", epoch, proof ? proof : "?");
	print_line(out, "fenced", line);
}

/* "1b2c... (192.0.2.1), until 2026-01-31 12:34:56.789 UTC" */
static void print_lease(FILE *out, struct json_object *d, struct json_object *nodes)
{
	struct json_object *lease = ctl_member(d, "lease", json_type_object);
	struct json_object *end = lease ? json_object_object_get(lease, "expires") : NULL;
	char moment[64], note[96] = ", until it is released";

	if (!lease) {
		print_line(out, "lease", NULL);
		return;
	}
	if (end) {
		ctl_format_moment(end, moment, sizeof(moment));
		snprintf(note, sizeof(note), ", until %s", say_is_clean(moment) ? moment : "?");
	}
	print_node(out, "lease", lease, "node", nodes, note);
}

void ctl_print_dataset(const struct ctl *c, struct json_object *d, struct json_object *nodes, FILE *out)
{
	struct json_object *live = ctl_member(d, "node_live", json_type_boolean);
	int64_t size, volume_size;

	print_text(out, "dataset", d, "dataset_id");
	print_text(out, "name", d, "name");
	print_state(out, c, d);
	print_text(out, "wanted", d, "wanted");
	print_text(out, "why", d, "why");
	print_since(out, d);
	print_deleted(out, d);
	print_node(out, "owner", d, "owner", nodes,
		live && !json_object_get_boolean(live) ? ", not connected" : "");
	print_node(out, "node", d, "node", nodes,
		ctl_flag(d, "failed_over") ? ", chosen since the one before is lost" : "");
	if (ctl_text(d, "chosen"))
		print_text(out, "chosen", d, "chosen");
	print_number(out, "epoch", d, "epoch");
	print_failover(out, d);
	print_fenced(out, d);
	print_lease(out, d, nodes);
	print_bytes(out, "size", d, "size");
	if (ctl_number(d, "size", &size) && ctl_number(d, "volume_size", &volume_size) && size != volume_size)
		print_bytes(out, "volume size", d, "volume_size");
	print_bytes(out, "used", d, "used");
	print_bytes(out, "available", d, "available");
	print_text(out, "mountpoint", d, "mountpoint");
	print_text(out, "device", d, "device");
	print_text(out, "filesystem", d, "filesystem");
	print_text(out, "fs uuid", d, "fs_uuid");
	print_text(out, "format state", d, "format_state");
	print_text(out, "volume", d, "volume_id");
	print_metadata(out, d);
	print_last_error(out, d);
	print_number(out, "attempts", d, "attempts");
	if (ctl_text(d, "next_retry")) {
		char moment[64];

		ctl_format_moment(json_object_object_get(d, "next_retry"), moment, sizeof(moment));
		print_line(out, "next attempt", moment);
	}
	print_history(out, d);
}

int ctl_run_show(struct ctl *c)
{
	_cleanup_json_ struct json_object *d = NULL, *nodes = NULL;
	int r = ctl_find_dataset(c, c->args->argument, true, &d);

	if (r == CTL_OK && c->args->watch)
		return ctl_watch_dataset(c, ctl_text(d, "dataset_id"));
	if (r == CTL_OK && !c->args->json)
		r = ctl_all(c, "/v2/nodes", "nodes", &nodes);
	if (r != CTL_OK)
		return r;
	if (c->args->json)
		ctl_print_json(d);
	else
		ctl_print_dataset(c, d, nodes, stdout);
	ctl_warn_refused(nodes);
	return CTL_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* flockerctl show: one dataset whole, a line a fact. */
#include <inttypes.h>
#include <time.h>

#include "ctl.h"
#include "text.h"
#include "say.h"

#define LABEL_WIDTH 14

static void label(const char *name)
{
	printf("%-*s", LABEL_WIDTH, name);
}

static void print_line(const char *name, const char *value)
{
	label(name);
	say_text(stdout, value && value[0] ? value : "-");
	putchar('\n');
}

static void print_text(const char *name, struct json_object *d, const char *key)
{
	print_line(name, ctl_text(d, key));
}

static void print_number(const char *name, struct json_object *d, const char *key)
{
	char buf[32];
	int64_t n;

	if (ctl_number(d, key, &n)) {
		snprintf(buf, sizeof(buf), "%" PRId64, n);
		print_line(name, buf);
	} else {
		print_line(name, NULL);
	}
}

static void print_bytes(const char *name, struct json_object *d, const char *key)
{
	char buf[80];
	int64_t n;

	if (!ctl_number(d, key, &n)) {
		print_line(name, NULL);
		return;
	}
	text_bytes((uint64_t)n, buf);
	if (n >= 1024)
		snprintf(buf + strlen(buf), sizeof(buf) - strlen(buf), " (%" PRId64 " bytes)", n);
	print_line(name, buf);
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

/* "2026-01-31 12:34:56.789 UTC", or the text as it is; "-" for nothing. */
static void format_moment(struct json_object *value, char *buf, size_t size)
{
	char date[32];
	time_t moment;
	struct tm tm;
	int64_t ms;

	if (ctl_time(value, &ms) == 0) {
		moment = ms / 1000;
		if (gmtime_r(&moment, &tm) && strftime(date, sizeof(date), "%F %T", &tm) > 0) {
			snprintf(buf, size, "%s.%03d UTC", date, (int)(ms % 1000));
			return;
		}
	}
	snprintf(buf, size, "%s", value ? json_object_get_string(value) : "-");
}

static void print_since(struct json_object *d)
{
	struct json_object *value = json_object_object_get(d, "since");
	char moment[64], age[64], line[160];
	int64_t ms;

	format_moment(value, moment, sizeof(moment));
	if (ctl_time(value, &ms) == 0) {
		format_age((int64_t)time(NULL) - ms / 1000, age, sizeof(age));
		snprintf(line, sizeof(line), "%s (%s)", moment, age);
		print_line("since", line);
	} else {
		print_line("since", moment);
	}
}

static void print_state(const struct ctl *c, struct json_object *d)
{
	const char *state = ctl_text(d, "state");

	label("state");
	fputs(ctl_colour_of(c, state ? state : ""), stdout);
	say_text(stdout, state ? state : "-");
	fputs(ctl_colour_off(c), stdout);
	fputs(ctl_flag(d, "deleted") ? " (deleted)\n" : "\n", stdout);
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

static void print_node(const char *name, struct json_object *d, const char *key,
	struct json_object *nodes, const char *note)
{
	const char *uuid = ctl_text(d, key), *host = uuid ? host_of(nodes, uuid) : NULL;

	label(name);
	say_text(stdout, uuid ? uuid : "-");
	if (host) {
		fputs(" (", stdout);
		say_text(stdout, host);
		putchar(')');
	}
	puts(uuid ? note : "");
}

static void print_metadata(struct json_object *d)
{
	struct json_object *metadata = ctl_member(d, "metadata", json_type_object);
	const char *name = "metadata";

	if (!metadata || json_object_object_length(metadata) == 0) {
		print_line(name, NULL);
		return;
	}
	json_object_object_foreach(metadata, key, value)
	{
		label(name);
		say_text(stdout, key);
		putchar('=');
		say_text(stdout, json_object_get_string(value));
		putchar('\n');
		name = "";
	}
}

static void print_holders(struct json_object *d)
{
	struct json_object *holders = ctl_member(ctl_member(d, "last_error", json_type_object), "holders", json_type_array);
	size_t n = holders ? json_object_array_length(holders) : 0;

	if (n == 0)
		print_line("holders", NULL);
	for (size_t i = 0; i < n; i++)
		print_line(i ? "" : "holders",
			json_object_get_string(json_object_array_get_idx(holders, i)));
}

static void print_last_error(struct json_object *d)
{
	struct json_object *error = ctl_member(d, "last_error", json_type_object);
	const char *step = ctl_text(error, "step"), *message = ctl_text(error, "message");
	struct json_object *code = error ? json_object_object_get(error, "code") : NULL;

	if (!error) {
		print_line("last error", NULL);
		return;
	}
	label("last error");
	say_text(stdout, step ? step : "?");
	fputs(": ", stdout);
	say_text(stdout, message ? message : "?");
	if (code) {
		fputs(" (", stdout);
		say_text(stdout, json_object_get_string(code));
		putchar(')');
	}
	putchar('\n');
}

static void print_history(struct json_object *d)
{
	struct json_object *history = ctl_member(d, "history", json_type_array);
	size_t n = history ? json_object_array_length(history) : 0;

	puts("history");
	for (size_t i = 0; i < n; i++) {
		struct json_object *step = json_object_array_get_idx(history, i);
		const char *node = ctl_text(step, "node"), *state = ctl_text(step, "state");
		char moment[64];

		format_moment(json_object_object_get(step, "time"), moment, sizeof(moment));
		fputs("  ", stdout);
		say_text(stdout, moment);
		printf("  %-8.8s  ", node && say_is_clean(node) ? node : "-");
		printf("%-11s  ", state && say_is_clean(state) ? state : "-");
		say_text(stdout, ctl_text(step, "what"));
		putchar('\n');
	}
	if (n == 0)
		puts("  -");
}

/* "lease, term 6 s", and what else holds until its owner has said that it acts by that. */
static void print_failover(struct json_object *d)
{
	struct json_object *failover = ctl_member(d, "failover", json_type_object);
	const char *kind = ctl_text(failover, "policy");
	char line[160];
	int64_t term = 0, now = 0;

	if (!kind || !ctl_number(failover, "term", &term)) {
		print_line("failover", kind);
		return;
	}
	(void)ctl_number(failover, "term_in_force", &now);
	snprintf(line, sizeof(line), "%s, term %lld s", kind, (long long)term);
	if (!ctl_flag(failover, "in_force"))
		strcat(line, ", not in force yet");
	else if (now != term)
		snprintf(line + strlen(line), sizeof(line) - strlen(line), ", still %lld s", (long long)now);
	print_line("failover", line);
}

/* "1b2c... (192.0.2.1), until 2026-01-31 12:34:56.789 UTC" */
static void print_lease(struct json_object *d, struct json_object *nodes)
{
	struct json_object *lease = ctl_member(d, "lease", json_type_object);
	struct json_object *end = lease ? json_object_object_get(lease, "expires") : NULL;
	char moment[64], note[96] = ", until it is released";

	if (!lease) {
		print_line("lease", NULL);
		return;
	}
	if (end) {
		format_moment(end, moment, sizeof(moment));
		snprintf(note, sizeof(note), ", until %s", say_is_clean(moment) ? moment : "?");
	}
	print_node("lease", lease, "node", nodes, note);
}

static void print_dataset(const struct ctl *c, struct json_object *d, struct json_object *nodes)
{
	struct json_object *live = ctl_member(d, "node_live", json_type_boolean);

	print_text("dataset", d, "dataset_id");
	print_line("name", ctl_dataset_name(d));
	print_state(c, d);
	print_text("wanted", d, "wanted");
	print_text("why", d, "why");
	print_since(d);
	print_node("owner", d, "owner", nodes,
		live && !json_object_get_boolean(live) ? ", not connected" : "");
	print_node("primary", d, "node", nodes,
		ctl_flag(d, "failed_over") ? ", chosen since the one before is lost" : "");
	print_number("epoch", d, "epoch");
	print_failover(d);
	print_lease(d, nodes);
	print_bytes("maximum size", d, "maximum_size");
	print_bytes("size", d, "size");
	print_bytes("used", d, "used");
	print_bytes("available", d, "available");
	print_text("mountpoint", d, "mountpoint");
	print_text("device", d, "device");
	print_text("filesystem", d, "filesystem");
	print_text("fs uuid", d, "fs_uuid");
	print_text("format state", d, "format_state");
	print_text("volume", d, "volume_id");
	print_metadata(d);
	print_holders(d);
	print_last_error(d);
	print_number("attempts", d, "attempts");
	print_history(d);
}

int ctl_run_show(struct ctl *c)
{
	_cleanup_json_ struct json_object *found = NULL, *d = NULL, *nodes = NULL;
	char path[64];
	int r = ctl_find_dataset(c, c->args->argument, true, &found);

	if (r != CTL_OK)
		return r;
	/* The list tells less of each than a dataset's own page. */
	snprintf(path, sizeof(path), "/v2/datasets/%.36s", ctl_text(found, "dataset_id"));
	r = ctl_call(c, "GET", path, NULL, json_type_object, &d);
	if (r == CTL_OK && !c->args->json)
		r = ctl_call(c, "GET", "/v2/nodes", NULL, json_type_array, &nodes);
	if (r != CTL_OK)
		return r;
	if (c->args->json)
		ctl_print_json(d);
	else
		print_dataset(c, d, nodes);
	ctl_warn_refused(nodes);
	return CTL_OK;
}

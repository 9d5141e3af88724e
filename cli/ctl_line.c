/* SPDX-License-Identifier: Apache-2.0 */
/* One change as one line. */
#include <time.h>

#include "ctl_live.h"
#include "say.h"

static void print_clock(FILE *out)
{
	struct timespec now;
	char clock[16] = "--:--:--";
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	if (localtime_r(&now.tv_sec, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	fprintf(out, "%s.%03d", clock, (int)(now.tv_nsec / 1000000));
}

static void print_id(FILE *out, const char *id)
{
	fprintf(out, "  %-8.8s", id && say_is_clean(id) ? id : "-");
}

static void print_word(const struct ctl *c, FILE *out, const char *state, const char *word)
{
	fprintf(out, "  %s", out == stdout ? ctl_colour_of(c, state ? state : "") : "");
	say_text(out, word ? word : "-");
	fputs(out == stdout ? ctl_colour_off(c) : "", out);
}

/* ", label text", when there is a text. */
static void print_more(FILE *out, const char *label, const char *text)
{
	if (!text || !text[0])
		return;
	fputs(label, out);
	say_text(out, text);
}

static void print_dataset(const struct ctl *c, FILE *out, struct json_object *o)
{
	const char *name = ctl_text(o, "name"), *state = ctl_text(o, "state");
	const char *node = ctl_text(o, "node"), *owner = ctl_text(o, "owner"), *at = owner ? owner : node;
	char to[16] = "";

	print_id(out, ctl_text(o, "dataset_id"));
	fputs("  ", out);
	say_text(out, name ? name : "-");
	print_word(c, out, state, state);
	if (ctl_flag(o, "deleted"))
		fputs(", deleted", out);
	if (at)
		fprintf(out, "  %.8s", say_is_clean(at) ? at : "?");
	if (owner && node && !STREQ(owner, node) && say_is_clean(node))
		snprintf(to, sizeof(to), "%.8s", node);
	print_more(out, " -> ", to);
	print_more(out, "  ", ctl_text(o, "why"));
}

static void print_node(const struct ctl *c, FILE *out, struct json_object *o)
{
	struct json_object *drain = ctl_member(o, "drain", json_type_object);
	const char *host = ctl_text(o, "host"), *state = ctl_text(o, "state");
	int64_t left;

	print_id(out, ctl_text(o, "uuid"));
	fputs("  ", out);
	say_text(out, host ? host : "-");
	print_word(c, out, state, state);
	if (ctl_number(drain, "left", &left))
		fprintf(out, ctl_flag(o, "drained") ? "  drained" : "  draining, %lld left", (long long)left);
	print_more(out, "  refused: ", ctl_text(o, "refused"));
}

static void print_lease(FILE *out, struct json_object *o)
{
	const char *node = ctl_text(o, "node");
	char moment[64];

	print_id(out, ctl_text(o, "dataset_id"));
	print_id(out, node);
	ctl_format_moment(json_object_object_get(o, "expires"), moment, sizeof(moment));
	print_more(out, "  until ", STREQ(moment, "-") ? "it is released" : moment);
}

void ctl_print_change(const struct ctl *c, FILE *out, const char *type, struct json_object *o)
{
	const char *id = ctl_text(o, "dataset_id");

	print_clock(out);
	fprintf(out, "  %-15s", type);
	if (STREQ(type, "dataset"))
		print_dataset(c, out, o);
	else if (STREQ(type, "node"))
		print_node(c, out, o);
	else if (STREQ(type, "lease"))
		print_lease(out, o);
	else
		print_id(out, id ? id : ctl_text(o, "uuid"));
	fputc('\n', out);
}

int ctl_print_json_line(const char *revision, const char *type, struct json_object *data)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();
	const char *text;

	if (!o || json_put_member(o, "id", json_object_new_string(revision)) < 0 ||
		json_put_member(o, "event", json_object_new_string(type)) < 0 ||
		(data && json_put_member(o, "data", json_object_get(data)) < 0))
		return ctl_no_memory();
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	if (!text)
		return ctl_no_memory();
	say_json(stdout, text);
	fputc('\n', stdout);
	return CTL_OK;
}

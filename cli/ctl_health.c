/* SPDX-License-Identifier: Apache-2.0 */
/* flockerctl health: can the control service be relied on? */
#include "ctl.h"
#include "say.h"

static void print_certificate(struct json_object *o)
{
	const char *warning = ctl_text(o, "warning");
	char moment[64];

	ctl_format_moment(json_object_object_get(o, "expires"), moment, sizeof(moment));
	fputs("certificate   ", stdout);
	say_text(stdout, ctl_text(o, "file"));
	fputs(" of ", stdout);
	say_text(stdout, ctl_text(o, "name") ?: "?");
	fputs(", until ", stdout);
	say_text(stdout, moment);
	if (warning) {
		fputs(": ", stdout);
		say_text(stdout, warning);
	}
	putchar('\n');
}

static void print_health(const struct ctl *c, struct json_object *o)
{
	struct json_object *reasons = ctl_member(o, "reasons", json_type_array);
	struct json_object *certificates = ctl_member(o, "certificates", json_type_array);
	struct json_object *nodes = ctl_member(o, "nodes", json_type_object);
	bool ready = ctl_flag(o, "ready");
	int64_t live = 0, known = 0;

	printf("ready         %s%s%s\n", ctl_colour_of(c, ready ? "live" : "failed"), ready ? "yes" : "no",
		ctl_colour_off(c));
	for (size_t i = 0; reasons && i < json_object_array_length(reasons); i++) {
		fputs("              ", stdout);
		say_text(stdout, json_object_get_string(json_object_array_get_idx(reasons, i)));
		putchar('\n');
	}
	fputs("version       ", stdout);
	say_text(stdout, ctl_text(o, "version"));
	(void)ctl_number(nodes, "live", &live);
	(void)ctl_number(nodes, "known", &known);
	printf("\nnodes         %lld of %lld connected\n", (long long)live, (long long)known);
	for (size_t i = 0; certificates && i < json_object_array_length(certificates); i++)
		print_certificate(json_object_array_get_idx(certificates, i));
}

int ctl_run_health(struct ctl *c)
{
	const struct api_request q = { .method = "GET", .path = "/v2/health" };
	struct api_answer a = { 0 };
	int r = ctl_ask(c, &q, &a);

	if (r != CTL_OK)
		return r;
	/* 503 with the same object says why not. */
	if (!ctl_member(a.body, "ready", json_type_boolean)) {
		r = a.status >= 300 ? ctl_say_refusal(&a)
				    : say_error(CTL_CONNECT, "the control service's answer makes no sense; is "
						"it of this version?");
	} else {
		if (c->args->json)
			ctl_print_json(a.body);
		else
			print_health(c, a.body);
		r = a.status == 200 ? CTL_OK : CTL_SERVER;
	}
	if (r == CTL_SERVER && !c->args->json)
		say_error(0, "the control service is not ready");
	api_answer_done(&a);
	return r;
}

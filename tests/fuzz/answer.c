/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What flockerctl makes of a server's JSON. The input is a line with the command, then an answer a line for
 * each call it makes, the last one again and again. Nothing that is printed may hold a control
 * character but the newline: that is what the server's words could do to a terminal.
 */
#include <unistd.h>

#include "ctl.h"
#include "fuzz.h"
#include "jsonin.h"

#define PRINTED_MAX MIB

static char *rest; /* of the input: the answers to come */

/* Stands in for api.c: "STATUS JSON", and none where that is no JSON. */
int api_call(struct api *r, const char *method, const char *path, struct json_object *body,
	struct api_answer *ret)
{
	char *line = rest, *end = strchrnul(line, '\n'), error[JSONIN_ERROR_MAX];
	int status = 200, n = 0;

	PROMISE(strncmp(path, "/v", 2) == 0 && !strpbrk(path, " \r\n#"));
	if (*end)
		rest = end + 1;
	if (sscanf(line, "%3d %n", &status, &n) == 1 && n > 0 && status >= 200)
		line += MIN(n, end - line);
	else
		status = 200;
	*ret = (struct api_answer){ .status = MIN(status, 599) };
	if (jsonin_parse(line, (size_t)(end - line), &ret->body, error) < 0)
		return -EBADMSG;
	return 0;
}

const char *api_error(const struct api *r)
{
	return "the control service's answer is no JSON";
}

bool api_was_sent(const struct api *r)
{
	return true;
}

void api_answer_done(struct api_answer *a)
{
	json_object_put(a->body);
	*a = (struct api_answer){ 0 };
}

static void check_printed(const char *text, bool json)
{
	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;

		PROMISE(c >= 0x20 || c == '\n');
		PROMISE(c != 0x7f || json); /* JSON for machines has it as it is */
	}
}

static void run(const char *command, bool json)
{
	static const char id[] = "11111111-1111-4111-8111-111111111111";
	struct ctl_args args = { .json = json, .wait = true, .node = "11", .dataset = id,
		.destination = "2", .name = "n", .argument = id, .deleted = true };
	struct ctl c = { .args = &args, .api = (struct api *)&args };
	int r;

	if (STREQ(command, "list"))
		r = ctl_run_list(&c);
	else if (STREQ(command, "nodes"))
		r = ctl_run_nodes(&c);
	else if (STREQ(command, "show"))
		r = ctl_run_show(&c);
	else if (STREQ(command, "move"))
		r = ctl_run_move(&c);
	else if (STREQ(command, "destroy"))
		r = ctl_run_destroy(&c);
	else if (STREQ(command, "create"))
		r = ctl_run_create(&c);
	else if (STREQ(command, "replace"))
		r = ctl_run_replace(&c);
	else if (STREQ(command, "leases"))
		r = ctl_run_leases(&c);
	else if (STREQ(command, "acquire"))
		r = ctl_run_acquire(&c);
	else if (STREQ(command, "release"))
		r = ctl_run_release(&c);
	else
		r = ctl_run_version(&c);
	PROMISE(r >= CTL_OK && r <= CTL_OVERTAKEN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	FILE *saved_out = stdout, *saved_err = stderr;
	char *printed = NULL, *command;
	size_t printed_size = 0;
	bool json;

	rest = text;
	command = strsep(&rest, "\n");
	if (!rest)
		return 0;
	json = command[0] == '-';
	stdout = stderr = open_memstream(&printed, &printed_size);
	PROMISE(stdout);
	run(command + json, json);
	fclose(stdout);
	stdout = saved_out;
	stderr = saved_err;
	check_printed(printed, json);
	free(printed);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What flockerctl makes of a server's JSON. The input is a line with the command, then an answer a line for
 * each call it makes, the last one again and again. Nothing that is printed may hold a control
 * character but the newline: that is what the server's words could do to a terminal.
 */
#include <unistd.h>

#include "ctl_stream.h"
#include "fuzz.h"
#include "jsonin.h"

#define CALLS_MAX 10000

static char *rest; /* of the input: the answers to come */
static unsigned int calls;

/* Stands in for api.c: "STATUS JSON", and none where that is no JSON. */
int api_call(struct api *r, const struct api_request *q, struct api_answer *ret)
{
	char *line = rest, *end = strchrnul(line, '\n'), error[JSONIN_ERROR_MAX];
	int status = 200, n = 0;

	PROMISE(strncmp(q->path, "/v", 2) == 0 && !strpbrk(q->path, " \r\n#"));
	PROMISE(++calls < CALLS_MAX);
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

/* Stands in for ctl_stream.c: there is news once, and then the time is over. */
struct ctl_stream {
	int n;
};

int ctl_stream_new(const struct ctl *c, const char *query, struct ctl_stream **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? CTL_OK : CTL_USAGE;
}

struct ctl_stream *ctl_stream_free(struct ctl_stream *s)
{
	free(s);
	return NULL;
}

enum ctl_news ctl_stream_next(struct ctl_stream *s, uint64_t deadline_ms, const sigset_t *mask,
	struct ctl_event *ret)
{
	return s->n++ == 0 ? NEWS_OPEN : NEWS_TIMEOUT;
}

void ctl_stream_from(struct ctl_stream *s, const char *revision)
{
}

const char *ctl_stream_error(const struct ctl_stream *s)
{
	return "it is over";
}

int ctl_stream_status(const struct ctl_stream *s)
{
	return CTL_CONNECT;
}

uint64_t ctl_now_ms(void)
{
	static uint64_t now;

	return now += 1000;
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

void ctl_pause_ms(uint64_t ms)
{
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
	static const struct {
		const char *name;
		int (*run)(struct ctl *c);
	} commands[] = {
		{ "list", ctl_run_list }, { "nodes", ctl_run_nodes }, { "show", ctl_run_show }, { "move", ctl_run_move },
		{ "destroy", ctl_run_destroy }, { "create", ctl_run_create }, { "replace", ctl_run_replace },
		{ "leases", ctl_run_leases }, { "acquire", ctl_run_acquire }, { "release", ctl_run_release },
		{ "plan", ctl_run_move }, { "node", ctl_run_node }, { "drain", ctl_run_drain },
		{ "resize", ctl_run_resize }, { "wait", ctl_run_wait }, { "health", ctl_run_health },
		{ "undelete", ctl_run_undelete }, { "purge", ctl_run_purge },
	};
	static const char id[] = "11111111-1111-4111-8111-111111111111";
	struct ctl_args args = { .json = json, .wait = true, .timeout = true, .size = MIB, .node = "11", .dataset = id,
		.destination = "2", .name = "n", .argument = id, .deleted = true };
	struct ctl c = { .args = &args, .api = (struct api *)&args };
	int (*run_it)(struct ctl *c) = ctl_run_version, r;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (STREQ(command, commands[i].name))
			run_it = commands[i].run;
	args.plan = STREQ(command, "plan");
	r = run_it(&c);
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
	calls = 0;
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

/* SPDX-License-Identifier: Apache-2.0 */
/* flockerctl create: one dataset, however often the network loses the answer. */
#include "ctl_change.h"
#include "say.h"

#define AGAIN_FOR_MS 60000
#define PAUSE_FIRST_MS 200
#define PAUSE_LAST_MS 5000

/* What v1's users write as metadata has members of its own in v2's body. */
static int split_metadata(const struct ctl_args *a, struct json_object *body, struct json_object *failover)
{
	_cleanup_json_ struct json_object *rest = json_object_new_object();
	int r = rest ? 0 : -ENOMEM;
	uint64_t term;

	if (!a->metadata)
		return r;
	json_object_object_foreach(a->metadata, key, value) {
		const char *text = json_object_get_string(value);

		if (r < 0)
			break;
		if (STREQ(key, "name"))
			r = json_put_member(body, "name", json_object_get(value));
		else if (STREQ(key, "flocker:filesystem"))
			r = json_put_member(body, "filesystem", json_object_get(value));
		else if (STREQ(key, "flocker:failover"))
			r = json_put_member(failover, "policy", json_object_get(value));
		else if (STREQ(key, "flocker:term") && text_number(text, 1, UINT32_MAX, &term) == 0)
			r = json_put_member(failover, "term", json_object_new_uint64(term));
		else if (STREQ(key, "flocker:failover-to"))
			r = ctl_put_failover_to(failover, text);
		else
			r = json_put_member(rest, key, json_object_get(value));
	}
	if (r == 0 && json_object_object_length(rest) > 0)
		r = json_put_member(body, "metadata", json_object_get(rest));
	return r;
}

/* @node: a UUID, or NULL: the server chooses one, unless the dataset is to be on none. */
static int create_body(const struct ctl_args *a, const char *node, struct json_object **ret)
{
	_cleanup_json_ struct json_object *o = json_object_new_object(), *failover = json_object_new_object();
	int r = o && failover ? split_metadata(a, o, failover) : -ENOMEM;

	if (r == 0 && node)
		r = json_put_member(o, "node", json_object_new_string(node));
	else if (r == 0 && a->unplaced)
		r = json_object_object_add(o, "node", NULL) == 0 ? 0 : -ENOMEM;
	if (r == 0 && a->size)
		r = json_put_member(o, "size", json_object_new_uint64(a->size));
	if (r == 0)
		r = ctl_put_failover(failover, a);
	if (r == 0 && json_object_object_length(failover) > 0)
		r = json_put_member(o, "failover", json_object_get(failover));
	if (r < 0)
		return ctl_no_memory();
	*ret = TAKE_PTR(o);
	return CTL_OK;
}

/*
 * Sends it until there is an answer: under the same key it makes one dataset, and who asked has no other
 * way to know whether the one that got lost did.
 */
static int post(struct ctl *c, struct json_object *body, const char *key, struct api_answer *ret)
{
	_cleanup_free_ char *path = ctl_write_path(c, "/v2/datasets");
	const struct api_request q = { .method = "POST", .path = path, .body = body, .idempotency_key = key };
	uint64_t end = ctl_now_ms() + AGAIN_FOR_MS, pause = PAUSE_FIRST_MS;
	bool sent = false;
	int r;

	if (!path)
		return ctl_no_memory();
	for (;;) {
		r = api_call(c->api, &q, ret);
		if (r == 0)
			return CTL_OK;
		if (r == -ENOMEM)
			return ctl_no_memory();
		if (!sent && api_was_sent(c->api) && !c->args->plan)
			fprintf(stderr, "No answer: %s; asking again, which makes no second one.\n",
				api_error(c->api));
		sent |= api_was_sent(c->api) && !c->args->plan;
		if (!sent || ctl_now_ms() + pause >= end)
			break;
		ctl_pause_ms(pause);
		pause = MIN(2 * pause, (uint64_t)PAUSE_LAST_MS);
	}
	say_error(0, "%s", api_error(c->api));
	if (sent)
		fprintf(stderr, "Whether the request was recorded is not known; the same command with "
			"--idempotency-key=%s\nmakes it or finds it, and never makes a second one.\n", key);
	return CTL_CONNECT;
}

static void say_created(struct json_object *d)
{
	const char *id = ctl_text(d, "dataset_id"), *node = ctl_text(d, "node"), *chosen = ctl_text(d, "chosen");

	printf("Dataset %.36s is recorded", id);
	if (node)
		printf(" for node %.36s.\n", say_is_clean(node) ? node : "?");
	else
		puts(" and on no node until it is moved to one.");
	if (chosen) {
		fputs("The control service chose that node: ", stdout);
		say_text(stdout, chosen);
		putchar('\n');
	}
	fflush(stdout);
}

static int finish(struct ctl *c, struct json_object *d)
{
	_cleanup_(ctl_wait_done) struct ctl_wait w = { .dataset_id = ctl_text(d, "dataset_id"),
		.target = ctl_text(d, "node") };
	struct id128 id;

	if (!w.dataset_id || id128_parse(w.dataset_id, &id) < 0)
		return say_error(CTL_CONNECT, "the control service's answer names no dataset");
	w.until = w.target ? UNTIL_MOUNTED : UNTIL_UNPLACED;
	if (!c->args->json)
		say_created(d);
	return ctl_finish(c, &w, d);
}

int ctl_run_create(struct ctl *c)
{
	_cleanup_json_ struct json_object *node = NULL, *body = NULL;
	const char *key = c->args->idempotency_key;
	struct api_answer a = { 0 };
	struct id128 random;
	int r = CTL_OK;

	if (c->args->node)
		r = ctl_find_node(c, c->args->node, &node);
	if (r == CTL_OK)
		r = create_body(c->args, ctl_text(node, "uuid"), &body);
	if (r == CTL_OK && !key && id128_random(&random) < 0)
		r = say_error(CTL_USAGE, "cannot make a key: %s", strerror(errno));
	if (r == CTL_OK)
		r = post(c, body, key ? key : ID128_STR(random), &a);
	if (r != CTL_OK)
		return r;
	if (a.status >= 300)
		r = ctl_say_refusal(&a);
	else if (c->args->plan)
		r = ctl_print_plan(c, a.body);
	else
		r = finish(c, a.body);
	api_answer_done(&a);
	return r;
}

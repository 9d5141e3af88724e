/* SPDX-License-Identifier: Apache-2.0 */
/* flockerctl create, move, destroy, failover and what is done to nodes: the commands that wish for something. */
#include "ctl.h"
#include "say.h"

static void say_mountpoint(struct json_object *d)
{
	fputs("Mounted at ", stdout);
	say_text(stdout, ctl_text(d, "mountpoint") ?: "?");
	puts(".");
}

/* After the change was accepted: waits if that was asked for, and prints the outcome. */
static int finish(struct ctl *c, struct ctl_wait *w, struct json_object *answer)
{
	_cleanup_json_ struct json_object *d = NULL;
	int r = CTL_OK;

	if (c->args->wait)
		r = ctl_wait_run(c, w, &d);
	if (c->args->json)
		ctl_print_json(d ? d : answer);
	else if (!c->args->wait)
		printf("flockerctl show %s tells how far it is.\n", w->dataset_id);
	else if (r == CTL_OK && d && w->target)
		say_mountpoint(d);
	else if (r == CTL_OK)
		puts("Destroyed.");
	return r;
}

static int create_body(const struct ctl_args *a, const char *dataset_id, const char *primary,
	struct json_object **ret)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();

	if (!o || ctl_put(o, "primary", json_object_new_string(primary)) < 0 ||
		ctl_put(o, "dataset_id", json_object_new_string(dataset_id)) < 0 ||
		(a->size && ctl_put(o, "maximum_size", json_object_new_uint64(a->size)) < 0) ||
		(a->metadata && ctl_put(o, "metadata", json_object_get(a->metadata)) < 0))
		return ctl_no_memory();
	*ret = TAKE_PTR(o);
	return CTL_OK;
}

int ctl_run_create(struct ctl *c)
{
	_cleanup_json_ struct json_object *node = NULL, *body = NULL, *answer = NULL;
	_cleanup_(ctl_wait_done) struct ctl_wait w = { 0 };
	char dataset_id[ID128_TEXT];
	struct id128 id;
	int r;

	r = ctl_find_node(c, c->args->node, &node);
	if (r != CTL_OK)
		return r;
	/* Chosen here, so that it is known even if the answer gets lost. */
	r = id128_random(&id);
	if (r < 0)
		return say_error(CTL_USAGE, "cannot make a UUID: %s", strerror(-r));
	w.dataset_id = id128_format(id, dataset_id);
	w.target = ctl_text(node, "uuid");
	r = create_body(c->args, dataset_id, w.target, &body);
	if (r == CTL_OK)
		r = ctl_call(
			c, "POST", "/v1/configuration/datasets", body, json_type_object, &answer);
	if (r != CTL_OK)
		return ctl_say_unknown_fate(c, r, "show", dataset_id);
	if (!c->args->json) {
		printf("Dataset %s is recorded for node %.36s.\n", dataset_id, w.target);
		fflush(stdout);
	}
	return finish(c, &w, answer);
}

static void configuration_path(const char *dataset_id, char path[static 128])
{
	snprintf(path, 128, "/v1/configuration/datasets/%.36s", dataset_id);
}

int ctl_run_move(struct ctl *c)
{
	_cleanup_json_ struct json_object *dataset = NULL, *node = NULL, *body = NULL,
					  *answer = NULL;
	_cleanup_(ctl_wait_done) struct ctl_wait w = { 0 };
	char path[128];
	int r;

	r = ctl_find_dataset(c, c->args->dataset, false, &dataset);
	if (r == CTL_OK)
		r = ctl_find_node(c, c->args->destination, &node);
	if (r != CTL_OK)
		return r;
	w.dataset_id = ctl_text(dataset, "dataset_id");
	w.target = ctl_text(node, "uuid");
	if (c->args->wait)
		r = ctl_wait_mark(c, &w);
	body = json_object_new_object();
	if (!body || ctl_put(body, "primary", json_object_new_string(w.target)) < 0)
		return ctl_no_memory();
	configuration_path(w.dataset_id, path);
	if (r == CTL_OK)
		r = ctl_call(c, "POST", path, body, json_type_object, &answer);
	if (r != CTL_OK)
		return ctl_say_unknown_fate(c, r, "show", w.dataset_id);
	if (!c->args->json) {
		printf("Dataset %.36s is to move to node %.36s.\n", w.dataset_id, w.target);
		fflush(stdout);
	}
	return finish(c, &w, answer);
}

int ctl_run_destroy(struct ctl *c)
{
	_cleanup_json_ struct json_object *dataset = NULL, *answer = NULL;
	_cleanup_(ctl_wait_done) struct ctl_wait w = { 0 };
	char path[128];
	int r;

	r = ctl_find_dataset(c, c->args->dataset, false, &dataset);
	if (r != CTL_OK)
		return r;
	w.dataset_id = ctl_text(dataset, "dataset_id");
	if (c->args->wait)
		r = ctl_wait_mark(c, &w);
	configuration_path(w.dataset_id, path);
	if (r == CTL_OK)
		r = ctl_call(c, "DELETE", path, NULL, json_type_object, &answer);
	if (r != CTL_OK)
		return ctl_say_unknown_fate(c, r, "show", w.dataset_id);
	if (!c->args->json) {
		printf("Dataset %.36s is to be destroyed with all its data.\n", w.dataset_id);
		fflush(stdout);
	}
	return finish(c, &w, answer);
}

int ctl_run_failover(struct ctl *c)
{
	_cleanup_json_ struct json_object *dataset = NULL, *body = json_object_new_object(), *answer = NULL;
	struct json_object *failover = json_object_new_object();
	const char *id;
	char path[96];
	int r;

	if (!body || !failover || ctl_put(body, "failover", failover) < 0 ||
		ctl_put(failover, "policy", json_object_new_string(c->args->policy)) < 0 ||
		(c->args->term_s && ctl_put(failover, "term", json_object_new_uint64(c->args->term_s)) < 0))
		return ctl_no_memory();
	r = ctl_find_dataset(c, c->args->argument, false, &dataset);
	if (r != CTL_OK)
		return r;
	id = ctl_text(dataset, "dataset_id");
	snprintf(path, sizeof(path), "/v2/datasets/%.36s", id);
	r = ctl_call(c, "PATCH", path, body, json_type_object, &answer);
	if (r != CTL_OK)
		return ctl_say_unknown_fate(c, r, "show", id);
	if (c->args->json)
		ctl_print_json(answer);
	else
		printf("Dataset %.36s is to fail over by %s; it does once its owner says so.\n", id,
			c->args->policy);
	return CTL_OK;
}

/* @done: what to say of it, after its UUID. Takes over @body. */
static int change_node(struct ctl *c, const char *verb, struct json_object *body, const char *done)
{
	_cleanup_json_ struct json_object *node = NULL, *answer = NULL, *sent = body;
	const char *uuid = c->args->argument;
	struct id128 id;
	char path[96];
	int r;

	if (!sent)
		return ctl_no_memory();
	/* A whole UUID is taken as it is: of a node that a restored store does not list, say. */
	if (id128_parse(uuid, &id) < 0) {
		r = ctl_find_node(c, uuid, &node);
		if (r != CTL_OK)
			return r;
		uuid = ctl_text(node, "uuid");
	}
	snprintf(path, sizeof(path), "/v2/nodes/%.36s/%s", uuid, verb);
	r = ctl_call(c, "POST", path, sent, json_type_null, &answer);
	if (r != CTL_OK)
		return ctl_say_unknown_fate(c, r, "list-nodes", "");
	if (c->args->json)
		ctl_print_json(answer);
	else
		printf("Node %.36s %s.\n", uuid, done);
	return CTL_OK;
}

int ctl_run_replace(struct ctl *c)
{
	return change_node(c, "replace", json_object_new_object(),
		"may now be another machine: the next hello of that identity is accepted");
}

/* Lets control give a node up, at the risk of whoever says so. */
static int give_up_node(struct ctl *c, const char *verb, const char *done)
{
	struct json_object *body = json_object_new_object();

	if (!body || ctl_put(body, "accept_risk", json_object_new_boolean(true)) < 0) {
		json_object_put(body);
		return ctl_no_memory();
	}
	return change_node(c, verb, body, done);
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

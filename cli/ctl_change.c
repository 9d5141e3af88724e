/* SPDX-License-Identifier: Apache-2.0 */
/* flockerctl move, resize, rename, set-metadata, failover, destroy, undelete, purge: wishes for one dataset. */
#include "ctl_change.h"
#include "say.h"

static void say_mountpoint(struct json_object *d)
{
	fputs("Mounted at ", stdout);
	say_text(stdout, ctl_text(d, "mountpoint") ?: "?");
	puts(".");
}

static void say_done(const struct ctl_wait *w, struct json_object *d)
{
	int64_t bytes = 0;

	switch (w->until) {
	case UNTIL_MOUNTED:
		say_mountpoint(d);
		break;
	case UNTIL_DELETED:
		puts(ctl_text(d, "undelete_until") ? "Deleted; its volume is kept." : "Destroyed.");
		break;
	case UNTIL_UNPLACED:
		puts("On no node.");
		break;
	case UNTIL_GROWN:
		(void)ctl_number(d, "volume_size", &bytes);
		printf("It has %s.\n", TEXT_BYTES((uint64_t)bytes));
		break;
	}
}

int ctl_finish(struct ctl *c, struct ctl_wait *w, struct json_object *answer)
{
	_cleanup_json_ struct json_object *d = NULL;
	int r = CTL_OK;

	if (c->args->wait)
		r = ctl_wait_run(c, w, &d);
	if (c->args->json)
		ctl_print_json(d ? d : answer);
	else if (!c->args->wait)
		printf("flockerctl show %.36s tells how far it is.\n", w->dataset_id);
	else if (r == CTL_OK)
		say_done(w, d);
	return r;
}

static void dataset_path(const char *dataset_id, const char *rest, char path[static 128])
{
	snprintf(path, 128, "/v2/datasets/%.36s%s", dataset_id, rest);
}

/* Where steps of before the change end is marked before it is asked for. */
static int change(struct ctl *c, struct ctl_wait *w, const char *method, const char *rest,
	struct json_object *body, struct json_object **ret)
{
	char path[128];
	int r = CTL_OK;

	if (c->args->wait && !c->args->plan)
		r = ctl_wait_mark(c, w);
	dataset_path(w->dataset_id, rest, path);
	if (r == CTL_OK)
		r = ctl_write(c, method, path, body, json_type_object, ret);
	return ctl_say_unknown_fate(c, r, "show", w->dataset_id);
}

int ctl_run_move(struct ctl *c)
{
	_cleanup_json_ struct json_object *dataset = NULL, *node = NULL, *answer = NULL;
	_cleanup_json_ struct json_object *body = json_object_new_object();
	_cleanup_(ctl_wait_done) struct ctl_wait w = { 0 };
	int r;

	if (!body)
		return ctl_no_memory();
	r = ctl_find_dataset(c, c->args->dataset, false, &dataset);
	if (r == CTL_OK && c->args->destination)
		r = ctl_find_node(c, c->args->destination, &node);
	if (r != CTL_OK)
		return r;
	w.dataset_id = ctl_text(dataset, "dataset_id");
	w.target = ctl_text(node, "uuid");
	w.until = w.target ? UNTIL_MOUNTED : UNTIL_UNPLACED;
	if (json_object_object_add(body, "node", w.target ? json_object_new_string(w.target) : NULL) < 0)
		return ctl_no_memory();
	r = change(c, &w, "PATCH", "", body, &answer);
	if (r != CTL_OK || c->args->plan)
		return r == CTL_OK ? ctl_print_plan(c, answer) : r;
	if (!c->args->json && w.target)
		printf("Dataset %.36s is to move to node %.36s.\n", w.dataset_id, w.target);
	else if (!c->args->json)
		printf("Dataset %.36s is to be on no node.\n", w.dataset_id);
	fflush(stdout);
	return ctl_finish(c, &w, answer);
}

/* @done: what to say of it behind its id. Takes over @body. */
static int patch(struct ctl *c, struct json_object *body, const char *done)
{
	_cleanup_json_ struct json_object *dataset = NULL, *answer = NULL, *sent = body;
	_cleanup_(ctl_wait_done) struct ctl_wait w = { .until = UNTIL_GROWN, .size = (int64_t)c->args->size };
	int r;

	if (!sent)
		return ctl_no_memory();
	r = ctl_find_dataset(c, c->args->argument, false, &dataset);
	if (r != CTL_OK)
		return r;
	w.dataset_id = ctl_text(dataset, "dataset_id");
	r = change(c, &w, "PATCH", "", sent, &answer);
	if (r != CTL_OK || c->args->plan)
		return r == CTL_OK ? ctl_print_plan(c, answer) : r;
	if (!c->args->json) {
		printf("Dataset %.36s ", w.dataset_id);
		say_text(stdout, done);
		puts(".");
		fflush(stdout);
	}
	return c->args->wait || c->args->json ? ctl_finish(c, &w, answer) : CTL_OK;
}

/* An object with one member; takes over @value. NULL: no memory. */
static struct json_object *body_of(const char *key, struct json_object *value)
{
	struct json_object *body = json_object_new_object();

	if (body && json_put_member(body, key, value) == 0)
		return body;
	json_object_put(body);
	return NULL;
}

int ctl_run_resize(struct ctl *c)
{
	char done[64];

	snprintf(done, sizeof(done), "is to have %s", TEXT_BYTES(c->args->size));
	return patch(c, body_of("size", json_object_new_uint64(c->args->size)), done);
}

int ctl_run_rename(struct ctl *c)
{
	_cleanup_free_ char *done = NULL;

	if (!say_is_clean(c->args->argument2))
		return say_error(CTL_USAGE, "a name must be UTF-8 without control characters");
	if (asprintf(&done, "is called %s", c->args->argument2) < 0)
		return ctl_no_memory();
	return patch(c, body_of("name", json_object_new_string(c->args->argument2)), done);
}

/* "KEY=" takes a key away: a merge patch has null for that. */
int ctl_run_set_metadata(struct ctl *c)
{
	struct json_object *metadata = json_object_new_object();

	json_object_object_foreach(c->args->metadata, key, value) {
		if (metadata && json_object_object_add(metadata, key,
			json_object_get_string_len(value) > 0 ? json_object_get(value) : NULL) < 0) {
			json_object_put(metadata);
			metadata = NULL;
		}
	}
	return metadata ? patch(c, body_of("metadata", metadata), "has its metadata changed") : ctl_no_memory();
}

int ctl_put_failover_to(struct json_object *failover, const char *text)
{
	_cleanup_json_ struct json_object *list = json_object_new_array();

	if (STREQ(text, "any"))
		return json_put_member(failover, "to", json_object_new_string(text));
	if (STREQ(text, "none"))
		return json_object_object_add(failover, "to", NULL);
	while (list && *text) {
		size_t n = strcspn(text, " ,");

		if (n > 0 && json_object_array_add(list, json_object_new_string_len(text, (int)n)) < 0)
			return -ENOMEM;
		text += n + (text[n] != '\0');
	}
	return list ? json_put_member(failover, "to", json_object_get(list)) : -ENOMEM;
}

int ctl_put_failover(struct json_object *failover, const struct ctl_args *a)
{
	int r = 0;

	if (a->policy)
		r = json_put_member(failover, "policy", json_object_new_string(a->policy));
	if (r == 0 && a->term_s)
		r = json_put_member(failover, "term", json_object_new_uint64(a->term_s));
	if (r == 0 && a->to)
		r = ctl_put_failover_to(failover, a->to);
	return r;
}

int ctl_run_failover(struct ctl *c)
{
	struct json_object *failover = json_object_new_object();
	char done[96];

	if (!failover || ctl_put_failover(failover, c->args) < 0) {
		json_object_put(failover);
		return ctl_no_memory();
	}
	if (c->args->policy)
		snprintf(done, sizeof(done), "is to fail over by %s; it does once its owner says so",
			c->args->policy);
	else
		snprintf(done, sizeof(done), "has its failover changed");
	return patch(c, body_of("failover", failover), done);
}

int ctl_run_destroy(struct ctl *c)
{
	_cleanup_json_ struct json_object *dataset = NULL, *answer = NULL;
	_cleanup_(ctl_wait_done) struct ctl_wait w = { .until = UNTIL_DELETED };
	char rest[48] = "", moment[64];
	int r;

	r = ctl_find_dataset(c, c->args->dataset, false, &dataset);
	if (r != CTL_OK)
		return r;
	w.dataset_id = ctl_text(dataset, "dataset_id");
	if (c->args->undelete)
		snprintf(rest, sizeof(rest), "?undelete=%llu", (unsigned long long)c->args->undelete_s);
	r = change(c, &w, "DELETE", rest, NULL, &answer);
	if (r != CTL_OK || c->args->plan)
		return r == CTL_OK ? ctl_print_plan(c, answer) : r;
	if (!c->args->json && ctl_text(answer, "undelete_until")) {
		ctl_format_moment(json_object_object_get(answer, "undelete_until"), moment, sizeof(moment));
		printf("Dataset %.36s is deleted; flockerctl undelete brings it back until %s.\n", w.dataset_id,
			say_is_clean(moment) ? moment : "?");
	} else if (!c->args->json) {
		printf("Dataset %.36s is to be destroyed with all its data.\n", w.dataset_id);
	}
	fflush(stdout);
	return ctl_finish(c, &w, answer);
}

int ctl_run_undelete(struct ctl *c)
{
	_cleanup_json_ struct json_object *dataset = NULL, *answer = NULL;
	_cleanup_(ctl_wait_done) struct ctl_wait w = { 0 };
	int r = ctl_find_deleted(c, c->args->argument, &dataset);

	if (r != CTL_OK)
		return r;
	w.dataset_id = ctl_text(dataset, "dataset_id");
	r = change(c, &w, "POST", "/undelete", NULL, &answer);
	if (r != CTL_OK || c->args->plan)
		return r == CTL_OK ? ctl_print_plan(c, answer) : r;
	w.target = ctl_text(answer, "node");
	w.until = w.target ? UNTIL_MOUNTED : UNTIL_UNPLACED;
	if (!c->args->json)
		printf("Dataset %.36s is no more deleted.\n", w.dataset_id);
	fflush(stdout);
	return ctl_finish(c, &w, answer);
}

int ctl_run_purge(struct ctl *c)
{
	_cleanup_json_ struct json_object *dataset = NULL, *answer = NULL;
	_cleanup_(ctl_wait_done) struct ctl_wait w = { .until = UNTIL_DELETED };
	int r = ctl_find_deleted(c, c->args->argument, &dataset);

	if (r != CTL_OK)
		return r;
	w.dataset_id = ctl_text(dataset, "dataset_id");
	r = change(c, &w, "POST", "/purge", NULL, &answer);
	if (r != CTL_OK || c->args->plan)
		return r == CTL_OK ? ctl_print_plan(c, answer) : r;
	if (!c->args->json)
		printf("Dataset %.36s is to be destroyed with all its data, now.\n", w.dataset_id);
	fflush(stdout);
	return ctl_finish(c, &w, answer);
}

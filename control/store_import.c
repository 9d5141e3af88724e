/* SPDX-License-Identifier: Apache-2.0 */
#include "store_import.h"
#include "store_private.h"

DEFINE_CLEANUP(struct event_base *, event_base_free);
DEFINE_CLEANUP(struct store *, store_close);
DEFINE_CLEANUP(struct store_batch *, store_batch_free);

static int refuse(const char *directory, char **ret_error)
{
	return store_fail(ret_error, -EEXIST, "the store in %s is not empty, and records of two clusters are "
		"not mixed: name another --data-path", directory);
}

int store_is_empty(const char *directory, char **ret_error)
{
	_cleanup_free_ char *path = NULL;
	struct store_facts f;
	int r;

	r = store_check_there(directory, ret_error);
	if (r < 0)
		return r;
	if (asprintf(&path, "%s/" STORE_FILE, directory) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	r = store_inspect(directory, &f, ret_error);
	if (r < 0)
		return r;
	return f.datasets + f.deleted + f.nodes + f.leases > 0 ? refuse(directory, ret_error) : 0;
}

static int on_record(const char *key, const char *value, void *userdata)
{
	return 1;
}

/* @value: taken over; NULL: out of memory. */
static int put(struct store_batch *b, const char *prefix, struct id128 id, char *value)
{
	char key[64];
	int r;

	snprintf(key, sizeof(key), "%s%s", prefix, ID128_STR(id));
	r = value ? store_batch_put(b, key, value) : -ENOMEM;
	free(value);
	return r;
}

static int fill(struct store_batch *b, struct import *im, uint64_t incarnation)
{
	int r = 0;

	for (size_t i = 0; i < im->n_datasets && r == 0; i++) {
		im->datasets[i].incarnation = incarnation;
		r = put(b, RECORD_KEY_DATASET, im->datasets[i].dataset_id, ds_record_to_json(&im->datasets[i]));
	}
	for (size_t i = 0; i < im->n_pins && r == 0; i++)
		r = put(b, RECORD_KEY_PIN, im->pins[i].dataset_id, pin_record_to_json(&im->pins[i]));
	return r;
}

struct outcome {
	struct event_base *base;
	int r;
};

static void on_committed(int r, void *userdata)
{
	struct outcome *o = userdata;

	o->r = r;
	(void)event_base_loopbreak(o->base);
}

static int commit(struct event_base *base, struct store *s, struct store_batch *b)
{
	struct outcome o = { base, -EIO };

	store_commit(s, b, on_committed, &o);
	return event_base_dispatch(base) < 0 ? -EIO : o.r;
}

/* The number first: a store that is still empty may have any. */
static int begin_incarnation(struct store *s, uint64_t clock_s, uint64_t *ret)
{
	uint64_t incarnation = 0;
	int r = store_meta_get(s, STORE_META_INCARNATION, &incarnation);

	if (r < 0 && r != -ENOENT)
		return r;
	*ret = MAX(incarnation + 1, clock_s);
	return store_meta_set(s, STORE_META_INCARNATION, *ret);
}

static int import_into(struct event_base *base, struct store *s, struct import *im, uint64_t clock_s)
{
	_cleanup_(store_batch_freep) struct store_batch *b = NULL;
	uint64_t incarnation;
	int r;

	r = store_load(s, on_record, NULL);
	if (r != 0)
		return r < 0 ? r : -EEXIST;
	r = begin_incarnation(s, clock_s, &incarnation);
	if (r < 0)
		return r;
	b = store_batch_new();
	if (!b)
		return -ENOMEM;
	r = fill(b, im, incarnation);
	return r < 0 ? r : commit(base, s, TAKE_PTR(b));
}

int store_import(const char *directory, struct import *im, uint64_t clock_s, struct store_facts *ret,
	char **ret_error)
{
	_cleanup_(event_base_freep) struct event_base *base = event_base_new();
	_cleanup_(store_closep) struct store *s = NULL;
	int r;

	if (!base)
		return -ENOMEM;
	r = store_open(base, directory, &s, ret_error);
	if (r < 0)
		return r;
	r = import_into(base, s, im, clock_s);
	if (r == -EEXIST)
		return refuse(directory, ret_error);
	if (r < 0)
		return store_explain(directory, NULL, r, ret_error);
	s = store_close(s);
	return store_inspect(directory, ret, ret_error);
}

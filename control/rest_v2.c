/* SPDX-License-Identifier: Apache-2.0 */
/* What v2's resources share: how a write is refused, in words that say who has what. */
#include "rest_v2.h"

int rest_find_dataset(struct rest_request *q, struct assign_view *ret)
{
	struct id128 id;
	int r = id128_parse(q->param, &id);

	if (r == 0)
		r = assign_dataset(cluster_assign(rest_cluster(q)), cluster_now_ms(), id, ret);
	if (r < 0)
		rest_refuse(q, REST_NOT_FOUND, "There is no dataset %.64s.", q->param);
	return r;
}

void rest_answer_dataset(struct rest_request *q, struct id128 id, struct jsonout *o)
{
	struct view_source source = rest_source(q);

	if (view_dataset(o, NULL, &source, id, true) < 0)
		jsonout_null(o, NULL); /* deleted, and dropped since */
}

void rest_answer_node(struct rest_request *q, struct id128 uuid, struct jsonout *o)
{
	struct view_source source = rest_source(q);

	if (view_node(o, NULL, &source, uuid) < 0)
		jsonout_null(o, NULL);
}

/* ---- refusals ---- */

static void no_such(struct rest_request *q, const struct rest_refused *w)
{
	if (w->type == ASSIGN_UNPIN)
		rest_refuse(q, REST_NOT_FOUND, "There is no lease of dataset %s.", ID128_STR(w->id));
	else
		rest_refuse(q, REST_NOT_FOUND, "There is no %s %s.", id128_is_nil(w->node) ? "dataset" : "node",
			ID128_STR(w->id));
}

static void name_in_use(struct rest_request *q, const struct rest_refused *w)
{
	struct id128 other = ID128_NIL;

	(void)assign_find_name(cluster_assign(rest_cluster(q)), w->name ?: "", &other);
	rest_refuse(q, REST_NAME_IN_USE, "The name '%.256s' is that of dataset %s: choose another, or change or "
		"delete that one first.", w->name ?: "", ID128_STR(other));
}

static void busy(struct rest_request *q, const struct rest_refused *w)
{
	struct assign_pin_view pin;

	if (w->type != ASSIGN_PIN)
		rest_refuse(q, REST_NODE_ANSWERS, "Node %s is connected and answers: %s.", ID128_STR(w->node),
			w->type == ASSIGN_REPLACE ? "end flocker-node on the machine that has this identity first" :
			"move its datasets away, or end its flocker-node first");
	else if (assign_pin(cluster_assign(rest_cluster(q)), cluster_now_ms(), w->id, true, &pin) == 0)
		rest_refuse(q, REST_LEASED, "Dataset %s is leased for node %s: release that lease first.",
			ID128_STR(w->id), ID128_STR(pin.node));
	else
		rest_refuse(q, REST_LEASED, "Dataset %s is leased for another node.", ID128_STR(w->id));
}

static void deleted(struct rest_request *q, const struct rest_refused *w)
{
	struct assign_view v;
	bool back = assign_dataset(cluster_assign(rest_cluster(q)), cluster_now_ms(), w->id, &v) == 0 &&
		    v.record->undelete_until;

	rest_refuse(q, REST_DELETED, "Dataset %s is deleted%s.", ID128_STR(w->id),
		back && w->type != ASSIGN_UNDELETE ? "; POST /v2/datasets/<dataset_id>/undelete brings it back" :
		" for good");
}

static void not_deleted(struct rest_request *q, const struct rest_refused *w)
{
	rest_refuse(q, REST_NOT_DELETED, "Dataset %s is not deleted%s.", ID128_STR(w->id),
		w->type == ASSIGN_PURGE ? ": DELETE it first" : "");
}

static void shrinks(struct rest_request *q, const struct rest_refused *w)
{
	struct assign_view v;
	bool known = assign_dataset(cluster_assign(rest_cluster(q)), cluster_now_ms(), w->id, &v) == 0;

	rest_refuse(q, REST_SHRINK, "/size: must be at least %llu bytes, which the dataset has: volumes grow and never "
		"shrink, since a filesystem cannot give space back while it is in use.",
		known ? (unsigned long long)v.record->want_bytes : 0ULL);
}

static void too_little(struct rest_request *q, const struct rest_refused *w)
{
	struct assign_view v;
	enum fs_kind fs = FS_BTRFS;

	if (assign_dataset(cluster_assign(rest_cluster(q)), cluster_now_ms(), w->id, &v) == 0)
		fs = v.record->filesystem;
	rest_refuse(q, REST_BAD_BODY, "/size: must be at least %llu bytes, since %s cannot be grown to less while it is "
		"in use.", (unsigned long long)fs_minimum_grown(fs), fs_kind_name(fs));
}

static void drains(struct rest_request *q, const struct rest_refused *w)
{
	rest_refuse(q, REST_NODE_DRAINING, "Node %s is draining and takes no datasets: choose another, or undrain it "
		"first.", ID128_STR(w->wished));
}

static void no_node(struct rest_request *q, const struct rest_refused *w)
{
	rest_refuse(q, REST_NO_NODE, "No node is connected that takes new datasets: say \"node\" to choose one all the "
		"same, or null for none yet.");
}

static void exists(struct rest_request *q, const struct rest_refused *w)
{
	rest_refuse(q, REST_EXISTS, "There is or was a dataset %s already: choose another dataset_id, or leave it away.",
		ID128_STR(w->id));
}

static void too_many_keys(struct rest_request *q, const struct rest_refused *w)
{
	rest_refuse(q, REST_BAD_BODY, "The dataset would have more than %d keys of metadata: remove some with null.",
		RECORD_METADATA_MAX);
}

static void old_store(struct rest_request *q, const struct rest_refused *w)
{
	rest_refuse(q, REST_OLD_STORE, "Nothing was changed: %s.", WIRE_STORE_IS_OLD);
}

void rest_refuse_write(struct rest_request *q, const struct rest_refused *w, int err)
{
	static const struct {
		int err;
		void (*say)(struct rest_request *q, const struct rest_refused *w);
	} refusals[] = {
		{ -ENOENT, no_such }, { -EADDRINUSE, name_in_use }, { -EBUSY, busy }, { -EOWNERDEAD, deleted },
		{ -EALREADY, not_deleted }, { -EFBIG, shrinks }, { -EINVAL, too_little }, { -EHOSTDOWN, drains },
		{ -EHOSTUNREACH, no_node }, { -EEXIST, exists }, { -E2BIG, too_many_keys }, { -ESTALE, old_store },
	};

	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++)
		if (refusals[i].err == err) {
			refusals[i].say(q, w);
			return;
		}
	rest_reply_error(q, HTTP_INTERNAL, "%s", strerror(-err));
}

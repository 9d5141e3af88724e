/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v2/datasets: what a filter picks, a page at a time. */
#include <inttypes.h>

#include "rest_v2.h"
#include "schema_private.h"

#define LIMIT_MAX 1000
#define LIMIT_DEFAULT 100
#define CURSOR_SIZE 64

/*
 * A cursor names the last dataset of a page by what the list is ordered by, neither of which ever changes.
 * So what is there all the time is seen once, whatever comes and goes between two pages.
 */
struct cursor {
	int64_t created_at;
	struct id128 id;
};

struct filter {
	const char *name;
	struct id128 node, owner; /* nil: any */
	unsigned int states;	  /* one bit each; 0: any */
	bool deleted;		  /* also what is deleted for good */
};

struct listing {
	struct jsonout *o;
	struct view_source source;
	struct filter filter;
	struct cursor last;
	uint64_t left;
	bool more;
};

static bool parse_cursor(const char *text, struct cursor *ret)
{
	size_t n = strcspn(text, ".");
	char number[24];
	uint64_t s;

	if (n == 0 || n >= sizeof(number) || !text[n])
		return false;
	memcpy(number, text, n);
	number[n] = '\0';
	if (text_number(number, 0, INT64_MAX, &s) < 0 || id128_parse(text + n + 1, &ret->id) < 0)
		return false;
	ret->created_at = (int64_t)s;
	return true;
}

static const char *all_states(char *buf, size_t size)
{
	size_t n = 0;

	for (int i = 0; i < DS_STATE_MAX && n < size; i++)
		n += (size_t)snprintf(buf + n, size - n, "%s%s", i > 0 ? ", " : "", ds_state_name((enum ds_state)i));
	return buf;
}

static void read_states(const char *text, unsigned int *ret, struct schema_errors *e)
{
	char known[320];

	for (const char *p = text; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
		_cleanup_free_ char *word = strndup(p, strcspn(p, ","));
		int state = word ? ds_state_parse(word) : -1;

		if (state < 0)
			schema_violation(e, "?state: '%.32s' is none; there are: %s", word ?: "",
				all_states(known, sizeof(known)));
		else
			*ret |= 1U << state;
	}
}

static bool read_filter(struct rest_request *q, struct listing *l, struct cursor *ret_after, bool *ret_has_after)
{
	const char *after = rest_query(q, "after");
	struct schema_errors e = { 0 };

	l->filter.name = rest_query(q, "name");
	(void)rest_query_id(q, "node", &l->filter.node, &e);
	(void)rest_query_id(q, "owner", &l->filter.owner, &e);
	read_states(rest_query(q, "state"), &l->filter.states, &e);
	l->filter.deleted = rest_query_flag(q, "deleted", &e);
	(void)rest_query_number(q, "limit", 1, LIMIT_MAX, &l->left, &e);
	*ret_has_after = after != NULL;
	if (after && !parse_cursor(after, ret_after))
		schema_violation(&e, "?after: must be the \"next\" of an earlier answer");
	return rest_query_good(q, &e);
}

static bool is_wanted(const struct filter *f, const struct assign_view *v)
{
	const struct ds_record *r = v->record;
	const char *name = ds_record_text(r, RECORD_NAME_KEY);

	return (f->deleted || !r->deleted || r->undelete_until) && (!f->name || (name && STREQ(f->name, name))) &&
	       (id128_is_nil(f->node) || id128_equal(f->node, r->primary) || id128_equal(f->node, r->owner)) &&
	       (id128_is_nil(f->owner) || id128_equal(f->owner, r->owner)) &&
	       (!f->states || f->states & 1U << ds_state_parse(view_state(v)));
}

static int on_dataset(const struct assign_view *v, void *userdata)
{
	struct listing *l = userdata;

	if (!is_wanted(&l->filter, v))
		return 0;
	if (l->left == 0) {
		l->more = true;
		return 1;
	}
	l->left--;
	l->last = (struct cursor){ v->record->created_at, v->record->dataset_id };
	return view_dataset(l->o, NULL, &l->source, v->record->dataset_id, false);
}

void rest_list_datasets(struct rest_request *q)
{
	struct jsonout o = { 0 };
	struct listing l = { .o = &o, .source = rest_source(q), .left = LIMIT_DEFAULT };
	char next[CURSOR_SIZE];
	struct cursor after;
	bool has_after;

	if (!read_filter(q, &l, &after, &has_after))
		return;
	jsonout_open(&o, NULL, '{');
	jsonout_open(&o, "datasets", '[');
	if (has_after)
		(void)assign_datasets_after(l.source.assign, l.source.now_ms, after.created_at, after.id, on_dataset, &l);
	else
		(void)assign_datasets(l.source.assign, l.source.now_ms, on_dataset, &l);
	jsonout_close(&o, ']');
	snprintf(next, sizeof(next), "%" PRId64 ".%s", l.last.created_at, ID128_STR(l.last.id));
	jsonout_text(&o, "next", l.more ? next : NULL);
	rest_reply_list(q, &o);
}

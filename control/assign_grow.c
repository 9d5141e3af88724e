/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growth, in its two recorded halves: the volume first, then the filesystem on it.
 *
 *   size == growing < want   it waits until its owner has it mounted, and can grow it
 *   size < growing <= want   the owner was told so: the volume has the one size or the other
 *   fs < size                the volume is larger, durably, and the filesystem does not fill it yet
 *
 * One size at a time is under way, so that an attach may insist on one of two, whatever else is wished
 * meanwhile. Nothing ever becomes smaller.
 */
#include "assign_private.h"

#include "text.h"

/* Of its one backend it says that: see driver_capabilities(). */
static bool can_grow(const struct node *n)
{
	return n->n_backends && wire_backend_can(&n->backends[0], "grow");
}

/* Nobody can have made its volume. */
static bool is_unmade(const struct assign *a, const struct ds_record *r)
{
	return r->format_state == FORMAT_NEVER && id128_is_nil(r->owner) && r->epoch == r->born_epoch &&
	       r->incarnation == a->incarnation;
}

bool assign_can_grow_to(const struct assign *a, const struct ds_record *r, uint64_t bytes)
{
	return is_unmade(a, r) || bytes >= fs_minimum_grown(r->filesystem);
}

static bool owner_has_it_mounted(const struct ads *ds, const struct ds_record *r)
{
	return ds->has_status && ds->status.mounted && !ds->status.releasing && !ds->releasing &&
	       id128_equal(ds->status_node, r->owner) && ds->status.epoch == r->epoch;
}

void assign_start_growth(const struct assign *a, const struct ads *ds, struct ds_record *next)
{
	const struct node *owner = assign_find_node(a, next->owner);

	if (next->growing_bytes > next->size_bytes || next->want_bytes <= next->size_bytes)
		return;
	if (is_unmade(a, next)) {
		next->size_bytes = next->growing_bytes = next->fs_bytes = next->want_bytes;
		return;
	}
	if (owner && owner->session && can_grow(owner) && assign_can_grow_to(a, next, next->want_bytes) &&
		next->grant == GRANT_HOLD && !next->deleted && next->incarnation == a->incarnation &&
		owner_has_it_mounted(ds, next))
		next->growing_bytes = next->want_bytes;
}

void assign_apply_growth(const struct fact *f, struct ds_record *next)
{
	if (f->kind == FACT_EXPANDED && f->grown_bytes == next->growing_bytes)
		next->size_bytes = next->growing_bytes;
	if (f->kind == FACT_GROWN && f->grown_bytes == next->size_bytes)
		next->fs_bytes = next->size_bytes;
}

/* A restored record may not know that the volume has grown since, and then its size is not attached. */
static uint64_t size_after_restore(const struct ds_record *r, const struct wire_status *s)
{
	bool refused = s->step == STEP_ATTACH && s->error == EUCLEAN;

	return r->sure_from && (s->mounted || refused) ? MAX(r->size_bytes, s->size_bytes) : r->size_bytes;
}

/*
 * A mounted device that has the ordered size, whoever expanded it: a daemon that was killed before it
 * said so, or one that was told to release it meanwhile. More than that is the backend's rounding up.
 */
void assign_learn_size(struct decision *d, struct ads *ds, const struct wire_status *s)
{
	struct ds_record next;

	if (!id128_equal(s->volume_id, ds->now.volume_id))
		return;
	ds_record_copy(&ds->now, &next);
	if (s->mounted && s->size_bytes >= next.growing_bytes)
		next.size_bytes = next.growing_bytes;
	next.size_bytes = size_after_restore(&next, s);
	next.growing_bytes = MAX(next.growing_bytes, next.size_bytes);
	next.want_bytes = MAX(next.want_bytes, next.growing_bytes);
	if (!ds_record_equal(&next, &ds->now))
		decision_change_ds(d, ds, &next);
	ds_record_done(&next);
}

char *assign_growth_text(const struct assign *a, const struct ads *ds, char *buf, size_t size)
{
	const struct ds_record *r = &ds->now;
	const struct node *owner = assign_find_node(a, r->owner);

	buf[0] = '\0';
	if (!ds_record_is_grown(r) && !assign_can_grow_to(a, r, r->want_bytes))
		snprintf(buf, size, "; %s cannot be grown to less than %s", fs_kind_name(r->filesystem),
			TEXT_BYTES(fs_minimum_grown(r->filesystem)));
	else if (!ds_record_is_grown(r) && owner && owner->session && !can_grow(owner))
		snprintf(buf, size, "; it is to be grown to %s, and its node cannot do that (version %s)",
			TEXT_BYTES(MAX(r->want_bytes, r->size_bytes)), owner->version ?: "unknown");
	return buf;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a finished step changed in our knowledge. */
#include "converge.h"

/* Knowledge that looking does not bring, kept while the same device stays. */
static void keep_knowledge(struct converge_seen *seen, const struct converge_seen *old)
{
	/* A listing may lag; a device that is here proves its volume. */
	seen->volume |= seen->attached;
	/* Of this device: another one may be of a volume that was made anew under the same id. */
	seen->expanded_bytes = seen->attached && old->attached ? old->expanded_bytes : 0;
	seen->grown_bytes = seen->attached && old->attached ? old->grown_bytes : 0;
	seen->destroyed = old->destroyed;
	seen->discarded = old->discarded;
	seen->detached = old->detached && !seen->attached;
	seen->whole = seen->volume && old->whole;
	seen->spoiled = seen->volume && old->spoiled;
	seen->proven_empty = seen->attached && old->attached && old->proven_empty;
}

static void book_success(struct converge_seen *seen, struct converge_last *last, enum ds_step step)
{
	switch (step) {
	case STEP_PROBE:
		seen->proven_empty = true;
		break;
	case STEP_FORMAT:
	case STEP_VERIFY:
		seen->whole = true;
		last->format_failures = 0;
		break;
	case STEP_DISCARD:
		seen->whole = seen->spoiled = false;
		seen->discarded = true;
		break;
	case STEP_ATTACH:
		seen->detached = false;
		break;
	case STEP_DETACH:
		seen->detached = true;
		break;
	case STEP_DESTROY:
		seen->destroyed = true;
		break;
	case STEP_EXPAND:
		/* Where looking failed it may have been another size: once more. */
		if (seen->known)
			seen->expanded_bytes = seen->size_bytes;
		break;
	case STEP_GROW:
		if (seen->known)
			seen->grown_bytes = seen->size_bytes;
		break;
	default:
		break;
	}
}

void converge_book(struct converge_wish *w, struct converge_seen *seen, struct converge_last *last,
	enum ds_step step, int error, const char *why, const struct converge_seen *observed,
	uint64_t now_ms)
{
	struct converge_seen old = *seen;

	if (observed) {
		*seen = *observed;
		seen->at_ms = now_ms;
		keep_knowledge(seen, &old);
	} else {
		seen->known = false;
	}

	if (step == STEP_FORMAT && error != ETIME) { /* ETIME: it did not begin */
		w->permit = ID128_NIL;
		seen->proven_empty = false;
		if (error)
			last->format_failures++;
	}
	if (step == STEP_VERIFY && error == EUCLEAN) {
		/* Not a failure to be tried again: it is the answer. */
		seen->spoiled = true;
		error = 0;
	} else if (!error) {
		book_success(seen, last, step);
	}

	/* Looking does not end the row of failures of what it looks at. */
	if (step == STEP_OBSERVE && !error && observed)
		return;
	last->step = step;
	last->error = error;
	last->attempts = error ? last->attempts + 1 : 0;
	last->ended_ms = now_ms;
	snprintf(last->why, sizeof(last->why), "%s", error && why ? why : "");
}

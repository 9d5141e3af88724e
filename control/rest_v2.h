/* SPDX-License-Identifier: Apache-2.0 */
/* rest_v2.h - what the resources of v2 share: finding, answering, writing, and refusing in words. */
#pragma once

#include "rest_private.h"
#include "schema_v2.h"
#include "text.h"

/* The dataset of the path. -ENOENT when there is none, and then it was answered. */
int rest_find_dataset(struct rest_request *q, struct assign_view *ret);

void rest_answer_dataset(struct rest_request *q, struct id128 id, struct jsonout *o);
void rest_answer_node(struct rest_request *q, struct id128 uuid, struct jsonout *o);

/* What was asked for, as far as a refusal speaks of it. */
struct rest_refused {
	enum assign_event_type type;
	struct id128 id, node; /* that it is about; @node nil: a dataset */
	struct id128 wished;   /* where it should have gone */
	const char *name;
};

/* @err: of assign_decide(). */
void rest_refuse_write(struct rest_request *q, const struct rest_refused *w, int err);

/**
 * rest_write_v2() - decide on @ev and answer when it is durable; or answer with the plan when that is asked for
 * @id: what @answer writes about
 * @status: of the answer
 */
void rest_write_v2(struct rest_request *q, struct assign_event *ev, struct id128 id, int status,
	void (*answer)(struct rest_request *q, struct id128 id, struct jsonout *o));

/* 200 with the steps that @ev would lead to, which would be accepted, and with what it is about as it would be. */
void rest_reply_plan(struct rest_request *q, const struct assign_event *ev, struct id128 id, int status);

void rest_list_datasets(struct rest_request *q);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl_live.h - what lists, --watch and events show: the same tables, once or again with each change, and the
 * same line for a change. Functions return an exit status.
 */
#pragma once

#include "ctl.h"
#include "table.h"

/* Of those that are destroyed some may be left, which ctl_is_listed() leaves out. */
#define CTL_ALL_DATASETS "/v2/datasets?deleted=true"

bool ctl_is_listed(const struct ctl *c, struct json_object *dataset);

/* A table of datasets that grows row by row. */
struct ctl_datasets {
	const struct ctl *ctl;
	struct table *table;
	struct json_object *nodes; /* by UUID */
};

/* @nodes: an array of them. */
int ctl_datasets_begin(struct ctl_datasets *l, const struct ctl *c, struct json_object *nodes);
int ctl_datasets_add(struct ctl_datasets *l, struct json_object *dataset);
void ctl_datasets_done(struct ctl_datasets *l);

/* @nodes: an array of them. */
int ctl_print_nodes(const struct ctl *c, struct json_object *nodes, FILE *out);

/* All that is known of one; @nodes: an array of them. */
void ctl_print_dataset(const struct ctl *c, struct json_object *d, struct json_object *nodes, FILE *out);

/* One line: when, what, which, and how it is now. @type: of an event. */
void ctl_print_change(const struct ctl *c, FILE *out, const char *type, struct json_object *o);

/* The same for machines: {"id", "event", "data"}; @data: NULL for none. */
int ctl_print_json_line(const char *revision, const char *type, struct json_object *data);

/* --watch; they return when a signal or a refusal ends them. */
int ctl_watch_nodes(struct ctl *c);
int ctl_watch_datasets(struct ctl *c);
int ctl_watch_dataset(struct ctl *c, const char *dataset_id);

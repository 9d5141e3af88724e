/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl.h - what the commands of flockerctl share. Functions that can fail return an exit status of
 * the program, enum ctl_exit, and have said why on standard error.
 */
#pragma once

#include <json-c/json.h>

#include "args.h"
#include "id128.h"
#include "jsonin.h"
#include "macro.h"
#include "api.h"

/* As in flockerctl(1). */
enum ctl_exit {
	CTL_OK = 0,
	CTL_USAGE = 1,	   /* the command line, or this machine (memory, standard output) */
	CTL_CONNECT = 2,   /* no connection, no trust, or no control service at the other end */
	CTL_REFUSED = 3,   /* the server refused (4xx) */
	CTL_NOT_FOUND = 4, /* no such node or dataset, or several */
	CTL_TIMEOUT = 5,   /* --wait ended first; the wish stands */
	CTL_SERVER = 6,	   /* the server failed (5xx) */
	CTL_OVERTAKEN = 7, /* while waiting: somebody wished something else */
};

/* The command line after its options are read; strings are borrowed from argv and environment. */
struct ctl_args {
	const char *host, *certs_path, *user;
	uint16_t port;
	bool json, long_form, deleted, accept_risk;
	const char *policy;
	uint64_t term_s; /* 0: not given */
	const char *node, *dataset, *destination, *name, *filesystem;
	uint64_t size;			/* in bytes; 0: not given */
	struct json_object *metadata;	/* NULL: not given */
	bool wait;
	uint64_t wait_ms;
	const char *argument; /* the positional one, or NULL */
};

struct ctl {
	const struct ctl_args *args;
	struct api *api;
	bool colour; /* standard output is a terminal that wants it */
};

int ctl_run_nodes(struct ctl *c);
int ctl_run_list(struct ctl *c);
int ctl_run_show(struct ctl *c);
int ctl_run_create(struct ctl *c);
int ctl_run_move(struct ctl *c);
int ctl_run_destroy(struct ctl *c);
int ctl_run_failover(struct ctl *c);
int ctl_run_replace(struct ctl *c);
int ctl_run_fence(struct ctl *c);
int ctl_run_version(struct ctl *c);

int ctl_no_memory(void);

/**
 * ctl_call() - one request; anything but 2xx is an error and has been told
 * @type: what the answer must be; json_type_null: whatever it is
 * @ret: counted; NULL when the answer was null
 */
int ctl_call(struct ctl *c, const char *method, const char *path, struct json_object *body,
	enum json_type type, struct json_object **ret);

/* The node of GET /v2/nodes that @text means: a prefix of its UUID, or its address. Counted. */
int ctl_find_node(struct ctl *c, const char *text, struct json_object **ret);

/* The dataset of GET /v2/datasets that @text means: a prefix of its id, or its name. Counted. */
int ctl_find_dataset(struct ctl *c, const char *text, bool with_deleted, struct json_object **ret);

/* Says on standard error why nodes are refused, each reason once. @nodes: NULL, or of GET /v2/nodes. */
void ctl_warn_refused(struct json_object *nodes);

/* Says on standard error which datasets nodes have that control does not know. */
void ctl_warn_unknown(struct json_object *nodes);

/* Prints @o for machines, with a newline. */
void ctl_print_json(struct json_object *o);

/* Members of an object; NULL and false where they are absent, null or of another type. */
const char *ctl_text(struct json_object *o, const char *key);
bool ctl_flag(struct json_object *o, const char *key);
bool ctl_number(struct json_object *o, const char *key, int64_t *ret);
struct json_object *ctl_member(struct json_object *o, const char *key, enum json_type type);

/* The metadata's "name", or NULL. */
const char *ctl_dataset_name(struct json_object *dataset);

/* Escape sequences around a state of this name, "" without colour. */
const char *ctl_colour_of(const struct ctl *c, const char *state);
const char *ctl_colour_off(const struct ctl *c);

/* Milliseconds since the epoch from a number of seconds or an RFC 3339 text in UTC; -EINVAL. */
int ctl_time(struct json_object *value, int64_t *ret_ms);

/* What --wait looks at; filled before the change is asked for. */
struct ctl_wait {
	const char *dataset_id;
	const char *target;   /* UUID of the node to be mounted on; NULL: wait for destruction */
	char *last_step;      /* of the history, already there before the change; or NULL */
	char *last_state;
};

/* Remembers how far the dataset has come, so that only what follows is printed. */
int ctl_wait_mark(struct ctl *c, struct ctl_wait *w);

/**
 * ctl_wait_run() - follow the dataset until it is as wished, printing its steps
 * @ret: the dataset at the end, counted; set also on CTL_TIMEOUT, may be NULL
 */
int ctl_wait_run(struct ctl *c, struct ctl_wait *w, struct json_object **ret);

void ctl_wait_done(struct ctl_wait *w);

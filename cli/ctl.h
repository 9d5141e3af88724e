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
#include "jsonput.h"
#include "macro.h"
#include "api.h"

/* As in flockerctl(1). */
enum ctl_exit {
	CTL_OK = 0,
	CTL_USAGE = 1,	   /* the command line, or this machine (memory, standard output) */
	CTL_CONNECT = 2,   /* no connection, no trust, or no control service at the other end */
	CTL_REFUSED = 3,   /* the server refused (4xx) */
	CTL_NOT_FOUND = 4, /* no such node, dataset or lease, or several */
	CTL_TIMEOUT = 5,   /* --wait ended first; the wish stands */
	CTL_SERVER = 6,	   /* the server failed (5xx) */
	CTL_OVERTAKEN = 7, /* while waiting: somebody wished something else */
};

/* The command line; strings are borrowed from argv and environment, or of @owned. */
struct ctl_args {
	const char *host, *certs_path, *user; /* NULL: not given; ctl_where() sets the last two */
	const char *cluster_yml;
	uint16_t port; /* 0: not given, until ctl_where() */
	bool json, long_form, deleted, accept_risk, no_header, plan, unplaced, watch;
	bool expires; /* after expires_ms */
	uint64_t expires_ms;
	const char *policy, *to;
	uint64_t term_s; /* 0: not given */
	const char *node, *dataset, *destination, *name, *filesystem;
	const char *idempotency_key;
	uint64_t size;			/* in bytes; 0: not given */
	struct json_object *metadata;	/* NULL: not given */
	bool wait;
	uint64_t wait_ms;
	bool undelete; /* for undelete_s */
	uint64_t undelete_s;
	const char *until;
	bool timeout; /* after timeout_ms */
	uint64_t timeout_ms;
	const char *types, *after; /* of events */
	const char *output;
	const char *argument, *argument2; /* the positional ones, or NULL */
	struct {
		char *host, *certs_path, *user;
	} owned;
};

/* Takes over one option of the table in ctl_words.c; @text: its value, or NULL. */
int ctl_set_option(struct ctl_args *a, int value, const char *text);

#define CTL_SHORT_ID 8 /* characters of a UUID in tables */

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
int ctl_run_resize(struct ctl *c);
int ctl_run_rename(struct ctl *c);
int ctl_run_set_metadata(struct ctl *c);
int ctl_run_destroy(struct ctl *c);
int ctl_run_undelete(struct ctl *c);
int ctl_run_purge(struct ctl *c);
int ctl_run_failover(struct ctl *c);
int ctl_run_wait(struct ctl *c);
int ctl_run_events(struct ctl *c);
int ctl_run_node(struct ctl *c);
int ctl_run_drain(struct ctl *c);
int ctl_run_undrain(struct ctl *c);
int ctl_run_replace(struct ctl *c);
int ctl_run_fence(struct ctl *c);
int ctl_run_forget(struct ctl *c);
int ctl_run_leases(struct ctl *c);
int ctl_run_acquire(struct ctl *c);
int ctl_run_release(struct ctl *c);
int ctl_run_health(struct ctl *c);
int ctl_run_diagnose(struct ctl *c);
int ctl_run_version(struct ctl *c);

int ctl_no_memory(void);

uint64_t ctl_now_ms(void); /* of a clock that only goes forward */
void ctl_pause_ms(uint64_t ms);

/* One request and its answer, whatever that says; that there is none has been told. */
int ctl_ask(struct ctl *c, const struct api_request *q, struct api_answer *ret);

/**
 * ctl_call() - one request; anything but 2xx is an error and has been told
 * @type: what the answer must be; json_type_null: whatever it is
 * @ret: counted; NULL when the answer was null
 */
int ctl_call(struct ctl *c, const char *method, const char *path, struct json_object *body,
	enum json_type type, struct json_object **ret);

/* What the server said instead of 2xx, on standard error; returns the exit status for it. */
int ctl_say_refusal(const struct api_answer *a);

/**
 * ctl_write() - ctl_call() for what changes something; with --plan it only asks what would happen
 * @path: may have a query
 * @ret: with --plan the answer is for ctl_print_plan(); what is said of a failure is the same
 */
int ctl_write(struct ctl *c, const char *method, const char *path, struct json_object *body,
	enum json_type type, struct json_object **ret);

/* The path that ctl_write() asks for; allocated, NULL: no memory. */
char *ctl_write_path(const struct ctl *c, const char *path);

/* The steps of an answer to --plan, or with --json the answer. An exit status. */
int ctl_print_plan(struct ctl *c, struct json_object *plan);

/**
 * ctl_each() - the objects of a list, of whatever length: a page of it at a time
 * @path: "/v2/datasets?deleted=true"
 * @key: of the answer's member that has them: "datasets"
 * @on_object: borrows the object; other than CTL_OK ends the walk, and is returned
 * @ret_revision: where events go on that follow the list, allocated; may be NULL
 */
int ctl_each(struct ctl *c, const char *path, const char *key,
	int (*on_object)(struct json_object *o, void *userdata), void *userdata, char **ret_revision);

/* All of a list as one array, counted: for lists that are not long. */
int ctl_all(struct ctl *c, const char *path, const char *key, struct json_object **ret);

/* @text as it stands in a query; allocated, NULL: no memory. */
char *ctl_escape(const char *text);

/* After a request that may have arrived although no answer came back: which command tells. Returns @r. */
int ctl_say_unknown_fate(const struct ctl *c, int r, const char *command, const char *argument);

/**
 * ctl_find_node() - the node of GET /v2/nodes that @text means
 * @text: a prefix of its UUID, its address, or a host name that resolves to its address
 * @ret: counted
 *
 * Asks the resolver, which may take its time, for what is neither prefix nor address.
 */
int ctl_find_node(struct ctl *c, const char *text, struct json_object **ret);

/* The dataset of GET /v2/datasets that @text means: a prefix of its id, or its name. Counted. */
int ctl_find_dataset(struct ctl *c, const char *text, bool with_deleted, struct json_object **ret);

/* The same among those alone that are deleted. */
int ctl_find_deleted(struct ctl *c, const char *text, struct json_object **ret);

/* The lease of GET /v2/leases; @text as for ctl_find_dataset(). Counted. */
int ctl_find_lease(struct ctl *c, const char *text, struct json_object **ret);

/* Adds to each lease of a list the member "name", where its dataset has one. */
int ctl_add_names(struct ctl *c, struct json_object *leases);

/* Objects of an array by the text of their member @key, as one object, counted; NULL: no memory. */
struct json_object *ctl_index(struct json_object *array, const char *key);

/* "1b2c3d4e (192.0.2.1)", or the whole UUID; "<missing>" when not of @nodes, which are by UUID. */
void ctl_format_node(struct json_object *nodes, const char *uuid, bool long_form, char *buf,
	size_t size);

/* Says on standard error why nodes are refused, each reason once. @nodes: NULL, or an array of them. */
void ctl_warn_refused(struct json_object *nodes);

/* Says on standard error which datasets nodes have that control does not know. */
void ctl_warn_unknown(struct json_object *nodes);

/* Says on standard error what backends warn of: that their space ends, say. */
void ctl_warn_backends(struct json_object *nodes);

/* Prints @o for machines, with a newline. */
void ctl_print_json(struct json_object *o);

/* Members of an object; NULL and false where they are absent, null or of another type. */
const char *ctl_text(struct json_object *o, const char *key);
bool ctl_flag(struct json_object *o, const char *key);
bool ctl_number(struct json_object *o, const char *key, int64_t *ret);
struct json_object *ctl_member(struct json_object *o, const char *key, enum json_type type);

const char *ctl_dataset_name(struct json_object *dataset); /* or NULL */

/* Escape sequences around a state of this name, "" without colour. */
const char *ctl_colour_of(const struct ctl *c, const char *state);
const char *ctl_colour_off(const struct ctl *c);

/* Milliseconds since the epoch from a number of seconds or an RFC 3339 text in UTC; -EINVAL. */
int ctl_time(struct json_object *value, int64_t *ret_ms);

/* "2026-01-31 12:34:56.789 UTC", or the text as it is; "-" for nothing. */
void ctl_format_moment(struct json_object *value, char *buf, size_t size);

/* The sentence that the table of ctl_list.c and the lines of --watch have for a dataset's state. */
const char *ctl_status_word(struct json_object *dataset);

enum ctl_until {
	UNTIL_MOUNTED,	 /* on the node @target */
	UNTIL_DELETED,	 /* destroyed, or kept for a while and with no node */
	UNTIL_UNPLACED,	 /* no node has it */
	UNTIL_GROWN,	 /* to @size */
};

/* What --wait looks at; filled before the change is asked for. */
struct ctl_wait {
	enum ctl_until until;
	const char *dataset_id;
	const char *target; /* UUID of a node */
	int64_t size;
	char *last_step; /* of the history, already there before the change; or NULL */
	char *last_state;
};

/* Remembers how far the dataset has come, so that only what follows is printed. */
int ctl_wait_mark(struct ctl *c, struct ctl_wait *w);

/**
 * ctl_wait_run() - follow the dataset until it is as wished, printing its steps
 * @ret: the dataset at the end, counted; set also on CTL_TIMEOUT, may be NULL
 */
int ctl_wait_run(struct ctl *c, struct ctl_wait *w, struct json_object **ret);

/**
 * ctl_wait_settled() - let the server say when a dataset is as wished, or in a state
 * @until: "settled" or a state
 * @deadline_ms: of ctl_now_ms(); UINT64_MAX: none
 * @ret: the dataset as it was last seen, counted; may be NULL
 *
 * Returns: CTL_OK; CTL_TIMEOUT, which is not told; others.
 */
int ctl_wait_settled(struct ctl *c, const char *dataset_id, const char *until, uint64_t deadline_ms,
	struct json_object **ret);

void ctl_wait_done(struct ctl_wait *w);

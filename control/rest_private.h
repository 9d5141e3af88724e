/* SPDX-License-Identifier: Apache-2.0 */
/* rest_private.h - what the files of the REST API share: one request, its routes, its answers. */
#pragma once

#include "audit.h"
#include "http.h"
#include "jsonin.h"
#include "jsonout.h"
#include "metrics.h"
#include "rest.h"
#include "rest_view.h"
#include "schema.h"

#define REST_PARAMETERS_MAX 8
#define REST_ETAG_BYTES 16
#define REST_ETAG_SIZE (sizeof("W/\"\"") + (size_t)2 * REST_ETAG_BYTES)

struct rest_parameter {
	char *name, *value; /* decoded */
};

struct rest_request {
	struct rest *rest;
	struct rest_request *prev, *next;
	struct http_request *http;
	char *param;		  /* the path's "*", decoded; or NULL */
	struct rest_parameter query[REST_PARAMETERS_MAX]; /* of v2's routes */
	size_t n_query;
	struct json_object *body; /* of a route that reads one */
	struct http_peer peer;	  /* stays when the connection ends */
	char id[REQUEST_ID_SIZE]; /* the client's, or one of ours */
	char etag[REST_ETAG_SIZE]; /* of the answer; "": of its bytes */
	const char *code;	  /* of v2's error; NULL: what goes with the status */
	struct assign_pin_view released; /* what a lease was before it was released */
	uint64_t begun_us;	  /* when it was here whole */
	bool deciding;		  /* it is not known yet whether what it asks for is durable */
	struct {		  /* for the log, of a request that may change something */
		struct id128 dataset, node; /* or nil */
		char words[AUDIT_CHANGE_MAX];
	} audit;
};

enum rest_flags {
	REST_READS_BODY = 1 << 0,  /* JSON; else what is sent is ignored */
	REST_CONDITIONAL = 1 << 1, /* honours X-If-Configuration-Matches */
	REST_REFUSES = 1 << 2,	   /* is there to say why it is refused; not in Allow, which is sent with it */
};

struct rest_route {
	unsigned int methods; /* of enum evhttp_cmd_type */
	const char *path; /* one "*" stands for one segment */
	void (*handle)(struct rest_request *q);
	unsigned int flags;
	const char *query; /* names of v2's parameters, a blank between two; NULL: none */
};

/* Of an outcome of assign, in the words of the API. */
struct rest_outcome {
	int err; /* negative errno */
	int status;
	const char *description;
};

/* Each ends with a NULL path. */
/* Sent by a browser for a page that is not ours: see rest_origin.c. */
bool rest_is_cross_site(const struct http_head *head);

extern const struct rest_route rest_v1_routes[], rest_lease_routes[], rest_asset_routes[], rest_dataset_routes[],
	rest_node_routes[], rest_v2_lease_routes[], rest_backend_routes[], rest_event_routes[],
	rest_health_routes[];

struct rest_watch;

struct cluster *rest_cluster(const struct rest_request *q);
struct view_source rest_source(const struct rest_request *q); /* as things are now */
struct failover rest_failover(const struct rest_request *q); /* of datasets that do not choose one */
uint64_t rest_undelete_s(const struct rest_request *q); /* how long what is deleted is kept, if nobody says */

SSL_CTX *rest_tls(const struct rest_request *q);
const struct metrics_requests *rest_requests(const struct rest_request *q); /* answered so far */
bool rest_stopping(const struct rest_request *q);

void rest_add_header(struct rest_request *q, const char *name, const char *value); /* of the answer */

/* Each request is ended by exactly one of these, maybe later; @q is gone afterwards. */
void rest_reply(struct rest_request *q, int status, struct jsonout *o);
void rest_reply_error(struct rest_request *q, int status, const char *fmt, ...) _printf_(3, 4);
void rest_reply_errors(struct rest_request *q, int status, const char *description,
	char *const *errors, size_t n);

/* Errors of v2 by what went wrong; v1's have no code. Words and statuses are in rest_code.c. */
enum rest_code {
	REST_BAD_REQUEST,
	REST_BAD_BODY,
	REST_CROSS_SITE,
	REST_NOT_FOUND,
	REST_NAME_IN_USE,
	REST_EXISTS,
	REST_DELETED,
	REST_NOT_DELETED,
	REST_LEASED,
	REST_NO_NODE,
	REST_NODE_DRAINING,
	REST_NODE_ANSWERS,
	REST_SHRINK,
	REST_REVISION_GONE,
	REST_IDEMPOTENCY_KEY,
	REST_OLD_STORE,
	REST_STOPPING,
	REST_TOO_MANY_WATCHERS,
	REST_CODE_MAX,
};

int rest_code_status(enum rest_code code);
const char *rest_code_word(enum rest_code code);
const char *rest_code_of_status(int status); /* the word of an error that needs no other */

/* As rest_reply_error(), of v2. */
void rest_refuse(struct rest_request *q, enum rest_code code, const char *fmt, ...) _printf_(3, 4);

/* As it is. @type: NULL when there is no body. @data: of malloc(), taken over; NULL when there is none. */
void rest_reply_bytes(struct rest_request *q, int status, const char *type, char *data, size_t size);

/* The answer's tag is to be weak, and of @steady: of what does not change by itself. Before rest_reply(). */
void rest_tag_weakly(struct rest_request *q, const struct jsonout *steady);

/* A list, but for the present revision, of which its tag is not: it changes whatever is listed. */
void rest_reply_list(struct rest_request *q, struct jsonout *o);

/* The client has a copy of what this quoted tag is of (If-None-Match): 304 says enough. */
bool rest_has_etag(const struct rest_request *q, const char *etag);

/* What a reader of a body said: -EINVAL with @e, or -ENOMEM. Ends @e. */
void rest_reply_schema(struct rest_request *q, int r, struct schema_errors *e);

/**
 * rest_write() - decide on @ev and answer when it is durable
 * @id: what @answer writes about
 * @outcomes: ends with a row whose err is 0
 */
void rest_write(struct rest_request *q, struct assign_event *ev, struct id128 id, int status,
	const struct rest_outcome *outcomes,
	void (*answer)(struct rest_request *q, struct id128 id, struct jsonout *o));

/* ---- rest_query.c ---- */

/* False: it was answered. @names: as of struct rest_route. */
bool rest_read_query(struct rest_request *q, const char *names);
void rest_query_done(struct rest_request *q);

const char *rest_query(const struct rest_request *q, const char *name); /* NULL: not given */

/* These add a sentence to @e for what is wrong; false: not given, or wrong. */
bool rest_query_id(const struct rest_request *q, const char *name, struct id128 *ret, struct schema_errors *e);
bool rest_query_number(const struct rest_request *q, const char *name, uint64_t min, uint64_t max, uint64_t *ret,
	struct schema_errors *e);
bool rest_query_flag(const struct rest_request *q, const char *name, struct schema_errors *e); /* its value */

/* False: it was answered with what is wrong. Ends @e. */
bool rest_query_good(struct rest_request *q, struct schema_errors *e);

/* ---- who watches ---- */

struct rest_watch *rest_watch_of(const struct rest_request *q);
void rest_add_revision(const struct rest_request *q, struct jsonout *o); /* "revision": the present one */
void rest_refuse_watcher(struct rest_request *q); /* there are too many */
void rest_refuse_stopping(struct rest_request *q); /* nobody would end what is begun now */

/* Ends the request, but for its connection, whose answer is only about to begin. */
struct http_request *rest_detach(struct rest_request *q);

/* True: the query asks to wait for the dataset, and it will be answered; or it was, with what is wrong. */
bool rest_wait_dataset(struct rest_request *q, struct id128 id);

/* What the write is about to change, for the log: where a record does not tell it. */
void rest_audit(struct rest_request *q, const char *fmt, ...) _printf_(2, 3);

/* The node's last word is too old to be told as the state of things. */
bool rest_is_stale(const struct rest_request *q, const struct assign_node_view *n);

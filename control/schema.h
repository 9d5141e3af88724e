/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h - what bodies of REST requests may say. Each reader looks at the whole body and collects
 * a sentence for every violation: a JSON pointer to the place, and what would be right. Pure.
 */
#pragma once

#include <json-c/json.h>

#include "record.h"

#define SCHEMA_ERRORS_MAX 32
#define SCHEMA_TEXT_MAX 256 /* code points of a metadata key or value */
#define SCHEMA_FILESYSTEM_KEY "flocker:filesystem"
#define SCHEMA_FAILOVER_KEY "flocker:failover"
#define SCHEMA_TERM_KEY "flocker:term" /* in seconds */
#define SCHEMA_TERM_MIN_S 2
#define SCHEMA_TERM_MAX_S 86400

struct schema_errors {
	char *list[SCHEMA_ERRORS_MAX];
	size_t n;
};

void schema_errors_done(struct schema_errors *e);

struct dataset_create {
	struct id128 primary;
	struct id128 dataset_id;      /* nil: not given */
	uint64_t maximum_size;	      /* bytes; 0: not given */
	struct json_object *metadata; /* counted; never NULL in a valid one */
	enum fs_kind filesystem;
	struct failover failover;
};

void dataset_create_done(struct dataset_create *d);

/**
 * schema_dataset_create() - the body of POST configuration/datasets
 * @filesystem: when the metadata names none; the node that makes it may then choose another
 * @failover: when the metadata names none; and its term when they name a lease without one
 * @ret: set on success only
 * @errors: empty before; holds at least one sentence on -EINVAL
 *
 * Returns: 0, -EINVAL or -ENOMEM.
 */
int schema_dataset_create(struct json_object *body, enum fs_kind filesystem, struct failover failover,
	struct dataset_create *ret, struct schema_errors *errors);

/**
 * schema_lease() - the body of POST configuration/leases
 * @ret_endless, @ret_seconds: "expires"; of an endless one @ret_seconds is 0
 * Returns as above.
 */
int schema_lease(struct json_object *body, struct id128 *ret_dataset, struct id128 *ret_node, bool *ret_endless,
	double *ret_seconds, struct schema_errors *errors);

/* The body of POST configuration/datasets/<id>; @ret_primary is nil when not given. As above. */
int schema_dataset_update(struct json_object *body, struct id128 *ret_primary,
	struct schema_errors *errors);

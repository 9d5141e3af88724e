/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema_v2.h - what bodies of REST v2 may say, read as schema.h does it. Pure.
 *
 * Name, filesystem and the nodes of a failover are kept among the metadata (so that v1's clients see
 * them), but said as members of their own; "name" may be said in either way, though not in both.
 */
#pragma once

#include "schema.h"

#define SCHEMA_NAME_MAX 256	   /* code points */
#define SCHEMA_LEASE_MAX_S 3153600000LL /* a hundred years */
#define SCHEMA_UNDELETE_MAX_S UINT64_C(315360000) /* ten years */

struct create_v2 {
	struct json_object *metadata; /* with all that is kept there; counted */
	uint64_t size_bytes;	      /* 0: not given */
	enum fs_kind filesystem;
	struct failover failover;
	bool place;		      /* control chooses the node; else @node, nil: none */
	struct id128 node, dataset_id; /* nil: not given */
};

void create_v2_done(struct create_v2 *c);

/**
 * schema_create_v2() - the body of POST /v2/datasets
 * @failover: what stands for what is not given
 * @ret: set on success only; end it with create_v2_done()
 * @e: empty before; holds at least one sentence on -EINVAL
 *
 * Returns: 0, -EINVAL or -ENOMEM.
 */
int schema_create_v2(struct json_object *body, struct failover failover, struct create_v2 *ret,
	struct schema_errors *e);

struct patch_v2 {
	struct json_object *metadata; /* null removes a key; with all that is kept there; counted; NULL: nothing */
	bool has_node, has_size, has_failover;
	struct id128 node;	      /* nil: none */
	uint64_t size_bytes;
	struct failover failover;
};

void patch_v2_done(struct patch_v2 *p);

/**
 * schema_patch_v2() - the body of PATCH /v2/datasets/<id>; as above
 * @failover: what it is now, which stands for what is not given
 */
int schema_patch_v2(struct json_object *body, struct failover failover, struct patch_v2 *ret,
	struct schema_errors *e);

/* The body of PUT /v2/leases/<dataset_id>. @ret_seconds: 0 when endless. As above. */
int schema_lease_v2(struct json_object *body, struct id128 *ret_node, uint64_t *ret_seconds,
	struct schema_errors *e);

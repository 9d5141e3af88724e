/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalog.h - the cluster's named datasets and its nodes, as control told of them last. Pure; every answer
 * is from memory.
 *
 * Names may repeat in REST v1: then the oldest dataset has it here. Datasets without a name, and deleted
 * ones, are not in it, unless catalog_keep_all() says so.
 */
#pragma once

#include <json-c/json.h>

#include "types.h"

#define CATALOG_ON_REMOVE_KEY "flocker:on-remove"
#define CATALOG_USED_BY_KEY "flocker:used-by"
#define CATALOG_NOMAD_VOLUME_KEY "flocker:nomad-volume"
#define CATALOG_NOMAD_NAME_KEY "flocker:nomad-name"
#define CATALOG_PROFILE_KEY "clusterhq:flocker:profile"

struct catalog;

/* Texts are of the catalog, until the dataset is told of again. */
struct volume {
	struct id128 id;
	char *name;
	char *state;	  /* of enum ds_state */
	char *why;
	char *created_at; /* RFC 3339 */
	char *mountpoint; /* on its owner; NULL: not mounted */
	char *device;	  /* there; NULL: none */
	char *last_error; /* "step: message; holder, ..."; NULL: none */
	char *filesystem, *failover; /* words */
	char *profile;	  /* NULL: none */
	char *used_by;	  /* names of containers, or "unit NAME", where its lease is; NULL: none is known */
	char *nomad_volume, *nomad_name; /* the volume of Nomad that it is: its id, "NAMESPACE/NAME"; NULL: none */
	bool delete_on_remove;
	bool deleted;
	struct id128 node;   /* where it is wanted; nil: nowhere */
	struct id128 owner;  /* nil: nobody */
	struct id128 leased; /* the node that its lease is for; nil: there is none */
	uint64_t size_bytes;
	uint64_t volume_bytes; /* smaller while it grows; 0: not known */
	uint64_t term_ms; /* of the failover "lease"; 0: there is none */
	struct json_object *used, *available; /* numbers or NULL */
	struct volume *next; /* of the same name, younger */
	struct volume *doomed; /* private to catalog_end() */
	bool stale; /* not told of since catalog_begin() */
};

int catalog_new(struct catalog **ret); /* 0 or -ENOMEM */
struct catalog *catalog_free(struct catalog *c);
DEFINE_CLEANUP(struct catalog *, catalog_free);

/* From now on also what has no name, whose name is then its id, and what is deleted, behind all
 * others of its name. */
void catalog_keep_all(struct catalog *c);

/**
 * catalog_put() - a dataset object of REST v2
 * @ret_id: set on success
 *
 * Returns: 0, also for one that does not belong here; -EBADMSG for what is no such object; -ENOMEM.
 */
int catalog_put(struct catalog *c, struct json_object *dataset, struct id128 *ret_id);
int catalog_put_node(struct catalog *c, struct json_object *node);

void catalog_drop(struct catalog *c, struct id128 id);
void catalog_drop_node(struct catalog *c, struct id128 uuid);

/* A whole list is told from here on; at its end what was not in it is dropped. */
void catalog_begin(struct catalog *c);
void catalog_end(struct catalog *c);

/* NULL when there is none. */
const struct volume *catalog_by_name(const struct catalog *c, const char *name);
const struct volume *catalog_by_id(const struct catalog *c, struct id128 id);

/* By name. Those that another, older one hides are left out. */
void catalog_each(const struct catalog *c, void (*fn)(const struct volume *v, void *userdata), void *userdata);

/* "node 1b4e28ba... (192.0.2.7)", for people. */
#define CATALOG_NODE_SIZE 160
const char *catalog_node_text(const struct catalog *c, struct id128 uuid, char buf[CATALOG_NODE_SIZE]);

/**
 * catalog_find_node() - the node that @text means: its host, or the beginning of its UUID
 * Returns: 0, -ENOENT or -ENOTUNIQ.
 */
int catalog_find_node(const struct catalog *c, const char *text, struct id128 *ret);

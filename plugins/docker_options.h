/* SPDX-License-Identifier: Apache-2.0 */
/* docker_options.h - what `docker volume create -o KEY=VALUE` may say, and what comes of it. Pure. */
#pragma once

#include "catalog.h"
#include "docker_proto.h"

struct docker_options {
	uint64_t size_bytes; /* 0: not said */
	int filesystem, failover; /* of the enums of types.h; -1: not said */
	const char *profile;	  /* borrowed from what was read; NULL: not said */
	const char *node;	  /* as it was said, not looked up; NULL: not said */
	int delete_on_remove;	  /* -1: not said */
};

/**
 * docker_options_read() - the options of a Create
 * @o: an object of strings, or NULL
 * @error: set on -EINVAL: a sentence that says what would be right
 *
 * Returns: 0 or -EINVAL.
 */
int docker_options_read(struct json_object *o, struct docker_options *ret, char error[DOCKER_ERROR_MAX]);

/* Nothing is said. */
#define DOCKER_OPTIONS_NONE ((struct docker_options){ .filesystem = -1, .failover = -1, .delete_on_remove = -1 })

/* One of them. 0; -EINVAL with @error, as above; -ENOENT when there is no such option. */
int docker_options_take(struct docker_options *o, const char *key, const char *text,
	char error[DOCKER_ERROR_MAX]);

/**
 * docker_options_differ() - does a volume that is there differ from what was said?
 * @error: set when it does: what is different
 *
 * What was not said is not compared, and neither is the node: volumes move.
 */
bool docker_options_differ(const struct docker_options *o, const struct volume *v, char error[DOCKER_ERROR_MAX]);

/* The body of POST /v2/datasets; @node nil: placed nowhere. NULL when there is no memory. */
struct json_object *docker_options_body(const struct docker_options *o, const char *name, struct id128 node);

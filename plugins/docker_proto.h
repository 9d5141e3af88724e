/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker_proto.h - Docker's volume plugin protocol: requests and answers as text. Pure.
 *
 * An answer that is an error has another status than 200, and its text in "Err": dockerd understands any
 * such answer, podman looks at "Err" only then.
 */
#pragma once

#include <json-c/json.h>

#include "macro.h"

#define DOCKER_CONTENT_TYPE "application/vnd.docker.plugins.v1.1+json"
#define DOCKER_NAME_MAX 255 /* letters of a volume's name: it is one file name to some engines */
#define DOCKER_ERROR_MAX 1024

enum docker_call {
	DOCKER_ACTIVATE,
	DOCKER_CREATE,
	DOCKER_REMOVE,
	DOCKER_MOUNT,
	DOCKER_UNMOUNT,
	DOCKER_PATH,
	DOCKER_GET,
	DOCKER_LIST,
	DOCKER_CAPABILITIES,
	DOCKER_CALL_MAX,
};

struct docker_request {
	enum docker_call call;
	struct json_object *body; /* counted; what follows lies in it; NULL when there is none */
	const char *name;	  /* of the calls that have one: a valid name */
	const char *id;		  /* of a mount; "" when the engine sends none */
	struct json_object *options; /* of a Create; NULL: none */
};

/**
 * docker_request_read() - what is asked
 * @path: of the request, without a query
 * @body: @size bytes. Where a name is needed an empty one is an error: a client whose connection broke
 *   sends the request again without what it said.
 * @ret: set on success only; ended with docker_request_done()
 * @error: set on -EBADMSG and -ENOENT, a sentence
 *
 * Returns: 0; -ENOENT for a path that is no call; -EBADMSG; -ENOMEM.
 */
int docker_request_read(const char *path, const char *body, size_t size, struct docker_request *ret,
	char error[DOCKER_ERROR_MAX]);
void docker_request_done(struct docker_request *q);

/* Letters, digits and "_.-", the first a letter or digit; no more than DOCKER_NAME_MAX. */
bool docker_name_valid(const char *name);

const char *docker_call_name(enum docker_call call); /* "VolumeDriver.Mount" */

/* Answers; each is NULL when there is no memory, else newly allocated. */
char *docker_error(const char *text);
char *docker_done(void);
char *docker_activated(void);
char *docker_capabilities(void);
char *docker_mountpoint(const char *path); /* of Mount and Path; "": not mounted here */

/* A volume as Get and List have it. */
struct docker_volume {
	const char *name;
	const char *mountpoint; /* "": not mounted here */
	const char *created_at; /* RFC 3339; NULL: leave it out */
	struct json_object *status; /* any object; NULL: none; borrowed */
};

char *docker_got(const struct docker_volume *v);

/* A list: begun, each volume added, and ended. */
struct json_object *docker_list_begin(void);
int docker_list_add(struct json_object *list, const struct docker_volume *v); /* 0 or -ENOMEM */
char *docker_list_end(struct json_object *list); /* frees it; NULL in, NULL out */

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nomad_request.h - what Nomad asks of a plugin for dynamic host volumes. Pure, but for reading the
 * environment.
 *
 * The contract is "Create a host volume plugin" of Nomad 1.10, sections Specification and
 * Considerations (https://developer.hashicorp.com/nomad/plugins/author/host-volume): the operation
 * is the first argument, all else is in DHV_* variables and there are no others; capacities are 0
 * when not given; DHV_PARAMETERS is a JSON object of texts, or "null". Names and parameters come
 * from whoever may create volumes, so they are checked here.
 */
#pragma once

#include "docker_options.h"

#define NOMAD_ERROR_MAX DOCKER_ERROR_MAX

enum nomad_operation {
	NOMAD_FINGERPRINT,
	NOMAD_CREATE,
	NOMAD_DELETE,
};

struct nomad_request {
	enum nomad_operation operation;
	struct id128 id;	/* of the volume, by Nomad */
	const char *name;	/* of the volume; "" in a delete of what Nomad could not write down. Borrowed */
	const char *space;	/* its namespace; as @name */
	uint64_t min_bytes, max_bytes; /* 0: not said */
	struct json_object *parameters;
	/* Of the parameters; borrowed from them. */
	struct docker_options options; /* filesystem, failover, profile, on_remove */
	const char *dataset;	       /* its name or UUID; NULL: not said */
	int64_t uid, gid, mode;	       /* -1: not said */
};

/**
 * nomad_request_read() - the operation, and for all but fingerprint the environment
 * @error: set on -EINVAL: a sentence
 *
 * Returns: 0 or -EINVAL. nomad_request_done() is right after either.
 */
int nomad_request_read(const char *operation, struct nomad_request *ret,
	char error[NOMAD_ERROR_MAX]);
void nomad_request_done(struct nomad_request *q);

/* DHV_PARAMETERS; NULL: there are none. Into what is zero. As above. */
int nomad_parameters_read(const char *text, struct nomad_request *ret, char error[NOMAD_ERROR_MAX]);

/**
 * nomad_dataset_name() - the name of the dataset that is meant, if not by its UUID
 *
 * Names of datasets are of the whole cluster, and those of volumes of a namespace: but for
 * "default" it stands before the name, with a dot. Returns: newly allocated; NULL when there is no
 * memory.
 */
char *nomad_dataset_name(const struct nomad_request *q);

#define NOMAD_NAME_MAX 256

/* "NAMESPACE/NAME", as it is written to the dataset: cut where that is too long. */
void nomad_full_name(const struct nomad_request *q, char buf[NOMAD_NAME_MAX + 1]);

#define NOMAD_USER "Nomad volume "
/* That and NAME: who uses the dataset, for people elsewhere; as above. */
void nomad_user_text(const struct nomad_request *q, char buf[NOMAD_NAME_MAX + 1]);

/* The size that a dataset is made with, in bytes and as control takes it; 0: as control chooses. */
uint64_t nomad_size(const struct nomad_request *q);

/* Of what Nomad hears as the volume's size: no more than it asked for, when that was no multiple of
 * 1024. */
uint64_t nomad_size_told(const struct nomad_request *q, uint64_t size_bytes);

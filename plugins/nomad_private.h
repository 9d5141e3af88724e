/* SPDX-License-Identifier: Apache-2.0 */
/* nomad_private.h - what the files behind nomad_volume.h share. */
#pragma once

#include "ask.h"
#include "catalog.h"
#include "mounted.h"
#include "nomad_volume.h"
#include "users.h"

#define NOMAD_WHO "nomad-" /* and the volume's id: a user of the lease; see users.h */

struct nomad {
	const struct nomad_config *c;
	const struct nomad_request *q;
	char *error; /* of NOMAD_ERROR_MAX bytes */
	struct event_base *base;
	struct ask *ask;
	struct catalog *catalog;
	struct mounted *mounted;
	char who[sizeof(NOMAD_WHO) + ID128_TEXT];
	bool unanswered; /* the last request, by control being away or in trouble */
};

int nomad_open(struct nomad *n, const struct nomad_config *c, const struct nomad_request *q,
	char *error);
void nomad_close(struct nomad *n);

/* Sets the error, and returns -@err. */
int nomad_fail(struct nomad *n, int err, const char *fmt, ...) _printf_(3, 4);

/* One request; what answers is put into the catalog. 0 for a status below 300, and for @other; else
 * said. */
int nomad_ask(struct nomad *n, const char *method, const char *path, struct json_object *body,
	int other);

/* As control has last told of it; NULL when there is none any more. */
const struct volume *nomad_known(const struct nomad *n, struct id128 id);

/* The dataset as control has it now. 0, and NULL when there is none any more; or negative errno,
 * said. */
int nomad_get(struct nomad *n, struct id128 id, const struct volume **ret);

/* The one that the request means, as above. */
int nomad_find(struct nomad *n, const struct volume **ret);

/* The dataset that was this volume of Nomad and was destroyed, of all that control remembers; nil: there is none.
 * @ret_leased: for which node its lease is, which keeps the destruction waiting. As above. */
int nomad_find_destroyed(struct nomad *n, const char *volume, struct id128 *ret,
	struct id128 *ret_leased);

/* PATCH of where it is to be; NULL: nowhere. Also the volume of Nomad that it is, if @q creates
 * one. As above. */
int nomad_wish(struct nomad *n, struct id128 id, const struct id128 *node, uint64_t size_bytes,
	const struct volume **ret);

/* It is no volume of Nomad's any more. As above. */
int nomad_forget(struct nomad *n, struct id128 id);

int nomad_lease(struct nomad *n, const struct volume *v);
int nomad_unlease(struct nomad *n, struct id128 id); /* also when there is none, or another node has it */

/* Until the limit, while another program of this node is just leaving. */
bool nomad_may_wait(struct nomad *n, int r);

/* Another node than ours has it in use: said, and negative errno. */
int nomad_refuse_used(struct nomad *n, const struct volume *v);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * claim.h - how a dataset comes to a node for somebody there: what control is asked for, and what
 * is told of the answers. Each request may be repeated, which changes nothing.
 *
 *   lease (one node has it at a time) -> wish -> the node mounts it -> ... -> release
 */
#pragma once

#include "catalog.h"
#include "link.h"

/* Requests: as link_call(). */
int claim_lease(struct link *l, struct id128 dataset, struct id128 node, link_done_fn fn,
	void *userdata);
int claim_wish(struct link *l, struct id128 dataset, struct id128 node, link_done_fn fn,
	void *userdata);
int claim_release(struct link *l, struct id128 dataset, struct id128 node, link_done_fn fn,
	void *userdata);

/* By what was answered to claim_release() @node has no lease of it any more, maybe since long. */
bool claim_is_released(const struct link_answer *a);

/* Tells others who uses the dataset (CATALOG_USED_BY_KEY); "": nobody is known. */
int claim_note_user(struct link *l, struct id128 dataset, const char *text, link_done_fn fn,
	void *userdata);

/* It will not be mounted on @node before a person has seen to it. */
bool claim_is_hopeless(const struct volume *v, struct id128 node);

/* What it waits for, for people. */
void claim_describe(const struct catalog *c, const struct volume *v, char *buf, size_t size);

/* Who has it in use, when that is another node than @node; "" when nobody is known. */
void claim_user_text(const struct catalog *c, const struct volume *v, struct id128 node, char *buf,
	size_t size);

/* Of the dataset's own root directory, which is at @path; -1 leaves each as it is. 0 or negative
 * errno. */
int claim_set_owner(const char *path, uid_t owner, gid_t group, mode_t mode);

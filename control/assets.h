/* SPDX-License-Identifier: Apache-2.0 */
/*
 * assets.h - files that are part of the program: the description of the API and the web page. The table
 * is made by assets.py when building, from the list in meson.build. Pure.
 */
#pragma once

#include <stddef.h>

struct asset {
	const char *path; /* as it is asked for */
	const char *type; /* for Content-Type */
	const char *etag; /* quoted; of the bytes, so it is the same on every server of one version */
	const char *data; /* of @size bytes; a NUL that does not count follows */
	size_t size;
};

extern const struct asset assets[]; /* ends with a NULL path */

/* NULL when there is none. */
const struct asset *asset_find(const char *path);

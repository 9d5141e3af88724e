/* SPDX-License-Identifier: Apache-2.0 */
#include "assets.h"
#include "macro.h"

const struct asset *asset_find(const char *path)
{
	for (const struct asset *a = assets; a->path; a++)
		if (STREQ(a->path, path))
			return a;
	return NULL;
}

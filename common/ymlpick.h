/* SPDX-License-Identifier: Apache-2.0 */
/* ymlpick.h - one text out of a YAML file that another program owns, whatever else is in it. */
#pragma once

#include "macro.h"

/**
 * ymlpick() - the text at one place of a file
 * @where: keys from the top with '/' between them; of a list, the number of the item, from 0
 * @ret: allocated; NULL when the file has nothing there, or no text
 *
 * Returns: 0, errno of opening and reading (-ENOENT: no such file), -EFBIG beyond 1 MiB, -EBADMSG
 * when it is no YAML, or -ENOMEM.
 */
int ymlpick(const char *path, const char *where, char **ret);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ymlmask.h - a configuration as it may be shown to others: of a YAML file only the values of keys that are known
 * to hold no secret, without comments. Of all other keys it shows that they are there.
 */
#pragma once

#include "macro.h"

#define YMLMASK_HIDDEN "(left out)"

/**
 * ymlmask() - read @path, write to @out what may be seen of it
 *
 * Returns: 0, errno of opening it, -EBADMSG when it is no YAML, -EFBIG beyond 1 MiB, -ENOMEM. Then @out has
 * a part of it perhaps, which may be seen as well.
 */
int ymlmask(const char *path, FILE *out);

/* SPDX-License-Identifier: Apache-2.0 */
/* jsonput.h - making JSON objects member by member. No I/O. */
#pragma once

#include <json-c/json.h>

#include "macro.h"

/* Takes @value over, also when it fails. 0, or -ENOMEM, for which a NULL @o or @value stands: they failed before. */
static inline int json_put_member(struct json_object *o, const char *key, struct json_object *value)
{
	if (o && value && json_object_object_add(o, key, value) == 0)
		return 0;
	json_object_put(value);
	return -ENOMEM;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include "loopback.h"

static const struct driver_ops *const drivers[] = {
	&loopback_ops,
};

const struct driver_ops *driver_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		if (STREQ(drivers[i]->name, name))
			return drivers[i];
	return NULL;
}

const char *driver_names(void)
{
	return "loopback"; /* in the order of the table above */
}

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

char *driver_capabilities(const struct driver_ops *ops, const struct driver_desc *desc, char *buf, size_t size)
{
	const struct {
		const char *word;
		bool has;
	} all[] = {
		{ "take", ops->take },
		{ "cut", ops->cut },
		{ "failover", ops->cut && ops->fence },
		{ "discard", desc->discards },
		{ "grow", ops->expand },
	};
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].has && used + strlen(all[i].word) + 2 <= size)
			used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? " " : "", all[i].word);
	return buf;
}

const char *driver_names(void)
{
	return "loopback"; /* in the order of the table above */
}

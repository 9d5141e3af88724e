/* SPDX-License-Identifier: Apache-2.0 */
#include "failover_to.h"

/* The next of a list. 0 or -EINVAL. */
static int next_id(const char **text, struct id128 *ret_id)
{
	char one[ID128_TEXT] = "";
	size_t n = strcspn(*text, " ");

	if (n == 0 || n >= sizeof(one))
		return -EINVAL;
	memcpy(one, *text, n);
	*text += n;
	if (**text == ' ' && !*++*text)
		return -EINVAL; /* a space ends it */
	return id128_parse(one, ret_id);
}

int failover_to_check(const char *text)
{
	struct id128 id;

	if (STREQ(text, FAILOVER_TO_ANY))
		return 0;
	do {
		if (next_id(&text, &id) < 0)
			return -EINVAL;
	} while (*text);
	return 0;
}

bool failover_to_names(const char *text, struct id128 node)
{
	struct id128 id;

	if (STREQ(text, FAILOVER_TO_ANY))
		return true;
	while (*text && next_id(&text, &id) == 0)
		if (id128_equal(id, node))
			return true;
	return false;
}

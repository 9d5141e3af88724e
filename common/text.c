/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

int text_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t v;

	if (!*text || text[strspn(text, "0123456789")] != '\0')
		return -EINVAL;
	errno = 0;
	v = strtoull(text, NULL, 10);
	if (errno || v < min || v > max)
		return -EINVAL;
	*ret = v;
	return 0;
}

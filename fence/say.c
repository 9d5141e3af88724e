/* SPDX-License-Identifier: Apache-2.0 */
#include "say.h"

#include <poll.h>
#include <stdarg.h>

void fence_say(int level, const struct id128 *dataset, int err, const char *fmt, ...)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	char text[256], line[400];
	va_list ap;
	int n;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n = snprintf(line, sizeof(line), "<%d>flocker-fence: %s%s%s%s%s%s\n", level,
		dataset ? "dataset " : "", dataset ? ID128_STR(*dataset) : "", dataset ? ": " : "",
		text, err ? ": " : "", err ? strerrordesc_np(abs(err)) : "");
	if (n <= 0 || poll(&p, 1, 0) <= 0 || !(p.revents & POLLOUT))
		return;
	if (write(STDERR_FILENO, line, MIN((size_t)n, sizeof(line) - 1)) < 0)
		return;
}

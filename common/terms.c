/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>

#include "terms.h"
#include "text.h"

/* Always of one length, and written as one piece. */
int terms_write(const char *path, const struct terms *t)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0640);
	char line[64];
	int n = snprintf(line, sizeof(line), "%020" PRIu64 " %020" PRIu64 "\n", t->renewed_ms, t->term_ms);

	if (fd < 0)
		return -errno;
	return write(fd, line, (size_t)n) == n ? 0 : -EIO;
}

int terms_read(const char *path, struct terms *ret)
{
	struct terms t;
	char line[64];
	int r = text_read_line(AT_FDCWD, path, line, sizeof(line));

	if (r < 0)
		return r;
	if (strlen(line) != 41 ||
		sscanf(line, "%" SCNu64 " %" SCNu64, &t.renewed_ms, &t.term_ms) != 2)
		return -EBADMSG;
	*ret = t;
	return 0;
}

uint64_t terms_left(const struct terms *t, uint64_t term_ms, uint64_t known_ms, uint64_t now_ms)
{
	uint64_t end = MAX(t->renewed_ms, known_ms) + MAX(t->term_ms, term_ms) / 2;

	return end > now_ms ? end - now_ms : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <zlib.h>

#include "tarfile.h"

#define BLOCK 512

struct tarfile {
	gzFile gz;
	int fd; /* of the same file, for fsync */
	int64_t time_s;
};

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type;
	char link[100], magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};
static_assert(sizeof(struct header) == BLOCK, "a header is one block");

int tarfile_new(int fd, int64_t time_s, struct tarfile **ret)
{
	_cleanup_close_ int ours = fd;
	struct tarfile *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->time_s = time_s;
	t->fd = dup(ours);
	t->gz = t->fd >= 0 ? gzdopen(ours, "wb6") : NULL;
	if (!t->gz) {
		close_keep_errno(t->fd);
		free(t);
		return -ENOMEM;
	}
	(void)TAKE_FD(ours);
	*ret = t;
	return 0;
}

struct tarfile *tarfile_free(struct tarfile *t)
{
	if (!t)
		return NULL;
	gzclose(t->gz);
	close(t->fd);
	free(t);
	return NULL;
}

static int put(struct tarfile *t, const void *data, size_t size)
{
	int kind;

	if (size == 0 || gzfwrite(data, size, 1, t->gz) == 1)
		return 0;
	(void)gzerror(t->gz, &kind);
	return kind == Z_ERRNO && errno ? -errno : -EIO;
}

/* The sum of the header's bytes, its own field as blanks. */
static void seal(struct header *h)
{
	const unsigned char *bytes = (const unsigned char *)h;
	unsigned int sum = 0;

	memset(h->checksum, ' ', sizeof(h->checksum));
	for (size_t i = 0; i < sizeof(*h); i++)
		sum += bytes[i];
	snprintf(h->checksum, sizeof(h->checksum), "%06o", sum & 0777777);
}

int tarfile_add(struct tarfile *t, const char *name, const void *data, size_t size)
{
	static const char zeros[BLOCK];
	struct header h = { .type = '0', .magic = "ustar", .version = { '0', '0' } };
	int r;

	if (strlen(name) > TARFILE_NAME_MAX || (uint64_t)size > UINT64_C(077777777777))
		return -EINVAL;
	strcpy(h.name, name);
	strcpy(h.mode, "0000600");
	strcpy(h.uid, "0000000");
	strcpy(h.gid, "0000000");
	snprintf(h.size, sizeof(h.size), "%011llo", (unsigned long long)size);
	snprintf(h.mtime, sizeof(h.mtime), "%011llo", (unsigned long long)t->time_s & 077777777777ULL);
	seal(&h);
	r = put(t, &h, sizeof(h));
	if (r == 0)
		r = put(t, data, size);
	if (r == 0)
		r = put(t, zeros, (BLOCK - size % BLOCK) % BLOCK);
	return r;
}

int tarfile_finish(struct tarfile *t)
{
	static const char zeros[2 * BLOCK];
	int r = put(t, zeros, sizeof(zeros)), closed = gzclose(t->gz);

	if (r == 0 && closed != Z_OK)
		r = closed == Z_ERRNO && errno ? -errno : -EIO;
	/* A pipe cannot be synced, and need not be. */
	if (r == 0 && fsync(t->fd) < 0 && errno != EINVAL && errno != EROFS)
		r = -errno;
	close(t->fd);
	free(t);
	return r;
}

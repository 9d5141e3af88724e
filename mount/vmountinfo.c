/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "vmountinfo.h"

static int read_all(const char *path, char **ret, size_t *ret_n)
{
	_cleanup_close_ int fd = -EBADF;
	_cleanup_free_ char *buf = NULL;
	size_t used = 0, room = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t n;

		if (room - used < 4096) {
			char *bigger = realloc(buf, room + 64 * KIB + 1);

			if (!bigger)
				return -ENOMEM;
			buf = bigger;
			room += 64 * KIB;
		}
		n = read(fd, buf + used, room - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	buf[used] = '\0';
	*ret = TAKE_PTR(buf);
	*ret_n = used;
	return 0;
}

/* Keeps the lines that contain @word; returns the new length. */
static size_t keep_lines(char *buf, const char *word)
{
	char *to = buf, *next;

	for (char *line = buf; *line; line = next) {
		char *end = strchrnul(line, '\n');
		bool found;
		size_t n;

		next = *end ? end + 1 : end;
		n = (size_t)(next - line);
		found = memmem(line, n, word, strlen(word));
		if (!found)
			continue;
		memmove(to, line, n);
		to += n;
	}
	*to = '\0';
	return (size_t)(to - buf);
}

static int parse(char *buf, size_t n, const char *path, struct libmnt_table **ret)
{
	_cleanup_(mnt_unref_tablep) struct libmnt_table *tb = NULL;
	_cleanup_fclose_ FILE *f = NULL;

	tb = mnt_new_table();
	if (!tb)
		return -ENOMEM;
	if (n > 0) { /* fmemopen() refuses an empty buffer */
		f = fmemopen(buf, n, "r");
		if (!f)
			return -errno;
		if (mnt_table_parse_stream(tb, f, path) < 0)
			return -EBADMSG;
	}
	*ret = TAKE_PTR(tb);
	return 0;
}

int vmountinfo_read(const char *path, const char *under, struct libmnt_table **ret)
{
	_cleanup_free_ char *buf = NULL, *word = NULL;
	size_t n = 0;
	int r;

	r = read_all(path, &buf, &n);
	if (r < 0)
		return r;
	if (under) {
		word = mnt_mangle(under); /* as the kernel writes blanks and backslashes */
		if (!word)
			return -ENOMEM;
		n = keep_lines(buf, word);
	}
	return parse(buf, n, path, ret);
}

/* The number of "/dev/NAME" from sysfs, for a node that udev has already removed. */
static dev_t devno_of_name(const char *name)
{
	_cleanup_fclose_ FILE *f = NULL;
	unsigned int maj, min;
	char path[128];

	if (strchr(name, '/') || (size_t)snprintf(path, sizeof(path), "/sys/class/block/%s/dev",
					 name) >= sizeof(path))
		return 0;
	f = fopen(path, "re");
	if (!f || fscanf(f, "%u:%u", &maj, &min) != 2)
		return 0;
	return makedev(maj, min);
}

dev_t vmountinfo_devno(struct libmnt_fs *fs)
{
	const char *source = mnt_fs_get_source(fs), *type = mnt_fs_get_fstype(fs);
	struct stat st;

	if (!type || !STREQ(type, "btrfs"))
		return mnt_fs_get_devno(fs);
	if (!source || strncmp(source, "/dev/", 5) != 0)
		return 0;
	if (stat(source, &st) == 0)
		return S_ISBLK(st.st_mode) ? st.st_rdev : 0;
	return devno_of_name(source + 5);
}

static bool has_option(const char *options, const char *name)
{
	return options && mnt_optstr_get_option(options, name, NULL, NULL) == 0;
}

bool vmountinfo_read_only(struct libmnt_fs *fs)
{
	const char *options = mnt_fs_get_fs_options(fs);

	/* ext4 since 6.15 keeps "rw" after an error and says the truth beside it. */
	return has_option(mnt_fs_get_vfs_options(fs), "ro") || has_option(options, "ro") ||
	       has_option(options, "emergency_ro") || has_option(options, "shutdown");
}

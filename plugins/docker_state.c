/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one thing that nobody else knows: which mounts engines have asked for, and which leases are ours. One
 * file, replaced as a whole. It is not forced to the disk: killing this process loses nothing, and after a
 * crash of the machine the counts are void.
 */
#include <fcntl.h>
#include <libgen.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "docker_private.h"
#include "jsonin.h"
#include "log.h"
#include "text.h"

#define STATE_MAX (16 * MIB)

static int read_boot(struct id128 *ret)
{
	char line[64];
	int r = text_read_line(AT_FDCWD, "/proc/sys/kernel/random/boot_id", line, sizeof(line));

	return r < 0 ? r : id128_parse(line, ret);
}

/* Two that write it would forget each other's mounts. Held until this process ends. */
static int lock_directory(struct docker_volumes *v)
{
	_cleanup_free_ char *copy = strdup(v->c.state_path);
	_cleanup_close_ int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -EBADF;

	if (fd < 0)
		return log_error(errno, "cannot open the directory of %s", v->c.state_path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? log_error(EBUSY, "%s is in use by another plugin", copy)
					    : log_error(errno, "cannot lock %s", copy);
	v->lock_fd = TAKE_FD(fd);
	return 0;
}

/* -ENOENT: there is none yet. */
static int read_file(const char *path, char **ret, size_t *ret_size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_free_ char *text = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)STATE_MAX)
		return -EBADMSG;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	n = read(fd, text, (size_t)st.st_size);
	if (n < 0)
		return -errno;
	*ret = TAKE_PTR(text);
	*ret_size = (size_t)n;
	return 0;
}

/* Others here have to know of a lease also where this is new to them. */
static void join_users(struct id128 dataset, void *userdata)
{
	const struct docker_volumes *v = userdata;

	if (mounts_leased(v->mounts, dataset))
		(void)users_join(v->c.users_directory, dataset, USERS_DOCKER, NULL);
}

int docker_state_read(struct docker_volumes *v)
{
	_cleanup_json_ struct json_object *o = NULL;
	_cleanup_free_ char *text = NULL;
	char error[JSONIN_ERROR_MAX];
	size_t size;
	int r = lock_directory(v);

	if (r < 0)
		return r;
	r = read_boot(&v->boot);
	if (r < 0)
		return log_error(r, "cannot read the kernel's boot id");
	r = read_file(v->c.state_path, &text, &size);
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = jsonin_parse(text, size, &o, error);
	if (r == 0)
		r = mounts_read(v->mounts, o, v->boot);
	if (r == 0)
		mounts_each(v->mounts, join_users, v);
	if (r == -EBADMSG) /* Leases stay, which is safe; who needs them mounts again. */
		log_error(0,
			"%s cannot be understood: which containers use which volumes is not known, and leases of "
			"this node stay until they are released by hand (flockerctl lease)",
			v->c.state_path);
	return r == -EBADMSG ? 0 : r < 0 ? log_error(r, "cannot read %s", v->c.state_path) : 0;
}

static int write_all(int fd, const char *text, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, text, size);

		if (n < 0)
			return -errno;
		text += n;
		size -= (size_t)n;
	}
	return 0;
}

static int replace(const char *path, const char *text)
{
	_cleanup_free_ char *fresh = NULL;
	_cleanup_close_ int fd = -EBADF;
	int r;

	if (asprintf(&fresh, "%s.new", path) < 0) {
		fresh = NULL;
		return -ENOMEM;
	}
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = write_all(fd, text, strlen(text));
	return r == 0 && rename(fresh, path) < 0 ? -errno : r;
}

int docker_state_write(struct docker_volumes *v)
{
	_cleanup_json_ struct json_object *o = mounts_write(v->mounts, v->boot);
	const char *text = o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN) : NULL;
	int r = text ? replace(v->c.state_path, text) : -ENOMEM;

	return r < 0 ? log_error(r, "cannot write %s: a restart would not know who uses which volume", v->c.state_path)
		     : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "privileges.h"

void account_done(struct account *a)
{
	free(a->name);
	*a = (struct account){ 0 };
}

int account_find(const char *name, struct account *ret)
{
	struct passwd *pw = getpwnam(name); /* at the start, before any thread */
	char *copy;

	if (!pw)
		return -ENOENT;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	*ret = (struct account){ copy, pw->pw_uid, pw->pw_gid };
	return 0;
}

static int explain(const char *path, int err, char **ret_error)
{
	const char *advice = "make it, or name another with --data-path";

	if (err == ENOTDIR)
		advice = "it has to be a directory";
	if (asprintf(ret_error, "data path %s cannot be used: %s; %s", path, strerror(err),
		    advice) < 0)
		return -ENOMEM;
	return -err;
}

int privileges_data_path(const char *path, const struct account *owner, char **ret_error)
{
	struct stat st;

	if (mkdir(path, 0700) == 0) {
		if (owner && chown(path, owner->uid, owner->gid) < 0)
			return explain(path, errno, ret_error);
		return 0;
	}
	if (errno != EEXIST)
		return explain(path, errno, ret_error);
	if (stat(path, &st) < 0)
		return explain(path, errno, ret_error);
	return S_ISDIR(st.st_mode) ? 0 : explain(path, ENOTDIR, ret_error);
}

int privileges_drop(const struct account *a)
{
	if (initgroups(a->name, a->gid) < 0 || setresgid(a->gid, a->gid, a->gid) < 0 ||
		setresuid(a->uid, a->uid, a->uid) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

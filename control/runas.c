/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"
#include "privileges.h"
#include "runas.h"

int runas(const struct options *o)
{
	_cleanup_free_ char *error = NULL;
	struct account account = { 0 };
	bool drop = geteuid() == 0 && !STREQ(o->user, "root");
	int r;

	if ((drop || o->user_given) && account_find(o->user, &account) < 0) {
		log_error(0,
			"there is no user '%s': make it (systemd-sysusers does), or name another "
			"with --user",
			o->user);
		return -ENOENT;
	}
	if (geteuid() != 0 && o->user_given && account.uid != geteuid()) {
		account_done(&account);
		log_error(0, "cannot become user '%s': start as root, or as that user", o->user);
		return -EPERM;
	}
	r = privileges_data_path(o->data_path, drop ? &account : NULL, &error);
	if (r < 0)
		log_error(0, "%s", error ?: strerror(-r));
	else if (drop && (r = privileges_drop(&account)) < 0)
		log_error(r, "cannot become user '%s'", o->user);
	else if (geteuid() == 0)
		log_warning(0, "running as root, as asked; --user flocker would be safer");
	account_done(&account);
	return r;
}

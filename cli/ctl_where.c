/* SPDX-License-Identifier: Apache-2.0 */
#include <libgen.h>

#include "ctl_where.h"
#include "say.h"
#include "text.h"
#include "ymlpick.h"

#define DEFAULT_PORT 4523
#define CLUSTER_YML "cluster.yml"

uint16_t ctl_port(const char *text, const char *from)
{
	uint64_t port;

	if (text_number(text, 1, UINT16_MAX, &port) < 0) {
		say_error(0, "%s must be a number from 1 to 65535, not '%s'", from, text);
		return 0;
	}
	return (uint16_t)port;
}

/* An empty variable is one that is not set. */
static void take_variable(const char *name, const char **where)
{
	const char *text = getenv(name);

	if (!*where && text && *text)
		*where = text;
}

static int take_port(struct ctl_args *a)
{
	const char *text = NULL;

	take_variable("FLOCKER_CONTROL_PORT", &text);
	if (!a->port)
		a->port = text ? ctl_port(text, "FLOCKER_CONTROL_PORT") : DEFAULT_PORT;
	return a->port ? CTL_OK : CTL_USAGE;
}

static int say_unreadable(const char *path, int r)
{
	if (r == -ENOMEM)
		return ctl_no_memory();
	return say_error(CTL_USAGE, "cannot read '%s': %s", path,
		r == -EBADMSG ? "it is no YAML" : strerror(-r));
}

/* The certificates beside the file @path, and its first user. */
static int take_cluster(struct ctl_args *a, const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	int r = ymlpick(path, "users/0", &a->owned.user);

	if (r < 0)
		return say_unreadable(path, r);
	a->owned.certs_path = copy ? strdup(dirname(copy)) : NULL;
	if (!a->owned.certs_path)
		return ctl_no_memory();
	if (!a->certs_path)
		a->certs_path = a->owned.certs_path;
	if (!a->user)
		a->user = a->owned.user;
	return CTL_OK;
}

static int take_host(struct ctl_args *a)
{
	_cleanup_free_ char *path = NULL;
	int r;

	if (asprintf(&path, "%s/agent.yml", a->certs_path) < 0) {
		path = NULL;
		return ctl_no_memory();
	}
	r = ymlpick(path, "control-service/hostname", &a->owned.host);
	if (r < 0 && r != -ENOENT)
		return say_unreadable(path, r);
	if (!a->owned.host && a->cluster_yml) {
		r = ymlpick(a->cluster_yml, "control_node", &a->owned.host);
		if (r < 0)
			return say_unreadable(a->cluster_yml, r);
	}
	a->host = a->owned.host && *a->owned.host ? a->owned.host : NULL;
	return CTL_OK;
}

int ctl_where(struct ctl_args *a)
{
	int r = a->cluster_yml ? take_cluster(a, a->cluster_yml) : CTL_OK;

	if (r == CTL_OK)
		r = take_port(a);
	take_variable("FLOCKER_CONTROL_SERVICE", &a->host);
	take_variable("FLOCKER_CERTS_PATH", &a->certs_path);
	take_variable("FLOCKER_USER", &a->user);
	if (r == CTL_OK && !a->cluster_yml && !a->certs_path && access(CLUSTER_YML, R_OK) == 0) {
		a->cluster_yml = CLUSTER_YML;
		r = take_cluster(a, CLUSTER_YML);
	}
	if (!a->certs_path)
		a->certs_path = ".";
	if (!a->user)
		a->user = "user";
	if (a->host && !*a->host)
		a->host = NULL;
	return r == CTL_OK && !a->host ? take_host(a) : r;
}

void ctl_args_done(struct ctl_args *a)
{
	free(a->owned.host);
	free(a->owned.certs_path);
	free(a->owned.user);
	json_object_put(a->metadata);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <libgen.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <openssl/pem.h>
#include <openssl/x509.h>

#include "client.h"
#include "terms.h"
#include "text.h"
#include "ymlpick.h"

#define NODE_PREFIX "node-"

/* ---- options ---- */

int client_wrong(const char *option, const char *text, const char *right)
{
	fprintf(stderr, "ERROR: --%s '%s' is not %s\n", option, text, right);
	return -EINVAL;
}

int client_take(struct client *c, int option, const char *program, const char *usage)
{
	uint64_t n;

	switch (option) {
	case CLIENT_OPT_AGENT:
		c->agent_yml = optarg;
		return 0;
	case CLIENT_OPT_PORT:
		if (text_number(optarg, 1, 65535, &n) < 0)
			return client_wrong("control-port", optarg, "a number from 1 to 65535");
		c->port = (uint16_t)n;
		return 0;
	case CLIENT_OPT_USER:
		c->user = optarg;
		return *optarg && !strchr(optarg, '/') ? 0 : client_wrong("user", optarg, "a name");
	case CLIENT_OPT_LOG_LEVEL:
		return log_level_parse(optarg, &c->log_level) == 0 ? 0 : client_wrong("log-level", optarg,
			"one of error, warning, notice, info and debug");
	case CLIENT_OPT_HELP:
		fputs(usage, stdout);
		return 1;
	case CLIENT_OPT_VERSION:
		puts(FLOCKER_VERSION);
		return 1;
	default:
		fprintf(stderr, "ERROR: see %s --help\n", program);
		return -EINVAL;
	}
}

/* ---- files ---- */

/* Returns @err, or -ENOMEM. */
_printf_(3, 4) static int fail(char **ret_error, int err, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = text_fail(ret_error, err, fmt, ap);
	va_end(ap);
	return r;
}

static int name_files(struct client *c)
{
	_cleanup_free_ char *copy = strdup(c->agent_yml);
	const char *dir = copy ? dirname(copy) : NULL;

	if (!dir || asprintf(&c->files[0], "%s/cluster.crt", dir) < 0 ||
		asprintf(&c->files[1], "%s/%s.crt", dir, c->user) < 0 ||
		asprintf(&c->files[2], "%s/%s.key", dir, c->user) < 0 ||
		asprintf(&c->files[3], "%s/cluster.crl", dir) < 0)
		return -ENOMEM;
	return 0;
}

static int take_run_directory(struct client *c, const char *dir, char **ret_error)
{
	if (mkdir(dir, 0750) < 0 && errno != EEXIST)
		return fail(ret_error, -errno, "cannot make %s: %s", dir, strerror(errno));
	if (asprintf(&c->users_directory, "%s/users", dir) < 0) {
		c->users_directory = NULL;
		return -ENOMEM;
	}
	if (asprintf(&c->terms_file, "%s/" TERMS_FILE, dir) < 0) {
		c->terms_file = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int read_agent_yml(struct client *c, char **ret_error)
{
	_cleanup_free_ char *run = NULL;
	int r = ymlpick(c->agent_yml, "control-service/hostname", &c->host);

	if (r == 0)
		r = ymlpick(c->agent_yml, "mount-root", &c->mount_root);
	if (r == 0)
		r = ymlpick(c->agent_yml, "run-directory", &run);
	if (r == -EBADMSG)
		return fail(ret_error, r, "%s is no YAML", c->agent_yml);
	if (r < 0)
		return fail(ret_error, r, "cannot read %s: %s", c->agent_yml, strerror(-r));
	if (!c->host || !*c->host)
		return fail(ret_error, -EINVAL, "%s has no control-service: hostname:",
			c->agent_yml);
	if (!c->mount_root)
		c->mount_root = strdup("/flocker");
	return c->mount_root ? take_run_directory(c, run ?: "/run/flocker", ret_error) : -ENOMEM;
}

/* The common name of the certificate at @path; false: there is none. */
static bool common_name(const char *path, char *buf, int size)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	X509 *cert = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
	bool found = cert && X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName,
		buf, size) > 0;

	X509_free(cert);
	return found;
}

/* A node's UUID is the one in its certificate, and nowhere else. */
static int read_node(struct client *c, char **ret_error)
{
	_cleanup_free_ char *copy = strdup(c->agent_yml), *path = NULL;
	char name[128];

	if (!copy || asprintf(&path, "%s/node.crt", dirname(copy)) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	if (!common_name(path, name, sizeof(name)) || strncmp(name, NODE_PREFIX, strlen(NODE_PREFIX)) != 0 ||
		id128_parse(name + strlen(NODE_PREFIX), &c->node) < 0)
		return fail(ret_error, -EINVAL, "%s is no certificate of a node, by which this host would be known "
			"(flocker-ca create-node-certificate)", path);
	return 0;
}

int client_read(struct client *c, char **ret_error)
{
	int r = name_files(c);

	if (r == 0)
		r = read_agent_yml(c, ret_error);
	return r < 0 ? r : read_node(c, ret_error);
}

int client_load(struct client *c, struct event_base *base, void (*on_change)(void *userdata),
	void *userdata, char **ret_error)
{
	struct certs_config config = { .files = { c->files[0], c->files[1], c->files[2], c->files[3] },
		.on_change = on_change, .userdata = userdata };
	_cleanup_free_ char *error = NULL;
	int r = tls_client_new(&config.files, &c->ctx, &error);

	if (r < 0)
		return fail(ret_error, r, "%s%s%s", error ?: strerror(-r),
			r == -ENOENT ? "; flocker-ca makes it: create-api-certificate " : "",
			r == -ENOENT ? c->user : "");
	config.contexts[0] = c->ctx;
	return certs_new(base, &config, &c->certs);
}

void client_done(struct client *c)
{
	certs_free(c->certs);
	if (c->ctx)
		SSL_CTX_free(c->ctx);
	for (size_t i = 0; i < ARRAY_SIZE(c->files); i++)
		free(c->files[i]);
	free(c->host);
	free(c->mount_root);
	free(c->users_directory);
	free(c->terms_file);
}

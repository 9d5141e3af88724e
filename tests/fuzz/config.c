/* SPDX-License-Identifier: Apache-2.0 */
/* agent.yml: a configuration that the daemon can start with, or one line that says what is wrong. */
#include "config.h"
#include "fuzz.h"

static void check_line(const char *why)
{
	PROMISE(*why);
	for (const char *p = why; *p; p++)
		PROMISE((unsigned char)*p >= 0x20 && *p != 0x7f);
}

static void check_directory(const char *path)
{
	PROMISE(path[0] == '/' && path[1] && path[strlen(path) - 1] != '/');
	PROMISE(!strstr(path, "//") && !strstr(path, "/../") && !strstr(path, "/./"));
}

static void check(const struct node_config *c)
{
	PROMISE(c->control_hostname[0] && c->control_port > 0 && c->backend[0]);
	PROMISE(c->n_options <= NODE_CONFIG_OPTIONS_MAX);
	for (size_t i = 0; i < c->n_options; i++)
		PROMISE(c->options[i].key && c->options[i].value && c->options[i].line > 0);
	PROMISE((unsigned)c->filesystem < FS_KIND_MAX && c->mount_options);
	check_directory(c->mount_root);
	check_directory(c->run_directory);
	check_directory(c->state_directory);
	PROMISE(STREQ(c->cluster_crt, "/etc/flocker/cluster.crt") && c->node_crt && c->node_key);
	for (size_t i = 0; i < c->n_warnings; i++)
		check_line(c->warnings[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(node_config_freep) struct node_config *c = NULL;
	char why[NODE_CONFIG_WHY_MAX] = "";
	int r;

	r = node_config_parse((const char *)data, size, "/etc/flocker/agent.yml", &c, why,
		sizeof(why));
	if (r < 0) {
		PROMISE(!c && (r == -EBADMSG || r == -E2BIG));
		check_line(why);
		return 0;
	}
	check(c);
	return 0;
}

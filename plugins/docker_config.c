/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

#include "docker_config.h"
#include "docker_volumes.h"
#include "log.h"
#include "text.h"

static const char usage[] =
	"flocker-docker-plugin - Flocker's datasets as volumes of Docker and Podman\n"
	"\n"
	"usage: flocker-docker-plugin [OPTION]...\n"
	"\n"
	"  -c, --agent-config FILE    of this host's node (/etc/flocker/agent.yml): says\n"
	"                             where the control service is; cluster.crt,\n"
	"                             node.crt, plugin.crt, plugin.key and, if there is\n"
	"                             one, cluster.crl lie beside it\n"
	"      --control-port PORT    of the control service's REST API (4523)\n"
	"      --user NAME            whose certificate to show: NAME.crt and NAME.key\n"
	"                             (plugin)\n"
	"      --socket FILE          to listen on, where systemd does not hand one over\n"
	"                             (/run/docker/plugins/flocker/flocker.sock)\n"
	"      --state-directory DIR  remembers which containers use what\n"
	"                             (/var/lib/flocker-docker-plugin)\n"
	"      --docker-socket FILE   of dockerd's API, which is asked for the names of\n"
	"                             containers, to tell others (/run/docker.sock)\n"
	"      --in-use refuse|wait   a volume that a container on another node uses:\n"
	"                             say so at once (refuse), or wait for its end\n"
	"      --mount-limit SECONDS  for a volume to come here (110; Docker hangs up\n"
	"                             after 120); after that it goes on by itself\n"
	"      --log-level LEVEL      error, warning, notice, info (default) or debug\n"
	"      --help, --version\n"
	"\n"
	"docker volume create -d flocker -o KEY=VALUE NAME takes these options:\n"
	"  size=10G                   1.5G, 500MiB; K, M, G, T are powers of 1024\n"
	"  filesystem=ext4|xfs|btrfs  profile=TEXT  failover=manual|lease\n"
	"  node=UUID|HOST             where it begins; without it, where it is used first\n"
	"  on-remove=keep|delete      what docker volume rm does to the data (keep)\n"
	"\n"
	"SIGTERM ends it and leaves mounts as they are. See flocker-docker-plugin(8).\n";

enum {
	OPT_SOCKET = CLIENT_OPT_OWN,
	OPT_ENGINE,
	OPT_STATE,
	OPT_IN_USE,
	OPT_LIMIT,
};

static int take(struct docker_config *c, int option)
{
	uint64_t n;

	switch (option) {
	case OPT_SOCKET:
		c->socket = optarg;
		return *optarg == '/' ? 0 : client_wrong("socket", optarg, "an absolute path");
	case OPT_ENGINE:
		c->engine_socket = optarg;
		return *optarg == '/' ? 0 :
			client_wrong("docker-socket", optarg, "an absolute path");
	case OPT_STATE:
		c->state_directory = optarg;
		return *optarg == '/' ? 0 :
			client_wrong("state-directory", optarg, "an absolute path");
	case OPT_IN_USE:
		c->wait_in_use = STREQ(optarg, "wait");
		return c->wait_in_use || STREQ(optarg, "refuse") ? 0 :
			client_wrong("in-use", optarg, "refuse or wait");
	case OPT_LIMIT:
		if (text_number(optarg, 1, 86400, &n) < 0)
			return client_wrong("mount-limit", optarg,
				"a number of seconds from 1 to 86400");
		c->limit_s = (unsigned int)n;
		return 0;
	default:
		return client_take(&c->client, option, "flocker-docker-plugin", usage);
	}
}

int docker_config_parse(int argc, char **argv, struct docker_config *ret)
{
	static const struct option longs[] = { CLIENT_OPTIONS, CLIENT_LOG_LEVEL_OPTION,
		{ "socket", required_argument, NULL, OPT_SOCKET },
		{ "state-directory", required_argument, NULL, OPT_STATE },
		{ "docker-socket", required_argument, NULL, OPT_ENGINE },
		{ "in-use", required_argument, NULL, OPT_IN_USE },
		{ "mount-limit", required_argument, NULL, OPT_LIMIT }, { 0 } };
	struct docker_config c = { .client = CLIENT_DEFAULTS,
		.socket = "/run/docker/plugins/flocker/flocker.sock",
		.engine_socket = "/run/docker.sock",
		.state_directory = "/var/lib/flocker-docker-plugin", .limit_s = DOCKER_LIMIT_S };
	int option, r = 0;

	while (r == 0 && (option = getopt_long(argc, argv, "c:", longs, NULL)) != -1)
		r = take(&c, option);
	if (r == 0 && optind < argc) {
		fprintf(stderr, "ERROR: '%s' is one word too many; see flocker-docker-plugin --help\n", argv[optind]);
		r = -EINVAL;
	}
	if (r == 0)
		*ret = c;
	return r;
}

/* ---- files ---- */

int docker_config_read(struct docker_config *c)
{
	_cleanup_free_ char *error = NULL;
	int r = client_read(&c->client, &error);

	if (r < 0)
		return log_error(0, "%s", error ?: strerror(-r)) ?: r;
	if (asprintf(&c->state_path, "%s/mounts.json", c->state_directory) < 0)
		return log_error(ENOMEM, "cannot start");
	if (mkdir(c->state_directory, 0700) < 0 && errno != EEXIST)
		return log_error(errno, "cannot make %s", c->state_directory);
	return 0;
}

void docker_config_done(struct docker_config *c)
{
	client_done(&c->client);
	free(c->state_path);
}

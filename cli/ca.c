/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flocker-ca - the certificates of a cluster: one root, and what it signs for the control service,
 * the nodes and the users of the API; and the list of those that it takes back. Names, subjects and first words of the output are the
 * original's, since installers read them.
 */
#include <arpa/inet.h>
#include <getopt.h>

#include <openssl/crypto.h>

#include "credential.h"
#include "id128.h"
#include "pairfile.h"
#include "revocation.h"
#include "say.h"

struct request {
	const char *argument; /* NAME, HOST, FILE ... */
	const char *input, *output;
	enum key_type type;
};

enum command_options {
	TAKES_INPUT = 1 << 0, /* reads the root */
	TAKES_OUTPUT = 1 << 1,
	TAKES_KEY_TYPE = 1 << 2,
	MAKES_ROOT = TAKES_OUTPUT | TAKES_KEY_TYPE,
	MAKES_PAIR = TAKES_INPUT | TAKES_OUTPUT | TAKES_KEY_TYPE,
};

DEFINE_CLEANUP(X509 *, X509_free);
DEFINE_CLEANUP(ASN1_INTEGER *, ASN1_INTEGER_free);

struct command {
	const char *name, *argument;
	int (*run)(const struct request *rq);
	unsigned int options;
	const char *help;
};

static void wipe_free(char **text)
{
	if (*text)
		OPENSSL_cleanse(*text, strlen(*text));
	free(*text);
}

static int write_pair(const struct request *rq, const char *stem, const struct credential *c)
{
	_cleanup_(wipe_free) char *key = NULL;
	_cleanup_free_ char *cert = NULL;
	int r = credential_to_pem(c, &key, &cert);

	return r < 0 ? r : pairfile_create(rq->output, stem, key, cert);
}

static int run_initialize(const struct request *rq)
{
	_cleanup_(credential_done) struct credential root = { 0 };
	int r;

	if (!say_is_clean(rq->argument))
		return say_error(
			-EINVAL, "a cluster's name must be UTF-8 without control characters");
	r = credential_new_root(rq->argument, rq->type, &root);
	if (r == 0)
		r = write_pair(rq, "cluster", &root);
	if (r < 0)
		return r;
	printf("Created cluster.key and cluster.crt. Keep cluster.key secret and off the nodes: "
	       "who "
	       "has it can join and command the cluster.\n");
	return 0;
}

static int issue(const struct request *rq, enum credential_kind kind, const char *common_name,
	const char *stem)
{
	_cleanup_(credential_done) struct credential root = { 0 }, leaf = { 0 };
	int r = credential_load_root(rq->input, &root);

	if (r == 0)
		r = credential_issue(&root, kind, rq->type, common_name,
			kind == CREDENTIAL_CONTROL ? rq->argument : NULL, &leaf);
	return r < 0 ? r : write_pair(rq, stem, &leaf);
}

static bool is_label_character(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' ||
		c == '_';
}

/* What a certificate may name: an IP address, or labels of at most 63 characters. */
static bool is_host(const char *host)
{
	unsigned char address[sizeof(struct in6_addr)];
	size_t label = 0;

	if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
		return true;
	if (host[0] == '-' || strlen(host) > 238) /* with "control-" and ".key" a file name */
		return false;
	for (const char *p = host; *p; p++) {
		if (*p == '.' ? label == 0 : !is_label_character(*p) || label == 63)
			return false;
		label = *p == '.' ? 0 : label + 1;
	}
	return label > 0;
}

static int run_control(const struct request *rq)
{
	_cleanup_free_ char *stem = NULL;
	int r;

	if (!is_host(rq->argument))
		return say_error(-EINVAL,
			"'%s' is no host name or IP address; name the control service's host as "
			"nodes "
			"and clients will dial it",
			rq->argument);
	if (asprintf(&stem, "control-%s", rq->argument) < 0) {
		stem = NULL;
		return say_error(-ENOMEM, "out of memory");
	}
	r = issue(rq, CREDENTIAL_CONTROL, "control-service", stem);
	if (r < 0)
		return r;
	printf("Created %s.crt and %s.key. Copy them to /etc/flocker on %s as control-service.crt "
	       "and "
	       "control-service.key, with cluster.crt beside them.\n",
		stem, stem, rq->argument);
	return 0;
}

static int run_node(const struct request *rq)
{
	char common_name[5 + ID128_TEXT];
	struct id128 node;
	int r = id128_random(&node);

	if (r < 0)
		return say_error(r, "cannot make a UUID: %s", strerror(-r));
	snprintf(common_name, sizeof(common_name), "node-%s", ID128_STR(node));
	r = issue(rq, CREDENTIAL_NODE, common_name, ID128_STR(node));
	if (r < 0)
		return r;
	printf("Created %s.crt. Copy it and %s.key to /etc/flocker on one node as node.crt and "
	       "node.key, with cluster.crt beside them.\n",
		ID128_STR(node), ID128_STR(node));
	return 0;
}

static int issue_for_person(const struct request *rq, const char *prefix)
{
	_cleanup_free_ char *common_name = NULL;
	const char *name = rq->argument;

	if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') || !say_is_clean(name))
		return say_error(-EINVAL,
			"'%s' cannot name files: it must be UTF-8 without '/', control characters "
			"or a "
			"leading '.'",
			name);
	if (STREQ(name, "cluster"))
		return say_error(-EINVAL,
			"'cluster' would be taken for the cluster's own files; choose another "
			"name");
	if (asprintf(&common_name, "%s%s", prefix, name) < 0) {
		common_name = NULL;
		return say_error(-ENOMEM, "out of memory");
	}
	return issue(rq, CREDENTIAL_USER, common_name, name);
}

static int run_api(const struct request *rq)
{
	const char *name = rq->argument;
	int r;

	if (strncmp(name, "viewer-", strlen("viewer-")) == 0)
		return say_error(-EINVAL, "'%s' would be a user who may change everything; who may only look is made by "
			"create-viewer-certificate %s", name, name + strlen("viewer-"));
	r = issue_for_person(rq, "user-");
	if (r < 0)
		return r;
	printf("Created %s.crt. Use it and %s.key, with cluster.crt beside them, to call the "
	       "control service: flockerctl --user %s\n",
		name, name, name);
	return 0;
}

static int run_viewer(const struct request *rq)
{
	const char *name = rq->argument;
	int r = issue_for_person(rq, "viewer-");

	if (r < 0)
		return r;
	printf("Created %s.crt. With it and %s.key, and cluster.crt beside them, one may look at "
	       "everything and change nothing: flockerctl --user %s\n",
		name, name, name);
	return 0;
}

/* "alice" of "some/where/alice.crt"; newly allocated */
static int stem_of(const char *path, char **ret)
{
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	size_t n = strlen(base);

	if (n <= 4 || !STREQ(base + n - 4, ".crt"))
		return say_error(-EINVAL, "'%s' is no name of a certificate's file, which ends in .crt", path);
	*ret = strndup(base, n - 4);
	return *ret ? 0 : say_error(-ENOMEM, "out of memory");
}

static int run_renew(const struct request *rq)
{
	_cleanup_(credential_done) struct credential root = { 0 }, leaf = { 0 };
	_cleanup_(X509_freep) X509 *old = NULL;
	_cleanup_free_ char *stem = NULL, *name = NULL;
	int r = stem_of(rq->argument, &stem);

	if (r == 0)
		r = credential_load_root(rq->input, &root);
	if (r == 0)
		r = credential_load_leaf(&root, rq->argument, &old);
	if (r == 0)
		r = credential_renew(&root, rq->type, old, &leaf);
	if (r == 0)
		r = write_pair(rq, stem, &leaf);
	if (r < 0)
		return r;
	name = credential_name(old);
	printf("Created %s.crt and %s.key anew for ", stem, stem);
	say_text(stdout, name);
	printf(". Put both in the place of the old ones: a running daemon takes them without a restart. The old "
	       "certificate stays valid until it expires or is revoked.\n");
	return 0;
}

/* Of a certificate's file, or written out. */
static int take_serial(const struct request *rq, const struct credential *root, ASN1_INTEGER **ret, char **ret_name)
{
	_cleanup_(X509_freep) X509 *cert = NULL;
	int r;

	if (access(rq->argument, F_OK) < 0) {
		*ret = revocation_serial_parse(rq->argument);
		*ret_name = strdup("certificate");
		if (*ret && *ret_name)
			return 0;
		return say_error(-EINVAL, "'%s' is neither a file nor a serial number in hexadecimal", rq->argument);
	}
	r = credential_load_leaf(root, rq->argument, &cert);
	if (r < 0)
		return r;
	*ret = ASN1_INTEGER_dup(X509_get0_serialNumber(cert));
	*ret_name = credential_name(cert);
	return *ret && *ret_name ? 0 : say_error(-ENOMEM, "out of memory");
}

static int run_revoke(const struct request *rq)
{
	_cleanup_(credential_done) struct credential root = { 0 };
	_cleanup_(ASN1_INTEGER_freep) ASN1_INTEGER *serial = NULL;
	_cleanup_free_ char *name = NULL, *text = NULL;
	bool is_new = false;
	int r = credential_load_root(rq->input, &root);

	if (r == 0)
		r = take_serial(rq, &root, &serial, &name);
	if (r == 0)
		r = revocation_add(rq->input, &root, serial, &is_new);
	if (r < 0)
		return r;
	text = revocation_serial_text(serial);
	printf(is_new ? "Revoked " : "Was revoked before: ");
	say_text(stdout, name);
	printf(" (serial %s). Copy cluster.crl to /etc/flocker on the control service's host and on every node: "
	       "running daemons take it without a restart.\n",
		text ? text : "unknown");
	return 0;
}

static int run_list_revoked(const struct request *rq)
{
	_cleanup_(credential_done) struct credential root = { 0 };
	int r = credential_load_root(rq->input, &root);

	return r < 0 ? r : revocation_print(rq->input, &root);
}

static const struct command commands[] = {
	{ "initialize", "NAME", run_initialize, MAKES_ROOT,
		"Make the root of a new cluster: cluster.key and cluster.crt." },
	{ "create-control-certificate", "HOST", run_control, MAKES_PAIR,
		"Make control-HOST.key and .crt for the control service on HOST." },
	{ "create-node-certificate", NULL, run_node, MAKES_PAIR,
		"Make UUID.key and .crt for one node; the UUID is random and the node's "
		"identity." },
	{ "create-api-certificate", "NAME", run_api, MAKES_PAIR,
		"Make NAME.key and .crt for a user of the REST API." },
	{ "create-viewer-certificate", "NAME", run_viewer, MAKES_PAIR,
		"Make NAME.key and .crt for a user who may look and change nothing." },
	{ "renew", "FILE.crt", run_renew, MAKES_PAIR,
		"Make FILE.key and .crt anew, for whom the old FILE.crt is." },
	{ "revoke", "FILE.crt|SERIAL", run_revoke, TAKES_INPUT,
		"Put a certificate on the list of revoked ones: cluster.crl." },
	{ "list-revoked", NULL, run_list_revoked, TAKES_INPUT,
		"List the serial numbers in cluster.crl, and since when." },
};

static void help(FILE *out)
{
	fputs("Usage: flocker-ca COMMAND [OPTIONS] [ARGUMENT]\n\nCommands:\n", out);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %s%s%s\n        %s\n", commands[i].name,
			commands[i].argument ? " " : "",
			commands[i].argument ? commands[i].argument : "", commands[i].help);
	fputs("\nflocker-ca COMMAND --help tells a command's options. See flocker-ca(1).\n", out);
}

static void command_help(FILE *out, const struct command *c)
{
	fprintf(out, "Usage: flocker-ca %s [OPTIONS]%s%s\n\n%s\n\nOptions:\n", c->name,
		c->argument ? " " : "", c->argument ? c->argument : "", c->help);
	if (c->options & TAKES_INPUT)
		fputs("  -i, --inputpath=DIR   where cluster.crt, cluster.key and cluster.crl are\n"
		      "                        (default: .)\n",
			out);
	if (c->options & TAKES_OUTPUT)
		fputs("  -o, --outputpath=DIR  where to write, never over existing files (default: .)\n",
			out);
	if (c->options & TAKES_KEY_TYPE)
		fputs("      --key-type=TYPE   p256 (default), or rsa4096 for old clients\n", out);
	fputs("      --help            this text\n"
	      "      --version         the version\n",
		out);
}

/* Returns a positive number when the program is done without an error. */
static int parse_options(const struct command *c, int argc, char **argv, struct request *rq)
{
	static const struct option options[] = {
		{ "inputpath", required_argument, NULL, 'i' },
		{ "outputpath", required_argument, NULL, 'o' },
		{ "key-type", required_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int o, type;

	while ((o = getopt_long(argc, argv, "i:o:h", options, NULL)) != -1)
		switch (o) {
		case 'i':
			if (!(c->options & TAKES_INPUT))
				return say_error(-EINVAL,
					"%s reads no files, so --inputpath means "
					"nothing; did you mean --outputpath?",
					c->name);
			rq->input = optarg;
			break;
		case 'o':
			if (!(c->options & TAKES_OUTPUT))
				return say_error(-EINVAL, "%s writes beside cluster.key, so --outputpath means "
					"nothing; did you mean --inputpath?", c->name);
			rq->output = optarg;
			break;
		case 'k':
			if (!(c->options & TAKES_KEY_TYPE))
				return say_error(-EINVAL, "%s makes no key", c->name);
			type = key_type_parse(optarg);
			if (type < 0)
				return say_error(
					-EINVAL, "--key-type is p256 or rsa4096, not '%s'", optarg);
			rq->type = (enum key_type)type;
			break;
		case 'h':
			command_help(stdout, c);
			return 1;
		case 'V':
			puts(FLOCKER_VERSION);
			return 1;
		default:
			return -EINVAL; /* getopt_long() has said what is wrong */
		}
	return 0;
}

static int run_command(const struct command *c, int argc, char **argv)
{
	struct request rq = { .input = ".", .output = ".", .type = KEY_P256 };
	int r = parse_options(c, argc, argv, &rq);

	if (r > 0)
		return 0;
	if (r == 0 && argc - optind != (c->argument ? 1 : 0)) {
		if (c->argument)
			r = say_error(-EINVAL, "%s takes one argument, %s", c->name, c->argument);
		else
			r = say_error(-EINVAL, "%s takes no argument", c->name);
	}
	if (r < 0) {
		fprintf(stderr, "flocker-ca %s --help tells how to use it.\n", c->name);
		return r;
	}
	rq.argument = argv[optind];
	return c->run(&rq);
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	int r;

	if (!name) {
		help(stderr);
		return EXIT_FAILURE;
	}
	if (STREQ(name, "--help") || STREQ(name, "-h") || STREQ(name, "help")) {
		help(stdout);
		return EXIT_SUCCESS;
	}
	if (STREQ(name, "--version")) {
		puts(FLOCKER_VERSION);
		return EXIT_SUCCESS;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (STREQ(name, commands[i].name)) {
			r = run_command(&commands[i], argc - 1, argv + 1);
			return r < 0 || fflush(stdout) != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
		}
	say_error(0, "there is no command '%s'", name);
	help(stderr);
	return EXIT_FAILURE;
}

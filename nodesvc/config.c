/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "config.h"
#include "vmount.h"
#include "yamlmap.h"

#define DEFAULT_AGENT_PORT 4524

static struct node_config *config_of(struct yamlmap *y)
{
	return y->userdata;
}

static char **string_at(struct yamlmap *y, const struct yamlmap_field *f)
{
	return (char **)((char *)y->userdata + f->offset);
}

static int set_string(struct yamlmap *y, char **where, const char *text)
{
	free(*where);
	*where = strdup(text);
	return *where ? 0 : yamlmap_no_memory(y);
}

static int read_version(struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *ev)
{
	const char *text;
	int rc = yamlmap_text(y, f->name, ev, &text);

	if (rc < 0)
		return rc;
	if (!STREQ(text, "1") || !ev->data.scalar.plain_implicit)
		return yamlmap_refuse(
			y, yamlmap_line(ev), "'version' must be the number 1, not '%.64s'", text);
	return 0;
}

static int read_port(struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *ev)
{
	unsigned long port = 0;
	const char *text;
	int rc = yamlmap_text(y, f->name, ev, &text);

	if (rc < 0)
		return rc;
	if (ev->data.scalar.plain_implicit && strlen(text) <= 5 &&
		strspn(text, "0123456789") == strlen(text) && text[0] != '0')
		port = strtoul(text, NULL, 10);
	if (port < 1 || port > UINT16_MAX)
		return yamlmap_refuse(y, yamlmap_line(ev),
			"'%s' must be a number from 1 to 65535, not '%.64s'", f->name, text);
	config_of(y)->control_port = (uint16_t)port;
	return 0;
}

static bool is_address(const char *text)
{
	unsigned char buf[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, text, buf) == 1 || inet_pton(AF_INET6, text, buf) == 1;
}

/* Labels of letters, digits and inner dashes, as the original asked. */
static bool is_hostname(const char *text)
{
	size_t label = 0;

	if (strlen(text) > 253)
		return false;
	for (const char *p = text; *p; p++) {
		bool alnum = (*p >= '0' && *p <= '9') || ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z');

		if (*p == '.') {
			if (label == 0 || p[-1] == '-')
				return false;
			label = 0;
			continue;
		}
		if ((!alnum && (*p != '-' || label == 0)) || ++label > 63)
			return false;
	}
	return text[0] != '\0' && text[strlen(text) - 1] != '-';
}

static int read_hostname(struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *ev)
{
	const char *text;
	int rc = yamlmap_text(y, f->name, ev, &text);

	if (rc < 0)
		return rc;
	if (!is_hostname(text) && !is_address(text))
		return yamlmap_refuse(y, yamlmap_line(ev),
			"'%s' must be a host name or an IP address, not '%.64s'", f->name, text);
	return set_string(y, string_at(y, f), text);
}

static int read_address(struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *ev)
{
	const char *text;
	int rc = yamlmap_text(y, f->name, ev, &text);

	if (rc < 0)
		return rc;
	if (!is_address(text))
		return yamlmap_refuse(y, yamlmap_line(ev),
			"'%s' must be an IP address, not '%.64s'", f->name, text);
	return set_string(y, string_at(y, f), text);
}

/* "/a//b/./c/" becomes "/a/b/c" in place; false when it is relative, the root, or has "..". */
static bool normalize_path(char *path)
{
	char *out = path, *in = path;

	if (path[0] != '/')
		return false;
	while (*in) {
		size_t len;

		in += strspn(in, "/");
		len = strcspn(in, "/");
		if (len == 2 && in[0] == '.' && in[1] == '.')
			return false;
		if (len > 0 && !(len == 1 && in[0] == '.')) {
			*out++ = '/';
			memmove(out, in, len);
			out += len;
		}
		in += len;
	}
	*out = '\0';
	return out != path;
}

static int read_directory(struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *ev)
{
	char **where = string_at(y, f);
	const char *text;
	int rc = yamlmap_text(y, f->name, ev, &text);

	if (rc < 0)
		return rc;
	/* Room for "/<dataset_id>/<name>" below it in one path. */
	if (strlen(text) > PATH_MAX - 512)
		return yamlmap_refuse(y, yamlmap_line(ev), "'%s' is too long a path", f->name);
	rc = set_string(y, where, text);
	if (rc < 0)
		return rc;
	if (!normalize_path(*where))
		return yamlmap_refuse(y, yamlmap_line(ev),
			"'%s' must be an absolute path of a directory, without '..', not '%.256s'",
			f->name, text);
	return 0;
}

static int read_filesystem(struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *ev)
{
	const char *text;
	int kind, rc = yamlmap_text(y, f->name, ev, &text);

	if (rc < 0)
		return rc;
	kind = fs_kind_parse(text);
	if (kind < 0)
		return yamlmap_refuse(y, yamlmap_line(ev),
			"'%s' must be ext4, xfs or btrfs, not '%.64s'", f->name, text);
	config_of(y)->filesystem = (enum fs_kind)kind;
	return 0;
}

static int read_self_fence(struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *ev)
{
	const char *text;
	int rc = yamlmap_text(y, f->name, ev, &text);

	if (rc < 0)
		return rc;
	if (!STREQ(text, "cut") && !STREQ(text, "reboot"))
		return yamlmap_refuse(y, yamlmap_line(ev), "'%s' must be cut or reboot, not '%.64s'", f->name, text);
	config_of(y)->self_fence_reboot = STREQ(text, "reboot");
	return 0;
}

static int read_space_warning(struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *ev)
{
	unsigned int percent;
	const char *text;
	char end;
	int rc = yamlmap_text(y, f->name, ev, &text);

	if (rc < 0)
		return rc;
	if (strlen(text) > 3 || !strchr("0123456789", *text) ||
		sscanf(text, "%2u%c", &percent, &end) != 2 || end != '%')
		return yamlmap_refuse(y, yamlmap_line(ev), "'%s' must be from 0%% to 99%%, not '%.64s'", f->name, text);
	config_of(y)->space_percent = percent;
	return 0;
}

static int read_discard(struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *ev)
{
	static const char *const words[] = { [DISCARD_OFF] = "off", [DISCARD_WEEKLY] = "weekly", [DISCARD_ON] = "on" };
	const char *text;
	int rc = yamlmap_text(y, f->name, ev, &text);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (STREQ(text, words[i])) {
			config_of(y)->discard = (enum discard_policy)i;
			return 0;
		}
	return yamlmap_refuse(y, yamlmap_line(ev), "'%s' must be off, weekly or on, not '%.64s'", f->name, text);
}

static int read_watchdog(struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *ev)
{
	char **where = string_at(y, f);
	const char *text;
	int rc = yamlmap_text(y, f->name, ev, &text);

	if (rc < 0)
		return rc;
	rc = set_string(y, where, text);
	if (rc < 0 || STREQ(text, "auto") || STREQ(text, "none"))
		return rc;
	if (strlen(text) > PATH_MAX / 2 || !normalize_path(*where) || strncmp(*where, "/dev/", 5) != 0)
		return yamlmap_refuse(y, yamlmap_line(ev),
			"'%s' must be auto, none, or a device such as /dev/watchdog0, not '%.64s'", f->name, text);
	return 0;
}

static int read_mount_options(
	struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *ev)
{
	char refusal[400] = "out of memory";
	const char *text, *p;
	int rc = yamlmap_text(y, f->name, ev, &text);

	if (rc < 0)
		return rc;
	for (p = text; *text; p++) {
		size_t len = strcspn(p, ",");

		if (len == 0 || memchr(p, ' ', len))
			return yamlmap_refuse(y, yamlmap_line(ev),
				"'%s' must be options separated by single commas, not '%.256s'",
				f->name, text);
		p += len;
		if (!*p)
			break;
	}
	/* Every mount would fail with it: better said now, with the line. */
	if (vmount_options_check(text, refusal, sizeof(refusal)) < 0)
		return yamlmap_refuse(y, yamlmap_line(ev), "'%s': %s", f->name, refusal);
	return set_string(y, string_at(y, f), text);
}

static int read_backend(struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *ev)
{
	const char *text;
	int rc = yamlmap_text(y, f->name, ev, &text);

	if (rc < 0)
		return rc;
	if (text[0] == '\0' || strlen(text) > 64)
		return yamlmap_refuse(
			y, yamlmap_line(ev), "'%s' must be the name of a backend", f->name);
	return set_string(y, string_at(y, f), text);
}

static int warn(struct yamlmap *y, const char *text)
{
	struct node_config *c = config_of(y);
	char **more = realloc(c->warnings, (c->n_warnings + 1) * sizeof(*more));

	if (!more)
		return yamlmap_no_memory(y);
	c->warnings = more;
	more[c->n_warnings] = strdup(text);
	if (!more[c->n_warnings])
		return yamlmap_no_memory(y);
	c->n_warnings++;
	return 0;
}

/* The original's Python logging dictionary. */
static int skip_logging(struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *ev)
{
	char text[512];

	snprintf(text, sizeof(text),
		"%.256s line %u: '%s' has no effect; choose what is logged with --log-level",
		y->file, yamlmap_line(ev), f->name);
	return warn(y, text) < 0 ? -ENOMEM : yamlmap_skip(y, ev);
}

static int keep_option(
	struct yamlmap *y, const char *key, const yaml_event_t *ev, unsigned int line)
{
	struct node_config *c = config_of(y);
	struct node_option *o;
	const char *text;
	int rc = yamlmap_text(y, key, ev, &text);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < c->n_options; i++)
		if (STREQ(c->options[i].key, key))
			return yamlmap_refuse(y, line, "'%s' is given twice, first on line %u", key,
				c->options[i].line);
	if (c->n_options == NODE_CONFIG_OPTIONS_MAX)
		return yamlmap_refuse(
			y, line, "'dataset' has more than %d keys", NODE_CONFIG_OPTIONS_MAX);

	o = reallocarray(c->options, c->n_options + 1, sizeof(*o));
	if (!o)
		return yamlmap_no_memory(y);
	c->options = o;
	o += c->n_options++;
	*o = (struct node_option){ .key = strdup(key), .value = strdup(text), .line = line };
	return o->key && o->value ? 0 : yamlmap_no_memory(y);
}

#define AT(member) offsetof(struct node_config, member)

static int read_control_service(
	struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *ev)
{
	static const struct yamlmap_field fields[] = {
		{ "hostname", true, read_hostname, AT(control_hostname) },
		{ "port", false, read_port, 0 },
	};

	return yamlmap_nested(
		y, &(struct yamlmap_table){ f->name, fields, ARRAY_SIZE(fields), NULL }, ev);
}

static int read_dataset(struct yamlmap *y, const struct yamlmap_field *f, const yaml_event_t *ev)
{
	static const struct yamlmap_field fields[] = {
		{ "backend", true, read_backend, AT(backend) },
	};

	return yamlmap_nested(
		y, &(struct yamlmap_table){ f->name, fields, ARRAY_SIZE(fields), keep_option }, ev);
}

static const struct yamlmap_field top_fields[] = {
	{ "version", true, read_version, 0 },
	{ "control-service", true, read_control_service, 0 },
	{ "dataset", true, read_dataset, 0 },
	{ "address", false, read_address, AT(address) },
	{ "mount-root", false, read_directory, AT(mount_root) },
	{ "run-directory", false, read_directory, AT(run_directory) },
	{ "state-directory", false, read_directory, AT(state_directory) },
	{ "filesystem", false, read_filesystem, 0 },
	{ "mount-options", false, read_mount_options, AT(mount_options) },
	{ "self-fence", false, read_self_fence, 0 },
	{ "space-warning", false, read_space_warning, 0 },
	{ "discard", false, read_discard, 0 },
	{ "watchdog", false, read_watchdog, AT(watchdog) },
	{ "logging", false, skip_logging, 0 },
};
static_assert(ARRAY_SIZE(top_fields) <= YAMLMAP_FIELDS_MAX, "no room for a field");

static const struct yamlmap_table top_map = { NULL, top_fields, ARRAY_SIZE(top_fields), NULL };

/* Is @path @dir/datasets or below it? That is the status tree, which the daemon itself serves. */
static bool in_tree(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	static const char tree[] = "/datasets";
	const size_t t = sizeof(tree) - 1;

	return strncmp(path, dir, n) == 0 && strncmp(path + n, tree, t) == 0 &&
		(path[n + t] == '\0' || path[n + t] == '/');
}

static int check_directories(struct yamlmap *y)
{
	const struct node_config *c = config_of(y);
	const struct {
		const char *name, *path;
	} dirs[] = {
		{ "mount-root", c->mount_root },
		{ "run-directory", c->run_directory },
		{ "state-directory", c->state_directory },
	};

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		for (size_t j = 0; j < ARRAY_SIZE(dirs); j++) {
			if (i < j && STREQ(dirs[i].path, dirs[j].path))
				return yamlmap_refuse(y, 0,
					"'%s' and '%s' are the same directory, %.256s",
					dirs[i].name, dirs[j].name, dirs[i].path);
			if (j != 2 && in_tree(dirs[i].path, dirs[j].path))
				return yamlmap_refuse(y, 0,
					"'%s' lies in the status tree %.256s/datasets",
					dirs[i].name, dirs[j].path);
		}
	return 0;
}

static int set_defaults(struct yamlmap *y)
{
	struct node_config *c = config_of(y);
	const struct {
		char **where;
		const char *text;
	} defaults[] = {
		{ &c->mount_root, "/flocker" },
		{ &c->run_directory, "/run/flocker" },
		{ &c->state_directory, "/var/lib/flocker-node" },
		{ &c->mount_options, "" },
		{ &c->watchdog, "auto" },
	};

	c->control_port = DEFAULT_AGENT_PORT;
	c->filesystem = FS_EXT4;
	c->space_percent = NODE_CONFIG_SPACE_PERCENT;
	c->discard = DISCARD_WEEKLY;
	for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
		if (set_string(y, defaults[i].where, defaults[i].text) < 0)
			return -ENOMEM;
	return 0;
}

static int set_certificates(struct yamlmap *y)
{
	const char *slash = strrchr(y->file, '/');
	int n = slash ? (int)(slash - y->file) : 1;
	const char *dir = slash ? y->file : ".";
	const struct {
		char **where;
		const char *name;
	} files[] = {
		{ &config_of(y)->cluster_crt, "cluster.crt" },
		{ &config_of(y)->cluster_crl, "cluster.crl" },
		{ &config_of(y)->node_crt, "node.crt" },
		{ &config_of(y)->node_key, "node.key" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (asprintf(files[i].where, "%.*s/%s", n, dir, files[i].name) < 0) {
			*files[i].where = NULL;
			return yamlmap_no_memory(y);
		}
	return 0;
}

int node_config_parse(const char *text, size_t size, const char *file_name,
	struct node_config **ret, char *why, size_t why_size)
{
	_cleanup_(node_config_freep) struct node_config *c = NULL;
	struct yamlmap y = { .file = file_name, .why = why, .why_size = why_size };
	int rc;

	if (size > NODE_CONFIG_SIZE_MAX) {
		yamlmap_refuse(
			&y, 0, "the file is larger than %d bytes", (int)NODE_CONFIG_SIZE_MAX);
		return -E2BIG;
	}
	c = y.userdata = calloc(1, sizeof(*c));
	if (!c)
		return yamlmap_no_memory(&y);
	rc = set_defaults(&y);
	if (rc == 0)
		rc = set_certificates(&y);
	if (rc == 0)
		rc = yamlmap_read(&y, text, size, &top_map);
	if (rc == 0)
		rc = check_directories(&y);
	if (rc < 0)
		return rc;
	*ret = TAKE_PTR(c);
	return 0;
}

/* Reads at most @room bytes; one more than allowed is enough to know that there are too many. */
static ssize_t read_all(int fd, char *buf, size_t room)
{
	size_t have = 0;

	while (have < room) {
		ssize_t n = read(fd, buf + have, room - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

static int check_mode(
	const char *path, const struct stat *st, struct node_config *c, char *why, size_t why_size)
{
	struct yamlmap y = { .file = path, .why = why, .why_size = why_size, .userdata = c };
	char text[512];

	if (!(st->st_mode & (S_IWGRP | S_IWOTH)))
		return 0;
	snprintf(text, sizeof(text), "%.256s can be changed by others than its owner (mode %04o)",
		path, (unsigned int)st->st_mode & 07777);
	return warn(&y, text);
}

int node_config_read(const char *path, struct node_config **ret, char *why, size_t why_size)
{
	_cleanup_(node_config_freep) struct node_config *c = NULL;
	_cleanup_free_ char *text = malloc(NODE_CONFIG_SIZE_MAX + 1);
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	ssize_t n;
	int rc;

	if (!text) {
		snprintf(why, why_size, "%s: out of memory", path);
		return -ENOMEM;
	}
	/* O_NONBLOCK: a pipe in its place must not hold up the start. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	n = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
	if (n == 0 && !S_ISREG(st.st_mode))
		n = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if (n == 0)
		n = read_all(fd, text, NODE_CONFIG_SIZE_MAX + 1);
	if (n < 0) {
		snprintf(why, why_size, "cannot read %s: %s", path, strerror((int)-n));
		return (int)n;
	}
	rc = node_config_parse(text, (size_t)n, path, &c, why, why_size);
	if (rc == 0)
		rc = check_mode(path, &st, c, why, why_size);
	if (rc < 0)
		return rc;
	*ret = TAKE_PTR(c);
	return 0;
}

struct node_config *node_config_free(struct node_config *c)
{
	if (!c)
		return NULL;
	for (size_t i = 0; i < c->n_options; i++) {
		free(c->options[i].key);
		free(c->options[i].value);
	}
	for (size_t i = 0; i < c->n_warnings; i++)
		free(c->warnings[i]);
	free(c->options);
	free(c->warnings);
	free(c->control_hostname);
	free(c->backend);
	free(c->address);
	free(c->mount_root);
	free(c->run_directory);
	free(c->state_directory);
	free(c->mount_options);
	free(c->watchdog);
	free(c->cluster_crt);
	free(c->cluster_crl);
	free(c->node_crt);
	free(c->node_key);
	free(c);
	return NULL;
}

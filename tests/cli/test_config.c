/* SPDX-License-Identifier: Apache-2.0 */
/* Reading agent.yml: what is good gives values, what is wrong gives a line that says where. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "config.h"

#define HEAD                                                                                       \
	"version: 1\n"                                                                             \
	"control-service:\n"                                                                       \
	"  hostname: control.example.com\n"                                                        \
	"dataset:\n"                                                                               \
	"  backend: loopback\n"                                                                    \
	"  root_path: /var/lib/flocker/loopback\n" /* the next line is the seventh */

static struct node_config *good(const char *text)
{
	struct node_config *c = NULL;
	char why[NODE_CONFIG_WHY_MAX] = "";

	if (node_config_parse(text, strlen(text), "/etc/flocker/agent.yml", &c, why, sizeof(why)))
		fail_msg("refused: %s", why);
	return c;
}

static void the_shortest_file_has_the_documented_defaults(void **state)
{
	_cleanup_(node_config_freep) struct node_config *c = good(HEAD);

	assert_string_equal(c->control_hostname, "control.example.com");
	assert_int_equal(c->control_port, 4524);
	assert_string_equal(c->backend, "loopback");
	assert_int_equal(c->n_options, 1);
	assert_string_equal(c->options[0].key, "root_path");
	assert_string_equal(c->options[0].value, "/var/lib/flocker/loopback");
	assert_int_equal(c->options[0].line, 6);
	assert_null(c->address);
	assert_string_equal(c->mount_root, "/flocker");
	assert_string_equal(c->run_directory, "/run/flocker");
	assert_string_equal(c->state_directory, "/var/lib/flocker-node");
	assert_int_equal(c->filesystem, FS_EXT4);
	assert_string_equal(c->mount_options, "");
	assert_false(c->self_fence_reboot);
	assert_string_equal(c->watchdog, "auto");
	assert_int_equal(c->space_percent, 10);
	assert_int_equal(c->discard, DISCARD_WEEKLY);
	assert_string_equal(c->cluster_crt, "/etc/flocker/cluster.crt");
	assert_string_equal(c->cluster_crl, "/etc/flocker/cluster.crl");
	assert_string_equal(c->node_crt, "/etc/flocker/node.crt");
	assert_string_equal(c->node_key, "/etc/flocker/node.key");
	assert_int_equal(c->n_warnings, 0);
}

static void every_key_is_read(void **state)
{
	_cleanup_(node_config_freep) struct node_config *c = good(
		"---\n"
		"# a comment\n"
		"\"version\": 1\n"
		"control-service: {hostname: 127.0.0.1, port: 14524}\n"
		"dataset: {backend: loopback, root_path: '/a b', allocation_unit: 4096}\n"
		"address: 127.0.0.2\n"
		"mount-root: //srv/./flocker/\n"
		"run-directory: /run/there\n"
		"state-directory: /var/lib/there\n"
		"filesystem: xfs\n"
		"mount-options: nosuid,nodev,noatime\n"
		"self-fence: reboot\n"
		"watchdog: /dev//watchdog1\n"
		"space-warning: 5%\n"
		"discard: on\n"
		"...\n");

	assert_string_equal(c->control_hostname, "127.0.0.1");
	assert_int_equal(c->control_port, 14524);
	assert_int_equal(c->n_options, 2);
	assert_string_equal(c->options[0].value, "/a b");
	assert_string_equal(c->options[1].value, "4096");
	assert_string_equal(c->address, "127.0.0.2");
	assert_string_equal(c->mount_root, "/srv/flocker");
	assert_string_equal(c->run_directory, "/run/there");
	assert_string_equal(c->state_directory, "/var/lib/there");
	assert_int_equal(c->filesystem, FS_XFS);
	assert_string_equal(c->mount_options, "nosuid,nodev,noatime");
	assert_true(c->self_fence_reboot);
	assert_string_equal(c->watchdog, "/dev/watchdog1");
	assert_int_equal(c->space_percent, 5);
	assert_int_equal(c->discard, DISCARD_ON);
}

static void the_originals_logging_is_a_warning(void **state)
{
	_cleanup_(node_config_freep) struct node_config *c = good(HEAD
		"logging:\n"
		"  version: 1\n"
		"  handlers: {a: [1, 2, {b: c}], version: [[]]}\n"
		"filesystem: btrfs\n");

	assert_int_equal(c->n_warnings, 1);
	assert_non_null(strstr(c->warnings[0], "/etc/flocker/agent.yml line 8: 'logging' has no"));
	assert_int_equal(c->filesystem, FS_BTRFS);
}

static void no_mount_options_can_be_asked_for(void **state)
{
	_cleanup_(node_config_freep) struct node_config *c = good(HEAD "mount-options: ''\n");

	assert_string_equal(c->mount_options, "");
}

static const struct {
	const char *text, *why;
} wrong[] = {
	/* clang-format off */
	{ HEAD "adress: 10.0.0.1\n", "agent.yml line 7: unknown key 'adress'; did you mean 'address'?" },
	{ HEAD "mount_root: /x\n", "agent.yml line 7: unknown key 'mount_root'; did you mean 'mount-root'?" },
	{ HEAD "<<: {a: b}\n", "agent.yml line 7: unknown key '<<'; the keys here are: version, control-service, dataset, address, mount-root, run-directory, state-directory, filesystem, mount-options, self-fence, space-warning, discard, watchdog, logging" },
	{ HEAD "address: 10.0.0.1\n\naddress: 10.0.0.2\n", "agent.yml line 9: 'address' is given twice, first on line 7" },
	{ HEAD "  root_path: /y\n", "agent.yml line 7: 'root_path' is given twice, first on line 6" },
	{ HEAD "address: node1\n", "agent.yml line 7: 'address' must be an IP address, not 'node1'" },
	{ HEAD "address: [10.0.0.1]\n", "agent.yml line 7: 'address' must be a single value, not a list" },
	{ HEAD "address:\n", "agent.yml line 7: 'address' has no value" },
	{ HEAD "address: ~\n", "agent.yml line 7: 'address' has no value" },
	{ HEAD "address: \"10.0.0.1\\0\"\n", "agent.yml line 7: 'address' holds a control character" },
	{ HEAD "self-fence: yes\n", "agent.yml line 7: 'self-fence' must be cut or reboot, not 'yes'" },
	{ HEAD "watchdog: watchdog0\n", "agent.yml line 7: 'watchdog' must be auto, none, or a device such as /dev/watchdog0, not 'watchdog0'" },
	{ HEAD "watchdog: /dev/../x\n", "agent.yml line 7: 'watchdog' must be auto, none, or a device such as /dev/watchdog0, not '/dev/../x'" },
	{ HEAD "space-warning: 10\n", "agent.yml line 7: 'space-warning' must be from 0% to 99%, not '10'" },
	{ HEAD "space-warning: 100%\n", "agent.yml line 7: 'space-warning' must be from 0% to 99%, not '100%'" },
	{ HEAD "space-warning: \"-5%\"\n", "agent.yml line 7: 'space-warning' must be from 0% to 99%, not '-5%'" },
	{ HEAD "discard: daily\n", "agent.yml line 7: 'discard' must be off, weekly or on, not 'daily'" },
	{ HEAD "filesystem: zfs\n", "agent.yml line 7: 'filesystem' must be ext4, xfs or btrfs, not 'zfs'" },
	{ HEAD "mount-root: flocker\n", "agent.yml line 7: 'mount-root' must be an absolute path of a directory, without '..', not 'flocker'" },
	{ HEAD "mount-root: /a/../b\n", "agent.yml line 7: 'mount-root' must be an absolute path of a directory, without '..', not '/a/../b'" },
	{ HEAD "mount-root: //./\n", "agent.yml line 7: 'mount-root' must be an absolute path of a directory, without '..', not '//./'" },
	{ HEAD "mount-root: /run/flocker/\n", "agent.yml: 'mount-root' and 'run-directory' are the same directory, /run/flocker" },
	{ HEAD "state-directory: /flocker/datasets/a\n", "agent.yml: 'state-directory' lies in the status tree /flocker/datasets" },
	{ HEAD "mount-options: nosuid, nodev\n", "agent.yml line 7: 'mount-options' must be options separated by single commas, not 'nosuid, nodev'" },
	{ HEAD "mount-options: nosuid,\n", "agent.yml line 7: 'mount-options' must be options separated by single commas, not 'nosuid,'" },
	{ HEAD "mount-options: nosuid,ro\n", "agent.yml line 7: 'mount-options': mount option 'ro' is refused: a dataset is mounted read-write or not at all" },
	{ HEAD "mount-options: nobarrier\n", "agent.yml line 7: 'mount-options': mount option 'nobarrier' is refused: what was fsynced must outlive a crash" },
	{ HEAD "version: 1\n", "agent.yml line 7: 'version' is given twice, first on line 1" },
	{ HEAD "logging: &a [*a]\n", "agent.yml line 7: anchors and aliases ('a') are not allowed here" },
	{ HEAD "logging: [*a]\n", "agent.yml line 7: anchors and aliases ('a') are not allowed here" },
	{ HEAD "address: !!str 10.0.0.1\n", "agent.yml line 7: tags ('tag:yaml.org,2002:str') are not allowed here" },
	{ HEAD "? [a, b]\n: c\n", "agent.yml line 7: a key must be a plain word" },
	{ HEAD "---\nversion: 1\n", "agent.yml line 7: a second document begins; one is allowed" },
	{ HEAD "address: 'unended\n", "agent.yml line 8: found unexpected end of stream" },
	{ HEAD "  - x\n", "agent.yml line 7: did not find expected key" },
	{ HEAD "address: \xff\n", "agent.yml line 7: invalid leading UTF-8 octet" },
	{ "", "agent.yml: the file is empty" },
	{ "# nothing\n", "agent.yml: the file is empty" },
	{ "- version: 1\n", "agent.yml line 1: the file must be one mapping of keys to values" },
	{ "version\n", "agent.yml line 1: the file must be one mapping of keys to values" },
	{ "version: 2\n", "agent.yml line 1: 'version' must be the number 1, not '2'" },
	{ "version: '1'\n", "agent.yml line 1: 'version' must be the number 1, not '1'" },
	{ "version: 1\n", "agent.yml: 'control-service' is missing" },
	{ "version: 1\ncontrol-service: {hostname: a}\n", "agent.yml: 'dataset' is missing" },
	{ "control-service: {hostname: a}\ndataset: {backend: b}\n", "agent.yml: 'version' is missing" },
	{ "version: 1\ncontrol-service: {port: 1}\n", "agent.yml line 2: 'hostname' is missing in control-service" },
	{ "version: 1\ncontrol-service: host\n", "agent.yml line 2: 'control-service' must be a mapping that holds 'hostname'" },
	{ "version: 1\ncontrol-service:\n  hostname: a\n  prot: 1\n", "agent.yml line 4: unknown key 'prot'; did you mean 'port'?" },
	{ "version: 1\ncontrol-service:\n  hostname: a_b\n", "agent.yml line 3: 'hostname' must be a host name or an IP address, not 'a_b'" },
	{ "version: 1\ncontrol-service:\n  hostname: a..b\n", "agent.yml line 3: 'hostname' must be a host name or an IP address, not 'a..b'" },
	{ "version: 1\ncontrol-service:\n  hostname: -a\n", "agent.yml line 3: 'hostname' must be a host name or an IP address, not '-a'" },
	{ "version: 1\ncontrol-service:\n  port: 0\n", "agent.yml line 3: 'port' must be a number from 1 to 65535, not '0'" },
	{ "version: 1\ncontrol-service:\n  port: 65536\n", "agent.yml line 3: 'port' must be a number from 1 to 65535, not '65536'" },
	{ "version: 1\ncontrol-service:\n  port: '4524'\n", "agent.yml line 3: 'port' must be a number from 1 to 65535, not '4524'" },
	{ "version: 1\ncontrol-service:\n  port: 4524x\n", "agent.yml line 3: 'port' must be a number from 1 to 65535, not '4524x'" },
	{ "version: 1\ndataset:\n  root_path: /x\n", "agent.yml line 3: 'backend' is missing in dataset" },
	{ "version: 1\ndataset:\n  backend: ''\n", "agent.yml line 3: 'backend' must be the name of a backend" },
	{ "version: 1\ndataset:\n  credentials: {a: b}\n", "agent.yml line 3: 'credentials' must be a single value, not a mapping" },
	{ "version: 1\ndataset:\n  root_path:\n", "agent.yml line 3: 'root_path' has no value" },
	/* clang-format on */
};

static void each_mistake_is_told_with_its_line(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct node_config *c = NULL;
		char why[NODE_CONFIG_WHY_MAX] = "";
		int r = node_config_parse(wrong[i].text, strlen(wrong[i].text), "agent.yml", &c,
			why, sizeof(why));

		assert_string_equal(why, wrong[i].why);
		assert_int_equal(r, -EBADMSG);
		assert_null(c);
	}
}

static void a_terminal_cannot_be_driven_from_the_file(void **state)
{
	static const char text[] = HEAD "\"\\e[31m\": 1\n";
	struct node_config *c = NULL;
	char why[NODE_CONFIG_WHY_MAX] = "";

	assert_int_equal(node_config_parse(text, strlen(text), "agent.yml", &c, why, sizeof(why)),
		-EBADMSG);
	assert_null(strchr(why, '\033'));
}

static void a_file_without_end_is_refused(void **state)
{
	_cleanup_free_ char *text = malloc(NODE_CONFIG_SIZE_MAX + 1);
	struct node_config *c = NULL;
	char why[NODE_CONFIG_WHY_MAX] = "";

	assert_non_null(text);
	memset(text, '[', NODE_CONFIG_SIZE_MAX + 1);
	assert_int_equal(node_config_parse(text, NODE_CONFIG_SIZE_MAX + 1, "agent.yml", &c, why,
				 sizeof(why)), -E2BIG);
	/* As deep as it may be: an error, and no stack overflow. */
	assert_int_equal(node_config_parse(text, NODE_CONFIG_SIZE_MAX, "agent.yml", &c, why,
				 sizeof(why)), -EBADMSG);
}

static void too_many_backend_keys_are_refused(void **state)
{
	char text[4096] = HEAD, why[NODE_CONFIG_WHY_MAX] = "";
	struct node_config *c = NULL;
	size_t n = strlen(text);

	for (int i = 0; i < NODE_CONFIG_OPTIONS_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "  k%d: v\n", i);
	assert_int_equal(node_config_parse(text, n, "agent.yml", &c, why, sizeof(why)), -EBADMSG);
	assert_string_equal(why, "agent.yml line 70: 'dataset' has more than 64 keys");
}

static void files_that_cannot_be_read_are_named(void **state)
{
	struct node_config *c = NULL;
	char why[NODE_CONFIG_WHY_MAX] = "";

	assert_int_equal(node_config_read("/nonexistent/agent.yml", &c, why, sizeof(why)), -ENOENT);
	assert_string_equal(why, "cannot read /nonexistent/agent.yml: No such file or directory");
	assert_int_equal(node_config_read("/tmp", &c, why, sizeof(why)), -EISDIR);
	assert_int_equal(node_config_read("/dev/zero", &c, why, sizeof(why)), -EINVAL);
	assert_null(c);
}

static void a_file_that_others_may_write_is_a_warning(void **state)
{
	char path[] = "/tmp/test-agent-yml.XXXXXX", why[NODE_CONFIG_WHY_MAX] = "";
	_cleanup_(node_config_freep) struct node_config *c = NULL;
	_cleanup_close_ int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, HEAD, strlen(HEAD)), strlen(HEAD));
	assert_int_equal(fchmod(fd, 0666), 0);
	assert_int_equal(node_config_read(path, &c, why, sizeof(why)), 0);
	unlink(path);
	assert_int_equal(c->n_warnings, 1);
	assert_non_null(strstr(c->warnings[0], "can be changed by others"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_shortest_file_has_the_documented_defaults),
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(the_originals_logging_is_a_warning),
		cmocka_unit_test(no_mount_options_can_be_asked_for),
		cmocka_unit_test(each_mistake_is_told_with_its_line),
		cmocka_unit_test(a_terminal_cannot_be_driven_from_the_file),
		cmocka_unit_test(a_file_without_end_is_refused),
		cmocka_unit_test(too_many_backend_keys_are_refused),
		cmocka_unit_test(files_that_cannot_be_read_are_named),
		cmocka_unit_test(a_file_that_others_may_write_is_a_warning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

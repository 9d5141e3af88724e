/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "cmdmask.h"
#include "diagnose_host.h"
#include "text.h"
#include "ymlmask.h"
#include "ymlpick.h"

#define ETC "/etc/flocker"

/* These run in a process that ends behind them: what they hold ends with it. */

static int copy(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char buf[65536];
	ssize_t n;

	if (fd < 0)
		goto fail;
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		fwrite(buf, 1, (size_t)n, stdout);
	close_keep_errno(fd);
	if (n == 0)
		return 0;
fail:
	fprintf(stderr, "cannot read '%s': %s\n", path, strerror(errno));
	return 1;
}

static int run_file(const void *userdata)
{
	const struct host_part *p = userdata;

	return copy(p->words[0]);
}

static int run_cmdline(const void *userdata)
{
	char text[16384];
	ssize_t n = text_read(AT_FDCWD, "/proc/cmdline", text, sizeof(text));

	if (n >= 0)
		cmdmask(text, stdout);
	else
		fprintf(stderr, "cannot read '/proc/cmdline': %s\n", strerror((int)-n));
	return n < 0;
}

static void set_environment(void)
{
	setenv("LC_ALL", "C.UTF-8", 1);
	/* Debian's users have no sbin in their path. */
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
}

static int run_kernel_log(const void *userdata)
{
	char *line = NULL;
	size_t size = 0;
	FILE *in;
	int status;

	set_environment();
	in = popen("exec journalctl --no-pager --quiet --output=short-iso-precise --lines=2000 --dmesg", "re");
	if (!in) {
		fprintf(stderr, "cannot run 'journalctl': %s\n", strerror(errno));
		return 127;
	}
	while (getline(&line, &size, in) > 0)
		cmdmask_log(line, stdout);
	status = pclose(in);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int run_command(const void *userdata)
{
	const struct host_part *p = userdata;
	char *argv[ARRAY_SIZE(p->words)];

	for (size_t i = 0; i < ARRAY_SIZE(argv); i++)
		argv[i] = (char *)(uintptr_t)p->words[i];
	set_environment();
	execvp(argv[0], argv);
	fprintf(stderr, "cannot run '%s': %s\n", argv[0], strerror(errno));
	return 127;
}

/* The names in a directory, sorted; the number of them, or -1 and it was said. */
static int list(const char *dir, struct dirent ***ret)
{
	int n = scandir(dir, ret, NULL, alphasort);

	if (n < 0)
		fprintf(stderr, "cannot read '%s': %s\n", dir, strerror(errno));
	return n;
}

static void print_attribute(const char *device, const char *attribute)
{
	char path[512], value[4096];

	snprintf(path, sizeof(path), "/sys/block/%s/%s", device, attribute);
	if (text_read_line(AT_FDCWD, path, value, sizeof(value)) == 0)
		printf(" %s=%s", strrchr(path, '/') + 1, value);
}

static int run_loops(const void *userdata)
{
	static const char *const attributes[] = { "loop/backing_file", "loop/offset", "loop/sizelimit",
		"loop/autoclear", "loop/dio", "size", "ro", "diskseq", "inflight" };
	struct dirent **names;
	int n = list("/sys/block", &names);
	struct stat st;
	char path[300];

	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "/sys/block/%.255s/loop", names[i]->d_name);
		if (strncmp(names[i]->d_name, "loop", 4) != 0 || stat(path, &st) < 0)
			continue;
		fputs(names[i]->d_name, stdout);
		for (size_t k = 0; k < ARRAY_SIZE(attributes); k++)
			print_attribute(names[i]->d_name, attributes[k]);
		putchar('\n');
	}
	return n < 0;
}

/* Directories of the status tree, of the usual places and of agent.yml's. */
static int print_tree(const char *dir)
{
	struct dirent **names;
	char path[4096 + 300];
	struct stat st;
	int n = list(dir, &names);

	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%.4096s/%.255s", dir, names[i]->d_name);
		if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
			continue;
		printf("==> %s <==\n", path);
		(void)copy(path);
		putchar('\n');
	}
	return n < 0;
}

static int run_tree(const void *userdata)
{
	static const struct {
		const char *key, *usual;
	} roots[] = { { "mount-root", "/flocker" }, { "run-directory", "/run/flocker" } };
	int failed = 1;

	for (size_t i = 0; i < ARRAY_SIZE(roots); i++) {
		_cleanup_free_ char *root = NULL, *dir = NULL;

		(void)ymlpick(ETC "/agent.yml", roots[i].key, &root);
		if (asprintf(&dir, "%s/datasets/.node", root ? root : roots[i].usual) < 0)
			return 1;
		failed &= print_tree(dir);
	}
	return failed;
}

static int mask(const char *path)
{
	int r = ymlmask(path, stdout);

	if (r < 0)
		fprintf(stderr, "\ncannot show '%s': %s\n", path, r == -EBADMSG ? "it is no YAML" : strerror(-r));
	return r < 0;
}

/* Beside the certificates that are used here, unless it has a place of its own. */
static int run_config(const void *userdata)
{
	const struct host_part *p = userdata;
	_cleanup_free_ char *path = NULL;

	if (STREQ(p->words[0], "cluster.yml") && p->args->cluster_yml)
		return mask(p->args->cluster_yml);
	if (strchr(p->words[0], '/'))
		return mask(p->words[0]);
	if (asprintf(&path, "%s/%s", p->args->certs_path, p->words[0]) < 0)
		return 1;
	return mask(path);
}

/* What is public of a certificate. */
static void print_certificate(const char *path)
{
	BIO *out = BIO_new_fp(stdout, BIO_NOCLOSE), *in = BIO_new_file(path, "r");
	X509 *x = in ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;

	fflush(stdout);
	if (x && out) {
		BIO_puts(out, "    subject ");
		X509_NAME_print_ex(out, X509_get_subject_name(x), 0, XN_FLAG_RFC2253);
		BIO_puts(out, "\n    issuer ");
		X509_NAME_print_ex(out, X509_get_issuer_name(x), 0, XN_FLAG_RFC2253);
		BIO_puts(out, "\n    serial ");
		i2a_ASN1_INTEGER(out, X509_get0_serialNumber(x));
		BIO_puts(out, "\n    not before ");
		ASN1_TIME_print(out, X509_get0_notBefore(x));
		BIO_puts(out, "\n    not after ");
		ASN1_TIME_print(out, X509_get0_notAfter(x));
		BIO_puts(out, "\n");
	} else {
		puts("    no certificate that can be read");
	}
	(void)BIO_flush(out);
	X509_free(x);
	BIO_free(in);
	BIO_free(out);
}

static bool ends_in(const char *name, const char *end)
{
	size_t n = strlen(name), k = strlen(end);

	return n > k && STREQ(name + n - k, end);
}

/* Of keys only that they are there, whose they are, and who may read them. */
static int print_files(const char *dir)
{
	struct dirent **names;
	char path[4096 + 300];
	struct stat st;
	int n = list(dir, &names);

	printf("%s\n", dir);
	for (int i = 0; i < n; i++) {
		const char *name = names[i]->d_name;

		snprintf(path, sizeof(path), "%.4096s/%.255s", dir, name);
		if (name[0] == '.' || lstat(path, &st) < 0 ||
			!(ends_in(name, ".crt") || ends_in(name, ".key") || ends_in(name, ".crl") ||
				ends_in(name, ".yml")))
			continue;
		printf("  %s mode %04o owner %u:%u, %lld bytes, of %s\n", name, (unsigned int)st.st_mode & 07777,
			(unsigned int)st.st_uid, (unsigned int)st.st_gid, (long long)st.st_size,
			TEXT_TIME(st.st_mtime));
		if (ends_in(name, ".crt"))
			print_certificate(path);
	}
	return n < 0;
}

static int run_certificates(const void *userdata)
{
	const struct host_part *p = userdata;
	int failed = print_files(p->args->certs_path);

	if (!STREQ(p->args->certs_path, ETC))
		failed &= print_files(ETC);
	return failed;
}

static int run_links(const void *userdata)
{
	const struct host_part *p = userdata;
	struct dirent **names;
	char path[4096 + 300], target[4096];
	int n = list(p->words[0], &names);

	for (int i = 0; i < n; i++) {
		ssize_t len;

		snprintf(path, sizeof(path), "%.4096s/%.255s", p->words[0], names[i]->d_name);
		len = readlink(path, target, sizeof(target) - 1);
		if (len > 0)
			printf("%s -> %.*s\n", names[i]->d_name, (int)len, target);
	}
	return n < 0;
}

/* clang-format off */
const struct host_part host_parts[] = {
	{ "host/kernel.txt", run_file, { "/proc/version" } },
	{ "host/cmdline.txt", run_cmdline, { NULL } },
	{ "host/os-release.txt", run_file, { "/etc/os-release" } },
	{ "host/uptime.txt", run_file, { "/proc/uptime" } },
	{ "host/load.txt", run_file, { "/proc/loadavg" } },
	{ "host/memory.txt", run_file, { "/proc/meminfo" } },
	{ "host/modules.txt", run_file, { "/proc/modules" } },
	{ "host/mountinfo.txt", run_file, { "/proc/self/mountinfo" } },
	{ "host/partitions.txt", run_file, { "/proc/partitions" } },
	{ "host/loops.txt", run_loops, { NULL } },
	{ "host/lsblk.txt", run_command, { "lsblk", "--all", "--output",
		"NAME,KNAME,MAJ:MIN,SIZE,RO,TYPE,FSTYPE,UUID,MOUNTPOINTS" } },
	{ "host/by-dataset.txt", run_links, { "/dev/disk/by-dataset" } },
	{ "host/units.txt", run_command, { "systemctl", "--no-pager", "--full", "status", "flocker-*" } },
	{ "host/versions/flocker-node.txt", run_command, { "flocker-node", "--version" } },
	{ "host/versions/flocker-control.txt", run_command, { "flocker-control", "--version" } },
	{ "host/versions/mount.txt", run_command, { "mount", "--version" } },
	{ "host/versions/ext4.txt", run_command, { "mkfs.ext4", "-V" } },
	{ "host/versions/xfs.txt", run_command, { "mkfs.xfs", "-V" } },
	{ "host/versions/btrfs.txt", run_command, { "mkfs.btrfs", "--version" } },
	{ "logs/flocker.txt", run_command, { "journalctl", "--no-pager", "--quiet", "--output=short-iso-precise",
		"--lines=20000", "--unit=flocker-*" } },
	{ "logs/kernel.txt", run_kernel_log, { NULL } },
	{ "tree/node.txt", run_tree, { NULL } },
	{ "configuration/agent.yml", run_config, { ETC "/agent.yml" } },
	{ "configuration/user/agent.yml", run_config, { "agent.yml" } },
	{ "configuration/user/cluster.yml", run_config, { "cluster.yml" } },
	{ "configuration/certificates.txt", run_certificates, { NULL } },
};
/* clang-format on */
const size_t n_host_parts = ARRAY_SIZE(host_parts);

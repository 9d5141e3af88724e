/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon HELPER RUN_DIRECTORY MOUNT_ROOT [LIMIT_MS [reboot|cut [WATCHDOG]]] - stands in for the node daemon in
 * tests of the fence helper. Lines on standard input are requests, named by their number:
 *
 *	arm ID MS FS [MAJOR MINOR DISKSEQ [step]]
 *	device ID MAJOR MINOR DISKSEQ
 *	disarm ID
 *	begin ID
 *	end ID
 *	arm-many N MS		N datasets 00000000-...-<n>, answered by the last one's answer
 *	kill			the helper
 *	start			another helper, for one that is gone
 *	child			starts a process, which is the answer, and does nothing
 *	hang PATH		a thread of this process reads PATH, and waits for ever
 *
 * What is heard goes to standard output: "ready PID", "answer NUMBER RESULT",
 * "state ID WORD RESULT", "watchdog STATE RESULT LATE" and "gone". MS are milliseconds from now.
 */
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pthread.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "client.h"

#define WORDS_MAX 8

static struct fence_client_options options;
static struct fence_client *client;
static uint64_t number;

static uint64_t after_ms(const char *ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec +
	       (uint64_t)(strtoll(ms, NULL, 10) * 1000000);
}

static struct id128 id_of(const char *text)
{
	struct id128 id;

	if (id128_parse(text, &id) < 0) {
		fprintf(stderr, "daemon: '%s' is no id\n", text);
		exit(2);
	}
	return id;
}

static void *hang(void *path)
{
	char c;
	int fd;

	/* As the workers of the node daemon do, lest the connection outlive it. */
	if (close_range(3, ~0U, CLOSE_RANGE_UNSHARE) < 0)
		return NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC);

	(void)!read(fd, &c, 1);
	return NULL;
}

static int arm(char **w, size_t n)
{
	struct fence_arm a = { id_of(w[1]), after_ms(w[2]), (enum fs_kind)fs_kind_parse(w[3]) };

	if (n > 6) {
		a.devno = makedev((unsigned)atoi(w[4]), (unsigned)atoi(w[5]));
		a.diskseq = strtoull(w[6], NULL, 10);
	}
	a.step = n > 7;
	return fence_client_arm(client, &a, number);
}

static int arm_many(char **w)
{
	unsigned n = (unsigned)atoi(w[1]);
	struct fence_arm a = { .deadline_ns = after_ms(w[2]), .fs = FS_EXT4 };
	int r = 0;

	for (unsigned i = 0; i < n && r == 0; i++) {
		a.dataset_id = (struct id128){ 0, i };
		r = fence_client_arm(client, &a, i + 1 == n ? number : 0);
	}
	return r;
}

static int child(void)
{
	pid_t pid = fork();

	while (pid == 0)
		pause();
	printf("answer %ju %d\n", (uintmax_t)number, (int)pid);
	return 0;
}

static int request(char **w, size_t n)
{
	static pthread_t thread;

	number++;
	if (STREQ(w[0], "start"))
		return fence_client_new(&options, &client);
	if (!client)
		return -ENOTCONN;
	if (STREQ(w[0], "kill"))
		return fence_client_kill(client);
	if (STREQ(w[0], "child"))
		return child();
	if (STREQ(w[0], "hang"))
		return -pthread_create(&thread, NULL, hang, strdup(w[1]));
	if (STREQ(w[0], "arm-many"))
		return arm_many(w);
	if (STREQ(w[0], "arm"))
		return arm(w, n);
	if (STREQ(w[0], "device"))
		return fence_client_set_device(client, id_of(w[1]),
			makedev((unsigned)atoi(w[2]), (unsigned)atoi(w[3])),
			strtoull(w[4], NULL, 10), number);
	if (STREQ(w[0], "disarm"))
		return fence_client_disarm(client, id_of(w[1]), number);
	if (STREQ(w[0], "begin"))
		return fence_client_step_begin(client, id_of(w[1]), number);
	if (STREQ(w[0], "end"))
		return fence_client_step_end(client, id_of(w[1]), number);
	return -EINVAL;
}

static void hear(void)
{
	static const char *const words[] = { "none", "armed", "fired", "fenced" };
	static const char *const watchdogs[] = { "none", "idle", "armed", "late", "failed" };
	struct fence_packet p;
	int r;

	while ((r = fence_client_read(client, &p)) > 0) {
		if (p.kind == FENCE_READY)
			printf("ready %u\n", p.pid);
		else if (p.kind == FENCE_ANSWER)
			printf("answer %ju %d\n", (uintmax_t)p.cookie, p.result);
		else if (p.kind == FENCE_WATCHDOG)
			printf("watchdog %s %d %ju\n", watchdogs[p.state], p.result,
				(uintmax_t)p.deadline_ns);
		else
			printf("state %s %s %d\n", ID128_STR(p.dataset_id), words[p.state],
				p.result);
	}
	if (r < 0) {
		puts("gone");
		client = fence_client_free(client);
	}
	fflush(stdout);
}

static void obey(char *line)
{
	char *words[WORDS_MAX + 1] = { NULL };
	size_t n = 0;
	int r;

	for (char *w = strtok(line, " \n"); w && n < WORDS_MAX; w = strtok(NULL, " \n"))
		words[n++] = w;
	r = n > 0 ? request(words, n) : -EINVAL;
	if (r < 0)
		printf("answer %ju %d\n", (uintmax_t)number, r);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char line[4096];
	int r;

	if (argc < 4)
		return 2;
	options.helper = argv[1];
	options.run_directory = argv[2];
	options.mount_root = argv[3];
	options.limit_ms = argc > 4 ? (unsigned)atoi(argv[4]) : 0;
	options.reboot = argc > 5 && STREQ(argv[5], "reboot");
	options.watchdog = argc > 6 ? argv[6] : NULL;
	r = fence_client_new(&options, &client);
	if (r < 0) {
		fprintf(stderr, "daemon: %s\n", strerror(-r));
		return 1;
	}
	setvbuf(stdin, NULL, _IONBF, 0); /* or poll() would not see what is buffered */
	for (;;) {
		struct pollfd p[2] = { { .fd = 0, .events = POLLIN },
			{ .fd = client ? fence_client_fd(client) : -1, .events = POLLIN } };

		poll(p, 2, -1);
		if (p[1].revents)
			hear();
		if (!p[0].revents)
			continue;
		if (!fgets(line, sizeof(line), stdin))
			break;
		obey(line);
	}
	fence_client_free(client);
	return 0;
}

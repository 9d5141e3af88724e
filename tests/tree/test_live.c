/* SPDX-License-Identifier: Apache-2.0 */
/* The status tree while it changes: caches, poll, removal, the end of who serves it. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "treetest.h"

static unsigned int scale = 1; /* FLOCKER_TEST_FULL: as many as the promise says */

static int open_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_return_code(fd, errno);
	return fd;
}

static const char *read_at_start(int fd)
{
	static char buf[8192];
	ssize_t n = pread(fd, buf, sizeof(buf) - 1, 0);

	if (n < 0)
		return strerrorname_np(errno);
	buf[n] = '\0';
	return buf;
}

static int poll_events(int fd, int limit_ms)
{
	struct pollfd p = { fd, POLLIN, 0 };

	return poll(&p, 1, limit_ms) == 1 ? p.revents : 0;
}

static void a_cached_stat_changes_with_the_file(void **state)
{
	struct tree_command c = { .op = TREE_SET, .n = 1, .seq = 1, .metadata = "{\"k\":\"0\"}" };
	struct stat st;

	assert_int_equal(treehost_do(*state, &c), 0);
	for (unsigned int i = 0; i < 500; i++) {
		unsigned int digits = i % 5 + 1;

		c.seq = (unsigned int[]){ 9, 90, 900, 9000, 90000 }[i % 5];
		snprintf(c.metadata, sizeof(c.metadata), "{\"k\":\"%.*s\"}", (int)digits, "xxxxx");
		assert_int_equal(treehost_do(*state, &c), 0);
		wait_size(ds_path(1, "metadata/k"), digits + 1);
		wait_size(ds_path(1, "why"), 5 + digits + 5 + 1);
	}
	assert_return_code(stat(ds_path(1, "size"), &st), errno);
}

static void a_removed_dataset_is_gone_for_cached_names(void **state)
{
	int64_t end;

	assert_int_equal(treehost_set(*state, 1, 1, "n"), 0);
	assert_int_equal(access(ds_path(1, "state"), F_OK), 0);
	assert_int_equal(access(tree_path("by-name/n/state"), F_OK), 0);
	treehost_do(*state, &(struct tree_command){ .op = TREE_REMOVE, .n = 1 });
	end = now_ms() + TREE_TIMEOUT_MS;
	while (access(ds_path(1, "state"), F_OK) == 0 || access(tree_path("by-name/n"), F_OK) == 0)
		assert_true(now_ms() < end);
}

static void an_open_file_is_of_one_moment(void **state)
{
	char byte;
	int fd;

	assert_int_equal(treehost_set(*state, 1, 1, NULL), 0);
	fd = open_file(ds_path(1, "state"));
	assert_int_equal(read(fd, &byte, 1), 1);
	assert_int_equal(byte, 'm');
	assert_int_equal(treehost_set(*state, 1, 2, NULL), 0);
	assert_int_equal(read(fd, &byte, 1), 1);
	assert_int_equal(byte, 'o');
	assert_string_equal(read_at_start(fd), "faulty\n");
	close(fd);
}

static void removal_while_open_leaves_the_last_content(void **state)
{
	int read_one, unread;

	assert_int_equal(treehost_set(*state, 1, 1, NULL), 0);
	read_one = open_file(ds_path(1, "state"));
	unread = open_file(ds_path(1, "state"));
	assert_string_equal(read_at_start(read_one), "mounted\n");
	assert_int_equal(poll_events(read_one, 0), 0);
	treehost_do(*state, &(struct tree_command){ .op = TREE_REMOVE, .n = 1 });
	assert_int_equal(poll_events(read_one, TREE_TIMEOUT_MS), POLLIN | POLLERR | POLLHUP);
	assert_string_equal(read_at_start(read_one), "mounted\n");
	assert_string_equal(read_at_start(unread), "ESTALE");
	close(read_one);
	/* The same dataset anew is another file. */
	assert_int_equal(treehost_set(*state, 1, 2, NULL), 0);
	assert_string_equal(read_at_start(unread), "ESTALE");
	assert_content(ds_path(1, "state"), "faulty\n");
	close(unread);
}

static void removed_metadata_hangs_up(void **state)
{
	struct tree_command c = { .op = TREE_SET, .n = 1, .seq = 1, .metadata = "{\"a\":\"1\"}" };
	int fd;

	assert_int_equal(treehost_do(*state, &c), 0);
	fd = open_file(ds_path(1, "metadata/a"));
	assert_string_equal(read_at_start(fd), "1\n");
	strcpy(c.metadata, "{\"b\":\"1\"}");
	assert_int_equal(treehost_do(*state, &c), 0);
	assert_int_equal(poll_events(fd, TREE_TIMEOUT_MS), POLLIN | POLLERR | POLLHUP);
	assert_string_equal(read_at_start(fd), "1\n");
	close(fd);
}

static void poll_is_quiet_until_the_file_changes(void **state)
{
	int fd, other;

	assert_int_equal(treehost_set(*state, 1, 1, NULL), 0);
	fd = open_file(ds_path(1, "state"));
	other = open_file(ds_path(1, "size"));
	assert_int_equal(poll_events(fd, 0), POLLIN); /* nothing of it was read yet */
	read_at_start(fd);
	read_at_start(other);
	assert_int_equal(poll_events(fd, 0), 0);
	assert_int_equal(treehost_set(*state, 1, 2, NULL), 0);
	assert_int_equal(poll_events(fd, TREE_TIMEOUT_MS), POLLIN);
	assert_int_equal(poll_events(fd, 0), POLLIN); /* until it is read */
	assert_string_equal(read_at_start(fd), "faulty\n");
	assert_int_equal(poll_events(fd, 0), 0);
	assert_int_equal(poll_events(other, 0), 0);
	close(fd);
	close(other);
}

static void events_wake_edge_triggered_epoll(void **state)
{
	struct tree_command c = { .op = TREE_EVENT, .n = 1 };
	struct epoll_event e = { .events = EPOLLIN | EPOLLET };
	int fd, set = epoll_create1(EPOLL_CLOEXEC);

	assert_int_equal(treehost_set(*state, 1, 1, NULL), 0);
	fd = open_file(ds_path(1, "events"));
	assert_return_code(epoll_ctl(set, EPOLL_CTL_ADD, fd, &e), errno);
	assert_int_equal(epoll_wait(set, &e, 1, TREE_TIMEOUT_MS), 1);
	for (unsigned int i = 0; i < 100; i++) {
		read_at_start(fd);
		snprintf(c.name, sizeof(c.name), "event %u.", i);
		assert_int_equal(treehost_do(*state, &c), 0);
		assert_int_equal(epoll_wait(set, &e, 1, TREE_TIMEOUT_MS), 1);
		assert_non_null(strstr(read_at_start(fd), c.name));
	}
	close(fd);
	close(set);
}

/* ---- a reader that polls ---- */

struct poller {
	int fd;
	unsigned int seen; /* the number in "step N of M" */
	pthread_mutex_t lock;
	pthread_cond_t moved;
	unsigned int last;
	bool lost;
};

static unsigned int step_of(const char *text)
{
	unsigned int seq = 0;

	sscanf(text, "step %u", &seq);
	return seq;
}

static void *poller_main(void *userdata)
{
	struct poller *p = userdata;
	char buf[64];
	ssize_t n;

	while (p->seen != p->last) {
		if (poll_events(p->fd, TREE_TIMEOUT_MS) == 0) {
			p->lost = true;
			break;
		}
		n = pread(p->fd, buf, sizeof(buf) - 1, 0);
		buf[MAX(n, 0)] = '\0';
		pthread_mutex_lock(&p->lock);
		p->seen = step_of(buf);
		pthread_cond_signal(&p->moved);
		pthread_mutex_unlock(&p->lock);
	}
	pthread_mutex_lock(&p->lock);
	p->seen = p->last;
	pthread_cond_signal(&p->moved);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void poller_start(struct poller *p, pthread_t *ret, unsigned int last)
{
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->moved, NULL);
	p->fd = open_file(ds_path(1, "why"));
	p->last = last;
	assert_int_equal(pthread_create(ret, NULL, poller_main, p), 0);
}

static void poller_wait(struct poller *p, unsigned int seq)
{
	pthread_mutex_lock(&p->lock);
	while (p->seen < seq)
		pthread_cond_wait(&p->moved, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

/* Each change comes when the reader is about to wait again, or waits already. */
static void no_wake_up_is_lost_step_by_step(void **state)
{
	struct poller p = { 0 };
	unsigned int last = 2000 * scale;
	pthread_t thread;

	assert_int_equal(treehost_set(*state, 1, 1, NULL), 0);
	poller_start(&p, &thread, last);
	for (unsigned int i = 2; i <= last; i++) {
		assert_int_equal(treehost_set(*state, 1, i, NULL), 0);
		poller_wait(&p, i);
	}
	pthread_join(thread, NULL);
	close(p.fd);
	assert_false(p.lost);
}

static void no_wake_up_is_lost_in_a_burst(void **state)
{
	struct tree_command c = { .op = TREE_BURST, .n = 1, .count = 1000 };
	struct poller p = { 0 };
	pthread_t thread;

	assert_int_equal(treehost_set(*state, 1, 1, NULL), 0);
	poller_start(&p, &thread, 10000);
	for (c.seq = 1; c.seq < 10000; c.seq += 1000)
		assert_int_equal(treehost_do(*state, &c), 0);
	pthread_join(thread, NULL);
	close(p.fd);
	assert_false(p.lost);
}

static void a_storm_of_stats_is_answered_by_the_cache(void **state)
{
	unsigned int n = 100000 * scale;
	char path[4096];
	int64_t start;
	struct stat st;

	assert_int_equal(treehost_set(*state, 1, 1, NULL), 0);
	strcpy(path, ds_path(1, "state"));
	start = now_ms();
	for (unsigned int i = 0; i < n; i++)
		assert_return_code(stat(path, &st), errno);
	print_message("%u stats in %lld ms\n", n, (long long)(now_ms() - start));
	assert_int_equal(st.st_size, 8);
}

static int run(const char *command)
{
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, strdup(command), NULL };
	extern char **environ;
	int status;
	pid_t pid;

	assert_int_equal(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ), 0);
	while (waitpid(pid, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	free(argv[2]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

struct feeder {
	struct treehost *host;
	bool stop;
	unsigned int rounds;
};

static void *feeder_main(void *userdata)
{
	struct feeder *f = userdata;
	struct tree_command c = { .op = TREE_BURST, .count = 20, .metadata = "{\"name\":\"x\"}" };

	while (!__atomic_load_n(&f->stop, __ATOMIC_SEQ_CST)) {
		c.n = f->rounds % 1000;
		c.seq = f->rounds;
		if (treehost_do(f->host, &c) < 0)
			break;
		f->rounds++;
	}
	return NULL;
}

static void a_thousand_datasets_are_read_while_they_change(void **state)
{
	struct tree_command c = {
		.op = TREE_FILL, .n = 1000, .seq = 1, .name = "set-", .metadata = "{\"name\":\"x\"}"
	};
	struct feeder f = { .host = *state };
	pthread_t thread;
	int64_t start;

	assert_int_equal(treehost_do(*state, &c), 0);
	assert_int_equal(pthread_create(&thread, NULL, feeder_main, &f), 0);
	start = now_ms();
	assert_int_equal(run("test $(find " MOUNTPOINT
			     " -type f | tee /run/list | wc -l) -ge 20000"),
		0);
	assert_int_equal(run("xargs cat < /run/list > /run/all && test -s /run/all"), 0);
	print_message("read in %lld ms, %u bursts meanwhile\n", (long long)(now_ms() - start),
		f.rounds);
	__atomic_store_n(&f.stop, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	assert_in_range(f.rounds, 2, 1000000);
}

static void a_thousand_datasets_take_little_memory(void **state)
{
	struct tree_command c = { .op = TREE_FILL, .n = 1000, .seq = 1, .name = "set-" };
	int before = treehost_do(*state, &(struct tree_command){ .op = TREE_MEMORY }), after;

	assert_int_equal(treehost_do(*state, &c), 0);
	after = treehost_do(*state, &(struct tree_command){ .op = TREE_MEMORY });
	print_message("%d KiB for 1000 datasets\n", after - before);
	if (TREE_MEMORY_TOLD)
		assert_in_range(after - before, 0, 2500);
}

static void datasets_come_and_go_without_end(void **state)
{
	struct tree_command fill = { .op = TREE_FILL, .n = 100, .name = "set-" };
	struct tree_command clear = { .op = TREE_CLEAR, .n = 100 };
	int before = 0, after = 0;

	for (unsigned int i = 0; i < 100 * scale; i++) {
		fill.seq = i;
		assert_int_equal(treehost_do(*state, &fill), 0);
		assert_content(ds_path(i % 100, "state"), i % 2 ? "mounted\n" : "faulty\n");
		assert_int_equal(treehost_do(*state, &clear), 0);
		after = treehost_do(*state, &(struct tree_command){ .op = TREE_MEMORY });
		if (i == 20)
			before = after;
	}
	if (TREE_MEMORY_TOLD)
		assert_in_range(after, 0, before + 512);
}

/* ---- the end of the process, and of the mount ---- */

/* Invalidations meet lookups that hold the locks they need, up to the last moment. */
static void it_ends_soon_under_readers(void **state)
{
	struct treehost *h = *state;
	struct tree_command fill = { .op = TREE_FILL, .n = 200, .name = "set-" };
	struct tree_command clear = { .op = TREE_CLEAR, .n = 200 };
	int64_t begin;

	assert_int_equal(run("(while ls " MOUNTPOINT "/by-name/; do cat " MOUNTPOINT
			     "/*/state " MOUNTPOINT "/by-name/*/why; done) >/dev/null 2>&1 &"),
		0);
	for (unsigned int i = 0; i < 30 * scale; i++) {
		fill.seq = i;
		assert_int_equal(treehost_do(h, &fill), 0);
		if (i % 3 == 2)
			assert_int_equal(treehost_do(h, &clear), 0);
	}
	begin = now_ms();
	assert_int_equal(treehost_quit(h), 0);
	assert_in_range(now_ms() - begin, 0, 900);
	h->pid = 0;
}

static void wait_content(const char *path, const char *expected)
{
	int64_t end = now_ms() + TREE_TIMEOUT_MS;

	while (!STREQ(content(path), expected))
		assert_true(now_ms() < end);
}

static unsigned int mounts_of_the_tree(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[4096];
	unsigned int n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "fuse.flocker") != NULL;
	return n;
}

static void it_comes_back_after_a_kill_with_a_reader_inside(void **state)
{
	struct treehost *h = *state;
	int fd;

	assert_int_equal(treehost_set(h, 1, 1, NULL), 0);
	fd = open_file(ds_path(1, "state"));
	treehost_kill(h);
	assert_string_equal(read_at_start(fd), "ENOTCONN");
	assert_content(MOUNTPOINT "/.node/uuid", "ENOTCONN");
	assert_int_equal(treehost_start(h), 0);
	assert_int_equal(treehost_set(h, 1, 2, NULL), 0);
	assert_content(ds_path(1, "state"), "faulty\n");
	assert_string_equal(read_at_start(fd), "ENOTCONN");
	assert_int_equal(mounts_of_the_tree(), 2);
	close(fd);
}

/* A thread in a hung disk keeps a killed daemon's connection open; a stopped process is as mute. */
static void it_replaces_one_that_never_answers(void **state)
{
	struct treehost *h = *state, hung = *h;
	int fd;
	char byte;

	assert_int_equal(treehost_set(h, 1, 1, NULL), 0);
	fd = open_file(ds_path(1, "state"));
	kill(hung.pid, SIGSTOP);
	assert_int_equal(treehost_start(h), 0);
	assert_int_equal(treehost_set(h, 1, 2, NULL), 0);
	assert_content(ds_path(1, "state"), "faulty\n");
	assert_int_equal(read(fd, &byte, 1), -1); /* not for ever */
	close(fd);
	treehost_kill(&hung);
	assert_content(ds_path(1, "state"), "faulty\n");
	assert_int_equal(mounts_of_the_tree(), 2);
}

static void it_comes_back_when_it_is_unmounted(void **state)
{
	assert_int_equal(treehost_set(*state, 1, 1, NULL), 0);
	assert_return_code(umount2(BOUND, MNT_DETACH), errno);
	assert_int_equal(treehost_do(*state, &(struct tree_command){ .op = TREE_MOUNT }), 0);
	assert_int_equal(mounts_of_the_tree(), 2);
	assert_return_code(umount2(BOUND, MNT_DETACH), errno);
	/* The last one: noticed by itself. */
	assert_return_code(umount2(MOUNTPOINT, MNT_DETACH), errno);
	wait_content(ds_path(1, "state"), "mounted\n");
	assert_int_equal(treehost_do(*state, &(struct tree_command){ .op = TREE_GONE }), 1);
	assert_int_equal(treehost_do(*state, &(struct tree_command){ .op = TREE_MOUNT }), 0);
	assert_int_equal(mounts_of_the_tree(), 2);
}

static void the_bound_copy_is_for_the_group(void **state)
{
	struct stat st, copy;

	assert_return_code(stat("/run/flocker-test/run", &st), errno);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(st.st_gid, 1); /* daemon */
	assert_return_code(stat(MOUNTPOINT, &st), errno);
	assert_return_code(stat(BOUND, &copy), errno);
	assert_int_equal(st.st_dev, copy.st_dev);
	assert_return_code(stat("/run/flocker-test/root", &st), errno);
	assert_int_equal(st.st_mode & 07777, 0700);
}

static void directories_of_others_are_not_taken_over(void **state)
{
	struct treehost *h = *state;
	struct stat st;
	int fd;

	assert_int_equal(treehost_quit(h), 0);
	h->pid = 0;
	/* As if run-directory were /run. */
	assert_return_code(chmod("/run/flocker-test/run", 0755), errno);
	fd = open("/run/flocker-test/run/stranger", O_CREAT | O_CLOEXEC | O_WRONLY, 0600);
	assert_return_code(fd, errno);
	close(fd);
	assert_int_equal(treehost_start(h), -ENOTEMPTY);
	assert_return_code(stat("/run/flocker-test/run", &st), errno);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_return_code(unlink("/run/flocker-test/run/stranger"), errno);
	/* A link in its place. */
	assert_return_code(rename("/run/flocker-test/run", "/run/flocker-test/far"), errno);
	assert_return_code(symlink("far", "/run/flocker-test/run"), errno);
	assert_int_equal(treehost_start(h), -ENOTDIR);
	assert_return_code(stat("/run/flocker-test/far", &st), errno);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_return_code(unlink("/run/flocker-test/run"), errno);
	assert_return_code(rename("/run/flocker-test/far", "/run/flocker-test/run"), errno);
	/* A mount root in which others can plant links. */
	assert_return_code(chmod("/run/flocker-test/root", 01777), errno);
	assert_int_equal(treehost_start(h), -EPERM);
	assert_return_code(chmod("/run/flocker-test/root", 0700), errno);
	assert_int_equal(treehost_start(h), 0);
}

static void what_others_mounted_there_is_left_alone(void **state)
{
	struct treehost *h = *state;

	assert_int_equal(treehost_quit(h), 0);
	h->pid = 0;
	assert_return_code(mount("tmpfs", BOUND, "tmpfs", 0, NULL), errno);
	assert_int_equal(treehost_start(h), -EBUSY);
	h->pid = 0;
	assert_int_equal(mounts_of_the_tree(), 0);
	assert_return_code(umount(BOUND), errno);
	assert_int_equal(treehost_start(h), 0);
}

/* Through a shared mount root, one node's tree comes to stand where another node's should. */
static void another_nodes_tree_is_covered_and_lives_on(void **state)
{
	struct treehost *h = *state, other = *h;
	int fd;

	assert_int_equal(treehost_set(h, 1, 1, NULL), 0);
	fd = open_file(ds_path(1, "state"));
	other.node = 1;
	assert_int_equal(treehost_start(&other), 0);
	assert_content(ds_path(1, "state"), "ENOENT");
	assert_string_equal(read_at_start(fd), "mounted\n");
	assert_int_equal(treehost_quit(&other), 0);
	assert_content(ds_path(1, "state"), "mounted\n");
	assert_int_equal(mounts_of_the_tree(), 2);
	close(fd);
}

static void a_symbolic_link_is_no_place(void **state)
{
	struct treehost h = { .mountpoint = "/run/flocker-test/root/link" };

	assert_return_code(symlink("datasets", h.mountpoint), errno);
	assert_int_equal(treehost_start(&h), -ENOTDIR);
	assert_return_code(unlink(h.mountpoint), errno);
	assert_int_equal(mounts_of_the_tree(), 1);
	h.mountpoint = "/run/flocker-test/absent/deeper/datasets";
	assert_int_equal(treehost_start(&h), -ENOENT);
}

static void a_clean_end_leaves_no_mount(void **state)
{
	struct treehost *h = *state;
	int fd;

	assert_int_equal(treehost_set(h, 1, 1, NULL), 0);
	fd = open_file(ds_path(1, "state"));
	assert_int_equal(treehost_quit(h), 0);
	h->pid = 0;
	assert_int_equal(mounts_of_the_tree(), 0);
	assert_string_equal(read_at_start(fd), "ENOTCONN");
	close(fd);
}

#define TREE_TEST(f) cmocka_unit_test_setup_teardown(f, tree_setup, tree_teardown)
#define BOUND_TEST(f) cmocka_unit_test_setup_teardown(f, tree_setup_bound, tree_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TREE_TEST(a_cached_stat_changes_with_the_file),
		TREE_TEST(a_removed_dataset_is_gone_for_cached_names),
		TREE_TEST(an_open_file_is_of_one_moment),
		TREE_TEST(removal_while_open_leaves_the_last_content),
		TREE_TEST(removed_metadata_hangs_up),
		TREE_TEST(poll_is_quiet_until_the_file_changes),
		TREE_TEST(events_wake_edge_triggered_epoll),
		TREE_TEST(no_wake_up_is_lost_step_by_step),
		TREE_TEST(no_wake_up_is_lost_in_a_burst),
		TREE_TEST(a_storm_of_stats_is_answered_by_the_cache),
		TREE_TEST(a_thousand_datasets_are_read_while_they_change),
		TREE_TEST(a_thousand_datasets_take_little_memory),
		TREE_TEST(datasets_come_and_go_without_end),
		TREE_TEST(it_ends_soon_under_readers),
		BOUND_TEST(it_comes_back_after_a_kill_with_a_reader_inside),
		BOUND_TEST(it_replaces_one_that_never_answers),
		BOUND_TEST(it_comes_back_when_it_is_unmounted),
		BOUND_TEST(the_bound_copy_is_for_the_group),
		BOUND_TEST(directories_of_others_are_not_taken_over),
		BOUND_TEST(what_others_mounted_there_is_left_alone),
		BOUND_TEST(another_nodes_tree_is_covered_and_lives_on),
		TREE_TEST(a_symbolic_link_is_no_place),
		BOUND_TEST(a_clean_end_leaves_no_mount),
	};

	if (getenv("FLOCKER_TEST_FULL"))
		scale = 10;
	tree_enter();
	return cmocka_run_group_tests_name("tree live", tests, NULL, NULL);
}

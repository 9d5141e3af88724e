/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "fstree.h"
#include "treehost.h"

struct server {
	struct event_base *base;
	struct fstree *tree;
	int fd;
	int gone;
};

struct id128 tree_id(unsigned int n)
{
	return id128_make_v4(UINT64_C(0x1111111111110000) + n,
		UINT64_C(0xabcdef0123456789) * (n + 1));
}

void tree_view(unsigned int n, unsigned int seq, struct tree_text *text, struct ds_view *ret)
{
	snprintf(text->why, sizeof(text->why), "step %u of %u", seq, n);
	snprintf(text->device, sizeof(text->device), "/dev/loop%u", n);
	snprintf(text->mountpoint, sizeof(text->mountpoint), "/flocker/%s", ID128_STR(tree_id(n)));
	snprintf(text->error, sizeof(text->error), "mount: error %u", seq);
	snprintf(text->holders, sizeof(text->holders), "pid 1 (init): cwd\npid 2 (x\xff): file\n");
	*ret = (struct ds_view){
		.dataset_id = tree_id(n),
		.created_at = 1700000000 + n,
		.state = seq % 2 ? DS_MOUNTED : DS_FAULTY,
		.wanted = WISH_HOLD,
		.why = text->why,
		.since_ms = INT64_C(1700000000123) + seq,
		.owner = tree_id(100000),
		.primary = tree_id(100001),
		.epoch = 7 + seq,
		.size_bytes = 64 * MIB,
		.used_bytes = seq * KIB,
		.available_bytes = 60 * MIB,
		.trimmed_at_ms = 1700000000123,
		.trimmed_bytes = 0,
		.used_at_ms = INT64_C(1700000000456),
		.device = text->device,
		.filesystem = "ext4",
		.fs_uuid = tree_id(200000 + n),
		.mountpoint = text->mountpoint,
		.holders = seq % 2 ? NULL : text->holders,
		.last_error = seq % 2 ? NULL : text->error,
	};
}

static int do_set(struct server *s, const struct tree_command *c, unsigned int n, const char *name)
{
	struct tree_text text;
	struct ds_view v;
	int r;

	tree_view(n, c->seq, &text, &v);
	v.name = name;
	if (c->metadata[0])
		v.metadata = json_tokener_parse(c->metadata);
	r = fstree_set(s->tree, &v);
	json_object_put(v.metadata);
	return r;
}

static int do_fill(struct server *s, const struct tree_command *c)
{
	char name[64];
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < c->n; i++) {
		snprintf(name, sizeof(name), "%.32s%u", c->name, i);
		r = do_set(s, c, i, name);
	}
	return r;
}

static int do_burst(struct server *s, struct tree_command c)
{
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < c.count; i++, c.seq++)
		r = do_set(s, &c, c.n, c.name);
	return r;
}

static int do_node(struct server *s, const struct tree_command *c)
{
	return fstree_set_node(s->tree, &(struct node_view){ .uuid = tree_id(1),
						.era = tree_id(2),
						.control = "control.example:4524",
						.connected = c->seq % 2,
						.connected_since_ms = INT64_C(1700000000123),
						.certificate_expires_ms = INT64_C(1700000001000),
						.authority_expires_ms = INT64_C(1700000002000),
						.version = "2.0.0",
						.backend = "loopback",
						.watchdog = "armed",
						.capacity_bytes = 100 * MIB,
						.promised_bytes = 3 * GIB,
						.warnings = "one\ntwo\n",
						.metrics = "# HELP a A.\na 1\n",
						.datasets = c->seq });
}

static int resident_kib(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/statm", "re");
	unsigned long total, resident;

	if (!f || fscanf(f, "%lu %lu", &total, &resident) != 2)
		return -EIO;
	return (int)(resident * (unsigned long)sysconf(_SC_PAGESIZE) / 1024);
}

static int execute(struct server *s, const struct tree_command *c)
{
	char why[256];

	switch (c->op) {
	case TREE_SET:
		return do_set(s, c, c->n, c->name);
	case TREE_EVENT:
		return fstree_event(s->tree, tree_id(c->n), c->name);
	case TREE_REMOVE:
		fstree_remove(s->tree, tree_id(c->n));
		return 0;
	case TREE_NODE:
		return do_node(s, c);
	case TREE_BURST:
		return do_burst(s, *c);
	case TREE_FILL:
		return do_fill(s, c);
	case TREE_MEMORY:
		return resident_kib();
	case TREE_GONE:
		return s->gone;
	case TREE_MOUNT:
		return fstree_mount(s->tree, why, sizeof(why));
	case TREE_CLEAR:
		for (unsigned int i = 0; i < c->n; i++)
			fstree_remove(s->tree, tree_id(i));
		return 0;
	case TREE_QUIT:
		return event_base_loopbreak(s->base);
	}
	return -EINVAL;
}

static void on_command(evutil_socket_t fd, short what, void *userdata)
{
	struct server *s = userdata;
	struct tree_command c;
	int answer;

	if (recv(fd, &c, sizeof(c), 0) != sizeof(c)) {
		event_base_loopbreak(s->base);
		return;
	}
	answer = execute(s, &c);
	if (c.op != TREE_QUIT)
		send(fd, &answer, sizeof(answer), MSG_NOSIGNAL);
}

static void on_gone(void *userdata)
{
	struct server *s = userdata;
	char why[256];

	s->gone++;
	if (fstree_mount(s->tree, why, sizeof(why)) < 0)
		fprintf(stderr, "treehost: %s\n", why);
}

static int serve(const struct treehost *h, int fd)
{
	struct server s = { .base = event_base_new(), .fd = fd };
	struct fstree_config c = { .node = tree_id(h->node),
		.mountpoint = h->mountpoint,
		.bind_target = h->bind_target,
		.group = h->group,
		.on_gone = on_gone,
		.userdata = &s };
	struct event *event = event_new(s.base, fd, EV_READ | EV_PERSIST, on_command, &s);
	char why[256] = "";
	int r;

	event_add(event, NULL);
	r = fstree_new(s.base, &c, &s.tree, why, sizeof(why));
	if (r == 0)
		r = fstree_mount(s.tree, why, sizeof(why));
	if (r < 0)
		fprintf(stderr, "treehost: %s\n", why);
	send(fd, &r, sizeof(r), MSG_NOSIGNAL);
	if (r == 0)
		event_base_dispatch(s.base);
	fstree_free(s.tree);
	event_free(event);
	event_base_free(s.base);
	libevent_global_shutdown();
	return r == 0 ? 0 : 1;
}

static int answer_of(struct treehost *h)
{
	int answer;

	return recv(h->fd, &answer, sizeof(answer), 0) == sizeof(answer) ? answer : -EPIPE;
}

int treehost_start(struct treehost *h)
{
	struct timeval limit = { TREE_TIMEOUT_MS / 1000, 0 };
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	h->pid = fork();
	if (h->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		exit(serve(h, pair[1]));
	}
	close(pair[1]);
	h->fd = pair[0];
	setsockopt(h->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	r = answer_of(h);
	if (r < 0) {
		waitpid(h->pid, NULL, 0);
		close(h->fd);
	}
	return r;
}

int treehost_do(struct treehost *h, const struct tree_command *c)
{
	if (send(h->fd, c, sizeof(*c), MSG_NOSIGNAL) != sizeof(*c))
		return -EPIPE;
	return answer_of(h);
}

int treehost_set(struct treehost *h, unsigned int n, unsigned int seq, const char *name)
{
	struct tree_command c = { .op = TREE_SET, .n = n, .seq = seq };

	snprintf(c.name, sizeof(c.name), "%s", name ? name : "");
	return treehost_do(h, &c);
}

static int end(struct treehost *h)
{
	int status;

	while (waitpid(h->pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	close(h->fd);
	h->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void treehost_kill(struct treehost *h)
{
	kill(h->pid, SIGKILL);
	end(h);
}

int treehost_quit(struct treehost *h)
{
	struct tree_command c = { .op = TREE_QUIT };

	send(h->fd, &c, sizeof(c), MSG_NOSIGNAL);
	return end(h);
}

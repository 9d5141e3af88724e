/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "log.h"
#include "mounted.h"
#include "text.h"
#include "vmount.h"

#define SETTLE_MS 10 /* a container is a burst of mounts */
#define NAMESPACES_MAX 4096

struct mounted {
	const char *root;
	void (*fn)(void *userdata);
	void *userdata;
	struct vmount_entry *list;
	size_t n;
	int fd;
	struct event *changed, *settle;
};

void mounted_look(struct mounted *m)
{
	struct vmount_entry *list;
	size_t n;
	int r = vmount_list(m->root, &list, &n);

	if (r < 0) {
		log_warning(r, "cannot read what is mounted below %s; it counts as it was", m->root);
		return;
	}
	free(m->list);
	m->list = list;
	m->n = n;
}

bool mounted_find(const struct mounted *m, struct id128 dataset, dev_t *ret_devno)
{
	for (size_t i = m->n; i-- > 0;) { /* the uppermost is the last */
		if (!STREQ(m->list[i].name, ID128_STR(dataset)))
			continue;
		*ret_devno = m->list[i].devno;
		return true;
	}
	return false;
}

static bool is_device(const char *path, dev_t devno)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == devno;
}

bool mounted_is_here(const struct mounted *m, const struct volume *v, struct id128 node)
{
	dev_t devno;

	if (!id128_equal(v->owner, node) || !v->mountpoint || !STREQ(v->state, "mounted"))
		return false;
	return mounted_find(m, v->id, &devno) && (!v->device || is_device(v->device, devno));
}

/* ---- other namespaces ---- */

struct seen {
	ino_t ns[NAMESPACES_MAX];
	size_t n;
};

/* True: not looked at before. */
static bool is_new(struct seen *s, ino_t ns)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->ns[i] == ns)
			return false;
	if (s->n < NAMESPACES_MAX)
		s->ns[s->n++] = ns;
	return true;
}

static bool namespace_of(const char *pid, ino_t *ret)
{
	char path[320], text[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%s/ns/mnt", pid);
	n = readlink(path, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return sscanf(text, "mnt:[%lu]", ret) == 1;
}

/*
 * "36 35 98:0 /mnt1 /mnt2 ...": the third is the device, the fifth where it is. Services with a namespace of their
 * own have a copy of it at its own place, and do not use it for that.
 */
static bool has_elsewhere(const char *pid, dev_t devno, const char *name)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	char path[320], place[4096];
	unsigned int maj, min;
	const char *last;
	size_t room = 0;

	snprintf(path, sizeof(path), "/proc/%s/mountinfo", pid);
	f = fopen(path, "re");
	while (f && getline(&line, &room, f) > 0) {
		if (sscanf(line, "%*d %*d %u:%u %*s %4095s", &maj, &min, place) != 3 || makedev(maj, min) != devno)
			continue;
		last = strrchr(place, '/');
		if (!last || !STREQ(last + 1, name))
			return true;
	}
	return false;
}

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

/* As the mount table numbers it: btrfs has a number of its own there, which is not the device's. */
static bool number_in_table(const struct mounted *m, struct id128 dataset, dev_t *ret)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL, *target = NULL;
	unsigned int maj, min;
	char place[4096];
	size_t room = 0;
	bool found = false;

	if (!f || asprintf(&target, "%s/%s", m->root, ID128_STR(dataset)) < 0)
		return false;
	while (getline(&line, &room, f) > 0)
		if (sscanf(line, "%*d %*d %u:%u %*s %4095s", &maj, &min, place) == 3 && STREQ(place, target)) {
			*ret = makedev(maj, min);
			found = true;
		}
	return found;
}

bool mounted_is_used(const struct mounted *m, struct id128 dataset)
{
	_cleanup_(closedirp) DIR *proc = opendir("/proc");
	_cleanup_free_ struct seen *seen = calloc(1, sizeof(*seen));
	struct dirent *de;
	dev_t devno;
	ino_t ns;

	if (!proc || !seen || !namespace_of("self", &ns))
		return true;
	if (!number_in_table(m, dataset, &devno))
		return mounted_find(m, dataset,
			&devno); /* a name of the mount root that the table writes otherwise */
	(void)is_new(seen, ns);
	while ((de = readdir(proc)))
		if (de->d_name[0] >= '1' && de->d_name[0] <= '9' && namespace_of(de->d_name, &ns) &&
			is_new(seen, ns) && has_elsewhere(de->d_name, devno, ID128_STR(dataset)))
			return true;
	return false;
}

/* ---- events ---- */

static void on_settled(evutil_socket_t fd, short what, void *userdata)
{
	struct mounted *m = userdata;

	mounted_look(m);
	m->fn(m->userdata);
}

/* The kernel says POLLERR at each change, which epoll passes on to readers as well. */
static void on_changed(evutil_socket_t fd, short what, void *userdata)
{
	struct mounted *m = userdata;

	if (!event_pending(m->settle, EV_TIMEOUT, NULL))
		(void)event_add(m->settle, &(struct timeval){ .tv_usec = SETTLE_MS * 1000 });
}

struct mounted *mounted_free(struct mounted *m)
{
	if (!m)
		return NULL;
	if (m->changed)
		event_free(m->changed);
	if (m->settle)
		event_free(m->settle);
	close_keep_errno(m->fd);
	free(m->list);
	free(m);
	return NULL;
}
DEFINE_CLEANUP(struct mounted *, mounted_free);

int mounted_new(struct event_base *base, const char *root, void (*fn)(void *userdata), void *userdata,
	struct mounted **ret)
{
	_cleanup_(mounted_freep) struct mounted *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	*m = (struct mounted){ .root = root, .fn = fn, .userdata = userdata, .fd = vmount_monitor_fd() };
	if (m->fd < 0)
		return m->fd;
	m->settle = evtimer_new(base, on_settled, m);
	m->changed = event_new(base, m->fd, EV_READ | EV_PERSIST | EV_ET, on_changed, m);
	if (!m->settle || !m->changed || event_add(m->changed, NULL) < 0)
		return -ENOMEM;
	mounted_look(m);
	*ret = TAKE_PTR(m);
	return 0;
}

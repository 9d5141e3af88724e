/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <libmount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "log.h"
#include "mounted.h"
#include "text.h"
#include "vmount.h"

#define SETTLE_MS 10 /* a container is a burst of mounts */
#define NAMESPACES_MAX 4096

struct place {
	dev_t devno;
	struct id128 dataset;
	bool used; /* elsewhere */
};

struct here {
	struct id128 dataset;
	dev_t devno;
};

struct own {
	dev_t devno;
	char *path;
};

struct mounted {
	const char *root;
	char *written; /* the same as a mount table has it, with "\040" for a blank */
	void (*fn)(void *userdata);
	void *userdata;
	struct here *here; /* in the order of the mount table */
	size_t n;
	struct place *places; /* of the last scan; sorted by device */
	size_t n_places;
	struct own *own;
	size_t n_own;
	bool scanned;
	int fd;
	struct event *changed, *settle;
};

/* What is mounted there under another name than a dataset's is nobody's here. */
static size_t take(const struct vmount_entry *list, size_t n, struct here *ret)
{
	size_t used = 0;

	for (size_t i = 0; i < n; i++)
		if (id128_parse(list[i].name, &ret[used].dataset) == 0)
			ret[used++].devno = list[i].devno;
	return used;
}

void mounted_look(struct mounted *m)
{
	_cleanup_free_ struct vmount_entry *list = NULL;
	struct here *here;
	size_t n;
	int r = vmount_list(m->root, &list, &n);

	here = r == 0 ? calloc(n + 1, sizeof(*here)) : NULL;
	if (!here) {
		log_warning(r < 0 ? r : ENOMEM,
			"cannot read what is mounted below %s; it counts as it was", m->root);
		return;
	}
	free(m->here);
	m->here = here;
	m->n = take(list, n, here);
}

bool mounted_find(const struct mounted *m, struct id128 dataset, dev_t *ret_devno)
{
	for (size_t i = m->n; i-- > 0;) { /* the uppermost is the last */
		if (!id128_equal(m->here[i].dataset, dataset))
			continue;
		*ret_devno = m->here[i].devno;
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

static int namespace_of(const char *pid, ino_t *ret)
{
	char path[320], text[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%s/ns/mnt", pid);
	n = readlink(path, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	return sscanf(text, "mnt:[%lu]", ret) == 1 ? 0 : -EBADMSG;
}

/* The lines of a mount table: "36 35 98:0 /mnt1 /mnt2 ...", of which the third is the device, the
 * fifth where it is. */
static int each_mount(const char *pid, int (*fn)(struct mounted *m, dev_t devno, const char *place),
	struct mounted *m)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	char path[320], place[4096];
	unsigned int maj, min;
	size_t room = 0;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%s/mountinfo", pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (r == 0 && getline(&line, &room, f) > 0)
		if (sscanf(line, "%*d %*d %u:%u %*s %4095s", &maj, &min, place) == 3)
			r = fn(m, makedev(maj, min), place);
	return r;
}

/* The device as the mount table numbers it: btrfs has a number of its own there, which is not the
 * device's. */
static int add_place(struct mounted *m, dev_t devno, const char *place)
{
	size_t n = strlen(m->written);
	struct place *more, p = { .devno = devno };

	if (strncmp(place, m->written, n) != 0 || place[n] != '/' ||
		id128_parse(place + n + 1, &p.dataset) < 0)
		return 0;
	more = reallocarray(m->places, m->n_places + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	m->places = more;
	m->places[m->n_places++] = p;
	return 0;
}

static int by_devno(const void *a, const void *b)
{
	dev_t x = ((const struct place *)a)->devno, y = ((const struct place *)b)->devno;

	return (x > y) - (x < y);
}

static struct place *find_place(const struct mounted *m, dev_t devno)
{
	struct place key = { .devno = devno };

	return bsearch(&key, m->places, m->n_places, sizeof(key), by_devno);
}

/* Where it is in this namespace: below the mount root, and where somebody has bound it. */
static int add_own(struct mounted *m, dev_t devno, const char *path)
{
	struct own *more;
	char *copy;

	if (!find_place(m, devno))
		return 0;
	more = reallocarray(m->own, m->n_own + 1, sizeof(*more));
	copy = more ? strdup(path) : NULL;
	if (more)
		m->own = more;
	if (!copy)
		return -ENOMEM;
	m->own[m->n_own++] = (struct own){ devno, copy };
	return 0;
}

static void forget_own(struct mounted *m)
{
	while (m->n_own > 0)
		free(m->own[--m->n_own].path);
}

/* Services with a namespace of their own, and who looks at the whole machine, have copies of what
 * is here, and do not use it for that. */
static bool is_copy(const struct mounted *m, dev_t devno, const char *path)
{
	size_t size = strlen(path), n;

	for (size_t i = 0; i < m->n_own; i++) {
		n = strlen(m->own[i].path);
		if (m->own[i].devno == devno && n <= size && STREQ(path + size - n, m->own[i].path))
			return true;
	}
	return false;
}

static int note_use(struct mounted *m, dev_t devno, const char *path)
{
	struct place *p = find_place(m, devno);

	if (p && !is_copy(m, devno, path))
		p->used = true;
	return 0;
}

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

static int look_into(struct mounted *m, const char *pid, struct seen *seen)
{
	ino_t ns;
	int r = namespace_of(pid, &ns);

	if (r == 0 && is_new(seen, ns))
		r = each_mount(pid, note_use, m);
	return r == -ENOENT || r == -ESRCH || r == -EINVAL ? 0 : r; /* it has ended, just now or before */
}

/* Not the first, which is in no container, and is hidden from root in some. */
static bool is_process(const char *name)
{
	return *name >= '1' && *name <= '9' && !STREQ(name, "1");
}

static int scan(struct mounted *m)
{
	_cleanup_(closedirp) DIR *proc = opendir("/proc");
	_cleanup_free_ struct seen *seen = calloc(1, sizeof(*seen));
	struct dirent *de;
	ino_t own;
	int r;

	if (!proc || !seen)
		return -errno;
	r = each_mount("self", add_place, m);
	if (r == 0)
		r = namespace_of("self", &own);
	if (r < 0 || m->n_places == 0)
		return r;
	qsort(m->places, m->n_places, sizeof(*m->places), by_devno);
	r = each_mount("self", add_own, m);
	(void)is_new(seen, own);
	while (r == 0 && (de = readdir(proc)))
		if (is_process(de->d_name))
			r = look_into(m, de->d_name, seen);
	return r;
}

void mounted_scan(struct mounted *m)
{
	int r;

	m->n_places = 0;
	forget_own(m);
	r = scan(m);
	if (r < 0)
		log_warning(r, "cannot find out which volumes containers use; they count as used");
	m->scanned = r == 0;
}

bool mounted_is_used(const struct mounted *m, struct id128 dataset)
{
	bool found = false;
	dev_t devno;

	if (!m->scanned)
		return true;
	for (size_t i = 0; i < m->n_places; i++) {
		if (!id128_equal(m->places[i].dataset, dataset))
			continue;
		if (m->places[i].used)
			return true;
		found = true;
	}
	/* A mount root that the table writes otherwise is in doubt. */
	return !found && mounted_find(m, dataset, &devno);
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
	forget_own(m);
	free(m->written);
	free(m->own);
	free(m->places);
	free(m->here);
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
	*m = (struct mounted){ .root = root, .fn = fn, .userdata = userdata, .fd = vmount_monitor_fd(),
		.written = mnt_mangle(root) };
	if (m->fd < 0)
		return m->fd;
	if (!m->written)
		return -ENOMEM;
	m->settle = evtimer_new(base, on_settled, m);
	m->changed = event_new(base, m->fd, EV_READ | EV_PERSIST | EV_ET, on_changed, m);
	if (!m->settle || !m->changed || event_add(m->changed, NULL) < 0)
		return -ENOMEM;
	mounted_look(m);
	*ret = TAKE_PTR(m);
	return 0;
}

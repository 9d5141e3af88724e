/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devmon.c - the monitor itself; devmon.h is its contract.
 *
 * Coalescing, by example (all of one device, read in one go):
 *
 *	change change change	-> change
 *	add change		-> add
 *	add remove		-> remove
 *	remove add		-> remove, add		(another disk may be behind the same number)
 *	remove add remove	-> remove
 */
#include <libudev.h>

#include "devmon.h"

#define BUFFER_DEFAULT (16 * MIB)
#define READ_MAX 4096 /* events at one turn of the loop, so that others have theirs in a storm */
#define NAME_SIZE 64

struct pending {
	dev_t devno;
	char name[NAME_SIZE];
	bool removed; /* and then came back as @last tells */
	bool added;
	enum devmon_action last;
	struct id128 dataset_id;
};

struct devmon {
	struct udev *udev;
	struct udev_monitor *monitor;
	struct event *event;
	enum devmon_source source;
	char *sysfs;
	void (*on_device)(const struct devmon_event *e, void *userdata);
	void (*on_rescan)(void *userdata);
	void *userdata;
	struct pending *pending; /* kept from one turn to the next */
	size_t n_pending, size_pending;
};

static enum devmon_action action_of(struct udev_device *dev)
{
	const char *action = udev_device_get_action(dev);

	if (action && STREQ(action, "add"))
		return DEVMON_ADD;
	return action && STREQ(action, "remove") ? DEVMON_REMOVE : DEVMON_CHANGE;
}

/* NULL: out of memory */
static struct pending *pending_of(struct devmon *m, dev_t devno)
{
	struct pending *grown;
	size_t n;

	for (size_t i = m->n_pending; i-- > 0;) /* bursts are of the devices that came last */
		if (m->pending[i].devno == devno)
			return &m->pending[i];
	if (m->n_pending == m->size_pending) {
		n = MAX(m->size_pending * 2, (size_t)16);
		grown = realloc(m->pending, n * sizeof(*grown));
		if (!grown)
			return NULL;
		m->pending = grown;
		m->size_pending = n;
	}
	m->pending[m->n_pending] = (struct pending){ .devno = devno };
	return &m->pending[m->n_pending++];
}

/* false: out of memory */
static bool note(struct devmon *m, struct udev_device *dev)
{
	const char *id = udev_device_get_property_value(dev, "FLOCKER_DATASET_ID");
	enum devmon_action action = action_of(dev);
	struct pending *p = pending_of(m, udev_device_get_devnum(dev));

	if (!p)
		return false;
	snprintf(p->name, sizeof(p->name), "%s", udev_device_get_sysname(dev));
	if (action == DEVMON_REMOVE) {
		p->removed = p->added = false;
	} else if (action == DEVMON_ADD || p->last == DEVMON_REMOVE) {
		p->removed |= p->last == DEVMON_REMOVE;
		p->added = true;
	}
	p->last = action == DEVMON_CHANGE && p->added ? DEVMON_ADD : action;
	if (!id || id128_parse(id, &p->dataset_id) < 0)
		p->dataset_id = ID128_NIL;
	return true;
}

static void tell(struct devmon *m, const struct pending *p, enum devmon_action action)
{
	struct devmon_event e = {
		.devno = p->devno, .name = p->name, .action = action, .dataset_id = p->dataset_id
	};
	struct devmon_disk disk;

	if (action != DEVMON_REMOVE && devmon_sysfs_disk(m->sysfs, p->devno, &disk) == 0) {
		e.size_bytes = disk.size_bytes;
		e.diskseq = disk.diskseq;
	}
	m->on_device(&e, m->userdata);
}

/* true: events were lost */
static bool read_events(struct devmon *m)
{
	struct udev_device *dev;
	bool lost = false;

	for (unsigned int n = 0; n < READ_MAX; n++) {
		errno = 0;
		dev = udev_monitor_receive_device(m->monitor);
		if (!dev) {
			if (errno == EAGAIN)
				break;
			/* ENOBUFS: the socket overran. Others: one event could not be read. */
			lost |= errno != EINTR;
			continue;
		}
		if (udev_device_get_devnum(dev) != 0)
			lost |= !note(m, dev);
		udev_device_unref(dev);
	}
	return lost;
}

static void on_events(evutil_socket_t fd, short what, void *userdata)
{
	struct devmon *m = userdata;
	bool lost = read_events(m);

	for (size_t i = 0; i < m->n_pending; i++) {
		const struct pending *p = &m->pending[i];

		if (p->removed)
			tell(m, p, DEVMON_REMOVE);
		tell(m, p, p->last);
	}
	m->n_pending = 0;
	if (lost)
		m->on_rescan(m->userdata);
}

static int open_monitor(struct devmon *m, const struct devmon_config *c)
{
	size_t buffer = c->buffer_bytes > 0 ? c->buffer_bytes : BUFFER_DEFAULT;
	int r;

	m->udev = udev_new();
	if (!m->udev)
		return -ENOMEM;
	m->monitor = udev_monitor_new_from_netlink(m->udev,
		m->source == DEVMON_UDEV ? "udev" : "kernel");
	if (!m->monitor)
		return errno > 0 ? -errno : -EIO;
	r = udev_monitor_filter_add_match_subsystem_devtype(m->monitor, "block", NULL);
	if (r < 0)
		return r;
	/* Without CAP_NET_ADMIN the limit of the system stays; an overrun is survived, too. */
	udev_monitor_set_receive_buffer_size(m->monitor, (int)buffer);
	return udev_monitor_enable_receiving(m->monitor);
}

static int open_event(struct devmon *m, struct event_base *base, int priority)
{
	m->event = event_new(base, udev_monitor_get_fd(m->monitor), EV_READ | EV_PERSIST, on_events,
		m);
	if (!m->event || event_priority_set(m->event, priority) < 0 ||
		event_add(m->event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

int devmon_new(struct event_base *base, const struct devmon_config *c, struct devmon **ret)
{
	_cleanup_(devmon_freep) struct devmon *m = NULL;
	int r;

	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->source = c->source;
	if (m->source == DEVMON_AUTO)
		m->source = access("/run/udev/control", F_OK) == 0 ? DEVMON_UDEV : DEVMON_KERNEL;
	m->on_device = c->on_device;
	m->on_rescan = c->on_rescan;
	m->userdata = c->userdata;
	m->sysfs = strdup(c->sysfs ? c->sysfs : "/sys");
	if (!m->sysfs)
		return -ENOMEM;
	r = open_monitor(m, c);
	if (r < 0)
		return r;
	r = open_event(m, base, c->priority);
	if (r < 0)
		return r;

	*ret = TAKE_PTR(m);
	return 0;
}

struct devmon *devmon_free(struct devmon *m)
{
	if (!m)
		return NULL;
	if (m->event)
		event_free(m->event);
	udev_monitor_unref(m->monitor);
	udev_unref(m->udev);
	free(m->pending);
	free(m->sysfs);
	free(m);
	return NULL;
}

enum devmon_source devmon_source(const struct devmon *m)
{
	return m->source;
}

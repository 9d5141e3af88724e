/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <pthread.h>
#include <sys/sysmacros.h>

#define STORE_NAME 64
#define VOLUMES_MAX 256
#define FAKE_UNIT 1024

enum claim_state { CLAIM_NEW, CLAIM_HELD, CLAIM_FREE };

struct fake_volume {
	struct id128 volume_id, dataset_id;
	uint64_t size_bytes, epoch, diskseq; /* diskseq 0: no device */
	enum claim_state state;
	struct driver_node by;
	bool cut;
};

struct fake_volumes {
	struct fake_volume v[VOLUMES_MAX];
	size_t n;
};

/* Shared by all drivers that were opened on its name. */
struct fake_store {
	struct fake_store *next;
	char name[STORE_NAME];
	unsigned users;
	uint64_t diskseq;
	unsigned lag, n_past; /* past[0] is the state before the last change */
	struct fake_volumes now, past[FAKE_LAG_MAX];
};

struct fake {
	struct driver_node self;
	struct fake_store *store;
	struct {
		unsigned calls, fail_at; /* fail_at 0: never */
		int error;
		bool act;
	} plan[FAKE_CALL_MAX];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of everything below */
static struct fake_store *stores;

static struct fake *fake(struct driver *d)
{
	return (struct fake *)d;
}

/* ---- plans ---- */

void fake_fail(struct driver *d, enum fake_call call, unsigned nth, int error, bool act)
{
	struct fake *f = fake(d);

	pthread_mutex_lock(&lock);
	f->plan[call].fail_at = nth ? f->plan[call].calls + nth : 0;
	f->plan[call].error = error;
	f->plan[call].act = act;
	pthread_mutex_unlock(&lock);
}

void fake_lag(struct driver *d, unsigned changes)
{
	assert(changes <= FAKE_LAG_MAX);
	pthread_mutex_lock(&lock);
	fake(d)->store->lag = changes;
	pthread_mutex_unlock(&lock);
}

unsigned fake_calls(struct driver *d, enum fake_call call)
{
	unsigned n;

	pthread_mutex_lock(&lock);
	n = fake(d)->plan[call].calls;
	pthread_mutex_unlock(&lock);
	return n;
}

/* Begins a call: takes the lock. 0, or the planned error of a call that shall do nothing. */
static int begin(struct fake *f, enum fake_call call)
{
	pthread_mutex_lock(&lock);
	f->plan[call].calls++;
	return f->plan[call].calls == f->plan[call].fail_at && !f->plan[call].act ?
		f->plan[call].error :
		0;
}

/* Ends it: the result, or the planned error of a call that did its work. */
static int end(struct fake *f, enum fake_call call, int r)
{
	if (r == 0 && f->plan[call].calls == f->plan[call].fail_at && f->plan[call].act)
		r = f->plan[call].error;
	pthread_mutex_unlock(&lock);
	return r;
}

/* ---- volumes ---- */

static struct fake_volume *find(struct fake_store *s, struct id128 volume_id)
{
	for (size_t i = 0; i < s->now.n; i++)
		if (id128_equal(s->now.v[i].volume_id, volume_id))
			return &s->now.v[i];
	return NULL;
}

/* Called before each change. */
static void remember(struct fake_store *s)
{
	memmove(&s->past[1], &s->past[0], sizeof(s->past) - sizeof(s->past[0]));
	s->past[0] = s->now;
	s->n_past = MIN(s->n_past + 1, (unsigned)FAKE_LAG_MAX);
}

static bool is_by(const struct fake *f, const struct fake_volume *v)
{
	return id128_equal(v->by.node, f->self.node) && id128_equal(v->by.host, f->self.host);
}

static enum driver_place place(const struct fake *f, const struct fake_volume *v)
{
	if (v->state != CLAIM_HELD)
		return DRIVER_FREE;
	return is_by(f, v) ? DRIVER_HERE : DRIVER_ELSEWHERE;
}

static struct driver_volume describe(const struct fake *f, const struct fake_volume *v)
{
	enum driver_place p = place(f, v);

	return (struct driver_volume){
		.volume_id = v->volume_id,
		.dataset_id = v->dataset_id,
		.size_bytes = v->size_bytes,
		.place = p,
		.holder = p == DRIVER_FREE ? ID128_NIL : v->by.node,
		.epoch = v->epoch,
		.attached = p == DRIVER_HERE && v->diskseq > 0,
	};
}

static uint64_t round_up(uint64_t size)
{
	return (size + FAKE_UNIT - 1) / FAKE_UNIT * FAKE_UNIT;
}

void fake_unplug(struct driver *d, struct id128 volume_id)
{
	struct fake_volume *v;

	pthread_mutex_lock(&lock);
	v = find(fake(d)->store, volume_id);
	if (v)
		v->diskseq = 0;
	pthread_mutex_unlock(&lock);
}

/* ---- the calls; each do_ runs under the lock ---- */

static struct fake_store *store_ref(const char *name)
{
	struct fake_store *s;

	for (s = stores; s; s = s->next)
		if (STREQ(s->name, name))
			break;
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return NULL;
		snprintf(s->name, sizeof(s->name), "%s", name);
		s->next = stores;
		stores = s;
	}
	s->users++;
	return s;
}

static void store_unref(struct fake_store *s)
{
	struct fake_store **p;

	if (--s->users > 0)
		return;
	for (p = &stores; *p != s; p = &(*p)->next)
		;
	*p = s->next;
	free(s);
}

static int fake_open(const struct driver_node *self, const struct driver_option *opts, size_t n,
	struct driver **ret, char **ret_error)
{
	struct fake *f;

	if (n != 1 || !STREQ(opts[0].key, "store")) {
		*ret_error = strdup("the fake backend takes one option, store");
		return -EINVAL;
	}
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->self = *self;
	pthread_mutex_lock(&lock);
	f->store = store_ref(opts[0].value);
	pthread_mutex_unlock(&lock);
	if (!f->store) {
		free(f);
		return -ENOMEM;
	}
	*ret = (struct driver *)f;
	return 0;
}

static struct driver *fake_close(struct driver *d)
{
	if (!d)
		return NULL;
	pthread_mutex_lock(&lock);
	store_unref(fake(d)->store);
	pthread_mutex_unlock(&lock);
	free(d);
	return NULL;
}

static int fake_describe(struct driver *d, struct driver_desc *ret)
{
	*ret = (struct driver_desc){
		.name = fake_ops.name,
		.shared = true,
		.allocation_unit = FAKE_UNIT,
	};
	return 0;
}

static int do_list(struct fake *f, struct id128 **ret, size_t *ret_n)
{
	struct fake_store *s = f->store;
	unsigned lag = MIN(s->lag, s->n_past);
	const struct fake_volumes *vs = lag ? &s->past[lag - 1] : &s->now;
	struct id128 *v = calloc(MAX(vs->n, (size_t)1), sizeof(*v));

	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < vs->n; i++)
		v[i] = vs->v[i].volume_id;
	*ret = v;
	*ret_n = vs->n;
	return 0;
}

static int do_lookup(struct fake *f, struct id128 volume_id, struct driver_volume *ret)
{
	const struct fake_volume *v = find(f->store, volume_id);

	if (!v)
		return -ENOENT;
	*ret = describe(f, v);
	return 0;
}

static bool epoch_is_valid(uint64_t epoch)
{
	return epoch > 0 && epoch <= DRIVER_EPOCH_MAX;
}

static int do_create(struct fake *f, struct id128 volume_id, struct id128 dataset_id,
	uint64_t size_bytes, uint64_t epoch)
{
	const struct fake_volume *v = find(f->store, volume_id);

	if (!epoch_is_valid(epoch) || size_bytes == 0 || size_bytes > INT64_MAX - GIB)
		return -EINVAL;
	if (v && epoch < v->epoch)
		return -ESTALE;
	if (v)
		return id128_equal(v->dataset_id, dataset_id) &&
				v->size_bytes == round_up(size_bytes) ?
			0 :
			-EEXIST;
	if (f->store->now.n == VOLUMES_MAX)
		return -ENOSPC;
	remember(f->store);
	f->store->now.v[f->store->now.n++] = (struct fake_volume){
		.volume_id = volume_id,
		.dataset_id = dataset_id,
		.size_bytes = round_up(size_bytes),
		.epoch = epoch,
		.state = CLAIM_NEW,
		.by = f->self,
	};
	return 0;
}

static int do_destroy(struct fake *f, struct id128 volume_id, uint64_t epoch)
{
	struct fake_volumes *vs = &f->store->now;
	struct fake_volume *v = find(f->store, volume_id);

	if (!epoch_is_valid(epoch))
		return -EINVAL;
	if (!v)
		return 0;
	if (epoch < v->epoch || (epoch == v->epoch && v->state == CLAIM_FREE && !is_by(f, v)))
		return -ESTALE;
	if (place(f, v) == DRIVER_ELSEWHERE || v->diskseq > 0)
		return -EBUSY;
	remember(f->store);
	*v = vs->v[--vs->n];
	return 0;
}

static int do_attach(struct fake *f, struct id128 volume_id, uint64_t epoch, uint64_t size_bytes,
	uint64_t growing_bytes)
{
	struct fake_volume *v = find(f->store, volume_id);

	if (!epoch_is_valid(epoch) || size_bytes == 0)
		return -EINVAL;
	if (!v)
		return -ENOENT;
	if (epoch < v->epoch || (epoch == v->epoch && v->state == CLAIM_FREE))
		return -ESTALE;
	if (place(f, v) == DRIVER_ELSEWHERE)
		return -EBUSY;
	if (v->size_bytes != round_up(size_bytes) && v->size_bytes != round_up(growing_bytes))
		return -EUCLEAN;
	remember(f->store);
	v->state = CLAIM_HELD;
	v->epoch = epoch;
	v->by = f->self;
	if (v->diskseq == 0 || v->cut)
		v->diskseq = ++f->store->diskseq;
	v->cut = false;
	return 0;
}

static int do_expand(struct fake *f, struct id128 volume_id, uint64_t epoch, uint64_t size_bytes)
{
	struct fake_volume *v = find(f->store, volume_id);

	if (!epoch_is_valid(epoch) || size_bytes == 0 || size_bytes > INT64_MAX - GIB)
		return -EINVAL;
	if (!v)
		return -ENOENT;
	if (epoch < v->epoch)
		return -ESTALE;
	if (place(f, v) == DRIVER_ELSEWHERE)
		return -EBUSY;
	if (place(f, v) != DRIVER_HERE || v->diskseq == 0 || v->cut || v->epoch != epoch)
		return -ENODEV;
	if (v->size_bytes > round_up(size_bytes))
		return -EUCLEAN;
	remember(f->store);
	v->size_bytes = round_up(size_bytes);
	return 0;
}

static int do_detach(struct fake *f, struct id128 volume_id, uint64_t epoch)
{
	struct fake_volume *v = find(f->store, volume_id);

	if (!epoch_is_valid(epoch))
		return -EINVAL;
	if (!v)
		return -ENOENT;
	if (epoch < v->epoch)
		return -ESTALE;
	if (place(f, v) == DRIVER_ELSEWHERE)
		return -EBUSY;
	if (v->state == CLAIM_FREE && v->epoch == epoch)
		return 0;
	remember(f->store);
	v->state = CLAIM_FREE;
	v->epoch = epoch;
	v->by = f->self;
	v->diskseq = 0;
	v->cut = false;
	return 0;
}

static int do_device(struct fake *f, struct id128 volume_id, struct driver_device *ret)
{
	const struct fake_volume *v = find(f->store, volume_id);

	if (!v)
		return -ENOENT;
	if (place(f, v) != DRIVER_HERE || v->diskseq == 0)
		return -ENODEV;
	*ret = (struct driver_device){
		.devno = makedev(240, (unsigned)v->diskseq),
		.diskseq = v->diskseq,
		.size_bytes = v->size_bytes,
		.cut = v->cut,
	};
	snprintf(ret->path, sizeof(ret->path), "/dev/fake%u", (unsigned)v->diskseq);
	return 0;
}

static int do_cut(struct fake *f, struct id128 volume_id)
{
	struct fake_volume *v = find(f->store, volume_id);

	if (!v)
		return -ENOENT;
	if (place(f, v) != DRIVER_HERE || v->diskseq == 0)
		return -ENODEV;
	remember(f->store);
	v->cut = true;
	return 0;
}

static int fake_list(struct driver *d, struct id128 **ret, size_t *ret_n)
{
	struct fake *f = fake(d);
	struct id128 *v = NULL;
	size_t n = 0;
	int r;

	r = begin(f, FAKE_LIST) ?: do_list(f, &v, &n);
	r = end(f, FAKE_LIST, r);
	if (r < 0) {
		free(v);
		return r;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

/* A killed create or destroy of this driver leaves nothing. */
static int fake_tidy(struct driver *d)
{
	return 0;
}

static int fake_lookup(struct driver *d, struct id128 volume_id, struct driver_volume *ret)
{
	struct driver_volume v;
	int r;

	r = begin(fake(d), FAKE_LOOKUP) ?: do_lookup(fake(d), volume_id, &v);
	r = end(fake(d), FAKE_LOOKUP, r);
	if (r == 0)
		*ret = v;
	return r;
}

static int fake_create(struct driver *d, struct id128 volume_id, struct id128 dataset_id,
	uint64_t size_bytes, uint64_t epoch)
{
	int r = begin(fake(d), FAKE_CREATE);

	r = r ?: do_create(fake(d), volume_id, dataset_id, size_bytes, epoch);
	return end(fake(d), FAKE_CREATE, r);
}

static int fake_destroy(struct driver *d, struct id128 volume_id, uint64_t epoch)
{
	int r = begin(fake(d), FAKE_DESTROY) ?: do_destroy(fake(d), volume_id, epoch);

	return end(fake(d), FAKE_DESTROY, r);
}

static int fake_attach(struct driver *d, struct id128 volume_id, uint64_t epoch,
	uint64_t size_bytes, uint64_t growing_bytes)
{
	int r = begin(fake(d), FAKE_ATTACH);

	r = r ?: do_attach(fake(d), volume_id, epoch, size_bytes, growing_bytes);
	return end(fake(d), FAKE_ATTACH, r);
}

static int fake_expand(struct driver *d, struct id128 volume_id, uint64_t epoch, uint64_t size_bytes)
{
	int r = begin(fake(d), FAKE_EXPAND) ?: do_expand(fake(d), volume_id, epoch, size_bytes);

	return end(fake(d), FAKE_EXPAND, r);
}

static int fake_detach(struct driver *d, struct id128 volume_id, uint64_t epoch)
{
	int r = begin(fake(d), FAKE_DETACH) ?: do_detach(fake(d), volume_id, epoch);

	return end(fake(d), FAKE_DETACH, r);
}

static int fake_device(struct driver *d, struct id128 volume_id, struct driver_device *ret)
{
	struct driver_device dev;
	int r;

	r = begin(fake(d), FAKE_DEVICE) ?: do_device(fake(d), volume_id, &dev);
	r = end(fake(d), FAKE_DEVICE, r);
	if (r == 0)
		*ret = dev;
	return r;
}

static int fake_cut(struct driver *d, struct id128 volume_id)
{
	int r = begin(fake(d), FAKE_CUT) ?: do_cut(fake(d), volume_id);

	return end(fake(d), FAKE_CUT, r);
}

const struct driver_ops fake_ops = {
	.name = "fake",
	.open = fake_open,
	.close = fake_close,
	.describe = fake_describe,
	.list = fake_list,
	.tidy = fake_tidy,
	.lookup = fake_lookup,
	.create = fake_create,
	.destroy = fake_destroy,
	.attach = fake_attach,
	.expand = fake_expand,
	.detach = fake_detach,
	.cut = fake_cut,
	.device = fake_device,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import.c - a walk through the original's tree.
 *
 *	Configuration (format 2 on) > Deployment > nodes > Node > manifestations > Manifestation > Dataset
 *					|	      `- applications > Application > volume > Manifestation
 *					|- leases (3 on) > Lease
 *					`- persistent_state (4 on) > blockdevice_ownership
 *
 * Nodes and applications are lists before format 5, and maps from then on. The registry of ownership is
 * read first, since it says which datasets were made.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <time.h>

#include "import_json.h"
#include "jsonin.h"
#include "text.h"

#define FORMAT_LEASES 3
#define FORMAT_OWNERSHIP 4
#define FORMAT_MAPS 5
#define FORMAT_LAST 6
#define TERM_MS 6000 /* of the program's default; no imported dataset is leased */
#define LINE_MAX_BYTES 1024
#define NAME_SHOWN_MAX 160

struct owned {
	struct id128 dataset_id;
	const char *volume; /* the backend's own word; borrowed */
	bool used;
};

struct reader {
	struct import *im;
	int64_t now_s;
	char *error;
	struct owned *owned;
	size_t n_owned;
	struct id128 node; /* that is being read */
};

/* Room for one more behind @n items; the rest of it is zeros. NULL: out of memory. */
static void *grow(void *items, size_t n, size_t size)
{
	/* At powers of two, from one on. */
	void *more = n & (n - 1) ? items : reallocarray(items, n ? 2 * n : 1, size);

	if (more)
		memset((char *)more + n * size, 0, size);
	return more;
}

#define GROW(array, n)                                          \
	({                                                      \
		void *more_ = grow((array), (n), sizeof(*(array))); \
		if (more_)                                      \
			(array) = more_;                        \
		more_ != NULL;                                  \
	})

/* ---- the report ---- */

static int add_line(struct import *im, const char *raw)
{
	char clean[LINE_MAX_BYTES];

	if (!GROW(im->lines, im->n_lines))
		return -ENOMEM;
	printable(raw, clean, sizeof(clean));
	im->lines[im->n_lines] = strdup(clean);
	if (!im->lines[im->n_lines])
		return -ENOMEM;
	im->n_lines++;
	return 0;
}

/* @word: taken or left, padded to one width. */
static int _printf_(3, 0) add_words(struct import *im, const char *word, const char *fmt, va_list ap)
{
	char raw[LINE_MAX_BYTES];
	int n = snprintf(raw, sizeof(raw), "%-7s", word);

	vsnprintf(raw + n, sizeof(raw) - (size_t)n, fmt, ap);
	return add_line(im, raw);
}

static int _printf_(2, 3) taken(struct reader *c, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = add_words(c->im, "taken", fmt, ap);
	va_end(ap);
	return r;
}

static int _printf_(2, 3) left(struct reader *c, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = add_words(c->im, "left", fmt, ap);
	va_end(ap);
	c->im->n_left++;
	return r;
}

static bool is_among(const char *key, const char *const known[])
{
	for (; *known; known++)
		if (STREQ(key, *known))
			return true;
	return false;
}

/* What the original never wrote there, as far as we know. */
static int leave_unknown(struct reader *c, const struct place *p, const char *const known[])
{
	char pointer[NAME_SHOWN_MAX];
	int r = 0;

	json_object_object_foreach(p->value, key, value) {
		struct place at = { .up = p, .key = key, .value = value };

		if (r == 0 && !STREQ(key, "$__class__$") && !is_among(key, known))
			r = left(c, "%s: this key is not known", place_text(&at, pointer, sizeof(pointer)));
	}
	return r;
}
#define LEAVE_UNKNOWN(c, p, ...) leave_unknown((c), (p), (const char *const[]){ __VA_ARGS__, NULL })

/* ---- datasets ---- */

static int read_size(struct reader *c, const struct place *p, uint64_t *ret)
{
	double d;

	if (!p->value) {
		*ret = 0;
		return 0;
	}
	if (json_object_is_type(p->value, json_type_int) && json_object_get_int64(p->value) > 0 &&
		json_object_get_uint64(p->value) <= INT64_MAX) {
		*ret = json_object_get_uint64(p->value);
		return 0;
	}
	/* Releases before 1.10.2 took any number. */
	d = json_object_is_type(p->value, json_type_double) ? json_object_get_double(p->value) : 0;
	if (!(d >= 1 && d < 0x1p63) || (double)(uint64_t)d < d)
		return place_wrong(p, c->error, "must be null or a whole number of bytes above 0 and below 2^63");
	*ret = (uint64_t)d;
	return 0;
}

struct metadata {
	struct reader *c;
	struct json_object *o;
};

static int on_metadata(const struct place *key, const struct place *value, void *userdata)
{
	struct metadata *m = userdata;
	const char *k, *v;
	struct json_object *text;
	int r;

	if ((r = place_string(key, &k, m->c->error)) < 0 || (r = place_string(value, &v, m->c->error)) < 0)
		return r;
	if (json_object_object_get_ex(m->o, k, NULL))
		return place_wrong(key, m->c->error, "this key appears twice");
	text = json_object_new_string(v);
	if (!text || json_object_object_add(m->o, k, text) < 0) {
		json_object_put(text);
		return -ENOMEM;
	}
	return 0;
}

static int read_dataset(struct reader *c, const struct place *p, struct ds_record *ret)
{
	struct ds_record ds = { .primary = c->node, .created_at = c->now_s, .filesystem = FS_EXT4,
		.failover = { FAILOVER_MANUAL, TERM_MS }, .in_force = { FAILOVER_MANUAL, 0 },
		.failover_rev = 1 };
	struct metadata m = { c, json_object_new_object() };
	struct place at;
	int r;

	ds.metadata = m.o;
	if (!m.o)
		return -ENOMEM;
	if ((r = place_is_class(p, "Dataset", c->error)) < 0 ||
		(r = place_member(p, "dataset_id", &at, c->error)) < 0 ||
		(r = place_uuid_text(&at, &ds.dataset_id, c->error)) < 0 ||
		(r = place_member(p, "deleted", &at, c->error)) < 0 ||
		(r = place_bool(&at, &ds.deleted, c->error)) < 0 ||
		(r = place_member(p, "maximum_size", &at, c->error)) < 0 ||
		(r = read_size(c, &at, &ds.maximum_size)) < 0 ||
		(r = place_member(p, "metadata", &at, c->error)) < 0 ||
		(r = place_pairs(&at, on_metadata, &m, c->error)) < 0 ||
		(r = LEAVE_UNKNOWN(c, p, "dataset_id", "deleted", "maximum_size", "metadata")) < 0) {
		ds_record_done(&ds);
		return r;
	}
	/* The original's device had at least so many, and no volume of ours has a part of a unit. */
	ds.size_bytes = ds.maximum_size ? (ds.maximum_size + DATASET_SIZE_UNIT - 1) / DATASET_SIZE_UNIT *
		DATASET_SIZE_UNIT : DATASET_DEFAULT_SIZE;
	*ret = ds;
	return 0;
}

static struct ds_record *find_dataset(const struct import *im, struct id128 id)
{
	for (size_t i = 0; i < im->n_datasets; i++)
		if (id128_equal(im->datasets[i].dataset_id, id))
			return &im->datasets[i];
	return NULL;
}

/* Nothing in the original kept a dataset from being filed under two nodes. A living one counts before a
 * deleted one, since what is wanted cannot be got back. */
static int take_second(struct reader *c, struct ds_record *first, struct ds_record *second)
{
	struct ds_record swap;
	int r;

	if (first->deleted && !second->deleted) {
		swap = *first;
		*first = *second;
		*second = swap;
	}
	r = id128_equal(first->primary, second->primary) && first->deleted == second->deleted ? 0 :
		left(c, "dataset %s: filed a second time, under node %s%s", ID128_STR(second->dataset_id),
			ID128_STR(second->primary), second->deleted ? " as deleted" : "");
	ds_record_done(second);
	return r;
}

static int take_dataset(struct reader *c, struct ds_record *ds)
{
	struct ds_record *first = find_dataset(c->im, ds->dataset_id);

	if (first)
		return take_second(c, first, ds);
	if (!GROW(c->im->datasets, c->im->n_datasets)) {
		ds_record_done(ds);
		return -ENOMEM;
	}
	c->im->datasets[c->im->n_datasets++] = *ds;
	return 0;
}

static int read_manifestation(struct reader *c, const struct place *p, struct id128 *ret_id)
{
	struct place primary, dataset;
	struct ds_record ds;
	bool is_primary = false;
	int r;

	if ((r = place_is_class(p, "Manifestation", c->error)) < 0 ||
		(r = place_member(p, "primary", &primary, c->error)) < 0 ||
		(r = place_bool(&primary, &is_primary, c->error)) < 0 ||
		(r = place_member(p, "dataset", &dataset, c->error)) < 0 ||
		(r = LEAVE_UNKNOWN(c, p, "primary", "dataset")) < 0 ||
		(r = read_dataset(c, &dataset, &ds)) < 0)
		return r;
	*ret_id = ds.dataset_id;
	if (is_primary)
		return take_dataset(c, &ds);
	r = left(c, "dataset %s: a replica on node %s, which the original never made",
		ID128_STR(ds.dataset_id), ID128_STR(c->node));
	ds_record_done(&ds);
	return r;
}

static int on_manifestation(const struct place *key, const struct place *value, void *userdata)
{
	struct reader *c = userdata;
	struct id128 id, filed_as;
	int r;

	if ((r = place_uuid_text(key, &filed_as, c->error)) < 0 ||
		(r = read_manifestation(c, value, &id)) < 0)
		return r;
	return id128_equal(id, filed_as) ? 0 :
		place_wrong(key, c->error, "the dataset that is filed here says that it is %s", ID128_STR(id));
}

/* ---- nodes and applications ---- */

static int read_attached(struct reader *c, const struct place *volume, struct id128 *ret_id)
{
	struct place manifestation;
	int r;

	if ((r = place_is_class(volume, "AttachedVolume", c->error)) < 0 ||
		(r = place_member(volume, "manifestation", &manifestation, c->error)) < 0)
		return r;
	return read_manifestation(c, &manifestation, ret_id);
}

static int on_application(const struct place *p, void *userdata)
{
	struct reader *c = userdata;
	char shown[NAME_SHOWN_MAX], uses[64] = "";
	struct place name, volume;
	struct id128 id;
	const char *text;
	int r;

	if ((r = place_is_class(p, "Application", c->error)) < 0 ||
		(r = place_member(p, "name", &name, c->error)) < 0 ||
		(r = place_string(&name, &text, c->error)) < 0 ||
		(r = place_member(p, "volume", &volume, c->error)) < 0)
		return r;
	if (volume.value) {
		r = read_attached(c, &volume, &id);
		if (r < 0)
			return r;
		snprintf(uses, sizeof(uses), ", which used dataset %s", ID128_STR(id));
	}
	printable(text, shown, sizeof(shown));
	return left(c, "application '%s' on node %s%s: containers are not started here, see docs/migration.md",
		shown, ID128_STR(c->node), uses);
}

static int on_application_pair(const struct place *key, const struct place *value, void *userdata)
{
	return on_application(value, userdata);
}

static int on_node(const struct place *p, void *userdata)
{
	struct reader *c = userdata;
	struct place uuid, manifestations, applications;
	int r;

	if ((r = place_is_class(p, "Node", c->error)) < 0 ||
		(r = place_member(p, "uuid", &uuid, c->error)) < 0 ||
		(r = place_uuid(&uuid, &c->node, c->error)) < 0 ||
		(r = left(c, "node %s: a node makes itself known by its certificate",
			ID128_STR(c->node))) < 0 ||
		(r = place_member(p, "manifestations", &manifestations, c->error)) < 0 ||
		(r = place_pairs(&manifestations, on_manifestation, c, c->error)) < 0 ||
		(r = place_member(p, "applications", &applications, c->error)) < 0 ||
		(r = c->im->format < FORMAT_MAPS ? place_items(&applications, on_application, c, c->error) :
			place_pairs(&applications, on_application_pair, c, c->error)) < 0)
		return r;
	return LEAVE_UNKNOWN(c, p, "uuid", "manifestations", "applications");
}

static int on_node_pair(const struct place *key, const struct place *value, void *userdata)
{
	struct reader *c = userdata;
	struct id128 filed_as;
	int r;

	if ((r = place_uuid(key, &filed_as, c->error)) < 0 || (r = on_node(value, c)) < 0)
		return r;
	return id128_equal(filed_as, c->node) ? 0 :
		place_wrong(key, c->error, "the node that is filed here says that it is %s", ID128_STR(c->node));
}

/* ---- leases ---- */

static int read_expiration(struct reader *c, const struct place *p, int64_t *ret_ms)
{
	struct place seconds;
	int64_t s;
	int r;

	if (!p->value) {
		*ret_ms = PIN_ENDLESS;
		return 0;
	}
	if ((r = place_is_class(p, "datetime", c->error)) < 0 ||
		(r = place_member(p, "seconds", &seconds, c->error)) < 0)
		return r;
	s = json_object_is_type(seconds.value, json_type_int) ? json_object_get_int64(seconds.value) : -1;
	if (s < 0 || s >= PIN_ENDLESS / 1000)
		return place_wrong(&seconds, c->error, "must be whole seconds since 1970");
	*ret_ms = s * 1000;
	return 0;
}

static int take_lease(struct reader *c, const struct pin_record *pin)
{
	bool endless = pin->expires_ms == PIN_ENDLESS;
	const char *date = TEXT_TIME(pin->expires_ms / 1000);

	if (pin->expires_ms / 1000 <= c->now_s)
		return left(c, "lease on dataset %s for node %s: it ran out at %s", ID128_STR(pin->dataset_id),
			ID128_STR(pin->node), date);
	if (!GROW(c->im->pins, c->im->n_pins))
		return -ENOMEM;
	c->im->pins[c->im->n_pins++] = *pin;
	return taken(c, "lease on dataset %s for node %s%s%s", ID128_STR(pin->dataset_id),
		ID128_STR(pin->node), endless ? ", without end" : " until ", endless ? "" : date);
}

static int on_lease(const struct place *key, const struct place *p, void *userdata)
{
	struct reader *c = userdata;
	struct place dataset, node, expiration;
	struct id128 filed_as;
	struct pin_record pin = { 0 };
	int r;

	if ((r = place_uuid(key, &filed_as, c->error)) < 0 ||
		(r = place_is_class(p, "Lease", c->error)) < 0 ||
		(r = place_member(p, "dataset_id", &dataset, c->error)) < 0 ||
		(r = place_uuid(&dataset, &pin.dataset_id, c->error)) < 0 ||
		(r = place_member(p, "node_id", &node, c->error)) < 0 ||
		(r = place_uuid(&node, &pin.node, c->error)) < 0 ||
		(r = place_member(p, "expiration", &expiration, c->error)) < 0 ||
		(r = read_expiration(c, &expiration, &pin.expires_ms)) < 0 ||
		(r = LEAVE_UNKNOWN(c, p, "dataset_id", "node_id", "expiration")) < 0)
		return r;
	if (!id128_equal(filed_as, pin.dataset_id))
		return place_wrong(key, c->error, "the lease that is filed here is on %s",
			ID128_STR(pin.dataset_id));
	for (size_t i = 0; i < c->im->n_pins; i++)
		if (id128_equal(c->im->pins[i].dataset_id, pin.dataset_id))
			return place_wrong(key, c->error, "this dataset has a second lease");
	return take_lease(c, &pin);
}

/* ---- ownership, and what becomes of each dataset ---- */

static int on_owned(const struct place *key, const struct place *value, void *userdata)
{
	struct reader *c = userdata;
	struct owned o = { 0 };
	int r;

	if ((r = place_uuid(key, &o.dataset_id, c->error)) < 0 ||
		(r = place_string(value, &o.volume, c->error)) < 0)
		return r;
	for (size_t i = 0; i < c->n_owned; i++)
		if (id128_equal(c->owned[i].dataset_id, o.dataset_id))
			return place_wrong(key, c->error, "this dataset has a second volume");
	if (!GROW(c->owned, c->n_owned))
		return -ENOMEM;
	c->owned[c->n_owned++] = o;
	return 0;
}

static int read_ownership(struct reader *c, const struct place *deployment)
{
	struct place state, ownership;
	int r;

	if ((r = place_member(deployment, "persistent_state", &state, c->error)) < 0 ||
		(r = place_is_class(&state, "PersistentState", c->error)) < 0 ||
		(r = place_member(&state, "blockdevice_ownership", &ownership, c->error)) < 0 ||
		(r = place_pairs(&ownership, on_owned, c, c->error)) < 0)
		return r;
	return LEAVE_UNKNOWN(c, &state, "blockdevice_ownership");
}

static const char *use_owned(struct reader *c, struct id128 dataset_id)
{
	for (size_t i = 0; i < c->n_owned; i++) {
		if (!id128_equal(c->owned[i].dataset_id, dataset_id))
			continue;
		c->owned[i].used = true;
		return c->owned[i].volume;
	}
	return NULL;
}

static struct json_object *origin(const struct reader *c, const char *volume)
{
	_cleanup_json_ struct json_object *extra = json_object_new_object(), *o = json_object_new_object();
	struct json_object *format = json_object_new_int((int)c->im->format);
	struct json_object *text = volume ? json_object_new_string(volume) : NULL;

	if (!extra || !o || !format || json_object_object_add(o, "format", format) < 0)
		return NULL;
	if (volume && (!text || json_object_object_add(o, "blockdevice_id", text) < 0))
		return NULL;
	if (json_object_object_add(extra, IMPORT_EXTRA_KEY, o) < 0)
		return NULL;
	(void)TAKE_PTR(o);
	return TAKE_PTR(extra);
}

/* Of a deleted one nothing is destroyed: it may have been gone for years, or be the last copy. */
static int settle_deleted(struct reader *c, struct ds_record *ds, const char *volume)
{
	char shown[NAME_SHOWN_MAX] = "";

	ds->deleted_at = c->now_s;
	printable(volume ?: "", shown, sizeof(shown));
	return volume ? taken(c, "dataset %s: deleted; volume '%s' is not destroyed by this, if it is still there",
		ID128_STR(ds->dataset_id), shown) : taken(c, "dataset %s: deleted", ID128_STR(ds->dataset_id));
}

/*
 * Only a registry that knows volumes can say of a dataset that it has none: one that is empty may be
 * the work of a migration, and before format 4 there was none. What may hold data is never made anew.
 * The ids are those of the dataset, so that two imports of one file ask for the same.
 */
static int settle_living(struct reader *c, struct ds_record *ds, const char *volume)
{
	const char *id = ID128_STR(ds->dataset_id), *node = ID128_STR(ds->primary);
	char shown[NAME_SHOWN_MAX] = "";

	ds->volume_id = ds->fs_uuid = ds->dataset_id;
	if (!volume && c->n_owned > 0)
		return taken(c, "dataset %s: for node %s, %" PRIu64 " bytes; the original never made it, so it "
			"is made, and is empty", id, node, ds->size_bytes);
	/* As given back: the next owner's grant is above, and a deletion has something to destroy. */
	ds->format_state = FORMAT_DONE;
	ds->epoch = 1;
	printable(volume ?: "", shown, sizeof(shown));
	if (!volume)
		return taken(c, "dataset %s: for node %s, %" PRIu64 " bytes; the file does not say whether it "
			"was ever made: lost until its image is put there", id, node, ds->size_bytes);
	return taken(c, "dataset %s: for node %s, %" PRIu64 " bytes, was volume '%s': lost until its image is "
		"put there", id, node, ds->size_bytes, shown);
}

static int settle_datasets(struct reader *c)
{
	for (size_t i = 0; i < c->im->n_datasets; i++) {
		struct ds_record *ds = &c->im->datasets[i];
		const char *volume = use_owned(c, ds->dataset_id);
		int r;

		ds->extra = origin(c, volume);
		if (!ds->extra)
			return -ENOMEM;
		r = ds->deleted ? settle_deleted(c, ds, volume) : settle_living(c, ds, volume);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < c->n_owned; i++) {
		char shown[NAME_SHOWN_MAX];
		int r;

		if (c->owned[i].used)
			continue;
		printable(c->owned[i].volume, shown, sizeof(shown));
		r = left(c, "volume '%s' of dataset %s: the file has no such dataset", shown,
			ID128_STR(c->owned[i].dataset_id));
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- the whole ---- */

static int read_deployment(struct reader *c, const struct place *p)
{
	unsigned int format = c->im->format;
	struct place nodes, leases;
	int r;

	if ((r = place_is_class(p, "Deployment", c->error)) < 0)
		return r;
	if (format >= FORMAT_OWNERSHIP && (r = read_ownership(c, p)) < 0)
		return r;
	if ((r = place_member(p, "nodes", &nodes, c->error)) < 0 ||
		(r = format < FORMAT_MAPS ? place_items(&nodes, on_node, c, c->error) :
			place_pairs(&nodes, on_node_pair, c, c->error)) < 0 ||
		(r = settle_datasets(c)) < 0)
		return r;
	if (format >= FORMAT_LEASES && ((r = place_member(p, "leases", &leases, c->error)) < 0 ||
		(r = place_pairs(&leases, on_lease, c, c->error)) < 0))
		return r;
	return LEAVE_UNKNOWN(c, p, "nodes", format >= FORMAT_LEASES ? "leases" : "nodes",
		format >= FORMAT_OWNERSHIP ? "persistent_state" : "nodes");
}

static int read_version(struct reader *c, const struct place *p)
{
	int64_t version = json_object_is_type(p->value, json_type_int) ? json_object_get_int64(p->value) : 0;

	if (version > FORMAT_LAST)
		return place_wrong(p, c->error, "format %" PRId64 " is newer than %d, the last that the original "
			"wrote", version, FORMAT_LAST);
	if (version < 2)
		return place_wrong(p, c->error, "must be a number from 2 to %d", FORMAT_LAST);
	c->im->format = (unsigned int)version;
	return 0;
}

static int read_file(struct reader *c, const struct place *p)
{
	struct place version, deployment;
	char ignored[IMPORT_ERROR_MAX];
	int r;

	c->im->format = 1;
	if (place_is_class(p, "Deployment", ignored) == 0)
		return read_deployment(c, p);
	if ((r = place_is_class(p, "Configuration", c->error)) < 0 ||
		(r = place_member(p, "version", &version, c->error)) < 0 ||
		(r = read_version(c, &version)) < 0 ||
		(r = place_member(p, "deployment", &deployment, c->error)) < 0 ||
		(r = read_deployment(c, &deployment)) < 0)
		return r;
	return LEAVE_UNKNOWN(c, p, "version", "deployment");
}

void import_done(struct import *im)
{
	for (size_t i = 0; i < im->n_datasets; i++)
		ds_record_done(&im->datasets[i]);
	for (size_t i = 0; i < im->n_lines; i++)
		free(im->lines[i]);
	free(im->datasets);
	free(im->pins);
	free(im->lines);
	*im = (struct import){ 0 };
}

int import_parse(const char *text, size_t size, int64_t now_s, struct import *ret,
	char error[IMPORT_ERROR_MAX])
{
	_cleanup_json_ struct json_object *o = NULL;
	char why[JSONIN_ERROR_MAX];
	struct import im = { 0 };
	struct reader c = { .im = &im, .now_s = now_s, .error = error };
	struct place whole = { 0 };
	int r;

	r = jsonin_parse(text, size, &o, why);
	if (r == -EBADMSG)
		printable(why, error, IMPORT_ERROR_MAX);
	if (r < 0)
		return r;
	whole.value = o;
	r = read_file(&c, &whole);
	free(c.owned);
	if (r < 0)
		import_done(&im);
	else
		*ret = im;
	return r;
}

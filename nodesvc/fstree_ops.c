/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fstree_ops.c - FUSE requests, each answered once, at once and from memory.
 *
 * Reading goes past the page cache (FOPEN_DIRECT_IO): contents are a few bytes, so an answer costs
 * no more than a cached page that would have to be invalidated at every change, and a reader gets
 * what is true when it reads. Each open keeps the text that it read from the start, so that a file
 * read in pieces is of one moment; reading from the start again takes the text of now.
 *
 * Attributes are cached by the kernel, but only those of a GETATTR answer: those that come
 * with a LOOKUP could reach an inode that the kernel is just making, after an invalidation that did
 * not find it yet, and would then be believed for long.
 *
 * Everybody who can reach the tree may read all of it, and the mount is read-only. So there is
 * no permission left to check, neither by us nor by default_permissions, which would
 * ask for attributes on each open.
 */
#include <poll.h>
#include <sys/stat.h>

#include "fstree_private.h"

static bool is_directory(uint64_t ino)
{
	unsigned int idx = fs_idx_of(ino);

	return fs_slot_of(ino) == 0 ? idx <= IDX_NODE : idx <= IDX_METADATA;
}

static bool is_link(uint64_t ino)
{
	return fs_slot_of(ino) != 0 && fs_idx_of(ino) == IDX_LINK;
}

static const char *link_target(const struct fs_object *o, char buf[FSTREE_LINK_TARGET])
{
	memcpy(buf, "../", 3);
	id128_format(o->view->dataset_id, buf + 3);
	return buf;
}

static nlink_t directory_links(const struct fstree *t, uint64_t ino)
{
	if (ino == IDX_ROOT)
		return 2 + 2 + t->n_used; /* "." and "..", by-name and .node, one a dataset */
	return fs_slot_of(ino) != 0 && fs_idx_of(ino) == IDX_DIR ? 3 : 2;
}

/* -ESTALE: the inode is no more. */
static int fill_stat(struct fstree *t, uint64_t ino, struct stat *ret)
{
	struct fs_object *o = fs_object_of(t, ino);
	struct fs_text b = { 0 };
	struct stat st = { .st_ino = ino, .st_blksize = 4096 };
	int64_t changed;
	int r;

	changed = o ? fs_changed(o, fs_idx_of(ino)) : 0;
	if (changed == 0)
		return -ESTALE;
	if (is_directory(ino)) {
		st.st_mode = S_IFDIR | 0555;
		st.st_nlink = directory_links(t, ino);
	} else if (is_link(ino)) {
		char target[FSTREE_LINK_TARGET];

		st.st_mode = S_IFLNK | 0777;
		st.st_nlink = 1;
		st.st_size = (off_t)strlen(link_target(o, target));
	} else {
		r = fs_render(t, o, fs_idx_of(ino), &b);
		st.st_size = (off_t)b.len;
		fs_text_done(&b);
		if (r < 0)
			return r;
		st.st_mode = S_IFREG | 0444;
		st.st_nlink = 1;
	}
	st.st_mtim.tv_sec = changed / 1000000000;
	st.st_mtim.tv_nsec = changed % 1000000000;
	st.st_ctim = st.st_atim = st.st_mtim;
	*ret = st;
	return 0;
}

static int fill_entry(struct fstree *t, uint64_t ino, struct fuse_entry_param *ret)
{
	struct fuse_entry_param e = { .ino = ino, .entry_timeout = FSTREE_CACHE_S };
	int r;

	r = fill_stat(t, ino, &e.attr);
	if (r < 0)
		return r;
	*ret = e;
	return 0;
}

static uint64_t lookup_file(uint64_t base, const char *const *names, unsigned int n,
	const char *name)
{
	for (unsigned int i = 0; i < n; i++)
		if (STREQ(names[i], name))
			return base + IDX_FILE + i;
	return 0;
}

static uint64_t lookup_root(struct fstree *t, const char *name)
{
	struct id128 id;
	struct fs_object *o;

	if (STREQ(name, "by-name"))
		return IDX_BY_NAME;
	if (STREQ(name, ".node"))
		return IDX_NODE;
	if (id128_parse(name, &id) < 0 || !STREQ(name, ID128_STR(id)))
		return 0;
	o = fs_find(t, id);
	return o ? o->base + IDX_DIR : 0;
}

static uint64_t lookup_key(struct fs_object *o, const char *name)
{
	char escaped[FSTREE_NAME_MAX + 1];

	for (size_t i = 0; i < o->n_keys; i++) {
		fs_name_escape(o->keys[i].key, escaped);
		if (STREQ(name, escaped))
			return o->base + o->keys[i].idx;
	}
	return 0;
}

/* The inode of a name, or 0. */
static uint64_t lookup(struct fstree *t, uint64_t parent, const char *name)
{
	struct fs_object *o = fs_object_of(t, parent);

	if (!o)
		return 0;
	if (o == &t->node) {
		switch (fs_idx_of(parent)) {
		case IDX_ROOT:
			return lookup_root(t, name);
		case IDX_BY_NAME:
			o = fs_find_link(t, name);
			return o ? o->base + IDX_LINK : 0;
		default:
			return lookup_file(0, fs_node_files, NODE_FILE_MAX, name);
		}
	}
	if (fs_idx_of(parent) == IDX_METADATA)
		return lookup_key(o, name);
	if (STREQ(name, "metadata"))
		return o->base + IDX_METADATA;
	return lookup_file(o->base, fs_ds_files, FILE_MAX, name);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	/* Answers are small: moving pages around would cost more than copying. */
	conn->want &= ~(unsigned int)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
				      FUSE_CAP_SPLICE_MOVE | FUSE_CAP_AUTO_INVAL_DATA);
	conn->want |= conn->capable & (FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
					      FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_CACHE_SYMLINKS);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fstree *t = fuse_req_userdata(req);
	uint64_t ino = lookup(t, parent, name);
	struct fuse_entry_param e;
	int r = -ENOENT;

	/* What is not there is not cached, so nothing has to be called back when it appears. */
	if (ino != 0)
		r = fill_entry(t, ino, &e);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_entry(req, &e);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fstree *t = fuse_req_userdata(req);
	struct stat st;
	int r;

	r = fill_stat(t, ino, &st);
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	if (fs_idx_of(ino) >= IDX_KEY)
		fs_key_of(fs_object_of(t, ino), fs_idx_of(ino))->known = true;
	else
		fs_object_of(t, ino)->known |= 1u << fs_idx_of(ino);
	fuse_reply_attr(req, &st, FSTREE_CACHE_S);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct fs_object *o = fs_object_of(fuse_req_userdata(req), ino);
	char target[FSTREE_LINK_TARGET];

	if (!o)
		fuse_reply_err(req, ESTALE);
	else
		fuse_reply_readlink(req, link_target(o, target));
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fstree *t = fuse_req_userdata(req);
	struct fs_object *o = fs_object_of(t, ino);
	struct fs_handle *h;
	int err = 0;

	if (!o || fs_changed(o, fs_idx_of(ino)) == 0)
		err = ESTALE;
	else if ((fi->flags & O_ACCMODE) != O_RDONLY)
		err = EROFS;
	else if (t->n_open >= FSTREE_OPEN_MAX)
		err = ENFILE;
	h = err == 0 ? calloc(1, sizeof(*h)) : NULL;
	if (!h) {
		fuse_reply_err(req, err != 0 ? err : ENOMEM);
		return;
	}
	h->object = o;
	h->idx = fs_idx_of(ino);
	LIST_INSERT_HEAD(&o->handles, h, list);
	t->n_open++;
	fi->fh = (uintptr_t)h;
	fi->direct_io = 1;
	if (fuse_reply_open(req, fi) < 0)
		fs_handle_free(t, h); /* the caller was interrupted: no release follows */
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fs_handle_free(fuse_req_userdata(req), (struct fs_handle *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

/* What the file says now, for this open. A removed dataset's says what was read last. */
static int take_text(struct fstree *t, struct fs_handle *h)
{
	struct fs_text b = { 0 };
	int64_t changed = h->object ? fs_changed(h->object, h->idx) : 0;
	int r;

	if (changed == 0)
		return h->text ? 0 : -ESTALE;
	if (h->text && h->seen == changed)
		return 0;
	r = fs_render(t, h->object, h->idx, &b);
	if (r == 0 && !b.s)
		b.s = calloc(1, 1); /* so that an empty text is one, too */
	if (r < 0 || !b.s) {
		fs_text_done(&b);
		return -ENOMEM;
	}
	free(h->text);
	h->size = b.len;
	h->text = realloc(b.s, MAX(b.len, (size_t)1)); /* thousands may be open for long */
	if (!h->text)
		h->text = b.s;
	h->seen = changed;
	return 0;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
	struct fuse_file_info *fi)
{
	struct fs_handle *h = (struct fs_handle *)(uintptr_t)fi->fh;
	size_t at = (size_t)offset;
	int r = 0;

	if (at == 0 || !h->text)
		r = take_text(fuse_req_userdata(req), h);
	if (r < 0)
		fuse_reply_err(req, -r);
	else if (at >= h->size)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_buf(req, h->text + at, MIN(size, h->size - at));
}

void fs_wake(struct fs_handle *h)
{
	if (!h->poll)
		return;
	/* Once: whoever still polls asks again, and so brings the next handle. */
	fuse_lowlevel_notify_poll(h->poll);
	fuse_pollhandle_destroy(h->poll);
	h->poll = NULL;
}

static void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	struct fuse_pollhandle *ph)
{
	struct fs_handle *h = (struct fs_handle *)(uintptr_t)fi->fh;
	int64_t changed = h->object ? fs_changed(h->object, h->idx) : 0;
	unsigned int events = 0;

	if (ph) {
		if (h->poll)
			fuse_pollhandle_destroy(h->poll);
		/* Also when there is something to read: epoll may wait for the edge after. */
		h->poll = ph;
	}
	if (changed == 0)
		events = POLLIN | POLLRDNORM | POLLPRI | POLLERR | POLLHUP;
	else if (changed != h->seen)
		events = POLLIN | POLLRDNORM | POLLPRI;
	fuse_reply_poll(req, events);
}

struct filler {
	fuse_req_t req;
	struct fstree *t;
	char *buf;
	size_t used, size;
	bool plus;
};

/* false: the buffer is full */
static bool fill(struct filler *f, const char *name, uint64_t ino, off_t next)
{
	struct fuse_entry_param e = { .attr.st_ino = ino };
	size_t n, room = f->size - f->used;

	if (f->plus) {
		if (fill_entry(f->t, ino, &e) < 0)
			return true;
		n = fuse_add_direntry_plus(f->req, f->buf + f->used, room, name, &e, next);
	} else {
		e.attr.st_mode = is_directory(ino) ? S_IFDIR : is_link(ino) ? S_IFLNK : S_IFREG;
		n = fuse_add_direntry(f->req, f->buf + f->used, room, name, &e.attr, next);
	}
	if (n > room)
		return false;
	f->used += n;
	return true;
}

static bool fill_files(struct filler *f, uint64_t base, const char *const *names, unsigned int n,
	off_t at)
{
	for (; at < n; at++)
		if (!fill(f, names[at], base + IDX_FILE + (unsigned int)at, at + 1))
			return false;
	return true;
}

/* Offsets are slots, so a listing that goes on after a change neither skips nor repeats. */
static void fill_slots(struct filler *f, bool links, off_t at)
{
	struct fstree *t = f->t;
	char name[FSTREE_NAME_MAX + 1];

	for (size_t slot = MAX((size_t)at, (size_t)1); slot < t->n_slots; slot++) {
		const struct fs_object *o = t->slots[slot];

		if (!o || (links && !o->link))
			continue;
		if (links)
			fs_link_name(o, name);
		else
			id128_format(o->view->dataset_id, name);
		if (!fill(f, name, o->base + (links ? IDX_LINK : IDX_DIR), (off_t)slot + 1))
			return;
	}
}

static void fill_root(struct filler *f, off_t at)
{
	/* The two that are always there come before the slots. */
	const off_t first = (off_t)1 << (SLOT_BITS + 1);

	if (at == 0) {
		if (!fill(f, "by-name", IDX_BY_NAME, first))
			return;
		at = first;
	}
	if (at == first) {
		if (!fill(f, ".node", IDX_NODE, 1))
			return;
		at = 1;
	}
	fill_slots(f, false, at);
}

static void fill_keys(struct filler *f, const struct fs_object *o, off_t at)
{
	char name[FSTREE_NAME_MAX + 1];

	for (size_t i = 0; i < o->n_keys; i++) {
		if (o->keys[i].idx < at)
			continue;
		fs_name_escape(o->keys[i].key, name);
		if (!fill(f, name, o->base + o->keys[i].idx, (off_t)o->keys[i].idx + 1))
			return;
	}
}

static void fill_directory(struct filler *f, struct fs_object *o, unsigned int idx, off_t at)
{
	if (o == &f->t->node) {
		if (idx == IDX_ROOT)
			fill_root(f, at);
		else if (idx == IDX_BY_NAME)
			fill_slots(f, true, at);
		else
			fill_files(f, 0, fs_node_files, NODE_FILE_MAX, at);
		return;
	}
	if (idx == IDX_METADATA)
		fill_keys(f, o, at);
	else if (fill_files(f, o->base, fs_ds_files, FILE_MAX, at) && at <= FILE_MAX)
		fill(f, "metadata", o->base + IDX_METADATA, FILE_MAX + 1);
}

static void read_directory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t at, bool plus)
{
	struct fstree *t = fuse_req_userdata(req);
	struct fs_object *o = fs_object_of(t, ino);
	struct filler f = { .req = req, .t = t, .size = size, .plus = plus };

	if (!o) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	f.buf = malloc(size);
	if (!f.buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	fill_directory(&f, o, fs_idx_of(ino), at);
	fuse_reply_buf(req, f.buf, f.used);
	free(f.buf);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t at,
	struct fuse_file_info *fi)
{
	read_directory(req, ino, size, at, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t at,
	struct fuse_file_info *fi)
{
	read_directory(req, ino, size, at, true);
}

/* libfuse answers the others rightly: opendir, forget, statfs; access and flush with ENOSYS. */
const struct fuse_lowlevel_ops fs_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.readlink = op_readlink,
	.open = op_open,
	.read = op_read,
	.release = op_release,
	.poll = op_poll,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
};

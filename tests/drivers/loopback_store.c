/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loopback_store.c - the loopback driver's directory: what is in it, what does not belong there, what
 * is damaged, and disks that are full or gone; and the options that lead to it.
 */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "harness.h"

static const struct driver_ops *ops;

static int setup(void **state)
{
	int r = world_setup(state);

	ops = ((struct world *)*state)->ops;
	return r;
}

static size_t count(struct driver *d)
{
	struct id128 *ids;
	size_t n;

	assert_ok(ops->list(d, &ids, &n));
	free(ids);
	return n;
}

static void write_file(const char *path, off_t at, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, text, strlen(text), at), (int)strlen(text));
	close(fd);
}

/* Replaces a file's text by itself with @from exchanged for @to, of equal length. */
static void edit_file(const char *path, const char *from, const char *to)
{
	char text[16384];
	int fd = open(path, O_RDWR | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	char *at;

	assert_true(n > 0);
	text[n] = '\0';
	at = strstr(text, from);
	assert_non_null(at);
	memcpy(at, to, strlen(to));
	assert_int_equal(pwrite(fd, text, (size_t)n, 0), n);
	close(fd);
}

static void a_volume_is_private_and_sparse(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct stat st;

	assert_ok(stat(volume_file(w, id, "image"), &st));
	assert_int_equal(st.st_size, SIZE);
	assert_true(st.st_blocks * 512 < (off_t)MIB);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_ok(stat(volume_file(w, id, "meta"), &st));
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_ok(stat(volume_file(w, id, "claim"), &st));
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_ok(stat(volume_file(w, id, ""), &st));
	assert_int_equal(st.st_mode & 07777, 0700);
}

static void an_image_is_taken_whole_and_as_given_back(void **state)
{
	struct world *w = *state;
	struct id128 id = new_id(), dataset = new_id();
	struct driver_volume v;
	struct stat st;
	uint64_t size = 0;
	char path[200];
	int fd;

	snprintf(path, sizeof(path), "%s/foreign", w->where);
	write_file(path, 4096, "first");
	write_file(path, SIZE - 100, "last");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_ok(ops->take(w->a, id, dataset, fd, 1, &size));
	assert_int_equal(size, SIZE);
	assert_int_equal(ops->take(w->a, id, dataset, fd, 1, &size), -EEXIST);
	close(fd);
	assert_ok(stat(volume_file(w, id, "image"), &st));
	assert_int_equal(st.st_size, SIZE); /* whole units */
	assert_true(st.st_blocks * 512 < (off_t)MIB);
	v = look(w, w->a, id);
	assert_true(v.place == DRIVER_FREE && v.epoch == 1 && id128_equal(v.dataset_id, dataset));

	assert_int_equal(ops->attach(w->a, id, 1, SIZE, 0), -ESTALE);
	assert_ok(ops->attach(w->a, id, 2, SIZE, 0));
	device_expect(w, w->a, id, 4096, "first");
	device_expect(w, w->a, id, SIZE - 100, "last");
	assert_ok(ops->detach(w->a, id, 2));
}

static void foreign_files_are_left_alone_and_not_listed(void **state)
{
	struct world *w = *state;
	struct id128 ours = make_volume(w), as_file = new_id(), as_dir = new_id();
	struct driver_volume v;
	char path[200];

	snprintf(path, sizeof(path), "%s/volumes/lost+found", w->where);
	assert_ok(mkdir(path, 0700));
	snprintf(path, sizeof(path), "%s/volumes/notes.txt", w->where);
	write_file(path, 0, "hello");
	snprintf(path, sizeof(path), "%s/volumes/.new-%s", w->where, ID128_STR(new_id()));
	write_file(path, 0, "hello");
	snprintf(path, sizeof(path), "%s/volumes/%s", w->where, ID128_STR(as_file));
	write_file(path, 0, "hello");
	snprintf(path, sizeof(path), "%s/volumes/%s", w->where, ID128_STR(as_dir));
	assert_ok(mkdir(path, 0700));
	run("mkdir %s/volumes/AAAAAAAA-BBBB-4CCC-8DDD-EEEEEEEEEEEE", w->where);
	run("ln -s %s %s/volumes/%s", ID128_STR(ours), w->where, ID128_STR(new_id()));

	assert_int_equal(count(w->a), 2); /* as_dir may be a volume: lookup() tells */
	assert_int_equal(ops->lookup(w->a, as_file, &v), -EIO);
	assert_int_equal(ops->lookup(w->a, as_dir, &v), -EIO);
	assert_int_equal(ops->create(w->a, as_dir, new_id(), SIZE, 1), -EIO);
	assert_ok(ops->tidy(w->b));
	snprintf(path, sizeof(path), "%s/volumes/notes.txt", w->where);
	assert_ok(access(path, F_OK));
}

static void a_damaged_volume_hides_no_other(void **state)
{
	struct world *w = *state;
	struct id128 bad = make_volume(w), good = make_volume(w);
	struct driver_volume v;

	assert_ok(truncate(volume_file(w, bad, "meta"), 10));
	assert_int_equal(count(w->a), 2);
	assert_int_equal(ops->lookup(w->a, bad, &v), -EIO);
	assert_int_equal(ops->attach(w->a, bad, 1, SIZE, 0), -EIO);
	assert_int_equal(ops->destroy(w->a, bad, 1), -EIO);
	assert_ok(ops->attach(w->a, good, 1, SIZE, 0));
}

static void what_a_newer_version_wrote_is_not_touched(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_volume v;

	edit_file(volume_file(w, id, "meta"), "\"version\": 1", "\"version\": 2");
	assert_int_equal(ops->lookup(w->a, id, &v), -ENOTSUP);
	assert_int_equal(ops->attach(w->a, id, 1, SIZE, 0), -ENOTSUP);
	assert_int_equal(ops->destroy(w->a, id, 1), -ENOTSUP);
	edit_file(volume_file(w, id, "meta"), "\"version\": 2", "\"version\": 1");
	assert_int_equal(count(w->a), 1);
}

static void unknown_keys_of_meta_do_not_disturb(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	char text[512] = "", more[600];
	FILE *f = fopen(volume_file(w, id, "meta"), "re");

	assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
	fclose(f);
	snprintf(more, sizeof(more), "{\"from_the_future\":[1,{}],%s", strchr(text, '{') + 1);
	write_file(volume_file(w, id, "meta"), 0, more);
	assert_ok(ops->attach(w->a, id, 1, SIZE, 0));
	assert_ok(ops->detach(w->a, id, 1));
}

/* The slot of the last change is the one with the higher serial; changes alternate. */
static void a_torn_change_of_the_claim_did_not_happen(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_volume before = look(w, w->a, id), after;
	unsigned seen = 0;

	for (off_t slot = 0; slot < 2; slot++) {
		assert_ok(ops->detach(w->a, id, before.epoch + 1)); /* one change */
		write_file(volume_file(w, id, "claim"), slot * 4096 + 20, "torn torn torn");
		after = look(w, w->a, id);
		if (after.epoch == before.epoch)
			seen++;
		else
			assert_int_equal(after.epoch, before.epoch + 1);
		assert_ok(ops->detach(w->a, id, before.epoch + 1)); /* mends the torn slot */
		before = look(w, w->a, id);
	}
	assert_int_equal(seen, 1);
	write_file(volume_file(w, id, "claim"), 20, "rotten");
	write_file(volume_file(w, id, "claim"), 4096 + 20, "rotten");
	assert_int_equal(ops->lookup(w->a, id, &after), -EIO);
	assert_int_equal(ops->attach(w->a, id, 9, SIZE, 0), -EIO);
	assert_int_equal(count(w->a), 1);
}

static void half_a_claim_is_none(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_volume v;

	assert_ok(ops->attach(w->a, id, 1, SIZE, 0));
	assert_ok(ops->detach(w->a, id, 1));
	assert_ok(truncate(volume_file(w, id, "claim"), 4096));
	assert_int_equal(ops->lookup(w->a, id, &v), -EIO);
	assert_int_equal(ops->attach(w->b, id, 2, SIZE, 0), -EIO);
}

static bool exists(struct world *w, const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/volumes/%s", w->where, name);
	return access(path, F_OK) == 0;
}

static void litter_is_swept_but_not_what_is_being_built(void **state)
{
	struct world *w = *state;
	char dead[80], alive[80], gone[80], path[200];
	int fd;

	snprintf(dead, sizeof(dead), ".new-%s.0123456789abcdef", ID128_STR(new_id()));
	snprintf(alive, sizeof(alive), ".new-%s.0123456789abcdef", ID128_STR(new_id()));
	snprintf(gone, sizeof(gone), ".gone-%s.0123456789abcdef", ID128_STR(new_id()));
	run("cd %s/volumes && mkdir %s %s %s && truncate -s 1M %s/image %s/image", w->where, dead,
		alive, gone, dead, gone);
	snprintf(path, sizeof(path), "%s/volumes/%s", w->where, alive);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_ok(flock(fd, LOCK_EX));
	assert_int_equal(count(w->a), 0);
	assert_int_equal(ops->tidy(w->b), -EBUSY);
	assert_false(exists(w, dead));
	assert_false(exists(w, gone));
	assert_true(exists(w, alive));
	close(fd);
	assert_ok(ops->tidy(w->b));
	assert_false(exists(w, alive));
}

static void destroy_repeated_frees_the_space_that_was_left(void **state)
{
	struct world *w = *state;
	struct id128 id = new_id();
	char gone[80];

	snprintf(gone, sizeof(gone), ".gone-%s.0123456789abcdef", ID128_STR(id));
	run("cd %s/volumes && mkdir %s && truncate -s 1M %s/image", w->where, gone, gone);
	assert_ok(ops->destroy(w->a, id, 1));
	assert_false(exists(w, gone));
}

static void a_full_disk_is_enospc_and_leaves_nothing(void **state)
{
	struct world *w = *state;
	char mnt[100];
	struct driver_option opt = { "root_path", mnt, 1 };
	struct id128 id = new_id(), dataset = new_id();
	struct driver *d;
	char *error = NULL;

	snprintf(mnt, sizeof(mnt), "%s/small", w->where);
	assert_ok(mkdir(mnt, 0700));
	assert_ok(mount("tmpfs", mnt, "tmpfs", 0, "size=64k,mode=700"));
	assert_ok(ops->open(&w->node_a, &opt, 1, &d, &error));
	run("dd if=/dev/zero of=%s/fill bs=4k 2>/dev/null; test -s %s/fill", mnt, mnt);
	assert_int_equal(ops->create(d, id, dataset, SIZE, 1), -ENOSPC);
	assert_int_equal(count(d), 0);
	run("test -z \"$(ls -A %s/volumes)\"", mnt);
	run("rm %s/fill", mnt);
	assert_ok(ops->create(d, id, dataset, SIZE, 1));
	run("dd if=/dev/zero of=%s/fill bs=4k 2>/dev/null; test -s %s/fill", mnt, mnt);
	assert_ok(ops->attach(d, id, 1, SIZE, 0)); /* a claim needs no new room */
	assert_ok(ops->detach(d, id, 1));
	assert_ok(ops->destroy(d, id, 1));
	ops->close(d);
	assert_ok(umount(mnt));
}

static void a_size_beyond_the_filesystem_is_enospc(void **state)
{
	struct world *w = *state;

	assert_int_equal(ops->create(w->a, new_id(), new_id(), UINT64_C(1) << 62, 1), -ENOSPC);
	assert_int_equal(count(w->a), 0);
}

static void a_backend_that_is_gone_is_not_an_empty_one(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	struct driver_volume v;
	struct driver_device dev;
	struct id128 *all;
	char away[100];
	size_t n;

	snprintf(away, sizeof(away), "%s.away", w->where);
	assert_ok(rename(w->where, away));
	assert_int_equal(ops->lookup(w->a, id, &v), -EIO);
	assert_int_equal(ops->list(w->a, &all, &n), -EIO);
	assert_int_equal(ops->attach(w->a, id, 1, SIZE, 0), -EIO);
	assert_int_equal(ops->detach(w->a, id, 1), -EIO);
	assert_int_equal(ops->destroy(w->a, id, 1), -EIO);
	assert_int_equal(ops->create(w->a, id, new_id(), SIZE, 1), -EIO);
	assert_int_equal(ops->device(w->a, id, &dev), -EIO);
	assert_ok(rename(away, w->where));
	assert_ok(ops->attach(w->a, id, 1, SIZE, 0));
}

/* As with a filesystem that was mounted over the directory, or taken from under it. */
static void a_device_outlives_no_volume_unnoticed(void **state)
{
	struct world *w = *state;
	struct id128 id = make_volume(w);
	char volumes[100], away[110];

	assert_ok(ops->attach(w->a, id, 1, SIZE, 0));
	snprintf(volumes, sizeof(volumes), "%s/volumes", w->where);
	snprintf(away, sizeof(away), "%s.away", volumes);
	assert_ok(rename(volumes, away));
	assert_ok(mkdir(volumes, 0700));
	assert_int_equal(ops->detach(w->a, id, 1), -EIO);
	assert_int_equal(ops->destroy(w->a, id, 2), -EIO);
	assert_ok(rmdir(volumes));
	assert_ok(rename(away, volumes));
	assert_ok(ops->detach(w->a, id, 1));
	assert_ok(ops->destroy(w->a, id, 2));
	assert_int_equal(ops->detach(w->a, id, 2), -ENOENT);
}

/* ---- options ---- */

static void expect_refusal(struct world *w, const struct driver_option *opts, size_t n,
	const char *want)
{
	struct driver *d = NULL;
	char *error = NULL;

	assert_true(ops->open(&w->node_a, opts, n, &d, &error) < 0);
	assert_null(d);
	assert_non_null(error);
	if (!strstr(error, want))
		fail_msg("'%s' does not say '%s'", error, want);
	free(error);
}

static void bad_options_are_named_with_their_line(void **state)
{
	struct world *w = *state;
	const struct driver_option unknown = { "root-path", w->where, 7 };
	const struct driver_option relative = { "root_path", "volumes", 8 };
	const struct driver_option twice[] = {
		{ "root_path", w->where, 3 },
		{ "root_path", "/x", 9 },
	};
	const struct driver_option file = { "root_path", "/proc/version/x", 4 };
	static const char *const units[] = {
		"0", "1", "513", "-512", "x", "", "1024k", "2147483648",
	};

	expect_refusal(w, &unknown, 1, "line 7: unknown key 'root-path'");
	expect_refusal(w, &unknown, 1, "root_path and allocation_unit");
	expect_refusal(w, &relative, 1, "line 8: root_path 'volumes'");
	expect_refusal(w, twice, 2, "line 9: 'root_path' was given in line 3");
	expect_refusal(w, &file, 1, "'/proc/version/x'");
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		expect_refusal(w, &(struct driver_option){ "allocation_unit", units[i], 5 }, 1,
			"line 5: allocation_unit");
}

static void the_root_is_made_private_with_its_parents(void **state)
{
	struct world *w = *state;
	char root[100], path[120];
	const struct driver_option opts[] = {
		{ "root_path", root, 1 },
		{ "allocation_unit", "1048576", 2 },
	};
	struct driver_desc desc;
	struct driver *d;
	char *error = NULL;
	struct stat st;

	snprintf(root, sizeof(root), "%s/one/two//", w->where);
	assert_ok(ops->open(&w->node_a, opts, 2, &d, &error));
	assert_ok(ops->describe(d, &desc));
	assert_int_equal(desc.allocation_unit, MIB);
	assert_true(desc.shared);
	ops->close(d);
	assert_ok(stat(root, &st));
	assert_int_equal(st.st_mode & 07777, 0700);
	snprintf(path, sizeof(path), "%s/one", w->where);
	assert_ok(stat(path, &st));
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_null(ops->close(NULL));
}

static void a_root_that_others_may_write_to_is_refused(void **state)
{
	struct world *w = *state;
	char root[100], volumes[120];
	const struct driver_option opt = { "root_path", root, 1 };

	snprintf(root, sizeof(root), "%s/shared", w->where);
	snprintf(volumes, sizeof(volumes), "%s/volumes", root);
	assert_ok(mkdir(root, 0700));
	assert_ok(mkdir(volumes, 0700));
	assert_ok(chmod(root, 01777));
	expect_refusal(w, &opt, 1, "/shared', the directory of the volumes (mode 1777)");
	assert_ok(chmod(root, 0755));
	assert_ok(chmod(volumes, 0770));
	expect_refusal(w, &opt, 1, "/shared/volumes', the directory of the volumes (mode 0770)");
}

static void a_changed_allocation_unit_does_not_disown_volumes(void **state)
{
	struct world *w = *state;
	const struct driver_option opts[] = {
		{ "root_path", w->where, 1 },
		{ "allocation_unit", "1048576", 2 },
	};
	struct id128 id = new_id(), dataset = new_id();
	struct driver *d;
	char *error = NULL;

	assert_ok(ops->create(w->a, id, dataset, SIZE + 1024, 1));
	assert_ok(ops->open(&w->node_a, opts, 2, &d, &error));
	assert_ok(ops->create(d, id, dataset, SIZE + 1024, 1));
	assert_ok(ops->attach(d, id, 1, SIZE + 1024, 0));
	ops->close(d);
}

static void drivers_are_found_by_name(void **state)
{
	assert_ptr_equal(driver_find("loopback"), ops);
	assert_null(driver_find("ebs"));
	assert_null(driver_find(""));
	assert_non_null(strstr(driver_names(), "loopback"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_volume_is_private_and_sparse),
		T(an_image_is_taken_whole_and_as_given_back),
		T(foreign_files_are_left_alone_and_not_listed),
		T(a_damaged_volume_hides_no_other),
		T(what_a_newer_version_wrote_is_not_touched),
		T(unknown_keys_of_meta_do_not_disturb),
		T(a_torn_change_of_the_claim_did_not_happen),
		T(half_a_claim_is_none),
		T(litter_is_swept_but_not_what_is_being_built),
		T(destroy_repeated_frees_the_space_that_was_left),
		T(a_full_disk_is_enospc_and_leaves_nothing),
		T(a_size_beyond_the_filesystem_is_enospc),
		T(a_backend_that_is_gone_is_not_an_empty_one),
		T(bad_options_are_named_with_their_line),
		T(a_device_outlives_no_volume_unnoticed),
		T(the_root_is_made_private_with_its_parents),
		T(a_root_that_others_may_write_to_is_refused),
		T(a_changed_allocation_unit_does_not_disown_volumes),
		T(drivers_are_found_by_name),
	};

	need_loop_devices();
	own_mount_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

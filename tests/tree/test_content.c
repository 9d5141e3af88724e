/* SPDX-License-Identifier: Apache-2.0 */
/* What the status tree shows: files, their content, modes and names. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "treetest.h"

static void every_file_has_its_value_and_a_newline(void **state)
{
	char mountpoint[64];

	assert_int_equal(treehost_set(*state, 5, 2, "demo"), 0);
	assert_content(ds_path(5, "state"), "faulty\n");
	assert_content(ds_path(5, "wanted"), "hold\n");
	assert_content(ds_path(5, "why"), "step 2 of 5\n");
	assert_content(ds_path(5, "since"), "2023-11-14T22:13:20.125Z\n");
	assert_content(ds_path(5, "epoch"), "9\n");
	assert_content(ds_path(5, "size"), "67108864\n");
	assert_content(ds_path(5, "used"), "2048\n");
	assert_content(ds_path(5, "available"), "62914560\n");
	assert_content(ds_path(5, "trimmed"), "2023-11-14T22:13:20.123Z\n");
	assert_content(ds_path(5, "trimmed_bytes"), "0\n");
	assert_content(ds_path(5, "device"), "/dev/loop5\n");
	assert_content(ds_path(5, "filesystem"), "ext4\n");
	assert_content(ds_path(5, "holders"), "pid 1 (init): cwd\npid 2 (x\xff): file\n");
	assert_content(ds_path(5, "last_error"), "mount: error 2\n");
	snprintf(mountpoint, sizeof(mountpoint), "/flocker/%s\n", ID128_STR(tree_id(5)));
	assert_content(ds_path(5, "mountpoint"), mountpoint);
	snprintf(mountpoint, sizeof(mountpoint), "%s\n", ID128_STR(tree_id(100000)));
	assert_content(ds_path(5, "owner"), mountpoint);
	snprintf(mountpoint, sizeof(mountpoint), "%s\n", ID128_STR(tree_id(100001)));
	assert_content(ds_path(5, "primary"), mountpoint);
	snprintf(mountpoint, sizeof(mountpoint), "%s\n", ID128_STR(tree_id(200005)));
	assert_content(ds_path(5, "fs_uuid"), mountpoint);
}

static void what_is_not_known_is_an_empty_file(void **state)
{
	assert_int_equal(treehost_set(*state, 5, 1, NULL), 0);
	assert_content(ds_path(5, "lease"), "");
	assert_content(ds_path(5, "last_error"), "");
	assert_content(ds_path(5, "holders"), "");
	assert_content(ds_path(5, "events"), "");
	assert_content(tree_path(".node/uuid"), "");
	assert_content(ds_path(5, "nothing"), "ENOENT");
	assert_content(ds_path(6, "state"), "ENOENT");
}

static struct json_object *parse(const char *path)
{
	struct json_object *o = json_tokener_parse(content(path));

	assert_non_null(o);
	return o;
}

static const char *text_of(struct json_object *o, const char *key)
{
	return json_object_get_string(json_object_object_get(o, key));
}

static void status_json_tells_all_and_ages(void **state)
{
	struct tree_command c = {
		.op = TREE_SET, .n = 3, .seq = 4, .name = "a \"name\"", .metadata = "{\"k\":\"v\"}"
	};
	struct json_object *o;

	assert_int_equal(treehost_do(*state, &c), 0);
	o = parse(ds_path(3, "status.json"));
	assert_string_equal(text_of(o, "dataset_id"), ID128_STR(tree_id(3)));
	assert_string_equal(text_of(o, "name"), "a \"name\"");
	assert_string_equal(text_of(o, "state"), "faulty");
	assert_string_equal(text_of(o, "used_at"), "2023-11-14T22:13:20.456Z");
	assert_int_equal(json_object_get_int64(json_object_object_get(o, "size")), 64 * MIB);
	assert_int_equal(json_object_array_length(json_object_object_get(o, "holders")), 2);
	assert_string_equal(json_object_get_string(json_object_array_get_idx(
				    json_object_object_get(o, "holders"), 1)),
		"pid 2 (x\xef\xbf\xbd): file");
	assert_string_equal(text_of(json_object_object_get(o, "metadata"), "k"), "v");
	assert_null(json_object_object_get(o, "lease"));
	json_object_put(o);
}

static void the_node_tells_of_itself(void **state)
{
	struct tree_command c = { .op = TREE_NODE, .seq = 3 };
	struct json_object *o;
	char id[64];

	assert_int_equal(treehost_do(*state, &c), 0);
	snprintf(id, sizeof(id), "%s\n", ID128_STR(tree_id(1)));
	assert_content(tree_path(".node/uuid"), id);
	assert_content(tree_path(".node/control"), "control.example:4524\n");
	assert_content(tree_path(".node/connected"), "yes\n");
	assert_content(tree_path(".node/version"), "2.0.0\n");
	assert_content(tree_path(".node/certificate_expires"), "2023-11-14T22:13:21.000Z\n");
	assert_content(tree_path(".node/authority_expires"), "2023-11-14T22:13:22.000Z\n");
	assert_content(tree_path(".node/watchdog"), "armed\n");
	assert_content(tree_path(".node/capacity"), "104857600\n");
	assert_content(tree_path(".node/free"), "0\n"); /* known, since the capacity is */
	assert_content(tree_path(".node/promised"), "3221225472\n");
	assert_content(tree_path(".node/warnings"), "one\ntwo\n");
	assert_content(tree_path(".node/metrics"), "# HELP a A.\na 1\n");
	o = parse(tree_path(".node/status.json"));
	assert_int_equal(json_object_get_int(json_object_object_get(o, "datasets")), 3);
	assert_string_equal(text_of(o, "certificate_expires"), "2023-11-14T22:13:21.000Z");
	assert_string_equal(text_of(o, "authority_expires"), "2023-11-14T22:13:22.000Z");
	json_object_put(o);
	c.seq = 4;
	assert_int_equal(treehost_do(*state, &c), 0);
	assert_content(tree_path(".node/connected"), "no\n");
}

/* Calls @check for each entry below @dir but "." and "..", and returns how many there are. */
static unsigned int each_entry(const char *dir, void (*check)(const char *path))
{
	char path[8192];
	unsigned int n = 0;
	struct dirent *e;
	DIR *d = opendir(dir);

	assert_non_null(d);
	while ((e = readdir(d))) {
		if (STREQ(e->d_name, ".") || STREQ(e->d_name, ".."))
			continue;
		n++;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (check)
			check(path);
	}
	closedir(d);
	return n;
}

static void check_entry(const char *path)
{
	struct stat st;

	assert_return_code(lstat(path, &st), errno);
	assert_int_equal(st.st_uid, 0);
	if (S_ISDIR(st.st_mode)) {
		assert_int_equal(st.st_mode & 07777, 0555);
		each_entry(path, check_entry);
	} else if (S_ISREG(st.st_mode)) {
		assert_int_equal(st.st_mode & 07777, 0444);
		assert_int_equal(st.st_size, strlen(content(path)));
	} else {
		char target[64];

		assert_true(S_ISLNK(st.st_mode));
		assert_int_equal(readlink(path, target, sizeof(target)), st.st_size);
	}
}

static void modes_and_sizes_are_true(void **state)
{
	struct tree_command c = { .op = TREE_FILL,
		.n = 3,
		.seq = 2,
		.name = "x",
		.metadata = "{\"a\":\"1\",\"b\":\"two\"}" };
	struct statvfs fs;

	assert_int_equal(treehost_do(*state, &c), 0);
	assert_int_equal(each_entry(MOUNTPOINT, check_entry), 2 + 3);
	assert_int_equal(each_entry(tree_path("by-name"), check_entry), 3);
	assert_int_equal(each_entry(tree_path(".node"), check_entry), 14);
	assert_int_equal(each_entry(ds_path(1, ""), NULL), 23);
	assert_return_code(statvfs(MOUNTPOINT, &fs), errno);
	assert_int_equal(fs.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV),
		ST_RDONLY | ST_NOSUID | ST_NODEV);
}

static void the_tree_cannot_be_written(void **state)
{
	assert_int_equal(treehost_set(*state, 1, 1, NULL), 0);
	assert_int_equal(open(ds_path(1, "state"), O_WRONLY), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(mkdir(tree_path("x"), 0700), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(access(ds_path(1, "state"), R_OK), 0);
	assert_int_equal(access(ds_path(1, "state"), W_OK), -1);
}

static void inode_numbers_stay(void **state)
{
	int64_t end = now_ms() + TREE_TIMEOUT_MS;
	struct stat a, b;

	assert_int_equal(treehost_set(*state, 1, 1, "n"), 0);
	assert_return_code(stat(ds_path(1, "why"), &a), errno);
	assert_int_equal(treehost_set(*state, 2, 1, "m"), 0);
	assert_int_equal(treehost_set(*state, 1, 2, "n"), 0);
	assert_return_code(stat(ds_path(1, "why"), &b), errno);
	assert_int_equal(a.st_ino, b.st_ino);
	treehost_do(*state, &(struct tree_command){ .op = TREE_REMOVE, .n = 1 });
	assert_int_equal(treehost_set(*state, 1, 1, "n"), 0);
	do { /* the kernel is told of it by a thread */
		assert_return_code(stat(ds_path(1, "why"), &b), errno);
		assert_true(now_ms() < end);
	} while (a.st_ino == b.st_ino);
}

static void only_what_changed_gets_a_new_time(void **state)
{
	struct stat before[2], after[2];

	assert_int_equal(treehost_set(*state, 1, 1, "n"), 0);
	assert_return_code(stat(ds_path(1, "size"), &before[0]), errno);
	assert_return_code(stat(ds_path(1, "epoch"), &before[1]), errno);
	assert_int_equal(treehost_set(*state, 1, 993, "n"), 0);
	wait_size(ds_path(1, "epoch"), 5);
	assert_return_code(stat(ds_path(1, "size"), &after[0]), errno);
	assert_return_code(stat(ds_path(1, "epoch"), &after[1]), errno);
	assert_memory_equal(&before[0].st_mtim, &after[0].st_mtim, sizeof(before[0].st_mtim));
	assert_memory_not_equal(&before[1].st_mtim, &after[1].st_mtim, sizeof(before[1].st_mtim));
}

static void events_keep_the_last_lines(void **state)
{
	struct tree_command c = { .op = TREE_EVENT, .n = 1 };
	const char *text;
	unsigned int lines = 0;

	assert_int_equal(treehost_do(*state, &c), -ENOENT);
	assert_int_equal(treehost_set(*state, 1, 1, "n"), 0);
	for (unsigned int i = 0; i < 100; i++) {
		snprintf(c.name, sizeof(c.name), "event\n%u", i);
		assert_int_equal(treehost_do(*state, &c), 0);
	}
	text = content(ds_path(1, "events"));
	assert_memory_equal(text + 24, " event 36\n", 10);
	for (; *text; text++)
		lines += *text == '\n';
	assert_int_equal(lines, 64);
	assert_memory_equal(text - 10, " event 99\n", 10);
	memset(c.name, 'x', 1000);
	c.name[1000] = '\0';
	for (unsigned int i = 0; i < 10; i++)
		assert_int_equal(treehost_do(*state, &c), 0);
	assert_in_range(strlen(content(ds_path(1, "events"))), 3000, 4096);
}

static void metadata_keys_are_files(void **state)
{
	struct tree_command c = { .op = TREE_SET,
		.n = 1,
		.seq = 1,
		.metadata =
			"{\"name\":\"demo\",\"a/b\":\"1\\n2\",\"..\":\"dots\",\"\":\"empty\"}" };
	struct stat before, after;

	assert_int_equal(treehost_do(*state, &c), 0);
	assert_content(ds_path(1, "metadata/name"), "demo\n");
	assert_content(ds_path(1, "metadata/a%2Fb"), "1\n2\n");
	assert_content(ds_path(1, "metadata/%2E."), "dots\n");
	assert_content(ds_path(1, "metadata/%00"), "empty\n");
	assert_return_code(stat(ds_path(1, "metadata/name"), &before), errno);
	strcpy(c.metadata, "{\"new\":\"x\",\"name\":\"other\"}");
	assert_int_equal(treehost_do(*state, &c), 0);
	wait_size(ds_path(1, "metadata/name"), 6);
	assert_return_code(stat(ds_path(1, "metadata/name"), &after), errno);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_content(ds_path(1, "metadata/name"), "other\n");
	assert_content(ds_path(1, "metadata/new"), "x\n");
	assert_int_equal(each_entry(ds_path(1, "metadata"), NULL), 2);
}

static bool leads_to(const char *link, unsigned int n)
{
	char target[64], expected[64];
	ssize_t size = readlink(tree_path("by-name/%s", link), target, sizeof(target) - 1);

	if (size < 0)
		return false;
	target[size] = '\0';
	snprintf(expected, sizeof(expected), "../%s", ID128_STR(tree_id(n)));
	return STREQ(target, expected);
}

static void wait_leads_to(const char *link, unsigned int n)
{
	int64_t end = now_ms() + TREE_TIMEOUT_MS;

	while (!leads_to(link, n))
		assert_true(now_ms() < end);
}

static void the_oldest_of_a_name_is_plain(void **state)
{
	char second[64];

	snprintf(second, sizeof(second), "demo@%s", ID128_STR(tree_id(2)));
	assert_int_equal(treehost_set(*state, 2, 1, "demo"), 0);
	wait_leads_to("demo", 2);
	assert_int_equal(treehost_set(*state, 1, 1, "demo"), 0);
	wait_leads_to("demo", 1);
	wait_leads_to(second, 2);
	assert_int_equal(treehost_set(*state, 3, 1, "demo"), 0);
	wait_leads_to("demo", 1);
	assert_int_equal(each_entry(tree_path("by-name"), NULL), 3);
	assert_int_equal(treehost_set(*state, 1, 1, "renamed"), 0);
	wait_leads_to("demo", 2);
	wait_leads_to("renamed", 1);
	treehost_do(*state, &(struct tree_command){ .op = TREE_REMOVE, .n = 2 });
	wait_leads_to("demo", 3);
	assert_false(leads_to(second, 2));
	assert_content(tree_path("by-name/demo/why"), "step 1 of 3\n");
	assert_int_equal(treehost_set(*state, 3, 1, NULL), 0);
	assert_int_equal(each_entry(tree_path("by-name"), NULL), 1);
}

static void any_name_becomes_a_file_name(void **state)
{
	char name[1100] = "", expected[4096];

	assert_int_equal(treehost_set(*state, 1, 1, ".a/b\n\xff%41 \xc3\xa4"), 0);
	assert_true(leads_to("%2Ea%2Fb%0A%FF%2541 \xc3\xa4", 1));
	for (int i = 0; i < 300; i++)
		strcat(name, "\xc3\xa4");
	assert_int_equal(treehost_set(*state, 1, 1, name), 0);
	assert_int_equal(each_entry(tree_path("by-name"), check_entry), 1);
	/* A name that looks like one with an id does not stand in the way of one. */
	assert_int_equal(treehost_set(*state, 1, 1, "x"), 0);
	assert_int_equal(treehost_set(*state, 2, 1, "x"), 0);
	snprintf(name, sizeof(name), "x@%s", ID128_STR(tree_id(2)));
	assert_int_equal(treehost_set(*state, 3, 1, name), 0);
	wait_leads_to(name, 2);
	snprintf(expected, sizeof(expected), "x%%40%s", ID128_STR(tree_id(2)));
	assert_true(leads_to(expected, 3));
}

static void a_listing_goes_on_while_datasets_change(void **state)
{
	struct tree_command c = { .op = TREE_FILL, .n = 2000, .seq = 1, .name = "x" };
	unsigned int n = 0;
	struct id128 id;
	struct dirent *e;
	DIR *d;

	assert_int_equal(treehost_do(*state, &c), 0);
	d = opendir(MOUNTPOINT);
	assert_non_null(d);
	while ((e = readdir(d))) {
		if (id128_parse(e->d_name, &id) < 0)
			continue;
		if (n++ != 0)
			continue;
		for (unsigned int i = 1; i < 1000; i += 2)
			treehost_do(*state, &(struct tree_command){ .op = TREE_REMOVE, .n = i });
	}
	closedir(d);
	assert_in_range(n, 1500, 2000);
	assert_int_equal(each_entry(MOUNTPOINT, NULL), 2 + 1500);
}

#define TREE_TEST(f) cmocka_unit_test_setup_teardown(f, tree_setup, tree_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TREE_TEST(every_file_has_its_value_and_a_newline),
		TREE_TEST(what_is_not_known_is_an_empty_file),
		TREE_TEST(status_json_tells_all_and_ages),
		TREE_TEST(the_node_tells_of_itself),
		TREE_TEST(modes_and_sizes_are_true),
		TREE_TEST(the_tree_cannot_be_written),
		TREE_TEST(inode_numbers_stay),
		TREE_TEST(only_what_changed_gets_a_new_time),
		TREE_TEST(events_keep_the_last_lines),
		TREE_TEST(metadata_keys_are_files),
		TREE_TEST(the_oldest_of_a_name_is_plain),
		TREE_TEST(any_name_becomes_a_file_name),
		TREE_TEST(a_listing_goes_on_while_datasets_change),
	};

	tree_enter();
	return cmocka_run_group_tests_name("tree content", tests, NULL, NULL);
}

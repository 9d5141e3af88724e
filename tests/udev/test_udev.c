/* SPDX-License-Identifier: Apache-2.0 */
/* Our rules in a real udevd, and the monitor on real loop devices, with udevd and without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <time.h>

#include "devmon.h"
#include "udevtest.h"

#define LIMIT_MS 10000
#define ID "0af1e4b0-1b7d-4d53-9cb2-6a2a6a3b0c11"
#define NAME "flocker:" ID ":7"
#define LINK "/dev/disk/by-dataset/" ID

static const char *rules;
static bool have_udevd;

struct watch {
	char told[8]; /* the last actions, a letter each */
	struct event_base *base;
	struct devmon *mon;
	struct udevtest_loop loop;
	unsigned int events, rescans; /* events of our loop device */
	struct devmon_event last;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void on_device(const struct devmon_event *e, void *userdata)
{
	struct watch *w = userdata;

	if (!STREQ(e->name, w->loop.name))
		return;
	w->told[w->events++ % (sizeof(w->told) - 1)] = "acr"[e->action];
	w->last = *e;
	w->last.name = w->loop.name;
}

static void on_rescan(void *userdata)
{
	((struct watch *)userdata)->rescans++;
}

static void listen_to(struct watch *w, enum devmon_source source, size_t buffer)
{
	struct devmon_config c = { .source = source,
		.buffer_bytes = buffer,
		.on_device = on_device,
		.on_rescan = on_rescan,
		.userdata = w };

	assert_int_equal(devmon_new(w->base, &c, &w->mon), 0);
}

static int start(void **state)
{
	struct watch *w = calloc(1, sizeof(*w));

	w->base = event_base_new();
	*state = w;
	return 0;
}

/* Runs the loop until @done or the limit. */
#define wait_until(w, done)                                                                        \
	do {                                                                                       \
		int64_t end_ = now_ms() + LIMIT_MS;                                                \
		while (!(done)) {                                                                  \
			assert_true(now_ms() < end_);                                              \
			turn(w);                                                                   \
		}                                                                                  \
	} while (0)

static void on_time(evutil_socket_t fd, short what, void *userdata)
{
}

/* Until something happens, but no longer than it takes to look again at what has no event. */
static void turn(struct watch *w)
{
	struct timeval look_again = { 0, 20000 };

	event_base_once(w->base, -1, EV_TIMEOUT, on_time, NULL, &look_again);
	event_base_loop(w->base, EVLOOP_ONCE);
}

static bool link_leads_to(const struct udevtest_loop *l)
{
	struct stat st;

	return stat(LINK, &st) == 0 && st.st_rdev == l->devno;
}

static bool link_exists(void)
{
	struct stat st;

	return lstat(LINK, &st) == 0;
}

static bool property_is(const struct udevtest_loop *l, const char *line)
{
	char command[256];

	snprintf(command, sizeof(command),
		"udevadm info --query=property /sys/block/%s | grep -qxF '%s'", l->name, line);
	return system(command) == 0;
}

static bool has_tag(const struct udevtest_loop *l)
{
	char command[128];

	snprintf(command, sizeof(command),
		"udevadm info --query=property /sys/block/%s | "
		"grep -q '^CURRENT_TAGS=.*:flocker:'",
		l->name);
	return system(command) == 0;
}

static int stop(void **state)
{
	struct watch *w = *state;

	udevtest_detach(&w->loop);
	if (have_udevd) /* the next test begins without this one's link */
		wait_until(w, !link_exists());
	devmon_free(w->mon);
	event_base_free(w->base);
	free(w);
	return 0;
}

static void need_udevd(void)
{
	if (!have_udevd)
		skip();
}

static void a_dataset_gets_its_link_and_properties(void **state)
{
	struct watch *w = *state;

	need_udevd();
	listen_to(w, DEVMON_AUTO, 0);
	assert_int_equal(devmon_source(w->mon), DEVMON_UDEV);
	udevtest_attach(&w->loop, NAME, 8 * MIB);
	wait_until(w, w->events > 0 && !id128_is_nil(w->last.dataset_id));
	assert_string_equal(ID128_STR(w->last.dataset_id), ID);
	assert_int_equal(w->last.devno, w->loop.devno);
	assert_int_equal(w->last.size_bytes, 8 * MIB);
	assert_true(link_leads_to(&w->loop)); /* udev's event comes after the link */
	assert_true(property_is(&w->loop, "FLOCKER_DATASET_ID=" ID));
	assert_true(property_is(&w->loop, "FLOCKER_EPOCH=7"));
	assert_true(property_is(&w->loop, "UDISKS_IGNORE=1"));
	assert_true(property_is(&w->loop, "SYSTEMD_READY=0"));
	assert_true(has_tag(&w->loop));
}

static void a_detached_device_loses_its_link(void **state)
{
	struct watch *w = *state;

	need_udevd();
	listen_to(w, DEVMON_UDEV, 0);
	udevtest_attach(&w->loop, NAME, 8 * MIB);
	wait_until(w, link_leads_to(&w->loop));
	udevtest_detach(&w->loop);
	wait_until(w, !link_exists());
	wait_until(w, w->last.size_bytes == 0 && id128_is_nil(w->last.dataset_id));
	assert_false(property_is(&w->loop, "FLOCKER_DATASET_ID=" ID));
}

/* What a user wrote into a dataset cannot put itself in the place of another disk. */
static void nobody_probes_a_dataset(void **state)
{
	struct watch *w = *state;
	char command[256];

	need_udevd();
	listen_to(w, DEVMON_UDEV, 0);
	udevtest_attach(&w->loop, NAME, 8 * MIB);
	snprintf(command, sizeof(command), "/sbin/mkfs.ext4 -q -L flocker-label /dev/%s",
		w->loop.name);
	assert_int_equal(system(command), 0);
	w->events = 0;
	udevtest_poke(&w->loop, "change");
	wait_until(w, w->events > 0);
	assert_true(link_leads_to(&w->loop));
	assert_int_not_equal(access("/dev/disk/by-label/flocker-label", F_OK), 0);
	assert_false(property_is(&w->loop, "ID_FS_TYPE=ext4"));
}

static void devices_of_others_are_left_alone(void **state)
{
	static const char *const names[] = { "", "flocker:", "flocker:" ID, "flocker:" ID ":",
		"flocker:" ID ":7x", "flocker:" ID "x7", "/tmp/flocker:" ID ":7" };

	need_udevd();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct watch *w = *state;

		w->events = 0;
		listen_to(w, DEVMON_UDEV, 0);
		udevtest_attach(&w->loop, names[i], 8 * MIB);
		udevtest_poke(&w->loop, "change");
		wait_until(w, w->events > 0 && w->last.size_bytes != 0);
		assert_true(id128_is_nil(w->last.dataset_id));
		assert_false(property_is(&w->loop, "UDISKS_IGNORE=1"));
		assert_false(link_exists());
		udevtest_detach(&w->loop);
		w->mon = devmon_free(w->mon);
	}
}

static void a_grown_device_is_told(struct watch *w, enum devmon_source source)
{
	int64_t begin;

	listen_to(w, source, 0);
	udevtest_attach(&w->loop, NAME, 8 * MIB);
	wait_until(w, w->last.size_bytes == 8 * MIB);
	begin = now_ms();
	udevtest_grow(&w->loop, 16 * MIB);
	wait_until(w, w->last.size_bytes == 16 * MIB);
	assert_in_range(now_ms() - begin, 0, 1000);
	assert_int_equal(w->last.action, DEVMON_CHANGE);
}

static void udev_tells_of_a_grown_device(void **state)
{
	need_udevd();
	a_grown_device_is_told(*state, DEVMON_UDEV);
}

static void the_kernel_tells_of_a_grown_device(void **state)
{
	struct watch *w = *state;
	uint64_t diskseq;

	a_grown_device_is_told(w, DEVMON_KERNEL);
	assert_true(id128_is_nil(w->last.dataset_id));
	diskseq = w->last.diskseq;
	udevtest_detach(&w->loop);
	wait_until(w, w->last.size_bytes == 0);
	assert_true(w->last.diskseq == 0 || w->last.diskseq >= diskseq);
}

static void a_burst_is_told_as_few(void **state)
{
	struct watch *w = *state;

	listen_to(w, DEVMON_KERNEL, 0);
	udevtest_attach(&w->loop, NAME, 8 * MIB);
	wait_until(w, w->last.size_bytes == 8 * MIB);
	w->events = 0;
	for (int i = 0; i < 10000; i++)
		udevtest_poke(&w->loop, "change");
	udevtest_grow(&w->loop, 16 * MIB);
	wait_until(w, w->last.size_bytes == 16 * MIB);
	while (event_base_loop(w->base, EVLOOP_NONBLOCK) == 0 && w->events == 0)
		;
	assert_int_equal(w->rescans, 0);
	assert_in_range(w->events, 1, 10);
}

static const char *action_named(char c)
{
	return c == 'a' ? "add" : c == 'r' ? "remove" : "change";
}

static void poke_all(struct watch *w, const char *actions)
{
	memset(w->told, 0, sizeof(w->told));
	w->events = 0;
	for (; *actions; actions++)
		udevtest_poke(&w->loop, action_named(*actions));
	wait_until(w, w->events > 0);
}

static void a_device_that_came_back_is_told_as_both(void **state)
{
	static const char *const bursts[][2] = { { "ccc", "c" }, { "acc", "a" }, { "ar", "r" },
		{ "ra", "ra" }, { "crca", "ra" }, { "raac", "ra" }, { "rar", "r" },
		{ "rara", "ra" } };
	struct watch *w = *state;

	listen_to(w, DEVMON_KERNEL, 0);
	udevtest_attach(&w->loop, NAME, 8 * MIB);
	wait_until(w, w->last.size_bytes == 8 * MIB);
	for (size_t i = 0; i < ARRAY_SIZE(bursts); i++) {
		poke_all(w, bursts[i][0]);
		assert_string_equal(w->told, bursts[i][1]);
	}
}

static void an_overrun_asks_for_a_rescan(void **state)
{
	struct watch *w = *state;

	listen_to(w, DEVMON_KERNEL, 4096);
	udevtest_attach(&w->loop, NAME, 8 * MIB);
	for (int i = 0; i < 1000; i++)
		udevtest_poke(&w->loop, "change");
	wait_until(w, w->rescans > 0);
	/* It goes on: what happens later is heard. */
	w->events = 0;
	udevtest_grow(&w->loop, 16 * MIB);
	wait_until(w, w->events > 0 && w->last.size_bytes == 16 * MIB);
}

static void our_device_is_found_in_sysfs(void **state)
{
	struct watch *w = *state;
	struct devmon_disk disk;
	char *image;

	udevtest_attach(&w->loop, NAME, 8 * MIB);
	assert_int_equal(devmon_sysfs_disk("/sys", w->loop.devno, &disk), 0);
	assert_int_equal(disk.size_bytes, 8 * MIB);
	assert_false(disk.read_only);
	assert_int_equal(devmon_sysfs_backing("/sys", w->loop.devno, &image), 0);
	assert_string_equal(image, w->loop.image);
	free(image);
}

#define UDEV_TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(int argc, char **argv)
{
	const struct CMUnitTest alone[] = {
		UDEV_TEST(the_kernel_tells_of_a_grown_device),
		UDEV_TEST(a_burst_is_told_as_few),
		UDEV_TEST(a_device_that_came_back_is_told_as_both),
		UDEV_TEST(an_overrun_asks_for_a_rescan),
		UDEV_TEST(our_device_is_found_in_sysfs),
	};
	const struct CMUnitTest with_udevd[] = {
		UDEV_TEST(a_dataset_gets_its_link_and_properties),
		UDEV_TEST(a_detached_device_loses_its_link),
		UDEV_TEST(nobody_probes_a_dataset),
		UDEV_TEST(devices_of_others_are_left_alone),
		UDEV_TEST(udev_tells_of_a_grown_device),
	};
	int failed;

	if (argc != 2) {
		fprintf(stderr, "usage: %s RULES\n", argv[0]);
		return 2;
	}
	rules = argv[1];
	udevtest_enter();
	failed = cmocka_run_group_tests_name("devmon without udevd", alone, NULL, NULL);
	have_udevd = udevtest_start(rules);
	failed += cmocka_run_group_tests_name("udev rules", with_udevd, NULL, NULL);
	udevtest_stop();
	return failed == 0 && !have_udevd ? 77 : failed;
}

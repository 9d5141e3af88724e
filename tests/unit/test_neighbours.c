/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What neighbouring versions say to each other. FRAMES_1 holds frames as version 1 of the protocol said them, one a
 * line, recorded between daemons of that version; what a later version may say is made up here.
 */
#include "cmocka_all.h"
#include "jsonin.h"
#include "wire.h"

static const struct id128 id = { 0x1111111111114111, 0x8111111111111111 };
#define ID "\"11111111-1111-4111-8111-111111111111\""

static struct wire_msg decode(const char *json)
{
	const char *error = NULL;
	struct wire_msg m;
	int r = wire_decode((const uint8_t *)json, strlen(json), &m, &error);

	if (r < 0)
		print_message("%s: %s\n", json, error ?: strerror(-r));
	assert_int_equal(r, 0);
	return m;
}

static struct json_object *encode(const struct wire_msg *m)
{
	char error[JSONIN_ERROR_MAX];
	struct json_object *o;
	uint8_t *frame;
	size_t size;

	assert_int_equal(wire_encode(m, &frame, &size), 0);
	assert_int_equal(jsonin_parse((const char *)frame + WIRE_HEADER, size - WIRE_HEADER, &o, error), 0);
	free(frame);
	return o;
}

static const char *text_of(struct json_object *o, const char *key)
{
	return json_object_get_string(json_object_object_get(o, key));
}

/* ---- the version before ---- */

static void all_that_version_1_said_is_understood(void **state)
{
	unsigned int n[WIRE_TYPE_MAX] = { 0 };
	FILE *f = fopen(FRAMES_1, "r");
	char line[4096];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		struct wire_msg m;

		line[strcspn(line, "\n")] = '\0';
		m = decode(line);
		assert_string_equal(m.unknown, "");
		n[m.type]++;
		wire_msg_done(&m);
	}
	fclose(f);
	for (int i = 0; i < WIRE_TYPE_MAX; i++)
		assert_true(n[i] > 0); /* or the recording lacks something */
}

static void a_node_of_version_1_has_one_backend(void **state)
{
	struct wire_msg m = decode("{\"type\":\"hello\",\"seq\":1,\"wire\":1,\"host\":" ID ",\"boot\":" ID ","
		"\"backend\":\"loopback\",\"shared\":true,\"free\":77}");

	assert_int_equal(m.hello.wire, 1);
	assert_int_equal(m.hello.n_backends, 1);
	assert_string_equal(m.hello.backends[0].name, WIRE_BACKEND_DEFAULT);
	assert_string_equal(m.hello.backends[0].driver, "loopback");
	assert_int_equal(m.hello.backends[0].free_bytes, 77);
	assert_int_equal(m.hello.backends[0].capacity_bytes, 0);
	assert_true(m.hello.backends[0].shared);
	assert_false(wire_backend_can(&m.hello.backends[0], "cut"));
	wire_msg_done(&m);
}

static void a_control_of_version_1_finds_its_keys_and_words(void **state)
{
	struct wire_backend b = { .name = "default", .driver = "loopback", .capacity_bytes = 9, .capabilities = "cut take" };
	struct wire_msg m = { .type = WIRE_HELLO, .seq = 1, .hello = { .host = id, .boot = id, .backends = &b,
		.n_backends = 1, .backend = (char *)(uintptr_t)"loopback", .shared = true, .free_bytes = 5 } };
	struct json_object *o = encode(&m);

	assert_string_equal(text_of(o, "backend"), "loopback");
	assert_int_equal(json_object_get_int64(json_object_object_get(o, "free")), 5);
	assert_true(json_object_get_boolean(json_object_object_get(o, "shared")));
	json_object_put(o);

	m = (struct wire_msg){ .type = WIRE_REPORT, .seq = 1, .report.status = { .dataset_id = id, .error = EIO } };
	for (int step = STEP_NONE; step < DS_STEP_MAX; step++) {
		struct wire_msg old = m;

		m.report.status.step = old.report.status.step = (enum ds_step)step;
		wire_lower(&old, 1);
		assert_true(old.report.status.step <= STEP_CUT); /* its last word */
		assert_int_equal(old.report.status.step, step <= STEP_CUT ? step : STEP_NONE);
		wire_lower(&m, WIRE_VERSION);
		assert_int_equal(m.report.status.step, step);
	}
}

static void a_welcome_without_a_version_is_of_version_1(void **state)
{
	struct wire_msg m = decode("{\"type\":\"welcome\",\"seq\":1,\"incarnation\":1}");

	assert_int_equal(m.welcome.wire, 1);
	wire_msg_done(&m);
}

/* ---- this version ---- */

static void backends_survive_the_wire(void **state)
{
	struct wire_backend b[2] = {
		{ .name = "default", .driver = "loopback", .capabilities = "take cut failover", .warning = "it is \"full\"",
			.capacity_bytes = 1000, .free_bytes = 0, .promised_bytes = 3000, .allocation_unit = 1024,
			.shared = true },
		{ .name = "fast", .driver = "lvm" },
	};
	struct wire_msg m = { .type = WIRE_PING, .seq = 1, .ping = { .backends = b, .n_backends = 2 } };
	struct json_object *o = encode(&m);
	struct wire_msg back = decode(json_object_to_json_string(o));

	json_object_put(o);
	assert_int_equal(back.ping.n_backends, 2);
	assert_true(wire_backend_equal(&back.ping.backends[0], &b[0]));
	assert_true(wire_backend_equal(&back.ping.backends[1], &b[1]));
	assert_true(wire_backend_can(&back.ping.backends[0], "cut"));
	assert_false(wire_backend_can(&back.ping.backends[0], "cu"));
	assert_false(wire_backend_can(&back.ping.backends[0], "failove"));
	wire_msg_done(&back);
}

static void a_ping_without_news_of_backends_has_none(void **state)
{
	struct wire_msg m = decode("{\"type\":\"ping\",\"seq\":1,\"free\":5}");

	assert_null(m.ping.backends);
	wire_msg_done(&m);
}

/* ---- a later version ---- */

static void keys_of_a_later_version_are_ignored(void **state)
{
	struct wire_msg m = decode("{\"type\":\"hello\",\"seq\":1,\"wire\":9,\"host\":" ID ",\"boot\":" ID ",\"zone\":\"a\","
		"\"backends\":[{\"name\":\"x\",\"driver\":\"new\",\"iops\":7,\"capabilities\":[\"fly\",7,\"Not a word\",\"cut\"]}],"
		"\"holds\":[{\"dataset_id\":" ID ",\"epoch\":2,\"state\":\"mounted\",\"mood\":[1,{}]}]}");

	assert_int_equal(m.hello.wire, 9);
	assert_string_equal(m.unknown, "");
	assert_string_equal(m.hello.backends[0].capabilities, "fly cut");
	assert_int_equal(m.hello.holds[0].epoch, 2);
	assert_int_equal(m.hello.holds[0].state, DS_MOUNTED);
	wire_msg_done(&m);
}

static void words_of_a_later_version_do_no_harm_and_are_told(void **state)
{
	struct wire_msg m = decode("{\"type\":\"report\",\"seq\":1,\"report\":\"snapshotted\",\"dataset_id\":" ID ","
		"\"epoch\":3,\"state\":\"mounted\",\"mounted\":true}");

	assert_int_equal(m.report.kind, REPORT_STATUS); /* asks for nothing */
	assert_int_equal(m.report.status.epoch, 3);
	assert_string_equal(m.unknown, "report 'snapshotted'");
	wire_msg_done(&m);

	m = decode("{\"type\":\"report\",\"seq\":1,\"report\":\"released\",\"dataset_id\":" ID ",\"epoch\":3,"
		"\"state\":\"thawing\",\"step\":\"thaw\",\"errno\":5}");
	assert_int_equal(m.report.kind, REPORT_RELEASED); /* what is understood counts */
	assert_int_equal(m.report.status.state, DS_WAITING);
	assert_int_equal(m.report.status.step, STEP_NONE);
	assert_string_equal(m.unknown, "state 'thawing'");
	wire_msg_done(&m);

	m = decode("{\"type\":\"hello\",\"seq\":1,\"wire\":9,\"host\":" ID ",\"boot\":" ID ",\"holds\":["
		"{\"dataset_id\":" ID ",\"epoch\":2,\"state\":\"thawing\",\"mounted\":true}]}");
	assert_true(m.hello.holds[0].mounted);
	assert_string_equal(m.unknown, "state 'thawing'");
	wire_msg_done(&m);
}

/* Nothing can stand for an order: whoever gets it is told not to obey. */
static void an_order_with_a_word_of_a_later_version_says_so(void **state)
{
	static const char *const orders[] = { "\"wish\":\"snapshot\"", "\"wish\":\"hold\",\"filesystem\":\"bcachefs\"",
		"\"wish\":\"hold\",\"format_state\":\"encrypted\"", "\"wish\":\"hold\",\"failover\":\"driver\"" };

	for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
		char json[512];
		struct wire_msg m;

		snprintf(json, sizeof(json), "{\"type\":\"assign\",\"seq\":1,\"dataset_id\":" ID ",\"epoch\":4,\"volume_id\":" ID
			",%s}", orders[i]);
		m = decode(json);
		assert_string_not_equal(m.unknown, "");
		wire_msg_done(&m);
	}
}

static void what_is_no_word_at_all_is_still_a_fault(void **state)
{
	static const char *const bad[] = { "Mounted", "moun ted", "", "m\\u0007", "\\n" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *error = NULL;
		struct wire_msg m;
		char json[256];

		snprintf(json, sizeof(json), "{\"type\":\"report\",\"seq\":1,\"report\":\"status\",\"dataset_id\":" ID
			",\"state\":\"%s\"}", bad[i]);
		assert_int_equal(wire_decode((const uint8_t *)json, strlen(json), &m, &error), -EBADMSG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_that_version_1_said_is_understood),
		cmocka_unit_test(a_node_of_version_1_has_one_backend),
		cmocka_unit_test(a_control_of_version_1_finds_its_keys_and_words),
		cmocka_unit_test(a_welcome_without_a_version_is_of_version_1),
		cmocka_unit_test(backends_survive_the_wire),
		cmocka_unit_test(a_ping_without_news_of_backends_has_none),
		cmocka_unit_test(keys_of_a_later_version_are_ignored),
		cmocka_unit_test(words_of_a_later_version_do_no_harm_and_are_told),
		cmocka_unit_test(an_order_with_a_word_of_a_later_version_says_so),
		cmocka_unit_test(what_is_no_word_at_all_is_still_a_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>

#include "cmocka_all.h"
#include "wire.h"

static const struct id128 dataset = { 0x1111111111114111, 0x8111111111111111 };
static const struct id128 volume = { 0x2222222222224222, 0x8222222222222222 };

static int decode_text(const char *json, struct wire_msg *ret, const char **ret_error)
{
	return wire_decode((const uint8_t *)json, strlen(json), ret, ret_error);
}

/* Encodes, checks the header, decodes what follows it. */
static struct wire_msg round_trip(const struct wire_msg *m)
{
	const char *error = NULL;
	struct wire_msg back;
	uint8_t *frame;
	uint32_t length;
	size_t size;

	assert_int_equal(wire_encode(m, &frame, &size), 0);
	memcpy(&length, frame, sizeof(length));
	assert_int_equal(ntohl(length), size - WIRE_HEADER);
	assert_int_equal(wire_decode(frame + WIRE_HEADER, size - WIRE_HEADER, &back, &error), 0);
	free(frame);
	assert_int_equal(back.type, m->type);
	assert_int_equal(back.seq, m->seq);
	return back;
}

static void an_order_survives_the_wire(void **state)
{
	struct json_object *metadata = json_object_new_object();
	struct wire_msg m = { .type = WIRE_ASSIGN, .seq = 7,
		.assign = { .dataset_id = dataset, .wish = WISH_HOLD, .epoch = 3, .volume_id = volume,
			.size_bytes = 1 << 30, .filesystem = FS_XFS, .fs_uuid = volume,
			.format_state = FORMAT_STARTED, .owner = dataset, .primary = volume,
			.created_at = 1700000000, .revision = 99, .why = "because", .request = "abc-1.2_3" } };
	struct wire_msg back;

	json_object_object_add(metadata, "name", json_object_new_string("a \"quoted\" \u00e9"));
	m.assign.metadata = metadata;
	back = round_trip(&m);
	assert_true(id128_equal(back.assign.dataset_id, dataset));
	assert_int_equal(back.assign.wish, WISH_HOLD);
	assert_int_equal(back.assign.epoch, 3);
	assert_true(id128_equal(back.assign.volume_id, volume));
	assert_int_equal(back.assign.size_bytes, 1 << 30);
	assert_int_equal(back.assign.filesystem, FS_XFS);
	assert_int_equal(back.assign.format_state, FORMAT_STARTED);
	assert_int_equal(back.assign.created_at, 1700000000);
	assert_int_equal(back.assign.revision, 99);
	assert_string_equal(back.assign.why, "because");
	assert_string_equal(back.assign.request, "abc-1.2_3");
	assert_true(json_object_equal(back.assign.metadata, metadata));
	wire_msg_done(&back);
	wire_msg_done(&m);
}

static void a_hello_names_what_is_held(void **state)
{
	struct wire_status holds[2] = {
		{ .dataset_id = dataset, .volume_id = volume, .epoch = 5, .state = DS_MOUNTED,
			.mounted = true },
		{ .dataset_id = volume, .volume_id = dataset, .epoch = 6, .state = DS_DETACHING,
			.releasing = true },
	};
	struct wire_msg m = { .type = WIRE_HELLO, .seq = 1,
		.hello = { .version = (char *)(uintptr_t)"2", .host = dataset, .boot = volume,
			.backend = (char *)(uintptr_t)"loopback", .filesystem = FS_BTRFS, .partial = true, .shared = true, .free_bytes = 123, .incarnation = 4,
			.version_seen = 5, .line = id128_make_v4(9, 9), .holds = holds, .n_holds = 2 } };
	struct wire_msg back = round_trip(&m);

	assert_int_equal(back.hello.n_holds, 2);
	assert_true(back.hello.shared);
	assert_true(back.hello.partial);
	assert_int_equal(back.hello.free_bytes, 123);
	assert_int_equal(back.hello.filesystem, FS_BTRFS);
	assert_int_equal(back.hello.incarnation, 4);
	assert_int_equal(back.hello.version_seen, 5);
	assert_true(id128_equal(back.hello.line, id128_make_v4(9, 9)));
	assert_int_equal(back.hello.holds[0].epoch, 5);
	assert_true(back.hello.holds[0].mounted);
	assert_false(back.hello.holds[0].releasing);
	assert_true(back.hello.holds[1].releasing);
	wire_msg_done(&back);
}

/* Sizes that neighbours of an earlier version do not know are told only where there is something to tell. */
static void an_order_tells_what_is_to_grow(void **state)
{
	struct wire_msg m = { .type = WIRE_ASSIGN, .seq = 1,
		.assign = { .dataset_id = dataset, .wish = WISH_HOLD, .epoch = 5, .volume_id = volume,
			.size_bytes = 64, .growing_bytes = 128, .fs_bytes = 32, .want_bytes = 256 } };
	struct wire_msg back = round_trip(&m);
	uint8_t *frame;
	size_t size;

	assert_int_equal(back.assign.growing_bytes, 128);
	assert_int_equal(back.assign.fs_bytes, 32);
	assert_int_equal(back.assign.want_bytes, 256);
	wire_msg_done(&back);
	m.assign.growing_bytes = m.assign.fs_bytes = m.assign.want_bytes = 64;
	assert_int_equal(wire_encode(&m, &frame, &size), 0);
	assert_null(memmem(frame, size, "grow", 4));
	assert_null(memmem(frame, size, "want", 4));
	assert_null(memmem(frame, size, "fs_size", 7));
	free(frame);
	back = round_trip(&m);
	assert_int_equal(back.assign.growing_bytes, 64);
	assert_int_equal(back.assign.fs_bytes, 64);
	assert_int_equal(back.assign.want_bytes, 64);
	wire_msg_done(&back);
}

static void a_report_carries_its_failure(void **state)
{
	struct wire_msg m = { .type = WIRE_REPORT, .seq = 2,
		.report = { .kind = REPORT_STATUS,
			.status = { .dataset_id = dataset, .epoch = 1, .state = DS_FAILED,
				.step = STEP_MOUNT, .error = EIO, .attempts = 3, .retry_in_ms = 400, .why = "bad disk",
				.claimant = volume, .claim_epoch = 9,
				.holders = (char *)(uintptr_t)"pid 1 (init): cwd /\n" } } };
	struct wire_msg back = round_trip(&m);

	assert_int_equal(back.report.status.step, STEP_MOUNT);
	assert_int_equal(back.report.status.error, EIO);
	assert_int_equal(back.report.status.attempts, 3);
	assert_int_equal(back.report.status.retry_in_ms, 400);
	assert_true(id128_equal(back.report.status.claimant, volume));
	assert_int_equal(back.report.status.claim_epoch, 9);
	assert_string_equal(back.report.status.holders, "pid 1 (init): cwd /\n");
	wire_msg_done(&back);
}

static void names_of_files_may_hold_any_bytes(void **state)
{
	struct wire_msg m = { .type = WIRE_REPORT, .seq = 1,
		.report = { .status = { .dataset_id = dataset, .why = "held by \xe2\x82",
				    .holders = (char *)(uintptr_t)"open file /x/\xff\xc3\xa9\n" } } };
	struct wire_msg back = round_trip(&m);

	assert_string_equal(back.report.status.holders, "open file /x/?\xc3\xa9\n");
	assert_string_equal(back.report.status.why, "held by ??");
	wire_msg_done(&back);
}

static void bad_messages_are_refused_with_a_reason(void **state)
{
	static const char *const bad[] = {
		"", "[]", "{}", "{\"type\":7,\"seq\":1}", "{\"type\":\"ping\"}",
		"{\"type\":\"ping\",\"seq\":0}", "{\"type\":\"ping\",\"seq\":-1}",
		"{\"type\":\"ping\",\"seq\":1} trailing", "{\"type\":\"ping\",\"seq\":1.5}",
		"{\"type\":\"assign\",\"seq\":1}",
		"{\"type\":\"assign\",\"seq\":1,\"wish\":\"eat\",\"dataset_id\":\"x\"}",
		("{\"type\":\"assign\",\"seq\":1,\"wish\":\"hold\","
		 "\"dataset_id\":\"11111111-1111-4111-8111-111111111111\"}"),
		"{\"type\":\"hello\",\"seq\":1,\"wire\":1}",
		"{\"type\":\"hello\",\"seq\":1,\"holds\":{}}",
		"{\"type\":\"bye\",\"seq\":1,\"reason\":\"a\\u0000b\"}",
		"{\"type\":\"report\",\"seq\":1}",
		"{\"a\":[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *error = NULL;
		struct wire_msg m;

		assert_int_equal(decode_text(bad[i], &m, &error), -EBADMSG);
		assert_non_null(error);
	}
}

static void what_a_newer_version_says_is_no_error(void **state)
{
	const char *error = NULL;
	struct wire_msg m;

	assert_int_equal(decode_text("{\"type\":\"dance\",\"seq\":1}", &m, &error), -ENOTSUP);
	assert_int_equal(decode_text("{\"type\":\"ping\",\"seq\":1,\"new\":{\"key\":1}}", &m, &error), 0);
	wire_msg_done(&m);
}

static void a_message_beyond_a_frame_is_not_made(void **state)
{
	struct wire_msg m = { .type = WIRE_BYE, .seq = 1 };
	uint8_t *frame;
	size_t size;

	m.bye.reason = malloc(WIRE_FRAME_MAX + 1);
	memset(m.bye.reason, 'x', WIRE_FRAME_MAX);
	m.bye.reason[WIRE_FRAME_MAX] = '\0';
	assert_int_equal(wire_encode(&m, &frame, &size), -EMSGSIZE);
	wire_msg_done(&m);
}

static void ids_are_read_strictly_and_written_in_lower_case(void **state)
{
	struct id128 id;

	assert_int_equal(id128_parse("AD0A05DD-a1ed-449f-b44b-e1e2757bda00", &id), 0);
	assert_string_equal(ID128_STR(id), "ad0a05dd-a1ed-449f-b44b-e1e2757bda00");
	assert_int_equal(id128_parse_v4("ad0a05dd-a1ed-449f-b44b-e1e2757bda00", &id), 0);
	assert_int_equal(id128_parse_v4("ad0a05dd-a1ed-149f-b44b-e1e2757bda00", &id), -EINVAL);
	assert_int_equal(id128_parse_v4("ad0a05dd-a1ed-449f-744b-e1e2757bda00", &id), -EINVAL);
	assert_int_equal(id128_parse("ad0a05dda1ed-449f-b44b-e1e2757bda000", &id), -EINVAL);
	assert_int_equal(id128_parse("ad0a05dd-a1ed-449f-b44b-e1e2757bda0", &id), -EINVAL);
	assert_int_equal(id128_parse("ad0a05dd-a1ed-449f-b44b-e1e2757bda00 ", &id), -EINVAL);
	assert_int_equal(id128_parse("", &id), -EINVAL);
	assert_int_equal(id128_random(&id), 0);
	assert_int_equal(id128_parse_v4(ID128_STR(id), &id), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_order_survives_the_wire),
		cmocka_unit_test(a_hello_names_what_is_held),
		cmocka_unit_test(an_order_tells_what_is_to_grow),
		cmocka_unit_test(a_report_carries_its_failure),
		cmocka_unit_test(names_of_files_may_hold_any_bytes),
		cmocka_unit_test(bad_messages_are_refused_with_a_reason),
		cmocka_unit_test(what_a_newer_version_says_is_no_error),
		cmocka_unit_test(a_message_beyond_a_frame_is_not_made),
		cmocka_unit_test(ids_are_read_strictly_and_written_in_lower_case),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

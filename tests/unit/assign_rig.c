/* SPDX-License-Identifier: Apache-2.0 */
#include "assign_rig.h"

#include "cmocka_all.h"

const struct id128 node_a = { 0xaaaaaaaaaaaa4aaa, 0x8aaaaaaaaaaaaaaa };
const struct id128 node_b = { 0xbbbbbbbbbbbb4bbb, 0x8bbbbbbbbbbbbbbb };
const struct id128 dataset = { 0x1111111111114111, 0x8111111111111111 };

struct assign *a;
struct assign_result res;
uint64_t now_ms = 1000, session = 100;
static uint64_t random_state = 1;

int assign_setup(void **state)
{
	memset(&res, 0, sizeof(res));
	return assign_new(1, 0, &a);
}

int assign_teardown(void **state)
{
	assign_result_done(&res);
	a = assign_free(a);
	return 0;
}

/* Decides, and makes it durable at once. */
int decide(struct assign_event ev)
{
	ev.random[0] = random_state++;
	ev.random[1] = random_state++;
	assign_result_done(&res);
	assign_decide(a, now_ms++, &ev, &res);
	if (res.n_changes)
		assign_committed(a, res.txn);
	return res.status;
}

int create(struct id128 primary)
{
	struct ds_record r = { .dataset_id = dataset, .primary = primary, .size_bytes = 64 * MIB,
		.backend = "default" };

	return decide((struct assign_event){ .type = ASSIGN_CREATE, .record = &r });
}

uint64_t hello(struct id128 node, struct wire_status *holds, size_t n)
{
	struct wire_hello h = { .host = node, .boot = node, .shared = true, .holds = holds,
		.n_holds = n };

	session++;
	decide((struct assign_event){ .type = ASSIGN_HELLO, .node = node, .session = session,
		.hello = &h, .address = "192.0.2.1" });
	return session;
}

void report(struct id128 node, uint64_t in_session, enum report_kind kind, uint64_t epoch)
{
	struct assign_view v;
	struct wire_report r = { .kind = kind, .status = { .dataset_id = dataset, .epoch = epoch } };

	assert_int_equal(assign_dataset(a, now_ms, dataset, &v), 0);
	r.status.volume_id = v.record->volume_id;
	r.status.fs_uuid = v.record->fs_uuid;
	decide((struct assign_event){ .type = ASSIGN_REPORT, .node = node, .session = in_session,
		.report = &r });
}

int move(struct id128 to)
{
	return decide((struct assign_event){ .type = ASSIGN_MOVE, .dataset_id = dataset, .primary = to });
}

const struct ds_record *record(void)
{
	static struct assign_view v;

	assert_int_equal(assign_dataset(a, now_ms, dataset, &v), 0);
	return v.record;
}

const struct wire_assign *sent(struct id128 node)
{
	for (size_t i = res.n_sends; i > 0; i--)
		if (id128_equal(res.sends[i - 1].node, node) && res.sends[i - 1].msg.type == WIRE_ASSIGN)
			return &res.sends[i - 1].msg.assign;
	return NULL;
}

void gone(struct id128 node, uint64_t in_session)
{
	decide((struct assign_event){ .type = ASSIGN_GONE, .node = node, .session = in_session });
}

int fence(struct id128 node)
{
	return decide((struct assign_event){ .type = ASSIGN_FENCE, .node = node });
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message of a peer. What was understood can be said again and means the same. And the same bytes
 * as the texts of a report of ours: names of files and processes hold anything, and one that the
 * other side refuses would end every session.
 */
#include "fuzz.h"
#include "wire.h"

static struct wire_msg must_decode(const uint8_t *frame, size_t size)
{
	const char *error = NULL;
	struct wire_msg m;

	PROMISE(size > WIRE_HEADER && size <= WIRE_HEADER + WIRE_FRAME_MAX);
	PROMISE(wire_decode(frame + WIRE_HEADER, size - WIRE_HEADER, &m, &error) == 0);
	return m;
}

static void check_status(const struct wire_status *s)
{
	struct wire_status copy;

	PROMISE((unsigned)s->state < DS_STATE_MAX && (unsigned)s->step < DS_STEP_MAX);
	PROMISE(memchr(s->why, '\0', sizeof(s->why)));
	PROMISE(!id128_is_nil(s->dataset_id));
	PROMISE(wire_status_copy(s, &copy) == 0);
	wire_status_done(&copy);
}

static void check(const struct wire_msg *m)
{
	PROMISE((unsigned)m->type < WIRE_TYPE_MAX && m->seq > 0);
	switch (m->type) {
	case WIRE_HELLO:
		PROMISE(m->hello.n_holds <= WIRE_HOLDS_MAX);
		for (size_t i = 0; i < m->hello.n_holds; i++)
			check_status(&m->hello.holds[i]);
		break;
	case WIRE_REPORT:
		PROMISE((unsigned)m->report.kind < REPORT_KIND_MAX);
		check_status(&m->report.status);
		break;
	case WIRE_ASSIGN:
		PROMISE((unsigned)m->assign.wish < WISH_KIND_MAX);
		PROMISE((unsigned)m->assign.filesystem < FS_KIND_MAX);
		PROMISE((unsigned)m->assign.format_state < FORMAT_STATE_MAX);
		PROMISE(!id128_is_nil(m->assign.dataset_id));
		break;
	default:
		break;
	}
}

static void say_text(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = fuzz_text(data, size);
	_cleanup_free_ uint8_t *frame = NULL;
	struct wire_msg m = { .type = WIRE_REPORT, .seq = 1, .report.status = {
		.dataset_id = { 1, 2 }, .holders = text, .device = text } }, back;
	size_t frame_size;

	snprintf(m.report.status.why, WIRE_WHY_MAX, "%s", text);
	PROMISE(wire_encode(&m, &frame, &frame_size) == 0);
	back = must_decode(frame, frame_size);
	PROMISE(strlen(back.report.status.holders ?: "") == strlen(text));
	wire_msg_done(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *first = NULL, *second = NULL;
	size_t first_size, second_size;
	const char *error = NULL;
	struct wire_msg m, back;
	int r;

	say_text(data, size);
	r = wire_decode(data, size, &m, &error);
	if (r < 0) {
		PROMISE(r == -ENOTSUP || (r == -EBADMSG && error));
		return 0;
	}
	check(&m);
	r = wire_encode(&m, &first, &first_size);
	if (r == 0) {
		back = must_decode(first, first_size);
		check(&back);
		PROMISE(wire_encode(&back, &second, &second_size) == 0);
		PROMISE(second_size == first_size && memcmp(first, second, first_size) == 0);
		wire_msg_done(&back);
	} else {
		PROMISE(r == -EMSGSIZE); /* our spelling may be longer than the sender's */
	}
	free(first);
	free(second);
	wire_msg_done(&m);
	return 0;
}

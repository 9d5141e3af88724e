/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of events: what follows a revision, what has fallen off, and what passes a filter. */
#include "cm.h"
#include "eventlog.h"

#define ONE ((struct id128){ 1, 1 })
#define TWO ((struct id128){ 2, 2 })

static struct eventlog *make(size_t bytes)
{
	struct eventlog *l;

	assert_int_equal(eventlog_new(bytes, 0x123456789abcdef0, &l), 0);
	return l;
}

static void add(struct eventlog *l, struct id128 id, const char *json)
{
	eventlog_add(l, &(struct event_about){ .kind = EVENT_DATASET, .id = id }, json, strlen(json));
}

static void an_event_is_told_as_lines_with_its_revision(void **state)
{
	struct event_about gone = { .kind = EVENT_LEASE, .dropped = true, .id = ONE };
	struct eventlog *l = make(KIB);
	struct event_text *e;

	add(l, ONE, "{\"a\": 1}");
	eventlog_add(l, &gone, "{}", 2);
	assert_int_equal(eventlog_next(l, 0, &e), 0);
	assert_int_equal(e->n, 1);
	assert_memory_equal(e->text, "id: 56789abcdef0-1\nevent: dataset\ndata: {\"a\": 1}\n\n", e->size);
	assert_int_equal(eventlog_next(l, 1, &e), 0);
	assert_memory_equal(e->text, "id: 56789abcdef0-2\nevent: lease-dropped\ndata: {}\n\n", e->size);
	assert_int_equal(eventlog_next(l, 2, &e), -EAGAIN);
	assert_int_equal(eventlog_next(l, 3, &e), -ESTALE);
	eventlog_free(l);
}

/* Whoever follows step by step gets each event once, however far behind it may be allowed to be. */
static void what_is_kept_is_bounded_and_in_order(void **state)
{
	struct eventlog *l = make(8 * KIB);
	char json[300];
	uint64_t first = 0, kept = 0;
	struct event_text *e;

	for (int i = 1; i <= 5000; i++) {
		memset(json, 'x', sizeof(json));
		json[i * 7919 % 299] = '\0';
		add(l, ONE, json);
		assert_int_equal(eventlog_last(l), i);
	}
	while (eventlog_next(l, first, &e) == -ESTALE)
		first++;
	for (uint64_t n = first; n < 5000; n++) {
		assert_int_equal(eventlog_next(l, n, &e), 0);
		assert_int_equal(e->n, n + 1);
		kept += sizeof(*e) + e->size;
	}
	assert_true(kept <= 8 * KIB && kept > 7 * KIB);
	eventlog_free(l);
}

static void the_newest_is_kept_however_large(void **state)
{
	struct eventlog *l = make(100);
	char json[1000] = { 0 };
	struct event_text *e;

	add(l, ONE, "{}");
	memset(json, 'x', sizeof(json) - 1);
	add(l, ONE, json);
	assert_int_equal(eventlog_next(l, 0, &e), -ESTALE);
	assert_int_equal(eventlog_next(l, 1, &e), 0);
	assert_true(e->size > 999);
	eventlog_free(l);
}

/* Who still sends it keeps it, also when it has fallen off, and when the log has gone. */
static void an_event_stays_while_somebody_sends_it(void **state)
{
	struct eventlog *l = make(200);
	struct event_text *e;

	add(l, ONE, "{\"first\": true}");
	assert_int_equal(eventlog_next(l, 0, &e), 0);
	(void)event_text_ref(e);
	for (int i = 0; i < 100; i++)
		add(l, TWO, "{\"a\": \"something else\"}");
	eventlog_free(l);
	assert_non_null(strstr(e->text, "\"first\""));
	event_text_unref(e);
}

/* Nobody may believe to have all when one could not be kept. */
static void an_event_that_is_lost_makes_all_list_again(void **state)
{
	struct eventlog *l = make(KIB);
	struct event_text *e;
	uint64_t n;

	add(l, ONE, "{}");
	eventlog_add(l, &(struct event_about){ .kind = EVENT_NODE }, NULL, 0);
	assert_int_equal(eventlog_last(l), 2);
	assert_int_equal(eventlog_next(l, 0, &e), -ESTALE);
	assert_int_equal(eventlog_next(l, 1, &e), -ESTALE);
	assert_int_equal(eventlog_next(l, 2, &e), -EAGAIN);
	add(l, ONE, "{}");
	assert_int_equal(eventlog_next(l, 2, &e), 0);
	assert_int_equal(eventlog_parse(l, "56789abcdef0-1", &n), -ESTALE);
	eventlog_free(l);
}

static void a_revision_is_read_to_the_letter(void **state)
{
	static const char *const wrong[] = { "", "1", "-1", "56789abcdef0", "56789abcdef0-", "56789abcdef0-x",
		"56789abcdef0-+1", "56789abcdef0-1 ", "56789ABCDEF0-1", "6789abcdef0-1", "056789abcdef0-1",
		"56789abcdef0-18446744073709551616" };
	struct eventlog *l = make(KIB);
	char text[EVENTLOG_REVISION_SIZE];
	uint64_t n = 7;

	add(l, ONE, "{}");
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (eventlog_parse(l, wrong[i], &n) != -EINVAL)
			fail_msg("taken: %s", wrong[i]);
	assert_int_equal(eventlog_parse(l, "56789abcdef1-1", &n), -ESTALE);
	assert_int_equal(eventlog_parse(l, "56789abcdef0-2", &n), -ESTALE);
	assert_int_equal(eventlog_parse(l, "56789abcdef0-18446744073709551615", &n), -ESTALE);
	assert_int_equal(n, 7);
	for (uint64_t i = 0; i <= 1; i++) {
		assert_int_equal(eventlog_parse(l, eventlog_revision(l, i, text), &n), 0);
		assert_int_equal(n, i);
	}
	eventlog_free(l);
}

static void a_filter_lets_through_what_it_names(void **state)
{
	struct event_about dataset = { .kind = EVENT_DATASET, .id = ONE, .nodes = { TWO } };
	struct event_about node = { .kind = EVENT_NODE, .id = ONE };
	const unsigned int all = (1u << EVENT_KIND_MAX) - 1;
	struct event_filter any = { all }, nodes = { 1u << EVENT_NODE };
	struct event_filter the_dataset = { all, .dataset = ONE }, at_one = { all, .node = ONE };
	struct event_filter at_two = { all, .node = TWO }, both = { all, .dataset = ONE, .node = ONE };

	assert_true(event_passes(&any, &dataset) && event_passes(&any, &node));
	assert_true(!event_passes(&nodes, &dataset) && event_passes(&nodes, &node));
	/* An id is of one kind: the same of another one is somebody else's. */
	assert_true(event_passes(&the_dataset, &dataset) && !event_passes(&the_dataset, &node));
	assert_true(!event_passes(&at_one, &dataset) && event_passes(&at_one, &node));
	assert_true(event_passes(&at_two, &dataset) && !event_passes(&at_two, &node));
	assert_true(!event_passes(&both, &dataset) && !event_passes(&both, &node));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_event_is_told_as_lines_with_its_revision),
		cmocka_unit_test(what_is_kept_is_bounded_and_in_order),
		cmocka_unit_test(the_newest_is_kept_however_large),
		cmocka_unit_test(an_event_stays_while_somebody_sends_it),
		cmocka_unit_test(an_event_that_is_lost_makes_all_list_again),
		cmocka_unit_test(a_revision_is_read_to_the_letter),
		cmocka_unit_test(a_filter_lets_through_what_it_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* assign_rig.h - one assign, two nodes, one dataset; every decision is durable at once. */
#pragma once

#include "assign.h"

#define TEST(f) cmocka_unit_test_setup_teardown(f, assign_setup, assign_teardown)

extern const struct id128 node_a, node_b, dataset;
extern struct assign *a;
extern struct assign_result res; /* of the last decision */
extern uint64_t now_ms, session;

int assign_setup(void **state);
int assign_teardown(void **state);

int decide(struct assign_event ev); /* its status */

int create(struct id128 primary);
int move(struct id128 to);
int fence(struct id128 node);

uint64_t hello(struct id128 node, struct wire_status *holds, size_t n); /* the session's number */
void report(struct id128 node, uint64_t in_session, enum report_kind kind, uint64_t epoch);
void gone(struct id128 node, uint64_t in_session);

const struct ds_record *record(void);		 /* of the dataset, durable */
const struct wire_assign *sent(struct id128 node); /* the last order of the last decision; or NULL */

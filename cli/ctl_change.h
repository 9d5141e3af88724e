/* SPDX-License-Identifier: Apache-2.0 */
/* ctl_change.h - what the commands share that wish something of a dataset. */
#pragma once

#include "ctl.h"
#include "text.h"

/* After the change was accepted: waits if that was asked for, and prints the outcome. An exit status. */
int ctl_finish(struct ctl *c, struct ctl_wait *w, struct json_object *answer);

/* What --policy, --term and --to say goes to @failover. 0 or -ENOMEM. */
int ctl_put_failover(struct json_object *failover, const struct ctl_args *a);

/* "any", "none", or UUIDs with blanks or commas between. 0 or -ENOMEM. */
int ctl_put_failover_to(struct json_object *failover, const char *text);

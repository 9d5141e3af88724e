/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failover_to.h - the metadata value "flocker:failover-to": which nodes control may choose from when
 * the node that should have a dataset is lost. "any", or UUIDs of nodes separated by spaces. Pure.
 */
#pragma once

#include "id128.h"

#define FAILOVER_TO_KEY "flocker:failover-to"
#define FAILOVER_TO_ANY "any"

/* 0, or -EINVAL when @text is neither. */
int failover_to_check(const char *text);

/* May @node be chosen? @text: a valid one. */
bool failover_to_names(const char *text, struct id128 node);

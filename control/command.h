/* SPDX-License-Identifier: Apache-2.0 */
/* command.h - what flocker-control does when it does not serve: backup, recover and import. */
#pragma once

#include "options.h"

/* Says what it found and did on standard output, and what went wrong on standard error. 0 or -errno. */
int command_run(const struct options *o);

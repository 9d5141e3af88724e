/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmdmask.h - the kernel's command line as it may be shown to others. Anybody may put anything there for a program
 * of theirs to find, so only the values of parameters that are known to hold no secret are shown, of others the
 * names, and nothing of what is meant for init.
 */
#pragma once

#include "macro.h"

#define CMDMASK_HIDDEN "(left out)"

void cmdmask(const char *text, FILE *out); /* with its line's end */

/* A line of the kernel's log: it tells the command line, too. */
void cmdmask_log(const char *line, FILE *out);

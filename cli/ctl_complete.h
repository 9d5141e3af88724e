/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl_complete.h - what may stand at the end of a command line, for the shells' completion.
 *
 * "flockerctl complete WORD..." is what their functions in cli/completion/ run; people have no use
 * for it, so no help lists it. WORDs are those behind the program's name up to the cursor; the last,
 * which may be empty, is the one to be completed. The first line says what may stand there: "words",
 * "files" or "directories". With "words" each further line is a candidate for the whole word, a
 * tabulator and what it is. Only such names of datasets are offered as no shell changes.
 */
#pragma once

#include "ctl.h"

#define CTL_COMPLETE "complete"

/* Asks the control service where it must, for at most 3 s: a person has pressed a key. */
int ctl_complete(struct ctl_args *a, int argc, char **argv);

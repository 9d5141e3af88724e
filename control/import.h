/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import.h - the state file of the original Flocker (current_configuration.json, formats 1 to 6) as
 * records of ours. Pure: no I/O, no clock, no chance, so that a dry run says what will be done.
 *
 *	dataset		taken. One that the original made has its volume and its filesystem chosen here, and
 *			is lost until its image is put there: never made anew. One that it never made is new.
 *	deleted		taken as done: nothing of it is destroyed.
 *	lease		taken, unless it has run out.
 *	ownership	kept with its dataset: which volume of the original's backend it was.
 *	the rest	left, and said: applications, nodes, second places of a dataset, unknown keys.
 */
#pragma once

#include "record.h"

#define IMPORT_ERROR_MAX 512
#define IMPORT_EXTRA_KEY "imported" /* in the stored record: where it came from */

struct import {
	unsigned int format;
	struct ds_record *datasets; /* incarnation 0: who stores them knows it */
	struct pin_record *pins;
	size_t n_datasets, n_pins;
	char **lines;		    /* one for each record that was taken or left; UTF-8, printable */
	size_t n_lines, n_left;
};

/**
 * import_parse() - read one state file
 * @now_s: of the wall clock: leases that ended before are left, and it is when deletions become known
 * @ret: set on success only; end it with import_done()
 * @error: set on -EBADMSG: a JSON pointer to the place, and what is wrong there
 *
 * Returns: 0; -EBADMSG for what is no such file, of a newer format, or not whole; -ENOMEM. Nothing is
 * taken of a file that has a mistake.
 */
int import_parse(const char *text, size_t size, int64_t now_s, struct import *ret,
	char error[IMPORT_ERROR_MAX]);
void import_done(struct import *im);

/* It may hold data of the original, and has no volume here yet. */
static inline bool import_is_lost(const struct ds_record *ds)
{
	return !ds->deleted && ds->format_state == FORMAT_DONE;
}

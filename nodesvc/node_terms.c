/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells who uses a leased dataset from when its term lasts, in a file of the run directory. No file
 * of the status tree: its readers have to notice just that this daemon hangs, or is gone.
 */
#include "node_private.h"

void node_terms_tell(struct node *n)
{
	struct terms now = { roster_last_renewal(n->roster), roster_shortest_term(n->roster) };
	_cleanup_free_ char *path = NULL;
	int r;

	/* What an earlier daemon told counts until this one knows better. */
	if (!now.renewed_ms || now.term_ms == CONVERGE_NEVER ||
		(now.renewed_ms == n->terms.renewed_ms && now.term_ms == n->terms.term_ms))
		return;
	if (asprintf(&path, "%s/" TERMS_FILE, n->c->run_directory) < 0)
		return;
	r = terms_write(path, &now);
	if (r < 0 && r != n->terms_error)
		log_warning(r, "cannot write %s: services are not stopped before a term ends, ignoring", path);
	n->terms_error = r;
	n->terms = now;
}

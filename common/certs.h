/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certs.h - keeps the contexts of a daemon as its files are.
 *
 *   quiet --SIGHUP, or a change in the files' directory--> changed --0.5 s--> read --> quiet
 *
 * What was read is taken as a whole, or not at all: then the former goes on and the log says why, with
 * each change and each hour, since a restart would fail. Half of a pair is such a case, and the other half
 * is the next change. Sessions that stand are not touched by it; on_change() is where their owner looks at
 * them again.
 *
 * Logs also, once each, that a certificate ends within 30, 7 and 1 days and that it has ended. Reads
 * small files on the loop's thread. The program has to leave SIGHUP to it.
 */
#pragma once

#include <event2/event.h>

#include "tls.h"

struct certs;

struct certs_config {
	struct tls_files files; /* in one directory; copied */
	SSL_CTX *contexts[3];	/* of these files, with NULL at the end; borrowed */
	int priority;		/* of its events in the loop */
	void (*on_change)(void *userdata); /* the contexts hold something else */
	void *userdata;
};

/**
 * certs_new() - begin to watch
 *
 * What changed since the contexts were made is found as well. A directory that cannot be watched is
 * logged; SIGHUP works without. Returns: 0 or -ENOMEM.
 */
int certs_new(struct event_base *base, const struct certs_config *c, struct certs **ret);
struct certs *certs_free(struct certs *c);

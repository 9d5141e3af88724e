/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pairfile.h - a key and its certificate as STEM.key and STEM.crt: both or neither, never over
 * existing files, mode 0600. Blocks for the disk. Prints its own errors (say.h).
 *
 * Both are written and synced under hidden names, ".flocker-ca.STEM.key" and ".crt", and then renamed,
 * the key first. So after a crash at any point the hidden names tell how far it came, and the next
 * run in that directory completes a pair whose key was already named, or clears the rest away.
 */
#pragma once

#include "macro.h"

/* Opens a directory and waits until no other run is at work in it. The caller closes it. */
int pairfile_open(const char *dir);

/**
 * pairfile_create() - write both files durably
 * @dir: existing directory
 *
 * Returns: 0; -EEXIST when either file is there; other negative errno of the filesystem.
 */
int pairfile_create(const char *dir, const char *stem, const char *key_pem, const char *cert_pem);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * revocation.h - cluster.crl, the list of the certificates that a cluster takes back, signed by its
 * root and kept beside it. A new list replaces the file as a whole; two runs wait for each other.
 * Blocks for the disk. Prints its own errors (say.h).
 */
#pragma once

#include "credential.h"

/**
 * revocation_add() - write the list of @dir anew, with one more on it
 * @serial: of the certificate
 * @ret_new: false: it was on the list, which stays as it is
 *
 * Returns: 0; -EINVAL for a list that is not this root's; other negative errno.
 */
int revocation_add(const char *dir, const struct credential *root, const ASN1_INTEGER *serial, bool *ret_new);

/* Prints the list of @dir, one serial number and its day a line. 0 also when there is none. */
int revocation_print(const char *dir, const struct credential *root);

/* In hexadecimal, as the daemons' logs have it; newly allocated, NULL when out of memory. */
char *revocation_serial_text(const ASN1_INTEGER *serial);

/* The way back; NULL for what is no hexadecimal number of at most 20 bytes. The caller frees it. */
ASN1_INTEGER *revocation_serial_parse(const char *text);

/* SPDX-License-Identifier: Apache-2.0 */
/* tls_private.h - what the files of TLS share: tls.c has contexts and sessions, tls_files.c reads. */
#pragma once

#include <openssl/x509.h>

#include "tls.h"

DEFINE_CLEANUP(X509_STORE_CTX *, X509_STORE_CTX_free);

/* Sets @ret_error and empties OpenSSL's queue; returns @err. */
int tls_fail(char **ret_error, int err, const char *fmt, ...) _printf_(3, 4);

/* The only common name, without control characters or embedded NUL; -ENOENT otherwise, or -ENOBUFS. */
int tls_common_name(X509 *cert, char *buf, size_t size);

int tls_serial_text(X509 *cert, char *buf, size_t size); /* in hexadecimal; 0, -ENOBUFS or -ENOMEM */

/**
 * tls_files_load() - read and check all files
 * @ret: a context that holds them and is good for nothing else: own certificate with chain and key,
 *   and in its store the authorities and the lists of what they revoked
 * @ret_error: as of tls_server_new()
 *
 * Returns: as tls_server_new().
 */
int tls_files_load(const struct tls_files *f, SSL_CTX **ret, char **ret_error);

void tls_files_dates(SSL_CTX *own, struct tls_dates *ret); /* as tls_dates() */
void tls_files_names(SSL_CTX *own, struct tls_names *ret); /* as tls_names() */

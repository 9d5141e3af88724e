/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.h - mutual TLS as the cluster speaks it: OpenSSL contexts, who the peer must be, and errors
 * in words. TLS 1.2 at least, no renegotiation, no compression, no session resumption. The
 * cluster's certificate authority is the only one trusted; the original's X.509 v1 certificates are
 * accepted.
 *
 * A revoked certificate is refused on either side. A list of revoked ones that is past its date still
 * counts: refusing everybody then would stop a cluster because nobody thought of a file.
 *
 * Making a context and tls_reload() read files; nothing else here blocks. Nothing logs. A program that uses TLS
 * ignores SIGPIPE.
 */
#pragma once

#include <openssl/ssl.h>

#include "macro.h"

#define TLS_NAME_MAX 256
#define TLS_SERIAL_MAX 80
#define TLS_CONTROL_NAME "control-service"

struct tls_files {
	const char *ca, *cert, *key; /* paths of PEM files */
	const char *crl; /* of revoked certificates, signed by @ca; NULL, or no such file: none is */
};

DEFINE_CLEANUP(SSL_CTX *, SSL_CTX_free);
DEFINE_CLEANUP(SSL *, SSL_free);

/**
 * tls_server_new() - a context for a listening side
 * @kinds: what the common name of a client may start with ("user-", "node-"), with NULL at the end;
 *   static. Another name, another authority or no certificate fails the handshake.
 * @ret_error: set on failure: allocated, one line that names the file and what would be right
 *
 * Returns: 0; -ENOENT or -EACCES (of a file), -EINVAL (its content), or -ENOMEM.
 */
int tls_server_new(const struct tls_files *f, const char *const *kinds, SSL_CTX **ret,
	char **ret_error);

/* As tls_server_new(), for the side that dials. Each session names its server: tls_client_expect().
 */
int tls_client_new(const struct tls_files *f, SSL_CTX **ret, char **ret_error);

/**
 * tls_reload() - give contexts what the files hold now
 * @contexts: of one certificate, with NULL at the end
 * @ret_error: as of tls_server_new()
 *
 * New sessions use it; those that stand go on as they are, see tls_recheck(). The certificate's common
 * name has to stay. Returns: as tls_server_new(); on failure every context holds what it held.
 */
int tls_reload(const struct tls_files *f, SSL_CTX *const contexts[], char **ret_error);

/* Until when what a context holds is good, in seconds since 1970; 0: there is none. */
struct tls_dates {
	int64_t cert_s, ca_s, crl_s; /* own, of the authority that signed it, the first list's to end */
};
void tls_dates(SSL_CTX *ctx, struct tls_dates *ret);

/* Common names and serial numbers of the same two, the latter in hexadecimal; "" for what cannot be read. */
struct tls_names {
	char cert[TLS_NAME_MAX], ca[TLS_NAME_MAX];
	char cert_serial[TLS_SERIAL_MAX], ca_serial[TLS_SERIAL_MAX];
};
void tls_names(SSL_CTX *ctx, struct tls_names *ret);

/* The common name of the context's own certificate. 0, -ENOENT or -ENOBUFS. */
int tls_own_name(SSL_CTX *ctx, char *buf, size_t size);

/**
 * tls_recheck() - would the peer of a standing session still come in?
 * @buf: when not, set to one line that says why
 *
 * By what its context holds since tls_reload(); dates do not count. Returns: 0, also before the end of
 * the handshake; -EKEYREVOKED; -EKEYREJECTED (its authority is none any more); -ENOMEM.
 */
int tls_recheck(SSL *ssl, char *buf, size_t size);

/**
 * tls_client_expect() - which server this session will accept, before its handshake
 * @host: name or address that was dialled, copied. The certificate has to be valid for it or
 *   for "control-service". Without this call every server is refused.
 *
 * Returns: 0 or -ENOMEM.
 */
int tls_client_expect(SSL *ssl, const char *host);

/**
 * tls_peer_name() - the common name of the verified peer, after @prefix
 * Returns: 0; -ENOENT without such a certificate; -ENOBUFS when it does not fit.
 */
int tls_peer_name(SSL *ssl, const char *prefix, char *buf, size_t size);

/**
 * tls_peer_serial() - the serial number of the verified peer's certificate, in hexadecimal
 * Returns: 0; -ENOENT without such a certificate; -ENOBUFS when it does not fit.
 */
int tls_peer_serial(SSL *ssl, char *buf, size_t size);

/* Others than owner and group may use the key file: worth a warning. */
bool tls_key_exposed(const char *path);

/**
 * tls_error_text() - why a session failed, in words
 * @ssl: the session, or NULL when there is none
 * @first: an error code that somebody already took from OpenSSL's queue (bufferevents do) or looked
 *   at; 0: the queue's first is meant, and the queue is drained
 * @buf: set to one line; to "" when nothing is known
 *
 * Returns: @buf.
 */
char *tls_error_text(SSL *ssl, unsigned long first, char *buf, size_t size);

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credential.h - keys and X.509 v3 certificates of a cluster, by OpenSSL's EVP API. Nothing here
 * writes files. Prints its own errors (say.h); making an RSA key takes seconds.
 *
 *   root             CN=NAME, OU=cluster UUID; signs the others, path length 0
 *   control service  CN=control-service; names control-service and its host
 *   node             CN=node-UUID; client only
 *   API user         CN=user-NAME; client only
 *   API viewer       CN=viewer-NAME; client only
 */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "macro.h"

#define CREDENTIAL_NAME_MAX 64 /* characters of a common name (X.520) */

enum key_type {
	KEY_P256,
	KEY_RSA4096,
	KEY_TYPE_MAX,
};

enum credential_kind {
	CREDENTIAL_CONTROL,
	CREDENTIAL_NODE,
	CREDENTIAL_USER,
	CREDENTIAL_KIND_MAX,
};

struct credential {
	EVP_PKEY *key;
	X509 *cert;
};

/* "p256" or "rsa4096"; -EINVAL for anything else. */
int key_type_parse(const char *text);

/* A new cluster's root: @name is its common name, and its UUID is random. */
int credential_new_root(const char *name, enum key_type type, struct credential *ret);

/* Reads @dir/cluster.crt and @dir/cluster.key and checks that they can sign now. */
int credential_load_root(const char *dir, struct credential *ret);

/**
 * credential_issue() - a new key and its certificate, signed by @root
 * @common_name: whole, such as "node-<uuid>"
 * @host: for CREDENTIAL_CONTROL the host name or IP address, checked already; else NULL
 *
 * Returns: 0, -EINVAL for a name that X.509 cannot hold, or -EIO for OpenSSL's failures.
 */
int credential_issue(const struct credential *root, enum credential_kind kind, enum key_type type,
	const char *common_name, const char *host, struct credential *ret);

/* Reads a certificate and checks that @root signed it. The caller frees @ret. */
int credential_load_leaf(const struct credential *root, const char *path, X509 **ret);

/**
 * credential_renew() - a new key and certificate for whom @old is
 *
 * Subject and server names are the old one's. Returns: 0, -EINVAL for one of no kind that is known, or
 * -EIO.
 */
int credential_renew(const struct credential *root, enum key_type type, const X509 *old,
	struct credential *ret);

/* The common name, newly allocated; NULL when there is none, or memory is out. */
char *credential_name(const X509 *cert);

/* Both as PEM text, the key unencrypted PKCS#8; the caller wipes and frees @ret_key. 0 or -ENOMEM. */
int credential_to_pem(const struct credential *c, char **ret_key, char **ret_cert);

void credential_done(struct credential *c);

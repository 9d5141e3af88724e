/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "tls_private.h"

DEFINE_CLEANUP(BIGNUM *, BN_free);

/* What one session wants of its peer, and what was wrong with it. */
struct peer {
	char *host;    /* client side: the server that was dialled */
	char *problem; /* a failed verification, in words */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int peer_index = -1, kinds_index = -1, own_index = -1;

static void peer_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	struct peer *p = ptr;

	if (!p)
		return;
	free(p->host);
	free(p->problem);
	free(p);
}

static void own_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	SSL_CTX_free(ptr);
}

static void make_indices(void)
{
	peer_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, peer_free);
	kinds_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	own_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, own_free);
	assert(peer_index >= 0 && kinds_index >= 0 && own_index >= 0);
}

static struct peer *peer_get(SSL *ssl)
{
	struct peer *p = SSL_get_ex_data(ssl, peer_index);

	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (p && SSL_set_ex_data(ssl, peer_index, p) != 1) {
		free(p);
		return NULL;
	}
	return p;
}

static void _printf_(2, 3) peer_problem(SSL *ssl, const char *fmt, ...)
{
	struct peer *p = peer_get(ssl);
	va_list ap;

	if (!p || p->problem) /* the first problem is the cause */
		return;
	va_start(ap, fmt);
	if (vasprintf(&p->problem, fmt, ap) < 0)
		p->problem = NULL;
	va_end(ap);
}

/* The only common name, without control characters or embedded NUL; -ENOENT otherwise. */
int tls_common_name(X509 *cert, char *buf, size_t size)
{
	X509_NAME *subject = X509_get_subject_name(cert);
	int i = X509_NAME_get_index_by_NID(subject, NID_commonName, -1), len;
	unsigned char *utf8;

	if (i < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, i) >= 0)
		return -ENOENT;
	len = ASN1_STRING_to_UTF8(&utf8,
		X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i)));
	if (len < 0)
		return -ENOENT;
	if ((size_t)len >= size) {
		OPENSSL_free(utf8);
		return -ENOBUFS;
	}
	memcpy(buf, utf8, (size_t)len);
	buf[len] = '\0';
	OPENSSL_free(utf8);
	for (int k = 0; k < len; k++)
		if ((unsigned char)buf[k] < 0x20 || buf[k] == 0x7f)
			return -ENOENT;
	return 0;
}

static const char *name_or_unknown(X509 *cert, char buf[TLS_NAME_MAX])
{
	return cert && tls_common_name(cert, buf, TLS_NAME_MAX) == 0 ? buf : "(no name)";
}

static void time_text(const ASN1_TIME *t, char *buf, size_t size)
{
	struct tm tm;

	if (!t || ASN1_TIME_to_tm(t, &tm) != 1 || strftime(buf, size, "%F %T UTC", &tm) == 0)
		snprintf(buf, size, "an unreadable date");
}

static void explain(X509_STORE_CTX *store, char *buf, size_t size)
{
	X509 *cert = X509_STORE_CTX_get_current_cert(store);
	char name[TLS_NAME_MAX], when[64];
	int err = X509_STORE_CTX_get_error(store);

	name_or_unknown(cert, name);
	switch (err) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		time_text(X509_get0_notAfter(cert), when, sizeof(when));
		snprintf(buf, size, "certificate '%s' expired on %s", name, when);
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		time_text(X509_get0_notBefore(cert), when, sizeof(when));
		snprintf(buf, size, "certificate '%s' is not valid before %s", name, when);
		break;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		snprintf(buf, size, "certificate '%s' is signed by another cluster",
			name_or_unknown(X509_STORE_CTX_get0_cert(store), name));
		break;
	default:
		snprintf(buf, size, "certificate '%s' refused: %s", name,
			X509_verify_cert_error_string(err));
	}
}

int tls_serial_text(X509 *cert, char *buf, size_t size)
{
	_cleanup_(BN_freep) BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	char *text = n ? BN_bn2hex(n) : NULL;
	int r = !text ? -ENOMEM : strlen(text) < size ? 0 : -ENOBUFS;

	if (r == 0)
		strcpy(buf, text);
	OPENSSL_free(text);
	return r;
}

/* The lists in a store are checked and whole: tls_files.c. An authority without one revoked nobody. */
static bool is_revoked(X509_STORE_CTX *store, X509 *cert, char *buf, size_t size)
{
	STACK_OF(X509_CRL) *lists = X509_STORE_CTX_get1_crls(store, X509_get_issuer_name(cert));
	char name[TLS_NAME_MAX], serial[TLS_SERIAL_MAX], when[64];
	X509_REVOKED *found = NULL;

	for (int i = 0; i < sk_X509_CRL_num(lists) && !found; i++)
		if (X509_CRL_get0_by_cert(sk_X509_CRL_value(lists, i), &found, cert) != 1)
			found = NULL;
	if (found) {
		if (tls_serial_text(cert, serial, sizeof(serial)) < 0)
			strcpy(serial, "unknown");
		time_text(X509_REVOKED_get0_revocationDate(found), when, sizeof(when));
		snprintf(buf, size, "certificate '%s' (serial %s) was revoked on %s",
			name_or_unknown(cert, name), serial, when);
	}
	sk_X509_CRL_pop_free(lists, X509_CRL_free);
	return found;
}

static bool valid_for_host(X509 *cert, const char *host)
{
	return X509_check_ip_asc(cert, host, 0) == 1 ||
	       X509_check_host(cert, host, 0, 0, NULL) == 1;
}

static bool is_expected_server(SSL *ssl, X509 *cert)
{
	struct peer *p = SSL_get_ex_data(ssl, peer_index);
	char name[TLS_NAME_MAX];

	if (!p || !p->host)
		return false;
	if (valid_for_host(cert, TLS_CONTROL_NAME) || valid_for_host(cert, p->host))
		return true;
	peer_problem(ssl, "certificate '%s' is neither for '%s' nor for '%s'",
		name_or_unknown(cert, name), TLS_CONTROL_NAME, p->host);
	return false;
}

static bool is_expected_client(SSL *ssl, X509 *cert)
{
	const char *const *kinds = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), kinds_index);
	bool named;
	char name[TLS_NAME_MAX], allowed[128] = "";

	named = tls_common_name(cert, name, sizeof(name)) == 0;
	for (size_t n = 0; *kinds; kinds++) {
		if (named && strncmp(name, *kinds, strlen(*kinds)) == 0 && name[strlen(*kinds)])
			return true;
		n += (size_t)snprintf(allowed + n, sizeof(allowed) - n, "%s%s...", n ? " and " : "", *kinds);
		assert(n < sizeof(allowed));
	}
	peer_problem(ssl, "certificate '%s' is of the wrong kind: only %s may come here",
		named ? name : "(no name)", allowed);
	return false;
}

static int on_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	X509 *cert = X509_STORE_CTX_get_current_cert(store);
	char text[TLS_NAME_MAX + 256];

	if (!ok) {
		explain(store, text, sizeof(text));
		peer_problem(ssl, "%s", text);
		return 0;
	}
	if (is_revoked(store, cert, text, sizeof(text))) {
		peer_problem(ssl, "%s", text);
		X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REVOKED);
		return 0;
	}
	if (X509_STORE_CTX_get_error_depth(store) > 0)
		return 1;
	if (SSL_is_server(ssl) ? is_expected_client(ssl, cert) : is_expected_server(ssl, cert))
		return 1;
	X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
}

/* ---- contexts ---- */

/* What a context shows lies in a context of its own, so that it can be exchanged as a whole: a session
 * gets it when it needs it. */
static int on_certificate_wanted(SSL *ssl, void *userdata)
{
	SSL_CTX *own = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), own_index);
	STACK_OF(X509) *chain = NULL;

	SSL_certs_clear(ssl);
	return SSL_CTX_get0_chain_certs(own, &chain) == 1 &&
	       SSL_use_cert_and_key(ssl, SSL_CTX_get0_certificate(own), SSL_CTX_get0_privatekey(own),
		       chain, 1) == 1;
}

static int take_own(SSL_CTX *ctx, SSL_CTX *own)
{
	SSL_CTX *former = SSL_CTX_get_ex_data(ctx, own_index);

	if (SSL_CTX_set_ex_data(ctx, own_index, own) != 1)
		return -ENOMEM;
	SSL_CTX_up_ref(own);
	SSL_CTX_free(former);
	SSL_CTX_set1_cert_store(ctx, SSL_CTX_get_cert_store(own));
	return 0;
}

int tls_reload(const struct tls_files *f, SSL_CTX *const contexts[], char **ret_error)
{
	_cleanup_(SSL_CTX_freep) SSL_CTX *own = NULL;
	char before[TLS_NAME_MAX] = "", after[TLS_NAME_MAX] = "";
	int r;

	r = tls_files_load(f, &own, ret_error);
	if (r < 0)
		return r;
	(void)tls_own_name(contexts[0], before, sizeof(before));
	(void)tls_common_name(SSL_CTX_get0_certificate(own), after, sizeof(after));
	if (!STREQ(before, after))
		return tls_fail(ret_error, -EINVAL, "%s is of '%s', and this program is '%s' until it is "
			"started anew", f->cert, after, before);
	for (; *contexts; contexts++)
		if (take_own(*contexts, own) < 0)
			return tls_fail(ret_error, -ENOMEM, "out of memory");
	return 0;
}

void tls_dates(SSL_CTX *ctx, struct tls_dates *ret)
{
	tls_files_dates(SSL_CTX_get_ex_data(ctx, own_index), ret);
}

void tls_names(SSL_CTX *ctx, struct tls_names *ret)
{
	tls_files_names(SSL_CTX_get_ex_data(ctx, own_index), ret);
}

int tls_own_name(SSL_CTX *ctx, char *buf, size_t size)
{
	return tls_common_name(SSL_CTX_get0_certificate(SSL_CTX_get_ex_data(ctx, own_index)), buf, size);
}

static int context_new(const SSL_METHOD *method, const struct tls_files *f, SSL_CTX **ret,
	char **ret_error)
{
	_cleanup_(SSL_CTX_freep) SSL_CTX *ctx = NULL, *own = NULL;
	int r;

	pthread_once(&once, make_indices);
	ERR_clear_error();
	ctx = SSL_CTX_new(method);
	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
		SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1)
		return tls_fail(ret_error, -ENOMEM, "cannot set up TLS");
	/* A peer that just goes away is an end like any other: frames and lengths show a cut. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
			SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
			SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
	SSL_CTX_set_cert_cb(ctx, on_certificate_wanted, NULL);
	r = tls_files_load(f, &own, ret_error);
	if (r < 0)
		return r;
	if (take_own(ctx, own) < 0)
		return tls_fail(ret_error, -ENOMEM, "cannot set up TLS");
	*ret = TAKE_PTR(ctx);
	return 0;
}

int tls_server_new(const struct tls_files *f, const char *const *kinds, SSL_CTX **ret,
	char **ret_error)
{
	_cleanup_(SSL_CTX_freep) SSL_CTX *ctx = NULL;
	int r;

	r = context_new(TLS_server_method(), f, &ctx, ret_error);
	if (r < 0)
		return r;
	if (SSL_CTX_set_ex_data(ctx, kinds_index, (void *)(uintptr_t)kinds) != 1)
		return tls_fail(ret_error, -ENOMEM, "cannot set up TLS");
	*ret = TAKE_PTR(ctx);
	return 0;
}

int tls_client_new(const struct tls_files *f, SSL_CTX **ret, char **ret_error)
{
	return context_new(TLS_client_method(), f, ret, ret_error);
}

int tls_client_expect(SSL *ssl, const char *host)
{
	struct peer *p = peer_get(ssl);
	char *copy;

	if (!p)
		return -ENOMEM;
	copy = strdup(host);
	if (!copy)
		return -ENOMEM;
	free(p->host);
	p->host = copy;
	/* The name everybody's control certificate has; servers must not choose by it. */
	return SSL_set_tlsext_host_name(ssl, TLS_CONTROL_NAME) == 1 ? 0 : -ENOMEM;
}

int tls_peer_name(SSL *ssl, const char *prefix, char *buf, size_t size)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);
	char name[TLS_NAME_MAX];
	int r;

	if (!cert || SSL_get_verify_result(ssl) != X509_V_OK)
		return -ENOENT;
	r = tls_common_name(cert, name, sizeof(name));
	if (r < 0)
		return r;
	if (strncmp(name, prefix, strlen(prefix)) != 0)
		return -ENOENT;
	if (strlen(name) - strlen(prefix) >= size)
		return -ENOBUFS;
	strcpy(buf, name + strlen(prefix));
	return 0;
}

int tls_peer_serial(SSL *ssl, char *buf, size_t size)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);

	return cert && SSL_get_verify_result(ssl) == X509_V_OK ? tls_serial_text(cert, buf, size) : -ENOENT;
}

int tls_recheck(SSL *ssl, char *buf, size_t size)
{
	_cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *store = X509_STORE_CTX_new();
	X509 *cert = SSL_get0_peer_certificate(ssl);
	STACK_OF(X509) *chain;

	if (!cert || !SSL_is_init_finished(ssl))
		return 0;
	if (!store || X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(SSL_get_SSL_CTX(ssl)), cert,
			      SSL_get_peer_cert_chain(ssl)) != 1) {
		snprintf(buf, size, "out of memory");
		return -ENOMEM;
	}
	X509_STORE_CTX_set_flags(store, X509_V_FLAG_NO_CHECK_TIME);
	if (X509_verify_cert(store) != 1) {
		explain(store, buf, size);
		ERR_clear_error();
		return -EKEYREJECTED;
	}
	chain = X509_STORE_CTX_get0_chain(store);
	for (int i = 0; i < sk_X509_num(chain); i++)
		if (is_revoked(store, sk_X509_value(chain, i), buf, size))
			return -EKEYREVOKED;
	return 0;
}

bool tls_key_exposed(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && (st.st_mode & S_IRWXO);
}

static const char *version_name(int version)
{
	switch (version) {
	case SSL3_VERSION:
		return "SSL 3";
	case TLS1_VERSION:
		return "TLS 1.0";
	case TLS1_1_VERSION:
		return "TLS 1.1";
	default:
		return NULL;
	}
}

static void queue_text(SSL *ssl, unsigned long code, char *buf, size_t size)
{
	int reason = ERR_GET_REASON(code);
	const char *version = ssl ? version_name(SSL_client_version(ssl)) : NULL;

	if (ERR_GET_LIB(code) != ERR_LIB_SSL)
		ERR_error_string_n(code, buf, size);
	else if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
		snprintf(buf, size, "no certificate sent");
	else if (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_VERSION_TOO_LOW)
		snprintf(buf, size, "%s offered, TLS 1.2 is the least",
			version ?: "an old protocol");
	else if (reason == SSL_R_HTTP_REQUEST || reason == SSL_R_WRONG_VERSION_NUMBER ||
		reason == SSL_R_HTTPS_PROXY_REQUEST)
		snprintf(buf, size, "no TLS spoken");
	else if (reason == SSL_R_NO_SHARED_CIPHER)
		snprintf(buf, size, "no cipher in common");
	else if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256)
		snprintf(buf, size, "the other side refused: %s",
			SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
	else
		snprintf(buf, size, "%s", ERR_reason_error_string(code) ?: "TLS error");
}

char *tls_error_text(SSL *ssl, unsigned long first, char *buf, size_t size)
{
	struct peer *p = ssl ? SSL_get_ex_data(ssl, peer_index) : NULL;
	unsigned long code = first ?: ERR_get_error();

	buf[0] = '\0';
	if (p && p->problem)
		snprintf(buf, size, "%s", p->problem);
	else if (ERR_GET_LIB(code)) /* bufferevents pass SSL_ERROR_* on as well, of no library */
		queue_text(ssl, code, buf, size);
	if (!first)
		ERR_clear_error();
	return buf;
}

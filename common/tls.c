/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tls.h"

DEFINE_CLEANUP(X509_STORE_CTX *, X509_STORE_CTX_free);
DEFINE_CLEANUP(BIGNUM *, BN_free);

/* What one session wants of its peer, and what was wrong with it. */
struct peer {
	char *host;    /* client side: the server that was dialled */
	char *problem; /* a failed verification, in words */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int peer_index = -1, kinds_index = -1;

static void peer_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	struct peer *p = ptr;

	if (!p)
		return;
	free(p->host);
	free(p->problem);
	free(p);
}

static void make_indices(void)
{
	peer_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, peer_free);
	kinds_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	assert(peer_index >= 0 && kinds_index >= 0);
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
static int common_name(X509 *cert, char *buf, size_t size)
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
	return cert && common_name(cert, buf, TLS_NAME_MAX) == 0 ? buf : "(no name)";
}

static void time_text(const ASN1_TIME *t, char *buf, size_t size)
{
	struct tm tm;

	if (!t || ASN1_TIME_to_tm(t, &tm) != 1 || strftime(buf, size, "%F %T UTC", &tm) == 0)
		snprintf(buf, size, "an unreadable date");
}

static void explain(SSL *ssl, X509_STORE_CTX *store)
{
	X509 *cert = X509_STORE_CTX_get_current_cert(store);
	char name[TLS_NAME_MAX], when[64];
	int err = X509_STORE_CTX_get_error(store);

	name_or_unknown(cert, name);
	switch (err) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		time_text(X509_get0_notAfter(cert), when, sizeof(when));
		peer_problem(ssl, "certificate '%s' expired on %s", name, when);
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		time_text(X509_get0_notBefore(cert), when, sizeof(when));
		peer_problem(ssl, "certificate '%s' is not valid before %s", name, when);
		break;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		peer_problem(ssl, "certificate '%s' is signed by another cluster", name);
		break;
	default:
		peer_problem(ssl, "certificate '%s' refused: %s", name,
			X509_verify_cert_error_string(err));
	}
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

	named = common_name(cert, name, sizeof(name)) == 0;
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

	if (!ok) {
		explain(ssl, store);
		return 0;
	}
	if (X509_STORE_CTX_get_error_depth(store) > 0)
		return 1;
	if (SSL_is_server(ssl) ? is_expected_client(ssl, cert) : is_expected_server(ssl, cert))
		return 1;
	X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
}

static int _printf_(3, 4) fail(char **ret_error, int err, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	ERR_clear_error();
	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	*ret_error = text;
	return err;
}

static int check_readable(const char *path, const char *what, char **ret_error)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int err = errno;

	if (fd < 0 && err == ENOENT)
		return fail(ret_error, -ENOENT,
			"%s does not exist: put the %s there (see flocker-ca)", path, what);
	if (fd < 0 && err == EACCES)
		return fail(ret_error, -EACCES,
			"%s cannot be read: let this program's user or group read the %s", path,
			what);
	if (fd < 0)
		return fail(ret_error, -err, "%s cannot be read: %s", path, strerror(err));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return fail(ret_error, -EINVAL, "%s is no file: it has to be the %s in PEM form",
			path, what);
	return 0;
}

/* A certificate of another cluster in the right place would fail every handshake later; say it now.
 * Its dates are left to the peers: a clock may still be wrong at boot. */
static int check_own_chain(SSL_CTX *ctx, const struct tls_files *f, char **ret_error)
{
	_cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *store = X509_STORE_CTX_new();

	if (!store || X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(ctx),
			      SSL_CTX_get0_certificate(ctx), NULL) != 1)
		return -ENOMEM;
	X509_STORE_CTX_set_flags(store, X509_V_FLAG_NO_CHECK_TIME);
	if (X509_verify_cert(store) != 1)
		return fail(ret_error, -EINVAL,
			"%s is not signed by the authority in %s: both have to be of one cluster",
			f->cert, f->ca);
	return 0;
}

static int load_files(SSL_CTX *ctx, const struct tls_files *f, char **ret_error)
{
	int r;

	if ((r = check_readable(f->ca, "certificate of the cluster's authority", ret_error)) < 0 ||
		(r = check_readable(f->cert, "certificate of this service", ret_error)) < 0 ||
		(r = check_readable(f->key, "private key of this service", ret_error)) < 0)
		return r;
	if (SSL_CTX_load_verify_file(ctx, f->ca) != 1)
		return fail(ret_error, -EINVAL, "%s holds no certificate in PEM form", f->ca);
	if (SSL_CTX_use_certificate_chain_file(ctx, f->cert) != 1)
		return fail(ret_error, -EINVAL,
			"%s holds no certificate in PEM form, or one too weak to use", f->cert);
	if (SSL_CTX_use_PrivateKey_file(ctx, f->key, SSL_FILETYPE_PEM) != 1) {
		if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH ||
			ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_TYPE_MISMATCH)
			return fail(ret_error, -EINVAL,
				"%s is not the key of the certificate in %s", f->key, f->cert);
		return fail(
			ret_error, -EINVAL, "%s holds no private key in plain PEM form", f->key);
	}
	if (SSL_CTX_check_private_key(ctx) != 1)
		return fail(ret_error, -EINVAL, "%s is not the key of the certificate in %s",
			f->key, f->cert);
	return check_own_chain(ctx, f, ret_error);
}

/* No passphrase prompt: a daemon has no terminal to ask on. */
static int on_passphrase(char *buf, int size, int rwflag, void *userdata)
{
	return -1;
}

static int context_new(const SSL_METHOD *method, const struct tls_files *f, SSL_CTX **ret,
	char **ret_error)
{
	_cleanup_(SSL_CTX_freep) SSL_CTX *ctx = NULL;
	int r;

	pthread_once(&once, make_indices);
	ERR_clear_error();
	ctx = SSL_CTX_new(method);
	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
		SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1)
		return fail(ret_error, -ENOMEM, "cannot set up TLS");
	/* A peer that just goes away is an end like any other: frames and lengths show a cut. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
			SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
			SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_default_passwd_cb(ctx, on_passphrase);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
	r = load_files(ctx, f, ret_error);
	if (r < 0)
		return r;
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
		return fail(ret_error, -ENOMEM, "cannot set up TLS");
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
	r = common_name(cert, name, sizeof(name));
	if (r < 0)
		return r;
	if (strncmp(name, prefix, strlen(prefix)) != 0)
		return -ENOENT;
	if (strlen(name) - strlen(prefix) >= size)
		return -ENOBUFS;
	strcpy(buf, name + strlen(prefix));
	return 0;
}

static int serial_text(X509 *cert, char *buf, size_t size)
{
	_cleanup_(BN_freep) BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	char *text = n ? BN_bn2hex(n) : NULL;
	int r = !text ? -ENOMEM : strlen(text) < size ? 0 : -ENOBUFS;

	if (r == 0)
		strcpy(buf, text);
	OPENSSL_free(text);
	return r;
}

int tls_peer_serial(SSL *ssl, char *buf, size_t size)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);

	return cert && SSL_get_verify_result(ssl) == X509_V_OK ? serial_text(cert, buf, size) : -ENOENT;
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

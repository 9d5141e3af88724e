/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "text.h"
#include "tls_private.h"

DEFINE_CLEANUP(BIO *, BIO_free);
DEFINE_CLEANUP(X509_CRL *, X509_CRL_free);

int tls_fail(char **ret_error, int err, const char *fmt, ...)
{
	va_list ap;
	int r;

	ERR_clear_error();
	va_start(ap, fmt);
	r = text_fail(ret_error, err, fmt, ap);
	va_end(ap);
	return r;
}

static int check_readable(const char *path, const char *what, char **ret_error)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int err = errno;

	if (fd < 0 && err == ENOENT)
		return tls_fail(ret_error, -ENOENT,
			"%s does not exist: put the %s there (see flocker-ca)", path, what);
	if (fd < 0 && err == EACCES)
		return tls_fail(ret_error, -EACCES,
			"%s cannot be read: let this program's user or group read the %s", path,
			what);
	if (fd < 0)
		return tls_fail(ret_error, -err, "%s cannot be read: %s", path, strerror(err));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return tls_fail(ret_error, -EINVAL, "%s is no file: it has to be the %s in PEM form",
			path, what);
	return 0;
}

/* The chain of the own certificate; @ret_store is to be kept as long as it. */
static int build_own_chain(SSL_CTX *own, X509_STORE_CTX **ret_store)
{
	_cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *store = X509_STORE_CTX_new();
	STACK_OF(X509) *chain = NULL;

	(void)SSL_CTX_get0_chain_certs(own, &chain);
	if (!store || X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(own),
			      SSL_CTX_get0_certificate(own), chain) != 1)
		return -ENOMEM;
	X509_STORE_CTX_set_flags(store, X509_V_FLAG_NO_CHECK_TIME);
	if (X509_verify_cert(store) != 1) {
		ERR_clear_error();
		return -EINVAL;
	}
	*ret_store = TAKE_PTR(store);
	return 0;
}

/* A certificate of another cluster in the right place would fail every handshake later; say it now.
 * Its dates are left to the peers: a clock may still be wrong at boot. */
static int check_own_chain(SSL_CTX *own, const struct tls_files *f, char **ret_error)
{
	_cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *store = NULL;
	int r = build_own_chain(own, &store);

	if (r == -EINVAL)
		return tls_fail(ret_error, -EINVAL,
			"%s is not signed by the authority in %s: both have to be of one cluster",
			f->cert, f->ca);
	return r < 0 ? tls_fail(ret_error, r, "out of memory") : 0;
}

/* ---- lists of revoked certificates ---- */

static bool is_signed(X509_STORE *store, X509_CRL *crl)
{
	STACK_OF(X509) *authorities = X509_STORE_get1_all_certs(store);
	bool found = false;

	for (int i = 0; i < sk_X509_num(authorities) && !found; i++) {
		X509 *ca = sk_X509_value(authorities, i);

		found = X509_NAME_cmp(X509_get_subject_name(ca), X509_CRL_get_issuer(crl)) == 0 &&
			X509_CRL_verify(crl, X509_get0_pubkey(ca)) == 1;
	}
	sk_X509_pop_free(authorities, X509_free);
	return found;
}

/* Critical extensions make of a list one of differences, or of some certificates only. */
static bool is_partial(X509_CRL *crl)
{
	for (int i = 0; i < X509_CRL_get_ext_count(crl); i++)
		if (X509_EXTENSION_get_critical(X509_CRL_get_ext(crl, i)))
			return true;
	return false;
}

static int add_list(X509_STORE *store, X509_CRL *crl, const struct tls_files *f, char **ret_error)
{
	if (is_partial(crl))
		return tls_fail(ret_error, -EINVAL, "%s holds a list of some revoked certificates only, "
			"and has to name all", f->crl);
	if (!is_signed(store, crl))
		return tls_fail(ret_error, -EINVAL, "%s is not signed by an authority in %s: both have to be "
			"of one cluster", f->crl, f->ca);
	if (X509_STORE_add_crl(store, crl) != 1)
		return tls_fail(ret_error, -ENOMEM, "out of memory");
	return 0;
}

static int load_lists(SSL_CTX *own, const struct tls_files *f, char **ret_error)
{
	_cleanup_(BIO_freep) BIO *in = NULL;
	unsigned int n = 0;
	int r;

	if (!f->crl || (access(f->crl, F_OK) < 0 && errno == ENOENT))
		return 0;
	r = check_readable(f->crl, "list of revoked certificates", ret_error);
	if (r < 0)
		return r;
	in = BIO_new_file(f->crl, "re");
	for (;; n++) {
		_cleanup_(X509_CRL_freep) X509_CRL *crl = in ? PEM_read_bio_X509_CRL(in, NULL, NULL, NULL)
							     : NULL;

		if (!crl)
			break;
		r = add_list(SSL_CTX_get_cert_store(own), crl, f, ret_error);
		if (r < 0)
			return r;
	}
	if (n == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return tls_fail(ret_error, -EINVAL, "%s holds no list of revoked certificates in PEM form, or "
			"not the whole of it", f->crl);
	ERR_clear_error();
	return 0;
}

/* ---- all files ---- */

static int load_pair(SSL_CTX *own, const struct tls_files *f, char **ret_error)
{
	int reason;

	if (SSL_CTX_use_certificate_chain_file(own, f->cert) != 1)
		return tls_fail(ret_error, -EINVAL,
			"%s holds no certificate in PEM form, or one too weak to use", f->cert);
	if (SSL_CTX_use_PrivateKey_file(own, f->key, SSL_FILETYPE_PEM) != 1) {
		reason = ERR_GET_REASON(ERR_peek_last_error());
		if (reason == X509_R_KEY_VALUES_MISMATCH || reason == X509_R_KEY_TYPE_MISMATCH)
			return tls_fail(ret_error, -EINVAL,
				"%s is not the key of the certificate in %s", f->key, f->cert);
		return tls_fail(ret_error, -EINVAL, "%s holds no private key in plain PEM form",
			f->key);
	}
	if (SSL_CTX_check_private_key(own) != 1)
		return tls_fail(ret_error, -EINVAL, "%s is not the key of the certificate in %s",
			f->key, f->cert);
	return check_own_chain(own, f, ret_error);
}

/* No passphrase prompt: a daemon has no terminal to ask on. */
static int on_passphrase(char *buf, int size, int rwflag, void *userdata)
{
	return -1;
}

int tls_files_load(const struct tls_files *f, SSL_CTX **ret, char **ret_error)
{
	_cleanup_(SSL_CTX_freep) SSL_CTX *own = SSL_CTX_new(TLS_method());
	int r;

	if (!own)
		return tls_fail(ret_error, -ENOMEM, "out of memory");
	SSL_CTX_set_default_passwd_cb(own, on_passphrase);
	if ((r = check_readable(f->ca, "certificate of the cluster's authority", ret_error)) < 0 ||
		(r = check_readable(f->cert, "certificate of this service", ret_error)) < 0 ||
		(r = check_readable(f->key, "private key of this service", ret_error)) < 0)
		return r;
	if (SSL_CTX_load_verify_file(own, f->ca) != 1)
		return tls_fail(ret_error, -EINVAL, "%s holds no certificate in PEM form", f->ca);
	if ((r = load_pair(own, f, ret_error)) < 0 || (r = load_lists(own, f, ret_error)) < 0)
		return r;
	*ret = TAKE_PTR(own);
	return 0;
}

/* ---- what they say ---- */

static int64_t seconds_of(const ASN1_TIME *t)
{
	struct tm tm;

	return t && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

void tls_files_dates(SSL_CTX *own, struct tls_dates *ret)
{
	_cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *store = NULL;
	STACK_OF(X509_OBJECT) *held = X509_STORE_get0_objects(SSL_CTX_get_cert_store(own));
	struct tls_dates d = { .cert_s = seconds_of(X509_get0_notAfter(SSL_CTX_get0_certificate(own))) };
	STACK_OF(X509) *chain;

	if (build_own_chain(own, &store) == 0) {
		chain = X509_STORE_CTX_get0_chain(store);
		d.ca_s = seconds_of(X509_get0_notAfter(sk_X509_value(chain, sk_X509_num(chain) - 1)));
	}
	for (int i = 0; i < sk_X509_OBJECT_num(held); i++) {
		X509_CRL *crl = X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(held, i));
		int64_t end_s = crl ? seconds_of(X509_CRL_get0_nextUpdate(crl)) : 0;

		if (end_s && (!d.crl_s || end_s < d.crl_s))
			d.crl_s = end_s;
	}
	*ret = d;
}

static void take_names(X509 *cert, char name[TLS_NAME_MAX], char serial[TLS_SERIAL_MAX])
{
	if (tls_common_name(cert, name, TLS_NAME_MAX) < 0)
		*name = '\0';
	if (tls_serial_text(cert, serial, TLS_SERIAL_MAX) < 0)
		*serial = '\0';
}

void tls_files_names(SSL_CTX *own, struct tls_names *ret)
{
	_cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *store = NULL;
	STACK_OF(X509) *chain;

	*ret = (struct tls_names){ 0 };
	take_names(SSL_CTX_get0_certificate(own), ret->cert, ret->cert_serial);
	if (build_own_chain(own, &store) == 0) {
		chain = X509_STORE_CTX_get0_chain(store);
		take_names(sk_X509_value(chain, sk_X509_num(chain) - 1), ret->ca, ret->ca_serial);
	}
}

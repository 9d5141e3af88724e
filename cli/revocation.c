/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "pairfile.h"
#include "revocation.h"
#include "say.h"

#define LIST "cluster.crl"
#define HIDDEN_LIST ".flocker-ca." LIST /* until it is complete; the next run writes over it */

DEFINE_CLEANUP(ASN1_INTEGER *, ASN1_INTEGER_free);
DEFINE_CLEANUP(ASN1_TIME *, ASN1_TIME_free);
DEFINE_CLEANUP(BIGNUM *, BN_free);
DEFINE_CLEANUP(X509_CRL *, X509_CRL_free);
DEFINE_CLEANUP(X509_EXTENSION *, X509_EXTENSION_free);
DEFINE_CLEANUP(X509_REVOKED *, X509_REVOKED_free);

static int openssl_failed(const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	say_error(0, "cannot %s: %s", what, reason ? reason : "OpenSSL failed");
	ERR_clear_error();
	return -EIO;
}

char *revocation_serial_text(const ASN1_INTEGER *serial)
{
	_cleanup_(BN_freep) BIGNUM *n = ASN1_INTEGER_to_BN(serial, NULL);
	char *hex = n ? BN_bn2hex(n) : NULL, *copy = hex ? strdup(hex) : NULL;

	OPENSSL_free(hex);
	return copy;
}

ASN1_INTEGER *revocation_serial_parse(const char *text)
{
	BIGNUM *n = NULL;
	ASN1_INTEGER *serial;

	if (!*text || strlen(text) > 40 || text[strspn(text, "0123456789abcdefABCDEF")] || !BN_hex2bn(&n, text))
		return NULL;
	serial = BN_to_ASN1_INTEGER(n, NULL);
	BN_free(n);
	return serial;
}

/* ---- the list that is there ---- */

/* 0 with @ret NULL when there is none. */
static int load(const char *dir, const struct credential *root, X509_CRL **ret)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_(X509_CRL_freep) X509_CRL *crl = NULL;

	if (asprintf(&path, "%s/" LIST, dir) < 0) {
		path = NULL;
		return say_error(-ENOMEM, "out of memory");
	}
	*ret = NULL;
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT ? 0 : say_error(-errno, "cannot read %s: %s", path, strerror(errno));
	crl = PEM_read_X509_CRL(f, NULL, NULL, NULL);
	if (!crl || X509_CRL_verify(crl, root->key) != 1) {
		ERR_clear_error();
		return say_error(-EINVAL, "%s is not a list of revoked certificates of this cluster's root; move it "
			"away to begin a new one", path);
	}
	*ret = TAKE_PTR(crl);
	return 0;
}

int revocation_print(const char *dir, const struct credential *root)
{
	_cleanup_(X509_CRL_freep) X509_CRL *crl = NULL;
	STACK_OF(X509_REVOKED) *list;
	int r = load(dir, root, &crl);

	if (r < 0)
		return r;
	list = crl ? X509_CRL_get_REVOKED(crl) : NULL;
	for (int i = 0; i < sk_X509_REVOKED_num(list); i++) {
		const X509_REVOKED *one = sk_X509_REVOKED_value(list, i);
		_cleanup_free_ char *serial = revocation_serial_text(X509_REVOKED_get0_serialNumber(one));
		char when[64] = "";
		struct tm tm;

		if (!serial)
			return say_error(-ENOMEM, "out of memory");
		if (ASN1_TIME_to_tm(X509_REVOKED_get0_revocationDate(one), &tm) == 1)
			strftime(when, sizeof(when), "%F %T UTC", &tm);
		printf("%-40s  %s\n", serial, when);
	}
	return 0;
}

/* ---- a new one ---- */

static int copy_entries(const X509_CRL *from, X509_CRL *to)
{
	STACK_OF(X509_REVOKED) *list = from ? X509_CRL_get_REVOKED((X509_CRL *)(uintptr_t)from) : NULL;

	for (int i = 0; i < sk_X509_REVOKED_num(list); i++) {
		_cleanup_(X509_REVOKED_freep) X509_REVOKED *one = X509_REVOKED_dup(sk_X509_REVOKED_value(list, i));

		if (!one || X509_CRL_add0_revoked(to, one) != 1)
			return -EIO;
		TAKE_PTR(one);
	}
	return 0;
}

static int add_entry(X509_CRL *crl, const ASN1_INTEGER *serial, ASN1_TIME *now)
{
	_cleanup_(X509_REVOKED_freep) X509_REVOKED *one = X509_REVOKED_new();

	if (!one || X509_REVOKED_set_serialNumber(one, (ASN1_INTEGER *)(uintptr_t)serial) != 1 ||
		X509_REVOKED_set_revocationDate(one, now) != 1 || X509_CRL_add0_revoked(crl, one) != 1)
		return -EIO;
	TAKE_PTR(one);
	return 0;
}

/* Each list has a number of its own, above those before. */
static int add_number(X509_CRL *crl, const X509_CRL *before)
{
	_cleanup_(ASN1_INTEGER_freep) ASN1_INTEGER *number = NULL, *next = NULL;
	_cleanup_(BN_freep) BIGNUM *n = NULL;

	if (before)
		number = X509_CRL_get_ext_d2i(before, NID_crl_number, NULL, NULL);
	n = number ? ASN1_INTEGER_to_BN(number, NULL) : BN_new();
	if (!n || BN_add_word(n, 1) != 1)
		return -EIO;
	next = BN_to_ASN1_INTEGER(n, NULL);
	return next && X509_CRL_add1_ext_i2d(crl, NID_crl_number, next, 0, 0) == 1 ? 0 : -EIO;
}

static int add_authority(X509_CRL *crl, const struct credential *root)
{
	_cleanup_(X509_EXTENSION_freep) X509_EXTENSION *x = NULL;
	X509V3_CTX ctx;

	if (!X509_get0_subject_key_id(root->cert)) /* roots of the original's may lack it */
		return 0;
	X509V3_set_ctx(&ctx, root->cert, NULL, NULL, crl, 0);
	x = X509V3_EXT_nconf_nid(NULL, &ctx, NID_authority_key_identifier, "keyid:always");
	return x && X509_CRL_add_ext(crl, x, -1) == 1 ? 0 : -EIO;
}

/* Good for as long as the root: nobody has to make it anew while nothing is revoked. */
static int make(const struct credential *root, const X509_CRL *before, const ASN1_INTEGER *serial,
	X509_CRL **ret)
{
	_cleanup_(X509_CRL_freep) X509_CRL *crl = X509_CRL_new();
	_cleanup_(ASN1_TIME_freep) ASN1_TIME *now = X509_gmtime_adj(NULL, 0);

	if (!crl || !now || X509_CRL_set_version(crl, X509_CRL_VERSION_2) != 1 ||
		X509_CRL_set_issuer_name(crl, X509_get_subject_name(root->cert)) != 1 ||
		X509_CRL_set1_lastUpdate(crl, now) != 1 ||
		X509_CRL_set1_nextUpdate(crl, X509_get0_notAfter(root->cert)) != 1 ||
		copy_entries(before, crl) < 0 || add_entry(crl, serial, now) < 0 ||
		add_authority(crl, root) < 0 || add_number(crl, before) < 0 || X509_CRL_sort(crl) != 1 ||
		X509_CRL_sign(crl, root->key, EVP_sha256()) == 0)
		return openssl_failed("make a list of revoked certificates");
	*ret = TAKE_PTR(crl);
	return 0;
}

/* No secret, and read by daemons without privileges. */
static int replace(int dir_fd, X509_CRL *crl)
{
	_cleanup_fclose_ FILE *f = NULL;
	int fd = openat(dir_fd, HIDDEN_LIST, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);

	if (fd < 0)
		return -errno;
	f = fdopen(fd, "we");
	if (!f) {
		close_keep_errno(fd);
		return -errno;
	}
	errno = 0;
	if (fchmod(fd, 0644) < 0 || PEM_write_X509_CRL(f, crl) != 1 || fflush(f) != 0 || fsync(fd) < 0 ||
		renameat(dir_fd, HIDDEN_LIST, dir_fd, LIST) < 0 || fsync(dir_fd) < 0)
		return errno ? -errno : -EIO;
	return 0;
}

static int add_locked(const char *dir, int dir_fd, const struct credential *root, const ASN1_INTEGER *serial,
	bool *ret_new)
{
	_cleanup_(X509_CRL_freep) X509_CRL *before = NULL, *after = NULL;
	X509_REVOKED *found;
	int r = load(dir, root, &before);

	if (r < 0)
		return r;
	if (before && X509_CRL_get0_by_serial(before, &found, (ASN1_INTEGER *)(uintptr_t)serial) == 1) {
		*ret_new = false;
		return 0;
	}
	r = make(root, before, serial, &after);
	if (r < 0)
		return r;
	r = replace(dir_fd, after);
	if (r < 0) {
		(void)unlinkat(dir_fd, HIDDEN_LIST, 0);
		return say_error(r, "cannot write %s/" LIST ": %s; it is as it was", dir, strerror(-r));
	}
	*ret_new = true;
	return 0;
}

int revocation_add(const char *dir, const struct credential *root, const ASN1_INTEGER *serial, bool *ret_new)
{
	_cleanup_close_ int dir_fd = pairfile_open(dir);

	return dir_fd < 0 ? dir_fd : add_locked(dir, dir_fd, root, serial, ret_new);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "credential.h"
#include "id128.h"
#include "say.h"

#define VALIDITY_S (20L * 365 * 24 * 3600)

DEFINE_CLEANUP(BIGNUM *, BN_free);
DEFINE_CLEANUP(BIO *, BIO_free);
DEFINE_CLEANUP(X509_EXTENSION *, X509_EXTENSION_free);
DEFINE_CLEANUP(GENERAL_NAME *, GENERAL_NAME_free);
DEFINE_CLEANUP(GENERAL_NAMES *, GENERAL_NAMES_free);
DEFINE_CLEANUP(X509 *, X509_free);
DEFINE_CLEANUP(ASN1_IA5STRING *, ASN1_IA5STRING_free);

struct extension {
	int nid;
	const char *value; /* in the words of x509v3_config(5) */
};

static const struct extension root_extensions[] = {
	{ NID_basic_constraints, "critical,CA:TRUE,pathlen:0" },
	{ NID_key_usage, "critical,keyCertSign,cRLSign" },
	{ NID_subject_key_identifier, "hash" },
	{ NID_authority_key_identifier, "keyid:always" },
};

/* For every leaf, beside its kind's own usage. */
static const struct extension leaf_extensions[] = {
	{ NID_basic_constraints, "critical,CA:FALSE" },
	{ NID_subject_key_identifier, "hash" },
};

static const struct extension authority_extension = { NID_authority_key_identifier,
	"keyid:always" };

static const char *const extended_usage[] = {
	[CREDENTIAL_CONTROL] = "serverAuth",
	[CREDENTIAL_NODE] = "clientAuth",
	[CREDENTIAL_USER] = "clientAuth",
};
static_assert(ARRAY_SIZE(extended_usage) == CREDENTIAL_KIND_MAX, "a kind has no usage");

/* RSA keys may also carry a session key (TLS 1.2 without forward secrecy, for old clients). */
static const char *const key_usage[] = {
	[KEY_P256] = "critical,digitalSignature",
	[KEY_RSA4096] = "critical,digitalSignature,keyEncipherment",
};
static_assert(ARRAY_SIZE(key_usage) == KEY_TYPE_MAX, "a key type has no usage");

static int openssl_failed(const char *what)
{
	unsigned long code = ERR_peek_error();
	const char *reason = ERR_reason_error_string(code);

	say_error(0, "cannot %s: %s", what, reason ? reason : "OpenSSL failed");
	ERR_clear_error();
	return -EIO;
}

int key_type_parse(const char *text)
{
	static const char *const names[] = { [KEY_P256] = "p256", [KEY_RSA4096] = "rsa4096" };

	for (int i = 0; i < KEY_TYPE_MAX; i++)
		if (STREQ(text, names[i]))
			return i;
	return -EINVAL;
}

static int key_new(enum key_type type, EVP_PKEY **ret)
{
	EVP_PKEY *key;

	if (type == KEY_RSA4096)
		key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)4096);
	else
		key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	if (!key)
		return openssl_failed("make a key");
	*ret = key;
	return 0;
}

static int set_serial(X509 *cert)
{
	_cleanup_(BN_freep) BIGNUM *serial = BN_new();

	do {
		if (!serial || !BN_rand(serial, 128, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY))
			return -EIO;
	} while (BN_is_zero(serial));
	return BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)) ? 0 : -EIO;
}

static int add_name(X509_NAME *name, int nid, const char *text)
{
	if (X509_NAME_add_entry_by_NID(
		    name, nid, MBSTRING_UTF8, (const unsigned char *)text, -1, -1, 0))
		return 0;
	ERR_clear_error();
	return say_error(-EINVAL,
		"'%s' cannot be a name in a certificate: it must be 1 to %d characters of UTF-8, "
		"with "
		"its prefix counted",
		text, CREDENTIAL_NAME_MAX);
}

static int add_extension(X509 *cert, X509 *issuer, const struct extension *e)
{
	_cleanup_(X509_EXTENSION_freep) X509_EXTENSION *x = NULL;
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	x = X509V3_EXT_nconf_nid(NULL, &ctx, e->nid, e->value);
	return x && X509_add_ext(cert, x, -1) ? 0 : -EIO;
}

static int add_extensions(X509 *cert, X509 *issuer, const struct extension *e, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (add_extension(cert, issuer, &e[i]) < 0)
			return -EIO;
	return 0;
}

static int add_dns_name(GENERAL_NAMES *names, const char *host)
{
	_cleanup_(ASN1_IA5STRING_freep) ASN1_IA5STRING *text = ASN1_IA5STRING_new();
	_cleanup_(GENERAL_NAME_freep) GENERAL_NAME *name = GENERAL_NAME_new();

	if (!text || !name || !ASN1_STRING_set(text, host, -1))
		return -ENOMEM;
	GENERAL_NAME_set0_value(name, GEN_DNS, TAKE_PTR(text));
	if (!sk_GENERAL_NAME_push(names, name))
		return -ENOMEM;
	TAKE_PTR(name);
	return 0;
}

static int add_ip_name(GENERAL_NAMES *names, ASN1_OCTET_STRING *address)
{
	_cleanup_(GENERAL_NAME_freep) GENERAL_NAME *name = GENERAL_NAME_new();

	if (!name) {
		ASN1_OCTET_STRING_free(address);
		return -ENOMEM;
	}
	GENERAL_NAME_set0_value(name, GEN_IPADD, address);
	if (!sk_GENERAL_NAME_push(names, name))
		return -ENOMEM;
	TAKE_PTR(name);
	return 0;
}

/* Clients know the server as "control-service" or as the host that they dialled. */
static int add_server_names(X509 *cert, const char *host)
{
	_cleanup_(GENERAL_NAMES_freep) GENERAL_NAMES *names = GENERAL_NAMES_new();
	ASN1_OCTET_STRING *address = a2i_IPADDRESS(host);
	int r;

	ERR_clear_error(); /* a host name is no failure */
	if (!names) {
		ASN1_OCTET_STRING_free(address);
		return -ENOMEM;
	}
	r = add_dns_name(names, "control-service");
	if (r < 0) {
		ASN1_OCTET_STRING_free(address);
		return r;
	}
	if (address)
		r = add_ip_name(names, address);
	else if (!STREQ(host, "control-service"))
		r = add_dns_name(names, host);
	if (r < 0)
		return r;
	return X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) ? 0 : -EIO;
}

/* All but names and extensions. */
static int cert_new(EVP_PKEY *key, X509 **ret)
{
	X509 *cert = X509_new();

	if (cert && X509_set_version(cert, X509_VERSION_3) && set_serial(cert) == 0 &&
		X509_gmtime_adj(X509_getm_notBefore(cert), 0) &&
		X509_gmtime_adj(X509_getm_notAfter(cert), VALIDITY_S) &&
		X509_set_pubkey(cert, key)) {
		*ret = cert;
		return 0;
	}
	X509_free(cert);
	return openssl_failed("make a certificate");
}

static int fill_root(struct credential *c, const char *name)
{
	X509_NAME *subject = X509_get_subject_name(c->cert);
	struct id128 cluster;
	int r;

	r = id128_random(&cluster);
	if (r < 0)
		return say_error(r, "cannot make a UUID: %s", strerror(-r));
	r = add_name(subject, NID_organizationalUnitName, ID128_STR(cluster));
	if (r == 0)
		r = add_name(subject, NID_commonName, name);
	if (r < 0)
		return r;
	if (!X509_set_issuer_name(c->cert, subject) ||
		add_extensions(c->cert, c->cert, root_extensions, ARRAY_SIZE(root_extensions)) <
			0 ||
		!X509_sign(c->cert, c->key, EVP_sha256()))
		return openssl_failed("sign the cluster's certificate");
	return 0;
}

int credential_new_root(const char *name, enum key_type type, struct credential *ret)
{
	struct credential c = { 0 };
	int r;

	r = key_new(type, &c.key);
	if (r == 0)
		r = cert_new(c.key, &c.cert);
	if (r == 0)
		r = fill_root(&c, name);
	if (r < 0) {
		credential_done(&c);
		return r;
	}
	*ret = c;
	return 0;
}

/* The cluster's UUID, which all its certificates share. */
static int copy_cluster(const X509 *root, X509_NAME *subject)
{
	const X509_NAME *name = X509_get_subject_name(root);
	int i = X509_NAME_get_index_by_NID(name, NID_organizationalUnitName, -1);

	if (i < 0)
		return say_error(-EINVAL,
			"cluster.crt is not a cluster's: its subject holds no OU with the UUID");
	if (!X509_NAME_add_entry(subject, X509_NAME_get_entry(name, i), -1, 0))
		return openssl_failed("make a certificate");
	return 0;
}

/* All but the subject. @server_names: an old certificate that has them, or NULL. */
static int finish_leaf(const struct credential *root, struct credential *c, enum credential_kind kind,
	enum key_type type, const char *host, const X509 *server_names)
{
	const struct extension usage[] = {
		{ NID_key_usage, key_usage[type] },
		{ NID_ext_key_usage, extended_usage[kind] },
	};
	/* Imported roots may lack the identifier that this extension repeats. */
	const size_t n_authority = X509_get0_subject_key_id(root->cert) ? 1 : 0;
	int names = server_names ? X509_get_ext_by_NID(server_names, NID_subject_alt_name, -1) : -1;

	if (!X509_set_issuer_name(c->cert, X509_get_subject_name(root->cert)) ||
		add_extensions(c->cert, root->cert, leaf_extensions, ARRAY_SIZE(leaf_extensions)) <
			0 ||
		add_extensions(c->cert, root->cert, &authority_extension, n_authority) < 0 ||
		add_extensions(c->cert, root->cert, usage, ARRAY_SIZE(usage)) < 0 ||
		(host && add_server_names(c->cert, host) < 0) ||
		(names >= 0 && !X509_add_ext(c->cert, X509_get_ext(server_names, names), -1)) ||
		!X509_sign(c->cert, root->key, EVP_sha256()))
		return openssl_failed("sign the certificate");
	return 0;
}

static int fill_leaf(const struct credential *root, struct credential *c, enum credential_kind kind,
	enum key_type type, const char *common_name, const char *host)
{
	X509_NAME *subject = X509_get_subject_name(c->cert);
	int r;

	r = copy_cluster(root->cert, subject);
	if (r == 0)
		r = add_name(subject, NID_commonName, common_name);
	return r < 0 ? r : finish_leaf(root, c, kind, type, host, NULL);
}

int credential_issue(const struct credential *root, enum credential_kind kind, enum key_type type,
	const char *common_name, const char *host, struct credential *ret)
{
	struct credential c = { 0 };
	int r;

	r = key_new(type, &c.key);
	if (r == 0)
		r = cert_new(c.key, &c.cert);
	if (r == 0)
		r = fill_leaf(root, &c, kind, type, common_name, host);
	if (r < 0) {
		credential_done(&c);
		return r;
	}
	*ret = c;
	return 0;
}

char *credential_name(const X509 *cert)
{
	const X509_NAME *subject = X509_get_subject_name(cert);
	int i = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	unsigned char *utf8;
	char *copy;

	if (i < 0 || ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, i))) < 0)
		return NULL;
	copy = strdup((char *)utf8);
	OPENSSL_free(utf8);
	return copy;
}

static int kind_of(const char *name)
{
	static const struct {
		const char *prefix;
		enum credential_kind kind;
	} kinds[] = { { "control-", CREDENTIAL_CONTROL }, { "node-", CREDENTIAL_NODE }, { "user-", CREDENTIAL_USER },
		{ "viewer-", CREDENTIAL_USER } };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strncmp(name, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
			return kinds[i].kind;
	return -EINVAL;
}

int credential_renew(const struct credential *root, enum key_type type, const X509 *old,
	struct credential *ret)
{
	_cleanup_free_ char *name = credential_name(old);
	struct credential c = { 0 };
	int kind = kind_of(name ? name : ""), r;

	if (kind < 0)
		return say_error(-EINVAL, "the certificate of '%s' is of no kind that could be renewed: it is not "
			"the control service's, a node's, a user's or a viewer's", name ? name : "");
	r = key_new(type, &c.key);
	if (r == 0)
		r = cert_new(c.key, &c.cert);
	if (r == 0 && !X509_set_subject_name(c.cert, X509_get_subject_name(old)))
		r = openssl_failed("make a certificate");
	if (r == 0)
		r = finish_leaf(root, &c, (enum credential_kind)kind, type, NULL, old);
	if (r < 0) {
		credential_done(&c);
		return r;
	}
	*ret = c;
	return 0;
}

int credential_load_leaf(const struct credential *root, const char *path, X509 **ret)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	_cleanup_(X509_freep) X509 *cert = NULL;
	bool is_ours;

	if (!f)
		return say_error(-errno, "cannot read %s: %s", path, strerror(errno));
	cert = PEM_read_X509(f, NULL, NULL, NULL);
	is_ours = cert && X509_verify(cert, root->key) == 1 && X509_cmp(cert, root->cert) != 0;
	ERR_clear_error();
	if (!cert)
		return say_error(-EINVAL, "%s holds no certificate in PEM form", path);
	if (!is_ours)
		return say_error(-EINVAL, "%s is no certificate that this cluster's root signed for others", path);
	*ret = TAKE_PTR(cert);
	return 0;
}

static FILE *open_root_file(const char *dir, const char *name, char **ret_path)
{
	_cleanup_free_ char *path = NULL;
	FILE *f;

	if (asprintf(&path, "%s/%s", dir, name) < 0) {
		path = NULL;
		say_error(0, "out of memory");
		return NULL;
	}
	f = fopen(path, "re");
	if (f)
		*ret_path = TAKE_PTR(path);
	else if (errno == ENOENT)
		say_error(0,
			"%s is missing; make a cluster with flocker-ca initialize, or name the "
			"directory that holds it with --inputpath",
			path);
	else
		say_error(0, "cannot read %s: %s", path, strerror(errno));
	return f;
}

static int load_cert(const char *dir, X509 **ret)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_fclose_ FILE *f = open_root_file(dir, "cluster.crt", &path);

	if (!f)
		return -EIO;
	*ret = PEM_read_X509(f, NULL, NULL, NULL);
	ERR_clear_error();
	return *ret ? 0 : say_error(-EINVAL, "%s holds no certificate in PEM form", path);
}

/* Without it OpenSSL asks at the terminal. */
static int no_password(char *buf, int size, int rwflag, void *userdata)
{
	return -1;
}

static int load_key(const char *dir, EVP_PKEY **ret)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_fclose_ FILE *f = open_root_file(dir, "cluster.key", &path);

	if (!f)
		return -EIO;
	*ret = PEM_read_PrivateKey(f, NULL, no_password, NULL);
	ERR_clear_error();
	return *ret ? 0
		    : say_error(-EINVAL, "%s holds no unencrypted private key in PEM form", path);
}

static int check_root(const char *dir, const struct credential *c)
{
	if (X509_check_private_key(c->cert, c->key) != 1) {
		ERR_clear_error();
		return say_error(-EINVAL, "cluster.key in %s does not belong to cluster.crt", dir);
	}
	if (X509_check_ca(c->cert) == 0)
		return say_error(-EINVAL, "cluster.crt in %s may not sign certificates", dir);
	if (X509_cmp_current_time(X509_get0_notAfter(c->cert)) <= 0)
		return say_error(-EINVAL, "cluster.crt in %s has expired", dir);
	if (X509_cmp_current_time(X509_get0_notBefore(c->cert)) >= 0)
		return say_error(-EINVAL,
			"cluster.crt in %s is not valid yet; is this machine's clock right?", dir);
	return 0;
}

int credential_load_root(const char *dir, struct credential *ret)
{
	struct credential c = { 0 };
	int r;

	r = load_cert(dir, &c.cert);
	if (r == 0)
		r = load_key(dir, &c.key);
	if (r == 0)
		r = check_root(dir, &c);
	if (r < 0) {
		credential_done(&c);
		return r;
	}
	*ret = c;
	return 0;
}

static char *bio_text(BIO *bio)
{
	char *data;
	long n = BIO_get_mem_data(bio, &data);

	return n > 0 ? strndup(data, (size_t)n) : NULL;
}

int credential_to_pem(const struct credential *c, char **ret_key, char **ret_cert)
{
	_cleanup_(BIO_freep) BIO *key = BIO_new(BIO_s_secmem()), *cert = BIO_new(BIO_s_mem());
	_cleanup_free_ char *cert_text = NULL;
	char *key_text;

	if (!key || !cert || !PEM_write_bio_X509(cert, c->cert) ||
		!PEM_write_bio_PKCS8PrivateKey(key, c->key, NULL, NULL, 0, NULL, NULL))
		return openssl_failed("write a certificate");
	cert_text = bio_text(cert);
	key_text = bio_text(key);
	if (!cert_text || !key_text) {
		free(key_text);
		return say_error(-ENOMEM, "out of memory");
	}
	*ret_cert = TAKE_PTR(cert_text);
	*ret_key = key_text;
	return 0;
}

void credential_done(struct credential *c)
{
	EVP_PKEY_free(c->key);
	X509_free(c->cert);
	*c = (struct credential){ 0 };
}

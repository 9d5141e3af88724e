/* SPDX-License-Identifier: Apache-2.0 */
/* common/tls: who is let in, by certificates that are made here, and what a reload changes. */
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "cmocka_all.h"
#include "tls.h"

#define DAY_S (24 * 3600L)

struct party {
	EVP_PKEY *key;
	X509 *cert;
};

static char dir[] = "/tmp/flocker-tls-XXXXXX";
static const char *const kinds[] = { "node-", NULL };
static struct party root, control, node;

static const char *path(const char *name)
{
	static char paths[8][128];
	static unsigned int n;
	char *p = paths[n++ % ARRAY_SIZE(paths)];

	snprintf(p, sizeof(paths[0]), "%s/%s", dir, name);
	return p;
}

static void add(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *x;
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	x = X509V3_EXT_nconf_nid(NULL, &ctx, nid, value);
	assert_non_null(x);
	assert_int_equal(X509_add_ext(cert, x, -1), 1);
	X509_EXTENSION_free(x);
}

/* @version1: as the original made them, which says version 1 and has extensions all the same. */
static struct party make(const char *name, const struct party *by, bool version1, long days)
{
	struct party p = { EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"), X509_new() };
	X509_NAME *subject = X509_get_subject_name(p.cert);
	static int serial = 0x1000;

	X509_set_version(p.cert, version1 ? X509_VERSION_1 : X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(p.cert), serial++);
	X509_gmtime_adj(X509_getm_notBefore(p.cert), -2 * DAY_S);
	X509_gmtime_adj(X509_getm_notAfter(p.cert), days * DAY_S);
	X509_set_pubkey(p.cert, p.key);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(p.cert, by ? X509_get_subject_name(by->cert) : subject);
	if (!by) {
		add(p.cert, p.cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
		add(p.cert, p.cert, NID_key_usage, "critical,keyCertSign,cRLSign");
		add(p.cert, p.cert, NID_subject_key_identifier, "hash");
	} else if (strncmp(name, "control", 7) == 0) {
		add(p.cert, by->cert, NID_subject_alt_name, "DNS:control-service,DNS:host.example");
	}
	assert_true(X509_sign(p.cert, by ? by->key : p.key, EVP_sha256()) > 0);
	return p;
}

static void done(struct party *p)
{
	EVP_PKEY_free(p->key);
	X509_free(p->cert);
}

static void write_pair(const struct party *p, const char *cert, const char *key)
{
	FILE *f = fopen(path(cert), "we");

	assert_int_equal(PEM_write_X509(f, p->cert), 1);
	fclose(f);
	if (!key)
		return;
	f = fopen(path(key), "we");
	assert_int_equal(PEM_write_PrivateKey(f, p->key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(f);
}

static void take_back(const struct party *by, const struct party *p, bool partial)
{
	FILE *f = fopen(path("cluster.crl"), "we");
	ASN1_TIME *now = X509_gmtime_adj(NULL, 0);
	X509_REVOKED *one = X509_REVOKED_new();
	X509_CRL *crl = X509_CRL_new();
	ASN1_INTEGER *base = ASN1_INTEGER_new();

	X509_CRL_set_version(crl, X509_CRL_VERSION_2);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(by->cert));
	X509_CRL_set1_lastUpdate(crl, now);
	X509_REVOKED_set_serialNumber(one, X509_get_serialNumber(p->cert));
	X509_REVOKED_set_revocationDate(one, now);
	X509_CRL_add0_revoked(crl, one);
	if (partial)
		X509_CRL_add1_ext_i2d(crl, NID_delta_crl, base, 1, 0);
	assert_true(X509_CRL_sign(crl, by->key, EVP_sha256()) > 0);
	PEM_write_X509_CRL(f, crl);
	fclose(f);
	ASN1_INTEGER_free(base);
	ASN1_TIME_free(now);
	X509_CRL_free(crl);
}

static struct tls_files files(const char *cert, const char *key)
{
	return (struct tls_files){ path("cluster.crt"), path(cert), path(key), path("cluster.crl") };
}

static SSL_CTX *server(void)
{
	struct tls_files f = files("control.crt", "control.key");
	char *error = NULL;
	SSL_CTX *ctx;

	if (tls_server_new(&f, kinds, &ctx, &error) < 0)
		fail_msg("%s", error);
	return ctx;
}

static SSL_CTX *client(void)
{
	struct tls_files f = files("node.crt", "node.key");
	char *error = NULL;
	SSL_CTX *ctx;

	if (tls_client_new(&f, &ctx, &error) < 0)
		fail_msg("%s", error);
	return ctx;
}

struct session {
	SSL *server, *client;
};

/* A handshake in memory. True when both sides were content. */
static bool meet(SSL_CTX *s, SSL_CTX *c, struct session *ret)
{
	BIO *a, *b;
	bool ok;

	*ret = (struct session){ SSL_new(s), SSL_new(c) };
	assert_int_equal(BIO_new_bio_pair(&a, 1 << 16, &b, 1 << 16), 1);
	SSL_set_bio(ret->server, a, a);
	SSL_set_bio(ret->client, b, b);
	assert_int_equal(tls_client_expect(ret->client, "nowhere.example"), 0);
	for (int i = 0; i < 4; i++) {
		(void)SSL_connect(ret->client);
		(void)SSL_accept(ret->server);
	}
	ok = SSL_is_init_finished(ret->server) && SSL_is_init_finished(ret->client);
	return ok;
}

static void part(struct session *s)
{
	SSL_free(s->server);
	SSL_free(s->client);
}

static void check_reload(SSL_CTX *ctx, const char *cert, const char *key, int result, const char *says)
{
	SSL_CTX *const contexts[] = { ctx, NULL };
	struct tls_files f = files(cert, key);
	char *error = NULL;

	assert_int_equal(tls_reload(&f, contexts, &error), result);
	if (says && !strstr(error, says))
		fail_msg("'%s' is not in: %s", says, error);
	free(error);
}

static int set_up(void **state)
{
	root = make("cluster", NULL, false, 100);
	control = make("control-service", &root, false, 50);
	node = make("node-1", &root, false, 50);
	write_pair(&root, "cluster.crt", NULL);
	write_pair(&control, "control.crt", "control.key");
	write_pair(&node, "node.crt", "node.key");
	(void)unlink(path("cluster.crl"));
	return 0;
}

static int tear_down(void **state)
{
	done(&root);
	done(&control);
	done(&node);
	return 0;
}

static void certificates_of_the_original_are_accepted(void **state)
{
	SSL_CTX *s, *c;
	struct session one;
	char name[TLS_NAME_MAX];

	tear_down(state);
	root = make("cluster", NULL, true, 100);
	control = make("control-service", &root, true, 50);
	node = make("node-1", &root, true, 50);
	assert_int_equal(X509_get_version(control.cert), X509_VERSION_1);
	assert_int_equal(X509_get_ext_count(control.cert), 1);
	write_pair(&root, "cluster.crt", NULL);
	write_pair(&control, "control.crt", "control.key");
	write_pair(&node, "node.crt", "node.key");
	take_back(&root, &control, false);
	s = server();
	c = client();
	assert_false(meet(s, c, &one)); /* their lists count as well */
	part(&one);
	(void)unlink(path("cluster.crl"));
	check_reload(c, "node.crt", "node.key", 0, NULL);
	assert_true(meet(s, c, &one));
	assert_int_equal(tls_peer_name(one.server, "node-", name, sizeof(name)), 0);
	assert_string_equal(name, "1");
	assert_int_equal(tls_recheck(one.server, name, sizeof(name)), 0);
	part(&one);
	SSL_CTX_free(s);
	SSL_CTX_free(c);
}

static void a_revoked_one_is_refused_by_either_side(void **state)
{
	SSL_CTX *s = server(), *c = client();
	struct session one, two;
	char text[512];

	assert_true(meet(s, c, &one));
	take_back(&root, &node, false);
	check_reload(s, "control.crt", "control.key", 0, NULL);
	assert_int_equal(tls_recheck(one.server, text, sizeof(text)), -EKEYREVOKED);
	assert_non_null(strstr(text, "certificate 'node-1' (serial "));
	assert_non_null(strstr(text, "was revoked on "));
	assert_int_equal(tls_recheck(one.client, text, sizeof(text)), 0);
	assert_false(meet(s, c, &two));
	tls_error_text(two.server, 0, text, sizeof(text));
	assert_non_null(strstr(text, "certificate 'node-1' (serial "));
	part(&two);

	take_back(&root, &control, false);
	check_reload(c, "node.crt", "node.key", 0, NULL);
	assert_int_equal(tls_recheck(one.client, text, sizeof(text)), -EKEYREVOKED);
	check_reload(s, "control.crt", "control.key", 0, NULL); /* who is revoked is the others' to say */
	assert_false(meet(s, c, &two));
	tls_error_text(two.client, 0, text, sizeof(text));
	assert_non_null(strstr(text, "certificate 'control-service' (serial "));
	part(&one);
	part(&two);
	SSL_CTX_free(s);
	SSL_CTX_free(c);
}

static void lists_that_cannot_be_believed_are_refused(void **state)
{
	struct party other = make("cluster", NULL, false, 100); /* the name alone proves nothing */
	SSL_CTX *s = server();

	take_back(&other, &node, false);
	check_reload(s, "control.crt", "control.key", -EINVAL, "is not signed by an authority in");
	take_back(&root, &node, true);
	check_reload(s, "control.crt", "control.key", -EINVAL, "some revoked certificates only");
	done(&other);
	SSL_CTX_free(s);
}

static void what_does_not_fit_together_changes_nothing(void **state)
{
	struct party renewed = make("control-service", &root, false, 70), named = make("control-2", &root, false, 70);
	SSL_CTX *s = server(), *c = client();
	struct tls_dates before, after;
	struct session one;

	tls_dates(s, &before);
	write_pair(&renewed, "control.crt", NULL);
	check_reload(s, "control.crt", "control.key", -EINVAL, "is not the key of the certificate in");
	write_pair(&named, "named.crt", "named.key");
	check_reload(s, "named.crt", "named.key", -EINVAL, "is of 'control-2', and this program is 'control-service'");
	check_reload(s, "no.crt", "no.key", -ENOENT, "does not exist");
	tls_dates(s, &after);
	assert_int_equal(before.cert_s, after.cert_s);
	assert_true(meet(s, c, &one));
	part(&one);

	write_pair(&renewed, "control.crt", "control.key");
	check_reload(s, "control.crt", "control.key", 0, NULL);
	tls_dates(s, &after);
	assert_int_equal(after.cert_s - before.cert_s, 20 * DAY_S);
	assert_true(meet(s, c, &one));
	assert_int_equal(X509_cmp(SSL_get0_peer_certificate(one.client), renewed.cert), 0);
	part(&one);
	done(&renewed);
	done(&named);
	SSL_CTX_free(s);
	SSL_CTX_free(c);
}

static void a_key_of_another_kind_replaces_the_former(void **state)
{
	struct party renewed = make("control-service", &root, false, 70);
	SSL_CTX *s = server(), *c = client();
	struct session one;

	EVP_PKEY_free(renewed.key);
	renewed.key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	X509_set_pubkey(renewed.cert, renewed.key);
	assert_true(X509_sign(renewed.cert, root.key, EVP_sha256()) > 0);
	write_pair(&renewed, "control.crt", "control.key");
	check_reload(s, "control.crt", "control.key", 0, NULL);
	assert_true(meet(s, c, &one));
	assert_int_equal(EVP_PKEY_base_id(X509_get0_pubkey(SSL_get0_peer_certificate(one.client))), EVP_PKEY_RSA);
	part(&one);
	done(&renewed);
	SSL_CTX_free(s);
	SSL_CTX_free(c);
}

static void dates_are_those_of_the_files(void **state)
{
	SSL_CTX *s = server();
	struct tls_dates d;
	int64_t now_s = time(NULL);

	tls_dates(s, &d);
	assert_in_range(d.cert_s - now_s, 50 * DAY_S - 60, 50 * DAY_S);
	assert_in_range(d.ca_s - now_s, 100 * DAY_S - 60, 100 * DAY_S);
	assert_int_equal(d.crl_s, 0);
	SSL_CTX_free(s);
}

static void an_expired_one_is_refused(void **state)
{
	struct party late = make("node-1", &root, false, -1);
	SSL_CTX *s = server(), *c;
	struct session one;
	char text[512];

	write_pair(&late, "node.crt", "node.key");
	c = client(); /* a clock may be wrong: the peer decides */
	assert_false(meet(s, c, &one));
	tls_error_text(one.server, 0, text, sizeof(text));
	assert_non_null(strstr(text, "certificate 'node-1' expired on "));
	part(&one);
	done(&late);
	SSL_CTX_free(s);
	SSL_CTX_free(c);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(certificates_of_the_original_are_accepted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_revoked_one_is_refused_by_either_side, set_up, tear_down),
		cmocka_unit_test_setup_teardown(lists_that_cannot_be_believed_are_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_does_not_fit_together_changes_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_key_of_another_kind_replaces_the_former, set_up, tear_down),
		cmocka_unit_test_setup_teardown(dates_are_those_of_the_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_expired_one_is_refused, set_up, tear_down),
	};
	static const char *const made[] = { "cluster.crt", "cluster.crl", "control.crt", "control.key",
		"node.crt", "node.key", "named.crt", "named.key" };
	int failed;

	if (!mkdtemp(dir))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(made); i++)
		(void)unlink(path(made[i]));
	(void)rmdir(dir);
	return failed;
}

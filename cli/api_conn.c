/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <netdb.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "api_private.h"

#define CONNECT_LIMIT_S 10
#define SILENCE_LIMIT_S 30

DEFINE_CLEANUP(struct addrinfo *, freeaddrinfo);

int api_failed(struct api *r, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->error, sizeof(r->error), fmt, ap);
	va_end(ap);
	return err;
}

int api_new(const struct api_target *t, struct api **ret)
{
	_cleanup_(api_freep) struct api *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->fd = -EBADF;
	r->port = t->port;
	r->host = strdup(t->host);
	r->certs_path = strdup(t->certs_path);
	r->user = strdup(t->user);
	if (!r->host || !r->certs_path || !r->user)
		return -ENOMEM;
	*ret = TAKE_PTR(r);
	return 0;
}

void api_hang_up(struct api *r)
{
	SSL_free(r->ssl);
	r->ssl = NULL;
	r->fd = close_keep_errno(r->fd);
	r->in_pos = r->in_len = 0;
	r->stream.open = false;
}

struct api *api_free(struct api *r)
{
	if (!r)
		return NULL;
	api_hang_up(r);
	SSL_CTX_free(r->ctx);
	free(r->host);
	free(r->certs_path);
	free(r->user);
	free(r);
	return NULL;
}

/* What a user lacks is said with what to do about it: nobody else knows of these options. */
static int check_files(struct api *r, const char *ca, const char *cert, const char *key)
{
	const struct {
		const char *path, *what, *cure;
	} files[] = {
		{ cert, "user certificate", "make one where the cluster's authority is, by 'flocker-ca "
			"create-api-certificate NAME', and put NAME.crt, NAME.key and cluster.crt there" },
		{ key, "key of the user certificate", "it was made beside the certificate, and belongs there" },
		{ ca, "certificate of the cluster's authority", "copy cluster.crt from where 'flocker-ca "
			"initialize' was run" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if (access(files[i].path, R_OK) == 0)
			continue;
		if (errno == EACCES)
			return api_failed(r, -EACCES, "you may not read '%s', the %s; become who may, or say "
				"--certs-path=DIR and --user=NAME for others", files[i].path, files[i].what);
		if (errno == ENOENT || errno == ENOTDIR)
			return api_failed(r, -ENOENT, "there is no %s '%s': %s; or say --certs-path=DIR for where "
				"to look, --user=NAME for whose files to take", files[i].what, files[i].path,
				files[i].cure);
	}
	return 0;
}

static int make_context(struct api *r)
{
	_cleanup_free_ char *ca = NULL, *cert = NULL, *key = NULL, *error = NULL;
	int rc;

	if (asprintf(&ca, "%s/cluster.crt", r->certs_path) < 0 ||
		asprintf(&cert, "%s/%s.crt", r->certs_path, r->user) < 0 ||
		asprintf(&key, "%s/%s.key", r->certs_path, r->user) < 0)
		return api_failed(r, -ENOMEM, "out of memory");
	rc = check_files(r, ca, cert, key);
	if (rc < 0)
		return rc;
	rc = tls_client_new(&(struct tls_files){ ca, cert, key }, &r->ctx, &error);
	return rc < 0 ? api_failed(r, rc, "%s", error ? error : strerror(-rc)) : 0;
}

static int connect_one(const struct addrinfo *a)
{
	const struct timeval limit = { .tv_sec = CONNECT_LIMIT_S }, silence = { SILENCE_LIMIT_S };
	_cleanup_close_ int fd =
		socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);

	/* The limit for sending is also the one for connecting (socket(7)). */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence)) < 0)
		return -errno;
	if (connect(fd, a->ai_addr, a->ai_addrlen) < 0)
		return errno == EINPROGRESS || errno == EAGAIN ? -ETIMEDOUT : -errno;
	return TAKE_FD(fd);
}

static int connect_any(struct api *r)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	_cleanup_(freeaddrinfop) struct addrinfo *list = NULL;
	char port[8];
	int fd = -ENOENT, rc;

	snprintf(port, sizeof(port), "%u", r->port);
	rc = getaddrinfo(r->host, port, &hints, &list);
	if (rc != 0)
		return api_failed(r, -ENOENT, "cannot find the control service's host '%s': %s",
			r->host, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		fd = connect_one(a);
		if (fd >= 0)
			break;
	}
	if (fd < 0)
		return api_failed(r, fd,
			"cannot connect to the control service at %s port %u: %s; does "
			"flocker-control run there?",
			r->host, r->port, strerror(-fd));
	r->fd = fd;
	return 0;
}

/* Says why OpenSSL returned @rc, and gives it an errno. */
static int tls_failed(struct api *r, int rc)
{
	int saved = errno, kind = SSL_get_error(r->ssl, rc);
	char text[512];

	if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
		return api_failed(r, -ETIMEDOUT, "the control service at %s port %u does not answer",
			r->host, r->port);
	if (kind == SSL_ERROR_ZERO_RETURN)
		return api_failed(r, -ECONNRESET, "the control service at %s port %u hung up", r->host,
			r->port);
	tls_error_text(r->ssl, 0, text, sizeof(text));
	if (kind == SSL_ERROR_SYSCALL && text[0] == '\0')
		return api_failed(r, saved ? -saved : -ECONNRESET,
			"the connection to the control service at %s port %u broke%s%s", r->host,
			r->port, saved ? ": " : "", saved ? strerror(saved) : "");
	return api_failed(r, -EPROTO, "no trust between %s.crt and %s port %u: %s", r->user, r->host,
		r->port, text[0] ? text : "the TLS handshake failed");
}

int api_dial(struct api *r)
{
	int rc = r->ctx ? 0 : make_context(r);

	if (rc == 0)
		rc = connect_any(r);
	if (rc < 0)
		return rc;
	r->ssl = SSL_new(r->ctx);
	if (!r->ssl || tls_client_expect(r->ssl, r->host) < 0 || !SSL_set_fd(r->ssl, r->fd)) {
		api_hang_up(r);
		return api_failed(r, -ENOMEM, "out of memory");
	}
	errno = 0;
	rc = SSL_connect(r->ssl);
	if (rc != 1) {
		rc = tls_failed(r, rc);
		api_hang_up(r);
		return rc;
	}
	return 0;
}

int api_send(struct api *r, const char *data, size_t size)
{
	size_t n;
	int rc;

	r->sent = true;
	errno = 0;
	rc = SSL_write_ex(r->ssl, data, size, &n);
	if (rc == 1)
		return 0;
	/* With TLS 1.3 a certificate is refused after our side of the handshake. Then the connection is
	 * closed, and the reason still waits to be read. */
	if (SSL_get_error(r->ssl, rc) == SSL_ERROR_SYSCALL)
		rc = SSL_read_ex(r->ssl, r->in, sizeof(r->in), &n);
	return rc == 1 ? api_failed(r, -ECONNRESET, "the control service at %s port %u hung up", r->host, r->port)
		       : tls_failed(r, rc);
}

/* More bytes to r->in: 1, 0 at the end of the stream, or an error. */
int api_fill(struct api *r)
{
	int rc;

	r->in_pos = r->in_len = 0;
	errno = 0;
	rc = SSL_read_ex(r->ssl, r->in, sizeof(r->in), &r->in_len);
	if (rc == 1) {
		r->heard = true;
		return 1;
	}
	r->in_len = 0;
	switch (SSL_get_error(r->ssl, rc)) {
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_WANT_READ:
		return r->stream.open ? -EAGAIN : tls_failed(r, rc);
	default:
		return tls_failed(r, rc);
	}
}


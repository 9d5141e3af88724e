/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <netdb.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "jsonin.h"
#include "api.h"
#include "tls.h"

#define CONNECT_LIMIT_S 10
#define SILENCE_LIMIT_S 30
#define LINE_SIZE 8192
#define HEADERS_MAX 100

DEFINE_CLEANUP(struct addrinfo *, freeaddrinfo);

struct api {
	char *host, *certs_path, *user;
	uint16_t port;
	SSL_CTX *ctx;
	SSL *ssl; /* NULL: not connected */
	int fd;
	bool sent;	/* of the current request, anything */
	bool heard;	/* of its answer, anything */
	char in[16384]; /* read, but not used yet: from in_pos to in_len */
	size_t in_pos, in_len;
	char error[1024];
};

/* What the head of an answer says of its body. */
struct head {
	int status;
	bool chunked, close;
	bool sized;
	uint64_t size;
	char request_id[API_REQUEST_ID_MAX];
};

struct body {
	char *data;
	size_t len, room;
};

static int _printf_(3, 4) failed(struct api *r, int err, const char *fmt, ...)
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

static void hang_up(struct api *r)
{
	SSL_free(r->ssl);
	r->ssl = NULL;
	r->fd = close_keep_errno(r->fd);
	r->in_pos = r->in_len = 0;
}

struct api *api_free(struct api *r)
{
	if (!r)
		return NULL;
	hang_up(r);
	SSL_CTX_free(r->ctx);
	free(r->host);
	free(r->certs_path);
	free(r->user);
	free(r);
	return NULL;
}

static int make_context(struct api *r)
{
	_cleanup_free_ char *ca = NULL, *cert = NULL, *key = NULL, *error = NULL;
	int rc;

	if (asprintf(&ca, "%s/cluster.crt", r->certs_path) < 0 ||
		asprintf(&cert, "%s/%s.crt", r->certs_path, r->user) < 0 ||
		asprintf(&key, "%s/%s.key", r->certs_path, r->user) < 0)
		return failed(r, -ENOMEM, "out of memory");
	rc = tls_client_new(&(struct tls_files){ ca, cert, key }, &r->ctx, &error);
	if (rc == -ENOENT && error)
		return failed(r, rc,
			"%s; --certs-path=DIR says where to look, --user=NAME whose files to take",
			error);
	if (rc < 0)
		return failed(r, rc, "%s", error ? error : strerror(-rc));
	return 0;
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
		return failed(r, -ENOENT, "cannot find the control service's host '%s': %s",
			r->host, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		fd = connect_one(a);
		if (fd >= 0)
			break;
	}
	if (fd < 0)
		return failed(r, fd,
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
		return failed(r, -ETIMEDOUT, "the control service at %s port %u does not answer",
			r->host, r->port);
	if (kind == SSL_ERROR_ZERO_RETURN)
		return failed(r, -ECONNRESET, "the control service at %s port %u hung up", r->host,
			r->port);
	tls_error_text(r->ssl, 0, text, sizeof(text));
	if (kind == SSL_ERROR_SYSCALL && text[0] == '\0')
		return failed(r, saved ? -saved : -ECONNRESET,
			"the connection to the control service at %s port %u broke%s%s", r->host,
			r->port, saved ? ": " : "", saved ? strerror(saved) : "");
	return failed(r, -EPROTO, "no trust between %s.crt and %s port %u: %s", r->user, r->host,
		r->port, text[0] ? text : "the TLS handshake failed");
}

static int dial(struct api *r)
{
	int rc = r->ctx ? 0 : make_context(r);

	if (rc == 0)
		rc = connect_any(r);
	if (rc < 0)
		return rc;
	r->ssl = SSL_new(r->ctx);
	if (!r->ssl || tls_client_expect(r->ssl, r->host) < 0 || !SSL_set_fd(r->ssl, r->fd)) {
		hang_up(r);
		return failed(r, -ENOMEM, "out of memory");
	}
	errno = 0;
	rc = SSL_connect(r->ssl);
	if (rc != 1) {
		rc = tls_failed(r, rc);
		hang_up(r);
		return rc;
	}
	return 0;
}

static int send_all(struct api *r, const char *data, size_t size)
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
	return rc == 1 ? failed(r, -ECONNRESET, "the control service at %s port %u hung up", r->host, r->port)
		       : tls_failed(r, rc);
}

/* More bytes to r->in: 1, 0 at the end of the stream, or an error. */
static int fill(struct api *r)
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
	if (SSL_get_error(r->ssl, rc) == SSL_ERROR_ZERO_RETURN)
		return 0;
	return tls_failed(r, rc);
}

static int not_http(struct api *r)
{
	return failed(
		r, -EPROTO, "what answers at %s port %u is no control service", r->host, r->port);
}

/* One line without its CR LF. */
static int read_line(struct api *r, char line[static LINE_SIZE])
{
	size_t len = 0;

	for (;;) {
		if (r->in_pos == r->in_len) {
			int rc = fill(r);

			if (rc < 0)
				return rc;
			if (rc == 0)
				return failed(r, -ECONNRESET,
					"the control service at %s port %u hung up", r->host,
					r->port);
		}
		line[len] = r->in[r->in_pos++];
		if (line[len] == '\n')
			break;
		if (line[len] == '\0' || ++len == LINE_SIZE)
			return not_http(r);
	}
	if (len > 0 && line[len - 1] == '\r')
		len--;
	line[len] = '\0';
	return 0;
}

static int body_room(struct api *r, struct body *b, uint64_t more)
{
	size_t room = b->room ? b->room : 4096;
	char *data;

	if (more > API_BODY_MAX - b->len)
		return failed(r, -EFBIG, "the control service's answer is larger than %llu bytes",
			(unsigned long long)API_BODY_MAX);
	while (room < b->len + more)
		room *= 2;
	if (room == b->room)
		return 0;
	data = realloc(b->data, room);
	if (!data)
		return failed(r, -ENOMEM, "out of memory");
	b->data = data;
	b->room = room;
	return 0;
}

/* @size bytes, or with UINT64_MAX all that come before the end of the stream. */
static int read_bytes(struct api *r, struct body *b, uint64_t size)
{
	while (size > 0) {
		size_t n;
		int rc = r->in_pos == r->in_len ? fill(r) : 1;

		if (rc == 0 && size == UINT64_MAX)
			return 0;
		if (rc == 0)
			return failed(r, -ECONNRESET, "the control service hung up mid-answer");
		if (rc < 0)
			return rc;
		n = MIN(r->in_len - r->in_pos, size);
		rc = body_room(r, b, n);
		if (rc < 0)
			return rc;
		memcpy(b->data + b->len, r->in + r->in_pos, n);
		b->len += n;
		r->in_pos += n;
		if (size != UINT64_MAX)
			size -= n;
	}
	return 0;
}

static int parse_number(const char *text, int base, uint64_t *ret)
{
	char *end;
	unsigned long long v;

	if (strspn(text, base == 16 ? "0123456789abcdefABCDEF" : "0123456789") == 0)
		return -EINVAL;
	errno = 0;
	v = strtoull(text, &end, base);
	if (errno || (*end && !strchr("; \t", *end)) || v >= INT64_MAX)
		return -EINVAL;
	*ret = v;
	return 0;
}

static int read_chunks(struct api *r, struct body *b)
{
	char line[LINE_SIZE];
	uint64_t size;
	int rc;

	for (;;) {
		rc = read_line(r, line);
		if (rc < 0)
			return rc;
		if (parse_number(line, 16, &size) < 0)
			return not_http(r);
		if (size == 0)
			break;
		rc = read_bytes(r, b, size);
		if (rc == 0)
			rc = read_line(r, line);
		if (rc < 0)
			return rc;
		if (line[0] != '\0')
			return not_http(r);
	}
	for (int i = 0; i < HEADERS_MAX; i++) { /* trailers */
		rc = read_line(r, line);
		if (rc < 0 || line[0] == '\0')
			return rc;
	}
	return not_http(r);
}

/* The value of header @name when @line is it, else NULL. */
static const char *header_value(const char *line, const char *name)
{
	size_t n = strlen(name);

	if (strncasecmp(line, name, n) != 0 || line[n] != ':')
		return NULL;
	line += n + 1;
	return line + strspn(line, " \t");
}

static int read_header(struct api *r, const char *line, struct head *h)
{
	const char *value;

	if ((value = header_value(line, "Content-Length"))) {
		uint64_t size;

		if (parse_number(value, 10, &size) < 0 || (h->sized && h->size != size))
			return not_http(r);
		h->sized = true;
		h->size = size;
	} else if ((value = header_value(line, "Transfer-Encoding"))) {
		if (strcasecmp(value, "chunked") != 0)
			return not_http(r);
		h->chunked = true;
	} else if ((value = header_value(line, "X-Request-Id"))) {
		snprintf(h->request_id, sizeof(h->request_id), "%s", value);
	} else if ((value = header_value(line, "Connection"))) {
		h->close = strcasecmp(value, "close") == 0;
	}
	return 0;
}

static int read_head(struct api *r, struct head *ret)
{
	char line[LINE_SIZE];
	struct head h = { 0 };
	int rc, minor;

	rc = read_line(r, line);
	if (rc < 0)
		return rc;
	if (sscanf(line, "HTTP/1.%1d %3d", &minor, &h.status) != 2 || h.status < 100 ||
		h.status > 599)
		return not_http(r);
	h.close = minor == 0;
	for (int i = 0; i < HEADERS_MAX; i++) {
		rc = read_line(r, line);
		if (rc == 0 && line[0] == '\0') {
			*ret = h;
			return 0;
		}
		if (rc == 0)
			rc = read_header(r, line, &h);
		if (rc < 0)
			return rc;
	}
	return not_http(r);
}

static int read_answer(struct api *r, struct head *h, struct body *b)
{
	int rc;

	do
		rc = read_head(r, h);
	while (rc == 0 && h->status < 200); /* "100 Continue" and its kin come before the answer */
	if (rc < 0 || h->status == 204 || h->status == 304)
		return rc;
	if (h->chunked)
		return read_chunks(r, b);
	if (h->sized)
		return read_bytes(r, b, h->size);
	h->close = true;
	return read_bytes(r, b, UINT64_MAX);
}

static int exchange(struct api *r, const char *request, size_t size, struct head *h, struct body *b)
{
	int rc = 0;

	if (!r->ssl)
		rc = dial(r);
	if (rc == 0)
		rc = send_all(r, request, size);
	if (rc == 0)
		rc = read_answer(r, h, b);
	if (rc < 0 || h->close)
		hang_up(r);
	return rc;
}

static int make_request(const struct api *r, const char *method, const char *path,
	struct json_object *body, char **ret)
{
	bool v6 = strchr(r->host, ':');
	const char *text = body ? json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN) : "";
	char length[64] = "";

	if (!text)
		return -ENOMEM;
	if (body)
		snprintf(length, sizeof(length), "Content-Length: %zu\r\n", strlen(text));
	return asprintf(ret,
		"%s %s HTTP/1.1\r\n"
		"Host: %s%s%s:%u\r\n"
		"User-Agent: flockerctl/" FLOCKER_VERSION "\r\n"
		"Accept: application/json\r\n"
		"%s%s\r\n%s",
		method, path, v6 ? "[" : "", r->host, v6 ? "]" : "", r->port,
		body ? "Content-Type: application/json\r\n" : "", length, text);
}

int api_call(struct api *r, const char *method, const char *path, struct json_object *body,
	struct api_answer *ret)
{
	_cleanup_free_ char *request = NULL;
	struct body b = { 0 };
	struct head h = { 0 };
	struct json_object *json = NULL;
	char json_error[JSONIN_ERROR_MAX];
	bool kept = r->ssl != NULL;
	int size, rc;

	r->sent = r->heard = false;
	size = make_request(r, method, path, body, &request);
	if (size < 0) {
		request = NULL;
		return failed(r, -ENOMEM, "out of memory");
	}
	rc = exchange(r, request, (size_t)size, &h, &b);
	/* A server may close an idle connection just when we speak again. */
	if (rc < 0 && kept && !r->heard && rc != -ETIMEDOUT && STREQ(method, "GET")) {
		free(TAKE_PTR(b.data));
		b = (struct body){ 0 };
		rc = exchange(r, request, (size_t)size, &h, &b);
	}
	if (rc == 0 && b.len > 0 && jsonin_parse(b.data, b.len, &json, json_error) == -EBADMSG &&
		h.status < 300)
		rc = failed(r, -EBADMSG, "the control service's answer to %s %s is no JSON: %s",
			method, path, json_error);
	free(b.data);
	if (rc == 0) {
		*ret = (struct api_answer){ .status = h.status, .body = json };
		strcpy(ret->request_id, h.request_id);
	}
	return rc;
}

const char *api_error(const struct api *r)
{
	return r->error;
}

bool api_was_sent(const struct api *r)
{
	return r->sent;
}

void api_answer_done(struct api_answer *a)
{
	json_object_put(a->body);
	*a = (struct api_answer){ 0 };
}

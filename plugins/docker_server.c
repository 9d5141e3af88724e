/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>

#include "docker_server.h"
#include "log.h"

#define HEAD_MAX 16384
#define BODY_MAX 65536
#define SILENCE_S 300 /* of a client: it does not count while an answer is made */

struct docker_server {
	struct evhttp *http;
	struct evhttp_bound_socket *bound;
	struct docker_volumes *volumes; /* NULL: it is being stopped */
};

struct caller {
	struct docker_caller docker;
	struct evhttp_request *http;
};

/* ---- one request ---- */

static void answer(struct docker_caller *c, int status, char *text)
{
	struct caller *self = (struct caller *)c;
	struct evbuffer *out = evhttp_request_get_output_buffer(self->http);

	if (!text || evbuffer_add(out, text, strlen(text)) < 0)
		status = HTTP_INTERNAL;
	free(text);
	(void)evhttp_add_header(evhttp_request_get_output_headers(self->http), "Content-Type", DOCKER_CONTENT_TYPE);
	evhttp_send_reply(self->http, status, NULL, NULL);
	free(self);
}

/* libevent does not read a connection while it owes it an answer, so its end is looked for. */
static bool is_there(struct docker_caller *c)
{
	struct evhttp_connection *conn = evhttp_request_get_connection(((struct caller *)c)->http);
	struct bufferevent *bev = conn ? evhttp_connection_get_bufferevent(conn) : NULL;
	char byte;

	return bev && recv(bufferevent_getfd(bev), &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0;
}

/* dockerd asks for a type when it shakes hands; podman does so before each of its calls, and asks for none. */
static bool is_handshake(struct evhttp_request *http, enum docker_call call)
{
	const char *accept = evhttp_find_header(evhttp_request_get_input_headers(http), "Accept");

	return call == DOCKER_ACTIVATE && accept && strstr(accept, "vnd.docker.plugins");
}

static void on_request(struct evhttp_request *http, void *userdata)
{
	struct docker_server *s = userdata;
	struct evbuffer *in = evhttp_request_get_input_buffer(http);
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(http);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL, *body;
	struct caller *c = malloc(sizeof(*c));
	size_t size = evbuffer_get_length(in);
	char error[DOCKER_ERROR_MAX];
	struct docker_request q;
	int r;

	if (!c) {
		evhttp_send_error(http, HTTP_INTERNAL, NULL);
		return;
	}
	*c = (struct caller){ { answer, is_there }, http };
	body = size > 0 ? (const char *)evbuffer_pullup(in, -1) : "";
	r = body ? docker_request_read(path ?: "", body, size, &q, error) : -ENOMEM;
	if (r == 0 && s->volumes) {
		docker_volumes_ask(s->volumes, &q, is_handshake(http, q.call), &c->docker);
		return;
	}
	if (r == 0) {
		docker_request_done(&q);
		answer(&c->docker, HTTP_INTERNAL,
			docker_error("the Flocker volume plugin is being stopped"));
	} else {
		answer(&c->docker, r == -ENOENT ? HTTP_NOTFOUND : r == -EBADMSG ? HTTP_BADREQUEST : HTTP_INTERNAL,
			docker_error(r == -ENOMEM ? "out of memory" : error));
	}
}

/* ---- the socket ---- */

static int make_directory(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	/* /run/docker/plugins is dockerd's, which may not have been started yet. */
	for (char *p = strchr(copy + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return 0;
}

/* A socket that nobody listens on any more is a dead plugin's. */
static int remove_stale(const struct sockaddr_un *sa)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0)
		return -EADDRINUSE;
	if (errno != ECONNREFUSED)
		return errno == ENOENT ? 0 : -errno;
	return unlink(sa->sun_path) < 0 ? -errno : 0;
}

int docker_server_listen(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -EBADF;
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, path);
	r = make_directory(path);
	if (r == 0)
		r = remove_stale(&sa);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, SOMAXCONN) < 0 ? -errno : 0;
	umask(mask);
	return r < 0 ? r : TAKE_FD(fd);
}

/* ---- beginning and end ---- */

struct docker_server *docker_server_free(struct docker_server *s)
{
	if (!s)
		return NULL;
	if (s->http)
		evhttp_free(s->http);
	free(s);
	return NULL;
}
DEFINE_CLEANUP(struct docker_server *, docker_server_free);

int docker_server_new(struct event_base *base, int fd, struct docker_volumes *v, struct docker_server **ret)
{
	_cleanup_(docker_server_freep) struct docker_server *s = calloc(1, sizeof(*s));
	_cleanup_close_ int owned = fd;

	if (!s)
		return -ENOMEM;
	s->volumes = v;
	s->http = evhttp_new(base);
	if (!s->http)
		return -ENOMEM;
	evhttp_set_max_headers_size(s->http, HEAD_MAX);
	evhttp_set_max_body_size(s->http, BODY_MAX);
	evhttp_set_timeout(s->http, SILENCE_S);
	evhttp_set_allowed_methods(s->http, EVHTTP_REQ_POST);
	evhttp_set_gencb(s->http, on_request, s);
	s->bound = evhttp_accept_socket_with_handle(s->http, owned);
	if (!s->bound)
		return -ENOMEM;
	(void)TAKE_FD(owned);
	*ret = TAKE_PTR(s);
	return 0;
}

void docker_server_stop(struct docker_server *s)
{
	s->volumes = NULL;
	if (s->bound)
		evhttp_del_accept_socket(s->http, TAKE_PTR(s->bound));
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "endpoint.h"

static int parse_port(const char *text, size_t size, uint16_t *ret)
{
	unsigned int port = 0;

	if (size < 1 || size > 5)
		return -EINVAL;
	for (size_t i = 0; i < size; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		port = port * 10 + (unsigned int)(text[i] - '0');
	}
	if (port < 1 || port > 65535)
		return -EINVAL;
	*ret = (uint16_t)port;
	return 0;
}

static int resolve(const struct endpoint *e, struct addrinfo **ret)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
		.ai_socktype = SOCK_STREAM };
	char port[8];

	snprintf(port, sizeof(port), "%u", e->port);
	return getaddrinfo(e->address, port, &hints, ret) == 0 ? 0 : -EINVAL;
}

/* An IPv6 address may stand bare, in brackets, or with its colons escaped as the original wants it.
 */
static int parse_address(const char *text, char *buf, size_t size)
{
	size_t n = 0;

	for (; *text; text++) {
		if (*text == '[' || *text == ']' || (*text == '\\' && text[1] == ':'))
			continue;
		if (n + 1 == size)
			return -EINVAL;
		buf[n++] = *text;
	}
	buf[n] = '\0';
	return n > 0 ? 0 : -EINVAL;
}

int endpoint_parse(const char *text, struct endpoint *ret)
{
	struct endpoint e = { .address = "0.0.0.0" };
	struct addrinfo *info;
	size_t n;

	if (strncmp(text, "tcp:", 4) != 0)
		return -EINVAL;
	text += 4;
	n = strcspn(text, ":");
	if (parse_port(text, n, &e.port) < 0)
		return -EINVAL;
	text += n;
	if (*text) {
		if (strncmp(text, ":interface=", 11) != 0 ||
			parse_address(text + 11, e.address, sizeof(e.address)) < 0)
			return -EINVAL;
	}
	if (resolve(&e, &info) < 0)
		return -EINVAL;
	freeaddrinfo(info);
	*ret = e;
	return 0;
}

static int listen_on(const struct addrinfo *info)
{
	_cleanup_close_ int fd =
		socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	/* Accepted sockets inherit TCP_NODELAY: an answer in two writes must not wait for an ACK.
	 */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
		bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int endpoint_listen(const struct endpoint *e)
{
	struct addrinfo *info;
	int r;

	r = resolve(e, &info);
	if (r < 0)
		return r;
	r = listen_on(info);
	freeaddrinfo(info);
	return r;
}

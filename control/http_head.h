/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_head.h - what a stranger sent as HTTP/1.1, read to the letter (RFC 9112): the head of one
 * request, and a body in chunks. Pure: no I/O, no clock.
 *
 * Where the RFC lets a server be lenient, this is not: a line ends with CRLF, a header is one line, a
 * length is said once. What two readers could understand in two ways is refused. Only Host may be
 * missing, which nobody here looks at. Methods, statuses and lists of headers are libevent's.
 */
#pragma once

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include "macro.h"

#define HTTP_METHOD_MAX 32
#define HTTP_LINES_MAX 100 /* of headers */
#define HTTP_TOO_MUCH_HEADER 431

/* Why a request is refused. */
struct http_problem {
	int status;
	char text[200]; /* a sentence for people: what is wrong, and where */
};

struct http_head {
	unsigned int method; /* of enum evhttp_cmd_type; 0: none of these */
	char method_name[HTTP_METHOD_MAX];
	char *path; /* up to "?", as it was sent: not decoded */
	char *query; /* what stands behind "?", not decoded either; NULL: there is none */
	bool keep_alive;
	bool expects_continue;
	bool chunked;
	uint64_t length; /* of the body, in bytes; 0 when chunked */
	struct evkeyvalq headers;
};

void http_head_done(struct http_head *h);

/**
 * http_head_end() - where the head ends
 * @from: what an earlier call looked at already, so that no byte is looked at twice; 0 at first
 *
 * Returns: bytes of the head with its empty line, or 0 when that is not there yet. A line that ends
 * without CR ends the head as well, so that http_head_parse() can refuse it.
 */
size_t http_head_end(const char *data, size_t size, size_t *from);

/**
 * http_head_parse() - the head of one request, whole
 * @ret: set on success only; end it with http_head_done()
 * @problem: set on -EBADMSG
 *
 * Returns: 0, -EBADMSG or -ENOMEM.
 */
int http_head_parse(const char *data, size_t size, struct http_head *ret, struct http_problem *problem);

/**
 * http_take_body() - the next @n bytes of a body, which are in @in
 *
 * They are copied: what a TLS record is read to has room for the largest, and moved as it is it would
 * take that with it, so that a body of many small records were a thousand times as large.
 *
 * Returns: 0 or -ENOMEM.
 */
int http_take_body(struct evbuffer *in, struct evbuffer *out, size_t n);

/* A body in chunks, read as it comes. Zero it to begin. */
struct http_chunks {
	enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_END, CHUNK_TRAILER, CHUNK_DONE } state;
	uint64_t left;	   /* of the present chunk */
	size_t trailers;   /* bytes */
	uint64_t consumed; /* of the body's encoded form */
};

/**
 * http_chunks_read() - take what is there
 * @room: @out holds at most that many bytes afterwards
 * @problem: set on -EBADMSG
 *
 * Returns: 1 at the body's end, 0 when more has to come, -EBADMSG (also when @room does not suffice,
 * with status 413) or -ENOMEM.
 */
int http_chunks_read(struct http_chunks *c, struct evbuffer *in, struct evbuffer *out, size_t room,
	struct http_problem *problem);

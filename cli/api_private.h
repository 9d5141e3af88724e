/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_private.h - what api.c (requests and answers), api_conn.c (the connection) and api_stream.c
 * (answers without an end) share. All of it is api.h's thread's.
 */
#pragma once

#include "api.h"
#include "tls.h"

#define API_LINE_SIZE 8192

/* Where a stream's reader is among the chunks of its answer. */
enum api_chunk {
	CHUNK_NONE, /* the answer has none: it lasts as long as the connection */
	CHUNK_SIZE, /* in the line with the size of the next one */
	CHUNK_DATA,
	CHUNK_END,  /* in the line break behind its data */
};

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
	struct { /* of api_open() */
		bool open;
		enum api_chunk chunk;
		uint64_t left;	/* bytes of the chunk */
		char line[32];	/* its size, as far as it was read */
		size_t line_len;
	} stream;
	char error[1024];
};

/* What the head of an answer says of its body. */
struct api_head {
	int status;
	bool chunked, close;
	bool sized;
	uint64_t size;
	char request_id[API_REQUEST_ID_MAX];
};

/* Keeps what api_error() says; returns @err. */
int api_failed(struct api *r, int err, const char *fmt, ...) _printf_(3, 4);

int api_dial(struct api *r);
void api_hang_up(struct api *r);
int api_send(struct api *r, const char *data, size_t size);

/* More bytes to r->in, which has none left: 1; 0 at the end; -EAGAIN (a stream's only); or an error. */
int api_fill(struct api *r);

/* What answers is no control service: -EPROTO. */
int api_not_http(struct api *r);

/* Of a stream: the size that is at the head of a chunk; -EINVAL. */
int api_number(const char *text, int base, uint64_t *ret);

/**
 * api_request() - the bytes of a request
 * @ret: allocated
 *
 * Returns: how many there are, or -ENOMEM.
 */
int api_request_text(const struct api *r, const struct api_request *q, const char *accept, char **ret);

/* The head of the answer; of informational ones before it nothing is kept. */
int api_read_head(struct api *r, struct api_head *ret);

/* The rest of an answer whose head was read, and its JSON; closes the connection when it is over. */
int api_take_answer(struct api *r, const struct api_request *q, struct api_head *h, struct api_answer *ret);

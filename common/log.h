/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line a fact, to the journal as fields or to standard error with a <N> prefix.
 * Called from the loop thread only: workers return errors and never log. Never log a secret.
 *
 * Every call returns -abs(@err), so that "return log_error(r, ...)" reads well; @err 0 returns 0.
 * A non-zero @err appends ": <strerror>" to the line and sets ERRNO=.
 */
#pragma once

#include <syslog.h>

#include "id128.h"
#include "macro.h"
#include "messages.h"

#define LOG_FIELDS_MAX 8

struct log_field {
	const char *key, *value; /* of a value some 300 bytes are told */
};

struct log_context {
	const struct id128 *dataset; /* DATASET_ID=, or NULL */
	const struct id128 *node;    /* NODE_ID=, or NULL */
	const char *message_id;	     /* MESSAGE_ID= of messages.h, or NULL */
	const char *request;	     /* REQUEST_ID= of the client's request that led here; NULL or "": none */
	const struct log_field *fields; /* to the journal only; the line says them in words */
	size_t n_fields;	     /* LOG_FIELDS_MAX at most */
};

/* @ident names the program in every line. To the journal when standard error is the journal's. */
void log_open(const char *ident);

/* Lines above @level (LOG_ERR ... LOG_DEBUG) are dropped. LOG_INFO at start. */
void log_set_level(int level);

/* Reads "error", "warning", "notice", "info" or "debug"; -EINVAL for anything else. */
int log_level_parse(const char *text, int *ret);

int log_internal(const struct log_context *ctx, int level, int err, const char *file, int line,
	const char *fmt, ...) _printf_(6, 7);

#define log_context_full(ctx, level, err, ...)                                                     \
	log_internal((ctx), (level), (err), __FILE__, __LINE__, __VA_ARGS__)
#define log_full(level, err, ...) log_context_full(NULL, level, err, __VA_ARGS__)
#define log_error(err, ...) log_full(LOG_ERR, err, __VA_ARGS__)
#define log_warning(err, ...) log_full(LOG_WARNING, err, __VA_ARGS__)
#define log_notice(...) ((void)log_full(LOG_NOTICE, 0, __VA_ARGS__))
#define log_info(...) ((void)log_full(LOG_INFO, 0, __VA_ARGS__))
#define log_debug(...) ((void)log_full(LOG_DEBUG, 0, __VA_ARGS__))

/* @id: struct id128 of the dataset or node the line is about. */
#define log_dataset(id, level, err, ...)                                                           \
	log_context_full(&((struct log_context){ .dataset = &(struct id128){ (id).hi, (id).lo } }), \
		level, err, __VA_ARGS__)
/* As log_dataset() and log_node(), with one of messages.h. */
#define log_dataset_message(id, message, level, err, ...)                                          \
	log_context_full(&((struct log_context){ .dataset = &(struct id128){ (id).hi, (id).lo },   \
				 .message_id = (message) }),                                       \
		level, err, __VA_ARGS__)
#define log_node_message(id, message, level, err, ...)                                             \
	log_context_full(&((struct log_context){ .node = &(struct id128){ (id).hi, (id).lo },      \
				 .message_id = (message) }),                                       \
		level, err, __VA_ARGS__)
/* As log_dataset_message(), and REQUEST_ID=. @message and @request_id may be NULL. */
#define log_dataset_request(id, message, request_id, level, err, ...)                              \
	log_context_full(&((struct log_context){ .dataset = &(struct id128){ (id).hi, (id).lo },   \
				 .message_id = (message), .request = (request_id) }),              \
		level, err, __VA_ARGS__)
#define log_node(id, level, err, ...)                                                              \
	log_context_full(&((struct log_context){ .node = &(struct id128){ (id).hi, (id).lo } }),   \
		level, err, __VA_ARGS__)

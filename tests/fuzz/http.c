/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes that come back to flockerctl: HTTP, sized or chunked or up to the end, and JSON in it. However
 * they are cut into pieces, they mean the same. The first byte of the input chooses the pieces.
 */
#include <openssl/ssl.h>

static int stand_in_read(SSL *ssl, void *buf, size_t size, size_t *ret);
static int stand_in_error(const SSL *ssl, int rc);
#define SSL_read_ex stand_in_read
#define SSL_get_error stand_in_error
#include "../../cli/api.c"
#include "../../cli/api_conn.c"

#include "fuzz.h"

static struct {
	const uint8_t *data;
	size_t size, piece;
} stream;

static int stand_in_read(SSL *ssl, void *buf, size_t size, size_t *ret)
{
	size_t n = MIN(MIN(size, stream.piece), stream.size);

	if (n == 0)
		return 0;
	memcpy(buf, stream.data, n);
	stream.data += n;
	stream.size -= n;
	*ret = n;
	return 1;
}

static int stand_in_error(const SSL *ssl, int rc)
{
	return SSL_ERROR_ZERO_RETURN;
}

struct outcome {
	int rc;
	struct api_head head;
	struct body body;
};

static struct outcome read_all(const uint8_t *data, size_t size, size_t piece)
{
	static const struct api_target target = { "control.example.com", 4523, ".", "user" };
	_cleanup_(api_freep) struct api *api = NULL;
	struct outcome o = { 0 };

	PROMISE(api_new(&target, &api) == 0);
	stream.data = data;
	stream.size = size;
	stream.piece = piece;
	o.rc = read_answer(api, &o.head, &o.body);
	PROMISE(o.rc <= 0 && (o.rc == 0) == (api->error[0] == '\0'));
	PROMISE(o.rc < 0 || (o.head.status >= 200 && o.head.status <= 599));
	PROMISE(o.body.len <= API_BODY_MAX && o.body.len <= size);
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, pieces;
	struct json_object *json = NULL;
	char error[JSONIN_ERROR_MAX];

	if (size == 0)
		return 0;
	whole = read_all(data + 1, size - 1, SIZE_MAX);
	pieces = read_all(data + 1, size - 1, (size_t)data[0] + 1);
	PROMISE(whole.rc == pieces.rc && whole.head.status == pieces.head.status);
	PROMISE(whole.body.len == pieces.body.len);
	PROMISE(whole.body.len == 0 || memcmp(whole.body.data, pieces.body.data, whole.body.len) == 0);
	if (whole.rc == 0 && whole.body.len > 0)
		(void)jsonin_parse(whole.body.data, whole.body.len, &json, error);
	json_object_put(json);
	free(whole.body.data);
	free(pieces.body.data);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/socket.h>
#include <sys/un.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "answer.h"
#include "engine.h"
#include "jsonin.h"

#define LIMIT_S 5
#define BODY_MAX (4 * MIB)

struct engine_question {
	struct bufferevent *bev;
	struct answer answer;
	struct evbuffer *body;
	void (*fn)(const char *names, void *userdata);
	void *userdata;
};

/* A container's name as dockerd has it: "/web". */
static const char *name_of(struct json_object *container)
{
	struct json_object *list = NULL;
	const char *text;

	(void)json_object_object_get_ex(container, "Names", &list);
	if (!json_object_is_type(list, json_type_array) || json_object_array_length(list) == 0)
		return NULL;
	text = json_object_get_string(json_object_array_get_idx(list, 0));
	return text ? text + (*text == '/') : NULL;
}

static bool is_clean(const char *name)
{
	return *name &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
		       strlen(name);
}

void engine_names(const char *json, size_t size, char names[ENGINE_NAMES_MAX + 1])
{
	_cleanup_json_ struct json_object *list = NULL;
	char error[JSONIN_ERROR_MAX];
	size_t n = 0;

	names[0] = '\0';
	if (size == 0 || jsonin_parse(json, size, &list, error) < 0 || !json_object_is_type(list, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		const char *name = name_of(json_object_array_get_idx(list, i));

		if (!name || !is_clean(name) || n + strlen(name) + 2 > ENGINE_NAMES_MAX)
			continue;
		n += (size_t)sprintf(names + n, "%s%s", n > 0 ? ", " : "", name);
	}
}

void engine_cancel(struct engine_question *q)
{
	if (!q)
		return;
	if (q->bev)
		bufferevent_free(q->bev);
	if (q->body)
		evbuffer_free(q->body);
	free(q);
}

static void finish(struct engine_question *q, bool good)
{
	char names[ENGINE_NAMES_MAX + 1] = "";
	size_t size = evbuffer_get_length(q->body);

	if (good && q->answer.status == 200 && size > 0)
		engine_names((const char *)evbuffer_pullup(q->body, -1), size, names);
	q->fn(names, q->userdata);
	engine_cancel(q);
}

static void on_read(struct bufferevent *bev, void *userdata)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	struct engine_question *q = userdata;
	size_t size = evbuffer_get_length(in), at = 0, used, n;
	const char *data = (const char *)evbuffer_pullup(in, -1), *body = NULL;
	int r = 0;

	while (r == 0 && at < size && q->answer.state != ANSWER_DONE) {
		r = answer_take(&q->answer, data + at, size - at, &used, &body, &n);
		if (r < 0)
			break;
		at += used;
		if (n > 0 && (evbuffer_get_length(q->body) + n > BODY_MAX || evbuffer_add(q->body, body, n) < 0))
			r = -ENOMEM;
	}
	(void)evbuffer_drain(in, at);
	if (r < 0 || q->answer.state == ANSWER_DONE)
		finish(q, r == 0);
}

static void on_event(struct bufferevent *bev, short what, void *userdata)
{
	struct engine_question *q = userdata;

	if (!(what & BEV_EVENT_CONNECTED))
		finish(q, what & BEV_EVENT_EOF && answer_end(&q->answer));
}

/* Names of volumes need no escaping, in a path as in JSON. */
static int begin(struct engine_question *q, const struct sockaddr_un *sa, const char *volume)
{
	struct timeval limit = { .tv_sec = LIMIT_S };

	bufferevent_setcb(q->bev, on_read, NULL, on_event, q);
	(void)bufferevent_set_timeouts(q->bev, &limit, &limit);
	if (evbuffer_add_printf(bufferevent_get_output(q->bev),
		    "GET /v1.24/containers/json?all=1&filters=%%7B%%22volume%%22%%3A%%5B%%22%s%%22%%5D%%7D HTTP/1.1\r\n"
		    "Host: docker\r\nConnection: close\r\n\r\n",
		    volume) < 0 ||
		bufferevent_enable(q->bev, EV_READ | EV_WRITE) < 0)
		return -ENOMEM;
	return bufferevent_socket_connect(q->bev, (const struct sockaddr *)sa, sizeof(*sa)) < 0 ? -ECONNREFUSED : 0;
}

int engine_ask(struct event_base *base, const char *socket, const char *volume,
	void (*fn)(const char *names, void *userdata), void *userdata, struct engine_question **ret)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct engine_question *q;
	int r = -ENOMEM;

	if (strlen(socket) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, socket);
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->fn = fn;
	q->userdata = userdata;
	q->body = evbuffer_new();
	q->bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	if (q->body && q->bev)
		r = begin(q, &sa, volume);
	if (r < 0)
		engine_cancel(q);
	else
		*ret = q;
	return r;
}

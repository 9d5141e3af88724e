/* SPDX-License-Identifier: Apache-2.0 */
/* common/conn and common/tls, both ends in one process; certificates by the openssl program. */
#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <event2/listener.h>

#include "cm.h"
#include "conn.h"

static const char *const kinds[] = { "node-", NULL };
static char dir[] = "/tmp/flocker-conn-XXXXXX";

struct end {
	struct conn *conn;
	int opened, messages, err;
	bool closed, free_in_message, finish_in_open;
	char text[512], name[64];
	struct event_base *base;
};

struct pair {
	struct event_base *base;
	struct evconnlistener *listener;
	SSL_CTX *server_ctx, *client_ctx;
	struct end server, client;
	uint16_t port;
	bool late;
};

static void on_open(struct conn *c, void *userdata)
{
	struct end *e = userdata;

	e->opened++;
	(void)conn_peer_name(c, "node-", e->name, sizeof(e->name));
	if (e->finish_in_open)
		conn_finish(c);
}

static void on_message(struct conn *c, const struct wire_msg *m, void *userdata)
{
	struct end *e = userdata;

	e->messages++;
	if (e->free_in_message)
		e->conn = conn_free(c);
}

static void on_close(struct conn *c, int err, const char *text, void *userdata)
{
	struct end *e = userdata;

	assert_false(e->closed);
	e->closed = true;
	e->err = err;
	snprintf(e->text, sizeof(e->text), "%s", text);
	e->conn = conn_free(c);
}

static const struct conn_callbacks callbacks = { on_open, on_message, on_close };

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len,
	void *userdata)
{
	struct pair *p = userdata;

	assert_int_equal(conn_accept(p->base, fd, p->server_ctx, &callbacks, &p->server,
				 &p->server.conn), 0);
}

static void on_late(evutil_socket_t fd, short what, void *userdata)
{
	struct pair *p = userdata;

	p->late = true;
	event_base_loopbreak(p->base);
}

#define WAIT(p, condition)                                                                         \
	do {                                                                                       \
		while (!(condition) && !(p)->late)                                                 \
			event_base_loop((p)->base, EVLOOP_ONCE);                                   \
		if (!(condition))                                                                  \
			fail_msg("in vain: %s; server '%s', client '%s'", #condition,              \
				(p)->server.text, (p)->client.text);                               \
	} while (0)

static struct tls_files files(const char *name)
{
	static char paths[3][128];

	snprintf(paths[0], sizeof(paths[0]), "%s/ca.crt", dir);
	snprintf(paths[1], sizeof(paths[1]), "%s/%s.crt", dir, name);
	snprintf(paths[2], sizeof(paths[2]), "%s/%s.key", dir, name);
	return (struct tls_files){ paths[0], paths[1], paths[2] };
}

static int set_up(void **state)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval limit = { .tv_sec = 20 };
	struct pair *p = calloc(1, sizeof(*p));
	socklen_t size = sizeof(sin);
	struct tls_files f;
	char *error = NULL;

	p->base = event_base_new();
	f = files("control");
	assert_int_equal(tls_server_new(&f, kinds, &p->server_ctx, &error), 0);
	f = files("node");
	assert_int_equal(tls_client_new(&f, &p->client_ctx, &error), 0);
	p->listener = evconnlistener_new_bind(p->base, on_accept, p,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 5, (struct sockaddr *)&sin,
		sizeof(sin));
	assert_non_null(p->listener);
	getsockname(evconnlistener_get_fd(p->listener), (struct sockaddr *)&sin, &size);
	p->port = ntohs(sin.sin_port);
	event_base_once(p->base, -1, EV_TIMEOUT, on_late, p, &limit);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct pair *p = *state;

	conn_free(p->server.conn);
	conn_free(p->client.conn);
	evconnlistener_free(p->listener);
	event_base_loop(p->base, EVLOOP_NONBLOCK);
	SSL_CTX_free(p->server_ctx);
	SSL_CTX_free(p->client_ctx);
	event_base_free(p->base);
	free(p);
	return 0;
}

static void dial(struct pair *p, const char *host, const char *bind_address)
{
	assert_int_equal(conn_dial(p->base, host, p->port, bind_address, p->client_ctx, &callbacks,
				 &p->client, &p->client.conn), 0);
}

static void open_both(struct pair *p)
{
	dial(p, "127.0.0.1", NULL);
	WAIT(p, p->client.opened && p->server.opened);
}

static const struct wire_msg ping = { .type = WIRE_PING };

static void messages_go_both_ways(void **state)
{
	struct pair *p = *state;

	open_both(p);
	assert_string_equal(p->server.name, "11111111-1111-4111-8111-111111111111");
	assert_string_equal(conn_peer_host(p->server.conn), "127.0.0.1");
	for (int i = 0; i < 100; i++) {
		assert_int_equal(conn_send(p->client.conn, &ping), 0);
		assert_int_equal(conn_send(p->server.conn, &ping), 0);
	}
	WAIT(p, p->client.messages == 100 && p->server.messages == 100);
}

static void a_node_dials_from_its_address(void **state)
{
	struct pair *p = *state;

	dial(p, "127.0.0.1", "127.0.0.9");
	WAIT(p, p->server.opened);
	assert_string_equal(conn_peer_host(p->server.conn), "127.0.0.9");
	assert_int_equal(conn_dial(p->base, "127.0.0.1", p->port, "nowhere", p->client_ctx,
				 &callbacks, &p->client, &p->client.conn),
		-EINVAL);
}

static void a_name_is_looked_up(void **state)
{
	struct pair *p = *state;

	dial(p, "localhost", "127.0.0.1");
	WAIT(p, p->client.opened);
}

static void last_words_arrive(void **state)
{
	struct wire_bye words = { .reason = (char[]){ "enough" }, .refused = true };
	struct wire_msg bye = { .type = WIRE_BYE, .bye = words };
	struct pair *p = *state;

	open_both(p);
	for (int i = 0; i < 50; i++) /* the other side is talking as well */
		assert_int_equal(conn_send(p->client.conn, &ping), 0);
	assert_int_equal(conn_send(p->server.conn, &bye), 0);
	conn_finish(p->server.conn);
	assert_int_equal(conn_send(p->server.conn, &ping), -ENOTCONN);
	WAIT(p, p->client.closed && p->server.closed);
	assert_int_equal(p->client.messages, 1);
	assert_int_equal(p->client.err, 0);
	assert_int_equal(p->server.err, 0);
}

static void a_connection_may_be_freed_in_its_callback(void **state)
{
	struct pair *p = *state;

	p->server.free_in_message = true;
	open_both(p);
	for (int i = 0; i < 5; i++)
		assert_int_equal(conn_send(p->client.conn, &ping), 0);
	WAIT(p, p->client.closed);
	assert_int_equal(p->server.messages, 1);
	assert_false(p->server.closed);
	assert_null(p->server.conn);
}

static void a_finish_at_once_is_an_orderly_end(void **state)
{
	struct pair *p = *state;

	p->client.finish_in_open = true;
	dial(p, "127.0.0.1", NULL);
	WAIT(p, p->client.closed && p->server.closed);
	assert_int_equal(p->client.err, 0);
	assert_int_equal(p->server.err, 0);
}

static void the_queue_is_bounded(void **state)
{
	struct wire_msg m = { .type = WIRE_REPORT };
	struct pair *p = *state;
	int r, n = 0;

	open_both(p);
	m.report.status.dataset_id = id128_make_v4(1, 1);
	m.report.status.holders = malloc(60001);
	memset(m.report.status.holders, 'x', 60000);
	m.report.status.holders[60000] = '\0';
	while ((r = conn_send(p->client.conn, &m)) == 0)
		n++;
	assert_int_equal(r, -ENOBUFS);
	assert_in_range(n, 100, CONN_QUEUE_MAX / 60000 + 1);
	/* No number was used up by the refusal: what follows is no gap. */
	WAIT(p, p->server.messages == n);
	assert_int_equal(conn_send(p->client.conn, &m), 0);
	WAIT(p, p->server.messages == n + 1);
	wire_msg_done(&m);
}

static void nobody_listens(void **state)
{
	struct pair *p = *state;

	evconnlistener_disable(p->listener);
	p->port = 1;
	dial(p, "127.0.0.1", NULL);
	WAIT(p, p->client.closed);
	assert_int_equal(p->client.err, ECONNREFUSED);
	assert_non_null(strstr(p->client.text, "cannot connect to 127.0.0.1:1"));
}

static void an_unknown_name(void **state)
{
	struct pair *p = *state;

	dial(p, "no-such-host.invalid", NULL);
	WAIT(p, p->client.closed);
	assert_true(p->client.err == ENOENT || p->client.err == ETIMEDOUT);
}

static void use_certificate(struct pair *p, const char *server, const char *client)
{
	struct tls_files f;
	char *error = NULL;

	SSL_CTX_free(p->server_ctx);
	SSL_CTX_free(p->client_ctx);
	p->server_ctx = p->client_ctx = NULL;
	f = files(server);
	assert_int_equal(tls_server_new(&f, kinds, &p->server_ctx, &error), 0);
	f = files(client);
	assert_int_equal(tls_client_new(&f, &p->client_ctx, &error), 0);
}

static void a_server_of_another_name_is_refused(void **state)
{
	struct pair *p = *state;

	use_certificate(p, "user", "node");
	dial(p, "127.0.0.1", NULL);
	WAIT(p, p->client.closed && p->server.closed);
	assert_int_equal(p->client.err, EPROTO);
	assert_int_equal(p->client.opened, 0);
	assert_non_null(strstr(p->client.text,
		"certificate 'user-a' is neither for 'control-service' nor for '127.0.0.1'"));
	assert_non_null(strstr(p->server.text, "the other side refused"));
}

static void a_server_is_known_by_the_address_dialled(void **state)
{
	struct pair *p = *state;

	use_certificate(p, "host", "node");
	dial(p, "127.0.0.1", NULL);
	WAIT(p, p->client.opened);
}

static void a_client_of_another_kind_is_refused(void **state)
{
	struct pair *p = *state;

	use_certificate(p, "control", "user");
	dial(p, "127.0.0.1", NULL);
	WAIT(p, p->client.closed && p->server.closed);
	assert_int_equal(p->server.opened, 0);
	assert_int_equal(p->server.err, EPROTO);
	assert_non_null(strstr(p->server.text, "only node-... may come here"));
	assert_non_null(strstr(p->client.text, "the other side refused"));
}

static void a_dying_connection_may_be_freed_while_it_dials(void **state)
{
	struct pair *p = *state;

	dial(p, "127.0.0.1", NULL);
	p->client.conn = conn_free(p->client.conn);
	dial(p, "localhost", NULL);
	event_base_loop(p->base, EVLOOP_NONBLOCK);
	p->client.conn = conn_free(p->client.conn);
	event_base_loop(p->base, EVLOOP_NONBLOCK);
	assert_false(p->client.closed);
}

static int make_certificates(void **state)
{
	static const char script[] =
		"cd %s && exec >/dev/null 2>&1 && K='-newkey ec -pkeyopt ec_paramgen_curve:P-256 "
		"-nodes' &&"
		"openssl req -x509 $K -keyout ca.key -out ca.crt -days 9 -subj /CN=test"
		" -addext basicConstraints=critical,CA:TRUE &&"
		"mk() { openssl req -new $K -keyout $1.key -out $1.csr -subj /CN=$2 &&"
		" echo \"$3\" >$1.ext && openssl x509 -req -in $1.csr -CA ca.crt -CAkey ca.key"
		" -CAcreateserial -days 9 -extfile $1.ext -out $1.crt; } &&"
		"mk control control-service subjectAltName=DNS:control-service &&"
		"mk host elsewhere subjectAltName=IP:127.0.0.1 &&"
		"mk node node-11111111-1111-4111-8111-111111111111 keyUsage=digitalSignature &&"
		"mk user user-a keyUsage=digitalSignature";
	char command[2048];

	if (!mkdtemp(dir))
		return -1;
	snprintf(command, sizeof(command), script, dir);
	return system(command);
}

static int remove_certificates(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

int main(void)
{
#define CONN_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CONN_TEST(messages_go_both_ways),
		CONN_TEST(a_node_dials_from_its_address),
		CONN_TEST(a_name_is_looked_up),
		CONN_TEST(last_words_arrive),
		CONN_TEST(a_connection_may_be_freed_in_its_callback),
		CONN_TEST(a_finish_at_once_is_an_orderly_end),
		CONN_TEST(the_queue_is_bounded),
		CONN_TEST(nobody_listens),
		CONN_TEST(an_unknown_name),
		CONN_TEST(a_server_of_another_name_is_refused),
		CONN_TEST(a_server_is_known_by_the_address_dialled),
		CONN_TEST(a_client_of_another_kind_is_refused),
		CONN_TEST(a_dying_connection_may_be_freed_while_it_dials),
	};

	if (system("openssl version >/dev/null 2>&1") != 0) {
		puts("skipped: the program openssl is missing");
		return 77;
	}
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}

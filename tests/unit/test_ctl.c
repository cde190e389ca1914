/* SPDX-License-Identifier: Apache-2.0 */
/* rootlessctl with servers that answer wrongly, late or never, and with users who type wrongly. */
#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/array.h"
#include "test_ctl_server.h"

static struct ctl_result result;

static int teardown(void **state)
{
	(void)state;
	ctl_result_free(&result);
	result = (struct ctl_result){0};
	return 0;
}

static void ask(const char *bytes, const char *first, const char *second)
{
	ctl_result_free(&result);
	result = ctl_ask(bytes, first, second);
}

static void run(const char *const *words)
{
	ctl_result_free(&result);
	result = ctl_run(words, NULL, -1);
}

/* The result is this exit code, nothing on stdout, and one line on stderr with these words. */
static void assert_failure(int status, const char *words)
{
	if (!strstr(result.err, words))
		print_error("expected %s in:\n%s", words, result.err);
	assert_non_null(strstr(result.err, words));
	assert_string_equal(result.out, "");
	assert_int_equal(result.status, status);
	assert_memory_equal(result.err, "error: ", 7);
	assert_int_equal(strcspn(result.err, "\n"), strlen(result.err) - 1);
}

static void assert_error(const char *words)
{
	assert_failure(1, words);
}

static void test_no_api(void **state)
{
	(void)state;
	ask("", "info", NULL);
	assert_error("does not answer as RootlessKit's API does");
	ask("SSH-2.0-OpenSSH_9.2\r\n", "info", NULL);
	assert_error("does not answer as RootlessKit's API does");
	ask("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"apiVersion\"", "info", NULL);
	assert_error("does not answer as RootlessKit's API does");
	ask(OK_JSON("hello"), "info", NULL);
	assert_error("the answer is not JSON");
	ask(OK_JSON("[]"), "info", NULL);
	assert_error("not an answer of RootlessKit's API");
	ask(OK_JSON("{}"), "list-ports", NULL);
	assert_error("the answer is not a list");
	ask(OK_JSON("[1]"), "list-ports", NULL);
	assert_error("not an answer of RootlessKit's API");
	ask(OK_JSON("[{\"id\":\"x\",\"spec\":{}}]"), "list-ports", NULL);
	assert_error("\"id\" is not a whole number");
	ask(OK_JSON("[{\"id\":1,\"spec\":{\"proto\":7}}]"), "list-ports", NULL);
	assert_error("Spec.proto");
	ask(OK_JSON("{\"childPID\":\"many\"}"), "info", NULL);
	assert_error("\"childPID\" is not a whole number");
}

static void test_refusals(void **state)
{
	(void)state;
	ask(ANSWER("400 Bad Request", "{\"message\":\"no\"}\n"), "remove-ports", "1");
	assert_error("error: no\n");
	ask(ANSWER("500 Internal Server Error", "<h1>oh\n\n"), "remove-ports", "1");
	assert_error("unexpected HTTP status 500, body=\"<h1>oh\\n\\n\"");
	ask(ANSWER("404 Not Found", ""), "info", NULL);
	assert_error("unexpected HTTP status 404, body=\"\"");
}

#define PORT(id) "{\"id\":" #id ",\"spec\":{\"proto\":\"tcp\",\"parentPort\":1,\"childPort\":2}}"

/* Runs add-ports with 20 ports, for which a batch is worth it if the server takes batches. Returns
 * how many requests were sent. */
static size_t add_20(const char *const *bytes, size_t n, bool repeat, struct fake_request *second)
{
	struct fake_answer answers[4];
	const char *argv[26] = {"--socket", NULL, "add-ports"};
	struct fake_server *server;
	size_t n_requests;

	for (size_t i = 0; i < n; i++)
		answers[i] = (struct fake_answer){
			.bytes = bytes[i], .len = strlen(bytes[i]), .close = true};
	server = fake_server_start(answers, n, repeat);
	argv[1] = fake_server_path(server);
	for (int i = 3; i < 23; i++)
		argv[i] = "127.0.0.1:1:2/tcp";
	run(argv);
	fake_server_stop(server);
	n_requests = fake_server_requests(server);
	if (second)
		*second = *fake_server_request(server, 1);
	fake_server_free(server);
	return n_requests;
}

static void wrong(const char *words, const char *want);

#define IN_RANGE(id, port, child)                                                                  \
	"{\"id\":" #id ",\"spec\":{\"proto\":\"tcp\",\"parentPort\":" #port                        \
	",\"childPort\":" #child "},\"range\":1}"

/* The ports of a range that follow each other are one line. */
static void test_ranges_in_the_list(void **state)
{
	static const char list[] =
		OK_JSON("[" IN_RANGE(1, 10, 20) "," IN_RANGE(2, 11, 21) "," IN_RANGE(
			4, 13, 23) "," IN_RANGE(5, 15, 25) "," PORT(6) "," PORT(7) "]");

	(void)state;
	ask(list, "list-ports", "--json");
	assert_string_equal(
		result.out,
		"{\"id\":1,\"spec\":{\"proto\":\"tcp\",\"parentPort\":10,\"childPort\":20,"
		"\"count\":2}}\n"
		"{\"id\":4,\"spec\":{\"proto\":\"tcp\",\"parentPort\":13,\"childPort\":23}}\n"
		"{\"id\":5,\"spec\":{\"proto\":\"tcp\",\"parentPort\":15,\"childPort\":25}}\n"
		"{\"id\":6,\"spec\":{\"proto\":\"tcp\",\"parentPort\":1,\"childPort\":2}}\n"
		"{\"id\":7,\"spec\":{\"proto\":\"tcp\",\"parentPort\":1,\"childPort\":2}}\n");
	ask(list, "list-ports", NULL);
	assert_non_null(strstr(result.out, "\n1-2    tcp                  10-11                    "
					   "20-21        \n4      tcp"));
	ask(list, "list-ports", "--all");
	assert_non_null(strstr(result.out, "\n2     tcp                  11"));
	/* Ids and ranges that make no sense. */
	ask(OK_JSON("[{\"id\":2147483647,\"range\":1,\"spec\":{\"parentPort\":9223372036854775807,"
		    "\"count\":9223372036854775807}},{\"id\":-5,\"range\":9999999999}]"),
	    "list-ports", NULL);
	assert_int_equal(result.status, 0);
}

/* Runs words against a server with these answers. Returns how many requests were sent. */
static size_t converse(const char *const *bytes, size_t n, const char *words,
		       struct fake_request requests[8])
{
	struct fake_answer answers[8];
	struct fake_server *server;
	const char *argv[16] = {"--socket"};
	char *copy = strdup(words), *rest = copy;
	int argc = 2;
	size_t n_requests;

	for (size_t i = 0; i < n; i++)
		answers[i] = (struct fake_answer){
			.bytes = bytes[i], .len = strlen(bytes[i]), .close = true};
	server = fake_server_start(answers, n, false);
	argv[1] = fake_server_path(server);
	while (rest && argc < 15)
		argv[argc++] = strsep(&rest, " ");
	run(argv);
	fake_server_stop(server);
	n_requests = fake_server_requests(server);
	for (size_t i = 0; i < n_requests && i < 8; i++)
		requests[i] = *fake_server_request(server, i);
	fake_server_free(server);
	free(copy);
	return n_requests;
}

static void test_adding_ranges(void **state)
{
	const char *ours[] = {OK_JSON("{\"portDriver\":{\"batchMax\":256,\"ranges\":true}}"),
			      OK_JSON("{\"id\":3,\"spec\":{\"proto\":\"tcp\",\"parentPort\":1,"
				      "\"childPort\":1,\"count\":3}}")};
	const char *kit[] = {OK_JSON("{\"portDriver\":{}}"), OK_JSON(PORT(5)), OK_JSON(PORT(6))};
	const char *refusing[] = {OK_JSON("{}"), OK_JSON(PORT(5)),
				  ANSWER("400 Bad Request", "{\"message\":\"no\"}"),
				  ANSWER("200 OK", "")};
	struct fake_request r[8];

	(void)state;
	assert_int_equal(converse(ours, 2, "add-ports 1-3:1-3/tcp", r), 2);
	assert_string_equal(result.out, "3-5\n");
	assert_string_equal(r[1].line, "POST /v1/ports HTTP/1.1");
	assert_string_equal(r[1].body, "{\"proto\":\"tcp\",\"parentPort\":1,\"childPort\":1,"
				       "\"count\":3}");
	/* RootlessKit gets single ports. All are taken back when one cannot be had. */
	assert_int_equal(converse(kit, 3, "add-ports 1-2:3-4/tcp", r), 3);
	assert_string_equal(result.out, "5\n6\n");
	assert_string_equal(r[2].body, "{\"proto\":\"tcp\",\"parentPort\":2,\"childPort\":4}");
	assert_int_equal(converse(refusing, 4, "add-ports 1-3:1-3/tcp", r), 4);
	assert_string_equal(r[3].line, "DELETE /v1/ports/5 HTTP/1.1");
	assert_error("error: no\n");
}

static void test_removing_ranges(void **state)
{
	const char *ok[] = {ANSWER("200 OK", "")};
	const char *found[] = {OK_JSON("[" PORT(9) "," IN_RANGE(1, 10, 20) "," IN_RANGE(
				       2, 11, 21) "," IN_RANGE(3, 12, 22) "]"),
			       ANSWER("200 OK", ""), ANSWER("200 OK", "")};
	struct fake_request r[8];

	(void)state;
	assert_int_equal(converse(ok, 1, "remove-ports 4-7", r), 1);
	assert_string_equal(r[0].line, "DELETE /v1/ports/4-7 HTTP/1.1");
	assert_string_equal(result.out, "4-7\n");
	assert_int_equal(converse(found, 3, "remove-ports 10-12:20-22/tcp", r), 2);
	assert_string_equal(r[1].line, "DELETE /v1/ports/1-3 HTTP/1.1");
	assert_string_equal(result.out, "1-3\n");
	assert_int_equal(converse(found, 3, "remove-ports 1:2/tcp", r), 2);
	assert_string_equal(r[1].line, "DELETE /v1/ports/9 HTTP/1.1");
	/* When a part of a range is missing, nothing is removed. */
	assert_int_equal(converse(found, 3, "remove-ports 10-13:20-23/tcp", r), 1);
	assert_error("10-13:20-23/tcp: not all of its ports are published (3 of 4)");
	assert_int_equal(converse(found, 3, "remove-ports 10:20/udp", r), 1);
	assert_error("10:20/udp is not published");
	wrong("remove-ports 7-4", "invalid ID \"7-4\"");
	wrong("remove-ports 1-", "invalid ID \"1-\"");
	wrong("remove-ports 1-99999999", "invalid ID");
	wrong("remove-ports 1 0:1/tcp", "invalid ParentPort");
}

static void test_batches(void **state)
{
	const char *good[] = {OK_JSON("{\"portDriver\":{\"batchMax\":19}}"),
			      OK_JSON("[" PORT(1) "," PORT(2) "]"), OK_JSON(PORT(3))};
	const char *bad[] = {
		OK_JSON("{\"portDriver\":{\"batchMax\":256}}"),
		ANSWER("400 Bad Request", "{\"message\":\"no\",\"ports\":[" PORT(1) "]}\n")};
	const char *nonsense[] = {bad[0], OK_JSON("[1]")};
	/* RootlessKit's answer to GET /v1/info does not mention batches, and neither does this. */
	const char *kit[] = {OK_JSON(PORT(1))};
	struct fake_request second;

	(void)state;
	assert_int_equal(add_20(good, 3, false, &second), 3);
	assert_int_equal(result.status, 0);
	assert_string_equal(result.out, "1\n2\n3\n");
	assert_string_equal(second.line, "POST /v1/ports/batch HTTP/1.1");
	assert_memory_equal(second.body, "[{\"proto\":\"tcp\",", 16);
	/* The ids of the ports before the one that failed are printed. */
	assert_int_equal(add_20(bad, 2, false, NULL), 2);
	assert_string_equal(result.out, "1\n");
	assert_string_equal(result.err, "error: no\n");
	assert_int_equal(result.status, 1);
	add_20(nonsense, 2, false, NULL);
	assert_error("not an answer of RootlessKit's API");
	assert_int_equal(add_20(kit, 1, true, &second), 21);
	assert_string_equal(second.line, "POST /v1/ports HTTP/1.1");
	assert_int_equal(result.status, 0);
}

/* Nobody listens at that path, or something else is there. */
static void test_socket(void **state)
{
	char path[32], file[80];
	const char *info[] = {"--socket", path, "info", NULL}, *unset[] = {"info", NULL};
	char long_path[300];

	(void)state;
	snprintf(path, sizeof(path), "/tmp/test_ctl.%d", (int)getpid());
	run(info);
	assert_error("No such file or directory (it is api.sock in the --state-dir");
	assert_int_equal(mkdir(path, 0700), 0);
	run(info);
	snprintf(file, sizeof(file), "it is a directory: try %s/api.sock", path);
	assert_error(file);
	rmdir(path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	run(info);
	assert_error("it is not a socket");
	unlink(path);
	run(unset);
	assert_error("please specify --socket or set $ROOTLESSKIT_STATE_DIR");
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	info[1] = long_path;
	run(info);
	assert_error("too long for the path of a socket");
}

static void test_state_dir_in_the_environment(void **state)
{
	struct fake_answer answer = {
		.bytes = OK_JSON("null"), .len = strlen(OK_JSON("null")), .close = true};
	struct fake_server *server = fake_server_start(&answer, 1, true);
	const char *words[] = {"list-ports", "--json", NULL};
	char variable[128], *env[] = {variable, NULL}, *slash;

	(void)state;
	snprintf(variable, sizeof(variable), "ROOTLESSKIT_STATE_DIR=%s", fake_server_path(server));
	slash = strrchr(variable, '/');
	*slash = '\0';
	result = ctl_run(words, env, -1);
	fake_server_stop(server);
	assert_int_equal(fake_server_requests(server), 1);
	assert_string_equal(fake_server_request(server, 0)->line, "GET /v1/ports HTTP/1.1");
	fake_server_free(server);
	assert_int_equal(result.status, 0);
	assert_string_equal(result.err, "");
}

/* When a word is wrong, nothing is sent. */
static void wrong(const char *words, const char *want)
{
	struct fake_answer answer = {.bytes = "", .len = 0, .close = true};
	struct fake_server *server = fake_server_start(&answer, 1, true);
	const char *argv[16] = {"--socket", fake_server_path(server)};
	char *copy = strdup(words), *rest = copy;
	int n = 2;

	while (rest && n < 15)
		argv[n++] = strsep(&rest, " ");
	run(argv);
	fake_server_stop(server);
	assert_int_equal(fake_server_requests(server), 0);
	fake_server_free(server);
	assert_non_null(strstr(result.err, want));
	free(copy);
}

static void test_wrong_words(void **state)
{
	(void)state;
	wrong("infos", "unknown command \"infos\"");
	assert_failure(3, "the commands are list-ports, add-ports, remove-ports, info, stats");
	wrong("help nothing", "no help topic \"nothing\"");
	assert_failure(3, "the commands are list-ports");
	wrong("list-ports --jsn", "unknown option --jsn");
	wrong("remove-ports --json 1", "remove-ports has no --json");
	wrong("list-ports --json=maybe", "--json takes true or false");
	wrong("list-ports --socket", "--socket needs a value");
	wrong("add-ports", "no port specified");
	wrong("add-ports 1:2/tcp nonsense", "missing proto in PortSpec string: \"nonsense\"");
	wrong("remove-ports 1:2/tpc", "unknown proto: \"tpc\"; it must be like ");
	wrong("remove-ports", "no ID specified");
	wrong("remove-ports 1 two", "invalid ID \"two\"");
	wrong("remove-ports 99999999999999999999", "invalid ID");
	wrong("remove-ports \n1", "invalid ID \"\\n1\"");
	wrong("remove-ports 1-", "invalid ID \"1-\"");
	wrong("remove-ports 1--2", "invalid ID \"1--2\"");
	wrong("remove-ports 2-1", "invalid ID \"2-1\"");
	wrong("stats --watch abc", "stats takes options only, and no words such as \"abc\"");
	wrong("stats --watch=5", "--watch takes true or false, not \"5\"");
	wrong("reload now", "reload takes options only");
	wrong("list-ports --timeout 5x", "--timeout takes a duration");
	wrong("list-ports --timeout -5s", "--timeout takes a duration");
	wrong("list-ports --timeout 9999999999", "--timeout takes a duration");
	wrong("list-ports --timeout soon", "--timeout takes a duration such as 5s");
	wrong("list-ports --timeout", "--timeout needs a value: --timeout 30s");
	assert_error("--timeout needs a value");
}

/* Words too many change nothing, as with RootlessKit, but a warning says so. */
static void test_words_too_many(void **state)
{
	(void)state;
	ask(OK_JSON("null"), "list-ports", "foo\033]0;x");
	assert_int_equal(result.status, 0);
	assert_string_equal(result.err,
			    "warning: list-ports takes no words: \"foo ]0;x\" is ignored\n");
	ask(OK_JSON("null"), "list-ports", "--json");
	assert_string_equal(result.err, "");
}

/* All ways in which HTTP/1.1 lets a server end its answer. */
static void test_http(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nnull\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
		("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		 "2\r\nnu\r\n2;x=y\r\nll\r\n0\r\nA: b\r\n\r\n"),
		"HTTP/1.0 200 OK\r\n\r\nnull",
		"HTTP/1.1 200\r\nConnection: close\r\n\r\nnull",
	};
	static const char *const bad[] = {
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nnull\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnull\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nnull\n",
		"HTTP/1.1 100 Continue\r\n\r\n",
		"HTTP/1.1 101 Switching\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
		"HTTP/1.1 00 \r\nContent-Length: 4\r\n\r\nnull",
		"HTTP/1.1 2",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		ask(answers[i], "list-ports", "--json");
		assert_string_equal(result.err, "");
		assert_int_equal(result.status, 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ask(bad[i], "list-ports", "--json");
		assert_error("does not answer as RootlessKit's API does");
	}
}

/* All requests use one connection, or another one when the server has hung up in between. */
static void test_connections(void **state)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

	(void)state;
	for (int hangs_up = 0; hangs_up < 2; hangs_up++) {
		struct fake_answer answers[3] = {
			[0 ... 2] = {.bytes = ok, .len = sizeof(ok) - 1, .close = hangs_up}};
		struct fake_server *server = fake_server_start(answers, 3, false);
		const char *words[] = {
			"--socket", fake_server_path(server), "remove-ports", "1", "2", "3", NULL};

		run(words);
		fake_server_stop(server);
		assert_string_equal(result.err, "");
		assert_string_equal(result.out, "1\n2\n3\n");
		assert_int_equal(fake_server_connections(server), hangs_up ? 3 : 1);
		fake_server_free(server);
	}
}

static void test_server_that_does_not_answer(void **state)
{
	static const char half[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{";
	struct fake_answer answers[] = {{.bytes = half, .len = sizeof(half) - 1},
					{.bytes = "", .len = 0, .hold = true}};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct fake_server *server = fake_server_start(&answers[i], 1, true);
		const char *words[] = {"--timeout", "0.1", "--socket", fake_server_path(server),
				       "info",	    NULL};

		run(words);
		assert_error("does not answer within 0.1 s");
		fake_server_stop(server);
		fake_server_free(server);
	}
}

/* The server accepts nobody, and the connections of others fill its backlog. */
static void test_server_that_does_not_accept(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), others[2];
	const char *words[] = {"--timeout=100ms", "--socket", addr.sun_path, "info", NULL};

	(void)state;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/test_ctl.%d.sock", (int)getpid());
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 0), 0);
	for (int i = 0; i < 2; i++) {
		others[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		assert_true(connect(others[i], (struct sockaddr *)&addr, sizeof(addr)) == 0 ||
			    errno == EAGAIN);
	}
	run(words);
	unlink(addr.sun_path);
	assert_error("does not answer within 0.1 s");
	close(others[0]);
	close(others[1]);
	close(fd);
}

/* Control characters: of C0, of C1 as UTF-8 and as a byte, and DEL. None may reach the terminal. */
#define NASTY "a\033]0;t\007\302\233b\177"

static void assert_no_control(const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		assert_true((c >= ' ' && c < 0x7f) || c == '\n');
	}
}

static void test_control_characters(void **state)
{
	static const char *const bodies[][2] = {
		{"info",
		 OK_JSON("{\"version\":\"a\\u001b]0;t\\u0007\\u009bb\\u007f\","
			 "\"stateDir\":\"\xc2\x9b\",\"networkDriver\":{\"dns\":[\"\\u009b\"]},"
			 "\"portDriver\":{\"driver\":\"\\u001b\",\"dataplane\":\"\\u001b\"}}")},
		{"list-ports", OK_JSON("[{\"id\":1,\"spec\":{\"proto\":\"t\\u001b[2J\","
				       "\"parentIP\":\"\\u009b2J\"}}]")},
		{"stats", OK_JSON("{\"dataplane\":\"\\u001bc\",\"total\":{},\"ports\":[{\"id\":1,"
				  "\"spec\":{\"proto\":\"\\u001b\",\"parentIP\":\"\\u009b\"}}]}")},
		{"info", ANSWER("400 No", "{\"message\":\""
					  "a\\u001b]0;t\\u0007\\u009bb\\u007f"
					  "\"}")},
		{"info", ANSWER("500 No", NASTY)},
		{"info", ANSWER("200 OK", "{\"childPID\":1" NASTY "}")},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		ask(bodies[i][1], bodies[i][0], NULL);
		assert_no_control(result.out);
		assert_no_control(result.err);
		ask(bodies[i][1], bodies[i][0], "--json");
		assert_no_control(result.out);
		assert_no_control(result.err);
	}
	ask(OK_JSON("{\"version\":\"\xc2\x9b\x7f\xc3\xa9\"}"), "info", "--json");
	assert_non_null(strstr(result.out, "\"\\u009b\\u007f\xc3\xa9\""));
}

static void test_options_anywhere(void **state)
{
	(void)state;
	ask(OK_JSON("null"), "--json", "list-ports");
	assert_int_equal(result.status, 0);
	ask(OK_JSON("null"), "list-ports", "-json=true");
	assert_int_equal(result.status, 0);
	ask(OK_JSON("null"), "list-ports", "--debug");
	assert_int_equal(result.status, 0);
	assert_memory_equal(result.err, "debug: GET /v1/ports: 200", 25);
}

static void test_help(void **state)
{
	static const char *const topics[][3] = {
		{"--help", NULL, "remove-ports"}, {"help", NULL, "remove-ports"},
		{"h", "add-ports", "PARENTPORT"}, {"list-ports", "--help", "--json"},
		{"remove-ports", "-h", "ID"},	  {"info", "--help", "--json"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(topics); i++) {
		const char *words[] = {topics[i][0], topics[i][1], NULL};

		run(words);
		assert_int_equal(result.status, 0);
		assert_string_equal(result.err, "");
		assert_non_null(strstr(result.out, topics[i][2]));
	}
}

/* Output to a full disk is a failure. */
static void test_stdout_that_is_full(void **state)
{
	struct fake_answer answer = {.bytes = OK_JSON("[{\"id\":1,\"spec\":{}}]"), .close = true};
	struct fake_server *server;
	const char *words[] = {"--socket", NULL, "list-ports", NULL};
	int full = open("/dev/full", O_WRONLY);

	(void)state;
	answer.len = strlen(answer.bytes);
	server = fake_server_start(&answer, 1, true);
	words[1] = fake_server_path(server);
	result = ctl_run(words, NULL, full);
	fake_server_stop(server);
	fake_server_free(server);
	close(full);
	assert_int_equal(result.status, 1);
	assert_non_null(strstr(result.err, "cannot write to stdout: No space left on device"));
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_no_api),
		TEST(test_refusals),
		TEST(test_batches),
		TEST(test_ranges_in_the_list),
		TEST(test_adding_ranges),
		TEST(test_removing_ranges),
		TEST(test_socket),
		TEST(test_state_dir_in_the_environment),
		TEST(test_wrong_words),
		TEST(test_words_too_many),
		TEST(test_http),
		TEST(test_connections),
		TEST(test_server_that_does_not_answer),
		TEST(test_server_that_does_not_accept),
		TEST(test_control_characters),
		TEST(test_options_anywhere),
		TEST(test_help),
		TEST(test_stdout_that_is_full),
	};

	ctl_require();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

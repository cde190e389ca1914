/* SPDX-License-Identifier: Apache-2.0 */
/* rootlessctl against recordings of RootlessKit 1.1.0. With the same command line and the same
 * answers it must send the same requests and print the same bytes. */
#include "cmocka_all.h"

#include <glob.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "test_ctl_server.h"

#define WORDS_MAX    16
#define REQUESTS_MAX 8

struct recording {
	char text[16384]; /* the file, which is cut up in place */
	const char *words[WORDS_MAX];
	int status;
	const char *out, *err;
	size_t n;
	char *requests[REQUESTS_MAX]; /* request line, headers, body */
	struct fake_answer answers[REQUESTS_MAX];
};

static void cut(char *s)
{
	if (s)
		*s = '\0';
}

/* The text after a heading. The recording is cut where the next heading begins. */
static char *section(char *text, const char *heading)
{
	char *found = strstr(text, heading);

	assert_non_null(found);
	return found + strlen(heading);
}

/* Recordings have the line ends of HTTP as "\r\n" in letters and then a line end of the file. */
static void decode_line_ends(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (strncmp(s, "\\r\\n\n", 5) == 0) {
			*to++ = '\r';
			*to++ = '\n';
			s += 4;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* The line end after a body is not part of the body. */
static void trim_newline(char *s)
{
	size_t len = strlen(s);

	if (len > 0 && s[len - 1] == '\n' && (len < 2 || s[len - 2] != '\r'))
		s[len - 1] = '\0';
}

/* Returns the answer with the length that its body has now: the recorded instance's directory was
 * replaced by a shorter word. Allocated. */
static char *with_true_length(const char *answer)
{
	static const char field[] = "Content-Length: ";
	const char *value = strstr(answer, field), *body = strstr(answer, "\r\n\r\n");
	char *out;

	assert_non_null(value);
	assert_non_null(body);
	value += strlen(field);
	assert_true(asprintf(&out, "%.*s%zu%s", (int)(value - answer), answer, strlen(body + 4),
			     value + strspn(value, "0123456789")) > 0);
	return out;
}

static void parse_wire(struct recording *r, char *wire)
{
	static const char ask[] = ">>> client\n", reply[] = "<<< server\n";
	char *next = strstr(wire, ask);

	cut(strstr(wire, "--- closed"));
	while (next) {
		char *request = next + strlen(ask), *answer = section(request, reply);

		assert_true(r->n < REQUESTS_MAX);
		next = strstr(answer, ask);
		answer[-(ptrdiff_t)strlen(reply)] = '\0';
		cut(next);
		decode_line_ends(request);
		decode_line_ends(answer);
		trim_newline(request);
		trim_newline(answer);
		r->requests[r->n] = request;
		answer = with_true_length(answer);
		r->answers[r->n++] = (struct fake_answer){.bytes = answer, .len = strlen(answer)};
	}
}

static void parse_words(struct recording *r, char *command)
{
	size_t n = 0;

	for (char *word = strtok(command, " "); word; word = strtok(NULL, " ")) {
		assert_true(n + 1 < WORDS_MAX);
		r->words[n++] = word;
	}
}

static void parse(struct recording *r, const char *path)
{
	char *command, *status, *out, *errors, *wire;

	assert_true(fd_read_file(path, r->text, sizeof(r->text)) > 0);
	command = section(r->text, "### command: rootlessctl ");
	status = section(command, "### exit: ");
	out = section(status, "### stdout\n");
	errors = section(out, "### stderr\n");
	wire = section(errors, "### wire\n");
	cut(strchr(command, '\n'));
	r->status = (int)strtol(status, NULL, 10);
	cut(strstr(out, "### stderr\n"));
	cut(strstr(errors, "### wire\n"));
	r->out = out;
	r->err = errors;
	parse_wire(r, wire);
	parse_words(r, command);
}

static void put_socket(struct recording *r, const char *path)
{
	for (size_t i = 0; r->words[i]; i++)
		if (strcmp(r->words[i], "rec.sock") == 0)
			r->words[i] = path;
}

static void compare_request(const char *recorded, const struct fake_request *sent)
{
	const char *body = strstr(recorded, "\r\n\r\n") + 4;
	json_t *want, *have;

	assert_int_equal(strncmp(recorded, sent->line, strcspn(recorded, "\r")), 0);
	assert_int_equal(strlen(sent->line), strcspn(recorded, "\r"));
	if (!*body) {
		assert_string_equal(sent->body, "");
		return;
	}
	want = json_loads(body, 0, NULL);
	have = json_loads(sent->body, 0, NULL);
	assert_non_null(want);
	assert_true(json_equal(want, have));
	assert_true(sent->is_json);
	json_decref(want);
	json_decref(have);
}

static void test_recording(void **state)
{
	struct recording *r = calloc(1, sizeof(*r));
	struct fake_server *server;
	struct ctl_result result;

	assert_non_null(r);
	parse(r, *state);
	server = fake_server_start(r->answers, r->n, false);
	put_socket(r, fake_server_path(server));
	result = ctl_run(r->words, NULL, -1);
	fake_server_stop(server);
	assert_string_equal(result.err, r->err);
	assert_string_equal(result.out, r->out);
	assert_int_equal(result.status, r->status);
	assert_int_equal(fake_server_requests(server), r->n);
	for (size_t i = 0; i < r->n; i++)
		compare_request(r->requests[i], fake_server_request(server, i));
	assert_true(fake_server_connections(server) <= 1);
	fake_server_free(server);
	ctl_result_free(&result);
	for (size_t i = 0; i < r->n; i++)
		free((void *)(unsigned long)r->answers[i].bytes);
	free(r);
}

int main(void)
{
	const char *dir = getenv("RK_GOLDEN");
	auto_free struct CMUnitTest *tests = NULL;
	auto_free char *pattern = NULL;
	glob_t found;
	int failed;

	ctl_require();
	if (!dir || asprintf(&pattern, "%s/ctl-*.txt", dir) < 0 ||
	    glob(pattern, 0, NULL, &found) != 0) {
		fprintf(stderr, "RK_GOLDEN must name the directory of the recordings\n");
		return 1;
	}
	tests = calloc(found.gl_pathc, sizeof(*tests));
	for (size_t i = 0; tests && i < found.gl_pathc; i++)
		tests[i] = (struct CMUnitTest){.name = strrchr(found.gl_pathv[i], '/') + 1,
					       .test_func = test_recording,
					       .initial_state = found.gl_pathv[i]};
	failed = tests ? _cmocka_run_group_tests("recordings", tests, found.gl_pathc, NULL, NULL)
		       : 1;
	globfree(&found);
	return failed;
}

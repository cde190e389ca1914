/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/fd.h"
#include "base/limits.h"
#include "ctl/curl.h"
#include "ports/spec.h"

struct client {
	const struct curl *lib;
	CURL *curl;
	struct curl_slist *headers;
	const char *socket_path;
	bool debug;
	char *answer; /* of the request in hand, with a NUL */
	size_t len, size;
	char curl_error[CURL_ERROR_SIZE];
};

/* Doubles the buffer: the list of 65,536 ports is 7 MB. */
static size_t on_answer(char *data, size_t one, size_t n, void *arg)
{
	struct client *client = arg;
	size_t need = client->len + n + 1;

	(void)one; /* always 1: CURLOPT_WRITEFUNCTION(3) */
	if (need > LIMIT_CTL_ANSWER_BYTES)
		return 0;
	if (need > client->size) {
		size_t size = need < 4096 ? 4096 : need * 2;
		char *answer = realloc(client->answer, size);

		if (!answer)
			return 0;
		client->answer = answer;
		client->size = size;
	}
	memcpy(client->answer + client->len, data, n);
	client->len += n;
	client->answer[client->len] = '\0';
	return n;
}

static void set_options(struct client *client)
{
	const struct curl *lib = client->lib;
	CURL *curl = client->curl;

	lib->easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, client->socket_path);
	lib->easy_setopt(curl, CURLOPT_PROXY, ""); /* whatever http_proxy says */
	lib->easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	lib->easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	lib->easy_setopt(curl, CURLOPT_HTTPHEADER, client->headers);
	lib->easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_answer);
	lib->easy_setopt(curl, CURLOPT_WRITEDATA, client);
	lib->easy_setopt(curl, CURLOPT_ERRORBUFFER, client->curl_error);
	lib->easy_setopt(curl, CURLOPT_USERAGENT, "rootlessctl");
}

int client_open(const char *socket_path, bool debug, struct client **out, struct err *e)
{
	struct client *client;

	if (strlen(socket_path) >= sizeof((struct sockaddr_un){0}.sun_path))
		return err_set(
			e, -ENAMETOOLONG,
			"%s is too long for the path of a socket, which has at most %zu bytes",
			socket_path, sizeof((struct sockaddr_un){0}.sun_path) - 1);
	client = calloc(1, sizeof(*client));
	if (!client)
		return err_errno(e, -ENOMEM, "rootlessctl");
	client->socket_path = socket_path;
	client->debug = debug;
	client->lib = curl_load(e);
	if (!client->lib) {
		free(client);
		return -ENOENT;
	}
	/* Nothing but sockets: TLS would take more time to set up than all the rest. */
	if (client->lib->global_init(CURL_GLOBAL_NOTHING) == CURLE_OK)
		client->curl = client->lib->easy_init();
	client->headers = client->lib->slist_append(NULL, "Content-Type: application/json");
	if (!client->curl || !client->headers) {
		client_close(client);
		return err_set(e, -ENOMEM, "libcurl cannot be set up");
	}
	set_options(client);
	*out = client;
	return 0;
}

void client_close(struct client *client)
{
	if (!client)
		return;
	client->lib->easy_cleanup(client->curl);
	client->lib->slist_free_all(client->headers);
	client->lib->global_cleanup();
	free(client->answer);
	free(client);
}

/* Why nobody answers at that path, and what would be right. */
static int explain_no_connection(const struct client *client, struct err *e)
{
	const char *path = client->socket_path;
	long os_errno = 0;
	struct stat st;

	client->lib->easy_getinfo(client->curl, CURLINFO_OS_ERRNO, &os_errno);
	if (stat(path, &st) < 0)
		return err_set(e, -errno,
			       "cannot connect to %s: %s (it is api.sock in the --state-dir of a "
			       "running rootlesskit)",
			       path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return err_set(e, -EISDIR,
			       "cannot connect to %s: it is a directory: try %s/api.sock", path,
			       path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, -ENOTSOCK, "cannot connect to %s: it is not a socket", path);
	if (os_errno == ECONNREFUSED)
		return err_set(e, -ECONNREFUSED,
			       "cannot connect to %s: connection refused: the rootlesskit that "
			       "made it does not run any more",
			       path);
	if (os_errno == EACCES)
		return err_set(e, -EACCES,
			       "cannot connect to %s: permission denied: it belongs to user id %u",
			       path, (unsigned)st.st_uid);
	return err_errno(e, os_errno > 0 ? -(int)os_errno : -EIO, "cannot connect to %s", path);
}

static int explain_transfer(const struct client *client, CURLcode code, const char *method,
			    const char *path, struct err *e)
{
	const char *why =
		client->curl_error[0] ? client->curl_error : client->lib->easy_strerror(code);

	if (code == CURLE_COULDNT_CONNECT)
		return explain_no_connection(client, e);
	if (code == CURLE_OUT_OF_MEMORY)
		return err_errno(e, -ENOMEM, "%s %s", method, path);
	if (code == CURLE_WRITE_ERROR)
		return err_set(e, -EFBIG, "%s %s: the answer has more than %d bytes", method, path,
			       LIMIT_CTL_ANSWER_BYTES);
	return err_set(e, -EPROTO, "%s %s: %s does not answer as RootlessKit's API does: %s",
		       method, path, client->socket_path, why);
}

json_t *client_last_answer(const struct client *client)
{
	return json_loadb(client->len ? client->answer : "", client->len, 0, NULL);
}

/* {"message":"..."} is what every handler of the API says; anything else is shown as it is. */
static int explain_refusal(const struct client *client, long status, struct err *e)
{
	json_t *body = client_last_answer(client);
	const char *message = json_string_value(json_object_get(body, "message"));
	char quoted[512];

	if (message)
		err_set(e, -EREMOTEIO, "%s", message);
	else
		err_set(e, -EREMOTEIO, "unexpected HTTP status %ld, body=%s", status,
			quote_go(client->len ? client->answer : "", quoted, sizeof(quoted)));
	json_decref(body);
	return -EREMOTEIO;
}

static void set_request(struct client *client, const char *method, const char *url,
			const char *body)
{
	const struct curl *lib = client->lib;
	CURL *curl = client->curl;

	lib->easy_setopt(curl, CURLOPT_URL, url);
	lib->easy_setopt(curl, CURLOPT_HTTPGET, 1L); /* undoes the POST of the last one */
	if (body) {
		lib->easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
		lib->easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	}
	lib->easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
}

static int transfer(struct client *client, const char *method, const char *path, const char *body,
		    long *status, struct err *e)
{
	double seconds = 0;
	char url[256];
	CURLcode code;

	/* The host part is RootlessKit's own; a server takes any. */
	snprintf(url, sizeof(url), "http://rootlesskit%s", path);
	set_request(client, method, url, body);
	client->len = 0;
	client->curl_error[0] = '\0';
	code = client->lib->easy_perform(client->curl);
	if (code != CURLE_OK)
		return explain_transfer(client, code, method, path, e);
	client->lib->easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, status);
	client->lib->easy_getinfo(client->curl, CURLINFO_TOTAL_TIME, &seconds);
	if (client->debug)
		fprintf(stderr, "debug: %s %s: %ld, %zu bytes, %.3f ms\n", method, path, *status,
			client->len, seconds * 1e3);
	return 0;
}

int client_call(struct client *client, const char *method, const char *path, const json_t *body,
		json_t **out, struct err *e)
{
	auto_free char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_error_t why;
	long status = 0;
	int code;

	if (body && !text)
		return err_set(e, -EINVAL, "%s %s: cannot be written as JSON", method, path);
	code = transfer(client, method, path, text, &status, e);
	if (code < 0)
		return code;
	if (status < 200 || status > 299)
		return explain_refusal(client, status, e);
	if (!out)
		return 0;
	*out = json_loadb(client->len ? client->answer : "", client->len, JSON_DECODE_ANY, &why);
	if (!*out)
		return err_set(e, -EPROTO, "%s %s: the answer is not JSON: %s", method, path,
			       why.text);
	return 0;
}

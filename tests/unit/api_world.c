/* SPDX-License-Identifier: Apache-2.0 */
#include "api_world.h"

#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

struct api *api;
struct port_driver drv;
struct loop *loop;
char path[100];

static struct ports *ports;
static char dir[64];
static int dir_fd;

time_t later_s, stands_at_s;

int clock_gettime(clockid_t clock_id, struct timespec *tp)
{
	int r = (int)syscall(SYS_clock_gettime, clock_id, tp);

	if (stands_at_s)
		*tp = (struct timespec){.tv_sec = stands_at_s};
	tp->tv_sec += later_s;
	return r;
}

static int open_server(bool with_ports)
{
	static struct net_result net;
	struct api_info info = {.state_dir = dir, .child_pid = 123, .net = &net};
	struct err e;

	net = (struct net_result){.driver = "slirp4netns", .ip = "10.0.2.100", .dns = {"10.0.2.3"}};
	drv = (struct port_driver){.immediate = true};
	strcpy(dir, "/tmp/ringkit-test-XXXXXX");
	if (!mkdtemp(dir) || loop_open(&loop) < 0 || ports_open(&fake_ops, &drv, &ports) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/api.sock", dir);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	info.ports = with_ports ? ports : NULL;
	if (api_open(loop, dir_fd, &info, &api, &e) < 0) {
		print_error("%s\n", e.msg);
		return -1;
	}
	return 0;
}

int setup(void **state)
{
	(void)state;
	return open_server(true);
}

int setup_without_ports(void **state)
{
	(void)state;
	return open_server(false);
}

int teardown(void **state)
{
	(void)state;
	api_close(api);
	ports_close(ports);
	loop_close(loop);
	close(dir_fd);
	return rmdir(dir); /* fails if the socket is still there */
}

int dial(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	memcpy(addr.sun_path, path, strlen(path));
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

void turn(unsigned n)
{
	while (n--)
		assert_int_equal(loop_run_once(loop, 1), 0);
}

void put(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			n = 0;
		if (n < 0)
			return; /* the server has closed */
		data += n;
		len -= (size_t)n;
		turn(1);
	}
}

void put_text(int fd, const char *text)
{
	put(fd, text, strlen(text));
}

const char *get(int fd)
{
	static char buf[70000];
	size_t len = 0;

	buf[0] = '\0';
	for (int idle = 0; idle < 200;) {
		ssize_t n = recv(fd, buf + len, sizeof(buf) - len - 1, 0);
		char *end, *length;

		if (n == 0)
			break;
		if (n < 0) {
			turn(1);
			idle++;
			continue;
		}
		len += (size_t)n;
		buf[len] = '\0';
		end = strstr(buf, "\r\n\r\n");
		length = strcasestr(buf, "content-length: ");
		if (end && length && strlen(end + 4) >= strtoul(length + 16, NULL, 10))
			break;
	}
	return buf;
}

const char *ask(int fd, const char *request)
{
	put(fd, request, strlen(request));
	return get(fd);
}

const char *ask_once(const char *request)
{
	int fd = dial();
	const char *answer = ask(fd, request);

	close(fd);
	turn(2);
	return answer;
}

const char *post_request(const char *url, const char *body)
{
	static char request[2000];

	snprintf(request, sizeof(request),
		 "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", url, strlen(body),
		 body);
	return request;
}

const char *post(const char *body)
{
	return ask_once(post_request("/v1/ports", body));
}

const char *post_batch(const char *body)
{
	return ask_once(post_request("/v1/ports/batch", body));
}

void assert_has(const char *answer, const char *want)
{
	if (answer && strstr(answer, want))
		return;
	print_error("expected %s in:\n%s\n", want, answer ? answer : "no answer");
	fail();
}

void assert_list(const char *want)
{
	assert_has(ask_once("GET /v1/ports HTTP/1.1\r\nHost: x\r\n\r\n"), want);
}

/* Leases */

int have_descriptors(void **state)
{
	struct rlimit limit;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &limit);
}

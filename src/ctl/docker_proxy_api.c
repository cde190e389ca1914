/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/codec.h"
#include "base/fd.h"
#include "base/linux_calls.h"
#include "cli/value.h"
#include "ctl/answer.h"
#include "ctl/client.h"
#include "ctl/docker_proxy_internal.h"
#include "ns/route.h"

/*
 * The docker proxy's requests to the API.
 *
 * A port must not outlive its proxy: the next container with that address would get its
 * connections. Where the server has leases (portLeases in its info), the port belongs to the
 * connection by which it was requested. That connection stays open for as long as we live, and the
 * kernel closes it however we end.
 */

/* dockerd waits 16 s for our result. */
#define TIMEOUT_MS 10000

#define DIRECT_ENV "ROOTLESSKIT_DOCKER_PROXY_DIRECT"

bool docker_proxy_env(const char *name, bool if_unset)
{
	const char *word = getenv(name);
	bool value = if_unset;

	if (word && value_parse_bool(word, &value) < 0)
		value = if_unset;
	return value;
}

static bool driver_takes(const json_t *driver, const char *proto)
{
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(driver, "protos"), i,
			   item) if (!strcmp(json_string_value(item), proto)) return true;
	return false;
}

static int ask_info(struct client *client, json_t **out, struct err *e)
{
	json_t *answer = NULL;
	int code = client_call(client, "GET", "/v1/info", NULL, &answer, e);

	if (!code) {
		*out = answer_normalize_info(answer, e);
		code = *out ? 0 : -EPROTO;
	}
	json_decref(answer);
	return code ? err_wrap(e, code, "failed to call rootlesskit's API") : 0;
}

/* Chooses a loopback address where the driver can connect to one: then nobody on the network of the
 * namespace reaches the port past us. */
static int choose_child_ip(const struct proxy *p, const json_t *info, struct outcome *out)
{
	const json_t *driver = json_object_get(info, "portDriver");
	const json_t *net = json_object_get(info, "networkDriver");
	const char *ip = docker_proxy_args_is_ipv6(&p->args) ? "::1" : "127.0.0.1";

	if (json_is_true(json_object_get(driver, "disallowLoopbackChildIP"))) {
		ip = json_string_value(json_object_get(net, "childIP"));
		if (!ip)
			return err_set(&out->e, -EADDRNOTAVAIL,
				       "RootlessKit port driver \"%s\" does not allow loopback "
				       "child IP, but network driver has no child IP",
				       out->driver);
	}
	snprintf(out->child_ip, sizeof(out->child_ip), "%s", ip);
	return 0;
}

/* Requests the port that body describes. */
static int post(struct proxy *p, const json_t *body, struct err *e)
{
	struct answer_port port = {.id = 0};
	json_t *answer = NULL;
	int code = client_call(p->client, "POST", "/v1/ports", body, &answer, e);

	if (!code)
		code = answer_decode_port(answer, &port, e);
	json_decref(answer);
	p->port_id = port.id;
	return code;
}

/* Requests the port with a lease if the server has leases. When it refuses, perhaps because it has
 * no more of them, the port is requested without one: the container must start, even with a port
 * that stays if we are killed. */
static int post_leased(struct proxy *p, json_t *body, bool can_lease, struct err *e)
{
	int code = can_lease ? json_object_set_new(body, "lease", json_string("connection")) : 0;

	if (code)
		return err_errno(e, -ENOMEM, "lease");
	code = post(p, body, e);
	p->leased = can_lease && !code;
	if (code != -EREMOTEIO || !can_lease)
		return code;
	json_object_del(body, "lease");
	return post(p, body, e);
}

/* Publishes the port. 0 and *out has it, or -errno with *e filled in. */
static int publish(struct proxy *p, const json_t *info, const struct port_spec *to,
		   struct outcome *out, struct err *e)
{
	struct port_spec spec = *to;
	json_t *body;
	int code;

	spec.parent_port = p->args.host_port;
	snprintf(spec.proto, sizeof(spec.proto), "%s", p->proto);
	snprintf(spec.parent_ip, sizeof(spec.parent_ip), "%s", p->args.host_ip);
	body = codec_spec_encode(&spec);
	if (!body)
		return err_errno(e, -ENOMEM, "port spec");
	code = post_leased(p, body, json_is_true(json_object_get(info, "portLeases")), e);
	json_decref(body);
	if (code)
		return err_wrap(e, code, "error while calling PortManager.AddPort()");
	out->what = PUBLISHED;
	return 0;
}

/* Publishes the port to a docker-proxy that is to listen in the namespace, on a port of the same
 * number. */
static int publish_to_proxy(struct proxy *p, const json_t *info, struct outcome *out)
{
	struct port_spec spec = {.child_port = p->args.host_port};
	int code;

	if (p->no_program.code) {
		out->e = p->no_program;
		return out->e.code;
	}
	code = choose_child_ip(p, info, out);
	if (code)
		return code;
	snprintf(spec.child_ip, sizeof(spec.child_ip), "%s", out->child_ip);
	return publish(p, info, &spec, out, &out->e);
}

/* The cookie of the network namespace that we are in; 0 when it cannot be found out. */
static uint64_t own_netns_cookie(void)
{
	auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0)
		return 0;
	return cookie;
}

/* Whether the port can lead straight to the container: 0, or -errno with *e saying why docker-proxy
 * is needed. A server that does not report the cookie has no childListenIP. */
static int check_direct(const struct proxy *p, const json_t *info, struct err *e)
{
	const json_t *net = json_object_get(info, "networkDriver");
	const json_t *cookie = json_object_get(json_object_get(info, "portDriver"), "netnsCookie");

	if (!docker_proxy_env(DIRECT_ENV, true))
		return err_set(e, -EPERM, DIRECT_ENV " says so");
	if (!cookie)
		return err_set(e, -ENOTSUP, "the port driver cannot listen in the namespace");
	if ((uint64_t)json_integer_value(cookie) != own_netns_cookie())
		return err_set(e, -EXDEV, "this is another network namespace than rootlesskit's");
	return route_is_neighbour(p->args.container_ip,
				  json_string_value(json_object_get(net, "childIP")), e);
}

/*
 * Publishes the port straight to the container. Our forwarder connects from the namespace that we
 * are in, as docker-proxy does, so the container sees the same. docker-proxy also offers the port
 * to processes in the namespace, and to containers by their gateway's address. For these the data
 * plane listens there, too, on the requested address. Docker's own iptables rules leave out just
 * that: 127.0.0.0/8, and what comes from the container's own bridge.
 *
 * A specific address of the host is usually not an address of the namespace; then nobody there
 * misses it.
 */
static int publish_direct(struct proxy *p, const json_t *info, struct outcome *out)
{
	struct port_spec spec = {.child_port = p->args.container_port};
	int code = check_direct(p, info, &out->not_direct);

	if (code)
		return err_wrap(&out->not_direct, code, "by way of docker-proxy");
	snprintf(spec.child_ip, sizeof(spec.child_ip), "%s", p->args.container_ip);
	if (!p->args.use_listen_fd)
		snprintf(spec.child_listen_ip, sizeof(spec.child_listen_ip), "%s", p->args.host_ip);
	code = publish(p, info, &spec, out, &out->not_direct);
	if (code)
		return err_wrap(&out->not_direct, code, "by way of docker-proxy");
	out->direct = true;
	return 0;
}

static int decide(struct proxy *p, const json_t *info, struct outcome *out)
{
	const json_t *driver = json_object_get(info, "portDriver");
	const char *name = json_string_value(json_object_get(driver, "driver"));

	snprintf(out->driver, sizeof(out->driver), "%s", name ? name : "none");
	if (!strcmp(out->driver, "none") || !strcmp(out->driver, "implicit"))
		out->what = WITHOUT_US;
	else if (!driver_takes(driver, p->proto))
		out->what = DISCARDED;
	if (out->what != NOTHING)
		return 0;
	if (publish_direct(p, info, out) == 0)
		return 0;
	return publish_to_proxy(p, info, out);
}

static int open_client(struct proxy *p, struct err *e)
{
	const struct client_options options = {
		.socket_path = p->socket_path, .timeout_ms = TIMEOUT_MS, .abort_fd = p->signal_fd};

	return p->client ? 0 : client_open(&options, &p->client, e);
}

static void close_client(struct proxy *p)
{
	client_close(p->client);
	p->client = NULL;
}

void docker_proxy_publish(struct proxy *p, struct outcome *out)
{
	json_t *info = NULL;
	int code;

	*out = (struct outcome){.what = NOTHING};
	code = open_client(p, &out->e);
	code = code ? code : ask_info(p->client, &info, &out->e);
	if (!code)
		decide(p, info, out);
	json_decref(info);
	if (out->what != PUBLISHED || !p->leased)
		close_client(p);
}

/* Whether the error means that the parent, and with it the port, is gone. */
static bool is_gone(const struct proxy *p, int code)
{
	return code == -ECONNREFUSED || (code == -ENOENT && access(p->socket_path, F_OK) != 0);
}

int docker_proxy_remove(struct proxy *p, struct err *e)
{
	char path[64];
	int code = 0;

	snprintf(path, sizeof(path), "/v1/ports/%d", p->port_id);
	if (!p->leased || client_is_connected(p->client)) {
		code = open_client(p, e);
		code = code ? code : client_call(p->client, "DELETE", path, NULL, NULL, e);
	}
	close_client(p);
	if (!code || is_gone(p, code))
		return 0;
	return err_wrap(e, code, "error while calling PortManager.RemovePort()");
}

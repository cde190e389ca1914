/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/docker_proxy_args.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "cli/value.h"

struct option {
	const char *name;
	const char **text; /* one of the three is set */
	int *port;
	bool *flag;
};

static int take_value(const struct option *opt, const char *value, struct err *e)
{
	if (!opt->port) {
		*opt->text = value;
		return 0;
	}
	if (value_parse_int(value, opt->port) < 0 || *opt->port < 1 || *opt->port > 65535)
		return err_set(e, -EINVAL, "-%s takes a port from 1 to 65535, not \"%.40s\"",
			       opt->name, value);
	return 0;
}

/* Takes the option at argv[*i] and its value, and moves *i past them. */
static int take_option(const struct option *options, size_t n, char **argv, int *i, struct err *e)
{
	const char *name = argv[*i] + (argv[*i][1] == '-' ? 2 : 1), *eq = strchr(name, '=');
	size_t len = eq ? (size_t)(eq - name) : strlen(name);
	const char *value = eq ? eq + 1 : NULL;

	for (size_t k = 0; k < n; k++) {
		const struct option *opt = &options[k];

		if (strlen(opt->name) != len || memcmp(opt->name, name, len) != 0)
			continue;
		if (opt->flag) {
			*opt->flag = true;
			if (value && value_parse_bool(value, opt->flag) < 0)
				return err_set(e, -EINVAL, "-%s takes true or false, not \"%.40s\"",
					       opt->name, value);
			return 0;
		}
		if (!value)
			value = argv[++*i];
		if (!value)
			return err_set(e, -EINVAL, "-%s needs a value", opt->name);
		return take_value(opt, value, e);
	}
	return err_set(e, -EINVAL,
		       "unknown option %.40s: the options are -proto, -host-ip, -host-port, "
		       "-container-ip, -container-port, -use-listen-fd, as docker-proxy has them",
		       argv[*i]);
}

static bool is_ip(const char *text)
{
	struct in6_addr addr;

	return inet_pton(AF_INET, text, &addr) == 1 || inet_pton(AF_INET6, text, &addr) == 1;
}

static int check(const struct docker_proxy_args *args, struct err *e)
{
	static const char *const protos[] = {"tcp", "udp", "sctp"};
	bool known = false;

	for (size_t i = 0; i < ARRAY_SIZE(protos); i++)
		known = known || !strcmp(args->proto, protos[i]);
	if (!known)
		return err_set(e, -EINVAL, "-proto is tcp, udp or sctp, not \"%.40s\"",
			       args->proto);
	if (!is_ip(args->host_ip))
		return err_set(e, -EINVAL, "-host-ip takes an IP address, not \"%.64s\"",
			       args->host_ip);
	if (!is_ip(args->container_ip))
		return err_set(e, -EINVAL, "-container-ip takes an IP address, not \"%.64s\"",
			       args->container_ip);
	if (!args->host_port || !args->container_port)
		return err_set(e, -EINVAL, "-host-port and -container-port are needed");
	return 0;
}

int docker_proxy_args_parse(int argc, char **argv, struct docker_proxy_args *out, struct err *e)
{
	const struct option options[] = {
		{.name = "proto", .text = &out->proto},
		{.name = "host-ip", .text = &out->host_ip},
		{.name = "host-port", .port = &out->host_port},
		{.name = "container-ip", .text = &out->container_ip},
		{.name = "container-port", .port = &out->container_port},
		{.name = "use-listen-fd", .flag = &out->use_listen_fd},
		{.name = "help", .flag = &out->help},
		{.name = "h", .flag = &out->help},
		{.name = "version", .flag = &out->version},
		{.name = "v", .flag = &out->version},
	};

	*out = (struct docker_proxy_args){.proto = "tcp", .host_ip = "", .container_ip = ""};
	for (int i = 1; i < argc; i++) {
		int code;

		if (argv[i][0] != '-')
			return err_set(e, -EINVAL, "unexpected word \"%.64s\": options only",
				       argv[i]);
		code = take_option(options, ARRAY_SIZE(options), argv, &i, e);
		if (code < 0)
			return code;
	}
	if (!out->host_ip[0])
		out->host_ip = "0.0.0.0";
	return out->help || out->version ? 0 : check(out, e);
}

bool docker_proxy_args_is_ipv6(const struct docker_proxy_args *args)
{
	return strchr(args->host_ip, ':') != NULL;
}

const char *docker_proxy_args_proto(const struct docker_proxy_args *args, char *buf)
{
	snprintf(buf, 16, "%s%c", args->proto, docker_proxy_args_is_ipv6(args) ? '6' : '4');
	return buf;
}

void docker_proxy_args_build(const struct docker_proxy_args *args, const char *program,
			     const char *host_ip, const char *argv[16], char numbers[2][12])
{
	size_t n = 0;

	snprintf(numbers[0], sizeof(numbers[0]), "%d", args->container_port);
	snprintf(numbers[1], sizeof(numbers[1]), "%d", args->host_port);
	argv[n++] = program;
	argv[n++] = "-container-ip";
	argv[n++] = args->container_ip;
	argv[n++] = "-container-port";
	argv[n++] = numbers[0];
	argv[n++] = "-host-ip";
	argv[n++] = host_ip;
	argv[n++] = "-host-port";
	argv[n++] = numbers[1];
	argv[n++] = "-proto";
	argv[n++] = args->proto;
	if (args->use_listen_fd)
		argv[n++] = "-use-listen-fd";
	argv[n] = NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What is printed for options: help, versions, warnings, and with --debug the resolved options. */
#include "cmocka_all.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/log.h"
#include "base/log_output.h"
#include "cli/option_table.h"
#include "cli/options.h"
#include "config.h"
#include "option_line.h"

/* Returns what fn writes to stdout or stderr. */
static const char *captured(int fd, void (*fn)(const void *), const void *arg)
{
	static char buf[32768];
	FILE *tmp = tmpfile();
	int saved = dup(fd);
	size_t n;

	fflush(stdout);
	assert_non_null(tmp);
	dup2(fileno(tmp), fd);
	log_output_open();
	fn(arg);
	fflush(stdout);
	dup2(saved, fd);
	log_output_open();
	close(saved);
	rewind(tmp);
	n = fread(buf, 1, sizeof(buf) - 1, tmp);
	buf[n] = '\0';
	fclose(tmp);
	return buf;
}

static void call_warn(const void *o)
{
	options_warn(o);
}

static const char *warnings(const char *line)
{
	struct options o = good(line);
	const char *text = captured(STDERR_FILENO, call_warn, &o);

	options_free(&o);
	return text;
}

static void warns(const char *line, const char *say)
{
	const char *text = warnings(line);

	if (!strstr(text, say))
		fail_msg("%s: \"%s\" does not say \"%s\"", line, text, say);
}

static void warns_not(const char *line, const char *say)
{
	const char *text = warnings(line);

	if (strstr(text, say))
		fail_msg("%s: \"%s\" says \"%s\"", line, text, say);
}

/* The options that are for one network, each with that network and with others. */
static void test_options_of_other_networks(void **state)
{
	static const struct {
		const char *option, *net;
	} rows[] = {{"--slirp4netns-sandbox=true", "slirp4netns"},
		    {"--slirp4netns-seccomp=true", "slirp4netns"},
		    {"--slirp4netns-binary=x", "slirp4netns"},
		    {"--pasta-binary=x", "pasta"},
		    {"--vpnkit-binary=x", "vpnkit"},
		    {"--lxc-user-nic-binary=x", "lxc-user-nic"},
		    {"--lxc-user-nic-bridge=x", "lxc-user-nic"}};
	static const char *const nets[] = {"host",  "none",   "slirp4netns",
					   "pasta", "vpnkit", "lxc-user-nic"};
	char line[200], say[200];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (size_t n = 0; n < ARRAY_SIZE(nets); n++) {
			snprintf(line, sizeof(line), "--net=%s %s true", nets[n], rows[i].option);
			snprintf(say, sizeof(say),
				 "%.*s has no effect with --net=%s: it is for --net=%s",
				 (int)strcspn(rows[i].option, "="), rows[i].option, nets[n],
				 rows[i].net);
			(strcmp(nets[n], rows[i].net) ? warns : warns_not)(line, say);
		}
	/* dockerd-rootless.sh gives these options whatever the network is. */
	warns_not("--net=pasta --slirp4netns-sandbox=auto --slirp4netns-seccomp=auto true",
		  "no effect");
	warns_not("--net=none --slirp4netns-sandbox=false true", "no effect");
	warns("--net=pasta --pesto-binary=x true",
	      "--pesto-binary has no effect with --port-driver=none: it is for "
	      "--port-driver=pesto");
	warns_not("--net=pasta --port-driver=pesto --pesto-binary=x true", "no effect");
}

static void test_warnings(void **state)
{
	(void)state;
	warns("--mtu=1400 true", "unsupported mtu for --net=host: 1400");
	warns("--net=none --mtu=1400 true", "unsupported mtu for --net=none: 1400");
	warns_not("--net=slirp4netns --mtu=1400 true", "mtu");
	warns("--ipv6 true", "--ipv6 is discarded for --net=host");
	warns_not("--net=slirp4netns --ipv6 true", "ipv6");
	warns("--net=slirp4netns true", "specifying --disable-host-loopback is highly recommended");
	warns_not("--net=slirp4netns --disable-host-loopback true", "host-loopback");
	warns_not("--net=none true", "host-loopback");
	warns_not("true", "host-loopback");
	warns(NET "--source-ip-transparent-backend=iptables true", "=iptables has no effect: nft");
	warns_not(NET "--source-ip-transparent-backend=nft true", "source-ip");
	warns("--source-ip-transparent-backend=nft true", "-backend has no effect with");
	warns("--source-ip-transparent=true true", "--source-ip-transparent has no effect with");
	warns_not(NET "--source-ip-transparent=true true", "source-ip");
	warns_not(NET "true", "source-ip");
	warns_not("--source-ip-transparent=false true", "source-ip");
	warns(NET "--dataplane-sandbox=false true", "--dataplane-sandbox=false: ");
	warns_not(NET "--dataplane-sandbox=true true", "sandbox");
	warns("--copy-up=/etc --net=builtin --dataplane-sandbox=false true",
	      "--dataplane-sandbox=false: ");
	warns_not("--copy-up=/etc --net=builtin --dataplane-sandbox=false true", "no effect");
	warns_not("--copy-up=/etc --net=auto --workers=2 true", "no effect");
	warns_not("--copy-up=/etc --net=builtin --port-driver=implicit --udp-timeout=9s true",
		  "no effect");
	warns("--workers=2 true", "--workers has no effect with --port-driver=none");
	warns("--udp-timeout=2 true", "--udp-timeout has no effect");
	warns_not(NET "--workers=2 true", "workers");
	warns("--disable-host-loopback true",
	      "--disable-host-loopback has no effect with --net=host");
	warns_not("--net=none --disable-host-loopback true", "loopback");
	warns("--copy-up-mode=tmpfs+symlink true",
	      "--copy-up-mode has no effect without --copy-up");
	warns_not("--copy-up-mode=tmpfs+symlink --copy-up=/etc true", "copy-up");
	if (geteuid() == 0)
		warns("true", "running as the root user");
	else
		warns_not("true", "running as the root user");
}

/* With --debug the resolved options go to stderr. Without it nothing does. */
static void test_debug(void **state)
{
	(void)state;
	warns_not("--pidns true", "reaper on");
	log_init("parent", true);
	warns("--pidns true",
	      "debug: --net=host --port-driver=none --propagation=rprivate, reaper on");
	log_init("parent", false);
}

static void call_help(const void *unused)
{
	(void)unused;
	options_print_help();
}

static void call_version(const void *unused)
{
	(void)unused;
	options_print_version();
}

static void call_semver(const void *part)
{
	options_print_semver(part);
}

static void test_help(void **state)
{
	const char *help = captured(STDOUT_FILENO, call_help, NULL);
	char form[64];

	(void)state;
	for (int i = 0; i < OPT_COUNT; i++) {
		snprintf(form, sizeof(form), "\n    --%s", option_table[i].name);
		if (!strstr(help, form))
			fail_msg("the help has no --%s", option_table[i].name);
	}
	for (int i = 0; i < GROUP_COUNT; i++) {
		snprintf(form, sizeof(form), "\n  %s:\n", option_group_names[i]);
		if (!strstr(help, form))
			fail_msg("the help has no group %s", option_group_names[i]);
	}
	assert_non_null(strstr(help, "network driver [host, builtin, none, slirp4netns, "));
	assert_non_null(strstr(help, "--publish value, -p value  "));
	assert_non_null(strstr(help, "[auto, dynamic, static] (default: \"auto\")"));
	assert_null(strstr(help, " \n"));
}

static void test_version(void **state)
{
	char want[64];

	(void)state;
	assert_string_equal(captured(STDOUT_FILENO, call_version, NULL),
			    "rootlesskit version " RINGKIT_VERSION "\n");
	snprintf(want, sizeof(want), "%s", captured(STDOUT_FILENO, call_semver, "major"));
	snprintf(want + strcspn(want, "\n"), 32, ".%s",
		 captured(STDOUT_FILENO, call_semver, "minor"));
	snprintf(want + strcspn(want, "\n"), 32, ".%s",
		 captured(STDOUT_FILENO, call_semver, "patch"));
	assert_string_equal(want, RINGKIT_COMPAT_VERSION "\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_warnings), cmocka_unit_test(test_options_of_other_networks),
		cmocka_unit_test(test_debug),	 cmocka_unit_test(test_help),
		cmocka_unit_test(test_version),
	};

	log_init("parent", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/array.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/log_output.h"
#include "cli/option_table.h"
#include "cli/options.h"
#include "cli/value.h"
#include "cmocka_all.h"
#include "dataplane/wire.h"
#include "option_line.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void bad(const char *line, const char *say)
{
	static char *argv[WORDS_MAX + 1];
	struct options o;
	struct err e = {0};
	int argc = words(line, argv);

	if (options_parse(argc, argv, &o, &e) != -EINVAL)
		fail_msg("%s was taken", line);
	assert_int_equal(e.code, -EINVAL);
	if (!strstr(e.msg, say))
		fail_msg("%s: \"%s\" does not say \"%s\"", line, e.msg, say);
	assert_null(strchr(e.msg, '\n'));
	assert_null(o.copy_up);
	assert_null(o.publish);
}

static void test_defaults(void **state)
{
	struct options o = good("true");

	(void)state;
	assert_false(o.debug || o.help || o.version);
	assert_null(o.print_semver);
	assert_null(o.state_dir);
	assert_string_equal(o.net, "host");
	assert_string_equal(o.slirp4netns_binary, "slirp4netns");
	assert_string_equal(o.vpnkit_binary, "vpnkit");
	assert_string_equal(o.pasta_binary, "pasta");
	assert_string_equal(o.pesto_binary, "pesto");
	assert_null(o.lxc_user_nic_binary);
	assert_string_equal(o.lxc_user_nic_bridge, "lxcbr0");
	assert_string_equal(o.slirp4netns_sandbox, "false");
	assert_string_equal(o.slirp4netns_seccomp, "false");
	assert_int_equal(o.mtu, 0);
	assert_null(o.cidr);
	assert_null(o.ifname);
	assert_false(o.disable_host_loopback || o.ipv6);
	assert_int_equal(o.n_copy_up, 0);
	assert_string_equal(o.copy_up_mode, "tmpfs+symlink");
	assert_string_equal(o.port_driver, "none");
	assert_int_equal(o.n_publish, 0);
	assert_true(o.source_ip_transparent);
	assert_false(o.pidns || o.cgroupns || o.utsns || o.ipcns || o.detach_netns);
	assert_string_equal(o.propagation, "rprivate");
	assert_string_equal(o.reaper, "auto");
	assert_false(o.reaper_on);
	assert_null(o.evacuate_cgroup2);
	assert_string_equal(o.subid_source, "auto");
	assert_string_equal(o.dataplane, "auto");
	assert_int_equal(o.workers, 0);
	assert_int_equal(o.udp_timeout_ms, 90000);
	assert_true(o.dataplane_sandbox);
	assert_int_equal(o.given, 0);
	options_free(&o);
}

static void test_forms(void **state)
{
	static const char *const lines[] = {"--mtu 1400 true",	       "--mtu=1400 true",
					    "-mtu 1400 true",	       "-mtu=1400 true",
					    "--mtu=1 --mtu=1400 true", "--mtu=1400 -- true"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		struct options o = good(lines[i]);

		assert_int_equal(o.mtu, 1400);
		assert_string_equal(o.command[0], "true");
		assert_null(o.command[1]);
		assert_true(o.given == UINT64_C(1) << OPT_MTU);
		options_free(&o);
	}
}

static void test_command(void **state)
{
	struct options o = good("--pidns false --mtu=1400 x");

	(void)state;
	/* a boolean option does not take the next word */
	assert_true(o.pidns);
	assert_string_equal(o.command[0], "false");
	assert_string_equal(o.command[1], "--mtu=1400");
	assert_string_equal(o.command[2], "x");
	assert_int_equal(o.mtu, 0);
	options_free(&o);
	o = good("-- --pidns");
	assert_string_equal(o.command[0], "--pidns");
	assert_false(o.pidns);
	options_free(&o);
	o = good("- --pidns");
	assert_string_equal(o.command[0], "-");
	options_free(&o);
	o = good("sh -- -c true");
	assert_string_equal(o.command[1], "--");
	options_free(&o);
	/* a value may look like an option */
	o = good("--state-dir --pidns true");
	assert_string_equal(o.state_dir, "--pidns");
	assert_false(o.pidns);
	options_free(&o);
	bad("", "no command specified");
	bad("--pidns", "no command specified");
	bad("--", "no command specified");
}

static void test_booleans(void **state)
{
	static const char *const names[] = {
		"debug", "disable-host-loopback", "ipv6", "pidns", "cgroupns", "utsns", "ipcns"};
	static const char *const yes[] = {"", "=1", "=t", "=T", "=true", "=TRUE", "=True"};
	static const char *const no[] = {"=0", "=f", "=F", "=false", "=FALSE", "=False"};
	char line[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const struct option_def *def = option_find(names[i], strlen(names[i]));

		assert_non_null(def);
		for (size_t j = 0; j < 13; j++) {
			struct options o;

			snprintf(line, sizeof(line), "--%s%s true", names[i],
				 j < 7 ? yes[j] : no[j - 7]);
			o = good(line);
			assert_int_equal(*((char *)&o + def->offset), j < 7);
			options_free(&o);
		}
		snprintf(line, sizeof(line), "--%s=yes true", names[i]);
		bad(line, "it must be true or false");
		snprintf(line, sizeof(line), "--%s= true", names[i]);
		bad(line, "invalid value \"\" for --");
	}
}

static void test_unknown(void **state)
{
	(void)state;
	bad("--ntt=host true", "flag provided but not defined: -ntt; did you mean --net?");
	bad("--disable-hostloopback true", "did you mean --disable-host-loopback?");
	bad("-port-drivr builtin true", "did you mean --port-driver?");
	bad("--slirp4netns-bin=x true", "did you mean --slirp4netns-binary?");
	bad("--copyup=/etc true", "did you mean --copy-up?");
	bad("--pidsn true", "did you mean --pidns?");
	bad("--utns true", "did you mean --utsns?");
	bad("--prot-driver=builtin true", "did you mean --port-driver?");
	bad("--xyzzy true", "flag provided but not defined: -xyzzy; see rootlesskit --help");
	bad("-x true", "flag provided but not defined: -x; see");
	bad("---net=host true", "bad flag syntax: ---net=host");
	bad("--=x true", "bad flag syntax: --=x");
	bad("-=x true", "bad flag syntax: -=x");
	bad("--Net=host true", "did you mean --net?");
	bad("--x\ny\033[31m true", "flag provided but not defined: -x?y?[31m;");
	bad("---\n true", "bad flag syntax: ---?");
	bad("--net=\n true", "unknown network mode: ?;");
	bad("--a-name-that-is-much-longer-than-any-that-we-have=1 true", "see rootlesskit --help");
}

static void test_missing_value(void **state)
{
	(void)state;
	bad("--net", "flag needs an argument: --net=VALUE");
	bad("-p", "flag needs an argument: --publish=VALUE");
	bad("--mtu", "flag needs an argument: --mtu=VALUE");
}

static void test_mtu(void **state)
{
	struct options o = good("--net=slirp4netns --mtu=65521 true");

	(void)state;
	assert_int_equal(o.mtu, 65521);
	options_free(&o);
	bad("--mtu=65522 true", "mtu must be <= 65521, got 65522");
	bad("--net=slirp4netns --mtu=67 true", "mtu must be >= 68, got 67");
	bad("--mtu=-1 true", "mtu must be <= 65521, got -1");
	bad("--mtu=abc true", "invalid value \"abc\" for --mtu: it must be a whole number");
	bad("--mtu= true", "it must be a whole number");
	bad("--mtu=1500.0 true", "it must be a whole number");
	bad("--mtu=99999999999999999999 true",
	    "for --mtu: it must be a number that is not that large");
	bad("--mtu=2147483648 true", "not that large");
	bad("--mtu=1500x true", "it must be a whole number");
	bad("--mtu=- true", "it must be a whole number");
	bad("--udp-timeout=99999999999999999999h true",
	    "--udp-timeout: it must be a number that is not");
	bad("--udp-timeout=5s5 true", "it must be seconds or a duration");
}

static void test_network(void **state)
{
	struct options o = good("--net=none true");

	(void)state;
	options_free(&o);
	bad("--net=foo true",
	    "unknown network mode: foo; available: host, builtin, none, slirp4netns");
	bad("--net= true", "unknown network mode: ;");
	o = good("--net=vpnkit true");
	assert_string_equal(o.net, "vpnkit");
	options_free(&o);
}

static void test_cidr(void **state)
{
	struct options o = good("--net=slirp4netns --cidr=10.0.3.0/24 true");

	(void)state;
	assert_string_equal(o.cidr, "10.0.3.0/24");
	options_free(&o);
	o = good("--net=host --cidr= true"); /* an empty value counts as none */
	assert_null(o.cidr);
	options_free(&o);
	bad("--cidr=10.0.3.0/24 true", "custom cidr is supported only for --net=slirp4netns");
	bad("--net=none --cidr=10.0.3.0/24 true", "not for --net=none");
	bad("--net=slirp4netns --cidr=10.0.3.1/24 true", "not like 10.0.2.100/24");
	bad("--net=slirp4netns --cidr=10.0.3.0/26 true", "must be 1 to 25");
	bad("--net=slirp4netns --cidr=fd00::/64 true", "it must be an IPv4 network");
	bad("--net=slirp4netns --cidr=x true", "invalid CIDR address: x");
}

static void test_egress(void **state)
{
	struct options o = good("--net=builtin --egress-deny=0.0.0.0/0 "
				"--egress-allow=192.0.2.0/24,[2001:db8::/32]:80 true");
	char many[512] = "--net=builtin --egress-deny=";
	size_t len;

	(void)state;
	assert_int_equal(o.n_egress, 3);
	assert_true(o.egress[0].deny && !o.egress[1].deny && !o.egress[2].deny);
	assert_int_equal(o.egress[2].port_first, 80);
	options_free(&o);
	o = good("--net=auto --egress-deny=::1 --outbound-addr=eth0 true");
	assert_string_equal(o.outbound_addr, "eth0");
	options_free(&o);
	bad("--net=pasta --egress-deny=::1 true", "goes with --net=builtin, not with --net=pasta");
	bad("--egress-allow=::1 true", "--egress-allow goes with --net=builtin");
	bad("--net=none --outbound-addr=eth0 true", "--outbound-addr goes with --net=builtin");
	bad("--net=builtin --egress-deny= true", "it must be a network");
	bad("--net=builtin --egress-deny=::1,x true", "--egress-deny x: it must be a network");
	len = strlen(many);
	for (int i = 0; i <= DP_OUTWARD_RULES; i++)
		len += (size_t)snprintf(many + len, sizeof(many) - len, i ? ",::1" : "::1");
	snprintf(many + len, sizeof(many) - len, " true");
	bad(many, "there may be 64 rules");
}

static void test_ifname(void **state)
{
	struct options o = good("--net=slirp4netns --ifname=eth0 true");

	(void)state;
	assert_string_equal(o.ifname, "eth0");
	options_free(&o);
	bad("--ifname=eth0 true", "ifname cannot be specified for --net=host");
	bad("--net=none --ifname=eth0 true", "ifname cannot be specified for --net=none");
	bad("--net=slirp4netns --ifname=a/b true", "ifname must not contain \"/\"");
	bad("--net=slirp4netns --ifname=sixteen-letters- true", "at most 15 characters");
	bad("--net=slirp4netns --ifname=lo true", "must not be lo");
	bad("--net=slirp4netns --ifname=.. true", "must not be \"..\"");
	bad("--net=slirp4netns --ifname=a:b true", "must not contain blanks, \":\"");
	bad("--net=slirp4netns --ifname=a\tb true", "must not contain blanks");
	bad("--net=slirp4netns --ifname=tap%d true", "\"%\"");
}

static void test_slirp4netns(void **state)
{
	struct options o =
		good("--net=slirp4netns --slirp4netns-binary=/opt/s --slirp4netns-sandbox=auto "
		     "--slirp4netns-seccomp=true --ipv6 --disable-host-loopback true");

	(void)state;
	assert_string_equal(o.slirp4netns_binary, "/opt/s");
	assert_string_equal(o.slirp4netns_sandbox, "auto");
	assert_string_equal(o.slirp4netns_seccomp, "true");
	assert_true(o.ipv6 && o.disable_host_loopback);
	options_free(&o);
	o = good("--slirp4netns-binary= true");
	assert_string_equal(o.slirp4netns_binary, "slirp4netns");
	options_free(&o);
	o = good("--slirp4netns-sandbox= true");
	assert_string_equal(o.slirp4netns_sandbox, "false");
	options_free(&o);
	bad("--slirp4netns-sandbox=maybe true",
	    "invalid value \"maybe\" for --slirp4netns-sandbox: it must be auto, true or false");
	bad("--slirp4netns-seccomp=1 true", "it must be auto, true or false");
	bad("--net=slirp4netns --detach-netns --slirp4netns-sandbox=true true",
	    "--slirp4netns-sandbox=true does not go with --detach-netns");
	o = good("--net=slirp4netns --detach-netns --slirp4netns-sandbox=auto true");
	assert_true(o.detach_netns);
	options_free(&o);
	bad("--detach-netns true", "--detach-netns needs a network namespace");
}

static void test_copy_up(void **state)
{
	struct options o = good("--copy-up=/etc -copy-up /run --copy-up=/a,/b --copy-up=/x,y true");

	(void)state;
	assert_int_equal(o.n_copy_up, 5);
	assert_string_equal(o.copy_up[0], "/etc");
	assert_string_equal(o.copy_up[1], "/run");
	assert_string_equal(o.copy_up[2], "/a");
	assert_string_equal(o.copy_up[3], "/b");
	assert_string_equal(o.copy_up[4], "/x,y");
	options_free(&o);
	options_free(&o); /* a second time does no harm */
	bad("--copy-up= true", "it must be a directory");
	bad("--copy-up=/etc --copy-up-mode=overlay true",
	    "invalid value \"overlay\" for --copy-up-mode: it must be tmpfs+symlink");
	bad("--copy-up=/etc --propagation=rshared true", "does not go with --copy-up");
	bad("--copy-up=/etc --propagation=shared true", "=shared does not go with --copy-up");
}

static void test_propagation(void **state)
{
	static const char *const names[] = {"rprivate", "rslave", "rshared",
					    "private",	"slave",  "shared"};
	char line[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct options o;

		snprintf(line, sizeof(line), "--propagation=%s true", names[i]);
		o = good(line);
		assert_string_equal(o.propagation, names[i]);
		options_free(&o);
	}
	bad("--propagation=foo true",
	    "it must be rprivate, rslave, rshared, private, slave or shared");
}

static void test_publish(void **state)
{
	struct options o = good(NET "-p 127.0.0.1:8080:80/tcp --publish=0.0.0.0:53:53/udp "
				    "-p=127.0.0.1:1:1/tcp,127.0.0.1:2:2/tcp true");

	(void)state;
	assert_int_equal(o.n_publish, 4);
	assert_string_equal(o.publish[0].parent_ip, "127.0.0.1");
	assert_int_equal(o.publish[0].parent_port, 8080);
	assert_int_equal(o.publish[0].child_port, 80);
	assert_string_equal(o.publish[0].proto, "tcp");
	assert_string_equal(o.publish[1].proto, "udp");
	assert_int_equal(o.publish[3].parent_port, 2);
	options_free(&o);
	bad("-p 127.0.0.1:8080:80/tcp true",
	    "port driver \"none\" does not support publishing ports: add --port-driver=builtin");
	bad(NET "-p foo true", "--publish: missing proto in PortSpec string: \"foo\"");
	bad(NET "-p 127.0.0.1:0:80/tcp true",
	    "--publish \"127.0.0.1:0:80/tcp\": invalid ParentPort");
	bad(NET "-p 127.0.0.1:0:80/tcp true",
	    "; it must be like 127.0.0.1:8080:80/tcp, with ports from 1");
	bad(NET "-p 127.0.0.1:8080:80/foo true", "\"127.0.0.1:8080:80/foo\": unknown proto");
	bad(NET "-p '' true", "--publish \"\": ");
	bad(NET "-p 127.0.0.1:1:1/tcp -p 127.0.0.1:1:2/tcp true", "is given twice");
}

static void test_port_drivers(void **state)
{
	struct options o = good("--net=none --port-driver=builtin true");

	(void)state;
	assert_string_equal(o.port_driver, "builtin");
	options_free(&o);
	bad("--port-driver=builtin true", "port driver requires non-host network");
	bad("--port-driver=foo true",
	    "unknown port driver: foo; available: none, builtin, slirp4netns, socat");
	bad("--net=slirp4netns --port-driver= true", "unknown port driver: ;");
	good("--net=slirp4netns --port-driver=slirp4netns true");
	good("--net=slirp4netns --port-driver=socat true");
	bad("--net=none --port-driver=slirp4netns true", "requires slirp4netns network");
}

static void test_source_ip_transparent(void **state)
{
	struct options o = good("--source-ip-transparent=false true");

	(void)state;
	assert_false(o.source_ip_transparent);
	assert_string_equal(o.source_ip_transparent_backend, "auto");
	options_free(&o);
	o = good("--source-ip-transparent-backend=iptables true");
	assert_string_equal(o.source_ip_transparent_backend, "iptables");
	options_free(&o);
	bad("--source-ip-transparent-backend=ebpf true", "it must be auto, nft or iptables");
}

static void test_processes(void **state)
{
	struct options o = good("--pidns --reaper=auto true");

	(void)state;
	assert_true(o.reaper_on);
	options_free(&o);
	o = good("--pidns --reaper=false true");
	assert_false(o.reaper_on);
	options_free(&o);
	o = good("--pidns --reaper=true true");
	assert_true(o.reaper_on);
	options_free(&o);
	bad("--reaper=true true", "reaper requires --pidns");
	bad("--reaper=foo true", "it must be auto, true or false");
	bad("--evacuate-cgroup2=x true", "evacuate-cgroup2 requires --cgroupns");
	bad("--cgroupns --evacuate-cgroup2=x true", "evacuate-cgroup2 requires --pidns");
	o = good("--cgroupns --pidns --evacuate-cgroup2=x.y true");
	assert_string_equal(o.evacuate_cgroup2, "x.y");
	options_free(&o);
	bad("--cgroupns --pidns --evacuate-cgroup2=x/y true", "must be the name of one cgroup");
	bad("--cgroupns --pidns --evacuate-cgroup2=.. true", "must be the name of one cgroup");
	o = good("--evacuate-cgroup2= true");
	assert_null(o.evacuate_cgroup2);
	options_free(&o);
}

static void test_subid_source(void **state)
{
	struct options o = good("--subid-source=static true");

	(void)state;
	assert_string_equal(o.subid_source, "static");
	options_free(&o);
	o = good("--subid-source=dynamic true");
	options_free(&o);
	bad("--subid-source=foo true", "it must be auto, dynamic or static");
}

static void test_state_dir(void **state)
{
	struct options o = good("--state-dir=/run/x true");

	(void)state;
	assert_string_equal(o.state_dir, "/run/x");
	options_free(&o);
	o = good("--state-dir= true");
	assert_null(o.state_dir);
	options_free(&o);
}

static void test_dataplane(void **state)
{
	struct options o = good(NET "--dataplane=epoll --workers=3 --udp-timeout=1m30.5s "
				    "--dataplane-sandbox=false true");

	(void)state;
	assert_string_equal(o.dataplane, "epoll");
	assert_int_equal(o.workers, 3);
	assert_int_equal(o.udp_timeout_ms, 90500);
	assert_false(o.dataplane_sandbox);
	options_free(&o);
	o = good(NET "--dataplane=io_uring --workers=64 --udp-timeout 5 true");
	assert_int_equal(o.udp_timeout_ms, 5000);
	options_free(&o);
	bad("--dataplane=dpdk true", "it must be auto, io_uring or epoll");
	bad("--workers=65 true", "--workers=65: it must be 0 (one for every two CPUs) to 64");
	bad("--workers=-1 true", "it must be 0");
	bad("--udp-timeout=0 true", "it must be more than 0 and at most 24h");
	bad("--udp-timeout=25h true", "at most 24h");
	bad("--udp-timeout=-5s true", "it must be seconds or a duration");
	bad("--udp-timeout=soon true", "it must be seconds or a duration like 90s or 1m30s");
}

/* When something is only to be printed, nothing is checked, and no command is needed. */
static void test_informational(void **state)
{
	struct options o = good("--help");

	(void)state;
	assert_true(o.help);
	options_free(&o);
	o = good("-h --net=nonsense");
	assert_true(o.help);
	options_free(&o);
	o = good("-v");
	assert_true(o.version);
	options_free(&o);
	o = good("--print-semver=major");
	assert_string_equal(o.print_semver, "major");
	options_free(&o);
	o = good("--version=false true");
	assert_false(o.version);
	options_free(&o);
	bad("--print-semver=beta", "it must be major, minor or patch");
	bad("--help --nonsense", "flag provided but not defined");
}

/* Each option has a full row. A row that was forgotten would be all zeros. */
static void test_table(void **state)
{
	(void)state;
	for (int i = 0; i < OPT_COUNT; i++) {
		const struct option_def *def = &option_table[i];

		assert_non_null(def->name);
		assert_non_null(def->usage);
		assert_ptr_equal(option_find(def->name, strlen(def->name)), def);
		if (def->letter)
			assert_ptr_equal(option_find(&def->letter, 1), def);
		for (int j = 0; j < i; j++)
			assert_true(def->kind == OPTION_EGRESS ||
				    option_table[j].offset != def->offset);
	}
	assert_null(option_find("ne", 2));
	assert_null(option_find("", 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_command),
		cmocka_unit_test(test_booleans),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_missing_value),
		cmocka_unit_test(test_mtu),
		cmocka_unit_test(test_network),
		cmocka_unit_test(test_cidr),
		cmocka_unit_test(test_egress),
		cmocka_unit_test(test_ifname),
		cmocka_unit_test(test_slirp4netns),
		cmocka_unit_test(test_copy_up),
		cmocka_unit_test(test_propagation),
		cmocka_unit_test(test_publish),
		cmocka_unit_test(test_port_drivers),
		cmocka_unit_test(test_source_ip_transparent),
		cmocka_unit_test(test_processes),
		cmocka_unit_test(test_subid_source),
		cmocka_unit_test(test_state_dir),
		cmocka_unit_test(test_dataplane),
		cmocka_unit_test(test_informational),
		cmocka_unit_test(test_table),
	};

	log_init("parent", false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

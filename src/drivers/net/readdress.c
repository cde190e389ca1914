/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/net/readdress.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "base/exitcode.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/role.h"
#include "dataplane/sandbox.h"
#include "drivers/net/roles.h"
#include "ns/etcfiles.h"
#include "ns/netif.h"

/* The time limit for a change, which takes a millisecond. */
#define TIMEOUT_MS 10000

struct boot {
	struct net_result from, to;
	bool resolv_conf;
};

struct answer {
	struct inside_answer head;
	struct err warning; /* code 0: none */
};

/* The parent's side. */

void readdress_init(struct readdress *r)
{
	*r = (struct readdress){.answer_src = NULL};
	inside_init(&r->process, "the process that changes the address", "network/readdress");
}

void readdress_stop(struct readdress *r)
{
	loop_remove(r->answer_src);
	loop_remove(r->timer);
	r->answer_src = r->timer = NULL;
	inside_stop(&r->process);
}

static void finish(struct readdress *r, const struct err *e)
{
	readdress_stop(r);
	r->done(r->arg, e);
}

static void on_answer(void *arg, uint32_t events)
{
	struct readdress *r = arg;
	struct answer answer = {.warning = {.code = 0}};
	struct err e = {.code = 0};
	int code = inside_take(&r->process, &answer, sizeof(answer), &e);

	(void)events;
	if (!code && answer.warning.code)
		log_warning("%s", answer.warning.msg);
	finish(r, code ? &e : NULL);
}

static void on_timeout(void *arg, uint32_t events)
{
	struct readdress *r = arg;
	struct err e = {.code = 0};

	(void)events;
	r->timer = NULL;
	err_set(&e, -ETIMEDOUT, "%s has not answered after %d ms", r->process.helper.name,
		TIMEOUT_MS);
	finish(r, &e);
}

int readdress_start(struct readdress *r, const struct net_target *target, int mnt_ns_fd,
		    const struct net_result *from, const struct net_result *to, struct loop *loop,
		    struct err *e)
{
	struct boot boot;
	int code;

	/* Also clears the padding, so that every byte that goes over the channel is defined. */
	memset(&boot, 0, sizeof(boot));
	boot.from = *from;
	boot.to = *to;
	boot.resolv_conf = mnt_ns_fd >= 0;
	r->process.never_wait = true;
	/* The role takes three descriptors. Without a mount namespace the third may be anything. */
	code = inside_start(&r->process, ROLE_READDRESS, target, &boot, sizeof(boot),
			    mnt_ns_fd >= 0 ? mnt_ns_fd : target->netns_fd, e);
	if (!code) {
		r->answer_src = loop_add_fd(loop, r->process.channel, EPOLLIN, on_answer, r);
		r->timer = loop_add_timer(loop, TIMEOUT_MS, on_timeout, r);
		if (!r->answer_src || !r->timer)
			code = err_errno(e, -errno, "cannot watch %s", r->process.helper.name);
	}
	if (code)
		readdress_stop(r);
	return code;
}

/* The process's side. */

static struct netif_config config_of(const struct net_result *net)
{
	return (struct netif_config){.ifname = net->ifname,
				     .ip = net->ip,
				     .prefix_len = net->prefix_len,
				     .gateway = net->gateway};
}

/* Changes resolv.conf, unless the file is the host's. */
static int change_resolv_conf(const struct boot *boot, int mnt_ns_fd, struct err *e)
{
	const char *old[NET_DNS_MAX], *dns[NET_DNS_MAX];
	size_t n_old = net_result_dns(&boot->from, old), n_dns = net_result_dns(&boot->to, dns);

	if (!boot->resolv_conf || !n_old || !n_dns ||
	    !memcmp(boot->from.dns, boot->to.dns, sizeof(boot->to.dns)))
		return 0;
	if (setns(mnt_ns_fd, CLONE_NEWNS) < 0)
		return err_errno(e, -errno, "the command's mount namespace");
	return etcfiles_change_resolv_conf(old, n_old, dns, n_dns, e);
}

int readdress_main(void)
{
	struct answer answer = {.warning = {.code = 0}};
	struct netif_config from, to;
	auto_fd int mnt_ns_fd = -1;
	struct boot boot;
	struct err *e = &answer.head.err;
	int code = inside_enter(&boot, sizeof(boot), &mnt_ns_fd, e);

	code = code ? code : inside_shield(e);
	code = code ? code : sandbox_setup(e);
	if (!code) {
		from = config_of(&boot.from);
		to = config_of(&boot.to);
		code = netif_readdress(&from, &to, e);
	}
	if (!code)
		change_resolv_conf(&boot, mnt_ns_fd, &answer.warning);
	e->code = code;
	inside_say(&answer, sizeof(answer));
	return code ? EXITCODE_FAILED : EXITCODE_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/broker/keeper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/exitcode.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/resident.h"
#include "base/role.h"
#include "dataplane/sandbox.h"
#include "dataplane/wire.h"
#include "ns/transparent.h"
#include "ns/turned.h"

/* Time limit for the keeper's answer. A look takes 50 us, more on a busy machine. After the limit
 * the broker passes its sockets out anyway. */
#define ANSWER_MS 1000

/* Time limit for the keeper's start: less than the 10 s that the parent waits for the broker. */
#define START_MS 5000

/* Pause between two looks. Docker switches tracking on long before its first port. */
#define LOOK_MS 1000

/* Rules change in bursts: iptables adds one at a time, and a port of Docker's has several. */
#define NEWS_MS 30

/* The keeper's answers. The broker's question is LOOKED, too. */
enum { READY = 1, LOOKED, DONE, FAILED };

/* The keeper's process */

struct rules {
	struct transparent_watch watch;
	struct transparent_repair repair;
	struct turned turned;
	int fd;		  /* channel to the broker */
	int turned_fd;	  /* the channel for questions about turned connections */
	bool asked;	  /* there has been such a question */
	uint64_t news_ms; /* when to say that rules have changed; 0: they have not */
};

static void look_at_connections(struct rules *r)
{
	struct err e = {.code = 0};

	if (transparent_watch_look(&r->watch, true, &e))
		log_debug("connections are tracked in the namespace: answers of those that are "
			  "turned elsewhere come back");
	else if (e.code)
		log_warning("servers that connections are turned to (DNAT) will not see the "
			    "addresses of their clients: %s",
			    e.msg);
}

static void repair_rules(struct rules *r)
{
	struct err e = {.code = 0};
	bool put_back = transparent_repair_look(&r->repair, &e);

	/* Once connections are tracked, the lost rules include those for that: sets them again. */
	if (put_back && !r->watch.nl)
		transparent_mark_turned(r->repair.nft, &e);
	if (put_back)
		log_debug("rules in the namespace have been taken away: ours are there again");
	else if (e.code)
		log_debug("our rules in the namespace are lost: %s", e.msg);
}

/* Turned connections */

static void note_change(struct rules *r)
{
	if (transparent_repair_changed(&r->repair) && r->asked && !r->news_ms)
		r->news_ms = loop_now_ms() + NEWS_MS;
}

/* When this cannot be sent, it is tried again. */
static void tell_news(struct rules *r)
{
	const struct broker_turned_reply news = {.port_id = 0};

	if (!r->news_ms || loop_now_ms() < r->news_ms)
		return;
	if (fd_is_passing(fdpass_send(r->turned_fd, &news, sizeof(news), NULL, 0, MSG_DONTWAIT)))
		r->news_ms = loop_now_ms() + NEWS_MS;
	else
		r->news_ms = 0;
}

/* Returns whether the broker still exists. */
static bool serve_turned(struct rules *r)
{
	struct broker_turned msg;
	struct broker_turned_reply reply = {.err = 0};
	ssize_t len = fdpass_recv(r->turned_fd, &msg, sizeof(msg), NULL, NULL, MSG_DONTWAIT);

	if (len != sizeof(msg))
		return len == -EAGAIN;
	r->asked = true;
	reply.port_id = msg.port_id;
	reply.seq = msg.seq;
	reply.err = sockaddr_len(&msg.addr.sa) == 0
			    ? -EAFNOSUPPORT
			    : turned_ask(&r->turned,
					 msg.proto == IPPROTO_TCP ? IPPROTO_TCP : IPPROTO_UDP,
					 &msg.addr, &reply.addr);
	fdpass_send(r->turned_fd, &reply, sizeof(reply), NULL, 0, MSG_DONTWAIT);
	return true;
}

/* sendmsg(2) and recvmsg(2), since neither process's filter allows other calls for this. */

static bool say(int fd, char word)
{
	struct iovec iov = {.iov_base = &word, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
}

/* Returns the byte received; 0: none has come; -1: the other process has ended. */
static int hear(int fd)
{
	char word = 0;
	struct iovec iov = {.iov_base = &word, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);

	if (n < 0 && (errno == EINTR || fd_is_passing(-errno)))
		return 0;
	return n == 1 ? word : -1;
}

/* Returns whether the broker still exists. */
static bool serve_broker(struct rules *r)
{
	int word = hear(r->fd);

	if (word <= 0)
		return word == 0;
	look_at_connections(r);
	/* Without memory for an answer the broker waits for a while, and asks again. */
	return say(r->fd, r->watch.nl ? LOOKED : DONE) || fd_is_passing(-errno);
}

/* How long to wait in poll(2); -1: no limit. */
static int wait_ms(const struct rules *r)
{
	int repair_ms = transparent_repair_wait_ms(&r->repair);
	uint64_t now_ms = loop_now_ms();
	int news_ms = now_ms < r->news_ms ? (int)(r->news_ms - now_ms) : 0;

	if (!r->news_ms)
		return repair_ms;
	return repair_ms >= 0 && repair_ms < news_ms ? repair_ms : news_ms;
}

static void serve(struct rules *r)
{
	struct pollfd fds[4] = {{.fd = r->fd, .events = POLLIN},
				{.fd = r->turned_fd, .events = POLLIN}};

	for (;;) {
		for (unsigned i = 0; i < 2; i++)
			fds[2 + i] = (struct pollfd){.fd = transparent_repair_fd(&r->repair, i),
						     .events = POLLIN};
		if (poll(fds, 4, wait_ms(r)) < 0 && errno != EINTR)
			return;
		if (fds[0].revents && !serve_broker(r))
			return;
		if (fds[1].revents && !serve_turned(r))
			return;
		repair_rules(r);
		note_change(r);
		tell_news(r);
	}
}

/* Renames the process for ps(1), and for those who look for the broker: in the environment and on
 * the command line. */
static void rename_process(char **argv)
{
	static const char name[] = "keeper";
	char *places[] = {getenv(ROLE_ENV), argv[0] ? argv[1] : NULL};

	for (unsigned i = 0; i < 2; i++)
		if (places[i] && strlen(places[i]) >= sizeof(name) - 1)
			memcpy(places[i], name, sizeof(name));
	prctl(PR_SET_NAME, "rk-keeper");
}

static int lock_down(bool sandbox, struct err *e)
{
	return sandbox ? sandbox_keeper(e) : sandbox_keeper_caps(e);
}

static void open_rules(struct rules *r, const struct broker_boot *boot)
{
	struct err e = {.code = 0};

	if (transparent_watch_open(&r->watch, &e) < 0 ||
	    transparent_repair_open(&r->repair, boot->ifname, &e) < 0)
		log_debug("%s", e.msg);
	else /* nobody has heard of rules that were taken away since the last keeper's end */
		r->repair.lost = !boot->first;
	if (turned_open(&r->turned, &e) < 0)
		log_debug("%s", e.msg);
}

/* The keeper logs as the broker does, of which it is a part: the log is open already, and the
 * keeper could not open it any more (base/log_output.c). */
static _Noreturn void keeper_main(const int *fds, pid_t broker, const struct broker_boot *boot,
				  char **argv)
{
	static struct rules rules;
	struct err e = {.code = 0};

	rename_process(argv);
	rules.fd = fds[0];
	rules.turned_fd = fds[1];
	open_rules(&rules, boot);
	/* A broker that died before prctl(2) is no longer the parent. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != broker ||
	    lock_down(boot->sandbox, &e)) {
		log_error("%s", e.code ? e.msg : "the broker has ended");
		say(rules.fd, FAILED);
		_exit(EXITCODE_FAILED);
	}
	if (say(rules.fd, READY)) {
		resident_trim();
		serve(&rules);
	}
	_exit(EXITCODE_OK);
}

/* The broker's side */

/* Waits for an answer. 0: none came in time; -1: the keeper has ended. */
static int wait_answer(int fd, unsigned patience_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t end_ms = loop_now_ms() + patience_ms, now_ms;

	while ((now_ms = loop_now_ms()) < end_ms)
		if (poll(&p, 1, (int)(end_ms - now_ms)) > 0)
			return hear(fd);
	return 0;
}

/* Opens both channels: the broker's ends, then the keeper's. 0 or -errno. */
static int channels_open(int *ours, int *theirs)
{
	for (unsigned i = 0; i < 2; i++) {
		int fds[2];

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
			return -errno;
		ours[i] = fds[0];
		theirs[i] = fds[1];
	}
	return 0;
}

/* Returns the keeper's process id, or -errno. In the new process this function does not return. */
static pid_t keeper_fork(const struct broker_boot *boot, char **argv, int *ours, const int *theirs,
			 const struct pollfd *channels, nfds_t n_channels)
{
	pid_t broker = getpid(), pid = fork();

	if (pid)
		return pid < 0 ? -errno : pid;
	/* The keeper must not hold these open: the other ends must see when the broker ends. */
	fdpass_close(ours, 2);
	for (nfds_t i = 0; i < n_channels; i++)
		if (channels[i].fd >= 0)
			close(channels[i].fd);
	keeper_main(theirs, broker, boot, argv);
}

int keeper_start(struct keeper *k, const struct broker_boot *boot, char **argv,
		 const struct pollfd *channels, nfds_t n_channels, struct err *e)
{
	int ours[2] = {-1, -1}, theirs[2] = {-1, -1};
	int code = channels_open(ours, theirs);
	pid_t pid = -1;

	if (!code) {
		pid = keeper_fork(boot, argv, ours, theirs, channels, n_channels);
		code = pid < 0 ? pid : 0;
	}
	for (unsigned i = 0; i < 2; i++)
		close_fd(&theirs[i]);
	if (!code && wait_answer(ours[0], START_MS) != READY) {
		/* A keeper that hangs must be killed here. Once the broker is under Landlock, the
		 * signal at the broker's death does not reach the keeper: only the end of the
		 * channel does. */
		kill(pid, SIGKILL);
		fd_retry(waitpid(pid, NULL, 0));
		code = -EPIPE;
	}
	if (code) {
		for (unsigned i = 0; i < 2; i++)
			close_fd(&ours[i]);
		return err_errno(e, code, "the keeper of the rules could not start");
	}
	k->fd = ours[0];
	k->turned_fd = ours[1];
	return 0;
}

void keeper_look(struct keeper *k, bool important)
{
	uint64_t now_ms;
	int late, answer;

	if (k->fd < 0 || k->done)
		return;
	now_ms = loop_now_ms();
	if (!important && now_ms < k->next_ms)
		return;
	k->next_ms = now_ms + LOOK_MS;
	/* Reads an answer that came too late for the last look. */
	while ((late = hear(k->fd)) > 0) {
		k->done |= late == DONE;
		k->late = false;
	}
	if (late < 0 || !say(k->fd, LOOKED) || k->late)
		return;
	answer = wait_answer(k->fd, ANSWER_MS);
	k->done |= answer == DONE;
	k->late = answer == 0;
}

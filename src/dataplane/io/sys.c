/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "base/limits.h"
#include "base/sockaddr.h"
#include "dataplane/io/handle.h"
#include "dataplane/sockopt.h"

#define RESULT(call)                                                                               \
	({                                                                                         \
		__typeof__(call) result_v = (call);                                                \
		result_v < 0 ? -errno : result_v;                                                  \
	})

uint64_t io_sys_now_ns(struct io *io)
{
	struct timespec ts;

	(void)io;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

ssize_t io_sys_recv(struct io *io, int fd, void *buf, size_t len, int flags)
{
	(void)io;
	return RESULT(recv(fd, buf, len, flags | MSG_DONTWAIT));
}

ssize_t io_sys_send(struct io *io, int fd, const void *buf, size_t len, int flags)
{
	(void)io;
	return RESULT(send(fd, buf, len, flags | MSG_DONTWAIT | MSG_NOSIGNAL));
}

ssize_t io_sys_sendmsg(struct io *io, int fd, const struct msghdr *msg, int flags)
{
	(void)io;
	return RESULT(sendmsg(fd, msg, flags | MSG_DONTWAIT | MSG_NOSIGNAL));
}

ssize_t io_sys_splice(struct io *io, int fd_in, int fd_out, size_t len)
{
	(void)io;
	return RESULT(splice(fd_in, NULL, fd_out, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK));
}

ssize_t io_sys_pipe_write(struct io *io, int fd, const void *buf, size_t len)
{
	(void)io;
	return RESULT(write(fd, buf, len));
}

ssize_t io_sys_pipe_open(struct io *io, int fds[2], size_t size)
{
	int got = -1;

	(void)io;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	/* pipe(7): past fs.pipe-user-pages-soft a pipe cannot grow, but smaller steps may still
	 * fit. */
	for (; got < 0 && size > 65536; size /= 2)
		got = fcntl(fds[1], F_SETPIPE_SZ, (int)size);
	if (got < 0)
		got = fcntl(fds[1], F_GETPIPE_SZ);
	return got;
}

int io_sys_connect_now(struct io *io, int fd, const struct sockaddr *addr, socklen_t len)
{
	(void)io;
	return RESULT(connect(fd, addr, len));
}

int io_sys_shutdown_write(struct io *io, int fd)
{
	(void)io;
	return RESULT(shutdown(fd, SHUT_WR));
}

void io_sys_close_fd(struct io *io, int fd)
{
	(void)io;
	close(fd);
}

void io_sys_reset_fd(struct io *io, int fd)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	(void)io;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

static bool peer_is_on_this_host(int fd)
{
	union sock_addr peer, local;
	socklen_t peer_len = sizeof(peer), local_len = sizeof(local);

	if (getpeername(fd, &peer.sa, &peer_len) < 0 || getsockname(fd, &local.sa, &local_len) < 0)
		return false;
	sockaddr_unmap(&peer);
	sockaddr_unmap(&local);
	return sockaddr_is_loopback(&peer.sa) || sockaddr_same_host(&peer, &local);
}

bool io_sys_paces(struct io *io, int fd)
{
	char name[16] = "";
	socklen_t len = sizeof(name);

	(void)io;
	return getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0 &&
	       strncmp(name, "bbr", 3) == 0;
}

void io_sys_tune_accepted(struct io *io, int fd)
{
	if (io_sys_paces(io, fd) && peer_is_on_this_host(fd))
		sockopt_no_pacing(fd);
}

/* A look takes less than a microsecond. Whoever has not looked for so long did not run. */
#define LOOK_CUT_NS 50000u

bool io_look_on(struct io *io, struct io_look *l, uint64_t deadline_ns)
{
	uint64_t now_ns = io_sys_now_ns(io), before_ns = l->last_ns;

	l->last_ns = now_ns;
	if (before_ns == 0) {
		l->end_ns = now_ns + io->look_ns;
		if (deadline_ns < l->end_ns)
			l->end_ns = deadline_ns;
	} else if (now_ns - before_ns > LOOK_CUT_NS) {
		io->look_cut = true;
	}
	return now_ns < l->end_ns && !io->look_cut;
}

bool io_has_share(uint32_t held, unsigned left)
{
	return held < (uint64_t)LIMIT_TCP_TIMES_LEFT * left;
}

int io_may_accept(const struct io *io, uint64_t handle)
{
	unsigned left = io->accepts_left[handle_side(handle)];

	if (left == 0)
		return -EMFILE;
	if (handle_side(handle) != IO_ACCEPTS_PUBLISHED)
		return 0;
	return io_has_share(io->accepts_held[handle_index(handle)], left) ? 0 : -EDQUOT;
}

void io_accepted(struct io *io, uint64_t handle)
{
	io->accepts_left[handle_side(handle)]--;
	if (handle_side(handle) == IO_ACCEPTS_PUBLISHED)
		io->accepts_held[handle_index(handle)]++;
}

int io_sys_accept(struct io *io, int fd, uint64_t handle, union sock_addr *peer)
{
	socklen_t len = sizeof(*peer);
	int conn = io_may_accept(io, handle);

	if (conn < 0)
		return conn;
	conn = RESULT(accept4(fd, &peer->sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC));
	if (conn >= 0)
		io_accepted(io, handle);
	return conn;
}

void *io_sys_map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void io_sys_unmap(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

size_t io_sys_unsent(struct io *io, int fd)
{
	uint32_t mem[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof(mem);

	(void)io;
	/* sock_diag(7). SIOCOUTQ would need ioctl(2), which the sandbox forbids. */
	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, mem, &len) < 0)
		return 0;
	return mem[SK_MEMINFO_WMEM_QUEUED];
}

uint32_t io_sys_unanswered_ms(struct io *io, int fd)
{
	struct tcp_info info = {.tcpi_retransmits = 0};
	socklen_t len = sizeof(info);

	(void)io;
	/* tcp(7). Both counts start at the last answer. */
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	    (info.tcpi_retransmits == 0 && info.tcpi_probes == 0))
		return 0;
	return info.tcpi_last_ack_recv ? info.tcpi_last_ack_recv : 1;
}

int64_t io_sys_backlog_ms(struct io *io, int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	(void)io;
	/* tcp(7). Until something is sent, this value counts from the end of the handshake,
	 * whatever the client sends meanwhile. */
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return -1;
	return info.tcpi_last_data_sent;
}

bool io_sys_is_reset(struct io *io, int fd)
{
	union sock_addr peer;
	socklen_t len = sizeof(peer);

	(void)io;
	/* A socket whose connection has ended has no peer any more, whatever lies in its queue. */
	return getpeername(fd, &peer.sa, &len) < 0;
}

int io_sys_local_of(struct io *io, int fd, struct sockaddr *addr, socklen_t *len)
{
	(void)io;
	return RESULT(getsockname(fd, addr, len));
}

int io_sys_error_of(struct io *io, int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	(void)io;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 ? -errno : -err;
}

/* The error in a control message; NULL: it is another message. */
static const struct sock_extended_err *error_in(const struct cmsghdr *c)
{
	bool ipv4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR;
	bool ipv6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR;

	return ipv4 || ipv6 ? (const void *)CMSG_DATA(c) : NULL;
}

int io_sys_recv_error(struct io *io, int fd, struct io_error *out)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[256];
	} control;
	struct msghdr msg = {.msg_name = &out->dest,
			     .msg_namelen = sizeof(out->dest),
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};

	(void)io;
	memset(out, 0, sizeof(*out));
	if (recvmsg(fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		const struct sock_extended_err *e = error_in(c);

		if (!e)
			continue;
		out->err = (int)e->ee_errno;
		out->info = e->ee_info;
	}
	return 0;
}

int io_sys_socket_open(struct io *io, int family, int type, int proto)
{
	int fd = RESULT(socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, proto));
	int code = fd;

	(void)io;
	if (fd >= 0 && type == SOCK_STREAM)
		code = sockopt_tcp(fd);
	else if (fd >= 0)
		code = sockopt_outside_udp(fd, family);
	if (code < 0 && fd >= 0)
		close(fd);
	return code < 0 ? code : fd;
}

int io_sys_source_for(struct io *io, int fd, const struct sockaddr *to, socklen_t to_len,
		      struct sockaddr *source, socklen_t *len)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};
	int code;

	(void)io;
	/* udp(7): connecting sends nothing, but looks up the route. */
	if (connect(fd, to, to_len) < 0)
		return -errno;
	code = RESULT(getsockname(fd, source, len));
	if (connect(fd, &none, sizeof(none)) < 0)
		return -errno;
	return code;
}

int io_sys_bind_from(struct io *io, int fd, const struct sockaddr *addr, socklen_t len)
{
	int code = sockopt_set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);

	(void)io;
	return code ? code : RESULT(bind(fd, addr, len));
}

int io_sys_bind_as(struct io *io, int fd, const struct sockaddr *addr, socklen_t len, uint32_t mark)
{
	bool ipv6 = addr->sa_family == AF_INET6;
	bool has_port = ipv6 ? ((const struct sockaddr_in6 *)addr)->sin6_port
			     : ((const struct sockaddr_in *)addr)->sin_port;
	int code;

	(void)io;
	code = ipv6 ? sockopt_set(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
		    : sockopt_set(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
	if (!code && mark)
		code = sockopt_set(fd, SOL_SOCKET, SO_MARK, (int)mark);
	/* With SO_REUSEADDR the client's port does not keep a server in the namespace from binding.
	 * A port that the kernel chooses need only differ from those of connections to the same
	 * server (ip(7)). */
	if (!code)
		code = has_port ? sockopt_set(fd, SOL_SOCKET, SO_REUSEADDR, 1)
				: sockopt_set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	return code ? code : RESULT(bind(fd, addr, len));
}

int io_sys_msg_send_fds(struct io *io, int fd, const void *buf, size_t len, const int *fds,
			size_t n_fds)
{
	(void)io;
	return fdpass_send(fd, buf, len, fds, n_fds, MSG_DONTWAIT);
}

void io_sys_adopt(struct io *io, int fd)
{
	(void)io;
	(void)fd;
}

int io_sys_msg_send(struct io *io, int fd, const void *buf, size_t len)
{
	(void)io;
	return fdpass_send(fd, buf, len, NULL, 0, MSG_DONTWAIT);
}

ssize_t io_sys_msg_recv(struct io *io, int fd, void *buf, size_t size, int *fds, size_t *n_fds,
			bool *lost)
{
	(void)io;
	return fdpass_recv_most(fd, buf, size, fds, n_fds, lost, MSG_DONTWAIT);
}

/* Whether the socket is new: an address or a port shows that it was bound, connected or listened
 * on. */
static bool is_new(int fd)
{
	union sock_addr a = {.sa = {.sa_family = AF_UNSPEC}};
	socklen_t len = sizeof(a);

	if (getsockname(fd, &a.sa, &len) < 0)
		return false;
	if (a.sa.sa_family == AF_INET)
		return a.in4.sin_port == 0 && a.in4.sin_addr.s_addr == 0;
	return a.sa.sa_family == AF_INET6 && a.in6.sin6_port == 0 &&
	       IN6_IS_ADDR_UNSPECIFIED(&a.in6.sin6_addr);
}

bool io_sys_sock_check(struct io *io, int fd, const struct io_sock *want)
{
	(void)io;
	return sockopt_is(fd, SO_DOMAIN, want->family) && sockopt_is(fd, SO_TYPE, want->type) &&
	       sockopt_is(fd, SO_PROTOCOL, want->protocol) &&
	       (want->netns_cookie == 0 || sockopt_in_netns(fd, want->netns_cookie)) && is_new(fd);
}

uint64_t io_sys_random(struct io *io)
{
	uint64_t n = 0;

	/* Early in the life of a machine there may not be enough entropy yet: the clock must do. */
	if (getrandom(&n, sizeof(n), GRND_NONBLOCK) < 0)
		n = io_sys_now_ns(io);
	return n;
}

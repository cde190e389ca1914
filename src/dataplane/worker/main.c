/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "base/err.h"
#include "base/exitcode.h"
#include "base/fd.h"
#include "base/fdpass.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/resident.h"
#include "dataplane/boot.h"
#include "dataplane/dataplane.h"
#include "dataplane/io/io.h"
#include "dataplane/outward.h"
#include "dataplane/sandbox.h"
#include "dataplane/wire.h"
#include "dataplane/worker/udp_ports.h"
#include "dataplane/worker/worker.h"
#include "ns/sysctl.h"

/*
 * The data plane's process. The parent sends what it is to be, and its descriptors. Each worker
 * opens its ring in its own thread. Then the process gives up every right that it can, and only
 * after that tells the parent that ports may come. The main thread is worker 0.
 */

/* Operations that a worker starts between two waits: two for each event of a full turn. */
#define RING_ENTRIES 512

/* Receive buffers of a worker: what one turn can receive before UDP ports pause. Pages that are not
 * touched cost no memory. */
#define RECV_BUFS      64
#define RECV_BUF_BYTES 65536

/* The share of fs.pipe-user-pages-soft, one in so many, that all workers may take: the user's other
 * processes want pipes, too. */
#define PIPE_SHARE 2
#define PIPE_PAGES 256 /* pages of a 1 MiB pipe */

/* Descriptors not available to flows: the process's own, and each worker's (ring, channels, and one
 * that comes with a message). */
#define FDS_OTHER  8
#define FDS_WORKER 8

/* Descriptors that the process has room for from the start: 128 KiB of the kernel's memory. A
 * user's hard limit is at most this in many places, and 10,000 ports fit. */
#define START_FDS 16384

/* The threads of the data plane make no deep calls. */
#define STACK_BYTES (256 * 1024)

struct plane {
	struct dp_boot boot;
	struct dataplane_outward outward; /* set when boot.outward is */
	struct out_ports out_ports;
	struct udp_ports udp_ports;
	struct worker_config config; /* the same for each worker, except number and stats */
	bool uring;
	int uring_err;	/* why io_uring cannot be used; 0: it is used, or was not tried */
	uint8_t *stats; /* the statistics file */
	int control[LIMIT_WORKERS], broker[LIMIT_WORKERS];
	pthread_barrier_t tried;   /* each worker has tried to open its io */
	pthread_barrier_t opened;  /* each worker is open, or has failed */
	pthread_barrier_t locked;  /* the process is locked down */
	int io_err[LIMIT_WORKERS]; /* of the first try */
	int err[LIMIT_WORKERS];
	int verdict; /* 0, or why the data plane cannot start */
};

struct seat {
	struct plane *plane;
	unsigned number;
	struct io *io;
	struct worker *worker;
	pthread_t thread;
};

static int open_io(const struct plane *p, bool uring, struct io **out)
{
	struct io_config config = {.entries = RING_ENTRIES,
				   .n_bufs = RECV_BUFS,
				   .buf_size = RECV_BUF_BYTES,
				   .locked = p->boot.sandbox};

	return uring ? io_uring_open(&config, out) : io_epoll_open(&config, out);
}

/* Gives a worker its sockets of the way out. */
static void give_outward(struct out_config *out, const int *fds)
{
	for (unsigned i = 0; i < 2; i++) {
		out->tcp_fd[i] = fds[i];
		out->udp_fd[i] = fds[2 + i];
	}
	out->queue_fd = fds[4];
	out->channel_fd = fds[5];
}

static int open_worker(struct seat *s)
{
	const struct plane *p = s->plane;
	struct worker_config config = p->config;

	config.number = s->number;
	config.stats = (struct stats *)(p->stats + s->number * STATS_STRIDE);
	config.port_stats =
		(struct port_stats *)(p->stats + s->number * STATS_STRIDE + STATS_PORTS_AT);
	config.port_slots = LIMIT_PORTS;
	if (p->boot.outward)
		give_outward(&config.out, p->outward.fds[s->number]);
	return worker_open(&config, s->io, &s->worker);
}

/* Opens worker 0's io, which decides the back end that the others try. */
static int choose_backend(struct plane *p, struct io **out)
{
	int code = -ENOSYS;

	if (p->boot.backend != DATAPLANE_EPOLL) {
		p->uring = true;
		code = open_io(p, true, out);
		p->uring_err = code < 0 ? code : 0;
	}
	if (code < 0 && p->boot.backend != DATAPLANE_URING) {
		p->uring = false;
		code = open_io(p, false, out);
	}
	return code;
}

static unsigned clamp(uint64_t n, unsigned min, unsigned max)
{
	return n < min ? min : n > max ? max : (unsigned)n;
}

static unsigned pipes_max(unsigned workers)
{
	char text[32];
	unsigned long soft = 0;

	if (fd_read_file("/proc/sys/fs/pipe-user-pages-soft", text, sizeof(text)) > 0)
		soft = strtoul(text, NULL, 10);
	if (soft == 0) /* pipe(7): 0 means no limit */
		return 64;
	return clamp(soft / PIPE_PAGES / PIPE_SHARE / workers, 2, 64);
}

/* Half of the ports that the kernel gives to connections. */
static unsigned out_ports_max(void)
{
	uint16_t first, last;

	sysctl_local_ports(&first, &last);
	return clamp((last - first + 1u) / 2, UDP_PORTS_MIN, UDP_PORTS_MAX);
}

/* The way out may use half of the descriptors: a flood there leaves the ports the other half. */
static void size_outward(struct plane *p)
{
	struct worker_config *c = &p->config;
	unsigned fds = c->fds_max / 2;

	p->out_ports.max = out_ports_max();
	c->fds_max -= fds;
	c->tcp_flows_max = clamp(c->fds_max / 2, 64, LIMIT_NOFILE / 2);
	c->udp_flows_max = clamp(c->fds_max / 2, 64, LIMIT_UDP_FLOWS);
	c->out = (struct out_config){
		.policy = &p->outward.config,
		.ports = &p->out_ports,
		.raw_fd = {p->outward.raw4, p->outward.raw6},
		.fds_max = fds,
		.tcp_flows_max = clamp(fds / 2, 64, p->out_ports.max),
		.pending_max = clamp(fds / 4, 64, LIMIT_OUT_PENDING),
		.maps_max = clamp(fds / 4, 64, LIMIT_OUT_MAPS),
		.peers_max = LIMIT_OUT_PEERS,
		.responders_max = clamp(fds / 4, 64, LIMIT_OUT_RESPONDERS),
	};
}

/* Alone on one, a worker that does not sleep would keep back what it waits for. */
static bool has_other_cpus(void)
{
	cpu_set_t cpus;

	return sched_getaffinity(0, sizeof(cpus), &cpus) < 0 || CPU_COUNT(&cpus) > 1;
}

static void size_workers(struct plane *p)
{
	unsigned limit = fd_limit();
	unsigned fds = limit > 2 * FDS_OTHER ? limit - FDS_OTHER : limit / 2;

	fds = fds / p->boot.workers > FDS_WORKER ? fds / p->boot.workers - FDS_WORKER : 0;
	p->config = (struct worker_config){
		.fds_max = clamp(fds, 32, LIMIT_NOFILE),
		.tcp_flows_max = clamp(fds / 2, 64, LIMIT_NOFILE / 2),
		.udp_flows_max = clamp(fds / 2, 64, LIMIT_UDP_FLOWS),
		.listeners_max = LIMIT_PORTS,
		.pipes_max = pipes_max(p->boot.workers),
		.udp_ports = &p->udp_ports,
		.udp_timeout_ms = p->boot.udp_timeout_ms,
		.transparent = p->boot.transparent,
		.netns_cookie = p->boot.netns_cookie,
		.looks = has_other_cpus(),
		.hold = p->boot.hold,
	};
	udp_ports_init(&p->udp_ports, clamp(p->boot.udp_ports, UDP_PORTS_MIN, UDP_PORTS_MAX),
		       p->boot.workers);
	if (p->boot.outward)
		size_outward(p);
}

static int receive_boot(struct plane *p)
{
	int fds[FDPASS_MAX], stats_fd;
	size_t n = FDPASS_MAX;
	int code = boot_receive(&p->boot, sizeof(p->boot), fds, &n);

	if (code < 0)
		return code;
	if (p->boot.workers == 0 || p->boot.workers > LIMIT_WORKERS || n != 1 + 2 * p->boot.workers)
		return -EPROTO;
	stats_fd = fds[0];
	for (unsigned i = 0; i < p->boot.workers; i++) {
		p->control[i] = fds[1 + 2 * i];
		p->broker[i] = fds[2 + 2 * i];
	}
	p->stats = mmap(NULL, p->boot.workers * STATS_STRIDE, PROT_READ | PROT_WRITE, MAP_SHARED,
			stats_fd, 0);
	close(stats_fd);
	if (p->stats == MAP_FAILED)
		return -errno;
	if (!p->boot.outward)
		return 0;
	outward_init(&p->outward);
	p->outward.workers = p->boot.workers;
	return outward_receive(&p->outward, WIRE_BOOT_FD);
}

/* Of an array with an entry for each worker. */
static int first_error(const struct plane *p, const int *errs)
{
	for (unsigned i = 0; i < p->boot.workers; i++)
		if (errs[i])
			return errs[i];
	return 0;
}

/* Opens the worker's io, if choose_backend has not. The kernel may have a ring for worker 0 and
 * none for a later one. Then all workers take epoll, unless io_uring was asked for. */
static int open_seat_io(struct seat *s)
{
	struct plane *p = s->plane;
	int *err = &p->io_err[s->number];

	*err = s->io ? 0 : open_io(p, p->uring, &s->io);
	pthread_barrier_wait(&p->tried);
	if (!p->uring || p->boot.backend == DATAPLANE_URING || !first_error(p, p->io_err))
		return *err;
	if (s->io)
		s->io->ops->close(s->io);
	return open_io(p, false, &s->io);
}

/* In worker 0, after the others have opened theirs: notes which back end it came to. */
static void note_backend(struct plane *p)
{
	int err = p->uring ? first_error(p, p->io_err) : 0;

	if (!err)
		return;
	p->uring_err = err;
	p->uring = p->boot.backend == DATAPLANE_URING;
}

static int reply(const struct plane *p, int err)
{
	struct dp_boot_reply r = {.head = boot_reply(err),
				  .backend = p->uring ? DATAPLANE_URING : DATAPLANE_EPOLL,
				  .uring_err = p->uring_err};
	int code = fdpass_send(WIRE_BOOT_FD, &r, sizeof(r), NULL, 0, 0);

	if (code < 0)
		log_error("boot: %s", strerror(-code));
	return err ? err : code;
}

/* Everything is open: gives up rights, and answers the parent. */
static int lock_and_reply(struct plane *p)
{
	struct err e = {.code = 0};
	int code = first_error(p, p->err);

	note_backend(p);
	if (!code && p->boot.sandbox) {
		code = sandbox_dataplane(p->uring, p->boot.transparent, p->boot.outward, &e);
		if (code < 0)
			log_error("%s", e.msg);
	}
	return reply(p, code);
}

static void *seat_main(void *arg)
{
	struct seat *s = arg;
	struct plane *p = s->plane;
	char name[16];
	int err;

	snprintf(name, sizeof(name), "rk-worker-%u", s->number);
	prctl(PR_SET_NAME, name);
	err = open_seat_io(s);
	if (!err)
		err = open_worker(s);
	p->err[s->number] = err;
	pthread_barrier_wait(&p->opened);
	if (s->number == 0) {
		p->verdict = lock_and_reply(p);
		resident_trim();
	}
	pthread_barrier_wait(&p->locked);
	if (p->verdict < 0)
		return NULL;
	worker_set_channels(s->worker, p->control[s->number], p->broker[s->number]);
	err = worker_run(s->worker);
	if (err < 0)
		log_error("worker %u: %s", s->number, strerror(-err));
	/* A data plane without one of its workers is no use: the parent starts another. */
	_exit(err < 0 ? EXITCODE_FAILED : EXITCODE_OK);
}

static int start_threads(struct plane *p, struct seat *seats)
{
	pthread_attr_t attr;
	int code = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	for (unsigned i = 1; i < p->boot.workers && !code; i++)
		code = -pthread_create(&seats[i].thread, &attr, seat_main, &seats[i]);
	pthread_attr_destroy(&attr);
	return code;
}

/* The kernel's table of descriptors grows in steps. In a process with threads each step waits for a
 * grace period of RCU, 15 ms or more, in which a worker serves nobody. While there is one thread it
 * costs nothing. So the table gets room for START_FDS, and for all if there is a hand-over. */
static void widen_table(bool hold)
{
	int limit = (int)fd_limit(), n = hold || limit < START_FDS ? limit : START_FDS;
	int fd = fcntl(WIRE_BOOT_FD, F_DUPFD_CLOEXEC, n - 1);

	if (fd >= 0)
		close(fd);
}

static int run(struct plane *p)
{
	struct seat seats[LIMIT_WORKERS] = {{.plane = NULL}};
	struct err e = {.code = 0};
	int code;

	/* Somebody may have lowered the parent's limit since it raised its own. */
	fd_limit_raise();
	code = choose_backend(p, &seats[0].io);
	if (code < 0)
		return reply(p, code);
	size_workers(p);
	if (p->boot.sandbox) {
		code = sandbox_dataplane_files(p->boot.transparent, p->boot.outward, &e);
		if (code < 0) {
			log_error("%s", e.msg);
			return reply(p, code);
		}
	}
	for (unsigned i = 0; i < p->boot.workers; i++) {
		seats[i].plane = p;
		seats[i].number = i;
	}
	pthread_barrier_init(&p->tried, NULL, p->boot.workers);
	pthread_barrier_init(&p->opened, NULL, p->boot.workers);
	pthread_barrier_init(&p->locked, NULL, p->boot.workers);
	widen_table(p->boot.hold);
	code = start_threads(p, seats);
	if (code < 0)
		return reply(p, code);
	seat_main(&seats[0]);
	return p->verdict;
}

int dataplane_main(void)
{
	static struct plane plane;
	int code;

	log_init("dataplane", false);
	/* splice(2) raises SIGPIPE when a socket's peer is gone, and has no flag against that. */
	signal(SIGPIPE, SIG_IGN);
	code = receive_boot(&plane);
	if (code < 0) {
		log_error("boot: %s", strerror(-code));
		return EXITCODE_FAILED;
	}
	log_init("dataplane", plane.boot.debug);
	return run(&plane) < 0 ? EXITCODE_FAILED : EXITCODE_OK; /* the parent has been told */
}

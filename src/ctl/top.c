/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/top.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/loop.h"
#include "ctl/output.h"
#include "ctl/top_view.h"

/*
 * The control sequences are those of ECMA-48 that every terminal of today knows, and xterm's
 * alternate screen: it is not worth loading a library for four of them. A screen is written at
 * once, line by line over the old one, so that nothing flickers.
 */
#define ENTER "\033[?1049h\033[?25l"
#define LEAVE "\033[?25h\033[?1049l"
#define HOME  "\033[H"
#define NEXT  "\033[K\r\n" /* clears the rest of the old line */
#define REST  "\033[K\033[J"

#define INTERVAL_MS 1000

struct top {
	struct client *client;
	struct top_view view;
	json_t *stats;	   /* the latest answer */
	uint64_t asked_ms; /* when it came; 0: none yet */
	int end_fd;	   /* readable when a signal asks for the end */
	int view_fd;	   /* readable when the window's size has changed, or we are to stop
			    * (Ctrl-Z) */
	int wanted_fd;	   /* epoll: readable with end_fd, and when a key was typed */
	struct termios old;
	bool done;
};

/* What is counted */

static int refresh(struct top *t, struct err *e)
{
	json_t *stats = NULL;
	uint64_t now_ms;
	int code = client_call(t->client, "GET", "/v1/stats", NULL, &stats, e);

	if (code < 0)
		return code;
	now_ms = loop_now_ms();
	code = top_view_take(&t->view, stats, t->stats,
			     (double)(now_ms > t->asked_ms ? now_ms - t->asked_ms : 1) / 1000, e);
	json_decref(t->stats);
	t->stats = stats;
	t->asked_ms = now_ms;
	return code;
}

/* The screen */

static struct winsize window_size(void)
{
	struct winsize size = {.ws_row = 0};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col)
		size = (struct winsize){.ws_row = 24, .ws_col = 80};
	return size;
}

static int draw(struct top *t, struct err *e)
{
	struct winsize size = window_size();

	top_view_scroll(&t->view, 0, size.ws_row);
	fputs(HOME, stdout);
	top_view_put(&t->view, size.ws_col, size.ws_row, NEXT, stdout);
	fputs(REST, stdout);
	return output_finish(e);
}

/* Makes keys come one by one and unseen; Ctrl-C and Ctrl-Z still send signals. */
static void enter_screen(const struct top *t)
{
	struct termios raw = t->old;

	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	fputs(ENTER, stdout);
}

static void leave_screen(const struct top *t)
{
	fputs(LEAVE, stdout);
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &t->old);
}

/* Stops us after Ctrl-Z; until we go on, the shell has the terminal as it was. */
static void stop_for_a_while(const struct top *t)
{
	leave_screen(t);
	raise(SIGSTOP);
	enter_screen(t);
}

/* Input */

static bool is_one_of(const char *sequence, const char *const *list)
{
	while (*list && strcmp(sequence, *list) != 0)
		list++;
	return *list;
}

/* How many rows to scroll for a cursor key's sequence. Terminals differ in those of Home and
 * End. */
static long scroll_of(const char *sequence, size_t page)
{
	static const char *const home[] = {"\033[H", "\033OH", "\033[1~", "\033[7~", "g", NULL};
	static const char *const end[] = {"\033[F", "\033OF", "\033[4~", "\033[8~", "G", NULL};

	if (is_one_of(sequence, home))
		return -LONG_MAX;
	if (is_one_of(sequence, end))
		return LONG_MAX;
	if (!strcmp(sequence, "\033[A") || !strcmp(sequence, "\033OA") || !strcmp(sequence, "k"))
		return -1;
	if (!strcmp(sequence, "\033[B") || !strcmp(sequence, "\033OB") || !strcmp(sequence, "j"))
		return 1;
	if (!strcmp(sequence, "\033[5~"))
		return -(long)page;
	return !strcmp(sequence, "\033[6~") ? (long)page : 0;
}

static void take_key(struct top *t, const char *key)
{
	struct winsize size = window_size();
	const char *order = strchr(top_keys, key[0]);

	if (key[0] == 'q' || key[0] == 'Q')
		t->done = true;
	else if (key[0] == ' ')
		t->view.paused = !t->view.paused;
	else if (key[0] == 'r')
		t->view.reversed = !t->view.reversed;
	else if (order && key[0])
		t->view.order = (enum top_order)(order - top_keys);
	else
		top_view_scroll(&t->view, scroll_of(key, top_view_page(size.ws_row)), size.ws_row);
	top_view_sort(&t->view);
}

/* Reads the keys. A sequence comes in one piece, and so may several keys that were typed while we
 * were busy. */
static void take_input(struct top *t)
{
	char keys[64];
	ssize_t n = read(STDIN_FILENO, keys, sizeof(keys) - 1);
	char *at = keys;

	if (n <= 0) {
		t->done = true; /* the terminal is gone */
		return;
	}
	keys[n] = '\0';
	while (*at) {
		size_t len = 1;
		char key[16];

		if (*at == '\033' && (at[1] == '[' || at[1] == 'O'))
			len = 2 + strcspn(at + 2, "ABCDEFGHPQRSZ~");
		len = *at == '\033' && len > 1 && at[len] ? len + 1 : len;
		snprintf(key, sizeof(key), "%.*s", (int)len, at);
		take_key(t, key);
		at += strnlen(at, len);
	}
}

static void take_view_signal(struct top *t)
{
	struct signalfd_siginfo info;

	if (read(t->view_fd, &info, sizeof(info)) == (ssize_t)sizeof(info) &&
	    info.ssi_signo == SIGTSTP)
		stop_for_a_while(t);
}

static int time_left_ms(const struct top *t)
{
	uint64_t passed = loop_now_ms() - t->asked_ms;

	if (t->view.paused)
		return -1;
	return passed < INTERVAL_MS ? (int)(INTERVAL_MS - passed) : 0;
}

/* Looks why the wait for an answer was broken off, which is no failure: a key may be that for the
 * end. */
static void take_interruption(struct top *t)
{
	struct pollfd fds[] = {{.fd = t->end_fd, .events = POLLIN},
			       {.fd = STDIN_FILENO, .events = POLLIN}};

	if (poll(fds, 2, 0) <= 0)
		return;
	if (fds[0].revents)
		t->done = true;
	else
		take_input(t);
}

/* Waits for a key, a signal or the next second. */
static int turn(struct top *t, struct err *e)
{
	struct pollfd fds[] = {{.fd = t->end_fd, .events = POLLIN},
			       {.fd = t->view_fd, .events = POLLIN},
			       {.fd = STDIN_FILENO, .events = POLLIN}};
	int n = poll(fds, 3, time_left_ms(t)), code = 0;

	if (n < 0 && errno != EINTR)
		return err_errno(e, -errno, "poll");
	if (n <= 0)
		code = n == 0 ? refresh(t, e) : 0;
	else if (fds[0].revents)
		t->done = true;
	else if (fds[1].revents)
		take_view_signal(t);
	else
		take_input(t);
	if (code == -ECANCELED) {
		take_interruption(t);
		code = 0;
	}
	return code || t->done ? code : draw(t, e);
}

static int watch_signals(struct top *t, struct err *e)
{
	sigset_t end, view, both;

	sigemptyset(&end);
	sigaddset(&end, SIGINT);
	sigaddset(&end, SIGTERM);
	sigaddset(&end, SIGHUP);
	sigaddset(&end, SIGQUIT);
	sigemptyset(&view);
	sigaddset(&view, SIGWINCH);
	sigaddset(&view, SIGTSTP);
	sigorset(&both, &end, &view);
	sigprocmask(SIG_BLOCK, &both, NULL);
	t->end_fd = signalfd(-1, &end, SFD_CLOEXEC | SFD_NONBLOCK);
	t->view_fd = signalfd(-1, &view, SFD_CLOEXEC | SFD_NONBLOCK);
	return t->end_fd < 0 || t->view_fd < 0 ? err_errno(e, -errno, "signalfd") : 0;
}

/* Makes wanted_fd: somebody who types does not wait for a server that does not answer. */
static int watch_wanted(struct top *t, struct err *e)
{
	const int fds[] = {t->end_fd, STDIN_FILENO};
	struct epoll_event event = {.events = EPOLLIN};

	t->wanted_fd = epoll_create1(EPOLL_CLOEXEC);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (t->wanted_fd < 0 || epoll_ctl(t->wanted_fd, EPOLL_CTL_ADD, fds[i], &event) < 0)
			return err_errno(e, -errno, "epoll");
	return 0;
}

static int run_screen(struct top *t, struct err *e)
{
	int code = watch_signals(t, e);

	if (!code)
		code = watch_wanted(t, e);
	if (code < 0)
		return code;
	client_set_abort_fd(t->client, t->wanted_fd);
	enter_screen(t);
	code = draw(t, e);
	while (!code && !t->done)
		code = turn(t, e);
	leave_screen(t);
	return code;
}

static int run_plain(struct top *t, struct err *e)
{
	int code;

	poll(NULL, 0, INTERVAL_MS);
	code = refresh(t, e);
	if (code < 0)
		return code;
	top_view_put_plain(&t->view, stdout);
	return output_finish(e);
}

static bool is_screen(struct top *t)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && tcgetattr(STDIN_FILENO, &t->old) == 0 && term && *term &&
	       strcmp(term, "dumb") != 0;
}

int top_run(struct client *client, const struct ctl_args *args, struct err *e)
{
	struct top t = {.client = client, .end_fd = -1, .view_fd = -1, .wanted_fd = -1};
	int code = refresh(&t, e);

	(void)args;
	if (!code)
		code = is_screen(&t) ? run_screen(&t, e) : run_plain(&t, e);
	client_set_abort_fd(client, -1);
	close_fd(&t.end_fd);
	close_fd(&t.view_fd);
	close_fd(&t.wanted_fd);
	top_view_free(&t.view);
	json_decref(t.stats);
	return code;
}

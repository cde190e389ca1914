/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/loop.h"
#include "ctl/answer.h"
#include "ctl/args.h"
#include "ctl/client.h"
#include "ctl/events.h"
#include "ctl/metrics.h"
#include "ctl/output.h"
#include "ctl/port_commands.h"
#include "ctl/reload.h"
#include "ctl/stats.h"
#include "ctl/top.h"

/* The pause between two requests of stats --watch. */
#define WATCH_S 1

static int run_info(struct client *client, const struct ctl_args *args, struct err *e)
{
	json_t *answer, *info;
	int code;

	code = client_call(client, "GET", "/v1/info", NULL, &answer, e);
	if (code < 0)
		return code;
	info = answer_normalize_info(answer, e);
	if (!info)
		code = -EPROTO;
	else
		code = args_has(args, CTL_JSON) ? output_json_indented(info, e)
						: output_info(info, e);
	json_decref(info);
	json_decref(answer);
	return code;
}

/* Prints the counters. A terminal is cleared first; other output just goes on. */
static int print_stats(const json_t *stats, const json_t *before, uint64_t elapsed_ms,
		       const struct ctl_args *args, struct err *e)
{
	if (args_has(args, CTL_JSON) && args_has(args, CTL_WATCH))
		return output_json(stats, e);
	if (args_has(args, CTL_JSON))
		return output_json_indented(stats, e);
	if (args_has(args, CTL_WATCH) && isatty(STDOUT_FILENO))
		fputs("\033[H\033[J", stdout);
	else if (before)
		putchar('\n');
	return stats_print(stats, before, elapsed_ms, e);
}

/* Prints once or, with --watch, until a signal comes or the server has gone. */
static int run_stats(struct client *client, const struct ctl_args *args, struct err *e)
{
	json_t *stats = NULL, *before = NULL;
	uint64_t asked_ms = 0;
	int code;

	do {
		uint64_t before_ms = asked_ms;

		if (before_ms)
			sleep(WATCH_S);
		code = client_call(client, "GET", "/v1/stats", NULL, &stats, e);
		if (code < 0)
			break;
		asked_ms = loop_now_ms();
		code = print_stats(stats, before, asked_ms - before_ms, args, e);
		json_decref(before);
		before = stats;
	} while (args_has(args, CTL_WATCH) && !code);
	json_decref(before);
	return code;
}

/* The table */

const struct ctl_option_row ctl_options[] = {
	{CTL_JSON, "json", "Prints as JSON"},
	{CTL_ALL, "all", "Lists each port of a range"},
	{CTL_HTTP, "http", "Answers the HTTP request on stdin"},
	{CTL_WATCH, "watch", "Repeats it every second"},
	{.name = NULL},
};

const struct ctl_command ctl_commands[] = {
	{.name = "list-ports",
	 .brief = "List ports",
	 .usage = "[flags]",
	 .text = "   A range of ports is one line, or one object, unless --all is given.\n",
	 .options = CTL_JSON | CTL_ALL,
	 .ignores_words = true,
	 .run = port_commands_list},
	{.name = "add-ports",
	 .brief = "Add ports",
	 .usage = "[flags] PARENTIP:PARENTPORT:CHILDPORT/PROTO "
		  "[PARENTIP:PARENTPORT:CHILDPORT/PROTO...]",
	 .text = "   Add exposed ports. The port spec is similar to `docker run -p`. "
		 "e.g. \"127.0.0.1:8080:80/tcp\",\n"
		 "   \"127.0.0.1:8080:10.0.2.100:80/tcp\", \"[::1]:8080:[::2]:80/udp\". "
		 "Ports are added in the order\n"
		 "   given; the first that fails ends it, and those before it stay. Both ports may "
		 "be "
		 "ranges of the\n"
		 "   same length, as in \"0.0.0.0:20000-20999:20000-20999/tcp\"; a range is added "
		 "as a "
		 "whole or not\n"
		 "   at all.\n",
	 .options = CTL_JSON,
	 .takes_words = true,
	 .run = port_commands_add},
	{.name = "remove-ports",
	 .brief = "Remove ports",
	 .usage = "[flags] ID [ID...]",
	 .text = "   By the id that list-ports shows, by a range of ids such as 1-1000, or by the "
		 "port as it was\n"
		 "   added, such as \"127.0.0.1:8080:80/tcp\".\n",
	 .takes_words = true,
	 .run = port_commands_remove},
	{.name = "info",
	 .brief = "Show info",
	 .usage = "[flags]",
	 .options = CTL_JSON,
	 .ignores_words = true,
	 .run = run_info},
	{.name = "stats",
	 .brief = "Show what the port driver has counted",
	 .usage = "[flags]",
	 .text = "   Totals of the data plane and of each port. With --watch once a second, and "
		 "what each port does\n"
		 "   in a second; with --json and --watch one object a line. ringkit's own: "
		 "RootlessKit has no such\n"
		 "   request.\n",
	 .options = CTL_JSON | CTL_WATCH,
	 .run = run_stats},
	{.name = "events",
	 .brief = "Show what happens, as it happens",
	 .usage = "[flags]",
	 .text = "   Ports that are added and removed, and by whom; data planes and brokers that "
		 "are started again;\n"
		 "   limits that are reached. Until it is interrupted or rootlesskit ends. With "
		 "--json one object a\n"
		 "   line. ringkit's own: RootlessKit has no such request.\n",
	 .options = CTL_JSON,
	 .run = events_run},
	{.name = "top",
	 .brief = "Show the busiest ports, live",
	 .usage = "[flags]",
	 .text = "   The ports by what they do in a second, until q is typed. The bottom line "
		 "tells "
		 "the keys: b, f, o, d,\n"
		 "   e and i sort by bytes, flows, flows opened, datagrams, errors and ids. "
		 "Without a "
		 "terminal one list\n"
		 "   is printed. ringkit's own.\n",
	 .run = top_run},
	{.name = "metrics",
	 .brief = "Show the counters as Prometheus takes them",
	 .usage = "[flags]",
	 .text = "   In Prometheus' text format, for a file of the node exporter's textfile "
		 "collector. With --http an\n"
		 "   HTTP request for /metrics is read from stdin and answered in OpenMetrics: for "
		 "socat or a socket\n"
		 "   of systemd, which start it for each connection. ringkit's own.\n",
	 .options = CTL_HTTP,
	 .run = metrics_run},
	{.name = "reload",
	 .brief = "Start the data plane anew, and keep every connection",
	 .usage = "[flags]",
	 .text = "   The data plane and the socket broker are started from the program that is on "
		 "disk "
		 "now, as after an\n"
		 "   upgrade, and take over the ports, the connections and the UDP clients. Where "
		 "that "
		 "does not work,\n"
		 "   those that run go on. rootlesskit itself stays what it is. ringkit's own.\n",
	 .options = CTL_JSON,
	 .run = reload_run},
	{.name = "help",
	 .alias = "h",
	 .brief = "Shows a list of commands or help for one command",
	 .usage = "[command]",
	 .takes_words = true},
	{.name = NULL},
};

const struct ctl_command *commands_find(const char *name)
{
	for (const struct ctl_command *c = ctl_commands; c->name; c++)
		if (!strcmp(name, c->name) || (c->alias && !strcmp(name, c->alias)))
			return c;
	return NULL;
}

const char *commands_names(unsigned option, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (const struct ctl_command *c = ctl_commands; c->name; c++)
		if ((!option || c->options & option) && len < size)
			len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? ", " : "",
						c->name);
	return buf;
}

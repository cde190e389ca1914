/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/help.h"

#include <stdio.h>

#include "config.h"

static const char all[] =
	"NAME:\n"
	"   rootlessctl - RootlessKit API client\n"
	"\n"
	"USAGE:\n"
	"   rootlessctl [global options] command [command options] [arguments...]\n"
	"\n"
	"VERSION:\n"
	"   " RINGKIT_VERSION "\n"
	"\n"
	"COMMANDS:\n"
	"   list-ports    List ports\n"
	"   add-ports     Add ports\n"
	"   remove-ports  Remove ports\n"
	"   info          Show info\n"
	"   stats         Show what the port driver has counted\n"
	"   help, h       Shows a list of commands or help for one command\n"
	"\n"
	"GLOBAL OPTIONS:\n"
	"   --debug         debug mode (default: false)\n"
	"   --socket value  Path to api.sock (under the \"rootlesskit --state-dir\" directory), "
	"defaults to $ROOTLESSKIT_STATE_DIR/api.sock\n"
	"   --help, -h      show help (default: false)\n"
	"   --version, -v   print the version (default: false)\n";

#define JSON_OPTION "   --json      Prints as JSON (default: false)\n"
#define HELP_OPTION "   --help, -h  show help (default: false)\n"

static const char list_ports[] = "NAME:\n"
				 "   rootlessctl list-ports - List ports\n"
				 "\n"
				 "USAGE:\n"
				 "   rootlessctl list-ports [command options] [flags]\n"
				 "\n"
				 "OPTIONS:\n" JSON_OPTION HELP_OPTION;

static const char add_ports[] =
	"NAME:\n"
	"   rootlessctl add-ports - Add ports\n"
	"\n"
	"USAGE:\n"
	"   rootlessctl add-ports [command options] [flags] PARENTIP:PARENTPORT:CHILDPORT/PROTO "
	"[PARENTIP:PARENTPORT:CHILDPORT/PROTO...]\n"
	"\n"
	"DESCRIPTION:\n"
	"   Add exposed ports. The port spec is similar to `docker run -p`. "
	"e.g. \"127.0.0.1:8080:80/tcp\",\n"
	"   \"127.0.0.1:8080:10.0.2.100:80/tcp\", \"[::1]:8080:[::2]:80/udp\". "
	"Ports are added in the order\n"
	"   given; the first that fails ends it, and those before it stay.\n"
	"\n"
	"OPTIONS:\n" JSON_OPTION HELP_OPTION;

static const char remove_ports[] = "NAME:\n"
				   "   rootlessctl remove-ports - Remove ports\n"
				   "\n"
				   "USAGE:\n"
				   "   rootlessctl remove-ports [command options] [flags] ID "
				   "[ID...]\n"
				   "\n"
				   "OPTIONS:\n" HELP_OPTION;

static const char info[] = "NAME:\n"
			   "   rootlessctl info - Show info\n"
			   "\n"
			   "USAGE:\n"
			   "   rootlessctl info [command options] [flags]\n"
			   "\n"
			   "OPTIONS:\n" JSON_OPTION HELP_OPTION;

static const char stats[] =
	"NAME:\n"
	"   rootlessctl stats - Show what the port driver has counted\n"
	"\n"
	"USAGE:\n"
	"   rootlessctl stats [command options] [flags]\n"
	"\n"
	"DESCRIPTION:\n"
	"   Totals of the data plane and of each port. With --watch once a second, and what each "
	"port does\n"
	"   in a second; with --json and --watch one object a line. ringkit's own: RootlessKit has "
	"no such\n"
	"   request.\n"
	"\n"
	"OPTIONS:\n" JSON_OPTION
	"   --watch     Repeats it every second (default: false)\n" HELP_OPTION;

static const char help[] = "NAME:\n"
			   "   rootlessctl help - Shows a list of commands or help for one "
			   "command\n"
			   "\n"
			   "USAGE:\n"
			   "   rootlessctl help [command]\n"
			   "\n"
			   "OPTIONS:\n" HELP_OPTION;

void help_print(enum ctl_command command)
{
	static const char *const texts[] = {
		[CTL_NONE] = all,
		[CTL_LIST_PORTS] = list_ports,
		[CTL_ADD_PORTS] = add_ports,
		[CTL_REMOVE_PORTS] = remove_ports,
		[CTL_INFO] = info,
		[CTL_STATS] = stats,
		[CTL_HELP] = help,
	};

	fputs(texts[command], stdout);
}

void help_print_version(void)
{
	puts("rootlessctl version " RINGKIT_VERSION);
}

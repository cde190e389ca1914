/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/net/builtin_internal.h"

#define BLANKS " \t\r"

/* Parses an address such as fe80::1%eth0, whose scope is a link's name or number. */
static bool parse_scoped(char *text, struct sockaddr_in6 *out)
{
	char *scope = strchr(text, '%');

	if (scope) {
		*scope++ = '\0';
		out->sin6_scope_id = if_nametoindex(scope);
		if (!out->sin6_scope_id)
			out->sin6_scope_id = (uint32_t)strtoul(scope, NULL, 10);
	}
	return inet_pton(AF_INET6, text, &out->sin6_addr) == 1;
}

static bool parse_server(char *text, union sock_addr *out)
{
	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &out->in4.sin_addr) == 1) {
		out->in4.sin_family = AF_INET;
		out->in4.sin_port = htons(NAMESERVER_PORT);
		return true;
	}
	if (!parse_scoped(text, &out->in6))
		return false;
	out->in6.sin6_family = AF_INET6;
	out->in6.sin6_port = htons(NAMESERVER_PORT);
	return true;
}

/* Cuts the address out of a line "nameserver ADDRESS"; NULL when it is another line. */
static char *server_of(char *line)
{
	char *word = strtok_r(line, BLANKS, &line);

	if (!word || strcmp(word, "nameserver") != 0)
		return NULL;
	return strtok_r(NULL, BLANKS, &line);
}

unsigned builtin_resolvers(const char *text, union sock_addr *out)
{
	unsigned n = 0;

	while (*text && n < DP_RESOLVERS) {
		size_t len = strcspn(text, "\n");
		char line[256], *server;

		if (len < sizeof(line)) {
			memcpy(line, text, len);
			line[len] = '\0';
			server = server_of(line);
			if (server && parse_server(server, &out[n]))
				n++;
		}
		text += len + (text[len] == '\n');
	}
	if (n)
		return n;
	memset(out, 0, sizeof(*out));
	out->in4 = (struct sockaddr_in){.sin_family = AF_INET,
					.sin_port = htons(NAMESERVER_PORT),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	return 1;
}

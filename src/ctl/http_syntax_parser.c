/* SPDX-License-Identifier: Apache-2.0 */
/* http_syntax.h by http-parser. */
#include "ctl/http_syntax.h"

static int on_begin(http_parser *parser)
{
	http_syntax_on_begin(((struct http_syntax *)parser->data)->arg);
	return 0;
}

static int on_body(http_parser *parser, const char *data, size_t n)
{
	return http_syntax_on_body(((struct http_syntax *)parser->data)->arg, data, n) ? -1 : 0;
}

static int on_complete(http_parser *parser)
{
	enum http_syntax_end end =
		http_syntax_on_complete(((struct http_syntax *)parser->data)->arg);

	if (end == HTTP_SYNTAX_STOP)
		http_parser_pause(parser, 1);
	return end == HTTP_SYNTAX_WRONG ? -1 : 0;
}

void http_syntax_init(struct http_syntax *s, void *arg)
{
	http_parser_init(&s->parser, HTTP_RESPONSE);
	s->parser.data = s;
	s->arg = arg;
}

size_t http_syntax_read(struct http_syntax *s, const char *data, size_t len, const char **wrong)
{
	static const http_parser_settings settings = {.on_message_begin = on_begin,
						      .on_body = on_body,
						      .on_message_complete = on_complete};
	size_t used = http_parser_execute(&s->parser, &settings, data, len);
	enum http_errno code = HTTP_PARSER_ERRNO(&s->parser);

	*wrong = code == HPE_OK || code == HPE_PAUSED ? NULL : http_errno_description(code);
	return used;
}

unsigned http_syntax_status(const struct http_syntax *s)
{
	return s->parser.status_code;
}

bool http_syntax_keeps_alive(const struct http_syntax *s)
{
	return http_should_keep_alive(&s->parser) != 0;
}

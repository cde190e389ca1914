/* SPDX-License-Identifier: Apache-2.0 */
/* http_syntax.h by llhttp. */
#include "ctl/http_syntax.h"

static int on_begin(llhttp_t *parser)
{
	http_syntax_on_begin(((struct http_syntax *)parser->data)->arg);
	return 0;
}

static int on_body(llhttp_t *parser, const char *data, size_t n)
{
	return http_syntax_on_body(((struct http_syntax *)parser->data)->arg, data, n) ? -1 : 0;
}

static int on_complete(llhttp_t *parser)
{
	switch (http_syntax_on_complete(((struct http_syntax *)parser->data)->arg)) {
	case HTTP_SYNTAX_NEXT:
		return HPE_OK;
	case HTTP_SYNTAX_STOP:
		return HPE_PAUSED;
	case HTTP_SYNTAX_WRONG:
		break;
	}
	return -1;
}

void http_syntax_init(struct http_syntax *s, void *arg)
{
	static const llhttp_settings_t settings = {.on_message_begin = on_begin,
						   .on_body = on_body,
						   .on_message_complete = on_complete};

	llhttp_init(&s->parser, HTTP_RESPONSE, &settings);
	s->parser.data = s;
	s->arg = arg;
}

/* How many bytes were used. Where an answer stops the parser, its last byte has been read. */
static size_t used_of(const struct http_syntax *s, const char *data, size_t len)
{
	const char *at = llhttp_get_error_pos(&s->parser);

	return at && at >= data && at <= data + len ? (size_t)(at - data) : len;
}

size_t http_syntax_read(struct http_syntax *s, const char *data, size_t len, const char **wrong)
{
	llhttp_errno_t code =
		len ? llhttp_execute(&s->parser, data, len) : llhttp_finish(&s->parser);

	*wrong = NULL;
	if (code == HPE_OK)
		return len;
	if (code != HPE_PAUSED)
		*wrong = llhttp_get_error_reason(&s->parser);
	if (code != HPE_PAUSED && (!*wrong || !**wrong))
		*wrong = llhttp_errno_name(code);
	return used_of(s, data, len);
}

unsigned http_syntax_status(const struct http_syntax *s)
{
	return (unsigned)llhttp_get_status_code((llhttp_t *)(unsigned long)&s->parser);
}

bool http_syntax_keeps_alive(const struct http_syntax *s)
{
	return llhttp_should_keep_alive(&s->parser) != 0;
}

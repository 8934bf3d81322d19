/* request_parts: what the parts of request share. request_target.c is the first line of a head,
 * request_list.c the lists in its fields. */
#ifndef TOVA_WS_REQUEST_PARTS_H
#define TOVA_WS_REQUEST_PARTS_H

#include "ws/request.h"

/* Where the parser is, and what it has to say. */
struct request_cursor {
	const char *p, *end; /* end: of what may belong to the head, never beyond head_max */
	int status;
	const char *why;
};

/* Says what is wrong; returns false. */
static inline bool request_refuse(struct request_cursor *c, int status, const char *why)
{
	c->status = status;
	c->why = why;
	return false;
}

static inline bool request_is_digit(char ch)
{
	return ch >= '0' && ch <= '9';
}

static inline bool request_is_alnum(char ch)
{
	return request_is_digit(ch) || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
}

/* RFC 9110 5.6.2 */
static inline bool request_is_tchar(char ch)
{
	return request_is_alnum(ch) || (ch != '\0' && strchr("!#$%&'*+-.^_`|~", ch) != NULL);
}

/* What may stand in a target: no space, no control character, nothing beyond ASCII, and no fragment
 * (RFC 9112 3.2). */
static inline bool request_is_target_char(char ch)
{
	return ch > ' ' && ch < 0x7F && ch != '#';
}

/* --- request_target.c ------------------------------------------------------------------------- */

/* What a peer is told that takes this port for another; NULL: it is none that is known. */
const char *request_stranger(const char *bytes, size_t n);
/* May it be one of those that no request begins like, with a few bytes more? */
bool request_stranger_begins(const char *bytes, size_t n);
/* Reads "METHOD SP target SP HTTP/1.x CRLF" as far as it is there; `known` says how far it was. */
bool request_line_parse(struct request *r, struct request_cursor *c,
			struct request_progress *known);
/* What that target says, once the head is whole. */
bool request_target_parse(struct request *r, struct request_cursor *c);

#endif

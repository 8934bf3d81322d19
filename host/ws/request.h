/* request: the head of an HTTP/1.1 request (RFC 9112), parsed strictly and without copies.
 *
 * What a lenient parser would repair is refused, since a proxy in front may have read it
 * differently: bare CR or LF, folded headers, white space before a colon, control characters, a
 * missing or repeated Host, Content-Length beside Transfer-Encoding.
 */
#ifndef TOVA_WS_REQUEST_H
#define TOVA_WS_REQUEST_H

#include <stdint.h>

#include "common/span.h"

#define REQUEST_HEADERS_MAX 100
#define REQUEST_PATH_MAX 2048 /* bytes of the decoded path; beyond it: 414 */

struct request_header {
	struct span name, value; /* value without white space around it */
};

struct request {
	struct span head;	    /* all of it, with the empty line at its end */
	struct span method, target; /* as they came */
	/* percent-decoded, valid UTF-8, no NUL, begins with '/', no "." or ".." segment, lies in
	 * path_bytes */
	struct span path;
	struct span query; /* behind the first '?', raw; empty if there is none */
	/* authority of an absolute target, else the value of Host; empty only in HTTP/1.0 */
	struct span host;
	struct request_header headers[REQUEST_HEADERS_MAX];
	unsigned n_headers;
	unsigned minor;	 /* of the version: HTTP/1.0 or HTTP/1.1 */
	bool keep_alive; /* Connection says so, or HTTP/1.1 without "close" */
	/* has an Upgrade header that names websocket, and Connection names upgrade */
	bool wants_upgrade;
	bool has_body;		 /* Content-Length above 0 or Transfer-Encoding */
	uint64_t content_length; /* 0 without one */
	/* by the word of a trusted proxy, which is set by others (forwarded.h); else empty */
	struct span forwarded_host;
	bool secure; /* likewise: the client speaks TLS with it */
	/* what it carries, once others have read that (body.h); else empty. Its bytes may be
	 * written. */
	struct span body;
	char path_bytes[REQUEST_PATH_MAX + 1];
};

struct request_limits {
	size_t head_max;      /* bytes of the whole head; beyond it: 431 */
	unsigned headers_max; /* at most REQUEST_HEADERS_MAX; beyond it: 431 */
};

enum request_status {
	REQUEST_MORE, /* the head is not complete and nothing in it is wrong yet */
	REQUEST_OK,
	/* *status_r is the HTTP status to answer with, *why_r a sentence for the log */
	REQUEST_BAD,
	/* *used_r bytes of empty lines, which say nothing (RFC 9112 2.2): the head may begin behind
	   them */
	REQUEST_EMPTY,
};

/* What is known of a head that comes in pieces, so that none of its bytes is looked at for each
 * piece. All zero at its beginning, and again when request_parse has said anything but
 * REQUEST_MORE. */
struct request_progress {
	size_t seen;	       /* bytes without the head's end */
	size_t method, target; /* bytes of them in the first line that are good */
	bool line;	       /* the first line is whole, and good */
};

/* Parses the head at the start of bytes. On REQUEST_OK *used_r is its length with the empty line;
 * spans point into bytes (and into r->path_bytes), so they live as long as those. progress: where
 * an earlier call with REQUEST_MORE stopped in the same head, of which bytes holds all that has
 * come; NULL: there was none. A head that can never become right is refused as early as its first
 * line shows it (a TLS hello, another protocol) or a bare LF ends a line. Errors are told in the
 * order of the bytes, so that the same head gives the same answer however it was cut. Other
 * versions than HTTP/1.1: 505; HTTP/1.0 is parsed (keep_alive and wants_upgrade false, Host may be
 * missing) but can not upgrade. r is only meaningful after REQUEST_OK. */
enum request_status request_parse(struct request *r, const struct request_limits *limits,
				  const char *bytes, size_t len, struct request_progress *progress,
				  size_t *used_r, int *status_r, const char **why_r);

/* Parses a head that was good once and has been kept, whole. False: it is good no more, which only
 * one that was changed since can be. */
bool request_parse_kept(struct request *r, struct span head);

/* Value of the first header of that name (any case), or an empty span with p == NULL. */
struct span request_header(const struct request *r, const char *name);
/* How many headers have that name. */
unsigned request_header_count(const struct request *r, const char *name);

/* Walks a comma-separated list (RFC 9110 5.6.1): *rest is what is left of it, the next element
 * without white space is put into *item_r; empty elements are skipped. */
bool request_list_next(struct span *rest, struct span *item_r);
/* Walks the elements of all headers of one name, as if they were one list (RFC 9110 5.2). All zero
 * but r and name is a fresh one. */
struct request_walk {
	const struct request *r;
	struct span name, rest;
	unsigned next;
};
/* False: there is none left. */
bool request_walk_next(struct request_walk *w, struct span *item_r);
/* Is token (any case) an element of any header of that name? */
bool request_has_token(const struct request *r, const char *name, const char *token);

/* Host, or the authority of a target: a name, IPv4 or bracketed IPv6 address, and maybe a port (RFC
 * 3986 3.2). */
bool request_authority_ok(struct span s);

/* Percent-decodes into dst (at most cap bytes); returns the length, or -1 for bad escapes, NUL, or
 * too little room. */
long request_decode(struct span raw, char *dst, size_t cap);

/* "Not Found" for 404, and so on. */
const char *request_status_text(int status);

#endif

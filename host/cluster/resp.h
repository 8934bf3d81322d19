/* resp: what a Redis server says and is told (RESP2), by hiredis' reader and formatter, within
 * bounds: a server that says rubbish costs its connection. */
#ifndef TOVA_CLUSTER_RESP_H
#define TOVA_CLUSTER_RESP_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buffer.h"
#include "common/span.h"

/* bytes of a reply, and its parts, each beyond what this host can have asked for */
#define RESP_REPLY_MAX (4u << 20)
#define RESP_ITEMS_MAX 65536

enum resp_kind { RESP_NIL, RESP_TEXT, RESP_STATUS, RESP_ERROR, RESP_NUMBER, RESP_LIST };

struct resp_value {
	enum resp_kind kind;
	long long number;	  /* NUMBER */
	struct span text;	  /* TEXT, STATUS, ERROR; a NUL is behind it */
	struct resp_value **items; /* LIST; of one that is read completely none is NULL */
	size_t n;
};

struct resp;

/* NULL without memory. */
struct resp *resp_new(void);
void resp_free(struct resp **r_p);
/* What was received. False without memory. */
bool resp_feed(struct resp *r, const void *bytes, size_t n);
/* The next reply that is there as a whole, which is the caller's; NULL: there is none yet.
 * False: the server speaks something else, see resp_why. */
bool resp_next(struct resp *r, struct resp_value **value_r);
const char *resp_why(const struct resp *r);
/* Of NULL, too. */
void resp_value_free(struct resp_value *v);

/* The i-th of a list, as a text; none (NULL) if it is not one. */
struct span resp_text_at(const struct resp_value *v, size_t i);

/* Adds a command. False without memory: nothing was added. */
bool resp_add(struct buffer *to, size_t n, const struct span *words);

#endif

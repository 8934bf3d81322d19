/* pending: what the host has not answered yet. Pushes and queries are kept until it has, and said
 * again on a new link; a push carries a number that keeps it from happening twice. */
#ifndef TOVA_SDK_PENDING_H
#define TOVA_SDK_PENDING_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "c/batch.h"
#include "tova_plugin.h"

#define PENDING_SOURCE_TEXT 33 /* 32 characters and a NUL */
#define PENDING_BYTES_MAX (64u << 20)

struct push {
	struct push *next;
	struct batch commands;
	char source[PENDING_SOURCE_TEXT];
	uint64_t n;
	bool lasting; /* said on every link: another host has to do it as well */
	bool alone;   /* has a source of its own */
};

struct query {
	struct query *next;
	uint64_t q, id;
	uint32_t kind, limit;
	uint64_t since;
	tova_ws ws, asker;
	json_t *found; /* of what is listed in pages, those that have come; NULL: none */
	char *after;   /* the next page is behind that; NULL: the first */
	size_t room_len;
	char room[]; /* with a NUL */
};

struct pending {
	struct push *pushes, **pushes_end;
	struct query *queries, **queries_end;
	char source[PENDING_SOURCE_TEXT]; /* of the next push */
	uint64_t next_n, next_q;
	size_t n_pushes;
	atomic_size_t bytes;
};

/* False without random numbers. */
bool pending_init(struct pending *p);

/* Copies the commands, with their bytes, into a push. NULL without memory, or when the host is too
 * far behind. [any thread] */
struct push *pending_make_push(struct pending *p, const struct buffer *text,
			       const struct buffer *binary);
/* Both take over; out: where it is said now, or NULL while there is no link. */
void pending_push(struct pending *p, struct push *push, struct batch *out);
void pending_query(struct pending *p, struct query *query, struct batch *out);

/* Takes a page of an answer. True: it was the last, and all is in query->found, or there was no
 * memory for it, when that is NULL. False: the next one is to be asked for. */
bool pending_add_page(struct query *query, const json_t *reply);
void pending_free_query(struct query *query);

/* A new link: all of it is said again. */
void pending_repeat(struct pending *p, struct batch *out);

/* The host's answers. An error that the program should hear of is in *error_r, else NULL. */
void pending_done(struct pending *p, const json_t *done, struct batch *out, const char **error_r);
/* The query that the reply answers, which is the caller's to free, or NULL. */
struct query *pending_reply(struct pending *p, const json_t *reply);

/* [any thread] NULL without memory. */
struct query *pending_make_query(const tova_query *q);

#endif

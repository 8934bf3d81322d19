/* api_call: one request at the API, and how it is answered: once, before its function returns. */
#ifndef TOVA_OPS_API_CALL_H
#define TOVA_OPS_API_CALL_H

#include "net/answer.h"
#include "ops/api.h"

#define API_ARGS_MAX 2
/* Of every answer: none is kept by anybody. */
#define API_HEAD "Cache-Control: no-store\r\n"
#define API_WHY_MAX 1024

struct api_route;

struct api_call {
	struct api *api;
	const struct api_door *door;
	struct conn *conn;
	struct request *request;	/* with its body, of which the bytes may be written */
	const struct api_route *routes; /* all that there are */
	size_t n_routes;
	const struct api_route *route;
	struct api_grant grant;
	struct idempotency_done *once;	/* how it is known when it is repeated; NULL: it is not */
	struct span args[API_ARGS_MAX]; /* what stood for each * of the route's path, decoded */
};

/* What the table of requests is made of. */
struct api_route {
	const char *method; /* GET is for HEAD, too */
	const char *path;   /* a segment * stands for any one */
	enum api_scope scope;
	unsigned is; /* API_ROUTE_... */
	void (*run)(struct api_call *call);
	/* The rest is for people and api_openapi.h, but for the parameters. */
	const char *about;
	/* statuses and schemas of answers: "200:Mounts"; "200:lines/Line": one in each line */
	const char *gives;
	const char *takes;	   /* schema of its body; NULL: it has none */
	const char *const *params; /* names of its query, ended by NULL; NULL: none */
};
#define API_ROUTE_OPEN 1  /* nobody needs a token */
#define API_ROUTE_ADMIN 2 /* at --admin only */
#define API_ROUTE_BODY 4  /* it is nothing without a body */
/* It is about a mount, and its function calls api_call_may when that is known; else it is about the
 * host, for which a token of one mount is not enough. */
#define API_ROUTE_MOUNT 8

/* Which run of the host this is: one that was started again knows no Idempotency-Key of before.
 * Every answer to a call says so (Tova-Instance), and a request may name the one that it is for. */
#define API_RUN_TEXT 24
const char *api_call_run(const struct api_call *call, char run[API_RUN_TEXT]);

/* An object is written: its members follow, by codec_member_... */
struct codec_out *api_call_out(struct api_call *call);
/* Answers with what was written. head: further header lines. */
void api_call_answer(struct api_call *call, int status, struct span head);
/* The same with JSON that needs no memory to be written: what was done can always be told. */
void api_call_answer_text(struct api_call *call, int status, struct span head, struct span json);
/* Answers {"error":"…"}. */
void api_call_refuse(struct api_call *call, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same with "index", the place of the command that is wrong. */
void api_call_refuse_at(struct api_call *call, int status, size_t index, const char *why);
/* May he? mount: NULL: the host. False: it was answered with 403. */
bool api_call_may(struct api_call *call, enum api_scope scope, const struct mount *mount);
/* The mount of that path, or, where none is named (p NULL), the only one there is. NULL: it was
 * answered. */
struct mount *api_call_mount(struct api_call *call, struct span path);

/* What was asked is known by its key from now on, if it has one. */
void api_call_remember(struct idempotency_done **once, int status, struct span json);

/* Answers for whoever has no call: conn_ops.error. */
void api_call_error(struct conn *c, int status, struct span head, const char *why);

#endif

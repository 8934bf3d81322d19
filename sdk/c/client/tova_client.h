/* tova_client: pushing to a tova-host from a C program that has no handlers.
 *
 *	tova_client *c = tova_client_connect("http://127.0.0.1:8081", NULL, why, sizeof why);
 *	tova_commands *list = tova_commands_new();
 *	tova_commands_broadcast_to(list, "general", "hello", NULL);
 *	struct tova_answer a;
 *	if (tova_client_commit(c, list, NULL, &a))
 *		printf("%llu have been told\n", a.receivers);
 *	else
 *		fprintf(stderr, "%s\n", a.error);
 *
 * Link with -ltova-client -lcurl -ljansson. A client may be used by several threads, which take
 * turns: one request is under way at a time. Nothing is dialled before the first.
 */
#ifndef TOVA_CLIENT_H
#define TOVA_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tova_client tova_client;
typedef struct tova_commands tova_commands;

struct tova_client_options {
	const char *token; /* NULL: none */
	const char *mount; /* NULL: the only one that the host has */
	const char *ca;	   /* PEM file of whom to trust over TLS; NULL: whom the system does */
	unsigned long timeout_ms; /* for a commit, all attempts together; 0: 10,000 */
};

/* urls: one or more, parted by blanks: at the HTTP API http://, https://, unix:/path or
 * http+unix://%2Fpath; where workers attach ipc:///path, tcp:// or tls+tcp://. Of several the next
 * is tried where one can not be reached. Texts are copied. options: NULL: as if all were 0. Returns
 * NULL with a sentence in why: a URL is none, or there is no memory. */
tova_client *tova_client_connect(const char *urls, const struct tova_client_options *options,
				 char *why, size_t why_cap);
/* Closes what is open, and frees. Nobody may be using it. NULL is allowed. */
void tova_client_disconnect(tova_client *c);

/* What became of a commit. */
enum tova_result {
	TOVA_DONE,	  /* it is done */
	TOVA_REFUSED,	  /* the host said no: nothing was done */
	TOVA_UNREACHABLE, /* no host was reached in time: nothing was done */
	TOVA_EXPIRED,	  /* its time was over: nothing was done */
	/* it was sent, and its answer never came, nor that to its repetition: whether it was done
	 * is not known */
	TOVA_ANSWER_LOST,
	TOVA_WRONG, /* a command was given something that none can be: nothing was sent */
};

struct tova_answer {
	enum tova_result result;
	unsigned long long receivers; /* connections that it had an effect for */
	int status;		      /* of HTTP; 0: there was none */
	long index; /* TOVA_REFUSED and TOVA_WRONG: of the command that is wrong, from 0; -1: of
		     * none */
	char error[512]; /* a sentence; empty when it is done */
};

struct tova_call {
	unsigned long timeout_ms; /* 0: the client's */
	unsigned long
		expires_ms; /* from now; what is not done by then is not done at all; 0: never */
};

/* Sends the commands and waits: all of them are done, or none. call: NULL: as if all were 0. The
 * list stays the caller's, and can be sent again. Returns whether it is done; *answer_r tells
 * more. */
bool tova_client_commit(tova_client *c, const tova_commands *list, const struct tova_call *call,
			struct tova_answer *answer_r);

/* --- commands --------------------------------------------------------------------------------- */

/* An empty list. NULL without memory. */
tova_commands *tova_commands_new(void);
/* Empties it. */
void tova_commands_clear(tova_commands *list);
/* NULL is allowed. */
void tova_commands_free(tova_commands *list);

/* Each adds one; texts and bytes are copied. What is wrong with one (a room of no name, half a
 * UTF-8 sequence, no memory) is told by the commit. conn: the id of a connection. exclude: one that
 * does not get it, or NULL. */
void tova_commands_send(tova_commands *list, const char *conn, const char *text);
void tova_commands_send_bytes(tova_commands *list, const char *conn, const void *bytes, size_t n);
void tova_commands_broadcast(tova_commands *list, const char *text, const char *exclude);
void tova_commands_broadcast_bytes(tova_commands *list, const void *bytes, size_t n,
				   const char *exclude);
/* To the members of a room. */
void tova_commands_broadcast_to(tova_commands *list, const char *room, const char *text,
				const char *exclude);
/* The same with bytes, as a binary message. */
void tova_commands_broadcast_bytes_to(tova_commands *list, const char *room, const void *bytes,
				      size_t n, const char *exclude);
/* Gives the message that was added last a key, for --slow-policy conflate. */
void tova_commands_key(tova_commands *list, const char *key);
void tova_commands_join(tova_commands *list, const char *conn, const char *room);
void tova_commands_leave(tova_commands *list, const char *conn, const char *room);
void tova_commands_leave_all(tova_commands *list, const char *conn);
/* Who a connection is: what the others may know of it, at most 1,024 bytes, and as whom it counts
 * among users. NULL: as it was; "": nothing, and the one whom its token names. */
void tova_commands_info(tova_commands *list, const char *conn, const char *info, const char *user);
/* Ends all connections of a room. */
void tova_commands_close_room(tova_commands *list, const char *room, int code, const char *reason);
/* More about the command that was added last, as the worker protocol (sdk/PROTOCOL.md) has it: of a
 * join the numbers max, users_max, last, since and epoch, and the flags first and replace; of a
 * broadcast_to the flag keep; of broadcasts and close_room the lists rooms (beside the one that was
 * named), exclude, exclude_users and exclude_rooms. */
void tova_commands_number(tova_commands *list, const char *member, unsigned long long value);
void tova_commands_flag(tova_commands *list, const char *member, bool value);
void tova_commands_names(tova_commands *list, const char *member, const char *const *names,
			 size_t n);
/* code 0: none; reason NULL: none. */
void tova_commands_close(tova_commands *list, const char *conn, int code, const char *reason);
/* Stores a text with a connection; if_state: only if that is what is stored; NULL: anyway. */
void tova_commands_set(tova_commands *list, const char *conn, const char *state,
		       const char *if_state);
/* Keeps a text with a room, at most 65,536 bytes; "": nothing any more. With
 * tova_commands_number(list, "version", v) behind it only if that is the version that there is; 0:
 * nothing is kept. */
void tova_commands_set_room(tova_commands *list, const char *room, const char *state);

#ifdef __cplusplus
}
#endif

#endif

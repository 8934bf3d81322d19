/* client: one client of tova.v1 (sdk/web/TOVA-V1.md) that says numbered things, and whose socket
 * may be cut at any moment. What it has to say it makes anew from what it remembers of each
 * message. */
#ifndef RESUME_CLIENT_H
#define RESUME_CLIENT_H

#include "socket.h"

enum { ROOMS = 3 }; /* of 10, of 100, of 1,000: each client is in one of each */

enum say { SAY_SELF, SAY_BINARY, SAY_MARKED, SAY_FAILS, SAY_ROOM, SAY_JOIN = SAY_ROOM + ROOMS };

/* One of its messages. */
struct said {
	uint8_t kind;
	uint32_t n; /* in that room */
};

/* Where it is cut. */
enum cut {
	CUT_PLAIN,
	CUT_IN_FRAME,	/* behind half of one */
	CUT_BEHIND_GOT, /* which is sent right before */
	CUT_SHUT,	/* no RST, but an end of the stream */
	CUT_LEAVE,	/* a close frame with 1001 */
	CUT_TAKEN,	/* the old socket stays while the new one comes */
	CUT_BEFORE_REQUEST,
	CUT_IN_REQUEST,
	CUT_BEHIND_REQUEST,
	CUT_BEHIND_101,
	CUT_BEHIND_WELCOME,
	CUT_IN_RESEND,
	CUT_FIRST_RETURN = CUT_BEFORE_REQUEST,
	CUT_KINDS = CUT_IN_RESEND + 1,
};

enum state { AWAY, ASKING, WELCOMING, THERE, OVER };

struct member {
	uint32_t *heard; /* of each client of the room: the last number */
	uint32_t first;	 /* of these */
	uint32_t size;
	uint64_t order; /* of all that it has heard there, in that order */
};

struct client {
	struct socket now, old;
	enum state state;
	uint32_t number;
	char token[64];
	struct said *said;
	uint32_t n_said, cap_said;
	uint32_t written;   /* of these, on this socket */
	uint32_t settled;   /* as the host says */
	uint32_t failed;    /* of those, as it says */
	uint32_t must_fail; /* as is to be */
	uint32_t last_failed, echoes;
	uint64_t received, confirmed;
	uint64_t confirmed_at, cut_at, again_at; /* ms */
	uint32_t in_room[ROOMS];		 /* said there */
	struct member rooms[ROOMS];
	enum cut plan; /* of the return that is under way; CUT_PLAIN: none */
	bool deaf;     /* never confirms */
};

/* Of all. */
struct run {
	struct client *clients;
	uint32_t n;
	int port, epoll;
	const char *path;
	bool deflate, cutting;
	uint64_t now; /* ms */
	uint64_t messages, deliveries, returns, refused, retries, late;
	uint64_t cuts[CUT_KINDS];
};

extern const uint32_t room_size[ROOMS];

void client_init(struct run *run, struct client *c, uint32_t number);
/* It says something; it is sent now, or when it is back. */
void client_say(struct run *run, struct client *c, enum say kind);
/* Its socket is ready. */
void client_on_ready(struct run *run, struct client *c);
/* Time has passed. */
void client_on_tick(struct run *run, struct client *c);
/* All that it has said is settled, and it has heard all of its own. */
bool client_is_done(const struct client *c);
/* It wants its session to end. */
void client_leave(struct run *run, struct client *c);

/* Ends the program: what the client has met must not be. */
__attribute__((noreturn, format(printf, 2, 3))) void client_fault(const struct client *c,
								  const char *format, ...);

#endif

/* tova_v1: the subprotocol by which a client outlives its socket, as pure code: the offer in a
 * request, and the control messages both ways.
 *
 * Both sides count data messages, from 1. Control messages are text that begins with U+0001, the
 * rest a JSON object; data text that begins with it gets one more in front. Binary is always data.
 * sdk/web/TOVA-V1.md has the whole.
 */
#ifndef TOVA_WS_TOVA_V1_H
#define TOVA_WS_TOVA_V1_H

#include <stdint.h>

#include "common/rules.h"
#include "ws/request.h"

#define TOVA_V1_NAME "tova.v1"
#define TOVA_V1_MARK '\1'
#define TOVA_V1_TOKEN 22 /* characters of a token of ours: 128 random bits in base64url */
/* bytes of a control message of ours, with its mark and a NUL, at most */
#define TOVA_V1_MAX 1024
/* Events whose failure one message tells; more of them are told by several. */
#define TOVA_V1_FAILED_MAX 32

/* What a client offers. */
struct tova_v1_offer {
	bool offered;
	bool returns; /* and it was here before: */
	char token[TOVA_V1_TOKEN + 1];
	uint64_t got; /* messages that it has received until then */
};

/* Reads the offer and cuts it out of the request, whose bytes are written to, so that no handler
 * and no log sees a token. Does nothing to a request without one. A return that can not be meant
 * for us (no token of ours, no number) is an offer without. */
void tova_v1_take(struct request *r, struct tova_v1_offer *offer_r);
/* Is tova.v1 among the subprotocols? */
bool tova_v1_is_offered(const struct request *r);

/* What may stand in one control message, together. None of it: nothing that we know; another
 * version may. */
enum tova_v1_said {
	TOVA_V1_BAD = 1 << 0, /* no JSON object, or a value that can not be; then it is alone */
	TOVA_V1_GOT = 1 << 1,
	TOVA_V1_JWT = 1 << 2,
	TOVA_V1_PING = 1 << 3,
	TOVA_V1_BYE = 1 << 4,
};

struct tova_v1_control {
	unsigned said;	 /* bits of enum tova_v1_said */
	uint64_t got;	 /* GOT: messages received so far */
	struct span jwt; /* JWT: it; lies in the message */
};

/* Reads a client's control message, without its mark. The text is written to. */
void tova_v1_read(char *text, size_t len, struct tova_v1_control *control_r);

/* What the host says; each is written with its mark in front and returns its length. */
struct tova_v1_welcome {
	const char *token; /* NULL: it can not come back */
	bool resumed;
	uint64_t got, done, keep_ms;
	struct span protocol; /* of the application; empty: none */
};
/* The first of all. */
size_t tova_v1_welcome(char dst[TOVA_V1_MAX], const struct tova_v1_welcome *w);
/* failed: numbers of messages whose events failed, TOVA_V1_FAILED_MAX at most. */
size_t tova_v1_done(char dst[TOVA_V1_MAX], uint64_t done, const uint64_t *failed, size_t n_failed);
size_t tova_v1_pong(char dst[TOVA_V1_MAX]);
size_t tova_v1_lost(char dst[TOVA_V1_MAX], uint64_t lost, uint64_t next);
/* What of a room's memory follows. `complete`: all that was asked for. The room's name has
 * RULES_NAME_MAX bytes at most. */
#define TOVA_V1_HISTORY_MAX (TOVA_V1_MAX + 6 * RULES_NAME_MAX)
struct tova_v1_history {
	struct span room;
	uint64_t epoch, from, to;
	bool complete;
};
size_t tova_v1_history(char dst[TOVA_V1_HISTORY_MAX], const struct tova_v1_history *h);
/* status: as HTTP would have it. Times are in milliseconds; expires_ms 0: the token needs no
 * renewal. */
size_t tova_v1_refused(char dst[TOVA_V1_MAX], int status, uint64_t retry_ms);
size_t tova_v1_renewed(char dst[TOVA_V1_MAX], uint64_t expires_ms);

/* The close code of a refusal with that status, which a browser sees nothing of; 0: there is none,
 * it stays an HTTP answer. */
unsigned tova_v1_close_code(int status);

#endif

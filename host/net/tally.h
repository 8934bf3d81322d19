/* tally: how many connections each client address has, how many it began lately, and how many
 * sockets there are in all.
 *
 * There is one for the whole host, whatever the number of its loops, behind a lock that is taken
 * when a connection begins and when it ends, never for a message. An address costs memory while it
 * has connections or its handshakes are remembered; those are bounded, and clients can not choose
 * addresses that collide, as the hash has a key.
 */
#ifndef TOVA_NET_TALLY_H
#define TOVA_NET_TALLY_H

#include <pthread.h>

#include "base/address.h"
#include "base/bucket.h"
#include "base/hash.h"

/* connections of one address that are told at one time that they are too many; others are closed */
#define TALLY_TOLD_MAX 8
/* addresses without a connection whose handshakes are remembered */
#define TALLY_REMEMBERED 65536u

struct tally_limits {
	uint32_t connections;	       /* at once, of one address; 0: any number */
	struct bucket_rate handshakes; /* of one address */
	uint8_t bits4, bits6;	       /* what counts as one address: its first bits */
};

enum tally_verdict {
	TALLY_OK,
	TALLY_CONNECTIONS, /* too many at once */
	TALLY_HANDSHAKES,  /* too many lately */
	TALLY_NO_MEMORY,
};

struct tally_answer {
	enum tally_verdict verdict;
	bool counted; /* tally_leave is owed */
	bool told;    /* it is too many, and there is time to say so; counted as such */
	bool first;   /* none of this address was refused lately: worth a line in the log */
};

struct tally;

/* NULL with errno set. */
struct tally *tally_new(const struct tally_limits *limits);
/* For what comes from now on. What counts as one address stays as it is. */
void tally_set_limits(struct tally *t, const struct tally_limits *limits);
void tally_free(struct tally *t);

/* A connection of this address begins. If it is too many it counts only if `tell` is set and not
 * too many are being told already. Unix sockets are not counted, nor is anything where nothing is
 * limited. */
struct tally_answer tally_enter(struct tally *t, const struct address *a, uint64_t now_ms,
				bool tell);
/* It has ended; told: as tally_enter said. */
void tally_leave(struct tally *t, const struct address *a, bool told, uint64_t now_ms);
/* Seconds after which it makes sense for this address to try again. */
uint32_t tally_retry(struct tally *t, const struct address *a, uint64_t now_ms);
/* Forgets handshakes that are long ago. Call it every second or so. */
void tally_sweep(struct tally *t, uint64_t now_ms);

/* Takes one of the host's `most` sockets, or says that all are taken. */
bool tally_take_socket(struct tally *t, uint32_t most);
void tally_give_socket(struct tally *t);
uint32_t tally_sockets(struct tally *t);

/* For tests and statistics: addresses that cost memory. */
uint32_t tally_count(struct tally *t);

#endif

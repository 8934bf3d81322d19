/* tally: how many connections each client address has, how many it began lately, and how many sockets there are in all.
 *
 * There is one for the whole host, whatever the number of its loops, behind a lock that is taken when a connection begins and when it
 * ends, never for a message. An address costs memory while it has connections or its handshakes are remembered; those are bounded, and
 * clients can not choose addresses that collide, as the hash has a key.
 */
#ifndef TOVA_NET_TALLY_H
#define TOVA_NET_TALLY_H

#include <pthread.h>

#include "base/address.h"
#include "base/bucket.h"
#include "base/hash.h"

#define TALLY_TOLD_MAX 8	/* connections of one address that are told at one time that they are too many; others are closed */
#define TALLY_REMEMBERED 65536u /* addresses without a connection whose handshakes are remembered */

struct tally_limits {
	uint32_t connections;	       /* at once, of one address; 0: any number */
	struct bucket_rate handshakes; /* of one address */
	uint8_t bits4, bits6;	       /* what counts as one address: its first bits */
	struct address_set trusted;    /* proxies: many stand behind one, so they are not counted; the tally's */
};

enum tally_verdict {
	TALLY_OK,
	TALLY_CONNECTIONS, /* too many at once */
	TALLY_HANDSHAKES,  /* too many lately */
	TALLY_NO_MEMORY,
};

/* An address; of whoever holds a connection of it. */
struct tally_entry;
struct tally;

struct tally_place {
	struct tally_entry *entry; /* NULL: it is not counted */
	bool told;		   /* it is over the limit, and counted as one that is being told */
};

struct tally_answer {
	enum tally_verdict verdict;
	uint32_t retry_s; /* seconds after which it makes sense to try again */
	bool first;	  /* none of this address was refused lately: worth a line in the log */
};

/* NULL with errno set. Takes over limits->trusted if it succeeds. */
struct tally *tally_new(const struct tally_limits *limits);
/* For what comes from now on; takes over limits->trusted. Those that are there stay. */
void tally_set_limits(struct tally *t, struct tally_limits *limits);
void tally_free(struct tally *t);

bool tally_is_trusted(struct tally *t, const struct address *a);

/* A connection of this address begins. With TALLY_OK it has a place to give back; otherwise it has one only if `tell` was set and there
 * is time to tell it (place->told). A trusted proxy, a Unix socket and an address where nothing is limited are not counted. */
struct tally_answer tally_enter(struct tally *t, const struct address *a, uint64_t now_ms, bool tell, struct tally_place *place_r);
/* Gives the place back; more than once is once. */
void tally_leave(struct tally *t, struct tally_place *place, uint64_t now_ms);
/* Forgets handshakes that are long ago. Call it every second or so. */
void tally_sweep(struct tally *t, uint64_t now_ms);

/* For tests and statistics: addresses that cost memory. */
uint32_t tally_count(struct tally *t);

#endif

/* addr_limits: how many connections each client address has, how many it began lately, and how many
 * sockets there are in all.
 *
 * There is one for the whole host, whatever the number of its loops, behind a lock that is taken
 * when a connection begins and when it ends, never for a message. An address costs memory while it
 * has connections or its handshakes are remembered; those are bounded, and clients can not choose
 * addresses that collide, as the hash has a key.
 */
#ifndef TOVA_NET_ADDR_LIMITS_H
#define TOVA_NET_ADDR_LIMITS_H

#include <pthread.h>

#include "base/address.h"
#include "base/bucket.h"
#include "base/hash.h"

/* connections of one address that are told at one time that they are too many; others are closed */
#define ADDR_LIMITS_TOLD_MAX 8
/* addresses without a connection whose handshakes are remembered */
#define ADDR_LIMITS_REMEMBERED 65536u

struct addr_limits_limits {
	uint32_t connections;	       /* at once, of one address; 0: any number */
	struct bucket_rate handshakes; /* of one address */
	uint8_t bits4, bits6;	       /* what counts as one address: its first bits */
};

enum addr_limits_verdict {
	ADDR_LIMITS_OK,
	ADDR_LIMITS_CONNECTIONS, /* too many at once */
	ADDR_LIMITS_HANDSHAKES,	 /* too many lately */
	ADDR_LIMITS_NO_MEMORY,
};

struct addr_limits_answer {
	enum addr_limits_verdict verdict;
	bool counted;	 /* addr_limits_leave is owed */
	bool over_limit; /* it is too many, and there is time to say so; counted as such */
	bool first;	 /* none of this address was refused lately: worth a line in the log */
};

struct addr_limits;

/* NULL with errno set. */
struct addr_limits *addr_limits_new(const struct addr_limits_limits *limits);
/* For what comes from now on. What counts as one address stays as it is. */
void addr_limits_set_limits(struct addr_limits *t, const struct addr_limits_limits *limits);
void addr_limits_free(struct addr_limits **t_p);

/* A connection of this address begins. If it is too many it counts only if `tell` is set and not
 * too many are being told already. Unix sockets are not counted, nor is anything where nothing is
 * limited. */
struct addr_limits_answer addr_limits_enter(struct addr_limits *t, const struct address *a,
					    uint64_t now_ms, bool tell);
/* It has ended; told: as addr_limits_enter said. */
void addr_limits_leave(struct addr_limits *t, const struct address *a, bool over_limit,
		       uint64_t now_ms);
/* A session of this address has lost its connection and waits for another; or does not any more.
 * False: it is not counted, and need not end, as nothing is limited, or there is no memory. */
bool addr_limits_away(struct addr_limits *t, const struct address *a, uint64_t now_ms);
void addr_limits_not_away(struct addr_limits *t, const struct address *a, uint64_t now_ms);
/* Are its connections and the sessions that wait for one more than it may have connections? */
bool addr_limits_is_over(struct addr_limits *t, const struct address *a);
/* Do they count as one address? */
bool addr_limits_are_one(const struct addr_limits *t, const struct address *a,
			 const struct address *b);
/* Seconds after which it makes sense for this address to try again. */
uint32_t addr_limits_retry(struct addr_limits *t, const struct address *a, uint64_t now_ms);
/* Forgets handshakes that are long ago. Call it every second or so. */
void addr_limits_sweep(struct addr_limits *t, uint64_t now_ms);

/* Takes one of the host's `most` sockets, or says that all are taken. */
bool addr_limits_take_socket(struct addr_limits *t, uint32_t most);
void addr_limits_give_socket(struct addr_limits *t);
uint32_t addr_limits_sockets(struct addr_limits *t);

#endif

/* channel: what the hub's loop and one other loop tell each other: records, in order each way,
 * without locks.
 *
 * Downward goes what the hub commands, upward what clients do. A conn that asked for an upgrade has
 * a twin on the hub's loop, the stub that carries its session (threads/remote_conn.h); records name
 * the conn downward and the stub upward, and nothing is looked up:
 * - The conn's memory stays until the hub has released it, and that is the last record that names
 * it.
 * - The stub's stays until the conn has gone, and that is the last record that names it.
 * Payload is copied into a record (what a client sent goes over with its memory where it is large)
 * and by its reader into a chunk of its own loop, so a broadcast is copied once for each loop, not
 * for each member, and references to chunks need not be atomic.
 *
 * The hub's loop waits where the other is far behind (CHANNEL_WAITING_MAX). The other never waits:
 * it stops reading from its clients. So neither can block the other for good.
 */
#ifndef TOVA_THREADS_CHANNEL_H
#define TOVA_THREADS_CHANNEL_H

#include "base/ring.h"
#include "net/conn.h"

struct remote_conn_group;
struct files;

/* From the hub. */
enum channel_down {
	CHANNEL_MEASURE, /* struct channel_rule */
	CHANNEL_TRAFFIC, /* struct traffic *, the hub's, which outlives the conn */
	/* struct channel_accept, then the head, the subprotocol, and header lines. code: enum
	   slow_policy */
	CHANNEL_ACCEPT,
	CHANNEL_ANSWERING, /* the upgrade is refused; bytes of the answer follow in CHANNEL_RAW */
	CHANNEL_RAW,
	CHANNEL_SEND,  /* struct channel_frame. flag: `own`. code: enum slow_policy */
	CHANNEL_CLOSE, /* bytes: the reason. flag: urgent */
	CHANNEL_ECHO_CLOSE,
	CHANNEL_ABORT,
	CHANNEL_CORK,  /* flag: on */
	CHANNEL_HOLD,  /* flag: on */
	CHANNEL_PROBE, /* CHANNEL_DRAINED is wanted when little waits for the client */
	CHANNEL_RELEASE,
	CHANNEL_ADD,	   /* struct channel_member */
	CHANNEL_REMOVE,	   /* struct channel_member */
	CHANNEL_RESIZE,	   /* struct channel_array: memory for the group's members */
	CHANNEL_DROP,	   /* the group is over */
	CHANNEL_BROADCAST, /* struct channel_broadcast. code: enum slow_policy */
	CHANNEL_ADOPT,	   /* struct channel_socket */
	CHANNEL_LIMITS,	   /* struct conn_limits */
	CHANNEL_FILES,	   /* struct files, whose descriptor goes over */
	CHANNEL_GATE,	   /* struct channel_gate, whose lists go over */
	CHANNEL_RULE,	   /* struct channel_rule: it has changed */
	CHANNEL_DRAIN,
	CHANNEL_TLS, /* struct tls_server *, with a reference */
	CHANNEL_STOP,
};

/* From the other loop. */
enum channel_up {
	CHANNEL_UPGRADE = 32, /* struct channel_upgrade, then the head */
	CHANNEL_MESSAGE,      /* code: opcode; the payload, and one byte that may be written */
	CHANNEL_BLOCK,	      /* the same, in memory of its own: struct channel_block */
	CHANNEL_ENDED,	      /* struct channel_ended, then the reason. code: the close code */
	CHANNEL_DROPPED,      /* cost: how many messages */
	CHANNEL_WITHDRAWN,
	CHANNEL_UNANSWERED,
	CHANNEL_UNSENT,	 /* code: enum conn_sent, why; cost: how many messages */
	CHANNEL_SLOW,	 /* messages begin to be given up */
	CHANNEL_HEAVY,	 /* it holds most and is to be closed */
	CHANNEL_GAVE_UP, /* cost: how many they were; flag: the conn is gone */
	CHANNEL_DRAINED,
	CHANNEL_GONE,
	CHANNEL_DEAL, /* struct channel_socket, for the loop `code` */
};

struct channel_record {
	uint8_t kind;
	bool flag;
	uint16_t code;
	uint32_t len;	   /* of the bytes */
	uint32_t cost;	   /* downward, see CHANNEL_AHEAD_MAX; upward a number */
	uint32_t delivery; /* of messages: see struct loop */
	union {
		struct conn *conn;
		struct remote_conn_group *group;
	};
	_Alignas(8) uint8_t bytes[];
};

struct channel_member {
	struct conn *conn;
	uint32_t place;
};

struct channel_array {
	struct conn **members;
	uint32_t cap;
};

/* A large message, whose memory goes over; it is counted in its mount's budget as moving. */
struct channel_block {
	void *memory;
	uint8_t *data;
	size_t size, len;      /* bytes of the memory, and of the message */
	struct budget *budget; /* in which it counts meanwhile; NULL: in none */
};

struct channel_accept {
	struct budget *budget;		   /* of its mount, or NULL */
	uint32_t head, subprotocol, extra; /* bytes of each */
	char bytes[];
};

struct channel_frame {
	uint64_t note; /* see chunk.h */
	uint8_t bytes[];
};

struct channel_broadcast {
	struct conn *exclude, *own; /* NULL, or of this loop */
	struct channel_frame frame;
};

/* What each connection of a mount may send. */
struct channel_rule {
	const struct rate_limit_rule *name; /* the hub's own, by which it is known */
	struct rate_limit_rule rule;
};

struct channel_socket {
	struct address remote;
	struct conn_kind kind;
	int fd;
};

struct channel_gate {
	struct client_addr client_addr;
	struct address_set trusted;
	char *hosts;
};

struct channel_upgrade {
	struct address local;
	bool secure;	     /* see request.h, and the next */
	uint32_t host_len;   /* of forwarded_host, which stands behind the head and its NUL */
	const char *version; /* of TLS; see struct tls_facts */
	const char *cipher;
	uint32_t subject_len, name_len; /* of these, which follow with their NULs; 0: NULL */
	uint8_t head[];
};

struct channel_ended {
	const char *why;
	enum conn_end end;
	uint8_t reason[];
};

/* How far the hub's loop may be ahead: deliveries to single connections, and 64 bytes count as one.
 * With one loop it would do that work itself before it goes on; so while it waits nothing is lost.
 */
#define CHANNEL_AHEAD_MAX (1u << 18)
/* Bytes under way upward beyond which who sends more is not read from. */
#define CHANNEL_UP_MAX (1u << 20)

struct channel {
	struct ring down, up;
	struct loop_waker to_hub, to_side;
	uint64_t put, done_seen; /* costs: of all that went down; of what is known to be done */
	int room_fd;		 /* ends the wait of the hub's loop */
	/* which the hub's loop waits for `done` to reach; UINT64_MAX: it does not wait */
	_Alignas(RING_LINE) _Atomic uint64_t target;
	_Alignas(RING_LINE) _Atomic uint64_t done; /* written by the other loop */
};

/* False with errno on failure; channel_free is called all the same. hub_run, io_thread_run: records
 * have come for that loop. */
bool channel_init(struct channel *b, struct loop *hub, void (*hub_run)(void *arg), void *hub_arg,
		  struct loop *side, void (*io_thread_run)(void *arg), void *io_thread_arg);
/* Both loops have come to their end. */
void channel_free(struct channel *b);

/* [hub] Room for a record with that many bytes; waits for it while the other loop is too far
 * behind. deliveries: how much work it will be. NULL: no memory for a record beyond CHANNEL_SMALL;
 * smaller ones always find room. */
#define CHANNEL_SMALL (RING_SMALL - sizeof(struct channel_record))
struct channel_record *channel_down(struct channel *b, enum channel_down kind, size_t len,
				    uint32_t deliveries);
/* [side] The same; does not wait. NULL without memory. */
struct channel_record *channel_up(struct channel *b, enum channel_up kind, size_t len);
/* The other loop sees what was put. At the end of a turn, and before waiting for anything. */
void channel_publish_down(struct channel *b);
void channel_publish_up(struct channel *b);
/* [hub] The next record that came. */
struct channel_record *channel_take_up(struct channel *b);
/* [side] The same. When what it asks for is done, channel_done is called with its cost. */
struct channel_record *channel_take_down(struct channel *b);
void channel_done(struct channel *b, uint32_t cost);

#endif

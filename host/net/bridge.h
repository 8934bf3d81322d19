/* bridge: what the hub's loop and one other loop tell each other: records, in order each way,
 * without locks.
 *
 * Downward goes what the hub commands, upward what clients do. A conn that asked for an upgrade has
 * a twin on the hub's loop, the stub that carries its session (net/far.h); records name the conn
 * downward and the stub upward, and nothing is looked up:
 * - The conn's memory stays until the hub has released it, and that is the last record that names
 * it.
 * - The stub's stays until the conn has gone, and that is the last record that names it.
 * Payload is copied into a record (what a client sent goes over with its memory where it is large)
 * and by its reader into a chunk of its own loop, so a broadcast is copied once for each loop, not
 * for each member, and references to chunks need not be atomic.
 *
 * The hub's loop waits where the other is far behind (BRIDGE_WAITING_MAX). The other never waits:
 * it stops reading from its clients. So neither can block the other for good.
 */
#ifndef TOVA_NET_BRIDGE_H
#define TOVA_NET_BRIDGE_H

#include "base/ring.h"
#include "net/conn.h"

struct far_group;
struct files;

/* From the hub. */
enum bridge_down {
	BRIDGE_MEASURE, /* struct bridge_rule */
	/* struct bridge_accept, then the head, the subprotocol, and header lines. code: enum
	   outgoing_slow */
	BRIDGE_ACCEPT,
	BRIDGE_ANSWERING, /* the upgrade is refused; bytes of the answer follow in BRIDGE_RAW */
	BRIDGE_RAW,
	BRIDGE_SEND,  /* struct bridge_frame. flag: `own`. code: enum outgoing_slow */
	BRIDGE_CLOSE, /* bytes: the reason. flag: urgent */
	BRIDGE_ECHO_CLOSE,
	BRIDGE_ABORT,
	BRIDGE_CORK,  /* flag: on */
	BRIDGE_HOLD,  /* flag: on */
	BRIDGE_PROBE, /* BRIDGE_DRAINED is wanted when little waits for the client */
	BRIDGE_RELEASE,
	BRIDGE_ADD,	  /* struct bridge_member */
	BRIDGE_REMOVE,	  /* struct bridge_member */
	BRIDGE_RESIZE,	  /* struct bridge_array: memory for the group's members */
	BRIDGE_DROP,	  /* the group is over */
	BRIDGE_BROADCAST, /* struct bridge_broadcast. code: enum outgoing_slow */
	BRIDGE_ADOPT,	  /* struct bridge_socket */
	BRIDGE_LIMITS,	  /* struct conn_limits */
	BRIDGE_FILES,	  /* struct files, whose descriptor goes over */
	BRIDGE_GATE,	  /* struct bridge_gate, whose lists go over */
	BRIDGE_RULE,	  /* struct bridge_rule: it has changed */
	BRIDGE_DRAIN,
	BRIDGE_TLS, /* struct tls_server *, with a reference */
	BRIDGE_STOP,
};

/* From the other loop. */
enum bridge_up {
	BRIDGE_UPGRADE = 32, /* struct bridge_upgrade, then the head */
	BRIDGE_MESSAGE,	     /* code: opcode; the payload, and one byte that may be written */
	BRIDGE_BLOCK,	     /* the same, in memory of its own: struct bridge_block */
	BRIDGE_ENDED,	     /* struct bridge_ended, then the reason. code: the close code */
	BRIDGE_DROPPED,	     /* cost: how many messages */
	BRIDGE_WITHDRAWN,
	BRIDGE_UNANSWERED,
	BRIDGE_UNSENT,	/* code: enum conn_sent, why; cost: how many messages */
	BRIDGE_SLOW,	/* messages begin to be given up */
	BRIDGE_HEAVY,	/* it holds most and is to be closed */
	BRIDGE_GAVE_UP, /* cost: how many they were; flag: the conn is gone */
	BRIDGE_DRAINED,
	BRIDGE_GONE,
	BRIDGE_DEAL, /* struct bridge_socket, for the loop `code` */
};

struct bridge_record {
	uint8_t kind;
	bool flag;
	uint16_t code;
	uint32_t len;	   /* of the bytes */
	uint32_t cost;	   /* downward, see BRIDGE_AHEAD_MAX; upward a number */
	uint32_t delivery; /* of messages: see struct loop */
	union {
		struct conn *conn;
		struct far_group *group;
	};
	_Alignas(8) uint8_t bytes[];
};

struct bridge_member {
	struct conn *conn;
	uint32_t place;
};

struct bridge_array {
	struct conn **members;
	uint32_t cap;
};

/* A large message, whose memory goes over; it is counted in its mount's budget as moving. */
struct bridge_block {
	void *memory;
	uint8_t *data;
	size_t size, len; /* bytes of the memory, and of the message */
};

struct bridge_accept {
	struct budget *budget;		   /* of its mount, or NULL */
	uint32_t head, subprotocol, extra; /* bytes of each */
	char bytes[];
};

struct bridge_frame {
	uint64_t note; /* see chunk.h */
	uint8_t bytes[];
};

struct bridge_broadcast {
	struct conn *exclude, *own; /* NULL, or of this loop */
	struct bridge_frame frame;
};

/* What each connection of a mount may send. */
struct bridge_rule {
	const struct rate_limit_rule *name; /* the hub's own, by which it is known */
	struct rate_limit_rule rule;
};

struct bridge_socket {
	struct address remote;
	struct conn_kind kind;
	int fd;
};

struct bridge_gate {
	struct client_addr client_addr;
	struct address_set trusted;
	char *hosts;
};

struct bridge_upgrade {
	struct address local;
	bool secure;	     /* see request.h, and the next */
	uint32_t host_len;   /* of forwarded_host, which stands behind the head and its NUL */
	const char *version; /* of TLS; see struct tls_facts */
	const char *cipher;
	uint32_t subject_len, name_len; /* of these, which follow with their NULs; 0: NULL */
	uint8_t head[];
};

struct bridge_ended {
	const char *why;
	enum conn_end end;
	uint8_t reason[];
};

/* How far the hub's loop may be ahead: deliveries to single connections, and 64 bytes count as one.
 * With one loop it would do that work itself before it goes on; so while it waits nothing is lost.
 */
#define BRIDGE_AHEAD_MAX (1u << 18)
/* Bytes under way upward beyond which who sends more is not read from. */
#define BRIDGE_UP_MAX (1u << 20)

struct bridge {
	struct ring down, up;
	struct loop_waker to_hub, to_side;
	uint64_t put, done_seen; /* costs: of all that went down; of what is known to be done */
	int room_fd;		 /* ends the wait of the hub's loop */
	/* which the hub's loop waits for `done` to reach; UINT64_MAX: it does not wait */
	_Alignas(RING_LINE) _Atomic uint64_t target;
	_Alignas(RING_LINE) _Atomic uint64_t done; /* written by the other loop */
};

/* False with errno on failure; bridge_free is called all the same. hub_run, side_run: records have
 * come for that loop. */
bool bridge_init(struct bridge *b, struct loop *hub, void (*hub_run)(void *arg), void *hub_arg,
		 struct loop *side, void (*side_run)(void *arg), void *side_arg);
/* Both loops have come to their end. */
void bridge_free(struct bridge *b);

/* [hub] Room for a record with that many bytes; waits for it while the other loop is too far
 * behind. deliveries: how much work it will be. NULL: no memory for a record beyond BRIDGE_SMALL;
 * smaller ones always find room. */
#define BRIDGE_SMALL (RING_SMALL - sizeof(struct bridge_record))
struct bridge_record *bridge_down(struct bridge *b, enum bridge_down kind, size_t len,
				  uint32_t deliveries);
/* [side] The same; does not wait. NULL without memory. */
struct bridge_record *bridge_up(struct bridge *b, enum bridge_up kind, size_t len);
/* The other loop sees what was put. At the end of a turn, and before waiting for anything. */
void bridge_publish_down(struct bridge *b);
void bridge_publish_up(struct bridge *b);
/* [hub] The next record that came. */
struct bridge_record *bridge_take_up(struct bridge *b);
/* [side] The same. When what it asks for is done, bridge_done is called with its cost. */
struct bridge_record *bridge_take_down(struct bridge *b);
void bridge_done(struct bridge *b, uint32_t cost);

#endif

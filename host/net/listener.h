/* listener: sockets that accept. */
#ifndef TOVA_NET_LISTENER_H
#define TOVA_NET_LISTENER_H

#include "net/acceptor.h"
#include "net/balance.h"
#include "net/conn.h"

struct listener {
	uint16_t magic; /* CHECK_LISTENER */
	struct acceptor acceptor;
	struct listeners *set;
	struct listener *next;
	struct conn_kind kind;
	bool given; /* somebody else has bound it */
};

struct listeners {
	uint16_t magic; /* CHECK_LISTENERS */
	struct conns *conns;
	struct listener *list;
	mode_t unix_mode; /* of the Unix sockets that are added */
	struct loop_timer retry;
	enum descriptors_user user; /* who their connections are */
	/* Said when the connection that has waited longest for a request gives way to a new one,
	 * where there are as many as there may be; NULL: none does, and new ones wait. */
	const char *crowd;
	bool paused; /* out of descriptors or at the limit */
	bool said;   /* so; until everyone who waited was accepted */
	/* Where there are several loops; else NULL. */
	struct balance *balance;
	unsigned loop; /* which of them this is */
	/* A socket that another one gets. */
	void (*deal)(void *ctx, unsigned loop, int fd, const struct address *remote,
		     const struct conn_kind *kind);
	void *deal_ctx;
};

/* conns get what is accepted, and have to outlive the set. */
void listeners_init(struct listeners *set, struct conns *conns);
/* host: numeric address, or NULL with a path for a Unix socket (a stale one is replaced, a live one
 * is not). Starts accepting at once. both: an IPv6 address takes IPv4, too, which only "::" can.
 * Returns false with a sentence in why. */
bool listeners_add(struct listeners *set, const char *host, uint16_t port, bool both,
		   const char *unix_path, const struct conn_kind *kind, int backlog, char *why,
		   size_t why_cap);
/* A socket that was bound, and may be listened on, by who started the host; taken over. Starts
 * accepting at once. Returns false with a sentence in why: it is no stream socket that accepts. */
bool listeners_add_given(struct listeners *set, int fd, const struct conn_kind *kind, int backlog,
			 char *why, size_t why_cap);
/* Logs where they listen, in the order in which they were added: all that is needed for those who
 * connect is there. what: a sentence, and the name of the field with the address. */
void listeners_announce(const struct listeners *set, const char *what, const char *field);
/* The same TCP addresses as `first` has, for another loop: the kernel spreads those who connect
 * (SO_REUSEPORT). A Unix socket, or one that was given, has one listener. */
bool listeners_add_beside(struct listeners *set, const struct listeners *first, int backlog,
			  char *why, size_t why_cap);
/* A socket that another loop has accepted for this one. */
void listeners_adopt(struct listeners *set, int fd, const struct address *remote,
		     const struct conn_kind *kind);
/* For conns.freed: a socket was closed. Goes on accepting if that was what was missing. */
void listeners_on_freed(void *set);
static inline bool listeners_are_paused(const struct listeners *set)
{
	return set->paused;
}
/* Closes all of them. */
void listeners_close(struct listeners *set);

#endif

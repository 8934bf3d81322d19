/* channel: what this host is subscribed to: each room that has members here, each mount, the
 * announcements of hosts, and what is for this host alone. */
#ifndef TOVA_CLUSTER_CHANNEL_H
#define TOVA_CLUSTER_CHANNEL_H

#include "base/hash.h"
#include "base/hash_table.h"
#include "cluster/numbers.h"
#include "common/span.h"

struct mount;

enum channel_kind { CHANNEL_ROOM, CHANNEL_MOUNT, CHANNEL_HOSTS, CHANNEL_SELF };

struct channel {
	struct hash_link link;
	struct mount *mount; /* of ROOM, MOUNT */
	uint8_t kind;	     /* enum channel_kind */
	bool asked;	     /* it is subscribed to, or will be */
	bool heard;	     /* which was confirmed */
	uint64_t since_ms;   /* when that was for the first time */
	uint64_t wanted_ms;  /* when it was last known that somebody here is in the room */
	struct numbers_heard publishers;
	uint16_t len, room; /* where the room's name begins */
	char name[];
};

struct channels {
	struct hash_table table;
	struct hash_key key;
	const char *prefix;
};

/* Names: PREFIX then room:LENGTH:MOUNT:ROOM, mount:MOUNT, hosts or self:HOST. The longest: */
#define CHANNEL_NAME_MAX 4096
/* Of a mount's room, or of the mount (room NULL); returns the length, 0: it is too long. */
size_t channel_name(const struct channels *all, const struct mount *m, const struct span *room,
		    char name[CHANNEL_NAME_MAX]);

/* NULL: there is none. */
struct channel *channel_find(const struct channels *all, struct span name);
/* Adds one that is not there. NULL without memory. */
struct channel *channel_add(struct channels *all, enum channel_kind kind, struct mount *m,
			    struct span name);
void channel_remove(struct channels *all, struct channel **c_p);
static inline struct span channel_text(const struct channel *c)
{
	return (struct span){c->name, c->len};
}
static inline struct span channel_room(const struct channel *c)
{
	return (struct span){c->name + c->room, (size_t)(c->len - c->room)};
}
/* The one behind that one; NULL: the first, and after the last. */
struct channel *channel_each(const struct channels *all, const struct channel *before);
void channels_free(struct channels *all);

#endif

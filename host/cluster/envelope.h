/* envelope: what goes from host to host, as bytes. Whoever may publish at the engine may write
 * anything: what is read is checked as a stranger's. */
#ifndef TOVA_CLUSTER_ENVELOPE_H
#define TOVA_CLUSTER_ENVELOPE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/span.h"
#include "hub/selection.h"

#define ENVELOPE_PROTOCOL 1 /* hosts of another do not understand each other */
#define ENVELOPE_NAME_MAX 255
#define ENVELOPE_COUNTS_MAX 1000 /* of one announcement */

enum envelope_kind {
	ENVELOPE_ROOM = 1, /* to the members of its channel's room */
	ENVELOPE_MOUNT,	   /* to all of its channel's mount */
	ENVELOPE_AMONG,	   /* to a selection of them */
	ENVELOPE_CLOSE,	   /* they are closed */
	ENVELOPE_MARK,	   /* to the publisher itself: so far its batches have come */
	ENVELOPE_HOST,	   /* a host announces itself, and the last numbers of its messages */
	ENVELOPE_KINDS,
};

struct envelope {
	uint8_t kind;
	bool binary, unkept;
	uint64_t host; /* the publisher's: first half of its connections' ids */
	/* counts what it has published there, from 1; the series is a later one each time that it
	 * begins anew */
	uint64_t series, number;
	uint64_t key;	 /* hash of a conflation key; 0: none */
	struct span data; /* ROOM, MOUNT, AMONG; CLOSE: the reason */
	struct span selection; /* AMONG, CLOSE: see envelope_selection */
	uint16_t code;	 /* CLOSE */
	uint64_t mark;	 /* MARK; number: what it has to be to be believed */
	/* HOST */
	struct span id, form, version, machine;
	uint16_t n_counts;
	struct span counts; /* see envelope_count */
};

struct envelope_count {
	struct span channel;
	uint64_t series, number;
};

/* Adds it. selection: of AMONG and CLOSE, NULL else; connections that it leaves out are the
 * publisher's own, and not told. counts: as written by envelope_add_count, n_counts of them. Lack
 * of memory is remembered in the buffer. */
void envelope_add(struct buffer *to, const struct envelope *e, const struct selection *selection);
void envelope_add_count(struct buffer *to, const struct envelope_count *count);

/* Points into the bytes. False: it is none. What it says of names and texts is not checked. */
bool envelope_read(struct envelope *e_r, struct span bytes);
/* Of one that was read: whom it is for; points into its bytes. */
void envelope_selection(const struct envelope *e, struct selection *s_r);
/* The next of its counts, which is taken off; false: there are no more. */
bool envelope_count(struct envelope *e, struct envelope_count *count_r);

#endif

/* gate: commits that other hosts see, too, wait until those can have (host/cluster/).
 *
 * With a gate a mount's commits are still applied whole and in their order, but one that publishes
 * is *parked* first, and what is committed behind it. Its event stays the current one of its lane,
 * so that nothing of the same connection overtakes it. Without a gate there is a test of a pointer.
 */
#ifndef TOVA_HUB_GATE_H
#define TOVA_HUB_GATE_H

#include "hub/commit.h"
#include "hub/event.h"

struct hub;
struct mount;

enum gate_verdict {
	GATE_PASS,   /* it concerns this host only */
	GATE_WAIT,   /* not before gate_release */
	GATE_REFUSE, /* it was spoiled: nobody can do that in a cluster */
};

struct gate {
	/* A commit without errors: does it have to wait? */
	enum gate_verdict (*look)(void *ctx, struct mount *m, struct commit *c);
	/* The mount has one more that waits, which is the last of its list. */
	void (*parked)(void *ctx, struct mount *m);
	/* Is it the first half of the ids of another host that is there? */
	bool (*knows)(void *ctx, uint64_t host);
	void *ctx;
};

struct gate_parked {
	struct gate_parked *next;
	struct commit commit;
	struct hub_event event; /* whose it is, without what that pointed at */
	/* that waits in its lane; NULL: it is nobody's, a push */
	struct event_held *held;
	/* there is no commit, but this to be called; NULL: there is one */
	void (*run)(void *ctx, bool drop);
	void *ctx;
	uint64_t bytes;	 /* in the mount's budget */
	uint64_t batch;	 /* the gate's own; 0 at first */
	bool checked;	 /* gate_check was called */
};

/* Of one mount, in the order of its commits. */
struct gate_queue {
	struct gate_parked *first, *last;
	struct gate_parked *unsent; /* the gate's: the first that it has not looked at */
	uint32_t n;
};

/* Parks the commit, whose memory moves; it is empty then. held: of its event, or NULL. False
 * without memory: nothing has changed. */
bool gate_park(struct mount *m, struct commit *c, const struct hub_event *e,
	       struct event_held *held);
/* Something is to be done behind what is parked now: run is called once, with drop when the host
 * ends first. Nothing is parked: it is called at once. False without memory: it is not called. */
bool gate_later(struct mount *m, void (*run)(void *ctx, bool drop), void *ctx);
/* The first of those that wait, which leaves the list and goes back into m->commit; the caller
 * frees it with gate_free. */
struct gate_parked *gate_take(struct mount *m);
void gate_free(struct mount *m, struct gate_parked **p_p);
/* None of them is applied any more: the host ends. */
void gate_drop_all(struct mount *m);
/* Whom a commit that waits is for as things are: m->receivers and m->nobody. */
void gate_count(struct mount *m, const struct commit *c);
/* Does it ask for something that the commits before it may change, so that it is checked (and
 * published) only when it is the first? */
bool gate_is_exclusive(const struct mount *m, const struct commit *c);
/* Is it the first half of ids of another host of the cluster, which is there? Commands can not
 * reach its connections yet. */
bool gate_is_elsewhere(const struct hub *hub, uint64_t host);
/* Spoils a commit (NULL: there is none) in which a handler names such a connection. */
void gate_name(const struct hub *hub, struct commit *c, uint64_t host);

#endif

/* delivery: brings events to a mount's handler, one at a time, and commits or drops what it
 * commanded. */
#ifndef TOVA_HUB_DELIVERY_H
#define TOVA_HUB_DELIVERY_H

#include "hub/mount.h"

/* Delivers an event of this session (NULL: of the mount itself), now or, while another is being
 * handled or earlier ones wait, after those. Whatever it leads to happens before this returns,
 * unless it was called from inside. UPGRADE is always now, and returns whether the handler did not
 * fail. Without memory to let it wait an event is lost, which is logged. */
bool delivery_submit(struct mount *m, struct session *s, struct hub_event *e);

/* The same from within a commit: it is delivered once that is applied. */
bool delivery_queue(struct mount *m, struct session *s, struct hub_event *e);
/* Those of these kinds (EVENT_BITs) that wait in the session's lane and were given to nobody yet
 * are out of date, and go. */
void delivery_forget(struct mount *m, struct session *s, unsigned kinds);

/* The session has ended: its close event follows those that wait. It needs no memory, and so is
 * never lost. */
void delivery_close(struct mount *m, struct session *s);

/* For handlers that settle later. The event that was given is done, with the commands in m->commit
 * (which was begun for its session), or has failed. The event is freed; the connection's next one
 * is given. Not for upgrades: see admission_answer. */
void delivery_settle(struct mount *m, struct event_held *h, enum handler_result result,
		     struct span why);
/* The event that was given has been passed on: those that wait behind it may follow. */
void delivery_follow(struct mount *m, struct event_held *h);
/* The event, which goes on otherwise, has no turn in a room any more, if it had one: see
 * room_state.h. */
void delivery_yield(struct mount *m, struct event_held *h);
/* Ends the run of the current event: those that followed it wait again, and will be given one by
 * one. handled: the handler may have handled some of them, so they keep their numbers; else they
 * are as if they had never been given. */
void delivery_end_run(struct mount *m, struct event_held *h, bool handled);
/* Commits what is in m->commit without an event (a push). False: it has an error and was
 * dropped. */
bool delivery_commit(struct mount *m);

/* Between two events: the commit of a handler that has just started. */
void delivery_commit_start(struct mount *m, struct commit *c);

/* For who stands at the gate (gate.h). A commit of another host, between two events: it waits for
 * nobody. */
void delivery_apply(struct mount *m, struct commit *c);
/* The first that is parked is checked as it will be when it is applied. False: it will fail. */
bool delivery_check_first(struct mount *m);
/* The first that is parked is applied, and its event settled; what waited behind that follows. */
void delivery_release(struct mount *m);

#endif

/* resume_parts: what the parts of resume share. resume_kept.c is what is kept for a client and said
 * to it, resume_grace.c what of that does not count, resume_out.c what it is sent, resume_done.c
 * what was settled of what it sent, resume_end.c its end, resume_in.c what it sends, resume.c its
 * life: a beginning, away and back. */
#ifndef TOVA_HUB_RESUME_PARTS_H
#define TOVA_HUB_RESUME_PARTS_H

#include "hub/hub.h"
#include "hub/resume.h"
#include "net/outq_notes.h"

/* A control message has its place in front of the data message of that number, and is none. */
#define RESUME_CONTROL OUTQ_NOTES_KEEP /* instead of a conflation key, which is never that */

static inline bool resume_is_data(const struct kept_message *m)
{
	return m->key != RESUME_CONTROL;
}

#define RESUME_TICK_MS 100

/* --- resume_kept.c ---------------------------------------------------------------------------- */

/* A control message for the client, behind what was sent, and not counted. What can not be sent is
 * not missed: each says all there is to say, and the next one says it again; but for `lost`, see
 * resume_feed. False: it was not sent. */
bool resume_say(struct session *s, const char *text, size_t n);
/* It has something to say at the end of the turn; or not any more. */
void resume_mark_due(struct hub *hub, struct resume *r);
void resume_unmark_due(struct hub *hub, struct resume *r);
/* There was no memory for that, of which nobody tells when it is there again: it is tried again
 * with the next tick; or not any more. */
void resume_starve(struct hub *hub, struct resume *r);
void resume_unstarve(struct hub *hub, struct resume *r);
/* It is in the list of those that keep something as long as it does. before: how many it kept. */
void resume_list_kept(struct hub *hub, struct resume *r, uint32_t before);
/* What is beyond the bounds of one session is forgotten. */
void resume_bound(struct hub *hub, struct resume *r);
/* The oldest failures, of which it was told, or for which there is no room. */
void resume_forget_failed(struct resume *r, uint32_t n);
/* The client has all up to that number. */
void resume_confirm(struct hub *hub, struct resume *r, uint64_t got);
/* Where all hold too much those that keep something give up half of it in turn. */
void resumes_bound(struct hub *hub);

/* --- resume_grace.c --------------------------------------------------------------------------- */

/* The oldest of those that wait goes; or the newest with that key, if there is one (else false). */
void resume_grace_pop(struct resume *r);
bool resume_grace_supersede(struct resume *r, uint64_t key);
/* All that waits is for somebody who has just come back, and could not have read it yet. */
void resume_grace_back(struct hub *hub, struct resume *r);
/* Does it have to be counted again from now on? Something of it has been given up. */
void resume_grace_end(struct resume *r);
/* What waits, but for what does not count. */
uint64_t resume_grace_judged(const struct session *s);
/* One more waits, of that number and weight. False: it is too much. */
bool resume_grace_admits(struct hub *hub, struct session *s, uint64_t number, uint64_t weight,
			 bool own);

/* --- resume_out.c ----------------------------------------------------------------------------- */

/* What waits goes to the socket, as far as there is room; all: however much waits there. */
void resume_feed(struct hub *hub, struct session *s, struct resume *r, bool all);

/* --- resume_done.c ---------------------------------------------------------------------------- */

/* Says what is settled, and which of them failed. False: it was not sent. */
bool resume_done_say(struct session *s, struct resume *r);

/* --- resume_end.c ----------------------------------------------------------------------------- */

/* It is away no more, if it was: it is back, or over. */
void resume_end_away(struct hub *hub, struct resume *r);
void resume_end_free(struct resumes *all, struct resume_end *e);

#endif

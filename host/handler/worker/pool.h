/* pool: what the files of the worker handler share.
 *
 * An event that was given to the pool is in exactly one place: with a worker (`flying`, delivered
 * and not settled; or `queue`, waiting for its window), or in one of the pool's lists
 * (`unassigned`: no worker is ready; `bystanders`, `newcomers`, `parted` and `suspects`: to be
 * delivered alone; `shelved`: the same, but
 * rarely; `doubted`: what its worker's link ended of is not known yet; `later`: to be delivered
 * again at a time; or being written to the dead-letter file).
 */
#ifndef TOVA_HANDLER_WORKER_POOL_H
#define TOVA_HANDLER_WORKER_POOL_H

#include "base/hash_table.h"
#include "base/check.h"
#include "handler/worker/codec.h"
#include "handler/worker/worker.h"
#include "handler/worker/sp.h"

#define POOL_WINDOW 256		     /* events under way with one worker */
#define POOL_WINDOW_BYTES (8u << 20) /* and their bytes; one event is always let through */
#define POOL_BATCH 128		     /* events in one message */
#define POOL_RUN 64		     /* events of one connection in it */
#define POOL_RUN_BYTES 16384	     /* a larger event follows none */
/* without runs, after one of which some was handled in vain */
#define POOL_RUN_REST_MS 1000
#define POOL_STREAM_MIN 65536 /* bytes of a message that is sent as the worker reads it */
#define POOL_BATCH_BYTES (1u << 20)
#define POOL_MESSAGE_MAX (64u << 20) /* of a worker */
#define POOL_FIRST_MAX (1u << 20)    /* of somebody who has not said hello yet */
#define POOL_STRANGERS_MAX 128	     /* of those at once, at an attach URL */
#define POOL_STRANGERS_EACH 32	     /* of one address */
#define POOL_STRANGERS_BYTES (8u << 20)
/* bytes to pushes and queries that a worker has not read: then nothing more is read from it */
#define POOL_ANSWERS_MAX (1u << 20)
/* bytes that it has not read, in the midst of a batch of questions: it is cut off */
#define POOL_UNREAD_MAX (16u << 20)
#define POOL_TICK_MS 50
/* silence, with nothing under way, after which a worker is asked; it has --handler-timeout, or as
 * long, to answer */
#define POOL_PING_MS 10000
#define POOL_BYE_MS 1000 /* to read what a worker still says */
/* an event that is to be delivered again holds its connection up */
#define POOL_RETRY_MAX_MS 3600000

enum worker_state {
	WORKER_NEW,	 /* connected, has not said hello */
	WORKER_PUSHER,	 /* came to say something: takes no events */
	WORKER_STARTING, /* has said hello, and will say when it is ready */
	WORKER_READY,	 /* takes events */
	WORKER_DRAINING, /* finishes what it has, and leaves */
	WORKER_GONE,	 /* kept while sessions still point at it */
};

/* How a worker ends, as far as its events are concerned. */
enum pool_end {
	POOL_LEFT, /* nothing is to be suspected */
	POOL_DIED, /* it may have died of one of them */
	POOL_LOST, /* the same, or the network to it is gone */
};

/* One connected worker. */
struct worker {
	uint16_t magic; /* CHECK_WORKER */
	TAILQ_ENTRY(worker) link;
	struct pool *pool;
	struct sp_pipe *pipe;
	struct child *child; /* its process; NULL: attached */
	enum worker_state state;
	unsigned generation;
	char link_id[SESSION_ID_TEXT];
	char name[64];
	uint64_t number; /* of the last event */
	struct event_queue flying, queue;
	uint32_t n_flying, n_sessions;
	uint64_t bytes_flying;
	uint64_t connected, heard;
	/* number of the newest event that it has settled: it has begun all before that */
	uint64_t newest;
	/* most events of a connection that it takes at a time, as long as they are in one
	 * message */
	unsigned runs;
	/* bytes of answers to pushes and queries that may not have been taken yet */
	uint64_t answers;
	uint64_t answers_end; /* sp_given when the last of them was sent */
	bool open;	      /* the last event has not left yet: more may follow it */
	bool alone, isolating, pinged, attached;
	bool admin, publishes, reads; /* what its token is for */
	/* one of its events is overdue, while it settles others: it may finish those, and is
	 * ended */
	bool hung;
	/* there was no memory for what it is to be told: it is cut off at the end of the turn */
	bool broken;
	unsigned checked; /* tick in which it was looked at */
	bool died;	  /* its process has ended; what it said before is still being read */
	uint64_t settled; /* events, for people */
	unsigned wants;	  /* EVENT_BITs */
	struct codec_out out;
	/* the last large message; it is sent as the worker reads it */
	const struct event_held *streamed;
	struct codec_stream stream; /* what is left of it */
	uint8_t *copy;		    /* of that, where the event has gone meanwhile; or NULL */
	bool waits;		    /* something does, since it was last looked at */
	uint64_t held; /* bytes that wait for it, as they are counted in the mount's budget */
};

/* One process that the pool keeps running. */
struct child {
	uint16_t magic; /* CHECK_CHILD */
	struct child *next;
	struct pool *pool;
	struct process *process; /* NULL: it is to be started again */
	struct worker *worker;	 /* once it has said hello */
	unsigned index, generation;
	int status;	   /* of the process that has ended, as of waitpid */
	unsigned failures; /* deaths in a row without having done anything */
	uint64_t started, restart_at, kill_at;
	bool stopping, crash_said, useful;
	unsigned starts, deaths;
	bool excused; /* it has died of a suspect, which is not laid to it */
	/* that it takes the place of once it is ready, see relief.c; NULL: none */
	struct child *relieves;
	char token[2 * SESSION_ID_TEXT], name[64];
	char said[256]; /* the last line of what it said before it ended */
};

/* What worker processes are. */
struct pool_program {
	char *command;	 /* for /bin/sh, or NULL: argv */
	char **argv;	 /* ended by NULL */
	char *settings;	 /* JSON, or NULL */
	char *digest;	 /* of the plugin that they have loaded; NULL: not known */
	unsigned count;	 /* 0: there are none */
	uint64_t number; /* of the reload that asked for it */
};

/* What a listener's pipes belong to. */
struct sp_side {
	uint16_t magic; /* CHECK_SP_SIDE */
	struct pool *pool;
	bool attached;
};

struct pool {
	struct handler base;
	uint16_t magic; /* CHECK_POOL */
	struct sp_side own_side, attach_side;
	struct worker_shared shared;
	bool only_pushers; /* who attaches is no worker: they are the host's own, or there is another
			    * handler */
	/* What children run: of the generation that serves, of the one that is coming, and of the
	 * one that follows that. */
	struct pool_program program, next, later_program;
	uint64_t reloads; /* number of the last */
	unsigned max_attempts, start_attempts;
	uint64_t handler_ms, ready_ms;
	enum worker_route route;
	uint64_t max_events, max_rss;
	uint64_t look_at; /* when their size is to be looked at next */
	struct hash_table route_keys; /* keys that connections have, by --route */
	struct sp_listener *own, *attach;
	/* graves: gone, freed at the end of the turn */
	TAILQ_HEAD(worker_list, worker)
	workers, graves;
	struct event_queue unassigned, shelved, doubted, later, dead;
	/* To be delivered alone. bystanders: workers have died with them beside others, and their
	 * connections have a record; newcomers: those have none; parted: nor is anybody there any
	 * more; suspects: workers have died of them, or of others of their connections. */
	struct event_queue bystanders, newcomers, parted, suspects;
	uint32_t n_alone;    /* in those four */
	unsigned kind;	     /* of which one is next */
	uint64_t kind_until; /* 0: another kind is next */
	/* While workers die again and again: events without as many before them in their connection
	 * are newcomers, and not among others. 0: they do not. */
	uint64_t record, record_raised;
	uint64_t dying_at;		   /* when that was seen last */
	struct worker *isolating;	   /* the one that is emptied for suspects */
	uint64_t turn_began, others_until; /* turns of suspects and others at an only worker */
	uint64_t spare_since;		   /* suspects wait for a second worker */
	uint64_t try_at, try_ms;	   /* of what is shelved */
	uint32_t others_settled;	   /* in their turn */
	bool others_first;		   /* since somebody has died */
	bool others_died;		   /* and not of a suspect; they have had no turn since */
	bool suspects_first;		   /* as that came to pass again */
	bool spare_due;	  /* one that attaches may come back where it has died of a suspect */
	uint64_t lost_at; /* when a link over a network ended last */
	uint32_t fair;	  /* connections above which a worker has too many */
	uint32_t dealing; /* where in the mount's connections one was looked at last */
	unsigned ticks;
	struct child *children;
	unsigned generation; /* that serves */
	unsigned coming;     /* that is being started; 0: none */
	uint64_t coming_until;
	unsigned condemned; /* in a row */
	uint64_t condemned_session;
	uint64_t runs_from;			     /* when there may be runs again */
	bool bad_said, starved_said, stopped, known; /* known: some worker has said what it wants */
	struct loop_timer tick;
	struct loop_hook hook;
	struct codec_batch batch;
};

static inline struct pool *pool_of(struct handler *h)
{
	struct pool *p = (struct pool *)h;
	CHECK_IS(p, CHECK_POOL);
	return p;
}

/* route.c */
/* Does the worker take events, as far as its generation goes; and is it not set aside for
 * suspects? */
bool route_serves(const struct worker *w);
bool route_takes(const struct worker *w);
/* The best for whoever comes, or NULL. */
struct worker *route_choose(const struct pool *p);
/* The worker of a connection (NULL: of an event without one), which may be another than before:
 * none of its events is under way. NULL: nobody serves. */
struct worker *route_of(struct pool *p, struct session *s);
void route_forget(struct session *s);
/* Every tick: connections of workers that have too many. */
void route_deal(struct pool *p);

/* route_key.c */
/* Those that have a key in common, see --route. False: its connection has none, or nobody serves.
 */
bool route_by_key(struct pool *p, struct session *s, struct worker **w_r);
/* The session has none any more. */
void route_key_release(struct pool *p, struct session *s);
/* The worker has gone: its keys go to others. */
void route_keys_lost(struct pool *p, const struct worker *w);
void route_keys_free(struct hash_table *all);

/* suspect.c */
/* It is with nobody: it will be delivered alone. suspect_run delivers such ones as far as there is
 * a worker for them. */
void suspect_add(struct pool *p, struct event_held *e);
void suspect_run(struct pool *p);
/* Its worker has died of it, or it is overdue. */
void suspect_blame(struct pool *p, struct event_held *e);
/* n: it may be of one of so many events that were under way; alone: that one was to be. */
void suspect_died(struct pool *p, struct worker *w, uint32_t n, bool alone);
/* Is it to be kept from others, as workers die and its connection is not known? */
bool suspect_is_newcomer(const struct pool *p, const struct event_held *e);
/* The link of a worker elsewhere has ended, with its events still there. Did others, too? */
bool suspect_lost(struct pool *p, const struct worker *w);
/* Nothing else was under way with it there. together: as others ended, too. */
void suspect_doubt(struct pool *p, struct event_held *e, bool together);
/* A worker has settled it. */
void suspect_settled(struct pool *p, struct event_held *e);
/* New workers serve: what has killed the old ones may not kill them. */
void suspect_renew(struct pool *p);
void suspect_tick(struct pool *p, uint64_t now);

/* pool.c */
/* Tells who asked for a reload what became of it: worker_shared.reloaded. */
void pool_reloaded(struct pool *p, uint64_t number, const char *why);
/* For handler_ops: the event is the pool's until it is settled, or withdrawn. */
void pool_give(struct handler *h, struct event_held *e);
bool pool_follow(struct handler *h, struct event_held *last, struct event_held *e);
void pool_withdraw(struct handler *h, struct event_held *e, bool handled);
/* The session is over: its worker may go, if that has ended. */
void pool_forget(struct handler *h, struct session *s);
/* Something became possible: a window opened, a worker came or left. */
void pool_run(struct pool *p);
/* May the event be settled now, or does it follow another one? */
static inline bool pool_is_first(const struct event_held *e)
{
	return e->lane == NULL || e->lane->current == e;
}
/* Gives it to the worker. */
void pool_fly(struct worker *w, struct event_held *e);
/* And what waits for its window. */
void pool_pump(struct worker *w);
/* An upgrade whose client has gone, or an event that nobody wants, needs no worker. */
bool pool_skip(struct pool *p, struct event_held *e);
void pool_condemn(struct pool *p, struct event_held *e);
/* It has settled what was taken from it: it is not at those behind that yet. */
void pool_heard_late(struct worker *w, uint64_t number);
/* The event is not with anybody any more: it is settled by the caller. */
void pool_take_back(struct worker *w, struct event_held *e);
/* Events with a worker go to others. */
void pool_redeliver(struct worker *w, enum pool_end end);
void pool_settle(struct pool *p, struct event_held *e, enum handler_result result, struct span why);
void pool_retry(struct pool *p, struct event_held *e, uint64_t ms);
/* Every tick; now: of loop_now. Those whose time has come are given again. */
void pool_check_later(struct pool *p, uint64_t now);

/* link.c */
extern const struct sp_ops link_ops;
/* Writes the event down for the worker, which has it already; it leaves at the end of the turn. The
 * link may be cut by that. */
void link_deliver(struct worker *w, struct event_held *e);
/* Is there room for one more behind the last, in the same message? */
bool link_has_room(const struct worker *w, const struct event_held *e);
void link_flush(struct worker *w);
/* Enough waits for it to read: nothing more is written down until it has. */
bool link_is_full(const struct worker *w);
/* The event w->streamed goes elsewhere, or is over. */
void link_forget(struct worker *w);
/* Ends it: the worker is told why (NULL: nothing), what it still says is not heard. */
void link_cut(struct worker *w, const char *why, bool death);
/* It takes no more events. */
void link_retire(struct worker *w);
/* Asks it to finish and leave. */
void link_drain(struct worker *w);
/* Its process has ended: what that had still to say is read first, then its link ends. */
void link_finish(struct worker *w);
/* For a session, or link_gone, that had a reference; the last one buries a worker that has gone. */
void worker_unref(struct worker **w_p);

/* relief.c */
/* Processes that have done their share are replaced, one at a time. */
void relief_tick(struct pool *p, uint64_t now);

/* worker.c */
struct worker_settings;
/* All of it is copied; pool_program_free is for it also without memory (false). */
bool pool_program_copy(struct pool_program *program, const struct worker_settings *set);
void pool_program_free(struct pool_program *program);

/* supervisor.c */
/* Starts the first generation. False without memory. */
bool supervisor_start(struct pool *p);
/* Every tick; now: of loop_now. */
void supervisor_tick(struct pool *p, uint64_t now);
/* Whose token is it? NULL: no process's that is waited for. */
struct child *supervisor_find(struct pool *p, const struct json_string *token);
/* The link of a child is gone. */
void supervisor_lost(struct child *child, bool leaving); /* leaving: it has said bye */
void supervisor_ready(struct child *child);
/* Another process is started to take its place. False without memory. */
bool supervisor_relieve(struct child *child);
/* For people, as members of an object that is open: how often it was started, and how it last
 * ended. NULL: nothing of a process. */
void supervisor_describe(const struct child *child, struct codec_out *o);
/* Those that have no link: an object each, appended as members of an array. */
void supervisor_count_unlinked(const struct pool *p, struct worker_states *n);
void supervisor_describe_unlinked(const struct pool *p, struct codec_out *o, bool *any);
/* Is a process on its way to serve? */
bool supervisor_is_coming(const struct pool *p);
void supervisor_kill(struct child *child, const char *why);
/* Lets every process end by itself, or makes it; none is started again. Returns whether all
 * have. */
bool supervisor_retire_all(struct pool *p);
void supervisor_stop_all(struct pool *p);

#endif

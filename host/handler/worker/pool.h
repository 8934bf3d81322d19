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

/* Does it take events, or has it? */
static inline bool child_is_up(const struct child *c)
{
	return c->worker != NULL && c->worker->state >= WORKER_READY;
}

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

/* What those who know little of a pool tell those who know all of it (worker.c). */
struct pool_ops {
	/* An event was written down as a dead letter. */
	void (*buried)(void *p, void *event);
	/* A worker says hello, its link has ended, it is ready: see supervisor.h. */
	struct child *(*find)(struct pool *p, const struct json_string *token);
	void (*lost)(struct child *child, bool leaving);
	void (*ready)(struct child *child);
};

struct pool {
	struct handler base;
	uint16_t magic; /* CHECK_POOL */
	const struct pool_ops *ops;
	struct sp_side own_side, attach_side;
	struct worker_shared shared;
	bool only_pushers; /* who attaches is no worker: they are the host's own, or there is
			    * another handler */
	/* What children run: of the generation that serves, of the one that is coming, and of the
	 * one that follows that. */
	struct pool_program program, next, later_program;
	uint64_t reloads; /* number of the last */
	unsigned max_attempts, start_attempts;
	uint64_t handler_ms, ready_ms;
	enum worker_route route;
	uint64_t max_events, max_rss;
	uint64_t look_at;	      /* when their size is to be looked at next */
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

static inline uint64_t pool_now(const struct pool *p)
{
	return loop_now(p->base.mount->hub->loop);
}

static inline struct pool *pool_of(struct handler *h)
{
	struct pool *p = (struct pool *)h;
	CHECK_IS(p, CHECK_POOL);
	return p;
}

/* --- pool_program.c --------------------------------------------------------------------------- */

struct worker_settings;
/* All of it is copied; pool_program_free is for it also without memory (false). */
bool pool_program_copy(struct pool_program *program, const struct worker_settings *set);
void pool_program_free(struct pool_program *program);
/* Is a process on its way to serve? */
bool pool_program_is_coming(const struct pool *p);

/* --- pool_fly.c ------------------------------------------------------------------------------- */

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
/* It has settled what was taken from it: it is not at those behind that yet. */
void pool_heard_late(struct worker *w, uint64_t number);
/* The event is not with anybody any more: it is settled by the caller. */
void pool_take_back(struct worker *w, struct event_held *e);
/* For handler_ops: the event follows the last of a run; one of a run is taken back. */
bool pool_follow(struct handler *h, struct event_held *last, struct event_held *e);
void pool_withdraw(struct handler *h, struct event_held *e, bool handled);
/* Settled: the commands are in the mount's commit. */
void pool_settle(struct pool *p, struct event_held *e, enum handler_result result, struct span why);
/* Without having been delivered, or by the host's own decision. */
void pool_settle_empty(struct pool *p, struct event_held *e, enum handler_result result,
		       struct span why);

/* --- pool_give.c ------------------------------------------------------------------------------ */

/* For handler_ops: the event is the pool's until it is settled, or withdrawn. */
void pool_give(struct handler *h, struct event_held *e);
/* Those of a queue, which is empty then but for those that come back to it. */
void pool_give_all(struct pool *p, struct event_queue *from);
/* What waits for a worker, if there is one now. */
void pool_assign(struct pool *p);
/* It is given again in so many ms. */
void pool_retry(struct pool *p, struct event_held *e, uint64_t ms);
/* Every tick; now: of loop_now. Those whose time has come are given again. */
void pool_check_later(struct pool *p, uint64_t now);

/* --- pool_letter.c ---------------------------------------------------------------------------- */

/* It is quarantined: written down as a dead letter, and then settled (pool_ops.buried). */
void pool_condemn(struct pool *p, struct event_held *e);

/* --- pool.c ----------------------------------------------------------------------------------- */

/* Tells who asked for a reload what became of it: worker_shared.reloaded. */
void pool_reloaded(struct pool *p, uint64_t number, const char *why);
/* The session is over: its worker may go, if that has ended. */
void pool_forget(struct handler *h, struct session *s);
/* Something became possible: a window opened, a worker came or left. */
void pool_run(struct pool *p);
/* Events with a worker go to others. */
void pool_redeliver(struct worker *w, enum pool_end end);
/* The event was written down as a dead letter: it is settled. ctx: the pool. */
void pool_on_buried(void *ctx, void *item);

#endif

/* plugin_instance: what the files of the plugin handler share. */
#ifndef TOVA_HANDLER_PLUGIN_PLUGIN_INSTANCE_H
#define TOVA_HANDLER_PLUGIN_PLUGIN_INSTANCE_H

#include <pthread.h>
#include <stddef.h>

#include "base/check.h"
#include "common/abi.h"
#include "common/library.h"
#include "common/rules.h"
#include "common/scratch.h"
#include "handler/plugin/plugin.h"
#include "hub/hub.h"

struct plugin_pair {
	char *key, *value;
};

/* One loaded library at one mount. */
struct plugin_instance {
	tova_mount api; /* what the plugin is handed */
	uint16_t magic; /* CHECK_PLUGIN_INSTANCE */
	struct plugin *plugin;
	struct library lib;
	struct plugin_pair *pairs;
	size_t n_pairs;
	char file_digest[DIGEST_TEXT]; /* see plugin_file_digest; when it was loaded */
	struct loop_waker waker;
	/* mount_size bytes, which a callback works on; NULL: it keeps nothing for its mount */
	void *mount_data;
};

/* What may be called in the callback at hand. */
enum plugin_phase {
	PLUGIN_IDLE, /* no callback: nothing */
	PLUGIN_COMMANDS,
	PLUGIN_UPGRADE, /* commands, and the answer */
	PLUGIN_START,	/* commands, and what was kept */
	PLUGIN_SILENT,	/* migrate and stop: no commands */
	PLUGIN_SAVE,	/* no commands, but keep */
};

/* The handler. It stays when its instance is replaced. */
struct plugin {
	struct handler base;
	uint16_t magic; /* CHECK_PLUGIN */
	struct plugin_instance *now;
	uint64_t slow_ms;
	/* The callbacks since the clock was last looked at, and when that was. */
	uint64_t stamp;
	uint32_t calls;
	enum event_kind last;
	struct loop_hook hook;
	pthread_t thread; /* the mount's */
	/* The callback at hand. */
	enum plugin_phase phase;
	const struct hub_event *event; /* NULL in start, stop and migrate */
	struct commit *commit;
	struct scratch scratch; /* what it was given to read in this callback */
	char traceparent[TRACE_CONTEXT_TEXT]; /* of the event, if it has asked for it */
	bool data_used;		/* the plugin has been given `data` */
	bool mount_used;	/* and now->mount_data, to change it */
	void *kept;		/* at a reload: from one library to the next; malloc'd */
	size_t kept_len;
	size_t fail_len;
	char fail[ABI_FAIL_MAX];
	_Alignas(max_align_t) unsigned char data[RULES_DATA_MAX];
};

extern const tova_host plugin_host; /* plugin_host.c */

static inline struct plugin_instance *plugin_instance_of(tova_mount *m)
{
	struct plugin_instance *i =
		(struct plugin_instance *)((char *)m - offsetof(struct plugin_instance, api));
	CHECK_IS(i, CHECK_PLUGIN_INSTANCE);
	return i;
}

static inline tova_ws plugin_ws(const struct hub *hub, const struct session *s)
{
	return (tova_ws){s != NULL ? hub->host_id : 0, s != NULL ? s->local : 0};
}

/* plugin_event.c */
/* A callback begins, in which that may be called; and nothing any more. */
void plugin_begin(struct plugin *p, enum plugin_phase phase, const struct hub_event *e,
		  struct commit *c);
void plugin_idle(struct plugin *p);
/* At the end of a turn; arg: the plugin. */
void plugin_on_turn(void *arg);
/* For handler_ops. */
enum handler_result plugin_deliver(struct handler *h, const struct hub_event *e, struct commit *c,
				   struct span *why_r);
/* What one library has kept for the next is forgotten. */
void plugin_drop_kept(struct plugin *p);

/* What runs while no event is delivered: start, stop and the like; and it is over. */
void plugin_special_begin(const struct plugin_instance *i, const char *callback);
void plugin_special_end(struct plugin *p);
/* [signal handler] Which it is now; NULL: none. */
const struct plugin_instance *plugin_special_now(const char **callback_r);

/* plugin_instance.c */
/* Loaded, and not started. NULL: `why` says why not. */
struct plugin_instance *plugin_instance_new(struct plugin *p, const char *path,
					    const struct settings_pair *pairs, size_t n, char *why,
					    size_t cap);
/* NULL is allowed. */
void plugin_instance_free(struct plugin_instance *i);
/* start(): its commands are collected, and committed by the caller once nothing can fail any more.
 * False: `why` says why it failed. */
bool plugin_instance_start(struct plugin_instance *i, struct commit *c, char *why, size_t cap);
void plugin_instance_stop(struct plugin_instance *i);
/* Events go to it from now on. */
void plugin_use(struct plugin *p, struct plugin_instance *i);

/* What is kept with a room, in the plugin's form; state NULL: nothing. */
static inline void plugin_room_state(const char *room, const struct room_state *state, tova_room_state *state_r)
{
	struct span kept = room_state_bytes(state);
	*state_r = (tova_room_state){.size = sizeof *state_r,
				     .room = room,
				     .data = kept.n > 0 ? kept.p : "",
				     .len = kept.n,
				     .version = room_state_version(state)};
}

/* plugin_request.c: the request in the plugin's form, with memory for what it points at. */
struct plugin_request {
	tova_request request;
	tova_pair headers[REQUEST_HEADERS_MAX];
	tova_pair *cookies;
	const char **subprotocols;
	char *text; /* the cookies' and subprotocols' strings */
	char remote[ADDRESS_TEXT], local[ADDRESS_TEXT];
};
/* False without memory. */
bool plugin_request_build(struct plugin_request *p, const struct event_request *e);
void plugin_request_free(struct plugin_request *p);

/* plugin_reply.c: answers a query from what is committed and hands it to on_reply. Returns its
 * result. */
int plugin_reply(struct plugin_instance *i, const struct event_query *q);
/* plugin_history.c: of those, one about what a room remembers; the rest of the reply is filled in.
 */
int plugin_history_reply(struct plugin_instance *i, const struct event_query *q, tova_reply *reply);

#endif

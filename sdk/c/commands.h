/* commands: what a callback commands, written down as the protocol wants it (PROTOCOL.md 5), each
 * checked when it is added. The first that is wrong spoils all of them. */
#ifndef TOVA_SDK_COMMANDS_H
#define TOVA_SDK_COMMANDS_H

#include "common/buffer.h"
#include "tova_plugin.h"

/* The host takes messages of up to 64 MiB; what stands around the commands needs a little of
 * that. */
#define COMMANDS_BYTES_MAX ((64u << 20) - 65536)

struct commands {
	struct buffer text; /* objects with commas between them */
	struct buffer binary;
	int error;   /* of the first wrong one, or TOVA_OK */
	tova_ws own; /* the connection that may be left out, or TOVA_NONE */
};

/* Begins anew, keeping its memory. own: see struct commands. */
void commands_begin(struct commands *c, tova_ws own);
void commands_free(struct commands *c);
/* Notes an error that was found elsewhere. Returns it. */
int commands_spoil(struct commands *c, int error);
const char *commands_error_text(int error);

/* Each returns TOVA_OK or the error code of this command. */
int commands_send(struct commands *c, tova_ws ws, const tova_payload *p);
int commands_join(struct commands *c, tova_ws ws, const char *room, size_t len);
int commands_join_history(struct commands *c, tova_ws ws, const char *room, size_t len,
			  const tova_history *want);
int commands_join_if(struct commands *c, tova_ws ws, const char *room, size_t len,
		     const tova_conditions *conditions);
/* One room. */
int commands_leave(struct commands *c, tova_ws ws, const char *room, size_t len);
/* All rooms that it is in. */
int commands_leave_all(struct commands *c, tova_ws ws);
int commands_watch(struct commands *c, const char *room, size_t len, uint32_t grace_ms);
int commands_prolong(struct commands *c, tova_ws ws, const char *token, size_t len);
int commands_unwatch(struct commands *c, const char *room, size_t len, bool if_empty);
/* Without rooms: to all of the mount. */
int commands_broadcast_among(struct commands *c, const tova_among *among, const tova_payload *p);
/* There are rooms. */
int commands_close_room(struct commands *c, const tova_among *among, uint16_t code,
			const char *reason, size_t len);
/* NULL: as it was. */
int commands_info(struct commands *c, tova_ws ws, const char *info, size_t info_len,
		  const char *user, size_t user_len);
/* exclude: TOVA_NONE: nobody is left out. */
int commands_broadcast(struct commands *c, const tova_payload *p, tova_ws exclude);
int commands_broadcast_to(struct commands *c, const char *room, size_t len, const tova_payload *p,
			  tova_ws exclude);
/* code 0: as if none was given. reason: no NUL is needed. */
int commands_close(struct commands *c, tova_ws ws, uint16_t code, const char *reason, size_t len);
/* Binary. */
int commands_set(struct commands *c, tova_ws ws, const void *state, size_t len);
/* if_state: NULL: whatever is stored. */
int commands_set_if(struct commands *c, tova_ws ws, const void *state, size_t len,
		    const void *if_state, size_t if_len);
/* version: TOVA_ANY_VERSION: whatever there is. */
int commands_set_room(struct commands *c, const char *room, size_t room_len, const void *data,
		      size_t len, uint64_t version);
/* What is kept for the mount, made from `version`; it is `next` from then on. */
int commands_set_mount(struct commands *c, const void *data, size_t len, uint64_t version,
		       uint64_t next);
int commands_timer(struct commands *c, const tova_timer *t);
int commands_cancel(struct commands *c, tova_ws ws, const char *name);

#endif

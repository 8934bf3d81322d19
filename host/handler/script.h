/* script: a handler that runs one process for each connection, in the manner of websocketd: a line on its standard output is sent, a
 * message is a line on its standard input, and the request is in its environment as CGI has it (RFC 3875).
 *
 * Beyond that, lines on descriptor 3 are commands: join ROOM, leave ROOM, send CONN TEXT, broadcast TEXT, broadcast_others TEXT,
 * broadcast_to ROOM TEXT, broadcast_to_others ROOM TEXT, close [CODE [REASON]]; with key=KEY and a space in front of one that sends,
 * KEY is its conflation key. The connection's own id is in TOVA_CONN. Each line commits alone: a script has no way to acknowledge.
 */
#ifndef TOVA_HANDLER_SCRIPT_H
#define TOVA_HANDLER_SCRIPT_H

#include "handler/process.h"
#include "hub/mount.h"

struct script_settings {
	const char *command; /* for /bin/sh */
	bool binary;	     /* messages both ways as a 4 byte big-endian length and bytes, sent as binary, instead of lines */
	unsigned max;	     /* processes at once; beyond it upgrades get 503 */
	unsigned rate;	     /* starts a second, likewise */
	uint64_t close_ms;   /* to end after its connection has, before TERM, and again before KILL */
};

bool script_is(const struct mount *m);
/* For people: what is run for each connection, and how many processes there are. */
const char *script_runs(const struct mount *m);
unsigned script_count(const struct mount *m);
/* For the processes that start from now on; limits at once. False without memory: the old command goes on. */
bool script_set(struct mount *m, const struct script_settings *set);
/* Makes scripts the mount's handler. False with a sentence in why. */
bool script_attach(struct mount *m, const struct script_settings *set, struct processes *processes, char *why, size_t why_cap);

#endif

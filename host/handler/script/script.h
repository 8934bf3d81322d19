/* script: a handler that runs one process for each connection, in the manner of websocketd: a line
 * on its standard output is sent, a message is a line on its standard input, and the request is in
 * its environment as CGI has it (RFC 3875). Lines on descriptor 3 are commands. sdk/SCRIPTS.md
 * tells all of it.
 *
 * Standard output and descriptor 3 are done in the order in which they were written. Two pipes do
 * not know of each other, so this takes two things. A pipe holds one write at a time: it is one
 * page, in packet mode (O_DIRECT, pipe(2)), so that the next write waits until the host has read
 * the last. And epoll in edge-triggered mode tells of descriptors in the order in which they became
 * readable. So of two writes that have not been read, one in each pipe, the host knows which came
 * first.
 */
#ifndef TOVA_HANDLER_SCRIPT_SCRIPT_H
#define TOVA_HANDLER_SCRIPT_SCRIPT_H

#include "handler/process.h"
#include "handler/script/script_text.h"
#include "hub/mount.h"

struct script_settings {
	/* One of them: for /bin/sh; or the folder in which a request's path finds its program. */
	const char *command, *folder;
	enum script_framing framing;
	unsigned max;  /* processes at once; beyond it upgrades get 503 */
	unsigned rate; /* starts a second, likewise */
	/* for its last words, from the end of its standard input to TERM, and again before KILL */
	uint64_t close_ms;
	/* bytes of lines that have no end yet, of all scripts of the host; 0: any number */
	uint64_t unread_max;
};

/* Is the mount's handler a script for each connection? It has one. */
bool script_is(const struct mount *m);
/* For people: what is run for each connection, or the folder it is in, and how many processes
 * there are. */
const char *script_runs(const struct mount *m);
unsigned script_count(const struct mount *m);
/* For the processes that start from now on; limits at once. False without memory: the old command
 * goes on. */
bool script_set(struct mount *m, const struct script_settings *set);
/* Makes scripts the mount's handler. False with a sentence in why. */
bool script_attach(struct mount *m, const struct script_settings *set, struct processes *processes,
		   char *why, size_t why_cap);

#endif

/* program: a .tova program that runs. Events go in, commands go to the mount's host. */
#ifndef TOVA_SDK_RUNTIME_PROGRAM_H
#define TOVA_SDK_RUNTIME_PROGRAM_H

#include "tova/translate.h"
#include "tova/runtime/runtime.h"

#define PROGRAM_WHY_MAX 1024

struct program_limits {
	size_t memory;	      /* bytes */
	int64_t instructions; /* of one event */
	uint64_t cpu_ms;      /* likewise */
};

struct program;

/* Translates the text and makes a program of it, which has not run yet. file is what faults are
 * said to be in. mount may be NULL: it only computes. NULL with all faults in why, one in a line:
 * what does not fit is left out. */
struct program *program_new(const char *file, const char *text, size_t n, tova_mount *mount,
			    const struct program_limits *limits, char *why, size_t why_cap);
void program_free(struct program *p);

/* What the program says outside of functions. kept: what program_save gave, or NULL. False with a
 * sentence in why. */
bool program_start(struct program *p, const char *kept, size_t kept_len, char *why, size_t why_cap);
/* The program's own vars as a JSON object, malloc'd, with NUL; what has no JSON is left out. NULL:
 * there is nothing, or no memory. */
char *program_save(struct program *p, size_t *n_r);

/* Events: 0, or what tova_fail returned. */
int program_on_open(struct program *p, tova_ws ws, const tova_request *request);
int program_on_message(struct program *p, tova_ws ws, const tova_payload *message);
int program_on_close(struct program *p, tova_ws ws, const tova_close *why);
/* The same of what is no client's doing alone. */
int program_on_error(struct program *p, tova_ws ws, const tova_error *error);
int program_on_away(struct program *p, tova_ws ws, uint16_t code);
int program_on_back(struct program *p, tova_ws ws, const tova_request *request);
/* Likewise. */
int program_on_join(struct program *p, const tova_presence *who);
/* Likewise. */
int program_on_leave(struct program *p, const tova_presence *who);
/* Likewise. */
int program_on_timer(struct program *p, const tova_timer *timer);
int program_on_reply(struct program *p, const tova_reply *reply);

#endif

/* process_parts: what the parts of process share. process_output.c is what a child writes,
 * process_shim.c what runs in its place before its command does. */
#ifndef TOVA_HANDLER_PROCESS_PARTS_H
#define TOVA_HANDLER_PROCESS_PARTS_H

#include "handler/process.h"

/* bytes of a log line; longer ones are cut into several, which the log takes whole */
#define PROCESS_LINE_MAX 1000
#define PROCESS_SHIM "tova-shim"
#define PROCESS_SHIM_ARGS 5 /* in front of the command */
#define PROCESS_GUARD_FD 4  /* where the shim tells the guard of its group */

struct process_output {
	uint16_t magic; /* CHECK_PROCESS_OUTPUT */
	struct loop_watch watch;
	struct process *process;
	void (*ended)(struct process *p); /* the child writes no more */
	int fd;				  /* -1: closed */
	enum log_level level;
	size_t len;
	char line[PROCESS_LINE_MAX];
};

struct process {
	uint16_t magic; /* CHECK_PROCESS */
	struct process *next;
	struct processes *set;
	process_ended *ended;
	void *ctx;
	pid_t pid;
	int status;
	bool reaped, abandoned;
	struct process_output out, err;
	struct output_rate *rate;
	struct loop_timer limit;
	char name[64], mount[256];
	char last[256]; /* line of its standard error, or empty */
};

/* A pipe for what the child writes, each line of which goes into the log at that level. *theirs_r
 * is its end; ended: it has closed that. False with errno. */
bool process_output_open(struct process_output *o, struct process *p, enum log_level level,
			 void (*ended)(struct process *p), int *theirs_r);
/* With what is there of a last line. */
void process_output_close(struct process_output *o);

#endif

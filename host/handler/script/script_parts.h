/* script_parts: what the files of the script handler share. script.c: lives and events.
 * script_out.c: what a script writes, in its order. script_command.c: what a line on descriptor 3
 * means. script_commit.c: that it takes effect. */
#ifndef TOVA_HANDLER_SCRIPT_SCRIPT_PARTS_H
#define TOVA_HANDLER_SCRIPT_SCRIPT_PARTS_H

#include "base/check.h"
#include "common/buffer.h"
#include "handler/script/script.h"
#include "hub/hub.h"

#define SCRIPT_SHOWN 200 /* bytes of a line that the log shows */

/* A pipe that a script writes to: its standard output, or descriptor 3. */
struct script_stream {
	struct script *script;
	int fd;		  /* -1: closed */
	struct buffer in; /* what has been read and not been used */
	size_t counted;	  /* bytes of memory, as they are counted */
	size_t scanned;	  /* bytes of it in which no line ends */
	bool hung_up : 1; /* nobody has it open for writing any more */
	bool last : 1;	  /* its script is over: what lies in it now is all that is read */
	bool due : 1;	  /* in script->due */
	bool dropped : 1; /* it has failed: what it has is dropped */
};

/* One process and its connection. */
struct script {
	uint16_t magic; /* CHECK_SCRIPT */
	TAILQ_ENTRY(script) link, ready_link;
	struct scripts *set;
	struct session *session; /* in whose name it acts; NULL: it has had its last words */
	struct process *process; /* NULL: it has ended */
	struct script_stream out, commands;
	/* that have something to be read, in the order in which it was written */
	struct script_stream *due[2];
	struct script_stream *current; /* which may have more lines; NULL: none */
	struct loop_watch in_watch;
	struct script_writer writer;
	/* the message that waits for room in the pipe, partly written */
	struct event_held *writing;
	char *said; /* what is written instead, of an event that is no message; malloc, or NULL */
	struct event_held *closing; /* the connection's close, until the last words are said */
	const char *failed;	    /* why it is ended; NULL: it is not */
	uint64_t term_at, kill_at;  /* 0: it lives as long as its connection */
	uint64_t late;		    /* lines that came behind its last words */
	int in_fd;		    /* its standard input; -1: closed */
	int status;
	uint8_t n_due;
	uint8_t framing; /* as it was when the process started */
	bool ready : 1;	 /* in set->ready */
	bool slowed : 1; /* its client reads too slowly */
	bool parted : 1; /* it has closed its connection: it has nothing more to say to that */
	bool over : 1;	 /* the process has ended: the rest of what it said is read */
	bool deaf : 1;	 /* it was said that it does not read */
	uint16_t events; /* EVENT_BITs of what it has asked for */
	char id[SESSION_ID_TEXT];
};
TAILQ_HEAD(script_list, script);

/* Those of one mount. */
struct scripts {
	struct handler base;
	uint16_t magic; /* CHECK_SCRIPTS */
	struct processes *processes;
	struct script_settings settings; /* command and folder are ours, as `runs` */
	char *runs;
	unsigned n, started; /* started: in this second */
	uint64_t second;
	struct script_list list, ready; /* ready: they may have something to do */
	struct loop_timer tick, more;
	void (*finish)(struct script *x);
	struct loop_watch watch; /* of epoll */
	int epoll;		 /* what they write, in its order */
	size_t page;
	bool running;
};

static inline struct scripts *scripts_of(struct handler *h)
{
	struct scripts *set = (struct scripts *)h;
	CHECK_IS(set, CHECK_SCRIPTS);
	return set;
}

static inline struct mount *script_mount(const struct script *x)
{
	return x->set->base.mount;
}

static inline struct loop *script_loop(const struct script *x)
{
	return script_mount(x)->hub->loop;
}

/* script_commit.c */
/* One line, with who it is about; line and expected may be empty. */
void script_log(const struct script *x, enum log_level level, const char *what, struct span line,
		const char *expected);
/* Commits what is in the mount's commit, or says why not. */
void script_commit(struct script *x, struct span line);

/* script_out.c */
/* Watches what they write. finish: a process is over and all is read. False with errno;
 * scripts_out_close is called all the same. */
bool scripts_out_open(struct scripts *set, void (*finish)(struct script *x));
void scripts_out_close(struct scripts *set);
/* A pipe of its own; *theirs_r is the end for the process. False with errno. */
bool script_stream_open(struct script_stream *s, struct script *x, int *theirs_r);
void script_stream_forget(struct script_stream *s);
/* It may go on: something can be done for it, or it is over. */
void script_wake(struct script *x);
/* Does what is to be done for those that are awake. */
void scripts_run(struct scripts *set);
/* It has done what it may not, or there is no memory for it: it is killed, and its connection
 * closed with 1011. */
void script_fail(struct script *x, const char *why);
/* The process is over: nothing will be read but what lies in its pipes now. */
void script_out_last(struct script *x);

/* script_command.c */
/* A line that the script wrote on descriptor 3, which may be written to: what it commands happens,
 * or it is said what is wrong with it. */
void script_command(struct script *x, char *line, size_t n);

#endif

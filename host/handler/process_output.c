/* What a child writes: it goes into the log, line by line. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "common/utf8.h"
#include "handler/process_parts.h"

/* What it died of, if it has said so: what is indented is where it was. */
static void process_output_keep(struct process_output *o, struct span line)
{
	static const char node[] = "Node.js v"; /* is said behind it */
	char *last = o->process->last;
	if (o != &o->process->err || line.n == 0 || line.p[0] == ' ' || line.p[0] == '\t' ||
	    (line.n >= sizeof node && memcmp(line.p, node, sizeof node - 1) == 0))
		return;
	snprintf(last, sizeof o->process->last, "%.*s", (int)line.n, line.p);
	if (utf8_valid(last, strlen(last)))
		return;
	for (char *c = last; *c != '\0'; c++) /* what was cut off within a character is none */
		*c = (unsigned char)*c < 0x80 ? *c : '?';
}

/* A line may begin with <N>, a level as systemd and syslog know them. */
static void process_output_line(struct process_output *o, const char *line, size_t n)
{
	static const enum log_level levels[] = {LOG_ERROR, LOG_ERROR,  LOG_ERROR, LOG_ERROR,
						LOG_WARN,  LOG_NOTICE, LOG_INFO,  LOG_DEBUG};
	struct log *log = o->process->set->loop->log;
	enum log_level level = o->level;
	if (n >= 3 && line[0] == '<' && line[1] >= '0' && line[1] <= '7' && line[2] == '>') {
		level = levels[line[1] - '0'];
		line += 3;
		n -= 3;
	}
	process_output_keep(o, (struct span){line, n});
	if (!log_would(log, level) || !output_rate_admits(o->process->rate, level))
		return;
	const struct log_field fields[] = {LOG_SPAN("message", ((struct span){line, n})),
					   LOG_STR("mount", o->process->mount),
					   LOG_STR("worker", o->process->name),
					   LOG_U64("pid", (uint64_t)o->process->pid)};
	log_write(log, level, LOG_WORKER_OUTPUT, fields, 4);
}

static void process_output_lines(struct process_output *o)
{
	char *from = o->line, *end = o->line + o->len, *lf;
	while ((lf = memchr(from, '\n', (size_t)(end - from))) != NULL) {
		process_output_line(o, from, (size_t)(lf - from) - (lf > from && lf[-1] == '\r'));
		from = lf + 1;
	}
	if (from == o->line && o->len == sizeof o->line) {
		process_output_line(o, from, o->len);
		from = end;
	}
	o->len = (size_t)(end - from);
	memmove(o->line, from, o->len);
}

void process_output_close(struct process_output *o)
{
	if (o->fd < 0)
		return;
	if (o->len > 0)
		process_output_line(o, o->line, o->len);
	loop_watch_set(&o->watch, false);
	close(o->fd);
	o->fd = -1;
}

static void process_output_on_readable(void *arg)
{
	struct process_output *o = arg;
	CHECK_IS(o, CHECK_PROCESS_OUTPUT);
	ssize_t n = read(o->fd, o->line + o->len, sizeof o->line - o->len);
	if (n > 0) {
		o->len += (size_t)n;
		process_output_lines(o);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		process_output_close(o);
		o->ended(o->process);
	}
}

bool process_output_open(struct process_output *o, struct process *p, enum log_level level,
			 void (*ended)(struct process *p), int *theirs_r)
{
	int pipe[2];
	*o = (struct process_output){.magic = CHECK_PROCESS_OUTPUT,
				     .process = p,
				     .ended = ended,
				     .fd = -1,
				     .level = level};
	if (!descriptors_pipe(&p->set->loop->descriptors, DESCRIPTORS_WORKER, pipe))
		return false;
	fcntl(pipe[0], F_SETFL, O_NONBLOCK);
	*theirs_r = pipe[1];
	o->fd = pipe[0];
	loop_watch_init(p->set->loop, &o->watch, o->fd, false, process_output_on_readable, o);
	return loop_watch_set(&o->watch, true);
}

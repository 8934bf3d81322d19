/* log: structured lines for operators and machines, one write(2) each.
 *
 * A line has a time, a level, a kind, a sentence and fields. Text:
 *	2025-01-31T12:34:56.789Z warn conn.protocol: peer sent a reserved opcode conn=6Zb2kq
 *code=1002 or the same as one JSON object. Values are escaped, so that nothing a peer sends can
 *forge a line or a field, and no line is longer than LOG_LINE_MAX. Where the journal listens, who
 *stamps each line itself, "<4>" says the level instead of a time in text. Logging never blocks,
 *never fails and never ends the host: a line that can not be written at once (full disk, pipe whose
 *reader stands still or is gone) is dropped and counted, and the next one that can says `lost=N`.
 * Any thread may write. Whoever opens a log ignores SIGPIPE.
 */
#ifndef TOVA_BASE_LOG_H
#define TOVA_BASE_LOG_H

#include <pthread.h>
#include <stdio.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "common/span.h"

/* PIPE_BUF: what a pipe that polls writable takes whole, without blocking */
#define LOG_LINE_MAX 4096

/* In the order of the choices of --log-level and --log-format. */
enum log_level { LOG_ERROR, LOG_WARN, LOG_NOTICE, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* kind, its name, lines per second that may pass (0: all), what they are about. A kind that a peer
 * can cause at will has a limit; that of WORKER_OUTPUT is output_rate.h's. */
#define LOG_KINDS(X) \
	X(HOST, "host", 0, \
	  "the host itself: started, stopped, what it could not have at the start") \
	X(LISTEN, "listen", 0, \
	  "addresses where clients, workers and the API are taken") \
	X(ACCEPT, "accept", 10, \
	  "connections that could not be taken") \
	X(TLS, "tls", 20, \
	  "handshakes that failed, and what was spoken instead of TLS") \
	X(HTTP, "http", 20, \
	  "requests that are no upgrades and were refused") \
	X(API, "api", 20, \
	  "requests of the API that were refused, and what was done through it") \
	X(UPGRADE, "upgrade", 20, \
	  "upgrades that were refused") \
	X(CONN_OPEN, "conn.open", 1000, \
	  "each connection") \
	X(CONN_CLOSE, "conn.close", 1000, \
	  "the end of each, with its code") \
	X(CONN_STATE, "conn.state", 1000, \
	  "what a connection goes through (debug)") \
	X(CONN_RESUME, "conn.resume", 1000, \
	  "sessions that lost their socket, came back, or could not") \
	X(CONN_PROTOCOL, "conn.protocol", 20, \
	  "what a client sent that no client may") \
	X(CONN_TRANSPORT, "conn.transport", 20, \
	  "connections that broke, or fell silent") \
	X(CONN_SLOW, "conn.slow", 200, \
	  "clients that read too slowly, and what became of them") \
	X(HANDLER, "handler", 20, \
	  "events that failed, and scripts") \
	X(PLUGIN, "plugin", 100, \
	  "what plugins log, and their loading") \
	X(PLUGIN_SLOW, "plugin.slow", 10, \
	  "callbacks of plugins that took longer than --plugin-slow") \
	X(WORKER, "worker", 50, \
	  "workers: started, ready, ended, links") \
	X(WORKER_OUTPUT, "worker.output", 0, \
	  "what workers and scripts write on their standard output and error") \
	X(QUARANTINE, "quarantine", 0, \
	  "events that were set aside") \
	X(LIMIT, "limit", 5, \
	  "limits that clients met") \
	X(RELOAD, "reload", 0, \
	  "what a reload changed, and what waits for a restart") \
	X(DRAIN, "drain", 0, \
	  "the way to the end") \
	X(TRACE, "trace", 0, \
	  "what becomes of events of sampled connections (`--trace-sample`), in `--trace-file`") \
	X(CLUSTER, "cluster", 20, \
	  "other hosts, and the engine between them") \
	X(ACCESS, "access", 0, \
	  "each connection when it is over, in the log of --access-log alone")

#define LOG_KIND_ID(id, name, rate, text) LOG_##id,
enum log_kind { LOG_KINDS(LOG_KIND_ID) LOG_KIND_COUNT };
#undef LOG_KIND_ID

enum log_field_type {
	LOG_FIELD_TEXT,
	LOG_FIELD_U64,
	LOG_FIELD_I64,
	LOG_FIELD_BOOL,
	LOG_FIELD_ERRNO
};

struct log_field {
	const char *key; /* of our own code: letters, digits, '_', '.' */
	enum log_field_type type;
	union {
		struct span text; /* p == NULL: the field is left out */
		uint64_t u64;
		int64_t i64;
		bool boolean;
		int error; /* an errno */
	};
};

#define LOG_SPAN(name, value) \
	((struct log_field){.key = (name), .type = LOG_FIELD_TEXT, .text = (value)})
#define LOG_STR(name, value) LOG_SPAN((name), span_of(value))
#define LOG_U64(name, value) \
	((struct log_field){.key = (name), .type = LOG_FIELD_U64, .u64 = (value)})
#define LOG_I64(name, value) \
	((struct log_field){.key = (name), .type = LOG_FIELD_I64, .i64 = (value)})
#define LOG_BOOL(name, value) \
	((struct log_field){.key = (name), .type = LOG_FIELD_BOOL, .boolean = (value)})
/* The text of an errno, as error=... */
#define LOG_ERRNO(value) \
	((struct log_field){.key = "error", .type = LOG_FIELD_ERRNO, .error = (value)})

/* What was said last, to be looked at: errors and warnings, and, so that none hides the other, what
 * was refused of peers. */
#define LOG_RECENT_LINES 100
#define LOG_RECENT_LINE_MAX 1024
enum log_recent { LOG_RECENT_TROUBLE, LOG_RECENT_REFUSED, LOG_RECENT_COUNT };

/* Private: use the functions. */
struct log {
	_Atomic int level;
	enum log_format format;
	int fd;
	bool is_file,
		is_socket; /* what fd is; anything else is a pipe, a terminal or another device */
	bool is_journal;   /* systemd's journal reads it: JOURNAL_STREAM says so */
	bool mid_line;	   /* the last write ended inside a line */
	char *path;	   /* NULL: stderr */
	uint64_t lost;	   /* since the last one that was written */
	_Atomic uint64_t lost_all;
	pthread_mutex_t lock;
	struct log_rate {
		time_t second; /* that `passed` counts */
		uint32_t passed;
		enum log_level worst; /* of the suppressed lines */
		uint64_t suppressed;
	} rate[LOG_KIND_COUNT];
	struct log_recent_lines {
		char *lines[LOG_RECENT_LINES]; /* JSON; NULL: none, or no memory for it */
		uint64_t n;		       /* how many there have been */
	} recent[LOG_RECENT_COUNT];
};

/* All kinds, as a table for documents. */
void log_print_kinds(FILE *out);

/* path NULL: stderr; "-": stdout. Returns NULL with errno set. A file is created with mode 0640 and appended
 * to. */
struct log *log_open(const char *path, enum log_format format, enum log_level level);
/* Opens the file again, which a log rotation has moved away. Returns 0, or an errno, and the old
 * file stays in use. */
int log_reopen(struct log *log);
/* Goes on in another file, or with path NULL to stderr. Returns 0, or an errno, and the old file
 * stays in use. */
int log_move(struct log *log, const char *path);
void log_configure(struct log *log, enum log_format format, enum log_level level);
/* As log_write, but without its lock and its limits, and good in a signal's handler, where the
 * process ends: fields are texts and U64. */
void log_last_line(struct log *log, enum log_level level, enum log_kind kind,
		   const struct log_field *fields, size_t n);
/* Reports what was suppressed of kinds whose limit no longer holds lines back, and lost lines if
 * writing works again; call it about every second. */
void log_flush(struct log *log);
/* Lines that could not be written, since it was opened. Any thread. */
uint64_t log_lost(const struct log *log);
/* Reports all that was suppressed, and frees. NULL is allowed. */
void log_close(struct log **log_p);

/* The line that was said as the nth of its kind, from 0, as a JSON object. Returns its length, 0:
 * it is not kept any more, or there is none yet. */
size_t log_recent_line(struct log *log, enum log_recent which, uint64_t n,
		       char line[LOG_RECENT_LINE_MAX]);
/* How many there have been. */
uint64_t log_recent_count(struct log *log, enum log_recent which);

/* fields[0] is the message. Use LOG. */
void log_write(struct log *log, enum log_level level, enum log_kind kind,
	       const struct log_field *fields, size_t n);

/* A NULL log logs nothing. */
static inline bool log_would(const struct log *log, enum log_level level)
{
	return log != NULL && (int)level <= atomic_load_explicit(&log->level, memory_order_relaxed);
}

/* LOG(log, LOG_WARN, LOG_CONN_PROTOCOL, "peer sent a reserved opcode", LOG_STR("conn", id),
 * LOG_U64("code", 1002)); The fields are not evaluated unless the level is logged. */
#define LOG(log, level, kind, message, ...) \
	do { \
		if (log_would((log), (level))) { \
			const struct log_field log_fields_[] = {LOG_STR("message", (message)), \
								##__VA_ARGS__}; \
			log_write((log), (level), (kind), log_fields_, \
				  sizeof(log_fields_) / sizeof(log_fields_[0])); \
		} \
	} while (0)

#endif

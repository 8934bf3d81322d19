#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/printable.h"

#define VALUE_MAX 1024 /* bytes of one written value; what is longer ends in "..." */
/* kept free for what every line may end with: truncated, suppressed, lost */
#define TAIL_ROOM 160
#define LOG_SYSLOG_ERROR 3 /* syslog(3); ours follow in its order */

static const char *const LEVEL_NAME[] = {"error", "warn", "notice", "info", "debug"};

static const struct {
	const char *name;
	uint32_t per_second;
	const char *about;
} KIND[LOG_KIND_COUNT] = {
#define KIND_ROW(id, name, rate, text) [LOG_##id] = {name, rate, text},
	LOG_KINDS(KIND_ROW)
#undef KIND_ROW
};

void log_print_kinds(FILE *out)
{
	fputs("| kind | lines a second | about |\n|---|---|---|\n", out);
	for (size_t i = 0; i < LOG_KIND_COUNT; i++)
		if (KIND[i].per_second > 0)
			fprintf(out, "| `%s` | %u | %s |\n", KIND[i].name, KIND[i].per_second,
				KIND[i].about);
		else
			fprintf(out, "| `%s` | all | %s |\n", KIND[i].name, KIND[i].about);
}

/* --- a line under construction ---------------------------------------------------------------- */

struct line {
	enum log_format format;
	bool journal; /* see log.is_journal */
	bool full;    /* something did not fit; whoever appended takes back what it began */
	size_t n, cap;
	char bytes[LOG_LINE_MAX];
};

static void log_put(struct line *line, const char *p, size_t n)
{
	if (n > line->cap - line->n) {
		line->full = true;
		return;
	}
	memcpy(line->bytes + line->n, p, n);
	line->n += n;
}

static void log_put_text(struct line *line, const char *text)
{
	log_put(line, text, strlen(text));
}

static void log_put_letter(struct line *line, char letter)
{
	const char escape[] = {'\\', letter};

	log_put(line, escape, sizeof(escape));
}

/* At least so many digits. */
static void log_put_number(struct line *line, uint64_t value, unsigned digits)
{
	char text[20], *at = text + sizeof(text);

	do
		*--at = (char)('0' + value % 10);
	while ((value /= 10) > 0 || (size_t)(text + sizeof(text) - at) < digits);
	log_put(line, at, (size_t)(text + sizeof(text) - at));
}

/* Writes the next character of a value as it stands between quotes, escaped as JSON has it; returns
 * how many bytes it took. */
static size_t log_put_escaped(struct line *line, const unsigned char *p, size_t n)
{
	uint32_t code = 0;
	size_t len = printable_decode(p, n, &code);
	char escape[PRINTABLE_ESCAPE_MAX];

	if (len == 0) {
		log_put_text(line, "\xEF\xBF\xBD"); /* U+FFFD */
		return 1;
	}
	if (code == '"' || code == '\\')
		log_put_letter(line, (char)code);
	else if (code == '\n' || code == '\r' || code == '\t')
		log_put_letter(line, code == '\n' ? 'n' : code == '\r' ? 'r' : 't');
	else if (printable_deceives(code)) {
		printable_escape(code, escape);
		log_put_text(line, escape);
	} else
		log_put(line, (const char *)p, len);
	return len;
}

static void log_put_quoted(struct line *line, struct span value)
{
	size_t end = line->n + VALUE_MAX;

	log_put_text(line, "\"");
	for (size_t i = 0; i < value.n && !line->full;) {
		if (line->n >= end) {
			log_put_text(line, "...");
			break;
		}
		i += log_put_escaped(line, (const unsigned char *)value.p + i, value.n - i);
	}
	log_put_text(line, "\"");
}

/* May it stand in a text line without quotes and still not be taken for anything else? */
static bool log_is_bare(struct span value, bool spaces)
{
	for (size_t i = 0; i < value.n; i++) {
		unsigned char c = (unsigned char)value.p[i];

		if (c < 0x20 || c > 0x7E || c == '"' || c == '=' || c == '\\' ||
		    (c == ' ' && !spaces))
			return false;
	}
	return value.n > 0 && value.n <= VALUE_MAX;
}

static void log_put_string(struct line *line, struct span value, bool spaces)
{
	if (line->format == LOG_FORMAT_TEXT && log_is_bare(value, spaces))
		log_put(line, value.p, value.n);
	else
		log_put_quoted(line, value);
}

static void log_put_value(struct line *line, const struct log_field *field)
{
	char text[64];

	switch (field->type) {
	case LOG_FIELD_TEXT:
		log_put_string(line, field->text, false);
		return;
	case LOG_FIELD_ERRNO:
		log_put_string(line, span_of(strerror_r(field->error, text, sizeof(text))), false);
		return;
	case LOG_FIELD_U64:
		log_put_number(line, field->u64, 1);
		return;
	case LOG_FIELD_I64:
		snprintf(text, sizeof(text), "%" PRId64, field->i64);
		break;
	case LOG_FIELD_BOOL:
		snprintf(text, sizeof(text), "%s", field->boolean ? "true" : "false");
		break;
	}
	log_put_text(line, text);
}

static void log_put_field(struct line *line, const struct log_field *field)
{
	if (field->type == LOG_FIELD_TEXT && field->text.p == NULL)
		return;
	log_put_text(line, line->format == LOG_FORMAT_JSON ? ",\"" : " ");
	log_put_text(line, field->key);
	log_put_text(line, line->format == LOG_FORMAT_JSON ? "\":" : "=");
	log_put_value(line, field);
}

/* 2025-01-31T12:34:56.789Z, by the civil calendar of 400 years of 146,097 days. The library's own
 * functions for that look at the time zone, behind a lock. */
static void log_put_time(struct line *line, const struct timespec *now)
{
	const uint32_t second = (uint32_t)(now->tv_sec % 86400);
	const uint64_t days = (uint64_t)(now->tv_sec / 86400) + 719468, era = days / 146097;
	const uint32_t day = (uint32_t)(days % 146097),
		       year = (day - day / 1460 + day / 36524 - day / 146096) / 365,
		       of_year = day - (365 * year + year / 4 - year / 100),
		       month = (5 * of_year + 2) / 153; /* from March on */
	const struct {
		uint64_t value;
		unsigned digits;
		const char *behind;
	} parts[] = {{era * 400 + year + (month >= 10), 4, "-"},
		     {month < 10 ? month + 3 : month - 9, 2, "-"},
		     {of_year - (153 * month + 2) / 5 + 1, 2, "T"},
		     {second / 3600, 2, ":"},
		     {second / 60 % 60, 2, ":"},
		     {second % 60, 2, "."},
		     {(uint64_t)now->tv_nsec / 1000000, 3, "Z"}};

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		log_put_number(line, parts[i].value, parts[i].digits);
		log_put_text(line, parts[i].behind);
	}
}

static void log_put_head_json(struct line *line, const struct timespec *now, enum log_level level,
			      enum log_kind kind, struct span message)
{
	log_put_text(line, "{\"time\":\"");
	log_put_time(line, now);
	log_put_text(line, "\",\"level\":\"");
	log_put_text(line, LEVEL_NAME[level]);
	log_put_text(line, "\",\"kind\":\"");
	log_put_text(line, KIND[kind].name);
	log_put_text(line, "\",\"message\":");
	log_put_string(line, message, true);
}

static void log_put_head(struct line *line, const struct timespec *now, enum log_level level,
			 enum log_kind kind, struct span message)
{
	if (line->journal) {
		log_put_text(line, "<");
		log_put_number(line, LOG_SYSLOG_ERROR + (uint64_t)level, 1);
		log_put_text(line, ">");
	}
	if (line->format == LOG_FORMAT_JSON) {
		log_put_head_json(line, now, level, kind, message);
		return;
	}
	if (!line->journal) {
		log_put_time(line, now);
		log_put_text(line, " ");
		log_put_text(line, LEVEL_NAME[level]);
		log_put_text(line, " ");
	}
	log_put_text(line, KIND[kind].name);
	log_put_text(line, ": ");
	log_put_string(line, message, true);
}

/* Appends fields; one that does not fit is left out whole and the line says so. */
static void log_put_fields(struct line *line, const struct log_field *fields, size_t n)
{
	bool truncated = false;

	for (size_t i = 0; i < n; i++) {
		size_t before = line->n;

		log_put_field(line, &fields[i]);
		if (line->full) {
			line->n = before;
			line->full = false;
			truncated = true;
		}
	}
	line->cap = LOG_LINE_MAX;
	if (truncated)
		log_put_field(line, &LOG_BOOL("truncated", true));
}

/* --- writing ---------------------------------------------------------------------------------- */

/* Writes at once or not at all: the loop must not stand still because whoever reads the log
 * does. */
static ssize_t log_write_now(const struct log *log, const char *p, size_t n)
{
	struct pollfd ready = {.fd = log->fd, .events = POLLOUT};
	ssize_t done;

	if (!log->is_file && !log->is_socket &&
	    (poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0))
		return -1;
	do {
		done = log->is_socket ? send(log->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL)
				      : write(log->fd, p, n);
	} while (done < 0 && errno == EINTR);
	return done;
}

static bool log_write_line(struct log *log, const char *p, size_t n)
{
	ssize_t done;

	/* A disk that fills up in the middle of a line leaves a stump, which must not run into the
	 * next line. */
	if (log->mid_line && log_write_now(log, "\n", 1) != 1)
		return false;
	log->mid_line = false;
	done = log_write_now(log, p, n);
	log->mid_line = done > 0 && (size_t)done < n;
	return done == (ssize_t)n;
}

/* The lock is held. */
static bool log_emit(struct log *log, const struct timespec *now, enum log_level level,
		     enum log_kind kind, const struct log_field *fields, size_t n)
{
	struct log_rate *rate = &log->rate[kind];
	struct line line = {.format = log->format,
			    .journal = log->is_journal,
			    .cap = LOG_LINE_MAX - TAIL_ROOM};

	log_put_head(&line, now, level, kind, fields[0].text);
	log_put_fields(&line, fields + 1, n - 1);
	if (rate->suppressed > 0)
		log_put_field(&line, &LOG_U64("suppressed", rate->suppressed));
	if (log->lost > 0)
		log_put_field(&line, &LOG_U64("lost", log->lost));
	log_put_text(&line, line.format == LOG_FORMAT_JSON ? "}\n" : "\n");
	if (!log_write_line(log, line.bytes, line.n))
		return false;
	rate->suppressed = 0;
	log->lost = 0;
	return true;
}

/* Does the kind's limit let a line of this second pass? */
static bool log_admit(struct log_rate *rate, uint32_t per_second, time_t second,
		      enum log_level level)
{
	if (rate->second != second) {
		rate->second = second;
		rate->passed = 0;
	}
	if (per_second == 0 || rate->passed < per_second) {
		rate->passed++;
		return true;
	}
	if (rate->suppressed++ == 0 || level < rate->worst)
		rate->worst = level;
	return false;
}

/* --- what was said last ----------------------------------------------------------------------- */

/* Requests and connections that were turned away are no trouble of the host's. */
static bool log_is_refusal(enum log_level level, enum log_kind kind)
{
	if (kind == LOG_API && level <= LOG_WARN)
		return false; /* what the operator should change */
	return level <= LOG_NOTICE &&
	       (kind == LOG_API || kind == LOG_UPGRADE || kind == LOG_HTTP || kind == LOG_TLS ||
		kind == LOG_LIMIT || kind == LOG_CONN_PROTOCOL);
}

/* The lock is held. */
static void log_keep_recent(struct log *log, const struct timespec *now, enum log_level level,
			enum log_kind kind, const struct log_field *fields, size_t n)
{
	enum log_recent which =
		log_is_refusal(level, kind) ? LOG_RECENT_REFUSED : LOG_RECENT_TROUBLE;
	struct log_recent_lines *recent = &log->recent[which];
	char **at = &recent->lines[recent->n % LOG_RECENT_LINES];
	struct line line = {.format = LOG_FORMAT_JSON, .cap = LOG_RECENT_LINE_MAX - TAIL_ROOM};

	if (which == LOG_RECENT_TROUBLE && level > LOG_WARN)
		return;
	log_put_head(&line, now, level, kind, fields[0].text);
	if (line.full) /* even the message is too long */
		return;
	for (size_t i = 1; i < n; i++) {
		size_t before = line.n;

		log_put_field(&line, &fields[i]);
		if (line.full)
			line.n = before;
		line.full = false;
	}
	line.cap = LOG_RECENT_LINE_MAX - 1;
	log_put_text(&line, "}");
	free(*at);
	*at = strndup(line.bytes, line.n);
	recent->n++;
}

size_t log_recent_line(struct log *log, enum log_recent which, uint64_t n,
		       char line[LOG_RECENT_LINE_MAX])
{
	const struct log_recent_lines *recent = &log->recent[which];
	size_t len = 0;

	pthread_mutex_lock(&log->lock);
	const char *text = n < recent->n && recent->n - n <= LOG_RECENT_LINES
				   ? recent->lines[n % LOG_RECENT_LINES]
				   : NULL;
	if (text != NULL) {
		len = strlen(text);
		memcpy(line, text, len);
	}
	pthread_mutex_unlock(&log->lock);
	return len;
}

uint64_t log_recent_count(struct log *log, enum log_recent which)
{
	pthread_mutex_lock(&log->lock);
	uint64_t n = log->recent[which].n;
	pthread_mutex_unlock(&log->lock);
	return n;
}

void log_write(struct log *log, enum log_level level, enum log_kind kind,
	       const struct log_field *fields, size_t n)
{
	int saved = errno; /* who logs a failure often looks at errno afterwards */
	struct timespec now;

	pthread_mutex_lock(&log->lock);
	clock_gettime(CLOCK_REALTIME, &now);
	if (log_admit(&log->rate[kind], KIND[kind].per_second, now.tv_sec, level)) {
		if (level <= LOG_NOTICE)
			log_keep_recent(log, &now, level, kind, fields, n);
		if (!log_emit(log, &now, level, kind, fields, n)) {
			log->lost++;
			atomic_fetch_add_explicit(&log->lost_all, 1, memory_order_relaxed);
		}
	}
	pthread_mutex_unlock(&log->lock);
	errno = saved;
}

/* Whoever holds the lock will not write any more, or writes beside it. */
void log_last_line(struct log *log, enum log_level level, enum log_kind kind,
		   const struct log_field *fields, size_t n)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	log_emit(log, &now, level, kind, fields, n);
}

static void log_report(struct log *log, bool all)
{
	struct timespec now;

	pthread_mutex_lock(&log->lock);
	clock_gettime(CLOCK_REALTIME, &now);
	for (enum log_kind kind = 0; kind < LOG_KIND_COUNT; kind++) {
		const struct log_rate *rate = &log->rate[kind];

		if (rate->suppressed > 0 && (all || rate->second != now.tv_sec))
			log_emit(log, &now, rate->worst, kind,
				 &LOG_STR("message", "lines of this kind were suppressed"), 1);
	}
	if (log->lost > 0)
		log_emit(log, &now, LOG_WARN, LOG_HOST,
			 &LOG_STR("message", "log lines could not be written"), 1);
	pthread_mutex_unlock(&log->lock);
}

uint64_t log_lost(const struct log *log)
{
	return atomic_load_explicit((_Atomic uint64_t *)&log->lost_all, memory_order_relaxed);
}

void log_flush(struct log *log)
{
	log_report(log, false);
}

/* --- opening ---------------------------------------------------------------------------------- */

/* systemd says which file it reads for the journal, since a service may have put another there
 * (systemd.exec(5)). */
static bool log_is_journals(const struct stat *st)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t device = 0, inode = 0;

	return stream != NULL && sscanf(stream, "%ju:%ju", &device, &inode) == 2 &&
	       device == st->st_dev && inode == st->st_ino;
}

static void log_learn_fd(struct log *log)
{
	struct stat st;

	log->is_file = fstat(log->fd, &st) == 0 && S_ISREG(st.st_mode);
	log->is_socket = fstat(log->fd, &st) == 0 && S_ISSOCK(st.st_mode);
	log->is_journal = fstat(log->fd, &st) == 0 && log_is_journals(&st);
	log->mid_line = false;
}

static int log_open_path(const char *path)
{
	if (strcmp(path, "-") == 0)
		return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	/* O_NONBLOCK: a FIFO that nobody reads yet must fail, not hang. */
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
}

struct log *log_open(const char *path, enum log_format format, enum log_level level)
{
	struct log *log = calloc(1, sizeof(*log));

	if (log == NULL)
		return NULL;
	log->fd = STDERR_FILENO;
	if (path != NULL) {
		log->path = strdup(path);
		log->fd = log->path != NULL ? log_open_path(path) : -1;
		if (log->fd < 0) {
			int error = errno;

			free(log->path);
			free(log);
			errno = error;
			return NULL;
		}
	}
	log_learn_fd(log);
	pthread_mutex_init(&log->lock, NULL);
	log_configure(log, format, level);
	return log;
}

/* The descriptor is the log's from here on. */
static void log_use_fd(struct log *log, int fd)
{
	pthread_mutex_lock(&log->lock);
	if (log->fd != STDERR_FILENO)
		close(log->fd);
	log->fd = fd;
	log_learn_fd(log);
	pthread_mutex_unlock(&log->lock);
}

int log_reopen(struct log *log)
{
	int fd;

	if (log->path == NULL)
		return 0;
	fd = log_open_path(log->path);
	if (fd < 0)
		return errno;
	log_use_fd(log, fd);
	return 0;
}

int log_move(struct log *log, const char *path)
{
	char *copy = path != NULL ? strdup(path) : NULL;
	int fd = path == NULL	? STDERR_FILENO
		 : copy != NULL ? log_open_path(path)
				: -1,
	    error = errno;

	if (fd < 0) {
		free(copy);
		return error;
	}
	free(log->path);
	log->path = copy;
	log_use_fd(log, fd);
	return 0;
}

void log_configure(struct log *log, enum log_format format, enum log_level level)
{
	pthread_mutex_lock(&log->lock);
	log->format = format;
	pthread_mutex_unlock(&log->lock);
	atomic_store_explicit(&log->level, (int)level, memory_order_relaxed);
}

void log_close(struct log **log_p)
{
	struct log *log = *log_p;
	*log_p = NULL;
	if (log == NULL)
		return;
	log_report(log, true);
	if (log->path != NULL)
		close(log->fd);
	pthread_mutex_destroy(&log->lock);
	for (size_t i = 0; i < LOG_RECENT_COUNT * LOG_RECENT_LINES; i++)
		free(log->recent[i / LOG_RECENT_LINES].lines[i % LOG_RECENT_LINES]);
	free(log->path);
	free(log);
}

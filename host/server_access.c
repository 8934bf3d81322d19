/* access: --access-log and --trace-file, logs of their own. */
#include <errno.h>

#include "server.h"

#define ACCESS_SAY_MS 60000 /* between lines about those that could not be written */

static struct log *server_access_open(struct server *s, const char *path)
{
	bool entered = server_enter(s, path);
	struct log *log = log_open(path, (enum log_format)s->settings.log_format, LOG_DEBUG);
	server_leave(entered);
	return log;
}

static bool server_access_start(struct server *s, struct log **log, const char *option,
				const char *path)
{
	if (path != NULL && (*log = server_access_open(s, path)) == NULL)
		return server_refuse(s, option, path, strerror(errno));
	return true;
}

bool server_start_access(struct server *s)
{
	return server_access_start(s, &s->hub.access_log, "access-log", s->settings.access_log) &&
	       server_access_start(s, &s->sampler.log, "trace-file", s->settings.trace_file);
}

static void server_access_reopen(struct server *s, struct log *log, const char *option,
				 const char *path)
{
	int error = log != NULL ? log_reopen(log) : 0;
	if (error != 0)
		LOG(s->log, LOG_ERROR, LOG_HOST, "a log can not be opened again",
		    LOG_STR(option, path), LOG_ERRNO(error));
}

void server_reopen_access(struct server *s)
{
	server_access_reopen(s, s->hub.access_log, "access-log", s->settings.access_log);
	server_access_reopen(s, s->sampler.log, "trace-file", s->settings.trace_file);
}

/* A log that is not there yet, or not any more. */
static bool server_access_switch(struct server *s, struct log **log, const char *path)
{
	struct log *old = *log;
	*log = path != NULL ? log_open(path, (enum log_format)s->settings.log_format, LOG_DEBUG)
			    : NULL;
	log_close(&old);
	return path == NULL || *log != NULL;
}

static bool server_access_reload(struct server *s, struct log **log, const char *option,
				 const char *asked, const char *was)
{
	int error = 0;
	if (*log != NULL)
		log_configure(*log, (enum log_format)s->settings.log_format, LOG_DEBUG);
	if (*log == NULL || asked == NULL)
		error = server_access_switch(s, log, asked) ? 0 : errno;
	else if (was != NULL && strcmp(was, asked) == 0)
		server_access_reopen(s, *log, option, asked);
	else
		error = log_move(*log, asked);
	errno = error;
	return error == 0;
}

bool server_reload_access(struct server *s, const char *was)
{
	return server_access_reload(s, &s->hub.access_log, "access-log", s->settings.access_log,
				    was);
}

bool server_reload_trace(struct server *s, const char *was)
{
	return server_access_reload(s, &s->sampler.log, "trace-file", s->settings.trace_file, was);
}

static void server_access_flush(struct server *s, struct log *log, const char *path,
				const char *what, struct server_lost *said)
{
	uint64_t now = loop_now(s->loop), lost;
	if (log == NULL)
		return;
	log_flush(log);
	lost = log_lost(log);
	if (lost == said->lines || now < said->quiet)
		return;
	LOG(s->log, LOG_WARN, LOG_HOST, what, LOG_STR("file", path),
	    LOG_U64("lost", lost - said->lines));
	said->lines = lost;
	said->quiet = now + ACCESS_SAY_MS;
}

void server_flush_access(struct server *s)
{
	server_access_flush(s, s->hub.access_log, s->settings.access_log,
			    "lines of the access log could not be written", &s->access_lost);
	server_access_flush(s, s->sampler.log, s->settings.trace_file,
			    "lines of the trace file could not be written", &s->trace_lost);
}

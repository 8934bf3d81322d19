/* access: --access-log, a log of its own. */
#include <errno.h>

#include "server.h"

#define ACCESS_SAY_MS 60000 /* between lines about those that could not be written */

bool server_start_access(struct server *s)
{
	const struct settings *set = &s->settings;
	if (set->access_log == NULL)
		return true;
	bool entered = server_enter(s, set->access_log);
	s->hub.access_log = log_open(set->access_log, (enum log_format)set->log_format, LOG_DEBUG);
	server_leave(entered);
	return s->hub.access_log != NULL ||
	       server_refuse(s, "access-log", set->access_log, strerror(errno));
}

void server_reopen_access(struct server *s)
{
	int error = s->hub.access_log != NULL ? log_reopen(s->hub.access_log) : 0;
	if (error != 0)
		LOG(s->log, LOG_ERROR, LOG_HOST, "the access log can not be opened again",
		    LOG_STR("file", s->settings.access_log), LOG_ERRNO(error));
}

/* A log that is not there yet, or not any more. */
static bool access_switch(struct server *s)
{
	struct log *old = s->hub.access_log;
	const char *path = s->settings.access_log;
	s->hub.access_log =
		path != NULL ? log_open(path, (enum log_format)s->settings.log_format, LOG_DEBUG)
			     : NULL;
	log_close(&old);
	return path == NULL || s->hub.access_log != NULL;
}

bool server_reload_access(struct server *s, const char *was)
{
	const char *asked = s->settings.access_log;
	struct log *log = s->hub.access_log;
	int error = 0;
	if (log != NULL)
		log_configure(log, (enum log_format)s->settings.log_format, LOG_DEBUG);
	if (log == NULL || asked == NULL)
		error = access_switch(s) ? 0 : errno;
	else if (was != NULL && strcmp(was, asked) == 0)
		server_reopen_access(s);
	else
		error = log_move(log, asked);
	errno = error;
	return error == 0;
}

void server_flush_access(struct server *s)
{
	uint64_t now = loop_now(s->loop), lost;
	if (s->hub.access_log == NULL)
		return;
	log_flush(s->hub.access_log);
	lost = log_lost(s->hub.access_log);
	if (lost == s->access_lost || now < s->access_quiet)
		return;
	LOG(s->log, LOG_WARN, LOG_HOST, "lines of the access log could not be written",
	    LOG_STR("file", s->settings.access_log), LOG_U64("lost", lost - s->access_lost));
	s->access_lost = lost;
	s->access_quiet = now + ACCESS_SAY_MS;
}

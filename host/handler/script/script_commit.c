/* script_commit: what a script has said takes effect, or is said to be wrong. */
#include "handler/script/script_parts.h"
#include "hub/delivery.h"
#include "hub/session_trace.h"

void script_log(const struct script *x, enum log_level level, const char *what, struct span line,
		const char *expected)
{
	LOG(script_mount(x)->hub->log, level, LOG_HANDLER, what,
	    LOG_STR("mount", script_mount(x)->path), LOG_STR("conn", x->id), LOG_TRACE_ID(x->session), LOG_SPAN("line", line),
	    LOG_STR("expected", expected));
}

void script_commit(struct script *x, struct span line)
{
	struct mount *m = script_mount(x);
	if (!delivery_commit(m))
		script_log(x, LOG_WARN, commit_error_text(m->commit.error), line, NULL);
}

#include "hub/session.h"

#include <stdlib.h>
#include <string.h>

#include "auth/token.h"
#include "base/check.h"
#include "hub/resume.h"
#include "hub/session_conn.h"

struct session *session_new(struct mount *m, bool async)
{
	struct session *s = calloc(1, sizeof *s);
	struct session_more_async *more = s != NULL && async ? calloc(1, sizeof *more) : NULL;
	if (s == NULL || (async && more == NULL)) {
		free(s);
		return NULL;
	}
	s->mount = m;
	s->magic = CHECK_SESSION;
	s->more = more != NULL ? &more->more : NULL;
	return s;
}

void session_attach(struct session *s, struct conn *c)
{
	CHECK(s->conn == NULL && conn_user(c) == NULL);
	s->conn = c;
	if (s->shard != SESSION_RESUMES)
		s->shard = (uint8_t)conn_loop(c);
	conn_set_user(c, s);
}

void session_detach(struct session *s)
{
	struct conn *c = s->conn;
	CHECK(session_of(c) == s);
	CHECK(!c->released);
	s->conn = NULL;
	s->paused = false; /* the next one is not, yet */
	conn_set_user(c, s->mount);
	conn_release(c);
}

const char *session_remote_text(const struct session *s, char text[ADDRESS_TEXT])
{
	return s->conn != NULL ? conn_remote_text(s->conn, text)
			       : address_text(&s->more->resume->remote, text);
}

struct conn_load session_load(const struct session *s)
{
	struct conn_load load = {.waiting = 0};
	if (s->conn != NULL)
		load = conn_load(s->conn);
	if (s->shard == SESSION_RESUMES)
		load.waiting += (uint32_t)session_resume(s)->waiting.bytes;
	return load;
}

void session_free(struct session **s_p)
{
	struct session *s = *s_p;
	CHECK_IS(s, CHECK_SESSION);
	CHECK(s->conn == NULL);
	if (s->more != NULL) {
		free(s->more->reason);
		free(s->more->path);
		identity_free(s->more->identity);
		free(s->more->trace);
	}
	free(s->more);
	free(s->data);
	s->magic = CHECK_GONE;
	free(s);
	*s_p = NULL;
}

void session_drop(struct session *s, uint32_t messages)
{
	struct session_more *more = messages > 0 ? session_more(s) : NULL;
	if (more != NULL)
		more->dropped += messages;
}

void session_set_path(struct session *s, struct span path)
{
	struct session_more *more = session_more(s);
	if (more == NULL)
		return;
	if (path.n > SESSION_PATH_MAX)
		for (path.n = SESSION_PATH_MAX; ((unsigned char)path.p[path.n] & 0xC0) == 0x80;)
			path.n--; /* no half character */
	more->path = strndup(path.p, path.n);
}

const char *session_event_subject(const struct hub_event *e)
{
	if (e->kind == EVENT_UPGRADE) /* there is no session yet */
		return e->request->token != NULL ? e->request->token->subject : NULL;
	return e->session != NULL ? identity_subject(e->session) : NULL;
}

const char *session_event_user(const struct hub_event *e)
{
	if (e->kind == EVENT_UPGRADE)
		return session_event_subject(e);
	return e->session != NULL ? identity_user(e->session) : NULL;
}

const char *session_event_claims(const struct hub_event *e)
{
	if (e->kind == EVENT_UPGRADE)
		return e->request->token != NULL ? e->request->token->text : NULL;
	return e->session != NULL ? identity_claims(e->session) : NULL;
}

void session_id_text(struct session_id id, char text[SESSION_ID_TEXT])
{
	id_text(id.host, id.local, text);
}

bool session_id_parse(struct span text, struct session_id *id_r)
{
	return id_parse(text, &id_r->host, &id_r->local);
}

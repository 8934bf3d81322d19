/* session_conn: from a conn to its session, and back, for those who look into conns. */
#ifndef TOVA_HUB_SESSION_CONN_H
#define TOVA_HUB_SESSION_CONN_H

#include "hub/session.h"
#include "net/conn.h"

/* Whose conn is it? It has a session. */
static inline struct session *session_of(const struct conn *c)
{
	struct session *s = conn_user(c);
	CHECK_IS(s, CHECK_SESSION);
	return s;
}

/* What its socket belongs to; of a conn that was released, what it belonged to. */
static inline struct mount *session_mount_of(const struct conn *c)
{
	return c->released ? conn_user(c) : session_of(c)->mount;
}

/* What another loop knows it by, where it stands in arrays of that; else NULL. */
static inline struct conn *session_stub(const struct session *s)
{
	return s->shard != SESSION_RESUMES ? conn_stub(s->conn) : NULL;
}

#endif

#include "hub/session.h"

#include <stdlib.h>

struct session_more *session_more(struct session *s)
{
	if (s->more == NULL)
		s->more = calloc(1, sizeof *s->more);
	return s->more;
}

void session_id_text(struct session_id id, char text[SESSION_ID_TEXT])
{
	id_text(id.host, id.local, text);
}

bool session_id_parse(struct span text, struct session_id *id_r)
{
	return id_parse(text, &id_r->host, &id_r->local);
}

/* relay: publish and subscribe without code of one's own. The path /room/NAME names the room that is joined; each message goes to
 * the room's other members, and to its sender too when the query has echo=1. */
#include "tova_plugin.h"

struct subscriber {
	char room[256]; /* ends in NUL; room names have at most 255 bytes */
	int echo;
};

static const char *room_of(const tova_request *request)
{
	const char *below = request->path + (strcmp(request->mount, "/") == 0 ? 0 : strlen(request->mount));
	return strncmp(below, "/room/", 6) == 0 && below[6] != '\0' && strlen(below + 6) < sizeof((struct subscriber *)0)->room
		       ? below + 6
		       : NULL;
}

static int wants_echo(const char *query)
{
	for (const char *p = query; p != NULL; p = strchr(p, '&')) {
		p += *p == '&';
		if (strncmp(p, "echo=1", 6) == 0 && (p[6] == '\0' || p[6] == '&'))
			return 1;
	}
	return 0;
}

static int on_upgrade(tova_mount *m, const tova_request *request)
{
	struct subscriber *me = tova_data(m);
	const char *room = room_of(request);
	if (room == NULL)
		return tova_refuse(m, 404, "The path is /room/NAME, with a name of 1 to 255 bytes.\n");
	strcpy(me->room, room);
	me->echo = wants_echo(request->query);
	return 0;
}

static int on_open(tova_mount *m, tova_ws ws, const tova_request *request)
{
	struct subscriber *me = tova_data(m);
	(void)request;
	return tova_join(m, ws, me->room);
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	struct subscriber *me = tova_data(m);
	return tova_broadcast_payload_to(m, me->room, message, me->echo ? TOVA_NONE : ws);
}

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("relay", "1.0"), .data_size = sizeof(struct subscriber), .on_upgrade = on_upgrade, .on_open = on_open,
	.on_message = on_message,
};

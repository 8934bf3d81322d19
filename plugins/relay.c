/* relay: publish and subscribe without code of one's own. The path /room/NAME names the room that
 * is joined; each message goes to the room's other members, and to its sender too when the query
 * has echo=1. With key=KEY in the query its messages have that conflation key, for mounts with
 * --slow-policy conflate. */
#include "tova_plugin.h"

struct subscriber {
	char room[256]; /* ends in NUL; room names have at most 255 bytes */
	char key[64];	/* likewise; empty: none */
	int echo;
};

static const char *room_of(const tova_request *request)
{
	const char *below =
		request->path + (strcmp(request->mount, "/") == 0 ? 0 : strlen(request->mount));
	return strncmp(below, "/room/", 6) == 0 && below[6] != '\0' &&
			       strlen(below + 6) < sizeof((struct subscriber *)0)->room
		       ? below + 6
		       : NULL;
}

/* The value of this name in the query, up to the next '&'; NULL: it is not there. */
static const char *value_of(const char *query, const char *name, size_t *len_r)
{
	size_t n = strlen(name);
	for (const char *p = query; p != NULL; p = strchr(p, '&')) {
		p += *p == '&';
		if (strncmp(p, name, n) != 0 || p[n] != '=')
			continue;
		*len_r = strcspn(p + n + 1, "&");
		return p + n + 1;
	}
	return NULL;
}

static int on_upgrade(tova_mount *m, const tova_request *request)
{
	struct subscriber *me = tova_data(m);
	const char *room = room_of(request), *key, *echo;
	size_t len;
	if (room == NULL)
		return tova_refuse(m, 404,
				   "The path is /room/NAME, with a name of 1 to 255 bytes.\n");
	strcpy(me->room, room);
	key = value_of(request->query, "key", &len);
	if (key != NULL && len >= sizeof me->key)
		return tova_refuse(m, 400, "A key has at most 63 bytes.\n");
	/* and a NUL behind it, as all was zero */
	if (key != NULL)
		memcpy(me->key, key, len);
	echo = value_of(request->query, "echo", &len);
	me->echo = echo != NULL && len == 1 && *echo == '1';
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
	tova_payload keyed = *message;
	keyed.size = sizeof keyed;
	keyed.key = me->key;
	keyed.key_len = strlen(me->key);
	return tova_broadcast_payload_to(m, me->room, &keyed, me->echo ? TOVA_NONE : ws);
}

static const tova_setting_spec no_settings[] = {{NULL, NULL, NULL}};

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("relay", "1.0"),
	.settings = no_settings,
	.data_size = sizeof(struct subscriber),
	.on_upgrade = on_upgrade,
	.on_open = on_open,
	.on_message = on_message,
};

/* rooms: joins and leaves rooms as its clients say, and answers each message with itself once that
 * is done.
 *
 *	join ROOM, leave ROOM
 *	joins FIRST COUNT		the rooms with these numbers, whose names
 *	leaves FIRST COUNT		are of one length
 *	to ROOM TEXT			the message goes to that room, and not back
 */
#include "tova_plugin.h"

#include <stdlib.h>

/* What stands behind the verb; NULL: it is another one. */
static const char *behind(const char *text, const char *verb)
{
	size_t n = strlen(verb);
	return strncmp(text, verb, n) == 0 && text[n] == ' ' ? text + n + 1 : NULL;
}

static void each(tova_mount *m, tova_ws ws, const char *range,
		 int (*act)(tova_mount *, tova_ws, const char *))
{
	char *end, room[32];
	unsigned long first = strtoul(range, &end, 10), count = strtoul(end, NULL, 10);
	for (unsigned long i = 0; i < count; i++) {
		snprintf(room, sizeof room, "r%08lu", first + i);
		act(m, ws, room);
	}
}

static int tell(tova_mount *m, const char *to, const tova_payload *message)
{
	char room[256];
	size_t n = strcspn(to, " ");
	if (n >= sizeof room)
		return tova_fail(m, "the room's name is too long");
	memcpy(room, to, n);
	room[n] = '\0';
	return tova_broadcast_payload_to(m, room, message, TOVA_NONE);
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	const char *text = message->data, *rest;
	if ((rest = behind(text, "to")) != NULL)
		return tell(m, rest, message);
	if ((rest = behind(text, "joins")) != NULL)
		each(m, ws, rest, tova_join);
	else if ((rest = behind(text, "leaves")) != NULL)
		each(m, ws, rest, tova_leave);
	else if ((rest = behind(text, "join")) != NULL)
		tova_join(m, ws, rest);
	else if ((rest = behind(text, "leave")) != NULL)
		tova_leave(m, ws, rest);
	return tova_send_payload(m, ws, message);
}

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("rooms", "1.0"),
	.on_message = on_message,
};

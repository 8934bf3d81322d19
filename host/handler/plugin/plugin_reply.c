/* plugin_reply: answers queries from what is committed at the moment the reply is delivered. */
#include <stdlib.h>

#include "handler/plugin/plugin_instance.h"
#include "hub/room_users.h"
#include "hub/watching.h"

static int plugin_reply_hand_over(struct plugin_instance *i, tova_reply *reply, void *list)
{
	int result = i->lib.plugin.on_reply(&i->api, reply);
	free(list);
	return result;
}

static int plugin_reply_no_memory(struct plugin_instance *i)
{
	static const char text[] = "no memory for the answer to a query";
	return plugin_host.fail(&i->api, text, sizeof text - 1);
}

static int plugin_reply_members(struct plugin_instance *i, const struct event_query *q,
				tova_reply *reply)
{
	const struct mount *m = i->plugin->base.mount;
	const struct room *r = room_find(&m->rooms, q->room);
	reply->count = r != NULL ? r->n : 0;
	if (q->kind == EVENT_QUERY_COUNT || r == NULL)
		return plugin_reply_hand_over(i, reply, NULL);
	/* in one piece: who they are, and behind that their names */
	tova_member *list = malloc(r->n * (sizeof *list + sizeof(tova_ws)));
	if (list == NULL)
		return plugin_reply_no_memory(i);
	tova_ws *connections = (tova_ws *)(list + r->n);
	for (uint32_t k = 0; k < r->n; k++) {
		const struct session *s = room_session(r, k);
		connections[k] = plugin_ws(m->hub, s);
		list[k] = (tova_member){.ws = connections[k],
					.user = identity_user(s),
					.info = identity_info(s).p};
	}
	reply->connections = connections;
	reply->members = list;
	return plugin_reply_hand_over(i, reply, list);
}

static int plugin_reply_users(struct plugin_instance *i, const struct event_query *q,
			      tova_reply *reply)
{
	const struct room_users *users = watching_users(i->plugin->base.mount, q->room);
	tova_room_user *list = users != NULL ? malloc((users->n + 1) * sizeof *list) : NULL;
	if (list == NULL)
		return plugin_reply_no_memory(i);
	for (uint32_t k = 0; k < users->n; k++)
		list[k] = (tova_room_user){users->v[k]->name, users->v[k]->connections};
	reply->count = users->n;
	reply->users = list;
	return plugin_reply_hand_over(i, reply, list);
}

static int plugin_reply_rooms(struct plugin_instance *i, const struct event_query *q,
			      tova_reply *reply)
{
	const struct mount *m = i->plugin->base.mount;
	const struct session *s = hub_find_session(m->hub, m, q->session);
	if (s == NULL || room_count(&s->rooms) == 0)
		return plugin_reply_hand_over(i, reply, NULL);
	const char **list = malloc(room_count(&s->rooms) * sizeof *list);
	if (list == NULL)
		return plugin_reply_no_memory(i);
	for (uint32_t k = 0; k < room_count(&s->rooms); k++)
		list[k] = room_name(&s->rooms, k);
	reply->count = room_count(&s->rooms);
	reply->rooms = list;
	return plugin_reply_hand_over(i, reply, list);
}

static int plugin_reply_connections(struct plugin_instance *i, tova_reply *reply)
{
	const struct mount *m = i->plugin->base.mount;
	tova_ws *list = malloc((m->n_sessions + 1) * sizeof *list);
	if (list == NULL)
		return plugin_reply_no_memory(i);
	for (uint32_t k = 0; k < m->n_sessions; k++)
		list[k] = plugin_ws(m->hub, mount_session(m, k));
	reply->count = m->n_sessions;
	reply->connections = list;
	return plugin_reply_hand_over(i, reply, list);
}

static int plugin_reply_stats(struct plugin_instance *i, tova_reply *reply)
{
	const struct hub *hub = i->plugin->base.mount->hub;
	const struct stats sum = hub_stats(hub), *s = &sum;
	tova_stats stats = {
		.size = sizeof stats,
		.uptime_ms = loop_now(hub->loop) - hub->started_ms,
		.connections = s->connections,
		.rooms = s->rooms,
		.messages_in = s->messages_in,
		.messages_out = s->messages_out,
		.bytes_in = s->bytes_in,
		.bytes_out = s->bytes_out,
		.slow = s->slow,
		.dropped = s->dropped,
		.rate_dropped = s->rate_dropped,
		.refused = s->refused,
		.limited = s->limited,
	};
	reply->stats = &stats;
	return plugin_reply_hand_over(i, reply, NULL);
}

static int plugin_reply_room_state(struct plugin_instance *i, const struct event_query *q,
				   tova_reply *reply)
{
	char name[RULES_NAME_MAX + 1];
	tova_room_state state;
	memcpy(name, q->room.p, q->room.n);
	name[q->room.n] = '\0';
	plugin_room_state(name, room_state_find(i->plugin->base.mount, q->room), &state);
	reply->room_state = &state;
	return plugin_reply_hand_over(i, reply, NULL);
}

int plugin_reply(struct plugin_instance *i, const struct event_query *q)
{
	tova_reply reply = {.size = sizeof reply,
			    .kind = q->kind,
			    .id = q->id,
			    .asker = {q->asker[0], q->asker[1]}};
	switch (q->kind) {
	case EVENT_QUERY_ROOMS:
		return plugin_reply_rooms(i, q, &reply);
	case EVENT_QUERY_CONNECTIONS:
		return plugin_reply_connections(i, &reply);
	case EVENT_QUERY_STATS:
		return plugin_reply_stats(i, &reply);
	case EVENT_QUERY_HISTORY:
		return plugin_history_reply(i, q, &reply);
	case EVENT_QUERY_ROOM_STATE:
		return plugin_reply_room_state(i, q, &reply);
	case EVENT_QUERY_USERS:
		return plugin_reply_users(i, q, &reply);
	default:
		return plugin_reply_members(i, q, &reply);
	}
}

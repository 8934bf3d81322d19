/* libwebsockets: echo on every path, relay on /room/NAME. It writes from the receive callback,
 * which saves a turn of its event loop per message; what a socket does not take, the library queues
 * itself. */
#include <libwebsockets.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_NAME = 64, URL_PATH = 256 };

struct room {
	char name[ROOM_NAME];
	struct session **members;
	size_t count, room_for;
	struct room *next;
};

/* The library keeps one per connection, zeroed. */
struct session {
	struct lws *wsi;
	struct room *room;
	size_t place;
	unsigned char *whole; /* LWS_PRE bytes, then what came of a message so far */
	size_t len;
};

struct server {
	struct room *rooms;
	unsigned char *frame; /* LWS_PRE bytes, then the message that is sent */
	size_t frame_room;
};

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static struct room *room_named(struct server *s, const char *name)
{
	struct room *r;
	for (r = s->rooms; r; r = r->next)
		if (strncmp(r->name, name, ROOM_NAME - 1) == 0)
			return r;
	r = must(calloc(1, sizeof *r));
	memcpy(r->name, name, strnlen(name, ROOM_NAME - 1));
	r->next = s->rooms;
	return s->rooms = r;
}

static void enter(struct server *s, struct session *me, struct lws *wsi)
{
	char path[URL_PATH];
	me->wsi = wsi;
	if (lws_hdr_copy(wsi, path, sizeof path, WSI_TOKEN_GET_URI) <= 0 ||
	    strncmp(path, "/room/", 6) != 0)
		return;
	struct room *r = me->room = room_named(s, path + 6);
	if (r->count == r->room_for) {
		r->room_for = r->room_for ? 2 * r->room_for : 16;
		r->members = must(realloc(r->members, r->room_for * sizeof(struct session *)));
	}
	me->place = r->count;
	r->members[r->count++] = me;
}

static void leave(struct session *me)
{
	free(me->whole);
	me->whole = NULL;
	if (!me->room)
		return;
	struct session *last = me->room->members[--me->room->count];
	me->room->members[me->place] = last;
	last->place = me->place;
	me->room = NULL;
}

/* The library writes the frame's head in front of the payload, so each send needs the bytes behind
 * LWS_PRE. */
static int answer(struct session *me, unsigned char *payload, size_t len, int binary)
{
	enum lws_write_protocol how = binary ? LWS_WRITE_BINARY : LWS_WRITE_TEXT;
	if (!me->room)
		return lws_write(me->wsi, payload, len, how) < 0;
	for (size_t i = 0; i < me->room->count; i++)
		if (me->room->members[i] != me)
			lws_write(me->room->members[i]->wsi, payload, len, how);
	return 0;
}

static int receive(struct server *s, struct session *me, const void *in, size_t len)
{
	int binary = lws_frame_is_binary(me->wsi);
	if (lws_is_first_fragment(me->wsi) && lws_is_final_fragment(me->wsi)) {
		if (len + LWS_PRE > s->frame_room) {
			s->frame_room = len + LWS_PRE;
			s->frame = must(realloc(s->frame, s->frame_room));
		}
		memcpy(s->frame + LWS_PRE, in, len);
		return answer(me, s->frame + LWS_PRE, len, binary);
	}
	me->whole = must(realloc(me->whole, LWS_PRE + me->len + len));
	memcpy(me->whole + LWS_PRE + me->len, in, len);
	me->len += len;
	if (!lws_is_final_fragment(me->wsi))
		return 0;
	int r = answer(me, me->whole + LWS_PRE, me->len, binary);
	free(me->whole);
	me->whole = NULL;
	me->len = 0;
	return r;
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
		    size_t len)
{
	struct server *s = lws_context_user(lws_get_context(wsi));
	switch (reason) {
	case LWS_CALLBACK_ESTABLISHED:
		enter(s, user, wsi);
		return 0;
	case LWS_CALLBACK_RECEIVE:
		return receive(s, user, in, len);
	case LWS_CALLBACK_CLOSED:
		leave(user);
		return 0;
	default:
		return 0;
	}
}

int main(int argc, char **argv)
{
	struct server server = {.rooms = NULL};
	static const struct lws_protocols protocols[] = {
		{.name = "bench",
		 .callback = callback,
		 .per_session_data_size = sizeof(struct session),
		 .rx_buffer_size = 65536},
		{.name = NULL},
	};
	struct lws_context_creation_info info = {.port = argc > 1 ? atoi(argv[1]) : 0,
						 .iface = "127.0.0.1",
						 .protocols = protocols,
						 .gid = (gid_t)-1,
						 .uid = (uid_t)-1,
						 .user = &server,
						 .pt_serv_buf_size = 65536,
						 .count_threads = 1};
	lws_set_log_level(LLL_ERR, NULL);
	struct lws_context *context = lws_create_context(&info);
	if (!context)
		return 1;
	printf("listening %d\n", info.port);
	fflush(stdout);
	while (lws_service(context, 0) >= 0)
		continue;
	lws_context_destroy(context);
	return 0;
}

#include <tova_plugin.h>

struct visitor {
	unsigned said;
};

static int on_open(tova_mount *m, tova_ws ws, const tova_request *request)
{
	(void)request;
	tova_join(m, ws, "lobby");
	return tova_after_ws(m, ws, "hint", 1, 30000);
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	struct visitor *me = tova_data(m);

	me->said++;
	tova_cancel_timer(m, ws, "hint");
	tova_broadcastf_to(m, "lobby", ws, "%u: %s", me->said, (const char *)message->data);
	return message->len > 5 ? tova_fail(m, "too long") : 0;
}

static int on_timer(tova_mount *m, const tova_timer *timer)
{
	return tova_send(m, timer->ws, "Say something!");
}

static int on_away(tova_mount *m, tova_ws ws, uint16_t code)
{
	return tova_broadcastf_to(m, "lobby", ws, "away (%u)", code);
}

static int on_back(tova_mount *m, tova_ws ws, const tova_request *request)
{
	return tova_broadcastf_to(m, "lobby", ws, "back from %s", request->remote_addr);
}

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("guest", "1.0"),
	.data_size = sizeof(struct visitor),
	.on_open = on_open,
	.on_message = on_message,
	.on_timer = on_timer,
	.on_away = on_away,
	.on_back = on_back,
};

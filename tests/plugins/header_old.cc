// header_old: the interface from C++11, where the struct's fields are listed in order.
#include "tova_plugin.h"

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	if (tova_subject(m) != nullptr && message->len == 0)
		return tova_sendf(m, ws, "%s", tova_quote(m, tova_subject(m)));
	return tova_ws_eq(ws, TOVA_NONE) ? tova_fail(m, "%s", "nobody")
					 : tova_send_payload(m, ws, message);
}

TOVA_PLUGIN = {
	TOVA_ABI_MAJOR,
	TOVA_ABI_MINOR,
	sizeof(tova_plugin),
	"header_old",
	"1.0",
	0,
	0,
	nullptr,
	nullptr,
	nullptr,
	nullptr,
	nullptr,
	on_message,
	nullptr,
	nullptr,
	nullptr,
	nullptr,
	nullptr,
	nullptr,
};

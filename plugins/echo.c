/* echo: sends every message back to whom it came from, text as text and binary as binary. */
#include "tova_plugin.h"

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	return tova_send_payload(m, ws, message);
}

static const tova_setting_spec no_settings[] = {{NULL, NULL, NULL}};

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("echo", "1.0"),
	.settings = no_settings,
	.on_message = on_message,
};

/* long: as built against a newer header with more fields at the end, and content with this host. */
#include "tova_plugin.h"

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	return tova_send_payload(m, ws, message);
}

struct longer {
	tova_plugin known;
	void (*unknown[8])(void);
};

extern const struct longer tova_plugin_entry;
__attribute__((visibility("default"))) const struct longer tova_plugin_entry = {
	.known =
		{
			.abi_major = TOVA_ABI_MAJOR,
			.abi_minor = TOVA_ABI_MINOR,
			.size = sizeof(struct longer),
			.name = "long",
			.version = "1.0",
			.on_message = on_message,
		},
};

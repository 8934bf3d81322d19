/* bad_undefined: needs a function that nobody has. It must be found out at loading, not in the
 * middle of traffic. */
#include "tova_plugin.h"

int tova_test_nobody_defines_this(tova_mount *m);

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	(void)ws;
	(void)message;
	return tova_test_nobody_defines_this(m);
}

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("bad_undefined", "1.0"),
	.on_message = on_message,
};

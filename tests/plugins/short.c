/* short: as built against an older header whose struct ended behind on_message. What lies behind it
 * is no field: a host that looked there would call nonsense. */
#include "tova_plugin.h"

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	return tova_send_payload(m, ws, message);
}

static void nonsense(void)
{
	__builtin_trap();
}

TOVA_PLUGIN = {
	.abi_major = TOVA_ABI_MAJOR,
	.abi_minor = 0,
	.size = offsetof(tova_plugin, on_close),
	.name = "short",
	.version = "1.0",
	.on_message = on_message,
	.on_close = (int (*)(tova_mount *, tova_ws, const tova_close *))(void (*)(void))nonsense,
	.on_error = (int (*)(tova_mount *, tova_ws, const tova_error *))(void (*)(void))nonsense,
};

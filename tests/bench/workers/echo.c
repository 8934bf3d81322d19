/* echo: a worker that sends every message back. */
#include "tova_worker.h"

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	return tova_send_payload(m, ws, message);
}

int main(void)
{
	static const tova_plugin worker = {TOVA_PLUGIN_HEAD("echo", "1.0"),
					   .on_message = on_message};
	return tova_worker_run(&worker, NULL);
}

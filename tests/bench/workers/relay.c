/* relay: a worker that sends every message to all others. */
#include "tova_worker.h"

static int on_open(tova_mount *m, tova_ws ws, const tova_request *request)
{
	(void)request;
	return tova_join(m, ws, "bench");
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	return tova_broadcast_payload_to(m, "bench", message, ws);
}

int main(void)
{
	static const tova_plugin worker = {TOVA_PLUGIN_HEAD("relay", "1.0"), .on_open = on_open,
					   .on_message = on_message};
	return tova_worker_run(&worker, NULL);
}

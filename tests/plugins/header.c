/* header: the interface as the only include of a strict C99 translation unit; compiled, never
 * loaded. */
#include "tova_plugin.h"

int tova_test_header(tova_mount *m, tova_ws ws, const tova_request *r);

int tova_test_header(tova_mount *m, tova_ws ws, const tova_request *r)
{
	if (tova_subject(m) == NULL || tova_subject(r) == NULL)
		return tova_sendf(m, ws, "%s%d", tova_quote(m, "x"), 1) +
		       tova_broadcastf_to(m, "r", ws, "%d", 1) + tova_broadcastf(m, ws, "x");
	return tova_header(r, "Host") != NULL && tova_ws_eq(ws, TOVA_NONE) ? tova_fail(m, "%d", 1)
									   : tova_send(m, ws, "x");
}

/* header: the interface as the only include of a strict C99 translation unit; compiled, never
 * loaded. */
#include "tova_plugin.h"

int tova_test_header(tova_mount *m, tova_ws ws, const tova_request *r);

int tova_test_header(tova_mount *m, tova_ws ws, const tova_request *r)
{
	return tova_header(r, "Host") != NULL && tova_ws_eq(ws, TOVA_NONE) ? tova_fail(m, "%d", 1)
									   : tova_send(m, ws, "x");
}

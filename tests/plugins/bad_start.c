/* bad_start: its start fails. */
#include "tova_plugin.h"

static int start(tova_mount *m)
{
	return tova_fail(m, "the database is %s", "closed on sundays");
}

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("bad_start", "1.0"),
	.start = start,
};

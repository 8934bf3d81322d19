/* bad_start_silent: its start fails and says nothing. */
#include "tova_plugin.h"

static int start(tova_mount *m)
{
	(void)m;
	return 42;
}

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("bad_start_silent", "1.0"),
	.start = start,
};

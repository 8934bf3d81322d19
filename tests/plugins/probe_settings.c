/* probe_settings: the probe with a list of the settings it knows, so that the host can refuse
 * others. */
#define PROBE_SETTINGS probe_settings
#include "tova_plugin.h"
static const tova_setting_spec probe_settings[] = {
	{"greeting", "hello", "what to say"},
	{"optional", NULL, "has no default"},
	{NULL, NULL, NULL},
};
#include "probe.c"

/* silent: handles nothing at all, which is allowed. */
#include "tova_plugin.h"

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("silent", "1.0"),
};

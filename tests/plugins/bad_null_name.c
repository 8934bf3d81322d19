/* bad_null_name: has no name. */
#include "tova_plugin.h"

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD(NULL, "1.0"),
};

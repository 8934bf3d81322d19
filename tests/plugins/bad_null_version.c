/* bad_null_version: has no version. */
#include "tova_plugin.h"

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("bad_null_version", NULL),
};

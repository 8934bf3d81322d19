/* bad_data_size: wants more connection data than there is. */
#include "tova_plugin.h"

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("bad_data_size", "1.0"),
	.data_size = 4097,
};

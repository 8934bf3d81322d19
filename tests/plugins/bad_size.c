/* bad_size: its struct is too small to hold the name. */
#include "tova_plugin.h"

TOVA_PLUGIN = {
	.abi_major = TOVA_ABI_MAJOR,
	.abi_minor = TOVA_ABI_MINOR,
	.size = offsetof(tova_plugin, name),
	.name = "bad_size",
	.version = "1.0",
};

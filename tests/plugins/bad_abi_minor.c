/* bad_abi_minor: needs a newer minor version of the interface. */
#include "tova_plugin.h"

TOVA_PLUGIN = {
	.abi_major = TOVA_ABI_MAJOR,
	.abi_minor = TOVA_ABI_MINOR + 7,
	.size = sizeof(tova_plugin),
	.name = "bad_abi_minor",
	.version = "1.0",
};

/* bad_abi_major: made for another major version of the interface. */
#include "tova_plugin.h"

TOVA_PLUGIN = {
	.abi_major = TOVA_ABI_MAJOR + 1,
	.abi_minor = 0,
	.size = sizeof(tova_plugin),
	.name = "bad_abi_major",
	.version = "1.0",
};

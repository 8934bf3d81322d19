// cpp_unique: a symbol of which a process has one (an inline function's static, STB_GNU_UNIQUE)
// forbids the loader to unmap the library. A reload must not find that old copy again. VERSION
// comes from the rules.
#include <string>

#include "tova_plugin.h"

inline std::string &last_message()
{
	static std::string text;
	return text;
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	last_message().assign(static_cast<const char *>(message->data), message->len);
	return tova_send(m, ws, VERSION);
}

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("cpp_unique", VERSION),
	.on_message = on_message,
};

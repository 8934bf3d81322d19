// cpp_plugin: the interface from C++20, with designated initializers, exceptions kept inside, and
// objects behind m->user.
#include <algorithm>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "tova_plugin.h"

namespace
{

struct counter {
	unsigned long messages = 0;
};

// No exception may leave a callback: a C program has called it.
template <typename F> int guarded(tova_mount *m, F body) noexcept
{
	try {
		return body();
	} catch (const std::exception &e) {
		return tova_fail(m, "%s", e.what());
	}
}

int start(tova_mount *m)
{
	return guarded(m, [&] {
		m->user = std::make_unique<counter>().release();
		return 0;
	});
}

void stop(tova_mount *m)
{
	delete static_cast<counter *>(m->user);
}

int on_open(tova_mount *m, tova_ws ws, const tova_request *request)
{
	const char *agent = tova_header(request, "user-agent");
	return tova_send(m, ws, agent != nullptr ? agent : "no agent");
}

int on_message(tova_mount *m, tova_ws, const tova_payload *message)
{
	return guarded(m, [&] {
		std::string text(static_cast<const char *>(message->data), message->len);
		if (text == "throw")
			throw std::runtime_error("thrown in C++");
		std::reverse(text.begin(), text.end());
		text += " " + std::to_string(++static_cast<counter *>(m->user)->messages);
		return tova_broadcast(m, text.c_str(), TOVA_NONE);
	});
}

int on_error(tova_mount *m, tova_ws ws, const tova_error *error)
{
	return tova_send(m, ws, ("error: " + std::string(error->text, error->text_len)).c_str());
}

} // namespace

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("cpp_plugin", "1.0"),
	.start = start,
	.stop = stop,
	.on_open = on_open,
	.on_message = on_message,
	.on_error = on_error,
};

#include "version.h"

#include <jansson.h>
#include <libconfig.h>
#include <openssl/crypto.h>
#include <zlib.h>

#include "handler/plugin/plugin.h"
#include "net/loop.h"

/* A script asks for one of these words before it uses what the word stands for. */
#define VERSION_FEATURES \
	"plugins isolate workers attach scripts static tls jwt deflate proxy threads io-uring api " \
	"systemd"

void version_print_features(FILE *out)
{
	fputs("features: " VERSION_FEATURES "\n", out);
	fprintf(out, "plugin interface: %s; worker protocol: 1\n", plugin_interface());
	fprintf(out, "libevent %s, OpenSSL %s, zlib %s, jansson %s, libconfig %d.%d\n",
		loop_library_version(), OpenSSL_version(OPENSSL_VERSION_STRING), zlibVersion(),
		jansson_version_str(), LIBCONFIG_VER_MAJOR, LIBCONFIG_VER_MINOR);
}

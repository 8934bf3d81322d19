#include "base/environment.h"

#include <string.h>

#define NAME_FIRST "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
#define NAME_CHARS NAME_FIRST "0123456789"

static const char *const given[] = {"PATH", "HOME",	"USER", "LOGNAME", "SHELL",
				    "LANG", "LANGUAGE", "LC_*", "TZ",	   "TMPDIR"};

/* What a service manager tells the host alone, and what the host says to its children. */
static const char *const own[] = {"TOVA_*", "NOTIFY_SOCKET", "LISTEN_*", "WATCHDOG_*"};

/* Meta-variables of a request (RFC 3875 4.1, and what web servers add): a child shall believe what
 * it finds there. HTTP_PROXY, which many programs take for a setting, is among them (httpoxy). */
static const char *const request[] = {
	"AUTH_TYPE",   "CONTENT_LENGTH",  "CONTENT_TYPE",    "GATEWAY_INTERFACE", "HTTPS",
	"HTTP_*",      "PATH_INFO",	  "PATH_TRANSLATED", "QUERY_STRING",	  "REMOTE_*",
	"REQUEST_*",   "SCRIPT_FILENAME", "SCRIPT_NAME",     "SERVER_ADDR",	  "SERVER_NAME",
	"SERVER_PORT", "SERVER_PROTOCOL", "SERVER_SOFTWARE", "DOCUMENT_ROOT",	  "SSL_*",
	"TRACEPARENT", "TRACESTATE",
};

/* Where OpenSSL looks for certificates; nothing of a request has these names. */
static const char *const settings[] = {"SSL_CERT_FILE", "SSL_CERT_DIR"};

#define COUNT(list) (sizeof(list) / sizeof *(list))

static bool environment_matches(const char *item, const char *name, size_t n)
{
	size_t len = strlen(item);
	if (len > 0 && item[len - 1] == '*')
		return n >= len - 1 && memcmp(item, name, len - 1) == 0;
	return n == len && memcmp(item, name, n) == 0;
}

static bool environment_any_matches(const char *const *items, size_t count, const char *name,
				    size_t n)
{
	for (size_t i = 0; i < count; i++)
		if (environment_matches(items[i], name, n))
			return true;
	return false;
}

static bool environment_is_of_request(const char *name, size_t n)
{
	return environment_any_matches(request, COUNT(request), name, n) &&
	       !environment_any_matches(settings, COUNT(settings), name, n);
}

const char *environment_item_error(const char *item)
{
	size_t len = strlen(item), n = len - (len > 0 && item[len - 1] == '*');
	bool all = n < len;
	if (len == 0 || strspn(item, NAME_CHARS) < n ||
	    (n > 0 && strchr(NAME_FIRST, item[0]) == NULL))
		return "is no name of a variable; expected letters, digits and _, no digit first, "
		       "and * behind them or not";
	if (!all && environment_is_of_request(item, n))
		return "is a fact of a request, which scripts get from the host alone; expected "
		       "another name";
	if (!all && environment_any_matches(own, COUNT(own), item, n))
		return "is between the host and its service manager, or its children; expected "
		       "another name";
	return NULL;
}

bool environment_passes(const char *variable, char *const *items, size_t n)
{
	size_t len = strcspn(variable, "=");
	if (variable[len] != '=' || environment_is_of_request(variable, len) ||
	    environment_any_matches(own, COUNT(own), variable, len))
		return false;
	return environment_any_matches(given, COUNT(given), variable, len) ||
	       environment_any_matches((const char *const *)items, n, variable, len);
}

#include "ws/upgrade.h"

/* The older form of SHA-1 needs no memory and can not fail, which the newer one does when there is
 * none. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>

#include "common/header.h"
#include "common/rules.h"
#include "ws/authority.h"
#include "ws/extension.h"

#define KEY_LEN 24 /* base64 of 16 bytes */
/* more are refused, so that looking for doubles costs little whatever is sent */
#define SUBPROTOCOLS_MAX 64

/* --- handshake -------------------------------------------------------------------------------- */

/* Base64 of exactly 16 bytes (RFC 6455 4.2.1): 22 letters hold them, two pads fill up. */
static bool upgrade_key_ok(struct span key)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	if (key.n != KEY_LEN || memcmp(key.p + KEY_LEN - 2, "==", 2) != 0)
		return false;
	for (size_t i = 0; i < KEY_LEN - 2; i++)
		if (key.p[i] == '\0' || strchr(letters, key.p[i]) == NULL)
			return false;
	return true;
}

static const char *upgrade_subprotocols_error(const struct request *r)
{
	struct request_walk w = {.r = r, .name = SPAN("Sec-WebSocket-Protocol")};
	struct span seen[SUBPROTOCOLS_MAX], item;
	unsigned n = 0;

	for (; request_walk_next(&w, &item); n++) {
		if (!header_is_token(item))
			return "Sec-WebSocket-Protocol with something else than tokens";
		if (n == SUBPROTOCOLS_MAX)
			return "too many subprotocols";
		for (unsigned i = 0; i < n; i++)
			if (span_eq(item, seen[i]))
				return "Sec-WebSocket-Protocol names one twice";
		seen[n] = item;
	}
	return n == 0 && request_header_count(r, "Sec-WebSocket-Protocol") > 0
		       ? "empty Sec-WebSocket-Protocol"
		       : NULL;
}

static const char *upgrade_extensions_error(const struct request *r)
{
	struct request_walk w = extension_walk(r);
	struct extension_param param;
	struct span name, params;

	while (extension_next(&w, &name, &params)) {
		while (extension_param_next(&params, &param))
			;
		if (!header_is_token(name) || params.n > 0)
			return "Sec-WebSocket-Extensions is malformed";
	}
	return NULL;
}

static int upgrade_version_check(const struct request *r, const char **why_r)
{
	const struct span version = request_header(r, "Sec-WebSocket-Version");

	*why_r = "Sec-WebSocket-Version is missing, repeated or not a number";
	if (request_header_count(r, "Sec-WebSocket-Version") != 1 || version.n == 0 ||
	    version.n > 3)
		return 400;
	for (size_t i = 0; i < version.n; i++)
		if (version.p[i] < '0' || version.p[i] > '9')
			return 400;
	*why_r = "another version of the WebSocket protocol than 13";
	return span_eq(version, SPAN("13")) ? 0 : 426;
}

bool upgrade_is_meant(const struct request *r)
{
	return r->wants_upgrade || request_header_count(r, "Sec-WebSocket-Key") > 0 ||
	       request_header_count(r, "Sec-WebSocket-Version") > 0;
}

int upgrade_check(const struct request *r, const char **why_r)
{
	int status;

	*why_r = NULL;
	if (!span_eq(r->method, SPAN("GET")))
		*why_r = "upgrade with another method than GET";
	else if (r->has_body)
		*why_r = "upgrade with a body";
	else if (request_header_count(r, "Origin") > 1)
		*why_r = "more than one Origin";
	if (*why_r != NULL)
		return 400;
	if (!r->wants_upgrade) {
		*why_r =
			r->minor < 1
				? "a WebSocket handshake in HTTP/1.0: a proxy on the way may "
				  "speak no more than that"
				: "no Upgrade to websocket, or Connection does not name it: a "
				  "proxy on the way may have taken the header";
		return 426;
	}
	status = upgrade_version_check(r, why_r);
	if (status != 0)
		return status;
	*why_r = NULL;
	if (request_header_count(r, "Sec-WebSocket-Key") != 1 ||
	    !upgrade_key_ok(request_header(r, "Sec-WebSocket-Key")))
		*why_r = "Sec-WebSocket-Key is missing, repeated or not base64 of 16 bytes";
	if (*why_r == NULL)
		*why_r = upgrade_subprotocols_error(r);
	if (*why_r == NULL)
		*why_r = upgrade_extensions_error(r);
	return *why_r != NULL ? 400 : 0;
}

void upgrade_accept(const struct request *r, char dst[UPGRADE_ACCEPT_LEN + 1])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 1.3 */
	const struct span key = request_header(r, "Sec-WebSocket-Key");
	char text[KEY_LEN + sizeof(guid)] = {0};
	unsigned char digest[SHA_DIGEST_LENGTH];
	SHA_CTX sha;

	if (key.n == KEY_LEN)
		memcpy(text, key.p, KEY_LEN);
	memcpy(text + KEY_LEN, guid, sizeof(guid));
	SHA1_Init(&sha);
	SHA1_Update(&sha, text, KEY_LEN + sizeof(guid) - 1);
	SHA1_Final(digest, &sha);
	EVP_EncodeBlock((unsigned char *)dst, digest, sizeof(digest));
}

bool upgrade_offers(const struct request *r, struct span subprotocol)
{
	struct request_walk w = {.r = r, .name = SPAN("Sec-WebSocket-Protocol")};
	struct span item;

	while (request_walk_next(&w, &item))
		if (span_eq(item, subprotocol))
			return true;
	return false;
}

static struct span upgrade_first(const struct request *r)
{
	struct request_walk w = {.r = r, .name = SPAN("Sec-WebSocket-Protocol")};
	struct span item;

	while (request_walk_next(&w, &item))
		if (item.n <= RULES_SUBPROTOCOL_MAX &&
		    (item.n < 5 || memcmp(item.p, "tova.", 5) != 0))
			return item;
	return (struct span){0};
}

struct span upgrade_choose(const struct request *r, struct span list)
{
	struct span item, chosen = {0};

	while (chosen.p == NULL && request_list_next(&list, &item)) {
		if (span_eq(item, SPAN("*")))
			chosen = upgrade_first(r);
		else if (upgrade_offers(r, item))
			chosen = item;
	}
	return chosen;
}

size_t upgrade_response(char *dst, size_t cap, const struct request *r, struct span subprotocol,
			struct span extensions, struct span extra)
{
	static const char protocol[] = "\r\nSec-WebSocket-Protocol: ";
	char accept[UPGRADE_ACCEPT_LEN + 1];
	int n;

	upgrade_accept(r, accept);
	n = snprintf(
		dst, cap,
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Accept: %s%s%.*s\r\n%.*s%.*s\r\n",
		accept, subprotocol.n > 0 ? protocol : "", (int)subprotocol.n,
		subprotocol.n > 0 ? subprotocol.p : "", (int)extensions.n,
		extensions.n > 0 ? extensions.p : "", (int)extra.n, extra.n > 0 ? extra.p : "");
	return n > 0 && (size_t)n < cap ? (size_t)n : 0;
}

/* --- origin ----------------------------------------------------------------------------------- */

/* RFC 6454: scheme "://" host [ ":" port ] */
struct origin {
	struct span scheme, host;
	unsigned port; /* the scheme's own when none is given; 0: neither */
};

static unsigned upgrade_default_port(struct span scheme)
{
	if (span_eq_nocase(scheme, SPAN("http")) || span_eq_nocase(scheme, SPAN("ws")))
		return 80;
	return span_eq_nocase(scheme, SPAN("https")) || span_eq_nocase(scheme, SPAN("wss")) ? 443
											    : 0;
}

static bool upgrade_origin_parse(struct span s, struct origin *o)
{
	size_t n = 0;

	while (n < s.n && header_is_token((struct span){s.p + n, 1}) && s.p[n] != '*')
		n++;
	if (n == 0 || s.n - n < 4 || memcmp(s.p + n, "://", 3) != 0)
		return false;
	o->scheme = (struct span){s.p, n};
	o->port = upgrade_default_port(o->scheme);
	return authority_split((struct span){s.p + n + 3, s.n - n - 3}, &o->host, &o->port);
}

static bool upgrade_is_star(struct span host)
{
	return span_eq(host, SPAN("*"));
}

/* The pattern's origin; a slash behind it, which people copy from their browser, says nothing. */
static bool upgrade_pattern_parse(const char *text, struct origin *o)
{
	struct span s = span_of(text);
	const char *authority = strstr(text, "://");

	if (authority != NULL && s.n > 0 && s.p[s.n - 1] == '/' && s.p + s.n - 1 > authority + 3)
		s.n--;
	return upgrade_origin_parse(s, o);
}

static bool upgrade_pattern_matches(const char *text, struct span origin, const struct origin *o)
{
	struct origin pattern;

	if (strcmp(text, "*") == 0)
		return true;
	if (span_eq(origin, span_of(text)))
		return memchr(origin.p, '*', origin.n) == NULL &&
		       upgrade_origin_pattern_error(text) == NULL;
	if (o == NULL || !upgrade_pattern_parse(text, &pattern) ||
	    !span_eq_nocase(pattern.scheme, o->scheme))
		return false;
	return upgrade_is_star(pattern.host)
		       ? upgrade_default_port(o->scheme) == 0
		       : pattern.port == o->port && authority_host_matches(pattern.host, o->host);
}

/* A proxy may have ended TLS before us, so the origin's scheme also tells which port a Host without
 * one means. But where the client is known to speak TLS, a page that came without it may be
 * anybody's. */
static bool upgrade_same_host(const struct request *r, const struct origin *o)
{
	const struct span asked = r->forwarded_host.n > 0 ? r->forwarded_host : r->host;
	struct span host;
	unsigned port = upgrade_default_port(o->scheme);

	if (r->secure && port == 80)
		return false;
	return port != 0 && authority_split(asked, &host, &port) && port == o->port &&
	       span_eq_nocase(host, o->host);
}

bool upgrade_origin_ok(const struct request *r, const char *const *allow, size_t n_allow)
{
	const struct span text = request_header(r, "Origin");
	struct origin o;
	bool parsed;

	if (text.p == NULL)
		return true;
	if (request_header_count(r, "Origin") > 1)
		return false;
	parsed = upgrade_origin_parse(text, &o) && memchr(text.p, '*', text.n) == NULL;
	if (n_allow == 0)
		return parsed && upgrade_same_host(r, &o);
	for (size_t i = 0; i < n_allow; i++)
		if (upgrade_pattern_matches(allow[i], text, parsed ? &o : NULL))
			return true;
	return false;
}

/* "file://", "https://example.com/app", "app://x/y": what is no origin by RFC 6454, and is sent for
 * one all the same. */
static bool upgrade_is_literal(const char *text)
{
	const char *authority = strstr(text, "://");
	struct span scheme = {text, authority != NULL ? (size_t)(authority - text) : 0}, host, rest;
	unsigned port = 0;

	if (!header_is_token(scheme) || strpbrk(text, "*,") != NULL)
		return false;
	for (const char *p = text; *p != '\0'; p++)
		if (*p <= ' ' || *p >= 0x7F)
			return false;
	rest = (struct span){authority + 3, strcspn(authority + 3, "/")};
	return upgrade_default_port(scheme) == 0 || authority_split(rest, &host, &port);
}

const char *upgrade_origin_pattern_error(const char *pattern)
{
	struct origin o;

	if (strcmp(pattern, "*") == 0 || strcmp(pattern, "null") == 0 ||
	    upgrade_is_literal(pattern))
		return NULL;
	if (!upgrade_pattern_parse(pattern, &o) || strchr(pattern, ',') != NULL)
		return "expected *, null or scheme://host[:port], such as https://example.com, "
		       "https://*.example.com, file:// or moz-extension://*";
	if (upgrade_is_star(o.host) && upgrade_default_port(o.scheme) == 0)
		return NULL;
	if (o.host.n > 2 && memcmp(o.host.p, "*.", 2) == 0)
		o.host.p += 2, o.host.n -= 2;
	return memchr(o.host.p, '*', o.host.n) == NULL
		       ? NULL
		       : "a * stands for sub-domains in front only, as in https://*.example.com, "
			 "or for all hosts of a scheme that is not of the web, as in "
			 "moz-extension://*";
}

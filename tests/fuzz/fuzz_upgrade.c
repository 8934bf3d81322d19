/* The opening handshake. The input is the headers of a request (its first byte adds the usual
 * ones), and a handshake that is accepted must be one by the letter of RFC 6455 4.2.1, and be
 * answered with the digest another function computes. */
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "fuzz.h"
#include "ws/upgrade.h"

static const char *const beginnings[] = {
	"GET /chat HTTP/1.1\r\nHost: example.com\r\n",
	("GET /chat HTTP/1.1\r\nHost: example.com:8080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
	 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
	"GET /chat HTTP/1.1\r\nHost: [::1]\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
	"",
};

static void check_accepted(const struct request *r)
{
	const struct span key = request_header(r, "Sec-WebSocket-Key");
	unsigned char bytes[32], digest[SHA_DIGEST_LENGTH], text[64];
	char accept[UPGRADE_ACCEPT_LEN + 1], answer[400];
	size_t n;

	MUST(span_eq(r->method, SPAN("GET")) && r->minor == 1 && r->wants_upgrade && !r->has_body);
	MUST(request_header_count(r, "sec-websocket-key") == 1 &&
	     request_header_count(r, "sec-websocket-version") == 1);
	MUST(span_eq(request_header(r, "Sec-WebSocket-Version"), SPAN("13")) &&
	     request_header_count(r, "origin") <= 1);
	MUST(key.n == 24 && EVP_DecodeBlock(bytes, (const unsigned char *)key.p, 24) == 18);
	upgrade_accept(r, accept);
	MUST(strlen(accept) == UPGRADE_ACCEPT_LEN);
	memcpy(text, key.p, 24);
	memcpy(text + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
	SHA1(text, 60, digest);
	MUST(EVP_DecodeBlock(bytes, (const unsigned char *)accept, UPGRADE_ACCEPT_LEN) == 21 &&
	     memcmp(bytes, digest, 20) == 0);
	n = upgrade_response(answer, sizeof answer, r, SPAN("chat"), (struct span){NULL, 0},
			     SPAN("X: y\r\n"));
	MUST(n > 0 && n == strlen(answer) && strstr(answer, accept) != NULL &&
	     strcmp(answer + n - 10, "\r\nX: y\r\n\r\n") == 0);
	MUST(strncmp(answer, "HTTP/1.1 101 ", 13) == 0);
	MUST(upgrade_response(answer, n, r, SPAN("chat"), (struct span){NULL, 0},
			      SPAN("X: y\r\n")) == 0);
}

static void check_subprotocols(const struct request *r)
{
	for (unsigned i = 0; i < r->n_headers; i++) {
		struct span rest = r->headers[i].value, item;

		if (!span_eq_nocase(r->headers[i].name, SPAN("Sec-WebSocket-Protocol")))
			continue;
		while (request_list_next(&rest, &item))
			MUST(upgrade_offers(r, item));
	}
}

static void check_origin(const struct request *r)
{
	const struct span origin = request_header(r, "Origin");
	const char *const any = "*", *const below = "https://*.example.com";
	char *text;
	const char *listed;

	if (request_header_count(r, "Origin") > 1) {
		MUST(!upgrade_origin_ok(r, NULL, 0) && !upgrade_origin_ok(r, &any, 1));
		return;
	}
	MUST(upgrade_origin_ok(r, &any, 1));
	if (origin.p == NULL) {
		MUST(upgrade_origin_ok(r, NULL, 0) && upgrade_origin_ok(r, &below, 1));
		return;
	}
	listed = text = malloc(origin.n + 1);
	memcpy(text, origin.p, origin.n);
	text[origin.n] = '\0';
	/* An origin that may stand in the list allows itself, unless it is a pattern; one that may
	 * not stands for nobody. */
	if (strchr(text, '*') == NULL)
		MUST(upgrade_origin_ok(r, &listed, 1) ==
		     (upgrade_origin_pattern_error(text) == NULL));
	if (upgrade_origin_ok(r, NULL, 0)) {
		MUST(upgrade_origin_pattern_error(text) == NULL && r->host.n > 0);
		MUST(strncasecmp(text, "http", 4) == 0 || strncasecmp(text, "ws", 2) == 0);
	}
	if (upgrade_origin_ok(r, &below, 1)) {
		const size_t n = strcspn(text + 8, ":");

		MUST(origin.n > 20 && strncasecmp(text, "https://", 8) == 0 &&
		     strcspn(text + 8, "/?#@\\ *") == origin.n - 8);
		MUST(n > 12 && strncasecmp(text + 8 + n - 12, ".example.com", 12) == 0);
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct request_limits limits = {.head_max = 1 << 20,
						     .headers_max = REQUEST_HEADERS_MAX};
	static struct request r;
	const char *why = NULL, *beginning;
	size_t used, n;
	char *head;
	int status;

	if (size < 1)
		return 0;
	beginning = beginnings[data[0] % 4];
	n = strlen(beginning);
	head = malloc(n + size + 4);
	memcpy(head, beginning, n);
	memcpy(head + n, data + 1, size - 1);
	memcpy(head + n + size - 1, "\r\n\r\n", 4);
	if (request_parse(&r, &limits, head, n + size + 3, NULL, &used, &status, &why) ==
	    REQUEST_OK) {
		status = upgrade_check(&r, &why);
		MUST(status == 0 ? why == NULL : (status == 400 || status == 426) && why != NULL);
		if (status == 0)
			check_accepted(&r);
		check_subprotocols(&r);
		check_origin(&r);
	}
	free(head);
	return 0;
}

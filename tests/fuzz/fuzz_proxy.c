/* The PROXY header. It is read from pieces as the socket would give them, and whatever the pieces,
 * the answer is the same: as long as more is asked for all of it belongs to the header, an error
 * stays one, and what follows the header changes nothing. An address that is read is one that
 * another function writes and reads. */
#include <arpa/inet.h>

#include "fuzz.h"
#include "ws/proxy.h"

static void check_address(const struct address *a)
{
	char text[ADDRESS_TEXT];
	uint8_t ip[16];

	MUST(a->family == AF_INET || a->family == AF_INET6 || a->family == AF_UNIX);
	address_text(a, text);
	MUST(a->family == AF_UNIX ? strcmp(text, "unix") == 0 && a->port == 0
				  : inet_pton(a->family, text, ip) == 1 &&
					    memcmp(ip, a->ip, a->family == AF_INET ? 4 : 16) == 0);
}

static int same(const struct proxy_header *a, const struct proxy_header *b)
{
	return a->local == b->local && a->secure == b->secure &&
	       a->source.family == b->source.family && a->source.port == b->source.port &&
	       memcmp(a->source.ip, b->source.ip, 16) == 0 &&
	       memcmp(a->destination.ip, b->destination.ip, 16) == 0 &&
	       a->destination.port == b->destination.port;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_header whole, part;
	const char *why = NULL, *part_why = NULL;
	size_t used = SIZE_MAX, part_used = SIZE_MAX;
	enum proxy_status status = proxy_read(&whole, data, size, &used, &why), now;
	uint32_t seed = size > 0 ? data[size - 1] : 0;

	MUST(status != PROXY_OK || (used > 0 && used <= size && used <= PROXY_MAX));
	MUST(status != PROXY_BAD || why != NULL);
	MUST(status != PROXY_MORE || size < PROXY_MAX);
	for (size_t n = 0; n < size;) {
		n += fuzz_piece(&seed, size - n);
		uint8_t *copy = malloc(n);
		memcpy(copy, data, n);
		now = proxy_read(&part, copy, n, &part_used, &part_why);
		free(copy);
		MUST(now == PROXY_MORE || now == status);
		MUST(now != PROXY_OK || (part_used == used && same(&part, &whole)));
		MUST(status != PROXY_OK || (now == PROXY_OK) == (n >= used));
		MUST(now != PROXY_BAD || strcmp(part_why, why) == 0);
	}
	if (status == PROXY_OK && !whole.local) {
		check_address(&whole.source);
		check_address(&whole.destination);
	}
	return 0;
}

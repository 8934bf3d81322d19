/* What a Redis server says, in pieces; and where one is. The first byte decides: a URL, or how long
 * the pieces are. */
#include <stdlib.h>

#include "cluster/redis_url.h"
#include "cluster/resp.h"
#include "fuzz.h"

/* Every part is there, and bounded. */
static size_t look(const struct resp_value *v, unsigned depth)
{
	size_t n = 1;
	if (v->kind == RESP_TEXT || v->kind == RESP_STATUS || v->kind == RESP_ERROR)
		MUST(v->text.p[v->text.n] == '\0');
	MUST(depth < 10 && (v->kind != RESP_LIST || v->n <= RESP_ITEMS_MAX));
	for (size_t i = 0; v->kind == RESP_LIST && i < v->n; i++) {
		struct span text = resp_text_at(v, i);
		MUST(v->items[i] != NULL && (text.p == NULL || v->items[i]->kind == RESP_TEXT));
		n += look(v->items[i], depth + 1);
	}
	return n;
}

static void replies(const uint8_t *data, size_t size, size_t piece)
{
	struct resp *r = resp_new();
	struct resp_value *v = NULL;
	bool good = true;
	for (size_t at = 0; good && at < size; at += piece) {
		good = resp_feed(r, data + at, size - at < piece ? size - at : piece);
		while (good && (good = resp_next(r, &v)) && v != NULL) {
			look(v, 0);
			resp_value_free(v);
		}
	}
	MUST(good || resp_why(r) != NULL);
	resp_free(&r);
}

static void url(const uint8_t *data, size_t size)
{
	struct redis_url url;
	char why[256] = "", text[REDIS_URL_TEXT], *copy = strndup((const char *)data, size);
	if (redis_url_read(&url, copy, why, sizeof why)) {
		redis_url_text(&url, text);
		MUST((url.host[0] != '\0') != (url.path[0] != '\0') && strlen(text) > 7);
	} else {
		MUST(why[0] != '\0');
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] == 'u')
		url(data + 1, size - 1);
	else
		replies(data + 1, size - 1, 1 + data[0] % 32);
	return 0;
}

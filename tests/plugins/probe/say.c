/* say: messages to connections. */
#include <stdio.h>
#include <stdlib.h>

#include "probe.h"
#include "word.h"

void say_set_key(const struct probe_run *r, tova_payload *p)
{
	p->key = r->key;
	p->key_len = r->key_len;
}

static int say_payload(struct probe_run *r, tova_ws ws, uint32_t kind, char *text)
{
	tova_payload p = tova_binary(text, word_unescape(text));
	p.kind = kind;
	say_set_key(r, &p);
	return tova_send_payload(r->m, ws, &p);
}

static int say_text(struct probe_run *r, char *rest)
{
	return say_payload(r, r->me, TOVA_TEXT, rest);
}

static int say_binary(struct probe_run *r, char *rest)
{
	return say_payload(r, r->me, TOVA_BINARY, rest);
}

static int say_text_to(struct probe_run *r, char *rest)
{
	tova_ws ws = word_ws(r, &rest);
	return say_payload(r, ws, TOVA_TEXT, rest);
}

static int say_binary_to(struct probe_run *r, char *rest)
{
	tova_ws ws = word_ws(r, &rest);
	return say_payload(r, ws, TOVA_BINARY, rest);
}

static int say_kind(struct probe_run *r, char *rest)
{
	uint32_t kind = (uint32_t)word_number(&rest);
	return say_payload(r, r->me, kind, rest);
}

/* n messages of `size` bytes that begin with their number, to `ws` or to the others in `room`. */
static int say_many(struct probe_run *r, const char *room, uint64_t n, size_t size)
{
	int result = 0;
	size = size < 24 ? 24 : size;
	char *bytes = malloc(size + 1), key[24];
	memset(bytes, 'x', size);
	for (uint64_t i = 0; i < n && result == 0; i++) {
		int digits = snprintf(bytes, 24, "%llu ", (unsigned long long)i);
		bytes[digits] = 'x';
		tova_payload p = tova_text_n(bytes, size);
		say_set_key(r, &p);
		if (r->keys > 0)
			p.key_len = (size_t)snprintf(key, sizeof key, "k%llu",
						     (unsigned long long)(i % r->keys)),
			p.key = key;
		result = room != NULL ? tova_broadcast_payload_to(r->m, room, &p, r->me)
				      : tova_send_payload(r->m, r->me, &p);
	}
	free(bytes);
	return result;
}

static int say_key(struct probe_run *r, char *rest)
{
	r->key_len = word_unescape(rest);
	r->key = r->key_len > 0 ? rest : NULL;
	return 0;
}

static int say_keys(struct probe_run *r, char *rest)
{
	r->keys = word_number(&rest);
	return 0;
}

static int say_huge(struct probe_run *r, char *rest)
{
	return say_many(r, NULL, 1, (size_t)word_number(&rest));
}

static int say_flood(struct probe_run *r, char *rest)
{
	uint64_t n = word_number(&rest);
	return say_many(r, NULL, n, (size_t)word_number(&rest));
}

static int say_pour(struct probe_run *r, char *rest)
{
	char *room = word_next(&rest);
	word_unescape(room);
	uint64_t n = word_number(&rest);
	return say_many(r, room, n, (size_t)word_number(&rest));
}

const struct probe_command say_commands[] = {
	{"send", say_text},	     {"sendb", say_binary}, {"send_to", say_text_to},
	{"sendb_to", say_binary_to}, {"kind", say_kind},    {"key", say_key},
	{"keys", say_keys},	     {"huge", say_huge},    {"flood", say_flood},
	{"pour", say_pour},	     {NULL, NULL},
};

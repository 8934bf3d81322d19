/* codec_field: members of objects, and their texts. */
#include <openssl/crypto.h>

#include "handler/worker/codec_parts.h"

#define CODEC_SECRET_MAX 1024 /* bytes of a token or a mount's path */

size_t codec_read_claim(struct reader *r, uint64_t n)
{
	size_t at = (size_t)r->binary;
	if (n > r->limit || r->binary > r->limit - n)
		json_fail(&r->j, "more binary bytes than the message has");
	else
		r->binary += n;
	return at;
}

bool codec_read_field(struct json *j, struct span name, void *base, const struct field *fields)
{
	const struct field *f = fields;
	while (f->key.p != NULL && (f->key.n != name.n || f->key.p[0] != name.p[0] ||
				    memcmp(f->key.p, name.p, name.n) != 0))
		f++;
	if (f->key.p == NULL)
		return false;
	void *member = (char *)base + f->at;
	if (!f->number) {
		json_read_string(j, member);
		return true;
	}
	if (f->has > 0)
		*(bool *)((char *)base + f->has) = true;
	if (f->bad > 0)
		json_read_uint_or_skip(j, member, (bool *)((char *)base + f->bad));
	else
		json_read_uint(j, member);
	return true;
}

struct span codec_text(struct json_string *s)
{
	if (s->escaped) {
		s->n = json_unescape(s, (char *)s->p);
		s->escaped = false;
	}
	return (struct span){s->p, s->n};
}

bool codec_text_is(const struct json_string *s, const char *text)
{
	size_t n = strlen(text);
	char plain[JSON_ESCAPED_MAX(CODEC_SECRET_MAX)];
	if (s->p == NULL || s->n > sizeof plain)
		return false;
	if (!s->escaped)
		return s->n == n && CRYPTO_memcmp(s->p, text, n) == 0;
	return json_unescape(s, plain) == n && CRYPTO_memcmp(plain, text, n) == 0;
}

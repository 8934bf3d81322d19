#include "handler/script/script_text.h"

#include <endian.h>
#include <openssl/evp.h>
#include <string.h>

#include "common/json.h"

/* --- to it ------------------------------------------------------------------------------------ */

/* Pieces of a message are the head, then so many bytes of it at a time, then the tail. */
enum { PART_HEAD, PART_BODY, PART_TAIL, PART_DONE };

/* bytes of a message; divisible by 3, so that pieces of base64 follow each other */
#define PIECE 3072
#define PIECE_WRITTEN_MAX \
	(JSON_ESCAPED_MAX(PIECE) + \
	 16) /* and what they may become; json_escape writes a little more than it means */

void script_writer_begin(struct script_writer *w, enum script_framing framing, struct span message,
			 bool binary)
{
	*w = (struct script_writer){.bytes = message.p,
				    .len = message.n,
				    .framing = (uint8_t)framing,
				    .binary = binary};
}

static size_t script_text_put(char *dst, const char *text)
{
	size_t n = strlen(text);
	memcpy(dst, text, n);
	return n;
}

static size_t script_text_put_head(const struct script_writer *w, char *dst)
{
	uint32_t len = htobe32((uint32_t)w->len);
	if (w->framing == SCRIPT_FRAMES) {
		memcpy(dst, &len, sizeof len);
		return sizeof len;
	}
	return w->framing == SCRIPT_JSON ? script_text_put(dst, w->binary ? "{\"bin\":\"" : "\"")
					 : 0;
}

static size_t script_text_put_tail(const struct script_writer *w, char *dst)
{
	if (w->framing == SCRIPT_FRAMES)
		return 0;
	return script_text_put(dst, w->framing == SCRIPT_LINES ? "\n"
				    : w->binary		       ? "\"}\n"
							       : "\"\n");
}

static size_t script_text_piece_length(const struct script_writer *w)
{
	return w->len - w->at < PIECE ? w->len - w->at : PIECE;
}

static size_t script_text_put_body(const struct script_writer *w, char *dst)
{
	const char *from = w->bytes + w->at;
	size_t n = script_text_piece_length(w);
	if (w->framing != SCRIPT_JSON) {
		memcpy(dst, from, n);
		return n;
	}
	if (w->binary)
		return (size_t)EVP_EncodeBlock((unsigned char *)dst, (const unsigned char *)from,
					       (int)n);
	size_t written = json_escape(dst, from, n) - 2; /* without its quotes */
	memmove(dst, dst + 1, written);
	return written;
}

/* The next piece, whole; then moves behind it. */
static size_t script_text_next_piece(struct script_writer *w, char *dst)
{
	size_t n = 0;
	if (w->part == PART_HEAD)
		n = script_text_put_head(w, dst);
	else if (w->part == PART_BODY && w->at < w->len)
		n = script_text_put_body(w, dst);
	else if (w->part == PART_TAIL)
		n = script_text_put_tail(w, dst);
	if (w->part == PART_BODY && w->at < w->len)
		w->at += script_text_piece_length(w);
	if (w->part != PART_BODY || w->at == w->len)
		w->part++;
	return n;
}

size_t script_writer_fill(const struct script_writer *w, char *dst, size_t cap)
{
	struct script_writer next = *w;
	size_t n = 0, skip = w->skip;
	while (next.part != PART_DONE && cap - n >= PIECE_WRITTEN_MAX) {
		size_t piece = script_text_next_piece(&next, dst + n);
		if (skip > 0)
			memmove(dst + n, dst + n + skip, piece - skip);
		n += piece - skip;
		skip = 0;
	}
	return n;
}

void script_writer_wrote(struct script_writer *w, size_t n)
{
	char scratch[PIECE_WRITTEN_MAX];
	n += w->skip;
	w->skip = 0;
	while (w->part != PART_DONE) {
		struct script_writer before = *w;
		size_t piece = script_text_next_piece(w, scratch);
		if (n < piece) {
			*w = before;
			w->skip = n;
			return;
		}
		n -= piece;
	}
}

bool script_writer_is_done(const struct script_writer *w)
{
	return w->part == PART_DONE;
}

/* --- from it ---------------------------------------------------------------------------------- */

#define BASE64_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

/* RFC 4648 4, with padding, and nothing else. In place. */
static bool script_text_base64_decode(char *text, size_t n, struct span *bytes_r)
{
	size_t padding = n > 0 && text[n - 1] == '=' ? (n > 1 && text[n - 2] == '=' ? 2 : 1) : 0;
	bool known[256] = {false};
	for (const char *c = BASE64_CHARS; *c != '\0'; c++)
		known[(unsigned char)*c] = true;
	for (size_t i = 0; i < n - padding; i++)
		if (!known[(unsigned char)text[i]])
			return false;
	int decoded = n % 4 == 0 && n <= INT32_MAX
			      ? EVP_DecodeBlock((unsigned char *)text, (const unsigned char *)text,
						(int)n)
			      : -1;
	*bytes_r = (struct span){text, decoded < 0 ? 0 : (size_t)decoded - padding};
	return decoded >= 0;
}

static struct span script_text_unescape(const struct json_string *s)
{
	char *at = (char *)s->p;
	return (struct span){at, s->escaped ? json_unescape(s, at) : s->n};
}

static const char *script_text_read_binary(struct json *j, struct script_message *m_r)
{
	static const char *const other = "an object has the one member \"bin\"";
	struct json_string s = {.p = NULL};
	struct span key;
	for (bool first = json_enter(j, '{'); json_next_key(j, &first, &key);) {
		if (s.p != NULL || !span_eq(key, SPAN("bin")))
			return other;
		json_read_string(j, &s);
	}
	if (j->why != NULL || s.p == NULL)
		return j->why != NULL ? j->why : other;
	struct span text = script_text_unescape(&s);
	m_r->binary = true;
	return script_text_base64_decode((char *)text.p, text.n, &m_r->bytes)
		       ? NULL
		       : "\"bin\" is not base64 (RFC 4648 4)";
}

static const char *script_text_read_json(char *line, size_t n, struct script_message *m_r)
{
	struct json j = {.p = line, .end = line + n};
	struct json_string s;
	if (json_next_is(&j, '{')) {
		const char *why = script_text_read_binary(&j, m_r);
		if (why != NULL)
			return why;
	} else if (!json_next_is(&j, '"')) {
		return "a JSON string, or an object with \"bin\", was expected";
	} else if (json_read_string(&j, &s)) {
		m_r->bytes = script_text_unescape(&s);
	}
	json_next_is(&j, '\0'); /* white space */
	return j.why != NULL ? j.why
	       : j.p < j.end ? "something stands behind the JSON value"
			     : NULL;
}

const char *script_message_read(char *line, size_t n, enum script_framing framing,
				struct script_message *m_r)
{
	*m_r = (struct script_message){.bytes = {line, n}, .binary = framing == SCRIPT_FRAMES};
	return framing == SCRIPT_JSON ? script_text_read_json(line, n, m_r) : NULL;
}

/* --- words ------------------------------------------------------------------------------------ */

/* n bytes are behind us, and the space that follows them, if one does. */
static void script_text_pass(struct span *rest, size_t n)
{
	if (n == rest->n)
		*rest = (struct span){NULL, 0};
	else
		*rest = (struct span){rest->p + n + 1, rest->n - n - 1};
}

static const char *script_text_quoted_word(struct span *rest, struct span *word_r)
{
	struct json j = {.p = rest->p, .end = rest->p + rest->n};
	struct json_string s;
	if (!json_read_string(&j, &s))
		return j.why;
	if (j.p < j.end && *j.p != ' ')
		return "a space was expected behind a closing quote";
	script_text_pass(rest, (size_t)(j.p - rest->p));
	*word_r = script_text_unescape(&s);
	return NULL;
}

const char *script_word(struct span *rest, struct span *word_r)
{
	while (rest->n > 0 && rest->p[0] == ' ')
		*rest = (struct span){rest->p + 1, rest->n - 1};
	if (rest->n > 0 && rest->p[0] == '"')
		return script_text_quoted_word(rest, word_r);
	const char *space = rest->n > 0 ? memchr(rest->p, ' ', rest->n) : NULL;
	size_t n = space != NULL ? (size_t)(space - rest->p) : rest->n;
	*word_r = (struct span){n > 0 ? rest->p : NULL, n};
	script_text_pass(rest, n);
	return NULL;
}

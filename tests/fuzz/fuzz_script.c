/* What a script writes, and what is written to it. The input's first byte chooses between: the line
 * of a script as a message, which jansson must understand alike, and which is written and read
 * back; words of a command, each of which is quoted and read back; and a message that is written in
 * pieces as small as a full pipe leaves them. */
#include <jansson.h>

#include "common/json.h"
#include "common/utf8.h"
#include "fuzz.h"
#include "handler/script/script_text.h"

/* With a byte behind it that must stay. */
static char *copy(const void *data, size_t n)
{
	char *c = malloc(n + 1);
	MUST(c != NULL);
	if (n > 0)
		memcpy(c, data, n);
	c[n] = 0x5A;
	return c;
}

/* All that is written of a message, its pieces cut as the seed says. */
static char *written(enum script_framing framing, struct span message, bool binary, uint32_t seed,
		     size_t *n_r)
{
	static char piece[SCRIPT_WRITE];
	struct script_writer w;
	size_t n = 0, cap = JSON_ESCAPED_MAX(message.n) + 64;
	char *all = malloc(cap);
	script_writer_begin(&w, framing, message, binary);
	while (!script_writer_is_done(&w)) {
		size_t got = script_writer_fill(&w, piece, sizeof piece);
		MUST(got <= sizeof piece);
		if (seed != 0 && got > 0)
			got = fuzz_piece(&seed, got);
		MUST(n + got <= cap);
		memcpy(all + n, piece, got);
		n += got;
		script_writer_wrote(&w, got);
	}
	MUST(script_writer_fill(&w, piece, sizeof piece) == 0);
	*n_r = n;
	return all;
}

static void check_message(struct span message, bool binary, uint32_t seed)
{
	size_t whole_n, n;
	for (int framing = SCRIPT_LINES; framing <= SCRIPT_FRAMES; framing++) {
		char *whole = written((enum script_framing)framing, message, binary, 0, &whole_n);
		char *cut = written((enum script_framing)framing, message, binary, seed + 1, &n);
		MUST(n == whole_n && memcmp(whole, cut, n) == 0);
		free(cut);
		if (framing == SCRIPT_JSON) {
			struct script_message m;
			MUST(memchr(whole, '\n', n) == whole + n - 1);
			MUST(script_message_read(whole, n - 1, SCRIPT_JSON, &m) == NULL);
			MUST(m.binary == binary && m.bytes.n == message.n);
			MUST(message.n == 0 || memcmp(m.bytes.p, message.p, message.n) == 0);
		}
		free(whole);
	}
}

/* What jansson makes of a string, or of {"bin": ...}; NULL: it is neither. */
static json_t *theirs(const char *line, size_t n, bool *binary_r)
{
	json_t *v = json_loadb(line, n, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES,
			       NULL);
	json_t *bin = json_object_get(v, "bin");
	*binary_r = json_is_object(v);
	if (json_is_object(v) && json_object_size(v) == 1 && json_is_string(bin)) {
		json_incref(bin);
		json_decref(v);
		return bin;
	}
	if (json_is_string(v))
		return v;
	json_decref(v);
	return NULL;
}

static void fuzz_line(uint32_t seed, const uint8_t *data, size_t size)
{
	char *line = copy(data, size);
	struct script_message m;
	bool binary;
	const char *why = script_message_read(line, size, SCRIPT_JSON, &m);
	json_t *v = theirs((const char *)data, size, &binary);
	MUST(line[size] == 0x5A);
	if (why == NULL) {
		MUST(m.bytes.n == 0 || (m.bytes.p >= line && m.bytes.p + m.bytes.n <= line + size));
		MUST(m.binary || utf8_valid(m.bytes.p, m.bytes.n) || v == NULL);
		if (v != NULL) {
			MUST(m.binary == binary);
			MUST(binary || (json_string_length(v) == m.bytes.n &&
					memcmp(json_string_value(v), m.bytes.p, m.bytes.n) == 0));
		}
		if (m.binary || utf8_valid(m.bytes.p, m.bytes.n))
			check_message(m.bytes, m.binary, seed);
	} else {
		MUST(why[0] != '\0' && (v == NULL || binary)); /* bad base64 is for us to see */
	}
	json_decref(v);
	free(line);
}

static void fuzz_words(const uint8_t *data, size_t size)
{
	char *line = copy(data, size);
	struct span rest = {line, size}, word;
	const char *why;
	while ((why = script_word(&rest, &word)) == NULL && word.p != NULL) {
		MUST(word.p >= line && word.p + word.n <= line + size);
		MUST(rest.p == NULL || (rest.p > word.p && rest.p + rest.n == line + size));
		if (!utf8_valid(word.p, word.n))
			continue;
		char *quoted = malloc(JSON_ESCAPED_MAX(word.n));
		struct span q = {quoted, json_escape(quoted, word.p, word.n)}, again;
		MUST(script_word(&q, &again) == NULL && q.p == NULL && again.n == word.n);
		MUST(word.n == 0 || memcmp(again.p, word.p, word.n) == 0);
		free(quoted);
	}
	MUST(why == NULL || why[0] != '\0');
	MUST(line[size] == 0x5A);
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	const struct span bytes = {(const char *)data + 2, size - 2};
	if (data[0] % 3 == 0)
		fuzz_line(data[1], data + 2, size - 2);
	else if (data[0] % 3 == 1)
		fuzz_words(data + 2, size - 2);
	else
		check_message(bytes, !utf8_valid(bytes.p, bytes.n) || data[1] % 2 == 0, data[1]);
	return 0;
}

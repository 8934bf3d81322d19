#include "common/json.h"

#include <endian.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

bool json_fail(struct json *j, const char *why)
{
	if (j->why == NULL)
		j->why = why;
	j->p = j->end;
	return false;
}

static inline void json_space(struct json *j)
{
	while (j->p < j->end && (unsigned char)*j->p <= ' ' &&
	       (*j->p == ' ' || *j->p == '\t' || *j->p == '\n' || *j->p == '\r'))
		j->p++;
}

bool json_at_end(struct json *j)
{
	json_space(j);
	return j->why == NULL &&
	       (j->p == j->end || json_fail(j, "something follows behind the value"));
}

static inline bool json_sees(struct json *j, char c)
{
	json_space(j);
	return j->p < j->end && *j->p == c;
}

bool json_next_is(struct json *j, char c)
{
	return json_sees(j, c);
}

static inline bool json_take(struct json *j, char c, const char *why)
{
	if (!json_sees(j, c))
		return json_fail(j, why);
	j->p++;
	return true;
}

bool json_enter(struct json *j, char open)
{
	json_take(j, open, open == '[' ? "an array was expected" : "an object was expected");
	return true;
}

bool json_next(struct json *j, char close, bool *first)
{
	if (j->end - j->p > 1 && !*first && j->p[0] == ',' && j->p[1] > ' ') {
		j->p++;
		return true;
	}
	if (j->why != NULL)
		return false;
	if (json_sees(j, close)) {
		j->p++;
		return false;
	}
	if (!*first &&
	    !json_take(j, ',',
		       close == ']' ? "a comma or ] was expected" : "a comma or } was expected"))
		return false;
	*first = false;
	json_space(j);
	return j->p < j->end || json_fail(j, "the text ends too early");
}

/* Which of the eight bytes, the first of them lowest, have to be looked at: a quote, a backslash, a
 * control character? Their highest bits are set, and of bytes above the lowest such one perhaps
 * others, too. */
static inline uint64_t json_word_hits(const char *p)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), high = UINT64_C(0x8080808080808080);
	uint64_t w;
	memcpy(&w, p, sizeof w);
	w = le64toh(w);
	uint64_t quote = w ^ ones * '"', slash = w ^ ones * '\\';
	return (((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((w - ones * 0x20) & ~w)) &
	       high;
}

#ifdef __SSE2__
/* The same of sixteen, a bit for each. */
static inline unsigned json_block_hits(const char *p)
{
	__m128i v = _mm_loadu_si128((const __m128i *)p), control = _mm_set1_epi8(0x1F);
	__m128i hits = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
				    _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
	return (unsigned)_mm_movemask_epi8(
		_mm_or_si128(hits, _mm_cmpeq_epi8(_mm_min_epu8(v, control), v)));
}
#endif

static inline bool json_is_plain(char c)
{
	return c != '"' && c != '\\' && (unsigned char)c >= 0x20;
}

static inline const char *json_plain_end(const char *p, const char *end)
{
	uint64_t hits;
#ifdef __SSE2__
	for (; end - p >= 16; p += 16)
		if ((hits = json_block_hits(p)) != 0)
			return p + __builtin_ctzll(hits);
#endif
	for (; end - p >= 8; p += 8)
		if ((hits = json_word_hits(p)) != 0)
			return p + __builtin_ctzll(hits) / 8;
	while (p < end && json_is_plain(*p))
		p++;
	return p;
}

static int json_hex4(const char *p)
{
	int value = 0;
	for (int i = 0; i < 4; i++) {
		char c = p[i];
		int digit = c >= '0' && c <= '9'		 ? c - '0'
			    : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
								 : -1;
		if (digit < 0)
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

/* What a letter behind a backslash stands for; 0: it is none of these. */
static inline char json_long(char c)
{
	switch (c) {
	case '"':
	case '\\':
	case '/':
		return c;
	case 'b':
		return '\b';
	case 'f':
		return '\f';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	default:
		return 0;
	}
}

/* Behind a backslash. */
static bool json_check_escape(struct json *j)
{
	if (j->end - j->p < 2)
		return json_fail(j, "the text ends inside a string");
	char c = j->p[1];
	if (c == 'u') {
		if (j->end - j->p < 6 || json_hex4(j->p + 2) < 0)
			return json_fail(j, "a \\u without four hexadecimal digits");
		j->p += 6;
		return true;
	}
	if (json_long(c) == 0)
		return json_fail(j, "an unknown escape in a string");
	j->p += 2;
	return true;
}

/* Behind the first piece of a string, which does not end with a quote. */
static bool json_read_rest(struct json *j, struct json_string *s_r)
{
	while (j->p < j->end && *j->p != '"') {
		if (*j->p != '\\')
			return json_fail(j, "a control character in a string");
		s_r->escaped = true;
		if (!json_check_escape(j))
			return false;
		j->p = json_plain_end(j->p, j->end);
	}
	return j->p < j->end || json_fail(j, "the text ends inside a string");
}

bool json_read_string(struct json *j, struct json_string *s_r)
{
	if (!json_take(j, '"', "a string was expected"))
		return false;
	s_r->p = j->p;
	s_r->escaped = false;
	j->p = json_plain_end(j->p, j->end);
	if ((j->p == j->end || *j->p != '"') && !json_read_rest(j, s_r)) {
		s_r->n = 0; /* not that of an earlier member of the same name */
		return false;
	}
	s_r->n = (size_t)(j->p - s_r->p);
	j->p++;
	return true;
}

/* A short key without white space around it, as programs write it: false if it is not that, with
 * nothing read. */
static inline bool json_plain_key(struct json *j, bool *first, struct span *key_r)
{
#ifdef __SSE2__
	const char *p = j->p + !*first;
	if (j->end - p < 18 || *p != '"' || (!*first && *j->p != ','))
		return false;
	unsigned hits = json_block_hits(p + 1), n = hits != 0 ? (unsigned)__builtin_ctz(hits) : 0;
	if (hits == 0 || p[1 + n] != '"' || p[2 + n] != ':')
		return false;
	*key_r = (struct span){p + 1, n};
	*first = false;
	j->p = p + n + 3;
	return true;
#else
	(void)j, (void)first, (void)key_r;
	return false;
#endif
}

static __attribute__((noinline)) bool json_any_key(struct json *j, bool *first, struct span *key_r)
{
	struct json_string key;
	if (!json_next(j, '}', first) || !json_read_string(j, &key) ||
	    !json_take(j, ':', "a colon was expected"))
		return false;
	*key_r = key.escaped ? (struct span){"", 0} : (struct span){key.p, key.n};
	return true;
}

bool json_next_key(struct json *j, bool *first, struct span *key_r)
{
	return json_plain_key(j, first, key_r) || json_any_key(j, first, key_r);
}

static bool json_is_digit(const struct json *j)
{
	return j->p < j->end && *j->p >= '0' && *j->p <= '9';
}

bool json_read_uint(struct json *j, uint64_t *value_r)
{
	uint64_t value = 0;
	json_space(j);
	if (!json_is_digit(j))
		return json_fail(j, "a whole number was expected");
	if (*j->p == '0' && j->end - j->p > 1 && j->p[1] >= '0' && j->p[1] <= '9')
		return json_fail(j, "a number with a leading zero");
	for (; json_is_digit(j); j->p++) {
		value = value * 10 + (uint64_t)(*j->p - '0');
		if (value > JSON_INTEGER_MAX)
			return json_fail(j, "a number above 2^53 - 1");
	}
	if (j->p < j->end && (*j->p == '.' || *j->p == 'e' || *j->p == 'E'))
		return json_fail(j, "a whole number was expected");
	*value_r = value;
	return true;
}

static bool json_word(struct json *j, const char *word)
{
	size_t n = strlen(word);
	if ((size_t)(j->end - j->p) < n || memcmp(j->p, word, n) != 0)
		return json_fail(j, "a value was expected");
	j->p += n;
	return true;
}

bool json_read_bool(struct json *j, bool *value_r)
{
	*value_r = json_next_is(j, 't');
	return json_next_is(j, 't') || json_next_is(j, 'f')
		       ? json_word(j, *value_r ? "true" : "false")
		       : json_fail(j, "true or false was expected");
}

static bool json_digits(struct json *j)
{
	if (!json_is_digit(j))
		return json_fail(j, "a digit was expected");
	while (json_is_digit(j))
		j->p++;
	return true;
}

static bool json_skip_number(struct json *j)
{
	if (*j->p == '-')
		j->p++;
	bool zero = j->p < j->end && *j->p == '0';
	const char *from = j->p;
	if (!json_digits(j))
		return false;
	if (zero && j->p - from > 1)
		return json_fail(j, "a number with a leading zero");
	if (j->p < j->end && *j->p == '.') {
		j->p++;
		if (!json_digits(j))
			return false;
	}
	if (j->p < j->end && (*j->p == 'e' || *j->p == 'E')) {
		j->p++;
		if (j->p < j->end && (*j->p == '+' || *j->p == '-'))
			j->p++;
		return json_digits(j);
	}
	return true;
}

static bool json_skip_value(struct json *j, int depth)
{
	struct json_string s;
	struct span key;
	json_space(j);
	if (j->p == j->end || depth > JSON_DEPTH_MAX)
		return json_fail(j, depth > JSON_DEPTH_MAX ? "nested too deeply"
							   : "a value was expected");
	switch (*j->p) {
	case '"':
		return json_read_string(j, &s);
	case '[':
		for (bool first = json_enter(j, '['); json_next(j, ']', &first);)
			json_skip_value(j, depth + 1);
		return j->why == NULL;
	case '{':
		for (bool first = json_enter(j, '{'); json_next_key(j, &first, &key);)
			json_skip_value(j, depth + 1);
		return j->why == NULL;
	case 't':
		return json_word(j, "true");
	case 'f':
		return json_word(j, "false");
	case 'n':
		return json_word(j, "null");
	default:
		return *j->p == '-' || json_is_digit(j) ? json_skip_number(j)
							: json_fail(j, "a value was expected");
	}
}

/* What is no JSON, but what JSON libraries write for numbers that have no other form. */
static bool json_skip_no_number(struct json *j)
{
	static const struct span words[] = {SPAN("NaN"), SPAN("Infinity"), SPAN("-Infinity")};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if ((size_t)(j->end - j->p) >= words[i].n &&
		    memcmp(j->p, words[i].p, words[i].n) == 0) {
			j->p += words[i].n;
			return true;
		}
	return json_skip_value(j, 0);
}

bool json_read_uint_or_skip(struct json *j, uint64_t *value_r, bool *bad_r)
{
	if (j->why != NULL)
		return false;
	json_space(j);
	const char *from = j->p;
	if (json_read_uint(j, value_r))
		return true;
	j->p = from;
	j->why = NULL;
	*bad_r = true;
	*value_r = 0;
	return json_skip_no_number(j);
}

bool json_skip(struct json *j, struct span *value_r)
{
	json_space(j);
	const char *from = j->p;
	if (!json_skip_value(j, 0))
		return false;
	if (value_r != NULL)
		*value_r = (struct span){from, (size_t)(j->p - from)};
	return true;
}

static size_t json_utf8(unsigned c, char *dst)
{
	if (c < 0x80) {
		dst[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		dst[0] = (char)(0xC0 | c >> 6);
		dst[1] = (char)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		dst[0] = (char)(0xE0 | c >> 12);
		dst[1] = (char)(0x80 | (c >> 6 & 63));
		dst[2] = (char)(0x80 | (c & 63));
		return 3;
	}
	dst[0] = (char)(0xF0 | c >> 18);
	dst[1] = (char)(0x80 | (c >> 12 & 63));
	dst[2] = (char)(0x80 | (c >> 6 & 63));
	dst[3] = (char)(0x80 | (c & 63));
	return 4;
}

/* \uXXXX, or two of them that make one character; returns the bytes read. */
static size_t json_unescape_u(const char *p, const char *end, char *dst, size_t *n)
{
	unsigned c = (unsigned)json_hex4(p + 2), low;
	if (c >= 0xD800 && c < 0xDC00 && end - p >= 12 && p[6] == '\\' && p[7] == 'u') {
		low = (unsigned)json_hex4(p + 8);
		if (low >= 0xDC00 && low < 0xE000) {
			*n += json_utf8(0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00), dst);
			return 12;
		}
	}
	*n += json_utf8(c, dst);
	return 6;
}

/* Up to 16 bytes to where they may overlap. */
static inline void json_move(char *dst, const char *src, size_t n)
{
	uint64_t a, b;
	if (n < 8) {
		for (size_t i = 0; i < n; i++)
			dst[i] = src[i];
		return;
	}
	memcpy(&a, src, sizeof a);
	memcpy(&b, src + n - 8, sizeof b);
	memcpy(dst, &a, sizeof a);
	memcpy(dst + n - 8, &b, sizeof b);
}

/* Copies plain bytes, as many as are quickly found, to where they may stand already or before that;
 * returns how many. */
static inline size_t json_move_plain(char *dst, const char *p, const char *end)
{
#ifdef __SSE2__
	if (end - p >= 16) {
		unsigned hits = json_block_hits(p);
		size_t n = hits != 0 ? (unsigned)__builtin_ctz(hits) : 16;
		json_move(dst, p, n);
		return n;
	}
#endif
	const char *plain = json_plain_end(p, end);
	memmove(dst, p, (size_t)(plain - p));
	return (size_t)(plain - p);
}

size_t json_unescape(const struct json_string *s, char *dst)
{
	const char *p = s->p, *end = s->p + s->n;
	size_t n = 0;
	while (p < end) {
		size_t plain = json_move_plain(dst + n, p, end);
		n += plain;
		p += plain;
		if (p == end || json_is_plain(*p))
			continue;
		if (p[1] == 'u') {
			p += json_unescape_u(p, end, dst + n, &n);
		} else {
			dst[n++] = json_long(p[1]);
			p += 2;
		}
	}
	return n;
}

/* What stands for it behind a backslash; 0: only its number does. */
static inline char json_short(char c)
{
	switch (c) {
	case '"':
	case '\\':
		return c;
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	default:
		return 0;
	}
}

/* What an escape adds to a character. */
static const uint8_t json_added[256] = {
	[0 ... '\b' - 1] = 5,	 ['\b' ... '\n'] = 1, ['\v'] = 5, ['\f' ... '\r'] = 1,
	['\r' + 1 ... 0x1F] = 5, ['"'] = 1,	      ['\\'] = 1,
};

size_t json_escaped_size(const char *text, size_t n)
{
	const char *p = n > 0 ? text : "", *end = p + n;
	size_t size = n + 2;
	while ((p = json_plain_end(p, end)) < end) {
		/* Where there is one there are often more. */
		for (const char *stop = end - p > 64 ? p + 64 : end; p < stop; p++)
			size += json_added[(uint8_t)*p];
	}
	return size;
}

/* Writes one that is not plain; returns the length. */
static inline size_t json_escape_one(char *at, char c)
{
	static const char hex[] = "0123456789abcdef";
	char known = json_short(c);
	at[0] = '\\';
	if (known != 0) {
		at[1] = known;
		return 2;
	}
	at[1] = 'u';
	at[2] = at[3] = '0';
	at[4] = hex[(unsigned char)c >> 4];
	at[5] = hex[c & 15];
	return 6;
}

/* Copies plain bytes, as many as are quickly found; returns how many. What is behind them is
 * written, too, and will be again: there is room, since what is left becomes no shorter. */
static inline size_t json_copy_plain(char *at, const char *p, const char *end)
{
	uint64_t hits;
#ifdef __SSE2__
	if (end - p >= 16) {
		hits = json_block_hits(p);
		memcpy(at, p, 16);
		return hits != 0 ? (size_t)__builtin_ctzll(hits) : 16;
	}
#endif
	if (end - p >= 8) {
		hits = json_word_hits(p);
		memcpy(at, p, 8);
		return hits != 0 ? (size_t)__builtin_ctzll(hits) / 8 : 8;
	}
	*at = *p;
	return json_is_plain(*p);
}

static inline __attribute__((always_inline)) size_t json_escape_to(char *dst, const char *text,
								   size_t n)
{
	const char *p = n > 0 ? text : "", *end = p + n;
	char *at = dst;
	while (p < end) {
		size_t plain = json_copy_plain(at, p, end);
		at += plain;
		p += plain;
		if (p < end && !json_is_plain(*p))
			at += json_escape_one(at, *p++);
	}
	return (size_t)(at - dst);
}

size_t json_escape_piece(char *dst, const char *text, size_t n)
{
	return json_escape_to(dst, text, n);
}

size_t json_escape(char *dst, const char *text, size_t n)
{
	dst[0] = '"';
	size_t len = json_escape_to(dst + 1, text, n);
	dst[1 + len] = '"';
	return len + 2;
}

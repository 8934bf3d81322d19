#include "message.h"

#include <string.h>

enum { SHIFT_MASK = 4095 };

/* Printable ASCII, so that the messages are valid text. Written once by message_init. */
static uint8_t pool[MESSAGE_MAX + SHIFT_MASK + 1];

static uint32_t chance(void)
{
	static uint32_t x = 2463534242u;
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x;
}

static void fill_with_words(void)
{
	static const char words[][12] = {"the ",  "room ",   "message ",    "is ",    "not ",
					 "and ",  "we ",     "have ",	    "there ", "of ",
					 "to ",	  "a ",	     "connection ", "of ",    "hello ",
					 "who ",  "in ",     "said ",	    "yes, ",  "no, ",
					 "that ", "for ",    "it ",	    "was ",   "today. ",
					 "on ",	  "server ", "are ",	    "as ",    "with ",
					 "they ", "at "};
	for (size_t i = 0; i < sizeof pool;) {
		const char *word = words[chance() % (sizeof words / sizeof *words)];
		while (*word && i < sizeof pool)
			pool[i++] = (uint8_t)*word++;
	}
}

void message_init(int words)
{
	if (words) {
		fill_with_words();
		return;
	}
	for (size_t i = 0; i < sizeof pool; i++)
		pool[i] = (uint8_t)(' ' + chance() % 95);
}

static void put_hex(uint8_t *to, uint32_t v)
{
	for (int i = 7; i >= 0; i--, v >>= 4)
		to[i] = (uint8_t) "0123456789abcdef"[v & 15];
}

static int take_hex(const uint8_t *from, uint32_t *v_r)
{
	uint32_t v = 0;
	for (int i = 0; i < 8; i++) {
		int d = from[i] >= '0' && from[i] <= '9'   ? from[i] - '0'
			: from[i] >= 'a' && from[i] <= 'f' ? from[i] - 'a' + 10
							   : -1;
		if (d < 0)
			return -1;
		v = v << 4 | (uint32_t)d;
	}
	*v_r = v;
	return 0;
}

/* Differs from message to message, so that a reply with another one's content is noticed. */
static const uint8_t *filling(uint32_t sender, uint32_t seq)
{
	return pool + ((seq * 61 + sender * 17) & SHIFT_MASK);
}

void message_build(uint8_t *to, size_t size, uint32_t sender, uint32_t seq)
{
	put_hex(to, sender);
	put_hex(to + 8, seq);
	memcpy(to + MESSAGE_MIN, filling(sender, seq), size - MESSAGE_MIN);
}

enum message_verdict message_check(const uint8_t *got, size_t len, size_t size, uint32_t sender,
				   uint32_t seq, uint32_t *seq_r)
{
	uint32_t from, number;
	if (len != size || take_hex(got, &from) || take_hex(got + 8, &number) || from != sender)
		return MESSAGE_WRONG;
	if (memcmp(got + MESSAGE_MIN, filling(from, number), size - MESSAGE_MIN) != 0)
		return MESSAGE_WRONG;
	*seq_r = number;
	/* Numbers wrap around in a very long run. */
	int32_t ahead = (int32_t)(number - seq);
	return ahead == 0 ? MESSAGE_RIGHT : ahead < 0 ? MESSAGE_REPEATED : MESSAGE_EARLY;
}

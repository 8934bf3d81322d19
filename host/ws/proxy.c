#include "ws/proxy.h"

#define PROXY_V1_MAX 107 /* 2.1: the longest line, with its CRLF */
#define PROXY_V2_HEAD 16

enum { PROXY_TLV_CRC32C = 3, PROXY_TLV_SSL = 0x20, PROXY_SSL_HEAD = 5, PROXY_CLIENT_SSL = 1 };

static const uint8_t PROXY_V1[] = {'P', 'R', 'O', 'X', 'Y', ' '};
static const uint8_t PROXY_V2[] = {0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D,
				   0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A};

static enum proxy_status proxy_bad(const char **why_r, const char *why)
{
	*why_r = why;
	return PROXY_BAD;
}

/* --- version 1: a line of text ---------------------------------------------------------------- */

/* The next word; parted by exactly one space. */
static struct span proxy_word(struct span *rest)
{
	const char *space = rest->n > 0 ? memchr(rest->p, ' ', rest->n) : NULL;
	struct span word = {rest->p, space != NULL ? (size_t)(space - rest->p) : rest->n};
	rest->p += word.n + (space != NULL);
	rest->n -= word.n + (space != NULL);
	return word;
}

/* 2.1: decimal, 0 to 65535, no leading zeros. */
static bool proxy_port(struct span text, uint16_t *port_r)
{
	return !(text.n > 1 && text.p[0] == '0') && address_port(text, port_r);
}

static bool proxy_is_v6(struct span text)
{
	return memchr(text.p, ':', text.n) != NULL;
}

static enum proxy_status proxy_line(struct proxy_header *h, struct span line, const char **why_r)
{
	struct span kind = proxy_word(&line);
	if (span_eq(kind, SPAN("UNKNOWN"))) {
		h->local = true; /* 2.1: what follows is to be ignored */
		return PROXY_OK;
	}
	bool v6 = span_eq(kind, SPAN("TCP6"));
	if (!v6 && !span_eq(kind, SPAN("TCP4")))
		return proxy_bad(why_r,
				 "PROXY header of a protocol that is not TCP4, TCP6 or UNKNOWN");
	struct span source = proxy_word(&line), destination = proxy_word(&line);
	if (!address_parse(&h->source, source) || !address_parse(&h->destination, destination) ||
	    proxy_is_v6(source) != v6 || proxy_is_v6(destination) != v6)
		return proxy_bad(why_r, "PROXY header with a bad address");
	uint16_t from, to;
	if (!proxy_port(proxy_word(&line), &from) || !proxy_port(line, &to))
		return proxy_bad(why_r, "PROXY header with a bad port");
	h->source.port = from;
	h->destination.port = to;
	return PROXY_OK;
}

static enum proxy_status proxy_read_v1(struct proxy_header *h, const uint8_t *bytes, size_t len,
				       size_t *used_r, const char **why_r)
{
	const uint8_t *lf = memchr(bytes, '\n', len < PROXY_V1_MAX ? len : PROXY_V1_MAX);
	if (lf == NULL)
		return len < PROXY_V1_MAX ? PROXY_MORE
					  : proxy_bad(why_r, "PROXY header without an end");
	if (lf[-1] != '\r')
		return proxy_bad(why_r, "PROXY header that ends in a bare LF");
	*used_r = (size_t)(lf + 1 - bytes);
	return proxy_line(h,
			  (struct span){(const char *)bytes + sizeof PROXY_V1,
					*used_r - sizeof PROXY_V1 - 2},
			  why_r);
}

/* --- version 2: binary ------------------------------------------------------------------------ */

static uint16_t proxy_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* CRC32c (Castagnoli), reflected, a nibble at a time. */
static uint32_t proxy_crc(uint32_t crc, const uint8_t *p, size_t n)
{
	static const uint32_t nibble[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
		0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};
	for (size_t i = 0; i < n; i++) {
		crc = crc >> 4 ^ nibble[(crc ^ p[i]) & 15];
		crc = crc >> 4 ^ nibble[(crc ^ (uint32_t)p[i] >> 4) & 15];
	}
	return crc;
}

/* 2.2.3: over the whole header, with zeroes where the sum itself stands. */
static bool proxy_sum_ok(const uint8_t *bytes, size_t len, size_t at)
{
	static const uint8_t zeroes[4];
	uint32_t crc = proxy_crc(UINT32_MAX, bytes, at);
	crc = proxy_crc(crc, zeroes, sizeof zeroes);
	crc = ~proxy_crc(crc, bytes + at + 4, len - at - 4);
	return crc == ((uint32_t)proxy_u16(bytes + at) << 16 | proxy_u16(bytes + at + 2));
}

/* 2.2: type, length and value, from `at` to the end. Types that are not known are passed over. */
static enum proxy_status proxy_extensions(struct proxy_header *h, const uint8_t *bytes, size_t len,
					  size_t at, const char **why_r)
{
	while (at < len) {
		if (len - at < 3 || len - at - 3 < proxy_u16(bytes + at + 1))
			return proxy_bad(
				why_r,
				"PROXY header with an extension that reaches beyond its end");
		unsigned type = bytes[at], n = proxy_u16(bytes + at + 1);
		at += 3;
		if (type == PROXY_TLV_CRC32C && (n != 4 || !proxy_sum_ok(bytes, len, at)))
			return proxy_bad(why_r, "PROXY header with a wrong checksum");
		if (type == PROXY_TLV_SSL && n < PROXY_SSL_HEAD)
			return proxy_bad(why_r,
					 "PROXY header with facts of TLS that are cut short");
		if (type == PROXY_TLV_SSL)
			h->secure = (bytes[at] & PROXY_CLIENT_SSL) != 0;
		at += n;
	}
	return PROXY_OK;
}

/* An IPv4 address in an IPv6 one becomes what it is, as everywhere. */
static struct address proxy_address(const uint8_t *ip, uint8_t family, uint16_t port)
{
	static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};
	bool is_mapped = family == AF_INET6 && memcmp(ip, mapped, sizeof mapped) == 0;
	struct address a = {.family = is_mapped ? AF_INET : family, .port = port};
	memcpy(a.ip, is_mapped ? ip + sizeof mapped : ip, a.family == AF_INET ? 4 : 16);
	return a;
}

/* Returns how many bytes the addresses take; 0: there are not so many. */
static size_t proxy_addresses(struct proxy_header *h, unsigned family, const uint8_t *p, size_t n)
{
	if (family == 0x11 && n >= 12) {
		h->source = proxy_address(p, AF_INET, proxy_u16(p + 8));
		h->destination = proxy_address(p + 4, AF_INET, proxy_u16(p + 10));
		return 12;
	}
	if (family == 0x21 && n >= 36) {
		h->source = proxy_address(p, AF_INET6, proxy_u16(p + 32));
		h->destination = proxy_address(p + 16, AF_INET6, proxy_u16(p + 34));
		return 36;
	}
	if (family == 0x31 && n >= 216) {
		h->source.family = h->destination.family = AF_UNIX;
		return 216;
	}
	return 0;
}

static enum proxy_status proxy_read_v2(struct proxy_header *h, const uint8_t *bytes, size_t len,
				       size_t *used_r, const char **why_r)
{
	if (len > 12 && (bytes[12] >> 4 != 2 || (bytes[12] & 15) > 1))
		return proxy_bad(why_r, "PROXY header of a version or command that is not known");
	bool local = len > 12 && (bytes[12] & 15) == 0;
	unsigned family = len > 13 ? bytes[13] : 0;
	if (!local && family != 0 && family != 0x11 && family != 0x21 && family != 0x31)
		return proxy_bad(
			why_r,
			"PROXY header of something other than streams over IPv4, IPv6 or Unix "
			"sockets");
	if (len < PROXY_V2_HEAD)
		return PROXY_MORE;
	size_t whole = PROXY_V2_HEAD + (size_t)proxy_u16(bytes + 14);
	if (whole > PROXY_MAX)
		return proxy_bad(why_r, "PROXY header that is too long");
	if (len < whole)
		return PROXY_MORE;
	*used_r = whole;
	if (local || family == 0) { /* 2.2: the rest is to be ignored */
		h->local = true;
		return PROXY_OK;
	}
	size_t n = proxy_addresses(h, family, bytes + PROXY_V2_HEAD, whole - PROXY_V2_HEAD);
	if (n == 0)
		return proxy_bad(why_r, "PROXY header that is too short for its addresses");
	return proxy_extensions(h, bytes, whole, PROXY_V2_HEAD + n, why_r);
}

/* --- both ------------------------------------------------------------------------------------- */

static bool proxy_begins(const uint8_t *bytes, size_t len, const uint8_t *signature, size_t n)
{
	return memcmp(bytes, signature, len < n ? len : n) == 0;
}

enum proxy_status proxy_read(struct proxy_header *h, const uint8_t *bytes, size_t len,
			     size_t *used_r, const char **why_r)
{
	*h = (struct proxy_header){.local = false};
	if (len == 0)
		return PROXY_MORE;
	if (proxy_begins(bytes, len, PROXY_V1, sizeof PROXY_V1))
		return proxy_read_v1(h, bytes, len, used_r, why_r);
	if (proxy_begins(bytes, len, PROXY_V2, sizeof PROXY_V2))
		return proxy_read_v2(h, bytes, len, used_r, why_r);
	return proxy_bad(why_r, "no PROXY header");
}

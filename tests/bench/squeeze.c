#define _GNU_SOURCE
#include "squeeze.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

enum { LEVEL = 1, BITS_MIN = 9, BITS_MAX = 15, FIRST_ROOM = 1 << 16 };

/* RFC 7692, 7.2.1: cut off by the sender, put back by the receiver */
static const uint8_t TAIL[4] = {0, 0, 0xff, 0xff};

/* All connections use these one after the other; box grows to the largest message. */
static struct {
	z_stream deflate[BITS_MAX + 1], inflate;
	int deflate_ready[BITS_MAX + 1], inflate_ready;
	uint8_t *box;
	size_t room;
} shared;

static _Noreturn void give_up(const char *what)
{
	fprintf(stderr, "load: zlib: %s\n", what);
	exit(2);
}

static const char *parameter(const char *line, size_t len, const char *name)
{
	const char *at = memmem(line, len, name, strlen(name));
	return at ? at + strlen(name) : NULL;
}

int squeeze_agree(struct squeeze *z, const char *head, size_t head_len)
{
	static const char name[] = "sec-websocket-extensions:";
	const char *line = head, *end = head + head_len;
	*z = (struct squeeze){.window_bits = BITS_MAX};
	while (line < end && strncasecmp(line, name, sizeof name - 1) != 0) {
		line = memchr(line, '\n', (size_t)(end - line));
		line = line ? line + 1 : end;
	}
	if (line == end)
		return 0;
	size_t len = (size_t)((const char *)memchr(line, '\r', (size_t)(end - line)) - line);
	if (!parameter(line, len, "permessage-deflate"))
		return -1;
	const char *bits = parameter(line, len, "client_max_window_bits=");
	z->on = 1;
	z->forgets = parameter(line, len, "server_no_context_takeover") != NULL;
	/* zlib can not do raw streams of 8 bits. */
	z->window_bits = bits ? atoi(bits) : BITS_MAX;
	if (z->window_bits < BITS_MIN || z->window_bits > BITS_MAX)
		return -1;
	if (z->forgets)
		return 0;
	z->inflate = calloc(1, sizeof *z->inflate);
	if (!z->inflate || inflateInit2(z->inflate, -BITS_MAX) != Z_OK)
		give_up("inflateInit2");
	return 0;
}

void squeeze_end(struct squeeze *z)
{
	if (z->inflate)
		inflateEnd(z->inflate);
	free(z->inflate);
	*z = (struct squeeze){.on = 0};
}

size_t squeeze_bound(size_t len)
{
	return len + len / 1000 + 64;
}

size_t squeeze_deflate(struct squeeze *z, uint8_t *to, const uint8_t *from, size_t len)
{
	z_stream *s = &shared.deflate[z->window_bits];
	if (!shared.deflate_ready[z->window_bits]++) {
		if (deflateInit2(s, LEVEL, Z_DEFLATED, -z->window_bits, 8, Z_DEFAULT_STRATEGY) !=
		    Z_OK)
			give_up("deflateInit2");
	} else
		deflateReset(s);
	s->next_in = (uint8_t *)(uintptr_t)from;
	s->avail_in = (uInt)len;
	s->next_out = to;
	s->avail_out = (uInt)squeeze_bound(len);
	if (deflate(s, Z_SYNC_FLUSH) != Z_OK || s->avail_in || !s->avail_out)
		give_up("deflate");
	return squeeze_bound(len) - s->avail_out - sizeof TAIL;
}

static void grow(void)
{
	shared.room = shared.room ? 2 * shared.room : FIRST_ROOM;
	shared.box = realloc(shared.box, shared.room);
	if (!shared.box)
		give_up("out of memory");
}

static int inflate_some(z_stream *s, const uint8_t *from, size_t len, size_t *have)
{
	s->next_in = (uint8_t *)(uintptr_t)from;
	s->avail_in = (uInt)len;
	do {
		if (*have == shared.room)
			grow();
		s->next_out = shared.box + *have;
		s->avail_out = (uInt)(shared.room - *have);
		int r = inflate(s, Z_SYNC_FLUSH);
		*have = shared.room - s->avail_out;
		/* a final block, as Bun sends it, ends nothing here (RFC 7692, 7.2.3.4) */
		if (r == Z_STREAM_END)
			inflateResetKeep(s);
		else if (r != Z_OK && r != Z_BUF_ERROR)
			return -1;
	} while (s->avail_in || !s->avail_out);
	return 0;
}

const uint8_t *squeeze_inflate(struct squeeze *z, const uint8_t *from, size_t len, size_t *len_r)
{
	z_stream *s = z->inflate ? z->inflate : &shared.inflate;
	if (!z->inflate && !shared.inflate_ready++) {
		if (inflateInit2(s, -BITS_MAX) != Z_OK)
			give_up("inflateInit2");
	} else if (!z->inflate)
		inflateReset(s);
	*len_r = 0;
	if (inflate_some(s, from, len, len_r) || inflate_some(s, TAIL, sizeof TAIL, len_r))
		return NULL;
	return shared.box;
}

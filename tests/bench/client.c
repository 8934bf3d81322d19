#define _GNU_SOURCE
#include "client.h"

#include "mask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELD_MIN = 1 << 16, HEAD_MAX = 14 };

/* The key and the answer of RFC 6455, 1.3: a server that does not compute the answer is found out,
 * and no SHA-1 is needed here. */
static const char KEY[] = "dGhlIHNhbXBsZSBub25jZQ==";
static const char ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

static void *must(void *p)
{
	if (!p) {
		fprintf(stderr, "load: out of memory\n");
		exit(2);
	}
	return p;
}

void client_box_init(struct client_box *box)
{
	*box = (struct client_box){.room = CLIENT_ROOM, .own = must(malloc(CLIENT_ROOM))};
	box->data = box->own;
}

int client_open(struct client *c, int port, const char *path, int source, int squeeze)
{
	char head[512];
	int n = snprintf(
		head, sizeof head,
		"GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
		path, port, KEY, squeeze ? "Sec-WebSocket-Extensions: " SQUEEZE_OFFER "\r\n" : "");
	if (transport_open(&c->transport, port, source))
		return -1;
	if (transport_send(&c->transport, (uint8_t *)head, (size_t)n) != n) {
		client_close(c);
		errno = EPIPE;
		return -1;
	}
	return 0;
}

void client_close(struct client *c)
{
	transport_close(&c->transport);
	squeeze_end(&c->squeeze);
	free(c->held);
	free(c->late);
	free(c->parts);
	c->held = c->late = c->parts = NULL;
	c->parts_first = 0;
	c->parts_len = c->held_len = c->held_room = c->late_at = c->late_len = 0;
}

/* --- receiving -------------------------------------------------------------------------------- */

/* Makes room for more behind what is there. */
static size_t make_room(struct client *c, struct client_box *in)
{
	uint8_t **memory = c->held ? &c->held : &in->own;
	size_t *room = c->held ? &c->held_room : &in->room;
	if (*room - in->len < HELD_MIN / 2) {
		*room *= 2;
		*memory = must(realloc(*memory, *room));
	}
	in->data = *memory;
	return *room - in->len;
}

int client_read(struct client *c, struct client_box *in)
{
	size_t room;
	ssize_t n;
	in->at = 0;
	in->len = c->held_len;
	do {
		room = make_room(c, in);
		n = transport_read(&c->transport, in->data + in->len, room);
		in->len += n > 0 ? (size_t)n : 0;
		/* What TLS holds back epoll would not tell. */
	} while (c->transport.tls && n == (ssize_t)room);
	if (n == 0)
		client_keep(c, in);
	return n > 0 ? 1 : (int)n;
}

void client_keep(struct client *c, struct client_box *in)
{
	size_t rest = in->len - in->at;
	if (!rest) {
		free(c->held);
		c->held = NULL;
		c->held_room = 0;
	} else if (!c->held) {
		c->held_room = rest < HELD_MIN ? HELD_MIN : 2 * rest;
		c->held = must(malloc(c->held_room));
		memcpy(c->held, in->data + in->at, rest);
	} else
		memmove(c->held, c->held + in->at, rest);
	c->held_len = rest;
	in->data = in->own;
	in->at = in->len = 0;
}

int client_take_upgrade(struct client *c, struct client_box *in)
{
	const char *head = (const char *)in->data + in->at;
	size_t len = in->len - in->at;
	const char *end = memmem(head, len, "\r\n\r\n", 4);
	if (!end)
		return len > 8192 ? -1 : 0;
	size_t head_len = (size_t)(end - head) + 4;
	in->at += head_len;
	static const char status[] = "HTTP/1.1 101 ";
	if (head_len < sizeof status || memcmp(head, status, sizeof status - 1) != 0 ||
	    squeeze_agree(&c->squeeze, head, head_len))
		return -1;
	return memmem(head, head_len, ACCEPT, sizeof ACCEPT - 1) ? 1 : -1;
}

/* RSV1 of the first frame says that it is compressed, which only data may be (RFC 7692, 6). */
static int unsqueeze(struct client *c, struct client_frame *f)
{
	if (!c->squeeze.on || f->opcode >= CLIENT_CLOSE)
		return -1;
	f->data = squeeze_inflate(&c->squeeze, f->data, f->len, &f->len);
	return f->data ? 1 : -1;
}

/* The bytes of a frame, as they came. Returns as client_take_frame; *first_r is its first byte. */
static int take_raw(struct client_box *in, struct client_frame *f_r, int *first_r)
{
	const uint8_t *p = in->data + in->at;
	size_t have = in->len - in->at;
	if (have < 2)
		return 0;
	/* Nothing reserved but RSV1, not masked (RFC 6455, 5.1 and 5.2). */
	if ((p[0] & 0x30) || (p[1] & 0x80))
		return -1;
	size_t head = p[1] == 127 ? 10 : p[1] == 126 ? 4 : 2;
	if (have < head)
		return 0;
	uint64_t len = p[1];
	if (head > 2) {
		len = 0;
		for (size_t i = 2; i < head; i++)
			len = len << 8 | p[i];
	}
	if (len > CLIENT_FRAME_MAX)
		return -1;
	if (have - head < len)
		return 0;
	*f_r = (struct client_frame){.opcode = p[0] & 15, .data = p + head, .len = (size_t)len};
	*first_r = p[0];
	in->at += head + (size_t)len;
	return 1;
}

/* RFC 6455, 5.4. 1: the message is whole; 0: more fragments follow. */
static int take_part(struct client *c, struct client_frame *f, int first)
{
	int begins = f->opcode != 0;
	if (begins == (c->parts_first != 0) || (!begins && (first & 0x40)) ||
	    c->parts_len + f->len > CLIENT_FRAME_MAX)
		return -1;
	if (begins) {
		c->parts_first = first;
		c->parts_len = 0;
	}
	c->parts = must(realloc(c->parts, c->parts_len + f->len + 1));
	memcpy(c->parts + c->parts_len, f->data, f->len);
	c->parts_len += f->len;
	if (!(first & 0x80))
		return 0;
	*f = (struct client_frame){.opcode = c->parts_first & 15,
				   .data = c->parts,
				   .len = c->parts_len};
	return 1;
}

int client_take_frame(struct client *c, struct client_box *in, struct client_frame *f_r)
{
	int first, r;
	while ((r = take_raw(in, f_r, &first)) > 0) {
		int control = f_r->opcode >= CLIENT_CLOSE,
		    whole = (first & 0x80) && f_r->opcode != 0;
		if (control && !(first & 0x80))
			return -1;
		if (control || (whole && !c->parts_first))
			return first & 0x40 ? unsqueeze(c, f_r) : 1;
		r = take_part(c, f_r, first);
		if (r < 0)
			return -1;
		if (r > 0) {
			int squeezed = c->parts_first & 0x40;
			c->parts_first = 0;
			return squeezed ? unsqueeze(c, f_r) : 1;
		}
	}
	return r;
}

/* --- sending ---------------------------------------------------------------------------------- */

/* In front of the payload stands the frame's head, and where it is compressed, that comes behind it
 * first. */
uint8_t *client_put_space(struct client_box *out, size_t len)
{
	size_t needed = out->len + 2 * HEAD_MAX + len + squeeze_bound(len);
	if (needed > out->room) {
		out->room = 2 * needed;
		out->own = out->data = must(realloc(out->own, out->room));
	}
	return out->data + out->len + HEAD_MAX;
}

static size_t put_head(uint8_t *p, int first, size_t len, uint8_t key[4])
{
	/* Changes with every frame, as RFC 6455, 5.3 wants it; that it can be guessed does not
	 * matter here. */
	static uint32_t next = 0x9e3779b9u;
	uint8_t *from = p;
	next = next * 1664525u + 1013904223u;
	memcpy(key, &next, 4);
	size_t wide = len < 126 ? 0 : len < 65536 ? 2 : 8;
	*p++ = (uint8_t)first;
	*p++ = (uint8_t)(0x80 | (wide == 0 ? len : wide == 2 ? 126 : 127));
	for (size_t i = wide; i-- > 0;)
		*p++ = (uint8_t)(len >> (8 * i));
	memcpy(p, key, 4);
	return (size_t)(p + 4 - from);
}

void client_put_frame(struct client *c, struct client_box *out, int opcode, size_t len)
{
	uint8_t head[HEAD_MAX], key[4], *payload = out->data + out->len + HEAD_MAX;
	int first = 0x80 | opcode;
	if (c->squeeze.on && opcode < CLIENT_CLOSE) {
		uint8_t *small = payload + len;
		len = squeeze_deflate(&c->squeeze, small, payload, len);
		payload = small;
		first |= 0x40;
	}
	size_t head_len = put_head(head, first, len, key);
	uint8_t *p = out->data + out->len;
	memcpy(p, head, head_len);
	/* To a lower address, or the same: what is read has not been written yet. */
	mask_xor(p + head_len, payload, len, key);
	out->len += head_len + len;
}

static void keep_late(struct client *c, const uint8_t *data, size_t len)
{
	memmove(c->late, c->late + c->late_at, c->late_len);
	c->late_at = 0;
	c->late = must(realloc(c->late, c->late_len + len));
	memcpy(c->late + c->late_len, data, len);
	c->late_len += len;
}

static int flush_late(struct client *c)
{
	ssize_t n = transport_send(&c->transport, c->late + c->late_at, c->late_len);
	if (n < 0)
		return -1;
	c->late_at += (size_t)n;
	c->late_len -= (size_t)n;
	return c->late_len > 0;
}

int client_flush(struct client *c, struct client_box *out)
{
	size_t len = out->len;
	out->len = 0;
	if (c->late_len) {
		if (len)
			keep_late(c, out->data, len);
		return flush_late(c);
	}
	if (!len)
		return 0;
	ssize_t n = transport_send(&c->transport, out->data, len);
	if (n < 0)
		return -1;
	if ((size_t)n < len)
		keep_late(c, out->data + n, len - (size_t)n);
	return (size_t)n < len;
}

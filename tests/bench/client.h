/* One WebSocket client connection of the load generator, non-blocking. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include "squeeze.h"
#include "transport.h"

enum { CLIENT_TEXT = 1, CLIENT_BINARY = 2, CLIENT_CLOSE = 8, CLIENT_PING = 9, CLIENT_PONG = 10 };
enum { CLIENT_ROOM = 8 << 20, CLIENT_FRAME_MAX = 64 << 20 };

struct client {
	struct transport transport;
	struct squeeze squeeze;
	uint32_t id;
	uint32_t sent;	 /* messages sent; the next one's number */
	uint32_t got;	 /* messages received in order; the number that is due */
	uint32_t credit; /* messages it may send once the present batch of events is read */
	uint8_t state;	 /* the mode's own */
	uint8_t *held;	 /* received bytes that are only a part of a frame */
	size_t held_len, held_room;
	/* fragments of a message, from the frame with this head on; NULL: none is under way */
	uint8_t *parts;
	size_t parts_len;
	int parts_first;
	uint8_t *late; /* bytes the socket did not take, from late_at on */
	size_t late_at, late_len;
};

/* Bytes on their way in or out; one of each serves all connections, one after the other. While a
 * client holds a part of a frame, what comes behind it is read into that client's own memory, and
 * data points there. */
struct client_box {
	uint8_t *own, *data;
	size_t room, len, at;
};

struct client_frame {
	int opcode;
	const uint8_t *data;
	size_t len;
};

void client_box_init(struct client_box *box);

/* Connects to 127.0.0.1:port and sends the upgrade for path. source 0..: the connection comes from
 * 127.0.0.(2 + source). squeeze: offers permessage-deflate. Returns 0, or -1 with errno set. */
int client_open(struct client *c, int port, const char *path, int source, int squeeze);
void client_close(struct client *c);

/* Reads once. Returns 1 with the bytes in the box (behind what was held), 0 when there is nothing,
 * -1 at the end of the stream. */
int client_read(struct client *c, struct client_box *in);
/* Keeps what the box still holds for the next read. */
void client_keep(struct client *c, struct client_box *in);

/* 1: the 101 is complete and right; 0: not complete; -1: refused or wrong. */
int client_take_upgrade(struct client *c, struct client_box *in);
/* 1: a whole message or control frame, its data good until the next call; 0: none; -1: not a frame
 * that a server may send. */
int client_take_frame(struct client *c, struct client_box *in, struct client_frame *f_r);

/* Adds a masked frame; client_put_space gives the place of its payload first, so that it can be
 * built there. */
uint8_t *client_put_space(struct client_box *out, size_t len);
void client_put_frame(struct client *c, struct client_box *out, int opcode, size_t len);
/* Sends the box and empties it. 0: all taken; 1: the rest is kept, call again with an empty box
 * when writable; -1: broken. */
int client_flush(struct client *c, struct client_box *out);

#endif

/* letters: the dead-letter file read again: what is in it, and giving messages back to their connections. */
#ifndef TOVA_OPS_LETTERS_H
#define TOVA_OPS_LETTERS_H

#include "handler/codec.h"
#include "handler/deadletter.h"

/* Appends the member "dead_letters", an array of what was not replayed, or "error". path NULL: there is no file. */
void letters_list(const char *path, struct codec_out *o);
/* Delivers the messages again, as new events of their connections: the one with this id ("CONN:SEQ"), or all (empty). What was
 * replayed is noted in the file. Appends "replayed":N and "left":N (whose connection is gone, or which are no messages), or "error". */
void letters_replay(struct hub *hub, struct deadletter *d, struct span id, struct codec_out *o);

#endif

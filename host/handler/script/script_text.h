/* script_text: what goes through a script's pipes, as pure code: messages as they are written to it
 * and read from it, and the words of its commands.
 */
#ifndef TOVA_HANDLER_SCRIPT_SCRIPT_TEXT_H
#define TOVA_HANDLER_SCRIPT_SCRIPT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/span.h"

/* In the order of the choices of --script-lines, and then --script-binary. */
enum script_framing {
	/* a message and LF; CR LF is read, too. A message with line ends is several lines */
	SCRIPT_LINES,
	SCRIPT_JSON,   /* a JSON string, or {"bin":"BASE64"}, and LF */
	SCRIPT_FRAMES, /* 4 bytes of length, big-endian, and the message */
};

/* --- to it ------------------------------------------------------------------------------------ */

/* A message on its way into a pipe: how much of it has gone. Nothing is copied but what is written
 * next. All zero: none. */
struct script_writer {
	const char *bytes; /* the message, not ours */
	size_t len;
	size_t at;    /* bytes of it that lie behind us */
	size_t skip;  /* bytes of the next piece that are written already */
	uint8_t part; /* see script_text.c */
	uint8_t framing;
	bool binary;
};

#define SCRIPT_WRITE 65536 /* bytes that script_writer_fill takes at least */

/* The message stays the caller's, and where it is, until script_writer_is_done. */
void script_writer_begin(struct script_writer *w, enum script_framing framing, struct span message,
			 bool binary);
/* Writes what comes next to dst; returns how much, 0: all is written. Changes nothing. */
size_t script_writer_fill(const struct script_writer *w, char *dst, size_t cap);
/* So much of that has gone. */
void script_writer_wrote(struct script_writer *w, size_t n);
bool script_writer_is_done(const struct script_writer *w);

/* --- from it ---------------------------------------------------------------------------------- */

struct script_message {
	struct span bytes;
	bool binary;
};

/* The line of a script as a message; it may be written to. NULL, or what is wrong with it: a static
 * sentence. */
const char *script_message_read(char *line, size_t n, enum script_framing framing,
				struct script_message *m_r);

/* --- words ------------------------------------------------------------------------------------ */

/* Takes the next word off *rest, which may be written to: what stands before the next space, or
 * what a JSON string in double quotes means, and one space behind it. NULL, or what is wrong: a
 * static sentence. word_r->p NULL: there is no word. Afterwards rest->p is NULL if nothing follows,
 * not even a space. */
const char *script_word(struct span *rest, struct span *word_r);

#endif

/* printable: what peers have chosen, for people to read: no character of it may make it look like
 * something else. */
#ifndef TOVA_COMMON_PRINTABLE_H
#define TOVA_COMMON_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes one character (RFC 3629) of n bytes and returns its length, or 0 for bytes that are
 * none. */
size_t printable_decode(const unsigned char *p, size_t n, uint32_t *code_r);

/* Does it move a terminal's cursor, end a line, turn the direction of writing, or is it not to be
 * seen at all? (C0 and C1 controls; what Unicode lists as Bidi_Control, as line and paragraph
 * separators, as format characters without a width, and as tags.) */
bool printable_deceives(uint32_t code);

#define PRINTABLE_ESCAPE_MAX 13
/* The character as JSON escapes it: \u202e, or two of them above U+FFFF. */
void printable_escape(uint32_t code, char dst[PRINTABLE_ESCAPE_MAX]);

#endif

/* id: the 128 bits that name a connection, as text: base64url (RFC 4648 5) of the 16 bytes, most
 * significant first, without padding. That is how ids travel, stand in the log and are given to
 * handlers. */
#ifndef TOVA_COMMON_ID_H
#define TOVA_COMMON_ID_H

#include <stdbool.h>
#include <stdint.h>

#include "common/span.h"

#define ID_TEXT 23 /* 22 characters and a NUL */

/* Of the two halves, with a NUL. */
void id_text(uint64_t hi, uint64_t lo, char text_r[ID_TEXT]);
/* False, and nothing is written: it is the text of no id. Each id has one. */
bool id_parse(struct span text, uint64_t *hi_r, uint64_t *lo_r);

#endif

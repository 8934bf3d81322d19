/* base64url: RFC 4648 5 without padding, as tokens use it (RFC 7515 2). */
#ifndef TOVA_BASE_BASE64URL_H
#define TOVA_BASE_BASE64URL_H

#include <stdint.h>

#include "common/span.h"

/* Bytes that n characters may hold. */
#define BASE64URL_DECODED_MAX(n) ((n) / 4 * 3 + 2)

/* Returns the number of bytes, or -1: other characters, padding, a length that no number of bytes
 * has, or bits at the end that are not zero, with which one value would have several texts. */
long base64url_decode(struct span text, uint8_t *dst);

#endif

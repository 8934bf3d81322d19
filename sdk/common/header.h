/* header: lines that handlers add to answers. */
#ifndef TOVA_COMMON_HEADER_H
#define TOVA_COMMON_HEADER_H

#include <stdbool.h>

#include "common/span.h"

/* A token by RFC 9110 5.6.2: one or more of its characters. */
bool header_is_token(struct span s);

/* May whoever answers add this header line? The name must be a token (RFC 9110 5.6.2) that the host
 * does not say itself, and no line of its own must hide in the value. NULL is not. */
bool header_ok(const char *name, const char *value);

#endif

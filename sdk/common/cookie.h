/* cookie: the pairs of a Cookie header (RFC 6265 4.2.1), as handlers get them. */
#ifndef TOVA_COMMON_COOKIE_H
#define TOVA_COMMON_COOKIE_H

#include <stdbool.h>

#include "common/span.h"

/* Walks the value of such a header: *rest is what is left of it. A part without '=' is a name whose
 * value is empty; parts without a name are skipped. What is returned lies in the header. False:
 * there is no more. */
bool cookie_next(struct span *rest, struct span *name_r, struct span *value_r);

#endif

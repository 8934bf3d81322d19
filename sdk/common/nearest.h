/* nearest: what somebody has most likely meant who has typed a name that is not there. */
#ifndef TOVA_COMMON_NEAREST_H
#define TOVA_COMMON_NEAREST_H

#include <stddef.h>

/* The name among names[0..n) that this one is most likely a misspelling of, or NULL. */
const char *nearest_name(const char *name, const char *const *names, size_t n);

#endif

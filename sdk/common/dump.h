/* dump: a jansson value as text, whole or not at all.
 *
 * jansson's own json_dumps (2.14) does not look whether a key could be appended to the text that it
 * grows: without memory what it returns may lack some of it ({"text:"hello"} was seen).
 */
#ifndef TOVA_COMMON_DUMP_H
#define TOVA_COMMON_DUMP_H

#include <jansson.h>

/* As json_dumps: text with a NUL behind it, which the caller frees; NULL without memory, for NULL,
 * and for what JSON can not say. flags: jansson's. */
char *dump_text(const json_t *value, size_t flags);

#endif

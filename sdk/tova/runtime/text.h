/* text: strings as characters. A program counts characters (code points), Lua bytes. */
#ifndef TOVA_SDK_RUNTIME_TEXT_H
#define TOVA_SDK_RUNTIME_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Characters in n bytes of UTF-8. */
size_t text_length(const char *p, size_t n);
/* Bytes in front of character i; n if there are fewer. */
size_t text_offset(const char *p, size_t n, size_t i);
/* Bytes of the character that begins here. */
size_t text_size(const char *p, size_t n);
/* Bytes of white space at the beginning, and at the end, as JavaScript's trim has it. */
size_t text_space(const char *p, size_t n);
size_t text_space_behind(const char *p, size_t n);
/* Where one text first, or last, stands in another; n: nowhere. */
size_t text_find(const char *p, size_t n, const char *q, size_t m, size_t from);
size_t text_find_last(const char *p, size_t n, const char *q, size_t m);

#endif

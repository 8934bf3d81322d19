/* number_text: numbers as JavaScript writes them (ECMA-262, Number::toString). */
#ifndef TOVA_SDK_RUNTIME_NUMBER_TEXT_H
#define TOVA_SDK_RUNTIME_NUMBER_TEXT_H

#include <stddef.h>

#define NUMBER_TEXT_MAX 32

/* The fewest digits that are read as this number again; no NUL. Returns the length. */
size_t number_text(double value, char text_r[NUMBER_TEXT_MAX]);

#endif

/* say: a worker's log is its standard error, where each line begins with its level as systemd has
 * it: <3> error, <4> warning, <5> notice, <6> information, <7> debugging. */
#ifndef TOVA_SDK_SAY_H
#define TOVA_SDK_SAY_H

#include <stddef.h>
#include <stdint.h>

#include "common/span.h"
#include "tova_plugin.h"

/* level: enum tova_level. */
void say_text(uint32_t level, const char *text, size_t len);
/* Pieces of one line, which ends in a line feed; good in a signal's handler. */
void say_parts(const struct span *parts, size_t n);
__attribute__((format(printf, 2, 3))) void say(enum tova_level level, const char *format, ...);

#endif

/* crash: last words of a process that ends by a fault of its own. The signal then goes its way, so
 * that there is a core, and the parent sees what it was. */
#ifndef TOVA_COMMON_CRASH_H
#define TOVA_COMMON_CRASH_H

#include <stdbool.h>

/* Says what there is to say, by means that are good in a signal's handler (signal-safety(7)).
 * signal: its name; own: it came on the thread that has called crash_watch. */
typedef void crash_last_words(void *ctx, const char *signal, bool own);

/* SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT, once each, on a stack of their own on this thread,
 * as one may be full. Who has a handler already, such as a sanitizer, keeps it. One at a time in
 * a process. */
void crash_watch(crash_last_words *say, void *ctx);
void crash_unwatch(void);

#endif
